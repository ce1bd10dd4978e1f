"""Which way mail for an address goes, in words: mailboxes, route, TLS, and what the gear says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mailnode.addresses import Address, bracketed
from mailnode.model import Recipient, Remote
from mailnode.routes import BY_MX, ENDS, Route

GEARS_MEAN = {
    "capture": "mail for other hosts is kept here and shown, and does not leave",
    "allow-list": "only mail for these leaves; what is for others is kept here and shown",
    "live": "mail for other hosts leaves",
}


class Directions(Protocol):
    """What is asked of a `Directory`."""

    @property
    def gear(self) -> str: ...
    def is_local(self, domain: str) -> bool: ...
    def expand(self, address: Address, limit: int = 1000) -> Sequence[Recipient | Remote]: ...
    def route_for(self, address: Address) -> Route: ...
    def may_leave(self, address: Address) -> bool: ...


def ways_for(directory: Directions, wanted: Address) -> tuple[list[str], list[Address]]:
    """Mailboxes here, and addresses elsewhere, that mail for `wanted` goes to.

    Raises:
        NoSuchMailbox, MailboxDisabled, AliasLoop: nobody here takes it.
    """
    if not directory.is_local(wanted.domain):
        return [], [wanted]
    mailboxes: list[str] = []
    ways: list[Address] = []
    for each in directory.expand(wanted):
        if isinstance(each, Remote):
            ways.append(each.address)
        else:
            mailboxes.append(each.mailbox)
    return mailboxes, ways


def tell_way(directory: Directions, wanted: Address, way: Address) -> list[tuple[str, str]]:
    """Names and values: how mail for `wanted` goes on to `way`, which is elsewhere."""
    found = directory.route_for(way)
    told = [("mail for", str(wanted))]
    if way != wanted:
        told.append(("forwarded to", str(way)))
    told.append(("route", "none of its own" if found is BY_MX else found.pattern))
    told.append(("way", way_in_words(found)))
    if found.kind not in ENDS:
        told.append(("tls", _tls_in_words(found)))
    if found.user:
        told.append(("sign-in", f"as {found.user}, password in {found.password_file}"))
    told.append(("gear", gear_in_words(directory, way)))
    return told


def gear_in_words(directory: Directions, address: Address) -> str:
    """What the gear makes of mail for an address elsewhere."""
    if directory.may_leave(address):
        return f"{directory.gear}: it leaves"
    listed = "" if directory.gear == "capture" else ", for nothing on its list names the address"
    return f"{directory.gear}: it is kept here and shown, and does not leave{listed}"


def way_in_words(route: Route) -> str:
    """What becomes of its mail."""
    if route.kind == "mx":
        return "goes to the hosts that the DNS names (MX)"
    if route.kind == "discard":
        return "is thrown away"
    if route.kind == "refuse":
        return "goes back to its sender"
    if route.kind == "hold":
        return "waits in the queue until somebody releases it"
    protocol = {"smtp": "SMTP", "smtps": "SMTP inside TLS", "lmtp": "LMTP"}[route.kind]
    if not route.port:
        return f"goes to the socket {route.host} by {protocol}"
    return f"goes to {bracketed(route.host)} port {route.port} by {protocol}"


def tls_of(route: Route) -> str:
    """Its wish; "" where nothing is connected to."""
    return "" if route.kind in ENDS else route.tls


def _tls_in_words(route: Route) -> str:
    if route.tls == "verify":
        return "always, and the certificate must be the host's"
    if route.tls == "none":
        return "never"
    if route.kind == "smtps":
        return "from the first octet, whatever the certificate"
    return "when it is offered, whatever the certificate"
