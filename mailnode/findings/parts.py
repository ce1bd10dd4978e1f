"""The parts of a mail: where each begins and ends, and what is wrong with the boundaries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, field

from mailnode.findings.header import MOST_FIELDS, MOST_FIELDS_OF_A_PART, Header, read_header
from mailnode.findings.parameters import Content, read_content
from mailnode.findings.rules import Report, shown

MOST_DEPTH = 100
MOST_PARTS = 1_000

_DASHES = re.compile(rb"^--[^\n]*", re.M)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


@define(eq=False)
class Part:
    """One part, whose header and ends are known.

    Attributes:
        number: "1.2"; "" for the mail itself.
        content: of Content-Type; text/plain where there is none (message/rfc822 in a digest).
        disposition: of Content-Disposition.
        start, end: of its body, as offsets.
        is_multipart: it has parts; a multipart whose boundary can't be used has none.
        delimiters: how many of its own were seen.
        has_plain: whether a text/plain stands in it, however deep.
    """

    number: str
    header: Header
    content: Content
    disposition: Content
    start: int
    end: int
    is_multipart: bool = False
    boundary: bytes = b""
    delimiters: int = 0
    closed: bool = False
    has_plain: bool = False

    def where(self, field_name: str = "") -> str:
        """Where a finding about the whole part, or about a field of it, is."""
        if self.number:
            return f"part {self.number}"
        return field_name or "body"


@define(eq=False)
class _Walk:
    """The multiparts that are open, outermost first."""

    raw: bytes
    report: Report
    open: list[Part] = field(factory=list)
    depths: dict[bytes, int] = field(factory=dict)  # boundary to its place in `open`
    count: int = 0

    def is_delimiter(self, line: bytes) -> bool:
        return self.match(line) is not None

    def match(self, line: bytes) -> tuple[int, bool] | None:
        """(which multipart's delimiter this line is, whether it is the last one)."""
        text = line.rstrip(b" \t\r")[2:]
        if not line.startswith(b"--"):
            return None
        if (depth := self.depths.get(text)) is not None:
            return depth, False
        if text.endswith(b"--") and (depth := self.depths.get(text[:-2])) is not None:
            return depth, True
        return None


def read_parts(raw: bytes, report: Report) -> Iterator[Part]:
    """Each part once its end is known: inner ones before those around them, the mail last.

    A part deeper than 100, and what stands behind the thousandth one, is not looked at.
    """
    walk = _Walk(raw, report)
    at, line = 0, 1
    part: Part | None = _begin(walk, "", at, line)
    assert part
    at, line, scanned = part.start, part.header.end_line, part.start
    while walk.depths:
        found = _DASHES.search(raw, at)
        if found is None:
            break
        at = found.end()
        hit = walk.match(found.group())
        if hit is None:
            continue
        depth, is_last = hit
        start = found.start()
        line += raw.count(b"\n", scanned, start)
        scanned = start
        if part is not None:
            yield from _finish(walk, part, start)
        yield from _close_to(walk, depth + 1, start)
        part = None
        around = walk.open[depth]
        if is_last:
            around.closed, around.end = True, min(at + 1, len(raw))
            del walk.depths[around.boundary]
            continue
        around.delimiters += 1
        walk.count += 1
        if walk.count > MOST_PARTS:
            report.add(
                "too-many-parts",
                around.where("Content-Type"),
                f"there are over {MOST_PARTS:,} parts: many servers refuse that, and the rest is"
                " not looked at",
            )
            break
        number = ".".join(filter(None, (around.number, str(around.delimiters))))
        below = min(at + 1, len(raw))
        part = _begin(walk, number, below, line + raw.count(b"\n", start, below))
        at = max(part.start, below)
        line, scanned = part.header.end_line, at
    stopped = walk.count > MOST_PARTS
    if part is not None:
        yield from _finish(walk, part, len(raw))
    yield from _close_to(walk, 0, len(raw), stopped)


def _begin(walk: _Walk, number: str, at: int, line: int) -> Part:
    most = MOST_FIELDS_OF_A_PART if number else MOST_FIELDS
    header = read_header(
        walk.raw, at, line, walk.report, is_delimiter=walk.is_delimiter, most_fields=most
    )
    around = walk.open[-1].content.kind if walk.open else ""
    written, disposition = header.first("content-type"), header.first("content-disposition")
    content = read_content(written.text, slash=True) if written else Content()
    if not content.kind:
        content.kind = "message/rfc822" if around == "multipart/digest" else "text/plain"
    part = Part(
        number,
        header,
        content,
        read_content(disposition.text, slash=False) if disposition else Content(),
        header.end,
        len(walk.raw),
    )
    if content.kind.startswith("multipart/"):
        _open(walk, part)
    return part


def _open(walk: _Walk, part: Part) -> None:
    report, where = walk.report, part.where("Content-Type")
    text = part.content.parameters.get("boundary")
    if not text:
        report.add(
            "boundary-missing",
            where,
            f"{shown(part.content.kind)} without a boundary: nobody can tell its parts from each"
            ' other; write boundary="..." behind it',
        )
        return
    boundary = text.encode("utf-8", "replace").rstrip()
    if not _BOUNDARY.fullmatch(text):
        report.add(
            "boundary-malformed",
            where,
            f"the boundary {shown(text)!r} must have 1 to 70 letters, digits or '()+_,-./:=? and"
            " must not end with a blank",
        )
    if not boundary or boundary in walk.depths:
        report.add(
            "boundary-reused",
            where,
            f"the boundary {shown(text)!r} is the one of a multipart around it: readers mix up"
            " their parts; each needs its own",
        )
        return
    if len(walk.open) >= MOST_DEPTH:
        report.add(
            "nested-too-deeply",
            where,
            f"parts stand in parts over {MOST_DEPTH} deep: many programs refuse that, and what is"
            " deeper is not looked at",
        )
        return
    part.is_multipart, part.boundary = True, boundary
    walk.depths[boundary] = len(walk.open)
    walk.open.append(part)


def _finish(walk: _Walk, part: Part, delimiter: int) -> Iterator[Part]:
    """A part that has no parts ends in front of the line end before a delimiter."""
    if part.is_multipart:
        return  # it is in `open`, and ends when that is left
    end = delimiter
    if walk.open and delimiter < len(walk.raw):
        end -= walk.raw.endswith(b"\n", 0, end)
        end -= walk.raw.endswith(b"\r", 0, end) and end < delimiter
    part.end = max(part.start, end)
    if part.content.kind == "text/plain":
        for around in walk.open:
            around.has_plain = True
    yield part


def _close_to(walk: _Walk, depth: int, at: int, stopped: bool = False) -> Iterator[Part]:
    """Leave the multiparts at `depth` and deeper.

    Args:
        stopped: not everything was looked at, so nothing is known of their ends.
    """
    while len(walk.open) > depth:
        part = walk.open.pop()
        walk.depths.pop(part.boundary, None)
        where = part.where("Content-Type")
        text = shown(part.boundary)
        if part.closed:
            if walk.raw[part.end : at].strip():
                walk.report.add(
                    "text-behind-last-boundary",
                    where,
                    f"text stands behind the last `--{text}--`: readers don't show it; move it into"
                    " a part of its own",
                )
        elif stopped:
            pass
        elif not part.delimiters:
            walk.report.add(
                "boundary-unused",
                where,
                f"no line `--{text}` follows, so it has no parts; each one begins with such a line",
            )
        else:
            walk.report.add(
                "boundary-never-closed",
                where,
                f"no line `--{text}--` ends it: the mail was cut off, or that line was forgotten",
            )
        part.end = at
        yield part


def check_parts(part: Part, report: Report) -> None:
    """What a part says of itself, and whether there is anything in it."""
    for name, content in (
        ("Content-Type", part.content),
        ("Content-Disposition", part.disposition),
    ):
        for rule, words in content.faults:
            report.add(rule, part.where(name), words)
    kind = part.content.kind
    if kind == "multipart/alternative" and part.delimiters and not part.has_plain:
        report.add(
            "alternative-without-text",
            part.where("Content-Type"),
            "none of the alternatives is text/plain: who reads text alone sees nothing, and spam"
            " filters dislike it",
        )
