"""A header as it stands in the octets: its fields with their lines, and what is no field."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, field, frozen

from mailnode.findings.rules import Report, shown
from mailnode.wire import header_fields

MOST_FIELDS = 1_000
MOST_FIELDS_OF_A_PART = 100
MOST_FIELD_OCTETS = 1024 * 1024

_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")


@frozen
class Field:
    """One header field.

    Attributes:
        name: in lower case.
        spelled: the name as it stands there.
        value: unfolded, without blanks around it.
        line: of the mail, on which it begins.
    """

    name: str
    spelled: str
    value: bytes
    line: int

    @property
    def text(self) -> str:
        return self.value.decode("utf-8", "replace")

    @property
    def is_utf8(self) -> bool:
        try:
            self.value.decode()
        except UnicodeDecodeError:
            return False
        return True


@define(eq=False)
class Header:
    """The fields that can be read, in their order.

    Attributes:
        line: of the mail, on which the header begins.
        oversized: fields that are there, too long to be looked at: without their values.
        end: where the body begins, as an offset; at a delimiter where that came first.
        end_line: the line there.
    """

    line: int
    fields: list[Field] = field(factory=list)
    oversized: list[Field] = field(factory=list)
    end: int = 0
    end_line: int = 0
    _count: int = 0
    _strays: int = 0
    _first_stray: int = 0

    def first(self, name: str) -> Field | None:
        return next((each for each in self.fields if each.name == name), None)


def read_header(
    raw: bytes,
    at: int,
    line: int,
    report: Report,
    *,
    is_delimiter: Callable[[bytes], bool],
    most_fields: int,
) -> Header:
    """Read lines from `at` to the blank one, a delimiter or the end, and tell what is no field.

    Args:
        is_delimiter: whether a line belongs to a multipart around this header.
        most_fields: of more, nothing is kept.
    """
    header = Header(line)
    began, began_line, ended = at, line, False
    while at < len(raw):
        end = raw.find(b"\n", at)
        end = len(raw) if end < 0 else end
        first = raw[at : at + 1]
        is_blank = end - at <= 1 and raw[at:end] in (b"", b"\r")
        if is_blank or (first == b"-" and is_delimiter(raw[at:end])):
            ended = is_blank
            break
        if first in (b" ", b"\t"):
            _check_fold(raw[at:end], line, at == began, header, report)
        else:
            _take_field(raw[began:at], began_line, header, report, most_fields)
            began, began_line = at, line
        at, line = min(end + 1, len(raw)), line + 1
    _take_field(raw[began:at], began_line, header, report, most_fields)
    if ended:
        at, line = raw.find(b"\n", at) + 1 or len(raw), line + 1
    header.end, header.end_line = at, line
    _tell_strays(header, ended, report)
    if header._count > most_fields:
        report.add(
            "header-too-large",
            f"line {header.line}",
            f"this header has over {most_fields:,} fields: many servers refuse it, and what stands"
            " behind them is not looked at",
        )
    return header


def _check_fold(text: bytes, line: int, is_first: bool, header: Header, report: Report) -> None:
    if not text.strip():
        report.add(
            "fold-blank",
            f"line {line}",
            "a line of blanks alone stands in the header: some programs take it for the header's"
            " end; delete it, or its blanks if the text begins here",
        )
    elif is_first and line == header.line:
        report.add(
            "fold-without-field",
            f"line {line}",
            "the header begins with a blank, so its first line continues a field that isn't there;"
            " begin it with the field's name",
        )


def _take_field(chunk: bytes, line: int, header: Header, report: Report, most: int) -> None:
    if not chunk or chunk[:1] in b" \t" or max(header._count, header._strays) > most:
        return
    if len(chunk) > MOST_FIELD_OCTETS:
        _take_oversized(chunk, line, header, report)
        return
    crlf = chunk.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    found = next(iter(header_fields(crlf)), None)
    if found is None:
        _take_stray(crlf.split(b"\r\n", 1)[0], line, header, report)
        return
    header._count += 1
    name, value = found
    spelled = chunk[: len(name)].decode("ascii")
    if chunk[len(name) : len(name) + 1] != b":":
        report.add(
            "space-before-colon",
            f"line {line}",
            f"a blank stands between {shown(spelled)} and its colon: write `{shown(spelled)}:`, or"
            " some programs will not know the field",
        )
    if header._count > most:
        return
    taken = Field(name.decode("ascii"), spelled, value, line)
    header.fields.append(taken)
    _check_octets(taken, report)


def _take_oversized(chunk: bytes, line: int, header: Header, report: Report) -> None:
    found = next(iter(header_fields(chunk[:1000].split(b"\n", 1)[0])), None)
    if found is None:
        header._strays += 1
        header._first_stray = header._first_stray or line
        return
    spelled = chunk[: len(found[0])].decode("ascii")
    header.oversized.append(Field(spelled.lower(), spelled, b"", line))
    report.add(
        "header-too-large",
        f"line {line}",
        f"{shown(spelled)} has {len(chunk):,} octets: servers refuse such a field, and it is not"
        " looked at",
    )


def _take_stray(text: bytes, line: int, header: Header, report: Report) -> None:
    if line == 1 and text.startswith(b"From "):
        report.add(
            "mbox-from-line",
            "line 1",
            "the first line separates mails in an mbox file and is no part of this mail; delete it",
        )
    elif b":" in text:
        name = text.partition(b":")[0]
        report.add(
            "field-name-illegal",
            f"line {line}",
            f"{shown(name)!r} is no name of a field: it must have one or more characters of ASCII,"
            " and no blanks",
        )
    else:
        header._strays += 1
        header._first_stray = header._first_stray or line


def _tell_strays(header: Header, ended: bool, report: Report) -> None:
    if not header._strays:
        return
    if ended:
        more = f" (and {header._strays - 1} more)" if header._strays > 1 else ""
        report.add(
            "not-a-field",
            f"line {header._first_stray}",
            f"this line{more} in the header has no colon, so it is no field; if the text begins"
            " here, put an empty line in front of it",
        )
    else:
        report.add(
            "no-blank-line",
            f"line {header._first_stray}",
            "no empty line ends this header: put one in front of the text, which readers take for"
            " fields that they don't know",
        )


def _check_octets(taken: Field, report: Report) -> None:
    if found := _CONTROL.search(taken.value):
        report.add(
            "control-characters",
            f"line {taken.line}",
            f"{shown(taken.spelled)} has the control character {found.group()[0]:#04x}, which no"
            " field may have; leave it out",
        )
    if taken.value.isascii():
        return
    if taken.is_utf8:
        report.add(
            "header-utf8",
            f"line {taken.line}",
            f"{shown(taken.spelled)} has UTF-8 as it is: only servers with SMTPUTF8 carry that; an"
            " encoded-word (=?utf-8?q?...?=) passes everywhere",
        )
    else:
        report.add(
            "octets-not-utf8",
            f"line {taken.line}",
            f"{shown(taken.spelled)} has octets over 127 that are no UTF-8, so nobody knows which"
            " letters they are; write an encoded-word (=?utf-8?q?...?=)",
        )
