"""The HTTP server: health and metrics, and with a `Web` the pages and the API, on one port.

Whoever may come, it costs little: so many connections, and no more of a body than a route takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.web.pages import notFound
from twisted.web.resource import Resource

from mailnode.errors import MailError
from mailnode.web.channel import BoundedFactory, Crowd, WebSite
from mailnode.web.health import Refresh, health_pages, nothing
from mailnode.web.requests import WebRequest

if TYPE_CHECKING:
    from mailnode.web.guard import Admission
    from mailnode.web.web import Web


class Root(Resource):
    """What stands under /, and else what the web has there."""

    def __init__(self, web: Web | None) -> None:
        super().__init__()
        self._web = web

    def getChild(self, path: bytes, request: Any) -> Any:
        if self._web is None:
            return notFound()
        request.prepath.pop()
        request.postpath.insert(0, path)
        return self._web.resource


class MailSite(WebSite):
    """Twisted's site, which judges a request when its header is whole."""

    requestFactory = WebRequest

    def __init__(self, root: Root, web: Web | None, reactor: Any) -> None:
        super().__init__(root, timeout=60, reactor=reactor, parsePOSTFormSubmission=False)
        self._web = web

    def admit(self, request: WebRequest) -> Deferred[Admission] | None:
        """Where the body goes; None, to nowhere: health asks nobody who he is.

        Raises:
            MailError: it may not go on.
        """
        if self._web is None or request.path[1:] in self.resource.children:
            return None
        return self._web.admit(request)

    def refuse(self, request: WebRequest, error: MailError) -> None:
        if self._web is not None:
            self._web.refuse(request, error)
        else:
            body = f"{error.text}\n".encode()
            request.setResponseCode(error.http_status)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            request.setHeader("Content-Length", str(len(body)))
            request.write(body)
            request.finish()


def make_site(
    readiness: Callable[[], Mapping[str, str]],
    metrics: Callable[[], str],
    reactor: Any = None,
    refresh: Refresh = nothing,
    *,
    web: Web | None = None,
    crowd: Crowd | None = None,
    tls: Any = None,
) -> BoundedFactory:
    """The HTTP server.

    Args:
        readiness: what keeps the node from serving, by part: empty when all is well.
        metrics: the metrics page.
        reactor: keeps its time; Twisted's, if none is given.
        refresh: is waited for before either is asked.
        web: what else is served.
        crowd: counts who is connected, here and at another port's.
        tls: the `Certificate` that it is inside of; None for plain HTTP.
    """
    root = Root(web)
    for name, page in health_pages(readiness, metrics, refresh).items():
        root.putChild(name, page)
    site = MailSite(root, web, reactor)
    return BoundedFactory(
        site if tls is None else tls.around(site), Crowd() if crowd is None else crowd
    )
