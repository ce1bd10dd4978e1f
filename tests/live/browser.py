"""A browser that runs no scripts: it signs in, keeps its cookies, and asks for pages."""

from __future__ import annotations

import html
import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlencode

from attrs import define, field

from tests.live.node import DOMAIN, PASSWORD, Node


@define(eq=False)
class Page:
    """An answer, read whole."""

    status: int
    fields: http.client.HTTPMessage
    octets: bytes

    @property
    def text(self) -> str:
        return self.octets.decode()

    @property
    def policy(self) -> str:
        return str(self.fields["Content-Security-Policy"])

    def links(self) -> list[str]:
        """Where it leads or loads from."""
        found = re.findall(r'(?:href|src)="([^"]*)"', self.text)
        return [html.unescape(each) for each in found]


@define(eq=False)
class Browser:
    """Of one account; each request is a connection of its own.

    Attributes:
        headers: said with each request.
    """

    node: Node
    headers: dict[str, str] = field(factory=dict)
    cookies: dict[str, str] = field(factory=dict)
    csrf: str = field(default="", init=False)

    def ask(self, path: str, verb: str = "GET", body: bytes | None = None, **headers: str) -> Page:
        client, answer = self.open(path, verb, body, **headers)
        with client:
            return Page(answer.status, answer.headers, answer.read())

    def open(
        self, path: str, verb: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[_Client, http.client.HTTPResponse]:
        """An answer of which nothing is read yet."""
        client = _Client("127.0.0.1", self.node.port("http"), timeout=60)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={said}" for name, said in self.cookies.items())
        client.request(verb, path, body, self.headers | headers)
        return client, client.getresponse()

    def send(self, path: str, **fields: str) -> Page:
        """A form."""
        body = urlencode({"csrf": self.csrf} | fields).encode()
        kind = "application/x-www-form-urlencoded"
        return self.ask(path, "POST", body, **{"Content-Type": kind})

    def sign_in(self, name: str = "alice", password: str = PASSWORD) -> Browser:
        page = self.ask("/sign-in")
        self._keep(page)
        answer = self.send("/sign-in", name=f"{name}@{DOMAIN}", password=password)
        assert answer.status == 303, (answer.status, answer.text)
        self._keep(answer)
        self._keep(self.ask("/settings"))
        return self

    def _keep(self, page: Page) -> None:
        for cookie in page.fields.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        for said in re.findall(r'name="csrf" (?:value|content)="([^"]*)"', page.text):
            self.csrf = said


class _Client(http.client.HTTPConnection):
    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pieces(answer: http.client.HTTPResponse, octets: int = 1 << 16) -> Iterator[bytes]:
    while piece := answer.read(octets):
        yield piece
