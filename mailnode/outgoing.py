"""What a line session says: replies that leave together, and a client that doesn't read them.

Replies to commands that came together are written together; while the client is behind,
nothing more is made for it (docs/rfc.rst S25, P2, P16).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.protocol import connectionDone

from mailnode.dialog import Dialog

OUTPUT_OCTETS = 65536
AT_ONCE_OCTETS = 65536
JOINED_OCTETS = 16384  # up to here copying costs less than another piece
Octets = bytes | memoryview
MOST_PIECES = 1024  # of one sendmsg: IOV_MAX


def write_at_once(transport: Any, data: bytes) -> bool:
    """Hand little to the kernel now; True when all of it is taken care of.

    Twisted's `write` waits for the next turn of the reactor and costs two calls of
    epoll_ctl and an event: half of a short command's price. Only where nothing waits in
    the transport's own buffer. Never call it inside TLS.
    """
    if not nothing_waits(transport):
        return False
    try:
        sent = transport.socket.send(data)
    except OSError:  # the connection is lost, or full: `write` finds out and tells
        return False
    if sent < len(data):
        transport.write(data[sent:])
    return True


def write_pieces_at_once(transport: Any, pieces: list[Octets]) -> bool:
    """The same for much in several pieces, which aren't joined first: they would be copied."""
    sent = send_pieces(transport, pieces)
    if not sent:
        return False
    for at, piece in enumerate(pieces):
        if sent < len(piece):
            transport.write(b"".join([piece[sent:], *pieces[at + 1 :]]))
            break
        sent -= len(piece)
    return True


def send_pieces(transport: Any, pieces: Sequence[Octets]) -> int:
    """Hand to the kernel what it takes now; how many octets that is, and the rest is the caller's.

    Nothing where something waits in the transport. Never call it inside TLS.
    """
    if len(pieces) > MOST_PIECES or not nothing_waits(transport):
        return 0
    try:
        return int(transport.socket.sendmsg(pieces))
    except OSError:  # the connection is lost, or full: `write` finds out and tells
        return 0


def nothing_waits(transport: Any) -> bool:
    """Whether all that was written is the kernel's; inside TLS nobody knows."""
    return (
        getattr(transport, "_tempDataLen", None) == 0
        and len(transport.dataBuffer) == transport.offset
        and not transport.disconnecting
    )


class LineOutput:
    """The half of a session that writes.

    Attributes:
        secure: whether the connection is inside TLS, from its first octet or since STARTTLS.
    """

    seconds: Callable[[], float] = staticmethod(time.monotonic)
    transport: Any
    secure = False

    _out: list[Octets]
    _out_octets = 0
    _working = False
    _busy = False  # a reply is pending
    _blocked = False  # the client doesn't read what we send
    _gone = False
    _active_at = 0.0
    _dialog: Dialog | None = None

    def beginOutput(self) -> None:
        self._out = []

    def sendLine(self, line: bytes, shown: bytes | None = None) -> None:
        """
        Args:
            shown: what the dialog has in its place.
        """
        self._out.append(line + b"\r\n")
        self._out_octets += len(line) + 2
        if self._dialog is not None:
            self._dialog.note(said(line if shown is None else shown))
        if not (self._working or self._busy) or self._out_octets > OUTPUT_OCTETS:
            self._flush()

    def sendRaw(self, *pieces: Octets) -> None:
        """Octets that are part of a reply and not one of its lines; pieces leave in one write."""
        self._out += pieces
        self._out_octets += sum(map(len, pieces))
        if self._out_octets > OUTPUT_OCTETS:
            self._flush()

    def _flush(self) -> None:
        out, octets = self._out, self._out_octets
        self._out, self._out_octets = [], 0
        if not out or self._gone:
            return
        if octets > JOINED_OCTETS and not self.secure and write_pieces_at_once(self.transport, out):
            return
        data = b"".join(out)
        if self.secure or octets > JOINED_OCTETS or not write_at_once(self.transport, data):
            self.transport.write(data)

    def _hang_up(self) -> None:
        """Close the connection once what was written is out: now, when it is.

        Twisted's `loseConnection` waits for an event that nothing holds up, and for three calls
        of epoll_ctl.
        """
        self.transport.unregisterProducer()
        if not self.secure and nothing_waits(self.transport):
            self.transport.connectionLost(connectionDone)
        else:
            self.transport.loseConnection()

    # IPushProducer: the transport's send buffer is over 64 KiB, or drained (S25)

    def pauseProducing(self) -> None:
        self._blocked = True
        self._active_at = self.seconds()

    def resumeProducing(self) -> None:
        self._blocked = False
        self._active_at = self.seconds()
        self.outputDrained()
        if not self._busy:
            self._work()

    def stopProducing(self) -> None:
        self._blocked = False

    def outputDrained(self) -> None:
        """The client has read what was sent; a reply in pieces goes on from here."""

    def _work(self) -> None:
        """Go on with the input."""


def said(reply: bytes) -> str:
    """The lines of a reply, as a dialog has them."""
    return "S: " + reply.decode("utf-8", "replace").replace("\r\n", "\nS: ")
