"""A mail as another program is given it: piece by piece, wherever its body lies."""

from __future__ import annotations

import re
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from mailnode.errors import StoreBroken
from mailnode.model import Blob, Message

PIECE_OCTETS = 65_536

_OUR_RECEIVED = re.compile(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def without_our_received(prefix: bytes) -> bytes:
    """Our own fields but Received: what a program beside an SMTP server expects to see.

    It is told of the client in words of its own, and would take ours for one more hop.
    """
    found = _OUR_RECEIVED.match(prefix)
    return prefix[found.end() :] if found else prefix


@define(eq=False)
class MailReader:
    """Gives the octets once, from the first to the last.

    Attributes:
        front: fields in front of the body.
    """

    front: bytes
    body: bytes | Blob
    _at: int = field(default=0, init=False)
    _blob: Any = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    @classmethod
    def of(cls, message: Message) -> MailReader:
        """The whole mail, with all that we put in front."""
        return cls(message.prefix, message.body)

    def read(self, most_octets: int = PIECE_OCTETS) -> Deferred[bytes]:
        """The next octets; b"" at the end.

        Errors:
            StoreBroken: the body can't be read.
        """
        if self._closed:
            return succeed(b"")
        if self.front:
            piece, self.front = self.front[:most_octets], self.front[most_octets:]
            return succeed(piece)
        if isinstance(self.body, bytes):
            start, self._at = self._at, self._at + most_octets
            return succeed(self.body[start : self._at])
        if self._blob is None:
            if self.body.open is None:
                raise StoreBroken(detail=f"nobody opens the blob {self.body.key}")
            self._blob = self.body.open()
        return _left_alone(self._blob.read(most_octets))

    def close(self) -> None:
        """No more is read: who asks gets b""."""
        self._closed = True
        blob, self._blob = self._blob, None
        if blob is not None:
            blob.close()


def _left_alone(reading: Deferred[bytes]) -> Deferred[bytes]:
    """Fires as `reading` does. Who cancels it doesn't stop the thread that reads.

    A reader that was cancelled might close its file in the middle of that.
    """
    waiter: Deferred[bytes] = Deferred()

    def tell(result: bytes | Failure) -> None:
        if not waiter.called:
            waiter.callback(result)  # a Failure makes it fail

    reading.addBoth(tell)
    return waiter
