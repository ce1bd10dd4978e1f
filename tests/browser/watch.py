"""What a page of ours must never do, noted while a browser shows it."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import define, field
from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError

_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => toldViolation(
  `${event.effectiveDirective} forbids ${event.blockedURI || "that"} in ${document.location.href}`
));
"""
_OWN = ("data", "blob", "about")


@define(eq=False, slots=False)  # Playwright keeps what it calls beside it
class Watch:
    """Over all pages of a context.

    Attributes:
        origin: of the node; nothing else may be asked for anything.
        faults: what they did, in words.
        expected: what a console may say in this test.
    """

    origin: str
    faults: list[str] = field(factory=list)
    expected: list[str] = field(factory=list)

    def follow(self, context: BrowserContext) -> None:
        context.expose_binding("toldViolation", lambda _source, told: self.note("policy", told))
        context.add_init_script(_VIOLATIONS)
        context.on("console", self._said)
        context.on("weberror", self._failed)
        context.on("request", self._asked)
        context.on("response", self._answered)

    def expect(self, *words: str) -> None:
        """The console may speak of this, such as of a page that is answered 404."""
        self.expected.extend(words)

    def note(self, kind: str, what: str) -> None:
        if not any(words in what for words in self.expected):
            self.faults.append(f"{kind}: {what}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location["url"] if message.location else ""
            self.note(f"console {message.type}", f"{message.text} ({where})")

    def _failed(self, error: WebError) -> None:
        self.note("script", f"{error.error}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in _OWN and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.note("elsewhere", f"{request.method} {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.note("answer", f"{response.status} {response.url}")

    def assert_quiet(self) -> None:
        assert not self.faults, "\n".join(self.faults)
