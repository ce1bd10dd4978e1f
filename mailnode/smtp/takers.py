"""Who takes a mail: each distinct `IMessage` of its recipients, fed together, ended in turn.

Whatever the mail comes by, they are asked alike: the one that commits is asked last, for it can
still be abandoned while another may fail (S17).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, FirstError, maybeDeferred
from twisted.logger import Logger
from twisted.mail.smtp import SMTPServerError
from twisted.python.failure import Failure

from mailnode.errors import BareLineEnd, MailError, TooLarge
from mailnode.events import Accepted, Delivered, Event
from mailnode.interfaces import IChunkedMessage

_log = Logger()


@define(eq=False)
class LineTaker:
    """Gives a foreign `IMessage` its lines (Twisted's contract: without line ends)."""

    message: Any
    users: Sequence[Any]
    _pieces: list[bytes] = field(factory=list, init=False)  # of a line that isn't whole yet

    def take(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\r\n")
        self._pieces.append(first)
        for following in others:
            self._end_line()
            self._pieces.append(following)

    def end(self, facts: Any) -> None:
        if any(self._pieces):
            self._end_line()

    def _end_line(self) -> None:
        line, self._pieces = b"".join(self._pieces), []
        self.message.lineReceived(line)


@define(eq=False)
class ChunkTaker:
    """Gives an `IChunkedMessage` its chunks."""

    message: Any
    users: Sequence[Any]

    def take(self, chunk: bytes) -> Any:
        return self.message.chunkReceived(chunk)

    def end(self, facts: Any) -> None:
        self.message.bodyEnded(facts)


@define(eq=False)
class Body:
    """One body on its way in.

    Attributes:
        takers: one for each distinct `IMessage`; the one that commits stands last.
        handed: those of them that took the mail, and whose journal rows are ours to tell.
        filed: whether one committed it, with journal rows of its own.
        reader: `wire.DotReader` or `wire.ChunkReader`.
        failure: why it will be refused; the rest is read and thrown away.
    """

    origin: Any
    recipients: Sequence[Any]
    takers: list[LineTaker | ChunkTaker]
    reader: Any
    began_at: float
    failure: BaseException | None = None
    wanted: int = 0  # octets of this BDAT chunk still to come
    last: bool = False
    ended: bool = False
    handed: list[LineTaker | ChunkTaker] = field(factory=list)
    filed: bool = False

    @classmethod
    def open(
        cls,
        origin: Any,
        recipients: Sequence[tuple[Any, Callable[[], Any]]],
        reader: Any,
        began_at: float,
        *,
        received: Callable[[Sequence[Any]], bytes],
        mends_lf: bool,
    ) -> Body:
        """Ask each recipient's callable for its `IMessage`; the same object is fed once.

        Args:
            recipients: each with what `validateTo` gave for it.
            received: the trace field for users of an `IMessage` that takes lines.
            mends_lf: whether bare LFs may be mended where nobody says.

        Raises:
            Whatever a callable raises: those that were there are abandoned.
        """
        messages: dict[int, tuple[Any, list[Any]]] = {}
        lines: list[LineTaker | ChunkTaker] = []
        chunks: list[LineTaker | ChunkTaker] = []
        try:
            for user, make in recipients:
                message = make()
                if id(message) in messages:
                    messages[id(message)][1].append(user)
                else:
                    messages[id(message)] = message, [user]
            for message, users in messages.values():
                if IChunkedMessage.providedBy(message):
                    chunks.append(ChunkTaker(message, users))
                else:
                    for line in received(users).splitlines():
                        message.lineReceived(line)
                    lines.append(LineTaker(message, users))
        except Exception:
            for message, _users in messages.values():
                message.connectionLost()
            raise
        chunks.sort(key=lambda taker: bool(taker.message.commits))
        if chunks:
            mends_lf = all(each.message.mend_bare_lf for each in chunks)
        reader.mend_bare_lf = mends_lf
        return cls(origin, [user for user, _ in recipients], lines + chunks, reader, began_at)

    def take(self, piece: bytes, most_octets: int) -> Deferred[Any] | None:
        """Hand a piece on; a failure is kept for the end."""
        if self.failure is None and self.reader.size_octets > most_octets:
            self.fail(TooLarge.past(most_octets))
        if not piece or self.failure is not None:
            return None
        waits: list[Deferred[Any]] = []
        try:
            for taker in self.takers:
                wait = taker.take(piece)
                if wait is not None and isinstance(wait, Deferred):
                    waits.append(wait)
        except Exception as failure:
            self._failed(Failure(failure))
        if not waits:
            return None
        together = (
            waits[0]
            if len(waits) == 1
            else DeferredList(waits, fireOnOneErrback=True, consumeErrors=True)
        )
        return together.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, FirstError):
            failure = failure.value.subFailure
        if self.failure is None:
            if not isinstance(failure.value, MailError | SMTPServerError):
                _log.failure("a body could not be taken", failure)
            assert failure.value is not None
            self.fail(failure.value)

    def fail(self, why: BaseException) -> None:
        """It will be refused: nobody gets more of it."""
        self.failure = why
        self.abandon()

    def end(self) -> Deferred[Any]:
        """Every taker has it, one after the other; the result is that of the last, who commits.

        Errors:
            Why it is refused; then nobody keeps it.
        """
        if self.failure is None and self._bare_line_ends() and self._any_takes_lines():
            self.failure = BareLineEnd()
        if self.failure is not None:
            self.abandon()
            return maybeDeferred(_raise, self.failure)
        takers, self.takers = self.takers, []
        if len(takers) == 1:
            return maybeDeferred(self._end, takers[0])
        return Deferred.fromCoroutine(self._end_in_turn(takers))

    def _end(self, taker: LineTaker | ChunkTaker) -> Any:
        taker.end(self.reader)
        done = taker.message.eomReceived()
        if getattr(taker.message, "commits", False):
            self.filed = True
        else:
            self.handed.append(taker)
        return done

    async def _end_in_turn(self, takers: list[LineTaker | ChunkTaker]) -> Any:
        result: Any = None
        while takers:
            try:
                result = await maybeDeferred(self._end, takers.pop(0))
            except BaseException:
                for taker in takers:
                    taker.message.connectionLost()
                raise
        return result

    def _bare_line_ends(self) -> bool:
        facts = self.reader
        return facts.bare_cr or (facts.bare_lf and not facts.mend_bare_lf)

    def _any_takes_lines(self) -> bool:
        return any(isinstance(taker, LineTaker) for taker in self.takers)

    def handed_events(self, dialog: str) -> Iterator[Event]:
        """The journal's rows of a mail, or of a part, that isn't in our store."""
        origin, client = self.origin, self.origin.client
        detail = {
            name: getattr(client, name)
            for name in ("protocol", "helo", "tls", "account")
            if getattr(client, name)
        }
        if dialog:
            detail["dialog"] = dialog
        if not self.filed:
            yield Accepted(
                mail_id=origin.mail_id,
                sender=str(origin),
                client=client.host,
                detail={"size_octets": self.reader.size_octets, **detail},
            )
        for taker in self.handed:
            for user in taker.users:
                yield Delivered(
                    mail_id=origin.mail_id,
                    recipient=str(user),
                    detail={"handed_to": _name_of(taker.message)},
                )

    def abandon(self) -> None:
        takers, self.takers = self.takers, []
        for taker in takers:
            try:
                taker.message.connectionLost()
            except Exception:
                _log.failure("a message could not be abandoned")


def _raise(error: BaseException) -> None:
    raise error


def _name_of(message: Any) -> str:
    """What took a mail, as the journal calls it."""
    return str(getattr(message, "name", "")) or type(message).__qualname__
