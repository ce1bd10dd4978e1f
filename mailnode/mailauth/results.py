"""Authentication-Results: what we found, written; and what others say in our name (RFC 8601)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import count

from attrs import frozen

from mailnode.errors import one_line

LINE_MAX = 77
REASON_CHARACTERS = 160
VALUE_CHARACTERS = 320
FIELD_NAME = b"authentication-results"
MOST_FIELDS = 100  # that are read: there are no more hosts on the way (RFC 5321 section 6.3)
MOST_CLAIMS = 100  # of one field
MOST_MARKS = 50  # quotes and brackets that may stand in front of whose results it has

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")
_ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_MAILBOX = re.compile(rf"(?:{_ATOMS}(?:\.{_ATOMS})*)?@[A-Za-z0-9._-]+")
_FIELD = re.compile(
    rb"^authentication-results[ \t]*:(?P<value>[^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)", re.I | re.M
)
_CLAIM = re.compile(r"\s*([a-z0-9-]{1,40})(?:\s*/\s*[0-9]{1,9})?\s*=\s*([a-z0-9-]{1,40})", re.I)
_MARK = re.compile(r'[()"\\;]')
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


@frozen
class Finding:
    """One method's result.

    Attributes:
        method: "spf", "dkim", "dmarc", "arc".
        reason: in words; "" for none.
        properties: such as ("header.d", "example.org").
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


def write_results(authserv_id: str, findings: Sequence[Finding]) -> bytes:
    """The field, with its CRLFs: printable ASCII, whatever is in the findings."""
    return fold(["Authentication-Results:", *payload(authserv_id, findings)])


def payload(authserv_id: str, findings: Sequence[Finding]) -> list[str]:
    """What stands behind the field's name, as words that a line may be folded between."""
    said = [list(_words(each)) for each in findings] or [["none"]]
    words = [f"{authserv_id};"]
    for finding in said[:-1]:
        words += [*finding[:-1], f"{finding[-1]};"]
    return words + said[-1]


def _words(finding: Finding) -> Iterator[str]:
    yield f"{finding.method}={finding.result}"
    if finding.reason:
        yield f"reason={_quoted(one_line(finding.reason)[:REASON_CHARACTERS])}"
    for name, value in finding.properties:
        if value:
            yield f"{name}={_value(one_line(value)[:VALUE_CHARACTERS])}"


def _value(text: str) -> str:
    return text if _TOKEN.fullmatch(text) or _MAILBOX.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def fold(words: Sequence[str]) -> bytes:
    """A field of words, with its CRLFs; a word that is longer than a line has one of its own.

    What is quoted is cut at its blanks, too: unfolded it is the same again.
    """
    lines: list[str] = []
    line = ""
    for word in " ".join(words).split(" "):
        if line and len(line) + 1 + len(word) > LINE_MAX:
            lines.append(line)
            line = ""
            word = f"\t{word}"
        line = f"{line} {word}" if line else word
    return ("\r\n".join([*lines, line]) + "\r\n").encode("ascii", "replace")


def without_forged(header: bytes, own: Collection[str]) -> bytes:
    """The header without the fields that claim to be ours (section 5); nothing else changes.

    Those that nobody reads any more, behind `MOST_FIELDS`, are taken for such.

    Args:
        header: as it came, before we have put anything in front.
        own: our authserv-ids.
    """
    if FIELD_NAME not in header.lower():
        return header
    names = {_plain(each) for each in own}
    number = count()

    def kept(found: re.Match[bytes]) -> bytes:
        if next(number) >= MOST_FIELDS or _is_ours(
            found["value"].decode("utf-8", "replace"), names
        ):
            return b""
        return found.group()

    return _FIELD.sub(kept, header)


def _is_ours(value: str, names: Collection[str]) -> bool:
    said = authserv_id(value)
    if said is None:  # who reads it otherwise may find our name in it
        return any(name in value.lower() for name in names)
    return any(host in names for host in _HOST.findall(said.lower()))  # in "<name>", "name/1", too


def _plain(name: str) -> str:
    return name.strip().removesuffix(".").lower()


def authserv_id(value: str) -> str | None:
    """Whose results these are; None for what can't be read, or has more than `MOST_MARKS` before.

    Args:
        value: of the field, folded or not. In front of the name may stand comments, behind it a
            version, and it may be quoted.
    """
    parts = _parts(value, 1, MOST_MARKS)
    words = parts[0].split() if parts else []
    return words[0] if words else None


def read_claims(value: str) -> list[tuple[str, str]]:
    """(method, result) of each finding that a field tells, in lower case.

    [] for what can't be read.

    Args:
        value: as for `authserv_id`: of such a field, or what an ARC set's said.
    """
    claims: list[tuple[str, str]] = []
    for part in (_parts(value, MOST_CLAIMS, len(value)) or [])[1:]:
        if found := _CLAIM.match(part):
            claims.append((found.group(1).lower(), found.group(2).lower()))
    return claims


def _parts(value: str, most: int, most_marks: int) -> list[str] | None:
    """What semicolons part, without comments and quotes; None where these don't end.

    Args:
        most: parts; what stands behind is not looked at.
        most_marks: that are looked at; more are as if they had no end.
    """
    parts: list[str] = []
    text: list[str] = []
    depth = at = 0
    quoted = False
    while found := _MARK.search(value, at):
        if not most_marks:
            return None
        most_marks -= 1
        mark, before = found.group(), value[at : found.start()]
        at = found.end()
        if not depth:
            text.append(before)
        if mark == "\\":
            if not depth:
                text.append(value[at : at + 1])
            at += 1
        elif mark == '"':
            quoted = not quoted and not depth
        elif quoted:
            text.append(mark)
        elif mark == ";" and not depth:
            parts.append("".join(text))
            text.clear()
            if len(parts) == most:
                return parts
        elif mark == "(":
            depth += 1
        elif mark == ")":
            depth -= 1
            if depth < 0:
                return None
    text.append(value[at:])
    return None if depth or quoted else [*parts, "".join(text)]
