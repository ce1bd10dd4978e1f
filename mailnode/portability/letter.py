"""A mail at rest, on its way in: brought to its canonical form once, here.

A bare LF becomes CRLF and a last line without an end gets one; what has CRLF stays as it is.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from attrs import Factory, define, field, frozen

from mailnode.mime import subject_of
from mailnode.wire import ChunkReader, header_of

HELD_OCTETS = 256 << 10
HEAD_OCTETS = 64 << 10
MOST_OCTETS = (1 << 32) - (1 << 20)  # sizes are kept in 32 bits, with what is put in front
LEADS = 8


class Spool(Protocol):
    """Where the octets of a large mail go as they come."""

    def write(self, octets: bytes, /) -> None: ...

    def discard(self) -> None: ...


def readable(name: str) -> str:
    """A name that a disk has, in characters: it may be in an older charset than UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@define(eq=False, kw_only=True)
class Letter:
    """A mail that was read from somewhere.

    Attributes:
        where: it lay, for people.
        octets: CRLF lines; None where they are in `spool`.
        digest: SHA-256 of them.
        digests: that it may be known by: its own, and for one that a mailnode served before, those
            of what came to that node.
        dot_lines: lines that begin with a dot.
        sender: reverse-path without brackets, "" for <>; where the source doesn't say, the address
            in From, for lists; None without either.
        received_at: UTC epoch seconds; None where nobody knows.
        flags: bits of `model`.
        folder: "" for the inbox, else its name with dots between the levels.
        unparted: lines of it that begin a mail elsewhere, but for a blank line before them.
    """

    where: str = field(converter=readable)
    octets: bytes | None
    spool: Spool | None
    size_octets: int
    digest: bytes
    digests: tuple[bytes, ...]
    dot_lines: int
    subject: str
    sender: str | None = None
    received_at: float | None = None
    flags: int = 0
    folder: str = field(default="", converter=readable)
    unparted: int = 0

    def discard(self) -> None:
        """Nothing of it is left on the disk."""
        if self.spool is not None:
            self.spool.discard()


@frozen
class Lost:
    """What could not be taken, and why."""

    where: str = field(converter=readable)
    why: str


def _no_spool() -> Spool:
    raise ValueError("there is nowhere to put a large mail")


@define(eq=False)
class Gathering:
    """Takes the pieces of a mail and makes a `Letter` of them, in bounded memory.

    Attributes:
        make_spool: for a mail of more than `held_octets`.
    """

    make_spool: Callable[[], Spool] = _no_spool
    held_octets: int = HELD_OCTETS
    _lines: ChunkReader = Factory(lambda: ChunkReader(mend_bare_lf=True))
    _pieces: list[bytes] = field(factory=list, init=False)
    _held: int = field(default=0, init=False)
    _head: bytes = field(default=b"", init=False)
    _sums: list[Any] = field(factory=list, init=False)
    _spool: Spool | None = field(default=None, init=False)

    def feed(self, piece: bytes) -> None:
        """Take the next octets, cut anywhere.

        Raises:
            MailError: the spool can't be written.
        """
        self._keep(self._lines.feed(piece))

    def discard(self) -> None:
        """The mail is given up."""
        self._pieces = []
        if self._spool is not None:
            self._spool.discard()

    def end(self, where: str, **facts: Any) -> Letter | Lost:
        """The mail, whole; lost is one of nothing, and one of 4 GiB or more."""
        self._keep(self._lines.end())
        size = self._lines.size_octets
        if not size or size > MOST_OCTETS:
            self.discard()
            return Lost(where, "it is larger than 4 GiB" if size else "it is empty")
        octets = None
        if self._spool is None:
            octets = b"".join(self._pieces)
            self._head = octets[:HEAD_OCTETS]
            self._sums = _sums_of(octets)
        digests = tuple(each.digest() for each in self._sums)
        header = header_of(self._head)
        facts.setdefault("sender", None)
        if facts["sender"] is None:
            facts["sender"] = return_path_of(header) or author_of(header)
        if facts.get("received_at") is None:
            facts["received_at"] = time_of(header)
        return Letter(
            where=where,
            octets=octets,
            spool=self._spool,
            size_octets=size,
            digest=digests[0],
            digests=digests,
            dot_lines=self._lines.dot_lines,
            subject=subject_of(header),
            **facts,
        )

    def _keep(self, octets: bytes) -> None:
        if self._spool is not None:
            for each in self._sums:
                each.update(octets)
            self._spool.write(octets)
            return
        self._pieces.append(octets)
        self._held += len(octets)
        if self._held > self.held_octets:
            held = b"".join(self._pieces)
            self._pieces = []
            self._head = held[:HEAD_OCTETS]
            self._sums = _sums_of(held)
            self._spool = self.make_spool()
            self._spool.write(held)


def gather(
    octets: bytes, where: str, make_spool: Callable[[], Spool] = _no_spool, **facts: Any
) -> Letter | Lost:
    """A mail that is in memory already."""
    gathering = Gathering(make_spool)
    gathering.feed(octets)
    return gathering.end(where, **facts)


_SERVED = re.compile(rb"Return-Path: <[^\r\n]*>\r\nDelivered-To: [^\r\n]*\r\n")
_FIELD = re.compile(rb"[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def _sums_of(begin: bytes) -> list[Any]:
    """The digest of a mail so far; of one that a mailnode served, those of its parts, too.

    What such a node put in front stands before the octets that came to it, and these it is known
    by where it lies still: where the one part ends, nobody can tell, so after each of some fields.
    """
    sums = [hashlib.sha256(begin)]
    served = _SERVED.match(begin)
    at = served.end() if served else 0
    while served and len(sums) <= LEADS:
        sums.append(hashlib.sha256(memoryview(begin)[at:]))
        found = _FIELD.match(begin, at)
        if not found:
            break
        at = found.end()
    return sums


_RETURN_PATH = re.compile(rb"return-path:[ \t]*<([^<>\r\n]*)>[ \t]*\r\n", re.I)


def return_path_of(header: bytes) -> str | None:
    """The reverse-path that the mail's first field tells; None where it doesn't."""
    found = _RETURN_PATH.match(header)
    return found[1][:320].decode("utf-8", "replace") if found else None


_MAILBOX = re.compile(rb"<([^<>\s]+@[^<>\s]+)>|(?:^|[\s,])([^<>\s,;:\"]+@[^<>\s,;:\"]+)")


def author_of(header: bytes) -> str | None:
    """The address in From: who knows no reverse-path has that to show."""
    found = _MAILBOX.search(_field(header.lower(), header, b"from:")[:2000])
    return (found[1] or found[2])[:320].decode("utf-8", "replace") if found else None


def time_of(header: bytes) -> float | None:
    """When it came by its newest Received field, or was written by its Date."""
    lower = header.lower()
    received = _field(lower, header, b"received:")
    for text in (received.rpartition(b";")[2], _field(lower, header, b"date:")):
        if text and (at := read_date(text.decode("latin-1"))) is not None:
            return at
    return None


def _field(lower: bytes, header: bytes, name: bytes) -> bytes:
    """The value of the first field of that name, on one line."""
    at = 0 if lower.startswith(name) else lower.find(b"\n" + name) + 1
    found = _FIELD.match(header, at) if at or lower.startswith(name) else None
    return b" ".join(found[0][len(name) :].split()) if found else b""


def read_date(text: str) -> float | None:
    """UTC epoch seconds of a date as mail has it; None for what is none."""
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if 0 <= at < time.time() + 366 * 86400 else None
