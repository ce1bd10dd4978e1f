"""Who sent a mail: SPF, DKIM and ARC side by side, then DMARC, within 20 seconds.

The rules are `mailnode.mailauth`'s, which knows no network: what a check lacks is asked here, and
the check is run again. Nothing waits for anybody else's nameserver longer than the time that is
left; what is not known then is temperror. No policy is carried out here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from mailnode.errors import MailError
from mailnode.filters.asking import Asking, together
from mailnode.interfaces import IResolver
from mailnode.mailauth.arc import ArcResult
from mailnode.mailauth.dmarc import DmarcResult, judge_authors
from mailnode.mailauth.examination import (
    HEADER_OCTETS,
    Authenticated,
    Examination,
    conclude,
    octets_of_authors,
    read_mail,
)
from mailnode.mailauth.signatures import DkimResult
from mailnode.mailauth.spf import Sending, SpfResult, check_host
from mailnode.model import Blob, Envelope, Message

T = TypeVar("T")

LIMIT_S = 20.0  # RFC 7208 section 4.6.4: at least 20 seconds
LAST_S = 1.0  # of them, for what is made of the answers
PIECE_OCTETS = 256 << 10
# A mail of so much is read, and its signatures verified, in half a millisecond: less than it takes
# others when two threads hand the interpreter to and fro for it.
SMALL_OCTETS = 16 << 10
SMALL_HEADER_OCTETS = 6 << 10
SMALL_AUTHOR_OCTETS = 1 << 10  # of From: one that is made to takes 3 ms for each KiB
SMALL_LINES = 500
FEW_SIGNATURES = 3

NOT_READ = "the mail could not be read in time"

_BLANK_LINE = b"\r\n\r\n"
_chance = random.Random()  # noqa: S311 (nobody gains by knowing which mails a policy is for)
_log = Logger()


@define(eq=False)
class Authentication:
    """Finds out who sent a mail.

    Args:
        resolver: an `IResolver`.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        clock: an IReactorTime on monotonic seconds.
        authserv_id: the name of this host in Authentication-Results.
        roll: which of a hundred mails this is, for policies that are for some of them.
    """

    _resolver: IResolver
    _in_thread: Callable[..., Deferred[Any]]
    _clock: Any
    _authserv_id: str
    _limit_s: float = field(default=LIMIT_S, kw_only=True)
    _roll: Callable[[], int] = field(default=lambda: _chance.randrange(100), kw_only=True)
    _has_read: bool = field(default=False, init=False)

    async def examine(
        self, envelope: Envelope, message: Message, sealing: bool = False
    ) -> Authenticated:
        """What can be found out of a mail; nothing is raised, whatever it is.

        Args:
            envelope: its `client.host` and `client.helo`, `sender` and `received_at` are judged.
            message: its `body`, the octets as they came.
            sealing: its body is hashed for a seal of ours, too.
        """
        until = self._clock.seconds() + self._limit_s
        asking = Asking(self._resolver, self._clock, until - LAST_S)
        sender = "" if envelope.sender is None else str(envelope.sender)
        helo = envelope.client.helo
        sent = self._spf(asking, envelope, sender)
        by_helo = self._spf(asking, envelope, "") if sender and "." in helo else _nothing()
        content = self._content(asking, envelope, message, sealing, until)
        parts = [Deferred.fromCoroutine(each) for each in (sent, by_helo, content)]
        try:
            spf, spf_helo, (examination, dkim, arc) = await together(parts)
            dmarc = await self._dmarc(asking, examination, spf, dkim)
        finally:
            asking.stop()
        return conclude(
            self._authserv_id, sender, helo, spf, spf_helo, dkim, arc, dmarc, examination
        )

    async def _spf(self, asking: Asking, envelope: Envelope, sender: str) -> SpfResult:
        client = envelope.client
        try:
            sending = Sending.of(
                client.host, sender, client.helo, self._authserv_id, int(envelope.received_at)
            )
        except ValueError:
            return SpfResult("none", "", "it did not come by the network")
        try:
            return await asking.settle(lambda answers: check_host(sending, answers))
        except CancelledError:
            raise
        except Exception:
            _log.failure("SPF of mail {mail_id} broke", mail_id=envelope.mail_id)
            return SpfResult("temperror", sending.domain, "it could not be judged")

    async def _content(
        self, asking: Asking, envelope: Envelope, message: Message, sealing: bool, until: float
    ) -> tuple[Examination | None, tuple[DkimResult, ...], ArcResult]:
        """What the mail itself shows; while its body is hashed, keys and policies are looked up."""
        examination = None
        try:
            examination, hashing = await self._read(message, sealing, until)
            looking = Deferred.fromCoroutine(asking.ask(examination.questions))
            finding = Deferred.fromCoroutine(self._find_policies(asking, examination))
            await together([hashing, looking, finding])
            if examination.chain.latest is None and self._is_quick(examination, message):
                dkim, arc = examination.judge(asking.answers, envelope.received_at)
            else:
                dkim, arc = await self._within(
                    until, examination.judge, asking.answers, envelope.received_at
                )
            return examination, dkim, arc
        except CancelledError:
            raise
        except (MailError, TimeoutError) as error:
            _log.info("mail {mail_id}: {error}", mail_id=envelope.mail_id, error=str(error))
        except Exception:
            _log.failure("the signatures of mail {mail_id} broke", mail_id=envelope.mail_id)
        return examination, (DkimResult("temperror", NOT_READ),), ArcResult("temperror", NOT_READ)

    async def _find_policies(self, asking: Asking, examination: Examination) -> None:
        """As if nothing had passed: so a sender whose own nameservers are slow delays no policy."""
        nothing = SpfResult("none", "")
        await asking.settle(
            lambda answers: judge_authors(examination.authors, nothing, (), answers, 0)
        )

    async def _dmarc(
        self,
        asking: Asking,
        examination: Examination | None,
        spf: SpfResult,
        dkim: Sequence[DkimResult],
    ) -> DmarcResult:
        if examination is None:
            return DmarcResult("temperror", reason=NOT_READ)
        authors, roll = examination.authors, self._roll()
        try:
            return await asking.settle(
                lambda answers: judge_authors(authors, spf, dkim, answers, roll)
            )
        except CancelledError:
            raise
        except Exception:
            _log.failure("DMARC of {domains} broke", domains=authors)
            return DmarcResult("temperror", "".join(authors[:1]), "it could not be judged")

    def _is_quick(self, examination: Examination, message: Message) -> bool:
        """Whether hardly anything is to be computed; a chain that is broken says so itself."""
        count = len(examination.signatures)
        return not count or (count <= FEW_SIGNATURES and _is_small(message.body))

    # The mail's octets

    async def _read(
        self, message: Message, sealing: bool, until: float
    ) -> tuple[Examination, Deferred[None]]:
        """The header, read, and the body on its way to its hashes."""
        body = message.body
        if not isinstance(body, Blob):
            if self._has_read and _is_small(body):
                examination = _read_whole(body, sealing)
            else:  # the first of all reads the list of public suffixes
                examination = await self._within(until, _read_whole, body, sealing)
                self._has_read = True
            done: Deferred[None] = Deferred()
            done.callback(None)
            return examination, done
        assert body.open is not None
        reader = body.open()
        try:
            octets = b""
            while _end_of_header(octets) is None and len(octets) <= HEADER_OCTETS:
                piece = await self._in_time(until, reader.read(PIECE_OCTETS))
                octets += piece
                if not piece:
                    break
            header, rest, whole = _cut(octets)
            examination = await self._within(until, read_mail, header, whole, sealing)
        except BaseException:
            reader.close()
            raise
        return examination, Deferred.fromCoroutine(self._hash(examination, rest, reader, until))

    async def _hash(
        self, examination: Examination, piece: bytes, reader: Any, until: float
    ) -> None:
        """Feed what follows, a piece at a time: the mail is never in memory."""
        try:
            if examination.bodies.wanted:
                while piece:
                    await self._within(until, examination.bodies.feed, piece)
                    piece = await self._in_time(until, reader.read(PIECE_OCTETS))
                await self._within(until, examination.end_body)
        finally:
            reader.close()

    def _within(self, until: float, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return self._in_time(until, self._in_thread(function, *args))

    def _in_time(self, until: float, waited: Deferred[T]) -> Deferred[T]:
        return waited.addTimeout(max(until - self._clock.seconds(), 0.001), self._clock)


async def _nothing() -> None:
    """There is no such check."""


def _is_small(body: bytes | Blob) -> bool:
    """Whether it can be read at once, whoever made it: names beyond ASCII take a square of time."""
    if not isinstance(body, bytes) or len(body) > SMALL_OCTETS:
        return False
    end = body.find(_BLANK_LINE, 0, SMALL_HEADER_OCTETS)
    return (
        end >= 0
        and body.count(b"\n") <= SMALL_LINES
        and body[:end].isascii()
        and octets_of_authors(body[:end]) <= SMALL_AUTHOR_OCTETS
    )


def _read_whole(raw: bytes, sealing: bool) -> Examination:
    header, body, whole = _cut(raw)
    examination = read_mail(header, whole, sealing)
    if examination.bodies.wanted:
        examination.bodies.feed(body)
    examination.end_body()
    return examination


def _end_of_header(octets: bytes) -> int | None:
    """Where the blank line ends; None while it hasn't come."""
    if octets.startswith(b"\r\n"):
        return 2
    found = octets.find(_BLANK_LINE, 0, HEADER_OCTETS)
    return None if found < 0 else found + len(_BLANK_LINE)


def _cut(octets: bytes) -> tuple[bytes, bytes, bool]:
    """(header, body, whole): of a header that is too large, what is looked at, and False."""
    end = _end_of_header(octets)
    if end is not None:
        return octets[: end - 2], octets[end:], True
    return octets[:HEADER_OCTETS], b"", len(octets) <= HEADER_OCTETS
