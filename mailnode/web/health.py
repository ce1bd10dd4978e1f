"""Health and metrics over HTTP: /livez, /readyz and /metrics, for whoever looks after the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from mailnode.machine import is_loopback
from mailnode.web.channel import host_of
from mailnode.web.guard import forwarded

Refresh = Callable[[], Deferred[None] | None]


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


def nothing() -> None:
    """What is told is so now."""


def health_pages(
    readiness: Callable[[], Mapping[str, str]], metrics: Callable[[], str], refresh: Refresh
) -> dict[bytes, Page]:
    """By their names under /."""

    def livez(request: Any) -> str:
        return "alive\n"

    def readyz(request: Any) -> str:
        faults = readiness()
        if not faults:
            return "ready\n"
        request.setResponseCode(503)
        return "".join(f"{part}: {fault}\n" for part, fault in sorted(faults.items()))

    def metrics_page(request: Any) -> str:
        host = host_of(request.getClientAddress())
        if not is_loopback(host) or forwarded(request):
            request.setResponseCode(403)
            return "metrics are for this machine alone\n"
        return metrics()

    return {
        b"livez": Page(livez, nothing),
        b"readyz": Page(readyz, refresh),
        b"metrics": Page(metrics_page, refresh),
    }
