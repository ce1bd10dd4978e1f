"""Networks that can be banned, as people write them and as they are kept."""

from __future__ import annotations

import ipaddress

from mailnode.errors import AccountError
from mailnode.machine import is_loopback, plain_address

MOST_REASON = 200  # characters of why one was


class BadBan(AccountError):
    """What can't be banned, and why."""


def read_network(text: str) -> str:
    """An address or network in its usual form.

    Raises:
        BadBan: it is none, or is or has this machine's own.
    """
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise BadBan(
            f"{text[:60]!r} is neither an address nor a network such as 192.0.2.0/24"
        ) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    loopback = ipaddress.ip_network("127.0.0.0/8" if network.version == 4 else "::1/128")
    if is_loopback(str(network.network_address)) or network.overlaps(loopback):
        raise BadBan("this machine's own addresses are never banned")
    return str(network)


def short(network: str) -> str:
    """For people: of an address without the length of its prefix."""
    return network.removesuffix("/32" if ":" not in network else "/128")


def holds(network: str, client: str) -> bool:
    """Whether a client's address is in it; what came by no network has none."""
    try:
        return ipaddress.ip_address(plain_address(client)) in ipaddress.ip_network(network)
    except ValueError:
        return False
