"""What has no end, or is large, goes out as fast as its client reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from mailnode.web.requests import WebRequest

PIECE_OCTETS = 256 << 10


@implementer(IPushProducer)
@define(eq=False)
class Outflow:
    """The body of an answer, written piece by piece; for an answer's `produce`:

        async with Outflow(request) as out:
            await out.write(piece)

    A client that is gone cancels what produces, and one that reads nothing for two minutes is cut
    off: nobody is waited for without end.
    """

    request: WebRequest
    _room: Deferred[None] | None = field(default=None, init=False)
    _gone: bool = field(default=False, init=False)

    async def __aenter__(self) -> Outflow:
        self.request.registerProducer(self, True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._gone and not self.request._disconnected:
            self.request.unregisterProducer()

    async def write(self, octets: bytes) -> None:
        """Sent, or waiting in a buffer that has room.

        Raises:
            CancelledError: the client is gone.
        """
        if self._gone:
            raise CancelledError()
        self.request.write(octets)
        if self._room is not None:
            await self._room

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        self._let_go(None)

    def stopProducing(self) -> None:
        """The client is gone."""
        self._gone = True
        self._let_go(CancelledError())

    def _let_go(self, result: Any) -> None:
        room, self._room = self._room, None
        if room is not None and not room.called:
            if result is None:
                room.callback(None)
            else:
                room.errback(result)


async def pour(request: WebRequest, next_piece: Callable[[], Awaitable[bytes]]) -> None:
    """All pieces go out, each asked for when there is room for it; b"" is the end."""
    async with Outflow(request) as out:
        while piece := await next_piece():
            await out.write(piece)


def pours(reader: Any, octets: int) -> Callable[[WebRequest], Awaitable[None]]:
    """So many octets of a reader, as a blob has one, which is closed then; for `Answer.produce`."""

    async def produce(request: WebRequest) -> None:
        left = octets

        async def next_piece() -> bytes:
            nonlocal left
            piece: bytes = await reader.read(min(left, PIECE_OCTETS)) if left > 0 else b""
            left -= len(piece)
            return piece

        try:
            await pour(request, next_piece)
        finally:
            reader.close()

    return produce
