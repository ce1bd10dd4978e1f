"""The door: every mail in motion enters here, whichever wire it came by.

`Intake.accept` is where policy stands, once: the content filters judge, and what they let
through is filed in one commit, for mailboxes here and recipients elsewhere.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.errors import FilterFailed, MailError, Refused, one_line
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.model import (
    ACCEPT,
    INBOX,
    Envelope,
    Filed,
    Judgement,
    Message,
    Recipient,
    Verdict,
)
from mailnode.timings import Timings

if TYPE_CHECKING:
    from mailnode.store.messages import Messages

FILTER_S = 540.0  # then a filter has no more to say: clients wait 600 (RFC 5321 section 4.5.3.2.6)
MOST_REASONS, MOST_FACTS, WORDS_CHARACTERS = 10, 20, 200

MARK = b"X-Spam-Flag: YES\r\n"

_MARK = re.compile(rb"^X-Spam-Flag:[ \t]*YES", re.I | re.M)
_FIELDS = re.compile(rb"([!-9;-~]+:[^\r\n\0]*\r\n([ \t][^\r\n\0]*\r\n)*)*")

_log = Logger()

SuccessReport = Callable[[Envelope, Message, Sequence[Filed]], "tuple[Envelope, Message] | None"]


def _no_report(*_: object) -> None:
    """Nobody is told."""


class Sealer(Protocol):
    """Puts ARC seals on what is forwarded."""

    async def sealed(self, envelope: Envelope, message: Message) -> Message: ...


class RefusedByFilter(Refused):
    text = "Message refused"


@define(eq=False)
class Intake:
    """The one door.

    Attributes:
        filters: providers of `interfaces.IContentFilter`, asked side by side; behind these the ones
            of `ILateFilter`.
        success_report: the report that a sender has asked for about mailboxes here; None when
            it hasn't.
        sealer: seals what is forwarded, behind all that the filters have put in front; None for
            no seals.
        seconds: a monotonic clock.
        clock: an IReactorTime, by which a filter that doesn't end is given up; None for no end.
        timings: of what was accepted, from the end of the mail to its commit.
        judged: (a filter's name, what it said) to how often: "accepted", "unwanted", "refused",
            "deferred".
    """

    messages: Messages
    filters: Sequence[Any] = field(factory=tuple)
    success_report: SuccessReport = _no_report
    seconds: Callable[[], float] = time.monotonic
    clock: Any = None
    sealer: Sealer | None = None
    timings: Timings = field(factory=Timings, init=False)
    judged: Counter[tuple[str, str]] = field(factory=Counter, init=False)

    def accept(self, envelope: Envelope, message: Message) -> Deferred[tuple[Filed, ...]]:
        """Judge a mail, file it into each recipient's mailbox, and queue it for those elsewhere.

        Args:
            envelope: who may send to whom was judged when its recipients were named; it has one at
                least, here or elsewhere.

        Returns:
            Fires with where each copy here lies, once the mail is durable for all of them and
            visible: 250 may be said.

        Raises:
            RefusedByFilter: a filter refused it for good.
            FilterFailed: a filter deferred it, or broke.
            StoreBusy, StoreFull, StoreBroken: nothing was kept.
        """
        began = self.seconds()
        filters = [each for each in self.filters if _wants(each, envelope)] if self.filters else ()
        if filters:
            accepting = Deferred.fromCoroutine(self._judge_and_file(filters, envelope, message))
        else:
            accepting = self._file(envelope, message)
        return accepting.addCallback(self._accepted, began)

    def _accepted(self, filed: tuple[Filed, ...], began: float) -> tuple[Filed, ...]:
        self.timings.add(self.seconds() - began)
        return filed

    def _file(self, envelope: Envelope, message: Message) -> Deferred[tuple[Filed, ...]]:
        filing = self.messages.file_message(envelope, message)
        if any([to.notify for to in envelope.recipients]):
            filing.addCallback(lambda filed: self._report(envelope, message, filed))
        return filing

    def _report(self, envelope: Envelope, message: Message, filed: tuple[Filed, ...]) -> Any:
        """Before the 250 is said, so that one who hears it gets the report that it asked for.

        The mail is filed: whatever becomes of the report, a refusal would have it sent again.
        """
        filing = maybeDeferred(self._file_report, envelope, message, filed)
        filing.addErrback(
            lambda failure: _log.failure(
                "the report about {mail_id} was not filed", failure, mail_id=envelope.mail_id
            )
        )
        return filing.addCallback(lambda _: filed)

    def _file_report(self, envelope: Envelope, message: Message, filed: tuple[Filed, ...]) -> Any:
        report = self.success_report(envelope, message, filed)
        return None if report is None else self.messages.file_message(*report)

    async def _judge_and_file(
        self, filters: Sequence[Any], envelope: Envelope, message: Message
    ) -> tuple[Filed, ...]:
        for late in (False, True):
            turn = [each for each in filters if ILateFilter.providedBy(each) is late]
            if turn:
                message = await self._judge(turn, envelope, message)
        if any(each.unwanted or each.of_copies for each in message.judgements):
            envelope, message = _judged(envelope, message)
        if self.sealer is not None and message.sealable is not None:
            message = await self.sealer.sealed(envelope, message)
        return await self._file(envelope, message)

    async def _judge(self, filters: Sequence[Any], envelope: Envelope, message: Message) -> Message:
        """The mail with what they say of it."""
        asked = [Deferred.fromCoroutine(self._ask(each, envelope, message)) for each in filters]
        results = [result for _, result in await DeferredList(asked, consumeErrors=True)]
        for each, result in zip(filters, results, strict=True):
            self.judged[each.name, _said(result)] += 1
        headers, found, sealable = b"", list(message.judgements), message.sealable
        for each, result in zip(filters, results, strict=True):
            if isinstance(result, Failure):
                result.raiseException()
            headers += result.headers
            sealable = result.sealable or sealable
            judgement = _judgement(each.name, result)
            if judgement.says_something or judgement.of_copies:
                found.append(judgement)
        if not headers and not sealable and len(found) == len(message.judgements):
            return message
        prefix = message.prefix + headers
        return evolve(message, prefix=prefix, judgements=tuple(found), sealable=sealable)

    async def _ask(self, content_filter: Any, envelope: Envelope, message: Message) -> Verdict:
        name = content_filter.name
        try:
            verdict = content_filter.judge(envelope, message)
            if hasattr(verdict, "__await__"):
                verdict = await self._in_time(verdict)
            return _heeded(ACCEPT if verdict is None else verdict, name)
        except MailError:
            raise
        except Exception:
            _log.failure(
                "filter {name} broke on mail {mail_id}", name=name, mail_id=envelope.mail_id
            )
            raise FilterFailed(detail=f"filter {name} broke") from None

    def _in_time(self, judging: Awaitable[Verdict | None]) -> Awaitable[Verdict | None]:
        if self.clock is None:
            return judging
        waited = Deferred.fromCoroutine(_awaited(judging))
        return waited if waited.called else waited.addTimeout(FILTER_S, self.clock)


async def _awaited(judging: Awaitable[Verdict | None]) -> Verdict | None:
    return await judging


def _wants(content_filter: Any, envelope: Envelope) -> bool:
    return not ISomeMailFilter.providedBy(content_filter) or content_filter.wants(envelope)


def _said(result: Verdict | Failure) -> str:
    """What a filter said, in a word."""
    if isinstance(result, Verdict):
        is_unwanted = result.unwanted or any(each.unwanted for each in result.of_copies.values())
        return "unwanted" if is_unwanted else "accepted"
    is_refusal = isinstance(result.value, MailError) and result.value.smtp_code >= 500
    return "refused" if is_refusal else "deferred"


def _judged(envelope: Envelope, message: Message) -> tuple[Envelope, Message]:
    """Each copy with what is said of it alone; an unwanted one lies where its owner wants such.

    All copies have the same octets, so a mark is put in front where nobody wants the mail.
    """
    to = [judged_copy(each, message.judgements, message.taggable) for each in envelope.recipients]
    by_all = all(unwanted for _, unwanted in to) and (
        not envelope.remotes or any(each.unwanted for each in message.judgements)
    )
    if by_all and any(copy.junk == INBOX for copy, _ in to) and not _MARK.search(message.prefix):
        message = evolve(message, prefix=message.prefix + MARK)
    return evolve(envelope, recipients=tuple(each for each, _ in to)), message


def judged_copy(
    to: Recipient, judgements: Sequence[Judgement], taggable: int = 0
) -> tuple[Recipient, bool]:
    """The copy, in the folder where it belongs by what is said of it; whether it is unwanted.

    Args:
        taggable: as its message has it.
    """
    own = [each.of_copies[to.account_id] for each in judgements if to.account_id in each.of_copies]
    others = [each for each in judgements if to.account_id not in each.of_copies]
    both = (*own, *others)
    unwanted = any(each.unwanted for each in both) and not any(each.wanted for each in both)
    folder = to.junk if unwanted else to.folder
    flags = taggable if unwanted and to.tagged else 0
    return evolve(to, folder=folder, judgements=tuple(own), flags=flags), unwanted


def _judgement(name: str, verdict: Verdict) -> Judgement:
    """What it says, in so many words as a journal's row may have."""
    return Judgement(
        name,
        verdict.unwanted,
        tuple(map(_short, verdict.reasons[:MOST_REASONS])),
        {_short(fact): _short(said) for fact, said in islice(verdict.facts.items(), MOST_FACTS)},
        {account_id: _judgement(name, copy) for account_id, copy in verdict.of_copies.items()},
        verdict.wanted,
    )


def _short(words: str) -> str:
    return " ".join(words.split())[:WORDS_CHARACTERS]


def _heeded(verdict: Verdict, name: str) -> Verdict:
    """The verdict, when it lets the mail through.

    Raises:
        RefusedByFilter, FilterFailed: it doesn't.
        ValueError: it says what no filter may say.
    """
    if verdict.action == "refuse":
        raise RefusedByFilter(one_line(verdict.reason) or None, detail=f"by filter {name}")
    if verdict.action == "defer":
        raise FilterFailed(one_line(verdict.reason) or None, detail=f"by filter {name}")
    if verdict.action != "accept":
        raise ValueError(f'a verdict is "accept", "refuse" or "defer", not {verdict.action!r}')
    if not _FIELDS.fullmatch(verdict.headers):
        raise ValueError(f"these are no header fields, each with its CRLF: {verdict.headers!r}")
    return verdict
