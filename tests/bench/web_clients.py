"""Those who look: browsers that keep a connection, a crowd of them, and event streams."""

from __future__ import annotations

import gzip
import http.client
import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import unescape

from attrs import define, field

from tests.bench.targets import Trouble
from tests.live.web_client import Browser

TIMEOUT_S = 60
HEARD_S = 30.0


@define(eq=False)
class Looker:
    """A browser that is signed in, on one connection.

    Attributes:
        cookies: the value of its Cookie field.
    """

    port: int
    cookies: str
    _link: http.client.HTTPConnection | None = field(default=None, init=False)

    @classmethod
    def signed_in(cls, port: int, name: str, password: str) -> Looker:
        browser = Browser(port)
        browser.sign_in(name, password)
        return cls(port, "; ".join(f"{key}={value}" for key, value in browser.cookies.items()))

    def look(self, path: str, **headers: str) -> bytes:
        """A page.

        Raises:
            Trouble: it is not answered 200.
        """
        if self._link is None:
            self._link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            self._link.request("GET", path, headers={"Cookie": self.cookies, **headers})
            answer = self._link.getresponse()
            octets = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.status != 200:
            raise Trouble(f"{path} was answered {answer.status}: {octets[:200]!r}")
        self.answer = answer
        return octets

    def timed(self, path: str) -> float:
        """Milliseconds from the question to the answer's last octet."""
        began = time.perf_counter()
        self.look(path)
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    answer: http.client.HTTPResponse = field(init=False)


def octets_of_first_page(looker: Looker, path: str) -> list[tuple[str, int]]:
    """What a browser that has nothing yet loads for a page: each file, its header and body."""
    found = []
    page = _all_octets(looker, path)
    found.append((path, page[0]))
    text = page[1].decode()
    links = re.findall(r'<(?:link|script|img|use)[^>]*? (?:href|src)="([^"#]+)', text)
    for link in dict.fromkeys(map(unescape, links)):
        found.append((link, _all_octets(looker, link)[0]))
    return found


def _all_octets(looker: Looker, path: str) -> tuple[int, bytes]:
    body = looker.look(path, **{"Accept-Encoding": "gzip"})
    head = sum(len(name) + len(value) + 4 for name, value in looker.answer.getheaders())
    plain = body
    if looker.answer.headers.get("Content-Encoding") == "gzip":
        plain = gzip.decompress(body)
    return head + len(body), plain


@define(eq=False)
class Crowd:
    """Browsers that each look at their list again and again, in turn within the time between.

    Attributes:
        took_ms: of each page.
        refused: what was not answered with a page, and why.
    """

    lookers: Sequence[Looker]
    path: str = "/mail"
    every_s: float = 5.0
    took_ms: list[float] = field(factory=list)
    refused: list[str] = field(factory=list)
    _over: threading.Event = field(factory=threading.Event)
    _paths: dict[Looker, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for each in self.lookers:
            each.look(self.path_of(each))

    def path_of(self, looker: Looker) -> str:
        """The inbox's: what /mail leads to."""
        if looker not in self._paths:
            link = http.client.HTTPConnection("127.0.0.1", looker.port, timeout=TIMEOUT_S)
            link.request("GET", self.path, headers={"Cookie": looker.cookies})
            self._paths[looker] = link.getresponse().headers["Location"]
            link.close()
        return self._paths[looker]

    @contextmanager
    def looking(self) -> Iterator[None]:
        self._over.clear()
        count = len(self.lookers)
        threads = [
            threading.Thread(target=self._look, args=(each, self.every_s * at / count), daemon=True)
            for at, each in enumerate(self.lookers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _look(self, looker: Looker, after_s: float) -> None:
        due = time.monotonic() + after_s
        while not self._over.wait(max(0.0, due - time.monotonic())):
            try:
                self.took_ms.append(looker.timed(self.path_of(looker)))
            except (OSError, http.client.HTTPException, Trouble) as error:
                self.refused.append(str(error))
            due += self.every_s


@define(eq=False)
class Streams:
    """Event streams that are open and read, by one thread."""

    _sockets: list[socket.socket] = field(factory=list)
    _selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)

    def open(self, lookers: Sequence[Looker], each: int) -> None:
        for looker in lookers:
            for _ in range(each):
                link = socket.create_connection(("127.0.0.1", looker.port), timeout=TIMEOUT_S)
                link.sendall(
                    f"GET /events HTTP/1.1\r\nHost: localhost:{looker.port}\r\nAccept:"
                    f" text/event-stream\r\nCookie: {looker.cookies}\r\n\r\n".encode()
                )
                self._sockets.append(link)
        for link in self._sockets:
            head = link.recv(65536)
            if not head.startswith(b"HTTP/1.1 200"):
                raise Trouble(f"a stream was answered {head[:200]!r}")
            link.setblocking(False)
            self._selector.register(link, selectors.EVENT_READ)

    def __len__(self) -> int:
        return len(self._sockets)

    def drain(self, for_s: float) -> None:
        """Pass over what is told until then."""
        deadline = time.monotonic() + for_s
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                self._read(key.fileobj)

    def all_told_s(self, began: float) -> list[float]:
        """How long after `began` each was told of a change, ascending.

        Raises:
            Trouble: one never was.
        """
        told: dict[object, float] = {}
        while len(told) < len(self._sockets):
            ready = self._selector.select(HEARD_S)
            if not ready:
                raise Trouble(f"{len(self._sockets) - len(told)} streams were told nothing")
            for key, _ in ready:
                if b"event: change" in self._read(key.fileobj):
                    told.setdefault(key.fileobj, time.monotonic() - began)
        return sorted(told.values())

    def _read(self, link: object) -> bytes:
        assert isinstance(link, socket.socket)
        octets = link.recv(65536)
        if not octets:
            raise Trouble("a stream was ended")
        return octets

    def close(self) -> None:
        self._selector.close()
        for link in self._sockets:
            link.close()
