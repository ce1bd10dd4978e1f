"""A browser without a screen: cookies, forms and redirects, over plain HTTP on loopback."""

from __future__ import annotations

import http.client
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from attrs import define, field, frozen

FORM = "application/x-www-form-urlencoded"
PIECE_OCTETS = 1 << 20


@frozen
class Page:
    """What was answered.

    Attributes:
        path: that it was asked for under, the last of those that led to it.
    """

    status: int
    headers: Mapping[str, str]
    octets: bytes = field(repr=False)
    path: str = ""

    @property
    def text(self) -> str:
        return self.octets.decode()

    def json(self) -> Any:
        return json.loads(self.octets)

    def value(self, name: str) -> str:
        """Of the first input or textarea of that name."""
        found = re.search(
            rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"|'
            rf'<textarea[^>]*name="{name}"[^>]*>\n?([^<]*)</textarea>',
            self.text,
        )
        assert found, f"no {name} in:\n{self.text}"
        return unescape(found.group(1) or found.group(2) or "")

    def values(self, name: str) -> list[str]:
        """Of all inputs of that name."""
        return [
            unescape(each)
            for each in re.findall(rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"', self.text)
        ]

    @property
    def draft(self) -> str:
        """The number of the draft that its form writes on."""
        found = re.search(r'data-draft="(\d+)"', self.text)
        assert found, self.text
        return found.group(1)

    def fault(self, name: str) -> str:
        """What the page says is wrong with a field, "all" for the mail."""
        found = re.search(rf'id="fault-{name}"[^>]*>([^<]*)<', self.text)
        return unescape(found.group(1)) if found else ""


@define(eq=False)
class Browser:
    """One of a person's, signed in or not."""

    port: int
    cookies: dict[str, str] = field(factory=dict)
    csrf: str = ""

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        follow: bool = True,
    ) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookies, **(headers or {})} if cookies else dict(headers or {})
        try:
            connection.request(method, path, body if body else None, sent)
            answer = connection.getresponse()
            octets = answer.read()
        finally:
            connection.close()
        for each in answer.headers.get_all("Set-Cookie", []):
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies[name] = value
        if follow and answer.status == 303:
            return self.get(answer.headers["Location"])
        page = Page(answer.status, dict(answer.headers), octets, path)
        if found := re.search(rb'<meta name="csrf" content="([^"]*)"', octets):
            self.csrf = unescape(found.group(1).decode())
        return page

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, headers=headers)

    def sign_in(self, name: str, password: str) -> Page:
        csrf = self.get("/sign-in").value("csrf")
        fields = {"csrf": csrf, "name": name, "password": password, "next": "/settings"}
        page = self.ask("POST", "/sign-in", urlencode(fields).encode(), {"Content-Type": FORM})
        assert page.status == 200, page
        return page

    def post(
        self,
        path: str,
        fields: Mapping[str, str | Sequence[str]],
        files: Sequence[tuple[str, str, bytes | Path]] = (),
        *,
        script: bool = False,
        follow: bool = True,
        forged: bool = False,
    ) -> Page:
        """A multipart form.

        Args:
            files: name, type, and octets or where they lie; each as `attach`.
            script: a page's script asks.
            forged: without what the page was given.
        """
        boundary = secrets.token_hex(16)
        pieces: list[bytes | Path] = []

        def begin(more: str) -> None:
            pieces.append(f"--{boundary}\r\nContent-Disposition: form-data; {more}\r\n".encode())

        for name, value in {**({} if forged else {"csrf": self.csrf}), **fields}.items():
            for each in [value] if isinstance(value, str) else value:
                begin(f'name="{name}"')
                pieces.append(f"\r\n{each}\r\n".encode())
        for name, kind, content in files:
            begin(f'name="attach"; filename="{name}"')
            pieces += [f"Content-Type: {kind}\r\n\r\n".encode(), content, b"\r\n"]
        pieces.append(f"--{boundary}--\r\n".encode())
        length = sum(
            each.stat().st_size if isinstance(each, Path) else len(each) for each in pieces
        )
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(length),
        }
        if script:
            headers["Accept"] = "application/json"
            if not forged:
                headers["X-CSRF-Token"] = self.csrf
        return self.ask("POST", path, _octets_of(pieces), headers, follow=follow)


def _octets_of(pieces: Iterable[bytes | Path]) -> Iterable[bytes]:
    for each in pieces:
        if isinstance(each, bytes):
            yield each
        else:
            with each.open("rb") as file:
                while piece := file.read(PIECE_OCTETS):
                    yield piece


def form_of(page: Page) -> dict[str, str | Sequence[str]]:
    """What the form in which a mail is written would send, as it stands."""
    fields: dict[str, str | Sequence[str]] = {
        name: page.value(name)
        for name in ("key", "answers", "in_reply_to", "references", "source", "place",
                     "format", "to", "cc", "bcc", "subject", "text")
    }  # fmt: skip
    chosen = re.search(r"<option selected>([^<]*)</option>", page.text)
    fields["from"] = unescape(chosen.group(1)) if chosen else ""
    fields["take"] = page.values("take")
    return fields
