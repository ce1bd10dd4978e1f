"""Answers that are written bit by bit: no more than the other end reads is held in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from mailnode.web.requests import WebRequest

PIECE_OCTETS = 256 << 10


@define(eq=False)
class Flow:
    """What goes to one client; a context, for it ends with the answer.

    Cancelled with the answer when the client goes.
    """

    request: WebRequest
    _paused: bool = field(default=False, init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False)

    def __enter__(self) -> Flow:
        self.request.registerProducer(self, True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.request.channel is not None:
            self.request.unregisterProducer()

    async def write(self, octets: bytes) -> None:
        """Write once the client has read nearly all that was written before."""
        if self._paused:
            self._waiting = Deferred()
            await self._waiting
        self.request.write(octets)

    # What Twisted calls

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        self._paused = True


def writes(reader: Any, octets: int) -> Callable[[Any], Awaitable[None]]:
    """Writes so many octets of a reader, as a blob has one; for `Answer.produce`."""

    async def produce(request: WebRequest) -> None:
        left = octets
        try:
            with Flow(request) as flow:
                while left > 0 and (piece := await reader.read(min(left, PIECE_OCTETS))):
                    left -= len(piece)
                    await flow.write(piece)
        finally:
            reader.close()

    return produce
