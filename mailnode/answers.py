"""What an HTTP server answers: over a connection that is chosen for it, and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, ResponseDone
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer


class BadAnswer(Exception):
    """It is too long, or its end is missing: which, for the log."""


class AnswerBody(Protocol):
    """Gathers an answer's body; a `Way` keeps what comes little.

    Attributes:
        whole: fires with its octets, or fails with BadAnswer.
    """

    def __init__(self, most_octets: int) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._most_octets = most_octets
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:  # who waited was cancelled
            return
        octets = b"".join(self._pieces)
        if len(octets) > self._most_octets:
            self.whole.errback(BadAnswer(f"it is over {self._most_octets} octets"))
        elif reason.check(ResponseDone):
            self.whole.callback(octets)
        else:
            self.whole.errback(BadAnswer("its end is missing"))


@implementer(IAgentEndpointFactory)
@define(eq=False)
class Way:
    """Leads an agent's one request to an endpoint, whatever the URL's host resolves to elsewhere.

    Attributes:
        find_endpoint: the one for a URL.
        most_octets: more than that doesn't come this way: the connection is cut.
    """

    find_endpoint: Callable[[URI], Any]
    most_octets: int
    _connection: _Counted | None = field(default=None, init=False)

    def endpointForURI(self, uri: URI) -> Any:
        return _CountedEndpoint(self, self.find_endpoint(uri))

    def cut_off(self) -> None:
        """Nothing more comes or goes."""
        if self._connection is not None:
            self._connection.abortConnection()

    async def close(self) -> None:
        """The connection, if there is one, is gone."""
        if self._connection is not None:
            self._connection.abortConnection()
            await self._connection.closed


@implementer(IStreamClientEndpoint)
@frozen
class _CountedEndpoint:
    way: Way
    inside: Any

    def connect(self, factory: Any) -> Deferred[Any]:
        counted = WrappingFactory(factory)
        counted.protocol, counted.noisy = _Counted, False

        def made(connection: _Counted) -> Any:
            connection.octets_left = self.way.most_octets
            self.way._connection = connection
            return connection.wrappedProtocol

        connecting: Deferred[Any] = self.inside.connect(counted)
        return connecting.addCallback(made)


class _Counted(ProtocolWrapper):
    """A connection that is cut when more comes than is allowed."""

    octets_left = 0

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.octets_left -= len(data)
        if self.octets_left < 0:
            self.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.closed.callback(None)


def innermost(error: Any) -> BaseException:
    """What went wrong with a request, out of all that Twisted packs around it."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    assert isinstance(error, BaseException)
    return error
