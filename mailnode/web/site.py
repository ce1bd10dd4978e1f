"""Health and metrics over HTTP: /livez, /readyz and /metrics.

Whoever may come, it costs little: so many connections, and no request's body is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from mailnode.machine import address_key, is_loopback

MOST_CONNECTIONS = 100
MOST_PER_ADDRESS = 20

Refresh = Callable[[], Deferred[None] | None]

_FORWARDED = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")


class Page(Resource):
    """A text made anew for each request, once what it tells of is up to date."""

    isLeaf = True

    def __init__(self, text: Callable[[Any], str], refresh: Refresh) -> None:
        super().__init__()
        self._text = text
        self._refresh = refresh

    def render(self, request: Any) -> int | bytes:
        """Twisted's own refusal of other methods is of a deprecated class."""
        if request.method in (b"GET", b"HEAD"):
            return self.render_GET(request)
        request.setResponseCode(405)
        request.setHeader(b"allow", b"GET, HEAD")
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"there is nothing to send here\n"

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        gone: list[object] = []
        request.notifyFinish().addBoth(gone.append)
        ready = maybeDeferred(self._refresh)
        ready.addCallback(lambda _: self._text(request).encode())
        ready.addCallbacks(
            lambda text: None if gone else self._answer(request, text),
            lambda failure: None if gone else self._failed(request, failure),
        )
        return NOT_DONE_YET

    def _failed(self, request: Any, failure: Failure) -> None:
        request.processingFailed(failure)  # it logs it, and gives it back

    def _answer(self, request: Any, text: bytes) -> None:
        request.setHeader(b"content-length", b"%d" % len(text))
        request.write(text)
        request.finish()


class Root(Resource):
    """What stands under /, and nothing else."""

    def getChild(self, path: bytes, request: Any) -> Any:
        return notFound()


def _nothing() -> None:
    """What is told is so now."""


class BodilessRequest(Request):
    """A request whose body is read and thrown away.

    Twisted's own puts a large one into a temporary file, as large as the client likes.
    """

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Nothing of it is needed."""


class BoundedFactory(WrappingFactory):
    """`MOST_CONNECTIONS` at a time, and a part of these from one address; loopback is exempt."""

    noisy = False

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._per_address: Counter[str] = Counter()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = _host_of(addr)
        if len(self.protocols) >= MOST_CONNECTIONS or (
            not is_loopback(host) and self._per_address[address_key(host)] >= MOST_PER_ADDRESS
        ):
            return None
        return super().buildProtocol(addr)

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        super().registerProtocol(p)
        self._per_address[address_key(_host_of(p.getPeer()))] += 1

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)
        self._per_address[address_key(_host_of(p.getPeer()))] -= 1
        self._per_address += Counter()  # those with a connection stay


def _host_of(address: IAddress | None) -> str:
    return str(getattr(address, "host", "") or "")


def _came_by_a_proxy(request: Any) -> bool:
    names = [name.lower() for name, _values in request.requestHeaders.getAllRawHeaders()]
    return any(name.startswith(_FORWARDED) for name in names)


def make_site(
    readiness: Callable[[], Mapping[str, str]],
    metrics: Callable[[], str],
    reactor: Any = None,
    refresh: Refresh = _nothing,
) -> BoundedFactory:
    """The HTTP server.

    Args:
        readiness: what keeps the node from serving, by part: empty when all is well.
        metrics: the metrics page.
        reactor: keeps its time; Twisted's, if none is given.
        refresh: is waited for before either is asked.
    """

    def livez(request: Any) -> str:
        return "alive\n"

    def readyz(request: Any) -> str:
        faults = readiness()
        if not faults:
            return "ready\n"
        request.setResponseCode(503)
        return "".join(f"{part}: {fault}\n" for part, fault in sorted(faults.items()))

    def metrics_page(request: Any) -> str:
        host = _host_of(request.getClientAddress())
        if not is_loopback(host) or _came_by_a_proxy(request):
            request.setResponseCode(403)
            return "metrics are for this machine alone\n"
        return metrics()

    root = Root()
    root.putChild(b"livez", Page(livez, _nothing))
    root.putChild(b"readyz", Page(readyz, refresh))
    root.putChild(b"metrics", Page(metrics_page, refresh))
    site = Site(root, BodilessRequest, timeout=60, reactor=reactor)
    site.noisy = False
    site.displayTracebacks = False
    return BoundedFactory(site)
