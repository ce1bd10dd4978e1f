"""A mail as a program pipes it: brought to CRLF, made whole, its octets otherwise kept."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from email.utils import format_datetime, formataddr, localtime, make_msgid
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO

from attrs import define, field, frozen

from mailnode.client.header import Field, named_in
from mailnode.errors import MailError

IN_MEMORY_OCTETS = 1 << 20
HEADER_OCTETS = 256 << 10
PIECE_OCTETS = 65536
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_LINE_ENDS = re.compile(rb"\r*\n|\r+")


class NoMail(MailError):
    """What stands on standard input can't be sent."""

    smtp_code, enhanced, exit_code = 554, "5.6.0", 65


@frozen
class Author:
    """Who pipes it.

    Attributes:
        address: the reverse-path, "" for `<>`, and From where that is missing.
        name: shown there; may be "".
        domain: of addresses that have none.
    """

    address: str
    name: str
    domain: str


@frozen
class Piped:
    """A mail that is whole.

    Attributes:
        file: CRLF lines; in memory when it is small.
        named: the recipients that To, Cc and Bcc name, each with a domain.
    """

    file: IO[bytes] = field(repr=False)
    size_octets: int
    eight_bit: bool
    named: tuple[str, ...]

    def open(self) -> BinaryIO:
        """Its octets, from the first; closing that closes nothing."""
        self.file.seek(0)
        return io.BufferedReader(_Unclosed(self.file))


class _Unclosed(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)


def read_piped(stream: BinaryIO, author: Author, *, dot_ends: bool) -> Piped:
    """Read a mail to its end.

    Bcc is cut. Date, Message-ID and From are added where they are missing, and addresses without a
    domain get the author's. A bare CR, which no mail may have, becomes a line end, in the header a
    blank.

    Args:
        dot_ends: whether a full stop alone on a line is the end.

    Raises:
        NoMail: its header is larger than 256 KiB.
        OSError: there is no room for it.
    """
    source = _Source(stream, dot_ends)
    fields, rest = _read_header(source)
    header = [each.completed(author.domain) for each in fields if not each.is_unseen]
    writer = _Writer()
    try:
        for line in _missing(fields, author):
            writer.write(line.encode() + b"\r\n")
        for each in header:
            writer.write(each.raw)
        writer.write(b"\r\n")
        _copy_body(source, rest, writer)
    except BaseException:
        writer.file.close()
        raise
    writer.file.seek(0)
    named = named_in(fields, author.domain)
    return Piped(writer.file, writer.octets, writer.eight_bit, named)


@define(eq=False)
class _Source:
    """Standard input, until its end or the full stop."""

    stream: BinaryIO
    dot_ends: bool
    _at_start: bool = True
    _ended: bool = False

    def line(self) -> bytes:
        """The next line, or 64 KiB of it; b"" at the end."""
        if self._ended:
            return b""
        line = self.stream.readline(PIECE_OCTETS)
        if not line or (self.dot_ends and self._at_start and line.rstrip(b"\r\n") == b"."):
            self._ended = True
            return b""
        self._at_start = line.endswith(b"\n")
        return line

    def pieces(self) -> Iterator[bytes]:
        """The rest, cut anywhere."""
        if self.dot_ends:
            yield from iter(self.line, b"")
        elif not self._ended:
            yield from iter(lambda: self.stream.read(PIECE_OCTETS), b"")


def _temporary() -> IO[bytes]:
    return SpooledTemporaryFile(IN_MEMORY_OCTETS)


@define(eq=False)
class _Writer:
    file: IO[bytes] = field(factory=_temporary)
    octets: int = 0
    eight_bit: bool = False

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.octets += len(data)
        self.eight_bit = self.eight_bit or not data.isascii()


def _read_header(source: _Source) -> tuple[list[Field], bytes]:
    """The fields, and what was read of the body when no blank line stood between them."""
    raws, octets, first = list[bytearray](), 0, True
    whole = True  # whether the line before ended
    while line := source.line():
        if first and line.startswith(b"From "):  # of a mailbox file
            first = False
            continue
        first = False
        if whole and not line.strip(b"\r\n"):
            return _fields(raws), b""
        if whole and _FIELD.match(line):
            raws.append(bytearray(line))
        elif raws and (not whole or line[:1] in b" \t"):
            raws[-1] += line
        else:
            return _fields(raws), line
        whole = line.endswith(b"\n")
        octets += len(line)
        if octets > HEADER_OCTETS:
            raise NoMail(f"the header is larger than {HEADER_OCTETS >> 10} KiB")
    return _fields(raws), b""


def _fields(raws: list[bytearray]) -> list[Field]:
    found = []
    for raw in raws:
        lines = bytes(raw).rstrip(b"\r\n").split(b"\n")
        clean = [line.rstrip(b"\r").replace(b"\r", b" ") for line in lines]
        match = _FIELD.match(clean[0])
        assert match is not None
        found.append(Field(match.group(1).lower(), b"\r\n".join(clean) + b"\r\n"))
    return found


def _missing(fields: list[Field], author: Author) -> Iterator[str]:
    there = {each.name for each in fields}
    if b"from" not in there:
        yield f"From: {_shown(author)}"
    if b"date" not in there:
        yield f"Date: {format_datetime(localtime())}"
    if b"message-id" not in there:
        yield f"Message-ID: {make_msgid(domain=author.domain)}"


def _shown(author: Author) -> str:
    """For From; who sends as `<>` has an address nonetheless."""
    address = author.address or f"MAILER-DAEMON@{author.domain}"
    name = "".join(c if c.isprintable() else " " for c in author.name).strip()
    if not address.isascii():
        return f"<{address}>"
    return formataddr((name, address))


def _copy_body(source: _Source, rest: bytes, writer: _Writer) -> None:
    held = rest
    for piece in source.pieces():
        data = held + piece
        tail = len(data) - len(data.rstrip(b"\r"))
        held = b"\r" if tail else b""  # a run of them is as one
        writer.write(_LINE_ENDS.sub(b"\r\n", data[: len(data) - tail]))
    if held:
        writer.write(_LINE_ENDS.sub(b"\r\n", held))
