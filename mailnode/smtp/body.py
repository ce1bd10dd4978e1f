"""The body of a mail: DATA and BDAT, read in chunks, given to whoever takes it.

Only CRLF.CRLF ends DATA, whatever the lengths of the lines (S3); BDAT counts octets
(RFC 3030). The body ends with one reply, said after every taker has answered (S17).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, FirstError, maybeDeferred
from twisted.logger import Logger
from twisted.mail.smtp import SMTPServerError
from twisted.python.failure import Failure

from mailnode.errors import BareLineEnd, MailError, TooLarge
from mailnode.interfaces import IChunkedMessage
from mailnode.model import Accepted, Delivered
from mailnode.smtp.paths import BadSyntax
from mailnode.smtp.replies import Replies
from mailnode.wire import ChunkReader, DotReader

GRACE_S = 60.0
RECIPIENTS_TOLD = 10


class NoValidRecipients(MailError):
    smtp_code, enhanced = 503, "5.5.1"
    text = "Say MAIL and RCPT first"


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

    def abandon(self) -> None:
        takers, self.takers = self.takers, []
        for taker in takers:
            try:
                taker.message.connectionLost()
            except Exception:
                _log.failure("a message could not be abandoned")


_log = Logger()


class BodyReading(Replies):
    """The part of the SMTP server that reads bodies.

    Attributes:
        message_size: largest message, in octets.
        body_rate: least octets a second, after the first minute.
        body_s: longest time for one body.
        mails: bodies read in this session.
    """

    message_size = 75 << 20
    mails = 0
    _from: Any
    _to: list[Any]

    body_rate = 1024
    body_s = 3600.0
    _body: Body | None = None

    def readingBody(self) -> bool:
        return self._body is not None

    def abandonBody(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.abandon()

    def _reset(self) -> None:
        """Forget the transaction (RFC 5321 section 4.1.1.5), not who is there."""
        self._from = None
        self._to = []
        self.abandonBody()

    def bodyTooSlow(self, now: float) -> bool:
        """Under the least rate after a minute, past the longest time, or silent (S23)."""
        body = self._body
        if body is None:
            return False
        took = now - body.began_at
        slow = took > GRACE_S and body.reader.size_octets < (took - GRACE_S) * self.body_rate
        idle = self.idle_s is not None and now - self._active_at > self.idle_s
        return slow or idle or took > self.body_s

    def do_DATA(self, rest: bytes) -> object:
        if rest:
            raise BadSyntax("This command takes no argument")
        if self._body is not None or self._from is None or not self._to:
            raise NoValidRecipients()
        self._open_body(DotReader())
        self._reply(354, "", "End data with <CR><LF>.<CR><LF>")
        self.readRaw(self._data_received)
        return None

    def _open_body(self, reader: Any) -> Body:
        """Ask each recipient's callable for its `IMessage`; the same object is fed once."""
        origin, recipients = self._from, self._to
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
                    received = self.receivedHeader(self._helo, origin, users)
                    for line in received.splitlines():
                        message.lineReceived(line)
                    lines.append(LineTaker(message, users))
        except Exception as refusal:
            for message, _users in messages.values():
                message.connectionLost()
            self._tell_refused(refusal, "DATA", origin)
            self._reset()
            raise
        chunks.sort(key=lambda taker: bool(taker.message.commits))
        known = self.authenticated or self.loopback
        reader.mend_bare_lf = all(each.message.mend_bare_lf for each in chunks) if chunks else known
        self._body = Body(
            origin=origin,
            recipients=[user for user, _ in recipients],
            takers=lines + chunks,
            reader=reader,
            began_at=self.seconds(),
        )
        return self._body

    def _data_received(self, data: bytes) -> object:
        body = self._body
        assert body is not None
        piece, ended = body.reader.feed(data)
        if ended:
            self.readRaw(None)
            self.putBack(body.reader.rest)
            body.ended = True
        wait = self._take(body, piece)
        if not ended:
            return wait
        if wait is None:
            return self._finish(body)
        return wait.addBoth(lambda _: self._finish(body))

    def _take(self, body: Body, piece: bytes) -> Deferred[Any] | None:
        """Hand a piece on; a failure is kept for the reply at the end."""
        if body.failure is None and body.reader.size_octets > self.message_size:
            body.failure = TooLarge.past(self.message_size)
            body.abandon()
        if not piece or body.failure is not None:
            return None
        waits: list[Deferred[Any]] = []
        try:
            for taker in body.takers:
                wait = taker.take(piece)
                if wait is not None and isinstance(wait, Deferred):
                    waits.append(wait)
        except Exception as failure:
            self._body_failed(Failure(failure), body)
        if not waits:
            return None
        together = (
            waits[0]
            if len(waits) == 1
            else DeferredList(waits, fireOnOneErrback=True, consumeErrors=True)
        )
        return together.addErrback(self._body_failed, body)

    def _body_failed(self, failure: Failure, body: Body) -> None:
        if isinstance(failure.value, FirstError):
            failure = failure.value.subFailure
        if body.failure is None:
            body.failure = failure.value
            if not isinstance(failure.value, MailError | SMTPServerError):
                _log.failure("a body could not be taken", failure)
            body.abandon()

    def _finish(self, body: Body) -> object:
        """The end of the body: commit, then the one reply."""
        self._from, self._to, self._body = None, [], None
        self.mails += 1
        if self._dialog is not None:
            self._dialog.note(f"C: (the mail, {body.reader.size_octets} octets)")
        if self._gone:
            body.abandon()
            return None
        takers = body.takers
        if body.failure is None and _bare_line_ends(body.reader) and _any_takes_lines(takers):
            body.failure = BareLineEnd()
        if body.failure is not None:
            body.abandon()
            self._tell_refused_body(body.failure, body)
            self._forget_mail()
            raise body.failure
        body.takers = []
        if len(takers) == 1:
            done = maybeDeferred(_end, takers[0], body)
        else:
            done = Deferred.fromCoroutine(_end_in_turn(takers, body))
        done.addCallbacks(self._taken, self._not_taken, callbackArgs=(body,), errbackArgs=(body,))
        return done

    def _taken(self, result: Any, body: Body) -> None:
        mail_id = getattr(result, "mail_id", "") or getattr(body.origin, "mail_id", "")
        self.sendLine(taken_reply(str(mail_id)))
        if body.handed:
            self._tell_handed(body)
        self._forget_mail()

    def _forget_mail(self) -> None:
        if self._dialog is not None:
            self._dialog.end_mail()

    def _tell_handed(self, body: Body) -> None:
        """The journal's rows of a mail, or of a part, that isn't in our store."""
        origin, client = body.origin, body.origin.client
        detail = {
            name: getattr(client, name)
            for name in ("protocol", "helo", "tls", "account")
            if getattr(client, name)
        }
        if dialog := self.dialog():
            detail["dialog"] = dialog
        if not body.filed:
            self.tell(
                Accepted(
                    mail_id=origin.mail_id,
                    sender=str(origin),
                    client=client.host,
                    detail={"size_octets": body.reader.size_octets, **detail},
                )
            )
        for taker in body.handed:
            for user in taker.users:
                self.tell(
                    Delivered(
                        mail_id=origin.mail_id,
                        recipient=str(user),
                        detail={"handed_to": _name_of(taker.message)},
                    )
                )

    def _tell_refused_body(self, refusal: BaseException | None, body: Body) -> None:
        """A row for each recipient, so that each of them can be asked for it."""
        for recipient in body.recipients[:RECIPIENTS_TOLD] or [""]:
            self._tell_refused(refusal, "the dot", body.origin, f"<{recipient}>")

    def _not_taken(self, failure: Failure, body: Body) -> Failure:
        self._tell_refused_body(failure.value, body)
        self._forget_mail()
        return failure

    # BDAT (RFC 3030)

    def do_BDAT(self, rest: bytes) -> object:
        words = rest.upper().split()
        if (
            not words
            or not words[0].isdigit()
            or len(words[0]) > 18
            or words[1:] not in ([], [b"LAST"])
        ):
            self._reply(501, "5.5.4", "Expected BDAT octets [LAST]; closing, for the rest is lost")
            self.close()
            return None
        wanted, last = int(words[0]), words[1:] == [b"LAST"]
        body = self._body
        if body is None:
            body = self._first_chunk()
        body.wanted, body.last = wanted, last
        if not wanted:
            return self._chunk_ended(body)
        self.readRaw(self._bdat_received)
        return None

    def _first_chunk(self) -> Body:
        if self._from is not None and self._to:
            try:
                return self._open_body(ChunkReader())
            except Exception as refusal:
                failure: BaseException = refusal
        else:
            failure = NoValidRecipients()
        self._body = Body(self._from, [], [], ChunkReader(), self.seconds(), failure)
        return self._body

    def _bdat_received(self, data: bytes) -> object:
        body = self._body
        assert body is not None
        chunk, rest = data[: body.wanted], data[body.wanted :]
        body.wanted -= len(chunk)
        if not body.wanted:
            self.readRaw(None)
            self.putBack(rest)
        wait = self._take(body, body.reader.feed(chunk))
        if body.wanted:
            return wait
        if wait is None:
            return self._chunk_ended(body)
        return wait.addBoth(lambda _: self._chunk_ended(body))

    def _chunk_ended(self, body: Body) -> object:
        if not body.last:
            if body.failure is not None:
                raise body.failure
            self._reply(250, "2.0.0", "Ok")
            return None
        wait = self._take(body, body.reader.end())
        if wait is None:
            return self._finish(body)
        return wait.addBoth(lambda _: self._finish(body))


def taken_reply(mail_id: str) -> bytes:
    """The reply to a mail that was taken; its id is what `mailnode trace` takes."""
    return f"250 2.0.0 Ok {mail_id}".encode()


def _bare_line_ends(facts: Any) -> bool:
    return facts.bare_cr or (facts.bare_lf and not facts.mend_bare_lf)


def _any_takes_lines(takers: Sequence[LineTaker | ChunkTaker]) -> bool:
    return any(isinstance(taker, LineTaker) for taker in takers)


def _end(taker: LineTaker | ChunkTaker, body: Body) -> Any:
    taker.end(body.reader)
    done = taker.message.eomReceived()
    if getattr(taker.message, "commits", False):
        body.filed = True
    else:
        body.handed.append(taker)
    return done


def _name_of(message: Any) -> str:
    """What took a mail, as the journal calls it."""
    return str(getattr(message, "name", "")) or type(message).__qualname__


async def _end_in_turn(takers: list[LineTaker | ChunkTaker], body: Body) -> Any:
    """What the last one gives: the one that commits can be abandoned while another may fail."""
    result: Any = None
    while takers:
        try:
            result = await maybeDeferred(_end, takers.pop(0), body)
        except BaseException:
            for taker in takers:
                taker.message.connectionLost()
            raise
    return result
