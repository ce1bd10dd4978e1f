"""One small page over HTTPS, from or to the host that it says it is, and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from attrs import define, frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import TLSVersion, optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from mailnode.errors import MailError
from mailnode.outbound.mx import find_addresses

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver

MOST_OCTETS = 64 * 1024
MOST_ON_THE_WAY = 2 * MOST_OCTETS  # with its header
MOST_ADDRESSES = 4
CONNECT_S = 10.0
PAGE_S = 60.0  # with the look-up, the connection and TLS (RFC 8461 section 3.3)


class NoPage(Exception):
    """It can't be had, or was not taken: why, for the log."""


class BadHost(NoPage):
    """The host's certificate is not right."""


@define(eq=False)
class Https:
    """Fetches and posts pages; certificates are verified, and no redirect is followed.

    Args:
        trust: whose certificates are right, as `optionsForClientTLS` takes it; None for those that
            the system trusts.
        port: another than 443, for a test.
    """

    _reactor: Any
    _resolver: IResolver
    trust: Any = None
    port: int = 443

    async def fetch(self, host: str, path: str, media_type: str = "text/plain") -> bytes:
        """The page's octets, at most `MOST_OCTETS`.

        Raises:
            NoPage: any other answer than 200 with this media type, or none in time.
        """

        async def read(response: Any) -> bytes:
            if response.code != 200:
                raise NoPage(f"it answered {response.code}")
            kinds = response.headers.getRawHeaders(b"content-type", [b""])
            if kinds[0].partition(b";")[0].strip().lower() != media_type.encode():
                raise NoPage(f"it is not {media_type}")
            body = _Body()
            response.deliverBody(body)
            return await body.whole

        page: bytes = await self._within(host, _Request(b"GET", path, {}, None, read))
        return page

    async def post(self, host: str, path: str, page: bytes, media_type: str) -> None:
        """Hand a page over.

        Raises:
            NoPage: any other answer than 2xx, or none in time.
        """

        async def read(response: Any) -> None:
            if response.code // 100 != 2:
                raise NoPage(f"it answered {response.code}")

        headers = {b"Content-Type": [media_type.encode()]}
        await self._within(host, _Request(b"POST", path, headers, page, read))

    async def _within(self, host: str, request: _Request) -> Any:
        try:
            return await Deferred.fromCoroutine(self._ask(host, request)).addTimeout(
                PAGE_S, self._reactor
            )
        except (MailError, ValueError) as error:  # a host that can't be named in TLS
            raise NoPage(f"{host}: {error}") from None
        except NoPage as error:
            raise type(error)(f"{host}: {error}") from None
        except (TimeoutError, CancelledError):
            raise NoPage(f"{host}: nothing within {PAGE_S:g} s") from None

    async def _ask(self, host: str, request: _Request) -> Any:
        found = await find_addresses(self._resolver, host)
        why, kind = "it has no address", NoPage
        for address in found.values[:MOST_ADDRESSES]:
            try:
                return await self._ask_at(address, host, request)
            except (ConnectError, ConnectionClosed, OSError) as error:
                why, kind = f"{address}: {error}", NoPage
            except (ResponseFailed, ResponseNeverReceived, RequestTransmissionFailed) as error:
                cause = _innermost(error)
                if isinstance(cause, CancelledError):  # the agent packs up this one, too
                    raise cause from None
                why = f"{address}: {str(cause) or type(cause).__name__}"
                kind = BadHost if _is_of_certificate(cause) else NoPage
        raise kind(why)

    async def _ask_at(self, address: str, host: str, request: _Request) -> Any:
        way = _Way(self._reactor, address, self.port, self.trust)
        agent = Agent.usingEndpointFactory(self._reactor, way)
        url = f"https://{host}{request.path}".encode("ascii")
        headers = Headers({b"User-Agent": [b"mailnode"], **request.headers})
        body = None if request.page is None else FileBodyProducer(BytesIO(request.page))
        try:
            return await request.read(await agent.request(request.method, url, headers, body))
        finally:
            await way.close()


@frozen
class _Request:
    method: bytes
    path: str
    headers: dict[bytes, list[bytes]]
    page: bytes | None
    read: Callable[[Any], Awaitable[Any]]


class _Body(Protocol):
    """Gathers a page."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)  # `_Counted` keeps them few

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        page = b"".join(self._pieces)
        if len(page) > MOST_OCTETS:
            self.whole.errback(NoPage(f"it is over {MOST_OCTETS} octets"))
        elif reason.check(ResponseDone):
            self.whole.callback(page)
        else:
            self.whole.errback(NoPage("its end is missing"))


@implementer(IAgentEndpointFactory)
@define(eq=False)
class _Way:
    """Leads the agent to one address, inside TLS, whatever the URL's host resolves to elsewhere."""

    _reactor: Any
    _address: str
    _port: int
    _trust: Any
    _connection: _Counted | None = None

    def endpointForURI(self, uri: URI) -> Any:
        kind = TCP6ClientEndpoint if ":" in self._address else TCP4ClientEndpoint
        options = optionsForClientTLS(
            uri.host.decode("ascii"),
            trustRoot=self._trust,
            extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2},
        )
        tcp = kind(self._reactor, self._address, self._port, timeout=CONNECT_S)
        return _CountedEndpoint(self, wrapClientTLS(options, tcp))

    async def close(self) -> None:
        """The connection, if there is one, is gone."""
        if self._connection is not None:
            self._connection.abortConnection()
            await self._connection.closed


@implementer(IStreamClientEndpoint)
@frozen
class _CountedEndpoint:
    way: _Way
    inside: Any

    def connect(self, factory: Any) -> Deferred[Any]:
        counted = WrappingFactory(factory)
        counted.protocol, counted.noisy = _Counted, False

        def made(connection: _Counted) -> Any:
            self.way._connection = connection
            return connection.wrappedProtocol

        connecting: Deferred[Any] = self.inside.connect(counted)
        return connecting.addCallback(made)


class _Counted(ProtocolWrapper):
    """A connection that is cut when more comes than a page has."""

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self.closed: Deferred[None] = Deferred()
        self._octets = 0

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MOST_ON_THE_WAY:
            self.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.closed.callback(None)


def _innermost(error: Any) -> BaseException:
    """What went wrong, out of all that Twisted packs around it."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    assert isinstance(error, BaseException)
    return error


def _is_of_certificate(error: BaseException) -> bool:
    """Whether TLS came as far as a certificate, and that was not right."""
    told = isinstance(error, SSL.Error) and "certificate verify failed" in str(error)
    return told or isinstance(error, VerificationError)
