"""An SPF record, read: its mechanisms, its modifiers and their macros (RFC 7208 sections 4 to 7).

Pure syntax: what a record says is found in `mailnode.mailauth.spf`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Final

from attrs import frozen

MOST_CHARACTERS = 4096  # of a record; those that senders publish are under 2,000
MOST_TERMS = 500
MOST_MACROS = 100  # of one term: it is expanded again in each run of the check
_MOST_LABELS = 128  # that a macro can count

RESULTS: Final = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}

_VERSION = re.compile(r"v=spf1(?: |$)", re.I)
_DIRECTIVE = re.compile(r"([-+?~]?)([a-z][a-z0-9_.-]*)([:/].*)?", re.I | re.S)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.I | re.S)
_CIDR = re.compile(r"(.*?)(?:/(0|[1-9][0-9]{0,2}))?(?://(0|[1-9][0-9]{0,2}))?", re.S)
_NETWORK = re.compile(r":([0-9a-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?", re.I)
_FAMILIES = {"ip4": (socket.AF_INET, 32), "ip6": (socket.AF_INET6, 128)}
_MACRO = re.compile(r"%(?:\{([a-z])([0-9]*)(r?)([-.+,/_=]*)\}|([%_-]))", re.I)
_LITERAL = re.compile(r"[!-$&-~]+")
_TOP_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.I)
_LABEL_CHARACTERS = 63
_ENDS_WITH_MACRO = re.compile(r"%(?:\{[^{}]{0,99}\}|[%_-])\Z")
_ESCAPED = {"%": "%", "_": " ", "-": "%20"}
_IN_DOMAINS, _IN_TEXTS = "slodiphv", "slodiphvcrt"


class BadRecord(Exception):
    """A record that breaks the grammar: permerror, whatever it says besides."""


@frozen
class Macro:
    """`%{...}`: a letter whose value is cut at the delimiters, turned round, shortened, joined.

    Attributes:
        letter: in lower case.
        labels: so many from the right, after turning; 0 for all.
        escaped: what a URL can't hold is escaped.
    """

    letter: str
    labels: int = 0
    reverse: bool = False
    delimiters: str = "."
    escaped: bool = False


Text = tuple["str | Macro", ...]


@frozen
class Mechanism:
    """One directive.

    Attributes:
        kind: "all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists".
        result: of the check when it matches.
        target: its domain; () where that is the one under check.
        bits: how many of an address count: of IPv4, and of IPv6.
        network: of ip4 and ip6: (bits of such an address, bits that don't count, the others as a
            number). A record may have hundreds; `ipaddress` takes ten times as long for each.
        text: as it was written.
    """

    kind: str
    result: str
    text: str
    target: Text = ()
    bits: tuple[int, int] = (32, 128)
    network: tuple[int, int, int] | None = None


@frozen
class Record:
    """One that follows the grammar.

    Attributes:
        redirect, explanation: domains; None without the modifier.
    """

    mechanisms: tuple[Mechanism, ...]
    redirect: Text | None = None
    explanation: Text | None = None


def is_record(text: str) -> bool:
    """Whether it says of itself that it is one (section 4.5)."""
    return _VERSION.match(text) is not None


def read_record(text: str) -> Record | BadRecord:
    """The record, or why it is none; nothing is raised, so that either can be kept.

    Args:
        text: one of which `is_record` is true.
    """
    try:
        return _read(text)
    except BadRecord as error:
        return error


def _read(text: str) -> Record:
    if len(text) > MOST_CHARACTERS:
        raise BadRecord(f"the record is longer than {MOST_CHARACTERS} characters")
    terms = [term for term in text[len("v=spf1") :].split(" ") if term]
    if len(terms) > MOST_TERMS:
        raise BadRecord(f"the record has more than {MOST_TERMS} terms")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, Text] = {}
    for term in terms:
        found = _MODIFIER.fullmatch(term)
        if found is None:
            mechanisms.append(_mechanism(term))
            continue
        name = found.group(1).lower()
        if name not in ("redirect", "exp"):
            read_text(found.group(2), _IN_TEXTS)  # unknown, but it has to be well-formed
        elif name in modifiers:
            raise BadRecord(f"{name}= stands there twice")
        else:
            modifiers[name] = _domain(found.group(2), term)
    return Record(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    found = _DIRECTIVE.fullmatch(term)
    if found is None:
        raise BadRecord(f"{term!r:.80} is no term")
    qualifier, kind, rest = found.group(1) or "+", found.group(2).lower(), found.group(3) or ""
    if kind not in _FORMS:
        raise BadRecord(f"{term!r:.80} is no mechanism that there is")
    return _FORMS[kind](kind, RESULTS[qualifier], rest, term)


def _all(kind: str, result: str, rest: str, term: str) -> Mechanism:
    if rest:
        raise BadRecord(f"{term!r:.80}: nothing may follow all")
    return Mechanism(kind, result, term)


def _named(kind: str, result: str, rest: str, term: str) -> Mechanism:
    """include and exists, which need a domain; ptr, which may have one."""
    if not rest and kind == "ptr":
        return Mechanism(kind, result, term)
    if not rest.startswith(":"):
        raise BadRecord(f"{term!r:.80} needs a domain")
    return Mechanism(kind, result, term, _domain(rest[1:], term))


def _addressed(kind: str, result: str, rest: str, term: str) -> Mechanism:
    """a and mx: a domain and the lengths of prefixes, all of which may be left out."""
    found = _CIDR.fullmatch(rest)
    assert found is not None
    name, bits = found.group(1), (int(found.group(2) or 32), int(found.group(3) or 128))
    if bits[0] > 32 or bits[1] > 128:
        raise BadRecord(f"{term!r:.80}: no address has so many bits")
    if not name:
        return Mechanism(kind, result, term, bits=bits)
    if not name.startswith(":"):
        raise BadRecord(f"{term!r:.80} is no term")
    return Mechanism(kind, result, term, _domain(name[1:], term), bits=bits)


def _network(kind: str, result: str, rest: str, term: str) -> Mechanism:
    found = _NETWORK.fullmatch(rest)
    family, most = _FAMILIES[kind]
    try:
        if found is None or (bits := int(found.group(2) or most)) > most:
            raise ValueError
        address = int.from_bytes(socket.inet_pton(family, found.group(1)), "big")
    except (ValueError, OSError):
        raise BadRecord(f"{term!r:.80} names no network") from None
    away = most - bits
    return Mechanism(kind, result, term, network=(most, away, address >> away))


_FORMS: Final[dict[str, Callable[[str, str, str, str], Mechanism]]] = {
    "all": _all,
    "include": _named,
    "exists": _named,
    "ptr": _named,
    "a": _addressed,
    "mx": _addressed,
    "ip4": _network,
    "ip6": _network,
}


def _domain(text: str, term: str) -> Text:
    """A domain-spec: it ends with a macro, or with a label that can be a top-level one."""
    pieces = read_text(text, _IN_DOMAINS)
    _, dot, last = text.removesuffix(".").rpartition(".")
    is_label = len(last) <= _LABEL_CHARACTERS and _TOP_LABEL.fullmatch(last) and not last.isdigit()
    if not (dot and is_label) and not _ENDS_WITH_MACRO.search(text, max(0, len(text) - 102)):
        raise BadRecord(f"{term!r:.80}: its domain is none")
    return pieces


def read_text(text: str, letters: str = _IN_TEXTS, blanks: bool = False) -> Text:
    """A macro-string (section 7.1), as its pieces.

    Args:
        letters: which macros may stand in it.
        blanks: may stand in it, too, as in an explanation.

    Raises:
        BadRecord
    """
    pieces: list[str | Macro] = []
    at = 0
    while at < len(text):
        if blanks and text[at] == " ":
            pieces.append(" ")
            at += 1
            continue
        found = _LITERAL.match(text, at)
        if found is not None:
            pieces.append(found.group())
        else:
            found = _MACRO.match(text, at)
            if found is None:
                raise BadRecord(f"{text!r:.80} has a macro or character that is none")
            pieces.append(_macro(found, letters))
        at = found.end()
    if sum(isinstance(each, Macro) for each in pieces) > MOST_MACROS:
        raise BadRecord(f"{text!r:.80} has more than {MOST_MACROS} macros")
    return tuple(pieces)


def _macro(found: re.Match[str], letters: str) -> str | Macro:
    letter, digits, reverse, delimiters, escape = found.groups()
    if escape:
        return _ESCAPED[escape]
    labels = min(int(digits[:9]), _MOST_LABELS) if digits else 0
    if letter.lower() not in letters or (digits and not labels):
        raise BadRecord(f"{found.group()!r:.80} is no macro here")
    apart = "".join(sorted(set(delimiters))) or "."
    return Macro(letter.lower(), labels, bool(reverse), apart, letter.isupper())
