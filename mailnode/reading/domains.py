"""Domains as people see them: who has registered one, and which looks like another."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import cache, lru_cache

import idna
from publicsuffixlist import PublicSuffixList

_MOST_CHARACTERS = 253
_MOST_OF_LABEL = 63
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # UTS 46 section 4
# Letters of other alphabets that look like Latin ones in common fonts (Unicode's confusables, those
# that registries let into domains).
_LOOKS = {
    int(each[:4], 16): each[4]
    for each in """
    00f0d 00f8o 00fep 0111d 0127h 0131i 0142l 0167t 0185b 0192f 0251a 0261g 0269i 026ai 0274n
    0280r 028bu 028fy 029fl 03b1a 03b2b 03b3y 03b5e 03b7n 03b9i 03bak 03bdv 03bfo 03c1p 03c3o
    03c4t 03c5u 03c7x 03c9w 0430a 0432b 0433r 0435e 043ak 043cm 043dh 043eo 043fn 0440p 0441c
    0442t 0443y 0445x 044cb 0450e 0451e 0455s 0456i 0457i 0458j 0461w 0475v 047bo 0491r 04afy
    04bbh 04cfl 04d3a 04e7o 0501d 050dg 051bq 051dw 0561w 0566q 0570h 0575j 0578n 057cn 057du
    0581g 0584f 0585o 1d0fo
    """.split()
}
_DIGITS = str.maketrans("013456789", "oleasbtbg")
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("nn", "m"))
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}", re.I)


def ascii_domain(text: str) -> str:
    """A domain in lower-case A-labels; "" where it is none."""
    text = text.rstrip(".")[: _MOST_CHARACTERS + 1].lower()
    if len(text) > _MOST_CHARACTERS or not text:
        return ""
    if text.isascii():
        return text if _NAME.fullmatch(text) else ""
    if max(map(len, _DOTS.split(text))) > _MOST_OF_LABEL:  # idna would take its square
        return ""
    try:
        return idna.encode(text, uts46=True).decode()
    except (idna.IDNAError, UnicodeError, IndexError):
        return ""


@lru_cache(maxsize=4096)
def shown_domain(domain: str) -> str:
    """As a person may see it: U-labels, where they are well-formed."""
    return ".".join(_shown_label(label) for label in domain.split("."))


def _shown_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return idna.ulabel(label)
    except (idna.IDNAError, UnicodeError, IndexError):
        return label


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


@lru_cache(maxsize=4096)
def registrable(domain: str) -> str:
    """The part that somebody registered: example.co.uk of www.example.co.uk.

    Where no public suffix is known, as of example.test, its last two labels.
    """
    found: str | None = _suffixes().privatesuffix(domain)
    return found or ".".join(domain.split(".")[-2:])


@lru_cache(maxsize=4096)
def is_public(domain: str) -> bool:
    """Whether it ends with a suffix under which people register, as `report.final` doesn't."""
    return _suffixes().privatesuffix(domain) is not None


def is_ip_address(host: str) -> bool:
    """An address instead of a name, in whatever way browsers read one: 127.1, 0x7f000001, [::1]."""
    if host.startswith("["):
        host = host[1:].partition("]")[0].partition("%")[0]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    return bool(_NUMBER.fullmatch(host))


@lru_cache(maxsize=16_384)
def looks(domain: str) -> str:
    """What a glance takes a domain for: two that look alike have the same."""
    text = unicodedata.normalize("NFKD", shown_domain(domain))
    text = "".join(each for each in text if not unicodedata.combining(each))
    text = text.translate(_LOOKS).translate(_DIGITS).replace("-", "")
    for pair, letter in _PAIRS:
        text = text.replace(pair, letter)
    return text.replace("i", "l")


def alphabets(domain: str) -> set[str]:
    """The alphabets of the label that has most: LATIN, CYRILLIC, GREEK, ..."""
    most: set[str] = set()
    for label in shown_domain(domain).split("."):
        found = {unicodedata.name(each, "?").partition(" ")[0] for each in label if each.isalpha()}
        most = max(most, found, key=len)
    return most


def as_latin(domain: str) -> str:
    """A domain beyond ASCII whose every letter looks Latin, as the Latin one that it looks like."""
    shown = shown_domain(domain)
    if shown.isascii():
        return ""
    name = shown.rpartition(".")[0] or shown
    latin = name.translate(_LOOKS)
    return shown.replace(name, latin) if latin.isascii() and latin != name else ""
