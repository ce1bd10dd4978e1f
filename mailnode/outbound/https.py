"""One small page over HTTPS, from or to the host that it says it is, and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from attrs import define, frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.ssl import TLSVersion, optionsForClientTLS
from twisted.web.client import (
    URI,
    Agent,
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers

from mailnode.answers import AnswerBody, BadAnswer, Way, innermost
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
            body = AnswerBody(MOST_OCTETS)
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
                cause = innermost(error)
                if isinstance(cause, CancelledError):  # the agent packs up this one, too
                    raise cause from None
                why = f"{address}: {str(cause) or type(cause).__name__}"
                kind = BadHost if _is_of_certificate(cause) else NoPage
        raise kind(why)

    async def _ask_at(self, address: str, host: str, request: _Request) -> Any:
        way = Way(partial(self._endpoint, address), MOST_ON_THE_WAY)
        agent = Agent.usingEndpointFactory(self._reactor, way)
        url = f"https://{host}{request.path}".encode("ascii")
        headers = Headers({b"User-Agent": [b"mailnode"], **request.headers})
        body = None if request.page is None else FileBodyProducer(BytesIO(request.page))
        try:
            return await request.read(await agent.request(request.method, url, headers, body))
        except BadAnswer as error:
            raise NoPage(str(error)) from None
        finally:
            await way.close()

    def _endpoint(self, address: str, uri: URI) -> Any:
        """One address, inside TLS."""
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        options = optionsForClientTLS(
            uri.host.decode("ascii"),
            trustRoot=self.trust,
            extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2},
        )
        tcp = kind(self._reactor, address, self.port, timeout=CONNECT_S)
        return wrapClientTLS(options, tcp)


@frozen
class _Request:
    method: bytes
    path: str
    headers: dict[bytes, list[bytes]]
    page: bytes | None
    read: Callable[[Any], Awaitable[Any]]


def _is_of_certificate(error: BaseException) -> bool:
    """Whether TLS came as far as a certificate, and that was not right."""
    told = isinstance(error, SSL.Error) and "certificate verify failed" in str(error)
    return told or isinstance(error, VerificationError)
