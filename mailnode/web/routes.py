"""What there is to ask for: a route names its path, who may ask, and how large a body it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any

from attrs import evolve, field, frozen

SMALL_OCTETS = 64 << 10
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Need(IntEnum):
    """Who may ask, and whoever may more: who looks after some domain, or after all of the node."""

    NOBODY = 0
    USER = 1
    DOMAIN_ADMIN = 2
    ADMIN = 3


@frozen
class Taken:
    """How large a request's body may be.

    Attributes:
        most_octets: more is answered 413 before it is read.
        streamed: it goes to the disk as it comes (`visit.uploads`), for who is signed in alone.
    """

    most_octets: int = SMALL_OCTETS
    streamed: bool = False


@frozen
class Answer:
    """What is answered.

    Attributes:
        body: text is UTF-8.
        kind: its Content-Type.
        headers: names and values beside it.
        cookies: whole Set-Cookie values.
        produce: writes more behind the body, for what has no end or is large (`outflow.Outflow`);
            the answer is over when it is done, and it is cancelled when the client goes.
    """

    body: str | bytes = b""
    status: int = 200
    kind: str = HTML
    headers: tuple[tuple[str, str], ...] = ()
    cookies: tuple[str, ...] = ()
    produce: Callable[[Any], Awaitable[None]] | None = None

    def with_headers(self, *headers: tuple[str, str]) -> Answer:
        return evolve(self, headers=self.headers + headers)

    def with_cookies(self, *cookies: str) -> Answer:
        return evolve(self, cookies=self.cookies + cookies)


def see_other(path: str) -> Answer:
    """Go there, with GET; `path` is one of ours."""
    return Answer(status=303, kind=TEXT, headers=(("Location", path),))


Answering = Callable[..., Awaitable[Answer]]


@frozen
class Route:
    """One thing to ask for.

    Attributes:
        path: as Klein takes it: "/mail/<int:folder_id>".
        methods: GET has HEAD with it.
        answer: called with the `Visit` and what the path holds.
        about: one line for the table in docs/web.rst.
        need: who may ask.
        scope: of tokens that may ask; None: no token may.
        takes: of a body.
    """

    path: str
    methods: tuple[str, ...]
    answer: Callable[..., Awaitable[Answer]] = field(eq=False)
    about: str
    need: Need = Need.USER
    scope: str | None = None
    takes: Taken = Taken()

    @property
    def is_unsafe(self) -> bool:
        return not UNSAFE.isdisjoint(self.methods)
