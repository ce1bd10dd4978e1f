"""The web of a node: its routes by Klein, each behind the guard, and how refusals look."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from attrs import define, evolve, field
from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from mailnode.errors import MailError
from mailnode.web.bodies import (
    MOST_FIELD_OCTETS,
    Body,
    Form,
    InMemory,
    InThread,
    Large,
    Nothing,
    ToDisk,
    form_boundary,
)
from mailnode.web.guard import CSRF_FIELD, CSRF_HEADER, Admission, Guard, is_unsafe
from mailnode.web.guest import Guest
from mailnode.web.refusals import (
    BadRequest,
    BodyTooLarge,
    Broken,
    MustChangePassword,
    MustSignIn,
    NoRoom,
    NoSuchPage,
    WrongMethod,
)
from mailnode.web.requests import STRICT_TRANSPORT, WebRequest
from mailnode.web.routes import SMALL_OCTETS, Answer, Need, Route
from mailnode.web.templates import Templates
from mailnode.web.visit import Visit

_log = Logger(namespace="mailnode")

API = "/api/"
MOST_NUMBER = 1 << 63
REASONS = {
    414: b"URI Too Long",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
}
PROBLEM = "application/problem+json"


class Pages(Protocol):
    """Some of what there is to ask for."""

    def routes(self) -> Sequence[Route]: ...


@define(eq=False)
class Web:
    """Everything behind the HTTP port but health.

    Args:
        pages: what there is.
        folder: on whose disk large bodies are kept while they are worked on.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        has_room: whether the disk takes large bodies.

    Attributes:
        routes: all that the pages have, in their order.
        resource: for Twisted's site.
    """

    guard: Guard
    templates: Templates
    pages: Sequence[Pages]
    folder: Path
    in_thread: InThread
    has_room: Callable[[], bool] = field(default=lambda: True)
    routes: list[Route] = field(factory=list, init=False)
    resource: KleinResource = field(init=False)
    _klein: Klein = field(factory=Klein, init=False)
    _large: Large = field(factory=Large, init=False)

    def __attrs_post_init__(self) -> None:
        self._klein.url_map.merge_slashes = False
        self._klein.url_map.strict_slashes = False
        for pages in self.pages:
            for route in pages.routes():
                self._add(route)
        failed: Any = self._failed
        self._klein.handle_errors(Exception)(failed)
        self.resource = self._klein.resource()

    def _add(self, route: Route) -> None:
        number = len(self.routes)
        self.routes.append(route)

        def answer(request: WebRequest, **arguments: Any) -> Deferred[None]:
            return Deferred.fromCoroutine(self._answer(route, request, arguments))

        methods = list(route.methods)
        self._klein.route(route.path, methods=methods, endpoint=str(number))(answer)

    # Before the body

    def admit(self, request: WebRequest) -> Deferred[Admission]:
        """Who asks what, and where the body goes.

        Errors:
            MailError: it may not go on.
        """
        return Deferred.fromCoroutine(self._admit(request))

    async def _admit(self, request: WebRequest) -> Admission:
        guard, peer = self.guard, self.guard.peer_of(request)
        if peer.secure:
            request.setHeader(*STRICT_TRANSPORT)
        guard.require_host(request)
        route, arguments = self._find(request)
        unsafe = is_unsafe(request)
        if unsafe:
            guard.require_origin(request, peer)
        guest = await guard.guest_of(request, peer, route)
        guard.require_role(peer, route, guest)
        if unsafe and request.header(CSRF_HEADER):
            guard.require_csrf(request, peer, guest)

        def judge(form: Form) -> None:
            guard.require_csrf(request, peer, guest, form.get(CSRF_FIELD))

        body = self._body_for(request, route, guest, judge)
        return Admission(route, arguments, peer, guest, body)

    def _find(self, request: WebRequest) -> tuple[Route, dict[str, Any]]:
        path = request.path_text()
        if path is None:
            raise BadRequest("The address is no path")
        method = request.method.decode("ascii", "replace")
        adapter = self._klein.url_map.bind("localhost")
        try:
            endpoint, arguments = adapter.match(path, method)
        except MethodNotAllowed as error:
            refusal = WrongMethod()
            refusal.allowed = tuple(sorted(error.valid_methods or ()))
            raise refusal from None
        except (HTTPException, RequestRedirect):
            raise NoSuchPage() from None
        if any(isinstance(each, int) and each >= MOST_NUMBER for each in arguments.values()):
            raise NoSuchPage()  # nothing has such a number, and the database no room for it
        return self.routes[int(endpoint)], dict(arguments)

    def _body_for(
        self,
        request: WebRequest,
        route: Route,
        guest: Guest | None,
        judge: Callable[[Form], object],
    ) -> Body:
        """
        Raises:
            BodyTooLarge, NoRoom, TooManyBodies, BadRequest: it isn't taken.
            Forged: a large one comes whose page isn't ours.
        """
        if not is_unsafe(request):
            if request.length is None or request.length > SMALL_OCTETS:
                raise BodyTooLarge("There is nothing to send here")
            return Nothing()
        takes = route.takes
        if request.length is not None and request.length > takes.most_octets:
            raise BodyTooLarge.past(takes.most_octets)
        kind = request.header("Content-Type")
        if not takes.streamed or _is_small_form(kind):
            return InMemory(min(takes.most_octets, MOST_FIELD_OCTETS))
        if not self.has_room():
            raise NoRoom()
        boundary = form_boundary(kind)
        if not boundary:  # its header must say that it is from a page of ours: it has no field
            judge(Form())
        leave = self._large.come(0 if guest is None else guest.account.id)
        return ToDisk(
            takes.most_octets,
            self.folder,
            self.in_thread,
            boundary=boundary,
            kind=kind.partition(";")[0].strip().lower(),
            judge=judge,
            has_room=self.has_room,
            leave=leave,
        )

    # Behind the body

    async def _answer(self, route: Route, request: WebRequest, arguments: dict[str, Any]) -> None:
        admission = request.admission
        if admission is None or admission.route is not route:
            raise NoSuchPage()
        if is_unsafe(request):  # while its body came, who sent it may have been signed out
            guest = await self.guard.guest_of(request, admission.peer, route)
            self.guard.require_role(admission.peer, route, guest)
            admission = evolve(admission, guest=guest)
        visit = Visit(request, admission)
        if is_unsafe(request):
            said = "" if request.header(CSRF_HEADER) else visit.form.get(CSRF_FIELD)
            self.guard.require_csrf(request, admission.peer, admission.guest, said)
        await self._write(request, await route.answer(visit, **arguments))

    async def _write(self, request: WebRequest, answer: Answer) -> None:
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        request.setResponseCode(answer.status, REASONS.get(answer.status))
        request.setHeader("Content-Type", answer.kind)
        for name, value in answer.headers:
            request.setHeader(name, value)
        for cookie in answer.cookies:
            request.responseHeaders.addRawHeader("Set-Cookie", cookie)
        if answer.produce is None:
            if answer.status not in (204, 304):
                request.setHeader("Content-Length", str(len(body)))
            request.write(body)
            return
        request.write(body)
        if request.method != b"HEAD":
            await answer.produce(request)

    # Refusals

    def _failed(self, request: WebRequest, failure: Any) -> None:
        """Whatever a route raised."""
        error = failure.value
        if isinstance(error, RequestRedirect | HTTPException):
            error = NoSuchPage()
        elif not isinstance(error, MailError):
            _log.failure(
                "{path} failed", failure, path=request.path[:200].decode("ascii", "replace")
            )
            error = Broken()
        if request.startedWriting:  # half an answer must not look like a whole one
            request.channel.transport.abortConnection()
            return
        self._refuse(request, error)

    def refuse(self, request: WebRequest, error: MailError) -> None:
        """Answer with a refusal, and be done."""
        self._refuse(request, error)
        request.finish()

    def _refuse(self, request: WebRequest, error: MailError) -> None:
        status = error.http_status
        if not isinstance(error, MustSignIn) and status >= 500:
            _log.error("{path}: {error}", path=request.path[:200].decode("ascii", "replace"),
                       error=str(error))  # fmt: skip
        headers: list[tuple[str, str]] = []
        if isinstance(error, WrongMethod):
            headers.append(("Allow", ", ".join(error.allowed)))
        if error.retry_after_s:
            headers.append(("Retry-After", str(error.retry_after_s)))
        for_program = request.path.startswith(API.encode())
        if isinstance(error, MustSignIn):
            if for_program:
                headers.append(("WWW-Authenticate", 'Bearer realm="mailnode"'))
            elif request.method in (b"GET", b"HEAD"):
                self._send_to_sign_in(request)
                return
            elif request.header("HX-Request") == "true":
                headers.append(("HX-Redirect", "/sign-in"))
        if isinstance(error, MustChangePassword) and not for_program:
            if request.method in (b"GET", b"HEAD"):
                self._send_to(request, "/settings", 403)
                return
            if request.header("HX-Request") == "true":
                headers.append(("HX-Redirect", "/settings"))
        title = getattr(error, "title", "That did not work")
        if for_program:
            problem = {"type": "about:blank", "title": title, "status": status}
            members = getattr(error, "members", {})
            body = json.dumps({**problem, "detail": error.text, **members}) + "\n"
            kind = PROBLEM
        else:
            body = self.templates.refusal(request, status, title, error.text)
            kind = "text/html; charset=utf-8"
        request.setResponseCode(status, REASONS.get(status))
        request.setHeader("Content-Type", kind)
        for name, value in headers:
            request.setHeader(name, value)
        octets = body.encode()
        request.setHeader("Content-Length", str(len(octets)))
        request.write(octets)

    def _send_to_sign_in(self, request: WebRequest) -> None:
        asked = request.uri.decode("ascii", "replace")
        if asked == "/" or request.header("HX-Request") == "true":
            self._send_to(request, "/sign-in", 401)
        else:
            self._send_to(request, f"/sign-in?next={quote(asked, safe='/')}", 401)

    def _send_to(self, request: WebRequest, path: str, status: int) -> None:
        """Go there; a script of ours is told with a status."""
        if request.header("HX-Request") == "true":
            request.setResponseCode(status)
            request.setHeader("HX-Redirect", path)
        else:
            request.setResponseCode(303)
            request.setHeader("Location", path)
        request.setHeader("Content-Length", "0")
        request.write(b"")


def _is_small_form(kind: str) -> bool:
    """What says in a field that it is from a page of ours, and holds no files."""
    return kind.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"


__all__ = ["Need", "Pages", "Web"]
