"""The fields of a header, cut to lengths that anybody may read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from email.header import decode_header
from email.utils import collapse_rfc2231_value, decode_params, getaddresses

from attrs import field, frozen

from mailnode.reading.octets import Octets

HEADER_OCTETS = 128 << 10
FIELD_OCTETS = 4 << 10
MOST_FIELDS = 500
MOST_ADDRESSES = 50
MOST_PARAMETERS = 20

_FIELD = re.compile(rb"([!-9;-~]{1,76})[ \t]*:((?:[^\n]*\n[ \t])*[^\n]*)\n?")
_LAST_FIELD = re.compile(rb"(?s:.*)^[!-9;-~]{1,76}[ \t]*:[^\n]*+(?:\n[ \t][^\n]*+)*+\n?", re.M)
_BEYOND_ASCII = bytes(range(128, 256))
_KIND = re.compile(r"[!#$%&'*+.^_`{|}~0-9a-z-]{1,60}/[!#$%&'*+.^_`{|}~0-9a-z-]{1,60}")
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,60})\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)', re.S)


def header_end(raw: Octets, at: int, end: int) -> int:
    """Where the body begins of what begins at `at`; `end` where there is none.

    That is behind the blank line. Lines behind the last field that are none are of the body: who
    writes a mail by hand, or cuts one out of another, forgets that line, or the fields.
    """
    if raw.startswith((b"\n", b"\r\n"), at, end):
        return at + (1 if raw.startswith(b"\n", at) else 2)
    found = [
        (place + len(gap), place + 1)
        for gap in (b"\n\r\n", b"\n\n")
        if (place := raw.find(gap, at, min(end, at + HEADER_OCTETS))) >= 0
    ]
    stop = min(end, at + HEADER_OCTETS)  # no gap: what is behind is no field that anybody needs
    body, fields_end = min(found, default=(stop, stop))
    last = _LAST_FIELD.match(raw[at:fields_end])
    last_end = at + (last.end() if last else 0)
    return body if last_end == fields_end else last_end


def read_fields(header: bytes) -> dict[str, list[str]]:
    """The first fields by their names in lower case: unfolded, each cut, not decoded."""
    fields: dict[str, list[str]] = {}
    at = count = 0
    while at < len(header) and count < MOST_FIELDS:
        found = _FIELD.match(header, at)
        if found is None:
            after = header.find(b"\n", at) + 1
            if not after:
                break
            at, count = after, count + 1
            continue
        count, at = count + 1, max(found.end(), at + 1)
        value = found.group(2)
        if len(value) > FIELD_OCTETS:  # not in the middle of a character
            value = value[:FIELD_OCTETS].rstrip(_BEYOND_ASCII)
        name = found.group(1).decode("ascii").lower()
        fields.setdefault(name, []).append(" ".join(decode(value).split()))
    return fields


def decoded(value: str) -> str:
    """A field's text with its encoded words read, on one line."""
    if "=?" in value:
        try:
            value = "".join(_words(value))
        except Exception:  # an encoding that is none: shown as it came
            return harmless(value)
    return harmless(value)


def _words(value: str) -> Iterator[str]:
    for word, charset in decode_header(value):
        if isinstance(word, str):
            yield word
        else:
            yield decode(word, charset or "ascii")


def harmless(text: str) -> str:
    """On one line, without what steers a terminal or turns a line around."""
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())


# Those of Python's codecs that are text on no wire; some take time by the square.
_NO_CHARSETS = frozenset(
    ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem")
)


def decode(octets: bytes, charset: str = "") -> str:
    """The text, whatever the charset: one that is missing or wrong is guessed."""
    try:
        name = codecs.lookup(charset[:40]).name if charset else ""
    except (LookupError, ValueError):
        name = ""
    if name and name not in _NO_CHARSETS and name != "ascii":
        try:
            return octets.decode(name, "replace")
        except (LookupError, ValueError):  # such as base64: no text
            pass
    try:
        return octets.decode("utf-8")
    except ValueError:
        return octets.decode("cp1252", "replace")


@frozen
class Content:
    """A Content-Type or Content-Disposition.

    Attributes:
        kind: in lower case; "" where there is none that can be read.
        parameters: decoded, by names in lower case.
    """

    kind: str = ""
    parameters: dict[str, str] = field(factory=dict)


def read_content(value: str) -> Content:
    """Of a field's value, however it is malformed."""
    kind = value.partition(";")[0].strip().lower()
    written = [("", kind)]
    for found in _PARAMETER.finditer(value):
        text = found.group(2).strip()
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text.strip('"'))
        written.append((found.group(1).lower(), text))
        if len(written) > MOST_PARAMETERS:
            break
    return Content(kind, _parameters(written))


def is_kind(kind: str) -> bool:
    return _KIND.fullmatch(kind) is not None


def _parameters(written: list[tuple[str, str]]) -> dict[str, str]:
    if any("*" in name for name, _ in written):
        try:
            written = [("", ""), *_unfolded(written)]
        except Exception:  # numbers that are none, a charset that nobody knows
            written = [(name.rstrip("*"), value) for name, value in written]
    parameters: dict[str, str] = {}
    for name, value in written[1:]:
        parameters.setdefault(name, decoded(value))
    return parameters


def _unfolded(written: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Values of RFC 2231 put together and read; `email` quotes what it gives, and so it is given
    them."""
    for name, value in decode_params([(name, f'"{value}"') for name, value in written])[1:]:
        if isinstance(value, tuple):
            charset, language, text = value
            text = collapse_rfc2231_value((charset, language, (text or "").strip('"')))
        else:
            text = value.strip('"')
        yield name.lower(), text


def addresses_of(values: list[str]) -> list[tuple[str, str]]:
    """(name, address) of each mailbox in these fields, the first so many."""
    found: list[tuple[str, str]] = []
    for value in values[:MOST_ADDRESSES]:
        try:
            some = getaddresses([value])
        except Exception:  # brackets in brackets, as deep as Python goes
            some = [(value, "")]
        if not any(name or address for name, address in some):
            some = [(value, "")]
        for name, address in some:
            if name or address:
                found.append((decoded(name), harmless(address)))
        if len(found) >= MOST_ADDRESSES:
            break
    return found[:MOST_ADDRESSES]
