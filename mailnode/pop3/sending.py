"""How the POP3 server writes what is long: lists in slices, mails in chunks (P3, P16).

What fits 256 KiB leaves in one write with its reply; the rest goes on as the client reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from mailnode.outgoing import OUTPUT_OCTETS, send_pieces
from mailnode.pop3.ahead import Run
from mailnode.pop3.body import CHUNK_OCTETS, Mail, TopCut, ended, read_chunk, readable
from mailnode.pop3.drop import RETR_OCTETS, BadArgument, OpenDrop, retrs_at
from mailnode.session import LineSession
from mailnode.wire import DotWriter

SLICE_MAILS = 8192  # lines made at once: a few ms, and more than the transport's buffer


class Sending(LineSession):
    """A line session that sends lists and mails."""

    _drained: Deferred[None] | None = None

    async def _written(self) -> bool:
        """Wait until the client has taken what was written; False when it has gone."""
        self._flush()
        while self._blocked and not self._gone:
            self._drained = Deferred()
            await self._drained
        return not self._gone

    def outputDrained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def failGently(self, fault: Exception) -> None:
        """Answer what isn't the client's fault: it doesn't count as one of its errors."""
        self.errors -= 1
        self.refuse(fault)

    def _cut_off(self, what: str) -> None:
        """End the connection: there is no other way to take back a +OK that is out."""
        self._log.failure(what)
        self.abort()

    # Lists

    def sendList(self, first: bytes, lines: Callable[[int, int], bytes], mails: int) -> object:
        """The reply `first`, the lines that `lines(start, stop)` makes, and the dot."""
        if mails > SLICE_MAILS:
            return Deferred.fromCoroutine(self._send_long_list(first, lines, mails))
        self.sendRaw(first, lines(0, mails), b".\r\n")
        return None

    async def _send_long_list(
        self, first: bytes, lines: Callable[[int, int], bytes], mails: int
    ) -> None:
        for start in range(0, mails, SLICE_MAILS):
            try:
                made = lines(start, start + SLICE_MAILS)
            except Exception:
                if not start:
                    raise
                self._cut_off("a list could not be made to its end")
                return
            self.sendRaw(b"" if start else first, made)
            if not await self._written():
                return
        self.sendRaw(b".\r\n")

    # Mails

    def sendMail(self, drop: OpenDrop, index: int, *, following: bool = False) -> object:
        """RETR: at once where the mail was read ahead.

        Args:
            following: the RETRs that wait behind it are answered, too, as far as that goes at once.
        """
        if self._send_ahead(drop, index, following):
            return None
        return Deferred.fromCoroutine(self._send(drop, index, None, following))

    def sendTop(self, drop: OpenDrop, index: int, lines: int) -> object:
        """TOP: the header, the blank line and `lines` lines of the body."""
        return Deferred.fromCoroutine(self._send(drop, index, TopCut(lines)))

    def _send_ahead(self, drop: OpenDrop, index: int, following: bool) -> bool:
        """Reply, mail and dot in one write (P16); False when it isn't there, or too large for that.

        What came together leaves together: a client that pipelines asks for 50 at once, and finding
        a command's method takes as long as writing its mail.
        """
        ends = self._blocked or self._revoked  # behind this one
        numbers = retrs_at(self._input, self._at) if following and not ends else []
        if (replies := drop.ahead.replies(index, numbers)) is not None:
            count = self._send_replies(*replies)
            drop.ahead.given(replies[1] + count)
            self._at += sum(map(len, numbers[: count - 1])) + RETR_OCTETS * (count - 1)
            drop.was_read(*range(index, index + count))
            return True
        if (mail := drop.ahead.take_small(index)) is None:
            return False
        self.sendRaw(b"+OK %d octets\r\n" % drop.sizes[index], *ended(*mail))
        drop.was_read(index)
        return True

    def _send_replies(self, run: Run, start: int, stop: int) -> int:
        """Of these replies to RETRs, as many as leave at once; how many. Larger writes cost less,
        but only what the kernel takes, and the rest of the last mail, is in memory twice."""
        much = run.bounds[stop] - run.bounds[start] > OUTPUT_OCTETS
        if much and not (self._out or self.secure or self._gone):
            sent = send_pieces(self.transport, run.framed(start, stop))
            if sent:
                stop = min(stop, run.begun(start, sent))
                if rest := b"".join(run.framed(start, stop, sent)):
                    self.transport.write(rest)
                return stop - start
        stop = min(stop, run.fitting(start, CHUNK_OCTETS))
        self.sendRaw(*run.framed(start, stop))
        return stop - start

    async def _send(
        self, drop: OpenDrop, index: int, cut: TopCut | None, following: bool = False
    ) -> None:
        mail = drop.ahead.take(index)
        if mail is None:
            try:
                await drop.fetch(index, self._input, self._at)
            except BadArgument:
                raise
            except Exception as failed:
                if not self._gone:
                    self.failGently(failed)
                return
            if cut is None and not self._gone and self._send_ahead(drop, index, following):
                return
            mail = drop.ahead.take(index)
            assert mail is not None, "what is fetched is there"
        body = readable(mail[1])
        try:
            whole = not self._gone and await self._send_pieces(drop, index, mail, body, cut)
        finally:
            body.close()
        if whole and (cut is None or cut.octets == drop.sizes[index]):  # fetchmail fetches by TOP
            drop.was_read(index)

    async def _send_pieces(
        self, drop: OpenDrop, index: int, mail: Mail, body: Any, cut: TopCut | None
    ) -> bool:
        """Write a mail in chunks that the client keeps up with; False when it has gone.

        A mail that can't be read to its end ends the connection: there is no other way to
        take a +OK back.
        """
        head, _, dot_lines = mail
        first = b"+OK\r\n" if cut is not None else b"+OK %d octets\r\n" % drop.sizes[index]
        stuffing, begun = DotWriter(plain=dot_lines == 0), False
        held = [first, stuffing.feed(cut.feed(head) if cut is not None else head)]
        octets = len(held[1])
        try:
            while not (cut is not None and cut.done) and (chunk := await read_chunk(body)):
                out = stuffing.feed(cut.feed(chunk) if cut is not None else chunk)
                if octets + len(out) > CHUNK_OCTETS:
                    begun = True
                    self.sendRaw(*held)
                    if not await self._written():
                        return False
                    held, octets = [], 0
                held.append(out)
                octets += len(out)
        except Exception as failed:
            if not begun:
                self.failGently(failed)
            else:
                self._cut_off("a mail could not be read to its end")
            return False
        self.sendRaw(*held, stuffing.end())
        return not self._gone
