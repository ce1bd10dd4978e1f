"""What the DNS says of a client: does its address have a name, and is HELO's one of its names?"""

from __future__ import annotations

from collections.abc import Callable

from mailnode.addresses import ip_address, parse_domain
from mailnode.errors import BadAddress, LookupFailed, NoSuchName
from mailnode.interfaces import IResolver
from mailnode.machine import plain_address
from mailnode.reading.domains import ascii_domain

MOST_NAMES = 10  # of an address; as many as SPF looks at (RFC 7208 section 4.6.4)

CONFIRMED, NAMELESS, UNCONFIRMED, UNKNOWN = "confirmed", "none", "unconfirmed", "unknown"
OWN, ELSEWHERE, NOWHERE, BARE, MALFORMED, PRETENDS = (
    "own",
    "elsewhere",
    "nowhere",
    "bare",
    "malformed",
    "pretends",
)
NO_HELO = frozenset((NOWHERE, BARE, MALFORMED, PRETENDS))
"""What RFC 5321 section 2.3.5 and 4.1.4 don't allow; a name that leads elsewhere it does."""


async def judge_reverse(resolver: IResolver, client: str) -> tuple[str, str]:
    """Whether the client's address has a name that leads back to it, and which.

    Returns:
        CONFIRMED, UNCONFIRMED (none of its names leads back) or NAMELESS, and a name; UNKNOWN where
        the DNS didn't say.
    """
    try:
        names = await resolver.look_up(ip_address(client).reverse_pointer, "PTR")
    except NoSuchName:
        return NAMELESS, ""
    except LookupFailed:
        return UNKNOWN, ""
    found = UNCONFIRMED if names.values else NAMELESS
    for name in names.values[:MOST_NAMES]:
        led = await _leads(resolver, name, client)
        if led == OWN:
            return CONFIRMED, name
        if led == UNKNOWN:
            found = UNKNOWN
    return found, names.values[0] if names.values else ""


async def judge_helo(
    resolver: IResolver, helo: str, client: str, is_ours: Callable[[str], bool]
) -> str:
    """What the name is that a client gave itself.

    Args:
        is_ours: whether a domain is this node's: its own name, or one whose mail it takes.

    Returns:
        OWN: it leads to the client's address, or is that. ELSEWHERE: it leads to others. NOWHERE:
        there is no such name, or it has no address. BARE: it has no dot. MALFORMED: it can be no
        name. PRETENDS: it is this node's, or another address. UNKNOWN: the DNS didn't say.
    """
    if helo.startswith("["):
        try:
            literal = parse_domain(helo)[1:-1].removeprefix("IPv6:")
        except BadAddress:
            return MALFORMED
        address = ip_address(plain_address(literal))
        return OWN if address == ip_address(client) else PRETENDS
    name = ascii_domain(helo)
    if not name:
        return MALFORMED
    if "." not in name:
        return BARE
    led = await _leads(resolver, name, client)
    return PRETENDS if led != OWN and is_ours(name) else led


async def _leads(resolver: IResolver, name: str, client: str) -> str:
    """Where a name leads: OWN is the client's address."""
    address = ip_address(client)
    unknown = exists = False
    for kind in ("AAAA", "A") if address.version == 6 else ("A", "AAAA"):
        try:
            found = await resolver.look_up(name, kind)
        except NoSuchName:
            break
        except LookupFailed:
            unknown = True
            continue
        exists = exists or bool(found.values)
        if any(ip_address(each) == address for each in found.values):
            return OWN
    if exists:
        return ELSEWHERE
    return UNKNOWN if unknown else NOWHERE
