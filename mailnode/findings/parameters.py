"""Content-Type and Content-Disposition as they are written: RFC 2045, RFC 2183, RFC 2231."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from attrs import define, field

from mailnode.findings.charsets import codec_of, fits
from mailnode.findings.rules import shown

MOST_PARAMETERS = 100

_BLANKS = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\x80-\U0010ffff]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)("|\\?\Z)', re.S)
_REST = re.compile(r"[^;]*")
_COMMENTS_PART = re.compile(r"[()]|\\.", re.S)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,9}))?(\*)?")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@define(eq=False)
class Content:
    """A value with its parameters.

    Attributes:
        kind: "text/plain" or "attachment", in lower case; "" where it can't be read.
        parameters: lower-case name to value, encodings undone; of a doubled one the first.
        plain: those of them that were written without an encoding of RFC 2231, too.
        faults: (name of a rule, words).
    """

    kind: str = ""
    parameters: dict[str, str] = field(factory=dict)
    plain: dict[str, str] = field(factory=dict)
    faults: list[tuple[str, str]] = field(factory=list)


def read_content(text: str, slash: bool) -> Content:
    """Read a field's value as far as it can be read.

    Args:
        slash: whether it is a type and a subtype, as in Content-Type, or one word.
    """
    content = Content()
    at = _skip(text, 0)
    words: list[str] = []
    while (found := _TOKEN.match(text, at)) and len(words) < 1 + slash:
        words.append(found.group().lower())
        at = _skip(text, found.end())
        if not slash or len(words) == 2 or text[at : at + 1] != "/":
            break
        at = _skip(text, at + 1)
    if len(words) == 1 + slash and text[at : at + 1] in ("", ";"):
        content.kind = "/".join(words)
    else:
        name = "content-type-malformed" if slash else "disposition-malformed"
        wanted = "`type/subtype`, such as text/plain" if slash else "`attachment` or `inline`"
        content.faults.append(
            (name, f"{shown(text)!r} can't be read: it must begin with {wanted}, then `;`")
        )
        at = text.find(";", at) if ";" in text[at:] else len(text)
    _decode_sections(content, dict(_parameters(text, at, content)))
    return content


def _skip(text: str, at: int) -> int:
    """Behind blanks and comments (RFC 5322 section 3.2.2)."""
    while True:
        found = _BLANKS.match(text, at)
        at = found.end() if found else at
        if text[at : at + 1] != "(":
            return at
        depth, at = 1, at + 1
        while depth:
            part = _COMMENTS_PART.search(text, at)
            if part is None:
                return len(text)
            depth += {"(": 1, ")": -1}.get(part.group(), 0)
            at = part.end()


def without_comments(text: str) -> str:
    """The text with what stands between parentheses cut out, and no blanks around it."""
    if "(" not in text:
        return text.strip()
    kept, at = [], 0
    while (found := text.find("(", at)) >= 0:
        kept.append(text[at:found])
        at = _skip(text, found)
    return " ".join([*kept, text[at:]]).strip()


def _parameters(text: str, at: int, content: Content) -> Iterator[tuple[str, str]]:
    """Each parameter as it is written, by its lower-case name; what is none is a fault."""
    seen: set[str] = set()
    while at < len(text) and len(seen) + len(content.faults) < MOST_PARAMETERS:
        at = _skip(text, at + 1)  # behind the semicolon
        if text[at : at + 1] in ("", ";"):
            continue  # an empty one does no harm
        name, value, at = _parameter(text, at, content)
        if name is None:
            continue
        if name in seen:
            content.faults.append(
                ("parameter-doubled", f"`{shown(name)}` is given twice: readers differ in which")
            )
            continue
        seen.add(name)
        yield name, value


def _parameter(text: str, at: int, content: Content) -> tuple[str | None, str, int]:
    """(name or None, value, where the next semicolon is)."""
    begin = at
    found = _TOKEN.match(text, at)
    if found and text[(at := _skip(text, found.end())) : at + 1] == "=":
        name = found.group().lower()
        at = _skip(text, at + 1)
        if text[at : at + 1] == '"':
            quoted = _QUOTED.match(text, at)
            if quoted and quoted.group(2) == '"':
                value = re.sub(r"\\(.)", r"\1", quoted.group(1), flags=re.S)
                at = _skip(text, quoted.end())
                if text[at : at + 1] in ("", ";"):
                    return name, value, at
            else:
                _malformed(content, text[begin:], "its quote is never closed")
                return name, quoted.group(1) if quoted else "", len(text)
        elif bare := _TOKEN.match(text, at):
            at = _skip(text, bare.end())
            if text[at : at + 1] in ("", ";"):
                return name, bare.group(), at
    rest = _REST.match(text, begin)
    end = rest.end() if rest else len(text)
    piece = text[begin:end]
    if not found or "=" not in piece:
        _malformed(content, piece, "a parameter is written `name=value`")
        return None, "", end
    _malformed(content, piece, "a value with blanks or any of ()<>@,;:\\/[]?= goes between quotes")
    return found.group().lower(), piece.partition("=")[2].strip(), end


def _malformed(content: Content, piece: str, why: str) -> None:
    content.faults.append(("parameter-malformed", f"{shown(piece)!r} can't be read: {why}"))


def _decode_sections(content: Content, written: dict[str, str]) -> None:
    """Undo what RFC 2231 does: values in sections, and with a charset and %-escapes."""
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for spelled, value in written.items():
        found = _SECTION.fullmatch(spelled)
        if found is None:
            _broken(content, spelled, "after a `*` stands a number, a second `*`, or nothing")
        elif found.group(2) is None and not found.group(3):
            content.plain[spelled] = value
        else:
            name, number = found.group(1), int(found.group(2) or 0)
            sections.setdefault(name, {})[number] = (value, bool(found.group(3)))
    content.parameters.update(content.plain)
    for name, pieces in sections.items():
        numbers = sorted(pieces)
        if numbers != list(range(len(numbers))):
            _broken(content, name, f"its pieces must be numbered {name}*0, {name}*1 and so on")
        value = _joined(content, name, [pieces[number] for number in numbers])
        content.parameters[name] = value


def _joined(content: Content, name: str, pieces: list[tuple[str, bool]]) -> str:
    value, encoded = pieces[0]
    if not encoded:
        return "".join(piece for piece, _ in pieces)
    charset, quote, rest = value.partition("'")
    _language, second, first = rest.partition("'")
    if not (quote and second):
        _broken(content, name, f"it must begin with a charset: {name}*=UTF-8''value")
        charset, first = "utf-8", value
    octets = b""
    for piece, is_encoded in [(first, True), *pieces[1:]]:
        if is_encoded and _ESCAPE.search(piece):
            _broken(content, name, "behind each % stand two hexadecimal digits")
        octets += unquote_to_bytes(piece) if is_encoded else piece.encode("utf-8", "replace")
    codec = codec_of(charset or "us-ascii")
    if codec is None:
        _broken(content, name, f"nobody knows its charset {shown(charset)!r}; take UTF-8")
    elif not fits(octets, codec):
        _broken(content, name, f"its octets are no {shown(charset) or 'us-ascii'}")
    return octets.decode(codec or "utf-8", "replace")


def _broken(content: Content, name: str, why: str) -> None:
    content.faults.append(("parameter-encoding-broken", f"`{shown(name)}` can't be read: {why}"))
