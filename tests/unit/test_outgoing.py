"""What leaves at once, and what waits in the transport."""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from mailnode.outgoing import MOST_PIECES, write_at_once, write_pieces_at_once


@define(eq=False)
class Socket:
    """Takes `room` octets, and then no more."""

    room: int
    taken: bytes = b""

    def send(self, data: bytes) -> int:
        return self.sendmsg([data])

    def sendmsg(self, pieces: list[bytes]) -> int:
        if not self.room:
            raise BlockingIOError
        fits = b"".join(pieces)[: self.room]
        self.room -= len(fits)
        self.taken += fits
        return len(fits)


@define(eq=False)
class Transport:
    socket: Socket
    dataBuffer: bytes = b""
    offset: int = 0
    disconnecting: bool = False
    _tempDataLen: int = field(default=0, alias="tempDataLen")
    written: bytes = b""

    def write(self, data: bytes) -> None:
        self.written += data


PIECES = [b"+OK\r\n", b"head", b"", b"body" * 100, b".\r\n"]
WHOLE = b"".join(PIECES)


class WritePiecesTests(SynchronousTestCase):
    def test_whatever_the_kernel_takes_the_rest_waits_in_its_order(self) -> None:
        for room in range(1, len(WHOLE) + 2):
            transport = Transport(Socket(room))
            self.assertTrue(write_pieces_at_once(transport, PIECES))
            self.assertEqual(transport.socket.taken, WHOLE[:room])
            self.assertEqual(transport.written, WHOLE[room:])

    def test_a_kernel_that_takes_nothing_leaves_all_to_the_transport(self) -> None:
        transport = Transport(Socket(0))
        self.assertFalse(write_pieces_at_once(transport, PIECES))
        self.assertFalse(write_at_once(transport, WHOLE))
        self.assertEqual(transport.written, b"")

    def test_nothing_overtakes_what_waits_already(self) -> None:
        for waiting in (
            Transport(Socket(9), dataBuffer=b"x"),
            Transport(Socket(9), tempDataLen=1),
            Transport(Socket(9), disconnecting=True),
        ):
            self.assertFalse(write_pieces_at_once(waiting, PIECES))
            self.assertEqual(waiting.socket.taken, b"")

    def test_more_pieces_than_the_kernel_takes_in_one_call_are_left(self) -> None:
        transport = Transport(Socket(MOST_PIECES * 2))
        self.assertFalse(write_pieces_at_once(transport, [b"x"] * (MOST_PIECES + 1)))
        self.assertTrue(write_pieces_at_once(transport, [b"x"] * MOST_PIECES))
