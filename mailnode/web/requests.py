"""A request: judged when its header is whole, its body taken as far as it may be, then answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString, parse_qs
from twisted.web.server import Request

from mailnode.errors import MailError
from mailnode.web.bodies import Body, Nothing
from mailnode.web.refusals import Broken
from mailnode.web.routes import SMALL_OCTETS

if TYPE_CHECKING:
    from mailnode.web.guard import Admission

_log = Logger(namespace="mailnode")

# Of every answer. Referrers stay among our own pages: without any, browsers send no Origin.
SECURITY_HEADERS: Sequence[tuple[str, str]] = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; frame-src 'self'; manifest-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    (
        "Permissions-Policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
)
STRICT_TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")


class WebRequest(Request):
    """Twisted's request, whose body goes where the route has it.

    Attributes:
        length: of the body, None where it comes in chunks.
        admission: who asks what, once that is known.
        waits_for_us: the client is not to blame for the silence.
    """

    channel: Any
    site: Any
    length: int | None = 0
    waits_for_us = False
    admission: Admission | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._body: Body = Nothing()
        self._pieces: deque[bytes] = deque()
        self._whole = self._ended = self._answered = self._held = False
        self._refusal: BaseException | None = None

    def headerReceived(
        self, command: bytes, uri: bytes, version: bytes, length: int | None
    ) -> None:
        """The body is still to come."""
        self._begin(command, uri, version, length)
        self.args = parse_qs(self.uri.partition(b"?")[2], True)
        admitting = maybeDeferred(self.site.admit, self)
        if not admitting.called:
            self._wait()
        admitting.addCallbacks(self._admitted, self._refuse)
        admitting.addErrback(self._failed)

    def refuse_head(self, command: bytes, uri: bytes, version: bytes, error: MailError) -> None:
        """Its header never becomes whole: it is answered, and nothing more is read."""
        self._begin(command, uri, version, None)
        self._refuse(Failure(error))

    def _begin(self, command: bytes, uri: bytes, version: bytes, length: int | None) -> None:
        self.method, self.uri, self.clientproto = command, uri, version
        self.path = uri.partition(b"?")[0]
        self.length, self.content = length, BytesIO()
        self.site = self.channel.site
        for name, value in SECURITY_HEADERS:
            self.responseHeaders.setRawHeaders(name, [value])
        self.responseHeaders.setRawHeaders("Cache-Control", ["no-store"])

    def path_text(self) -> str | None:
        """The path, decoded as Klein does it; None for what is no path."""
        if not self.path.startswith(b"/"):
            return None
        try:
            return b"/".join(unquote_to_bytes(part) for part in self.path.split(b"/")).decode()
        except UnicodeDecodeError:
            return None

    def header(self, name: str) -> str:
        """The last value of a header field, "" without one; what isn't UTF-8 is marked so."""
        values = self.requestHeaders.getRawHeaders(name.encode())
        return values[-1].decode("utf-8", "replace") if values else ""

    def _admitted(self, admission: Admission | None) -> None:
        self._go_on()
        if self._disconnected:
            if admission is not None:
                admission.body.drop()
            return
        if admission is not None:
            self.admission, self._body = admission, admission.body
        if self.length != 0 and not self._whole and self._expects:
            self.channel.go_ahead()
        self._pump()

    @property
    def _expects(self) -> bool:
        return self.header("Expect").lower() == "100-continue" and self.clientproto == b"HTTP/1.1"

    def handleContentChunk(self, data: bytes) -> None:
        if not self._answered:
            self._pieces.append(data)
            self._pump()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self._whole = True
        self._pump()

    def _pump(self) -> None:
        """What came goes on its way, as long as nobody is to be waited for."""
        while not self.waits_for_us and not self._answered:
            try:
                if self._pieces:
                    done = self._body.take(self._pieces.popleft())
                elif self._whole and not self._ended:
                    self._ended = True
                    done = self._body.end()
                else:
                    break
            except Exception:
                self._refuse(Failure())
                return
            if done is not None:
                self._wait()
                done.addCallbacks(lambda _: self._go_on(), self._refuse)
                done.addCallback(lambda _: self._pump())
                done.addErrback(self._failed)
        else:
            if self.waits_for_us and not self._whole and self._pieces:
                self._hold()  # it may have been told to go on when its last answer was read
            return
        if self._ended:
            self._answer()

    def _wait(self) -> None:
        self.waits_for_us = True
        if self.length != 0 and not self._whole:
            self._hold()

    def _hold(self) -> None:
        self._held = True
        self.channel.hold()

    def _go_on(self) -> None:
        self.waits_for_us = False
        if self._held and not self._disconnected:
            self._held = False
            self.channel.go_on()

    def _refuse(self, failure: Failure) -> None:
        """It is answered, at once where the client would send too much for nothing."""
        if self._disconnected or self._answered:
            return
        self._drop()
        self._refusal = failure.value
        if not isinstance(failure.value, MailError):
            _log.failure("a request failed", failure)
        self._go_on()
        little = self.length is not None and self.length <= SMALL_OCTETS and not self._expects
        if self._whole or not little or getattr(failure.value, "closes", False):
            if not self._whole:
                self.setHeader("Connection", "close")
            self._answer()
        else:
            self._pump()

    def _answer(self) -> None:
        if not self._answered and not self._disconnected:
            self._answered = True
            self.process()

    def process(self) -> None:
        """Answer, by whoever has the path."""
        self.setHeader("Server", "mailnode")
        self.setHeader("Date", datetimeToString())
        self.prepath: list[bytes] = []
        self.postpath = list(map(unquote_to_bytes, self.path[1:].split(b"/")))
        self.notifyFinish().addBoth(lambda _: self._drop())
        try:
            if self._refusal is not None:
                refusal = self._refusal
                told = refusal if isinstance(refusal, MailError) else Broken()
                self.site.refuse(self, told)
            else:
                self.render(self.site.getResourceFor(self))
        except BaseException:
            self._failed(Failure())

    def processingFailed(self, reason: Failure) -> Failure:
        """The log has it; the client hears of an error, and of nothing in it."""
        self._failed(reason)
        return reason

    def _failed(self, failure: Failure) -> None:
        self._log.failure("a request failed", failure)
        if self.finished or self._disconnected:
            return
        if self.startedWriting:
            self.loseConnection()
            return
        self.setHeader("Connection", "close")
        self.setResponseCode(500)
        self.setHeader("Content-Type", "text/plain; charset=utf-8")
        text = b"Something went wrong here; the log of the server says what.\n"
        self.setHeader("Content-Length", str(len(text)))
        self.write(text)
        self.finish()

    def _drop(self) -> None:
        self._pieces.clear()
        body, self._body = self._body, Nothing()
        body.drop()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._drop()
