"""Large answers, piece by piece, as fast as the client reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from mailnode.web.requests import WebRequest


@implementer(IPushProducer)
@define(eq=False)
class _Gate:
    """Shut while the client doesn't read."""

    _opened: Deferred[None] | None = field(default=None, init=False)

    def pauseProducing(self) -> None:
        if self._opened is None:
            self._opened = Deferred()

    def resumeProducing(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.callback(None)

    stopProducing = resumeProducing  # whoever waits is cancelled then

    async def passed(self) -> None:
        while self._opened is not None:
            waits: Deferred[None] = Deferred()
            self._opened.chainDeferred(waits)
            await waits


async def pour(request: WebRequest, next_piece: Callable[[], Awaitable[bytes]]) -> None:
    """All pieces are written, each when there is room for it.

    Args:
        next_piece: b"" is the end.
    """
    gate = _Gate()
    request.registerProducer(gate, True)
    try:
        while piece := await next_piece():
            request.write(piece)
            await gate.passed()
    finally:
        if request.channel is not None:  # the client is there
            request.unregisterProducer()
