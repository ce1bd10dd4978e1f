"""The lines of a mail, before anybody asks what they mean."""

from __future__ import annotations

import re

from mailnode.findings.rules import Report

_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LONG = re.compile(rb"[^\n]{79,}")
MOST_OCTETS, MOST_CHARACTERS = 998, 78


def check_lines(raw: bytes, report: Report) -> None:
    crlf, lf = raw.count(b"\r\n"), raw.count(b"\n")
    if lf and not crlf:
        report.add(
            "lf-line-ends",
            "line 1",
            "all lines end with LF, as in files of this machine; on the wire each must end with"
            " CRLF, which programs that send such files see to",
        )
    elif lf > crlf:
        report.add(
            "bare-lf",
            _first_line(_BARE_LF, raw),
            f"{lf - crlf} of {lf} lines end with a bare LF: servers refuse that or read the lines"
            " otherwise than you; end every line with CRLF",
        )
    if raw.count(b"\r") > crlf:
        report.add(
            "bare-cr",
            _first_line(_BARE_CR, raw),
            f"{raw.count(bytes([13])) - crlf} times a CR stands without its LF: some programs take"
            " it for a line's end and some don't; end every line with CRLF",
        )
    if count := raw.count(b"\0"):
        report.add(
            "nul",
            f"line {line_of(raw, raw.index(bytes(1)))}",
            f"{count} octets are NUL, at which programs cut a mail off; encode it as base64",
        )
    _check_lengths(raw, report)


def line_of(raw: bytes, at: int) -> int:
    return raw.count(b"\n", 0, at) + 1


def _first_line(pattern: re.Pattern[bytes], raw: bytes) -> str:
    found = pattern.search(raw)
    return f"line {line_of(raw, found.start())}" if found else ""


def _check_lengths(raw: bytes, report: Report) -> None:
    too_long, long, first_too_long, first_long = 0, 0, 0, 0
    for found in _LONG.finditer(raw):
        line = found.group().removesuffix(b"\r")
        if len(line) > MOST_OCTETS:
            too_long, first_too_long = too_long + 1, first_too_long or found.start() + 1
        elif len(line.decode("utf-8", "replace")) > MOST_CHARACTERS:
            long, first_long = long + 1, first_long or found.start() + 1
    if too_long:
        report.add(
            "line-over-998",
            f"line {line_of(raw, first_too_long - 1)}",
            f"{_lines(too_long)} over 998 octets: servers refuse or break such; fold fields, and"
            " encode bodies as quoted-printable or base64",
        )
    if long:
        report.add(
            "line-over-78",
            f"line {line_of(raw, first_long - 1)}",
            f"{_lines(long)} over 78 characters; up to 998 octets are allowed, 78 are advised",
        )


def _lines(count: int) -> str:
    return f"{count} line is" if count == 1 else f"{count} lines are"
