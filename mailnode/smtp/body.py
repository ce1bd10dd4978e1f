"""The body of a mail: DATA and BDAT, read in chunks, given to whoever takes it.

Only CRLF.CRLF ends DATA, whatever the lengths of the lines (S3); BDAT counts octets
(RFC 3030). The body ends with one reply, said after every taker has answered (S17).
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from mailnode.errors import MailError
from mailnode.smtp.paths import no_argument
from mailnode.smtp.replies import Replies
from mailnode.smtp.takers import Body
from mailnode.wire import ChunkReader, DotReader

GRACE_S = 60.0
RECIPIENTS_TOLD = 10


class NoValidRecipients(MailError):
    smtp_code, enhanced = 503, "5.5.1"
    text = "Say MAIL and RCPT first"


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
        no_argument(rest)
        if self._body is not None or self._from is None or not self._to:
            raise NoValidRecipients()
        self._open_body(DotReader())
        self._reply(354, "", "End data with <CR><LF>.<CR><LF>")
        self.readRaw(self._data_received)
        return None

    def _open_body(self, reader: Any) -> Body:
        origin = self._from
        try:
            self._body = Body.open(
                origin,
                self._to,
                reader,
                self.seconds(),
                received=lambda users: self.receivedHeader(self._helo, origin, list(users)),
                mends_lf=self.authenticated or self.loopback,
            )
        except Exception as refusal:
            self._tell_refused(refusal, "DATA", origin)
            self._reset()
            raise
        return self._body

    def _data_received(self, data: bytes) -> object:
        body = self._body
        assert body is not None
        piece, ended = body.reader.feed(data)
        if ended:
            self.readRaw(None)
            self.putBack(body.reader.rest)
            body.ended = True
        wait = body.take(piece, self.message_size)
        if not ended:
            return wait
        if wait is None:
            return self._finish(body)
        return wait.addBoth(lambda _: self._finish(body))

    def _finish(self, body: Body) -> object:
        """The end of the body: commit, then the one reply."""
        self._from, self._to, self._body = None, [], None
        self.mails += 1
        if self._dialog is not None:
            self._dialog.note(f"C: (the mail, {body.reader.size_octets} octets)")
        if self._gone:
            body.abandon()
            return None
        done = body.end()
        done.addCallbacks(self._taken, self._not_taken, callbackArgs=(body,), errbackArgs=(body,))
        return done

    def _taken(self, result: Any, body: Body) -> None:
        mail_id = getattr(result, "mail_id", "") or getattr(body.origin, "mail_id", "")
        self.sendLine(taken_reply(str(mail_id)))
        if body.handed:
            for event in body.handed_events(self.dialog()):
                self.tell(event)
        self._forget_mail()

    def _forget_mail(self) -> None:
        if self._dialog is not None:
            self._dialog.end_mail()

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
        wait = body.take(body.reader.feed(chunk), self.message_size)
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
        wait = body.take(body.reader.end(), self.message_size)
        if wait is None:
            return self._finish(body)
        return wait.addBoth(lambda _: self._finish(body))


def taken_reply(mail_id: str) -> bytes:
    """The reply to a mail that was taken; its id is what `mailnode trace` takes."""
    return f"250 2.0.0 Ok {mail_id}".encode()
