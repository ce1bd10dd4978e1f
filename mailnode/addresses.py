"""Mail addresses: one grammar, parsed once at the door (RFC 5321 section 4.1.2, RFC 6531)."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

import idna
from attrs import frozen

from mailnode.errors import AddressTooLong, BadAddress

LOCAL_MAX_OCTETS = 64
DOMAIN_MAX_OCTETS = 255
PATH_MAX_OCTETS = 256

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-" + "\u0080-\U0010ffff"
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~' + "\u0080-\U0010ffff" + r']|\\[ -~])*)"')
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_PLAIN_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_ROUTE = re.compile(r"@[^:,@<>]+(?:,@[^:,@<>]+)*:")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def ip_address(text: str) -> IpAddress:
    """As that of `ipaddress`, for what is asked ten times a mail: a client's.

    Raises:
        ValueError.
    """
    return ipaddress.ip_address(text)


@frozen(order=True)
class Address:
    """A mailbox: who, and at which domain.

    Attributes:
        local: the local part, unquoted, as it was written.
        domain: lower-case A-labels, or an address literal with its brackets.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        """As it stands on the wire, quoted where the grammar asks for it."""
        return f"{quote_local(self.local)}@{self.domain}"

    @property
    def key(self) -> str:
        """What two spellings of one mailbox share: NFC, casefolded local part."""
        return f"{fold_local(self.local)}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        return self.local.isascii()

    def with_local(self, local: str) -> Address:
        return Address(local, self.domain)


def fold_local(local: str) -> str:
    """The local part as accounts compare it."""
    if local.isascii():
        return local.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).casefold())


def bracketed(host: str) -> str:
    """A host as it stands in front of a port: IPv6 in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


@lru_cache(maxsize=4096)
def quote_local(local: str) -> str:
    if _DOT_STRING.fullmatch(local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@lru_cache(maxsize=4096)
def parse_domain(text: str) -> str:
    """A domain or address literal in its one canonical form.

    Raises:
        BadAddress: what it is not, in words.
    """
    if text.startswith("["):
        return _parse_literal(text)
    if _octets(text) > DOMAIN_MAX_OCTETS:
        raise AddressTooLong(f"Domain is over {DOMAIN_MAX_OCTETS} octets")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode()
        except idna.IDNAError:
            raise BadAddress("Not a domain name") from None
    text = text.lower()
    if not _PLAIN_DOMAIN.fullmatch(text) or any(len(label) > 63 for label in text.split(".")):
        raise BadAddress("Not a domain name")
    if len(text) > DOMAIN_MAX_OCTETS:
        raise AddressTooLong(f"Domain is over {DOMAIN_MAX_OCTETS} octets")
    return text


def _octets(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate: an argument that was no UTF-8
        raise BadAddress("Not an address") from None


def _parse_literal(text: str) -> str:
    if not text.endswith("]"):
        raise BadAddress("Address literal without its closing bracket")
    inside = text[1:-1]
    try:
        if inside[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inside[5:])}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError:
        raise BadAddress("Not an address literal") from None


def parse_address(text: str) -> Address:
    """`local@domain`, without angle brackets.

    Raises:
        BadAddress, AddressTooLong: which part is wrong.
    """
    local, rest = _take_local(text)
    if not rest.startswith("@"):
        raise BadAddress("Address has no @domain" if not rest else "Not an address")
    if _octets(local) > LOCAL_MAX_OCTETS:
        raise AddressTooLong(f"Local part is over {LOCAL_MAX_OCTETS} octets")
    return Address(local, parse_domain(rest[1:]))


def _take_local(text: str) -> tuple[str, str]:
    if text.startswith('"'):
        found = _QUOTED.match(text)
        if not found:
            raise BadAddress("Quoted local part is not closed")
        return re.sub(r"\\(.)", r"\1", found.group(1)), text[found.end() :]
    found = _DOT_STRING.match(text)
    if not found:
        raise BadAddress("Address has no local part" if text.startswith("@") else "Not an address")
    return found.group(), text[found.end() :]


def parse_path(text: str) -> Address | None:
    """A reverse- or forward-path between angle brackets; None for `<>`.

    A source route is stripped (RFC 5321 section 4.1.2, appendix C). `<postmaster>` has no
    domain: the caller knows which is its own, and asks `is_postmaster` first.

    Raises:
        BadAddress, AddressTooLong.
    """
    if not (text.startswith("<") and text.endswith(">")):
        raise BadAddress("Address must stand between < and >")
    inside = text[1:-1]
    if _octets(inside) + 2 > PATH_MAX_OCTETS:
        raise AddressTooLong(f"Path is over {PATH_MAX_OCTETS} octets")
    if not inside:
        return None
    if route := _ROUTE.match(inside):
        inside = inside[route.end() :]
    return parse_address(inside)


def split_path(text: str) -> tuple[str, str]:
    """Cut `<path> parameters` in two, minding quotes: (path with brackets, the rest).

    Raises:
        BadAddress: no bracketed path stands at the beginning.
    """
    if not text.startswith("<"):
        raise BadAddress("Address must stand between < and >")
    quoted, at = False, 1
    while at < len(text):
        char = text[at]
        if quoted and char == "\\":
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            return text[: at + 1], text[at + 1 :]
        at += 1
    raise BadAddress("Address must stand between < and >")


_QUOTES = r'"(?:[^"\\]|\\.)*"'
_ADDRESS_LISTS_PART = re.compile(
    rf"""(?P<text>{_QUOTES}|\[[^\]]*\]|[^"\[(),:;<>]+)|<(?P<angle>(?:{_QUOTES}|[^"<>])*)>"""
    r"""|(?P<mark>[(,:;])""",
    re.S,
)
_COMMENTS_PART = re.compile(r"[()]|\\.", re.S)


def parse_address_list(text: str) -> tuple[Address, ...]:
    """The addresses in a field such as From, without names, comments and groups' names.

    Args:
        text: the unfolded value (RFC 5322 section 3.4, RFC 6532; groups as RFC 6854 has them).

    Raises:
        BadAddress, AddressTooLong: it can't be read, or not all of it.
    """
    found: list[Address] = []
    words, angle = list[str](), None  # joined once: many pieces would cost a square of time
    in_group, at = False, 0
    while at < len(text):
        part = _ADDRESS_LISTS_PART.match(text, at)
        if part is None:
            raise BadAddress("Not a list of addresses")
        at = part.end()
        mark = part["mark"]
        if mark == "(":
            at = _end_of_comment(text, at)
        elif mark == ":":
            if in_group or angle is not None:
                raise BadAddress("Not a list of addresses")
            words, in_group = [], True
        elif mark:
            found += _mailbox(words, angle)
            words, angle = [], None
            in_group = in_group and mark != ";"
        elif angle is None:
            words.append(part["text"] or "")
            angle = part["angle"]
        elif part["angle"] is not None or part["text"].strip():
            raise BadAddress("Not a list of addresses")
    return (*found, *_mailbox(words, angle))


def _mailbox(words: list[str], angle: str | None) -> list[Address]:
    """One element of a list; an empty one is passed over (RFC 5322 section 4.4)."""
    inside = ("".join(words) if angle is None else angle).strip()
    return [parse_address(inside)] if inside or angle is not None else []


def _end_of_comment(text: str, at: int) -> int:
    depth = 1
    while depth:
        part = _COMMENTS_PART.search(text, at)
        if part is None:
            raise BadAddress("Comment is not closed")
        depth += {"(": 1, ")": -1}.get(part.group(), 0)
        at = part.end()
    return at
