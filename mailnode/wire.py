"""Bytes on the wire, with no I/O in it: dot-stuffing, line ends, header fields.

Everything here is pure and keeps its state in the object, so that a test can split the
input wherever it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import IncrementalNewlineDecoder

from attrs import define

DOTS_LOOKED_AT = 32

_END = b"\r\n.\r\n"


@define(eq=False)
class BodyFacts:
    """What a reader learned of a body so far.

    Attributes:
        mend_bare_lf: whether a bare LF comes out as CRLF (for clients that we know; S19).
        size_octets: of what has come out.
        dot_lines: lines in it that begin with a dot.
        bare_cr, bare_lf: whether an octet 13 or 10 stood outside a CRLF.
    """

    mend_bare_lf: bool = False
    size_octets: int = 0
    dot_lines: int = 0
    bare_cr: bool = False
    bare_lf: bool = False
    _line_start: bool = True

    def _account(self, piece: bytes, dotted: bool = True) -> bytes:
        """Learn from a piece that cuts no CRLF in two, and mend it where that is wished.

        Args:
            dotted: False when it is known to have no CRLF in front of a dot.
        """
        if not piece:
            return piece
        line_ends = _line_ends(piece)
        if "\r" in line_ends:
            self.bare_cr = True
        if "\n" in line_ends:
            self.bare_lf = True
            if self.mend_bare_lf:
                piece = piece.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                dotted = True
        if dotted:
            self.dot_lines += piece.count(b"\r\n.")
        if self._line_start and piece[:1] == b".":
            self.dot_lines += 1
        self._line_start = piece.endswith(b"\r\n")
        self.size_octets += len(piece)
        return piece


def _line_ends(piece: bytes) -> tuple[str, ...]:
    """Which of CRLF, bare CR and bare LF end its lines.

    Three counts of octets tell it, too; the decoder of text files looks once, three times as fast.
    """
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(piece.decode("latin-1"), True)
    seen: str | tuple[str, ...] | None = decoder.newlines
    return seen if isinstance(seen, tuple) else (seen or "",)


@define(eq=False)
class DotReader(BodyFacts):
    """Reads a dot-stuffed body (RFC 5321 section 4.5.2) in chunks cut anywhere.

    Only CRLF.CRLF ends the body, whatever the lengths of its lines; LF.LF, CR.CR and a
    dot before the first line's end of a longer line do not. What comes out is the body
    without stuffing, its last CRLF included. A CRLF is never cut in two between pieces.

    Attributes:
        rest: what followed the end, once `feed` has said that it is reached.
    """

    rest: bytes = b""
    _held: bytes = b"\r\n"
    _virtual: int = 2  # octets of _held that the client never sent

    def feed(self, chunk: bytes) -> tuple[bytes, bool]:
        """Take a chunk; return (the body's next piece, whether the body ended in it)."""
        if self._virtual and self._virtual == len(self._held) and chunk and chunk[0] != 0x2E:
            self._held, self._virtual = b"", 0  # no dot is the first octet: joined, it were copied
        data = self._held + chunk
        dot = _first_dot_line(data)
        end = data.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.rest = data[end + 5 :]
            return self._release(data, end + 2, dot < end), True
        keep = _tail_to_hold(data)
        self._held = data[len(data) - keep :] if keep else b""
        return self._release(data, len(data) - keep, dot >= 0), False

    def _release(self, data: bytes, end: int, dotted: bool) -> bytes:
        """The body's part of what stands before `end`, without stuffing."""
        if not end:
            return b""
        begin, self._virtual = self._virtual, 0
        if not dotted:
            return self._account(data[begin:end], dotted)
        return self._account(data[:end].replace(b"\r\n.", b"\r\n")[begin:], dotted)


@define(eq=False)
class ChunkReader(BodyFacts):
    """Reads a body whose length was told beforehand (RFC 3030), in chunks cut anywhere."""

    _held: bytes = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; return the body's next piece."""
        data = self._held + chunk
        self._held = b"\r" if data.endswith(b"\r") else b""
        return self._account(data[: len(data) - len(self._held)])

    def end(self) -> bytes:
        """The body's last piece: it brings the CRLF that the body lacks."""
        rest, self._held = self._held, b""
        if not rest and self._line_start:
            return b""
        return self._account(rest + b"\r\n")


def _first_dot_line(data: bytes) -> int:
    """Where the first CRLF stands that a dot follows; -1 for none.

    One octet is found thirty times as fast as three, and a body in base64 has no more dots than
    its header and its end: so the first ones are looked at one by one.
    """
    dot = data.find(b".")
    for _ in range(DOTS_LOOKED_AT):
        if dot < 0:
            return -1
        if data.endswith(b"\r\n", 0, dot):
            return dot - 2
        dot = data.find(b".", dot + 1)
    return data.find(b"\r\n.", dot - 2) if dot >= 0 else -1


def _tail_to_hold(data: bytes) -> int:
    """How many octets at the end might be the beginning of CRLF.CRLF."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0


def stuff(data: bytes) -> bytes:
    """A whole body, dot-stuffed and ended: what stands between the reply and the next.

    Args:
        data: CRLF lines; a last line without CRLF gets one.
    """
    if data.startswith(b"."):
        data = b"." + data
    data = data.replace(b"\r\n.", b"\r\n..")
    if data and not data.endswith(b"\r\n"):
        return data + b"\r\n.\r\n"
    return data + b".\r\n"


@define(eq=False)
class DotWriter:
    """Dot-stuffs a body that comes in chunks cut anywhere.

    Attributes:
        plain: no line begins with a dot, so nobody need look for one.
    """

    plain: bool = False
    _last: bytes = b"\r\n"  # the last two octets that went out

    def feed(self, chunk: bytes) -> bytes:
        if not chunk:
            return chunk
        out = chunk if self.plain else self._stuffed(chunk)
        self._last = (self._last + chunk[-2:])[-2:]
        return out

    def _stuffed(self, chunk: bytes) -> bytes:
        out = chunk.replace(b"\r\n.", b"\r\n..")
        if chunk[0] == 0x2E and self._last == b"\r\n":
            out = b"." + out
        elif chunk[:2] == b"\n." and self._last[-1:] == b"\r":
            out = b"\n." + out[1:]
        return out

    def end(self) -> bytes:
        """What ends the body: the last CRLF where it lacks one, and the dot."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"


def head_of(data: bytes, lines: int) -> bytes:
    """The header, the blank line and `lines` lines of the body (RFC 1939, TOP)."""
    end = _header_end(data)
    for _ in range(lines):
        if end >= len(data):
            break
        found = data.find(b"\r\n", end)
        end = len(data) if found < 0 else found + 2
    return data[:end]


def _header_end(data: bytes) -> int:
    if data.startswith(b"\r\n"):
        return 2
    found = data.find(b"\r\n\r\n")
    return len(data) if found < 0 else found + 4


def header_of(data: bytes, most_octets: int | None = None) -> bytes:
    """The header fields, each with its CRLF, without the blank line.

    Args:
        most_octets: no more than so many are looked at; None for all.
    """
    if data.startswith(b"\r\n"):
        return b""
    found = data.find(b"\r\n\r\n", 0, most_octets)
    return data[:most_octets] if found < 0 else data[: found + 2]


_FOLD = re.compile(rb"\r\n(?=[ \t])")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.S)


def header_fields(header: bytes) -> Iterable[tuple[bytes, bytes]]:
    """(lower-case name, unfolded value) of each field; what is no field is passed over."""
    for line in _FOLD.sub(b"", header).split(b"\r\n"):
        if found := _FIELD.match(line):
            yield found.group(1).lower(), found.group(2).strip()
