"""Health and metrics over HTTP: /livez, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Site

from mailnode.machine import is_loopback

_FORWARDED = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")


class Page(Resource):
    """A text made anew for each request."""

    isLeaf = True

    def __init__(self, text: Callable[[Any], str]) -> None:
        super().__init__()
        self._text = text

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        return self._text(request).encode()


def _came_by_a_proxy(request: Any) -> bool:
    names = [name.lower() for name, _values in request.requestHeaders.getAllRawHeaders()]
    return any(name.startswith(_FORWARDED) for name in names)


def make_site(
    readiness: Callable[[], Mapping[str, str]], metrics: Callable[[], str], reactor: Any = None
) -> Site:
    """The HTTP server.

    Args:
        readiness: what keeps the node from serving, by part: empty when all is well.
        metrics: the metrics page.
        reactor: keeps its time; Twisted's, if none is given.
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
        host = getattr(request.getClientAddress(), "host", "") or ""
        if not is_loopback(host) or _came_by_a_proxy(request):
            request.setResponseCode(403)
            return "metrics are for this machine alone\n"
        return metrics()

    root = Resource()
    for path, text in ((b"livez", livez), (b"readyz", readyz), (b"metrics", metrics_page)):
        root.putChild(path, Page(text))
    site = Site(root, timeout=60, reactor=reactor)
    site.noisy = False
    site.displayTracebacks = False
    return site
