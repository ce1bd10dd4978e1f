"""A connection to a program that judges: octets both ways, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailnode.outgoing import nothing_waits, write_at_once

READ_AHEAD_OCTETS = 65_536
CLOSE_S = 5.0

_UNPRINTABLE = re.compile(r"[^ -~]+")


class NoAnswer(Exception):
    """The program did not judge: why, for the log."""


def words_of(error: object, most: int = 200) -> str:
    """What went wrong, on one line of ASCII."""
    text = str(error)
    if isinstance(error, BaseException) and not text:
        text = type(error).__name__
    return _UNPRINTABLE.sub(" ", text)[:most].strip(" .")


@asynccontextmanager
async def exchange_with(endpoint: Any, clock: Any) -> AsyncIterator[Exchange]:
    """A connection for the block; it ends with it, at once where something is raised.

    Raises:
        NoAnswer: nobody listens there.
    """
    factory = Factory.forProtocol(Exchange)
    factory.noisy = False
    try:
        exchange: Exchange = await endpoint.connect(factory)
    except ConnectingCancelledError:
        raise CancelledError() from None
    except (ConnectError, OSError) as error:
        raise NoAnswer(words_of(error)) from None
    try:
        yield exchange
    except BaseException:
        exchange.cut_off()
        raise
    exchange.close(clock)


@implementer(IPushProducer)
class Exchange(Protocol):
    """What is asked, and what is answered.

    Of the answer no more is read ahead than `READ_AHEAD_OCTETS` and what the kernel gives at a
    time; it waits in the kernel's buffers until somebody asks for it.
    """

    transport: Any

    def __init__(self) -> None:
        self._held, self._at = b"", 0  # what came, and how far it was taken
        self._gone = ""  # why there is no connection any more
        self._behind = self._holding_back = False
        self._closing: Any = None
        self._in_clear = False
        self._waiting: Deferred[None] | None = None  # for octets
        self._draining: Deferred[None] | None = None

    # For who asks

    async def send(self, piece: bytes) -> bool:
        """Write a piece, and wait while the program is behind.

        Returns:
            False once the program has spoken, or is gone: it wants no more of this.
        """
        if not self._gone:
            if not (self._in_clear and write_at_once(self.transport, piece)):
                self.transport.write(piece)
            if self._behind:
                self._draining = Deferred()
                await self._draining
        return not self._gone and self._at == len(self._held)

    async def take(self, count: int) -> bytes:
        """The next `count` octets.

        Raises:
            NoAnswer: the connection ended before that.
        """
        pieces, missing = [self._taken(count)], count
        while missing := missing - len(pieces[-1]):
            await self._more()
            pieces.append(self._taken(missing))
        return b"".join(pieces)

    async def take_to(self, end: bytes, most_octets: int) -> bytes:
        """What comes before `end`, which is passed over.

        Raises:
            NoAnswer: it didn't come within `most_octets`, or before the connection ended.
        """
        while (at := self._held.find(end, self._at, self._at + most_octets + len(end))) < 0:
            if len(self._held) - self._at >= most_octets + len(end):
                raise NoAnswer(f"a line of its answer is over {most_octets} octets")
            await self._more()
        found = self._taken(at - self._at)
        self._taken(len(end))
        return found

    def close(self, clock: Any) -> None:
        """What was written goes out, and then the connection ends; `CLOSE_S` later in any case."""
        if self._gone:
            return
        self._gone, self._held, self._at = "the connection is closed", b"", 0
        self.transport.unregisterProducer()
        if self._in_clear and nothing_waits(self.transport):
            self.transport.connectionLost(connectionDone)  # `loseConnection` would wait a turn
            return
        self._closing = clock.callLater(CLOSE_S, self.transport.abortConnection)
        self.transport.resumeProducing()
        self.transport.loseConnection()

    def cut_off(self) -> None:
        """Nothing more goes out."""
        if not self._gone:
            self._gone, self._held, self._at = "the connection was given up", b"", 0
            self.transport.abortConnection()

    def _taken(self, count: int) -> bytes:
        taken = self._held[self._at : self._at + count]
        self._at += len(taken)
        return taken

    async def _more(self) -> None:
        if self._gone:
            raise NoAnswer(self._gone)
        if self._holding_back:
            self._holding_back = False
            self.transport.resumeProducing()
        self._waiting = Deferred()
        await self._waiting

    # What Twisted calls

    def connectionMade(self) -> None:
        self._in_clear = not ISSLTransport.providedBy(self.transport)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._gone:
            return
        self._held, self._at = self._held[self._at :] + data, 0
        if len(self._held) >= READ_AHEAD_OCTETS:
            self._holding_back = True
            self.transport.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = self._gone or f"the connection was lost: {words_of(reason.value)}"
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._wake()
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self._behind = True

    def resumeProducing(self) -> None:
        self._behind = False
        draining, self._draining = self._draining, None
        if draining is not None and not draining.called:
            draining.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` says so, too."""

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)
