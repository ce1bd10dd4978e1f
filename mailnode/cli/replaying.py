"""Mail that is here is judged again, as settings would have it; nothing is changed by that.

Each mail goes through the door as it did when it came, with the filters that the settings make, and
behind the door nobody files it. Who sent it is not asked again: what was found then is read.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from mailnode.addresses import Address
from mailnode.config import Config
from mailnode.errors import FilterFailed, MailError, Refused
from mailnode.filters.asking import together
from mailnode.filters.exchange import NoAnswer, words_of
from mailnode.filters.origin import Policy
from mailnode.filters.recorded import Record, RecordedOrigin
from mailnode.intake import Intake, judged_copy
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.judges import Judges
from mailnode.model import (
    ACCEPT,
    JUNK,
    Blob,
    Envelope,
    Filed,
    Judgement,
    Message,
    Recipient,
    Verdict,
)
from mailnode.store.arrived import Arrived, Opening, ids_between, read_arrived
from mailnode.store.blobs import blob_path
from mailnode.store.correspondents import has_written

AT_ONCE = 8  # mails: who is asked beside the node may take a while for each
MOST_WHYS = 20  # that are told apart
WHY_CHARACTERS = 120

IN_INBOX, IN_JUNK, REFUSED, PUT_OFF = "inbox", "Junk", "refused", "put off"

NOT_TOLD = "the journal doesn't tell how it came"
NOT_READ = "its octets can't be read"
NOT_ASKED_FOR = ""  # it is none of the mails that are looked at
# Filters that are asked again; what others said then stands: those of [plugins], and what was found
# of the client before his mail was read.
_ASKED_AGAIN = frozenset(
    ("authentication", "harmful", "clamd", "rspamd", "spamd", "milter", "senders", "learned")
)
_ARRIVAL = "arrival"


@define(eq=False)
class Place:
    """What filters work with beside a node; see `judges.Place`.

    Attributes:
        blobs: `store.blobs.FileBlobs`.
        directory: `store.directory.LiveDirectory`.
        models: `store.models.ModelShelf`.
        connection: to mail.db, read-only.
    """

    config: Config
    reactor: Any
    hostname: str
    blobs: Any
    directory: Any
    models: Any
    connection: sqlite3.Connection
    dmarc: None = None

    def has_written(self, account_id: int, mailbox: str, address: Address) -> Deferred[bool]:
        """Whether an account has written to that address by now."""
        return execute(has_written, self.connection, account_id, mailbox, address)


@frozen
class CopyChange:
    """One copy that would lie elsewhere.

    Attributes:
        was, would_be: of `IN_INBOX`, `IN_JUNK`, `REFUSED`, `PUT_OFF`.
        because: the weightiest reason.
    """

    mailbox: str
    was: str
    would_be: str
    because: str


@frozen
class Change:
    """A mail whose verdict would be another one."""

    mail_id: str
    at: float
    sender: str
    subject: str
    copies: tuple[CopyChange, ...]

    @property
    def gravest(self) -> CopyChange:
        """What it is counted as."""
        order = (REFUSED, PUT_OFF, IN_JUNK, IN_INBOX)
        return min(self.copies, key=lambda each: order.index(each.would_be))


@define
class Sums:
    """What became of all.

    Attributes:
        changed: mails, by what they would be.
        not_judged: mails of which it can't be said, by why.
    """

    looked_at: int = 0
    unchanged: int = 0
    changed: Counter[str] = field(factory=Counter)
    not_judged: Counter[str] = field(factory=Counter)
    interrupted: bool = False

    def take(self, found: Change | str | None) -> None:
        """One more: changed, not to be said for why, or unchanged."""
        self.looked_at += 1
        if found is None:
            self.unchanged += 1
        elif isinstance(found, Change):
            self.changed[found.gravest.would_be] += 1
        else:
            why = found[:WHY_CHARACTERS]
            known = why in self.not_judged or len(self.not_judged) < MOST_WHYS
            self.not_judged[why if known else "other reasons"] += 1

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "looked_at": self.looked_at,
            "unchanged": self.unchanged,
            "to_junk": self.changed[IN_JUNK],
            "from_junk": self.changed[IN_INBOX],
            "refused": self.changed[REFUSED],
            "put_off": self.changed[PUT_OFF],
            "not_judged": dict(self.not_judged),
            "interrupted": self.interrupted,
        }


@define(eq=False)
class _Behind:
    """Stands where mails are filed, and files none.

    Attributes:
        taken: the mails that came through, by their ids.
    """

    taken: dict[str, tuple[Envelope, Message]] = field(factory=dict)

    def file_message(self, envelope: Envelope, message: Message) -> Deferred[tuple[Filed, ...]]:
        self.taken[envelope.mail_id] = envelope, message
        return succeed(())


@define(eq=False)
class Replay:
    """Judges mails again.

    Attributes:
        account_id: whose copies alone are looked at; 0 for all.
        told: is called with each change, in the order in which the mails came.
        seen: is called behind some mails, with how many of the span these were.
    """

    place: Place
    account_id: int
    told: Callable[[Change], object]
    seen: Callable[[int], object]
    sums: Sums = field(factory=Sums, init=False)
    _judges: Judges = field(init=False)
    _door: Intake = field(init=False)
    _behind: _Behind = field(factory=_Behind, init=False)
    _unsaid: dict[str, list[str]] = field(factory=dict, init=False)
    _records: dict[str, Record] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        judging = self.place.config.judging
        policy = Policy(judging.dmarc, judging.trusted_sealers)
        origin = RecordedOrigin(policy, self._records.get)
        self._judges = Judges.of(self.place, (), origin)
        tried = [_tried(each, self._unsaid) for each in self._judges.filters]
        messages: Any = self._behind
        self._door = Intake(messages, tried, clock=self.place.reactor)

    async def run(self, since: float, until: float) -> None:
        """All mails that came within that span.

        Raises:
            MailError: the store can't be read.
        """
        done = 0
        try:
            for ids in _some(ids_between(self.place.connection, since, until), AT_ONCE):
                judging = [Deferred.fromCoroutine(self._judge(each)) for each in ids]
                for found in await together(judging):
                    if found == NOT_ASKED_FOR:
                        continue
                    self.sums.take(found)
                    if isinstance(found, Change):
                        self.told(found)
                done += len(ids)
                self.seen(done)
        finally:
            await self._judges.stop()

    async def _judge(self, message_id: int) -> Change | str | None:
        """The change; or why it can't be said; None where there is none."""
        arrived = read_arrived(self.place.connection, message_id, self._opening)
        if arrived is None:
            return NOT_TOLD if self._has_copy(message_id) else NOT_ASKED_FOR
        copies = [to for to in arrived.envelope.recipients if self._is_asked_for(to, arrived)]
        if not copies:
            return NOT_ASKED_FOR
        if not _is_readable(self.place.config.data_path, arrived.message):
            return NOT_READ
        mail_id = arrived.envelope.mail_id
        unsaid = self._unsaid[mail_id] = []
        record = next((each for each in arrived.said if each.by == "authentication"), None)
        if record is not None and record.facts:
            self._records[mail_id] = Record(record.facts, arrived.fields)
        try:
            outcome = await self._outcome(arrived)
        finally:
            del self._unsaid[mail_id]
            self._records.pop(mail_id, None)
        changes = tuple(_changes(arrived, copies, outcome))
        if unsaid and outcome.error is None and not outcome.unwanted:
            return unsaid[0]
        if not changes:
            return None
        if unsaid:  # of those who aren't said to be unwanted nothing is known
            changes = tuple(each for each in changes if each.would_be != IN_INBOX)
            if not changes:
                return None
        envelope = arrived.envelope
        sender = str(envelope.sender) if envelope.sender is not None else "<>"
        return Change(mail_id, envelope.received_at, sender, arrived.message.subject, changes)

    def _is_asked_for(self, to: Recipient, arrived: Arrived) -> bool:
        return to.account_id in arrived.kept and self.account_id in (0, to.account_id)

    def _has_copy(self, message_id: int) -> bool:
        """Of a mail of which nothing more is known; a copy that somebody keeps in Sent, or a draft,
        never came."""
        asked = (message_id, self.account_id, self.account_id)
        row = self.place.connection.execute(_ANY_COPY, asked)
        return row.fetchone() is not None

    async def _outcome(self, arrived: Arrived) -> _Outcome:
        standing = tuple(each for each in arrived.said if self._stands(each.by))
        message = evolve(arrived.message, judgements=standing)
        recipients = tuple(evolve(each, junk=JUNK) for each in arrived.envelope.recipients)
        try:
            await self._door.accept(evolve(arrived.envelope, recipients=recipients), message)
        except MailError as error:
            return _Outcome(error=error)
        return _Outcome(self._behind.taken.pop(arrived.envelope.mail_id))

    def _stands(self, by: str) -> bool:
        if by == _ARRIVAL:
            return True
        is_own = by in _ASKED_AGAIN or (by.startswith("milter") and by[6:].isdigit())
        return not is_own and bool(self.place.config.plugins.filters)

    @property
    def _opening(self) -> Opening:
        return Opening(self._account_id_of, self.place.blobs.open)

    def _account_id_of(self, name: str) -> int:
        found = self.place.directory.find_sign_in(name)
        return found.id if found is not None else -1  # of one that is gone


_ANY_COPY = """
    SELECT 1 FROM delivery AS d JOIN folder AS f ON f.id = d.folder_id
    WHERE d.message_id = ? AND f.name NOT IN ('Sent', 'Drafts') AND (? = 0 OR f.account_id = ?)
"""


@frozen
class _Outcome:
    """What the door said.

    Attributes:
        taken: as it came through; None where it didn't, for `error`.
    """

    taken: tuple[Envelope, Message] | None = None
    error: MailError | None = None

    @property
    def unwanted(self) -> bool:
        """By any recipient."""
        return self.taken is not None and any(
            each.folder == JUNK for each in self.taken[0].recipients
        )

    def of(self, account_id: int) -> tuple[str, Sequence[Judgement]]:
        """Where its copy would lie, and what was said of that."""
        if self.taken is None:
            assert self.error is not None
            return (REFUSED if self.error.smtp_code >= 500 else PUT_OFF), ()
        envelope, message = self.taken
        (to,) = (each for each in envelope.recipients if each.account_id == account_id)
        others = [each for each in message.judgements if account_id not in each.of_copies]
        return (IN_JUNK if to.folder == JUNK else IN_INBOX), (*to.judgements, *others)


def _changes(
    arrived: Arrived, copies: Sequence[Recipient], outcome: _Outcome
) -> Iterator[CopyChange]:
    for to in copies:
        before, was_unwanted = judged_copy(to, arrived.said)
        was = IN_JUNK if was_unwanted else IN_INBOX
        would_be, said = outcome.of(to.account_id)
        if would_be != was:
            then = (*before.judgements, *arrived.said)
            because = outcome.error.text if outcome.error is not None else _because(then, said)
            yield CopyChange(to.mailbox, was, would_be, " ".join(because.split()))


def _because(then: Sequence[Judgement], now: Sequence[Judgement]) -> str:
    """Who says so now, or who does no more."""
    wanted = next((each for each in now if each.wanted), None)
    unwanted = next((each for each in now if each.unwanted), None)
    told = wanted or unwanted
    if told is not None:
        return f"{told.by}: {next(iter(told.reasons), '')}".removesuffix(": ")
    before = next((each for each in then if each.unwanted), None)
    if before is None:
        return ""
    same = next((each for each in now if each.by == before.by), Judgement(before.by))
    says = ", ".join(f"{name} {said}" for name, said in same.facts.items())
    return f"{before.by} finds it unwanted no more" + (f" ({says})" if says else "")


@implementer(ISomeMailFilter)
@define(eq=False)
class _Tried:
    """A filter that may fail: then it has said nothing, and that is noted.

    Attributes:
        unsaid: why, of each mail that is under way, by its id.
    """

    filter: Any
    unsaid: dict[str, list[str]]

    @property
    def name(self) -> str:
        name: str = self.filter.name
        return name

    def wants(self, envelope: Envelope) -> bool:
        wanted: bool = self.filter.wants(envelope)
        return wanted

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        inner = self.filter.inner
        judge = getattr(inner, "judge_surely", inner.judge)
        try:
            verdict: Verdict = await judge(envelope, message)
        except (Refused, FilterFailed):
            raise
        except (NoAnswer, MailError) as error:
            why = str(error)
        except Exception as error:  # whatever it is, the other filters have their say
            why = words_of(error)
        else:
            return verdict
        self.unsaid[envelope.mail_id].append(f"{self.name}: {why}")
        return ACCEPT


@implementer(ILateFilter)
@define(eq=False)
class _TriedLate(_Tried):
    """One that is asked behind the others."""


def _tried(each: Any, unsaid: dict[str, list[str]]) -> _Tried:
    kind = _TriedLate if ILateFilter.providedBy(each) else _Tried
    return kind(each, unsaid)


def _is_readable(data: Path, message: Message) -> bool:
    return not isinstance(message.body, Blob) or blob_path(data, message.body.key).is_file()


def _some(ids: Iterator[int], count: int) -> Iterator[list[int]]:
    some: list[int] = []
    for each in ids:
        some.append(each)
        if len(some) == count:
            yield some
            some = []
    if some:
        yield some
