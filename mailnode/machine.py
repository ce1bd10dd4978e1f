"""This machine: its name in the form that mail needs, its addresses, those of others, its disk."""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import socket
from functools import lru_cache

from attrs import frozen
from twisted.logger import Logger

from mailnode.addresses import parse_domain
from mailnode.errors import BadAddress

FILES_AT_LEAST = 192  # databases, threads' pipes, ports, the log, HTTP
FILES_FOR_HTTP = 100  # of these
INDEXES_AT_LEAST = 12
FILES_PART = 16  # and a part for bodies on their way to a file or from one

_log = Logger(namespace="mailnode")


def raise_descriptor_limit() -> None:
    """As many files and connections may be open as the hard limit lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.info("the descriptor limit stays at {soft}: {error}", soft=soft, error=str(error))


@frozen
class ConnectionRoom:
    """How many connections the descriptor limit leaves room for.

    Attributes:
        each: of one server, SMTP or POP3.
        together: of all; None where `each` keeps the limit by itself.
    """

    each: int
    together: int | None


def connection_room(
    wanted: int, servers: int, descriptors: int | None = None, others: int = 0
) -> ConnectionRoom:
    """`wanted` connections a server, or as many as there may be descriptors for.

    A crowd at one server leaves a quarter to the others.

    Args:
        descriptors: this process's limit, unless given.
        others: connections that have their own, of browsers.
    """
    if descriptors is None:
        descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return ConnectionRoom(wanted, None)
    others = max(0, others - FILES_FOR_HTTP)
    together = max(1, descriptors - others - max(FILES_AT_LEAST, descriptors // FILES_PART))
    if wanted * servers <= together:
        return ConnectionRoom(wanted, None)
    most = together if servers == 1 else max(1, together * 3 // 4)
    return ConnectionRoom(min(wanted, most), together)


def http_room(wanted: int, descriptors: int | None = None) -> int:
    """`wanted` connections of browsers, or a quarter of what there may be descriptors for."""
    if descriptors is None:
        descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(FILES_FOR_HTTP, descriptors // 4))


def index_room(wanted: int, descriptors: int | None = None) -> int:
    """`wanted` indexes that are kept open, six files each, or a dozen where there is less room."""
    if descriptors is None:
        descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(INDEXES_AT_LEAST, descriptors // 100))


def find_hostname() -> str:
    """The full name when the machine knows one without asking the network, else its short one."""
    name = socket.gethostname()
    if "." not in name:
        name = _from_hosts_file(name) or name
    try:
        return parse_domain(name)
    except BadAddress:
        return "localhost"


def _from_hosts_file(name: str) -> str:
    """The first dotted name on a line of /etc/hosts that has ours; no resolver is asked."""
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as hosts:
            for line in hosts:
                names = line.partition("#")[0].split()[1:]
                if name in names:
                    return next((each for each in names if "." in each), "")
    except OSError:
        pass
    return ""


def outward_addresses() -> tuple[str, ...]:
    """The address that this machine reaches others from, one of IPv4 and one of IPv6 at most.

    The kernel is asked which it would take; nothing is sent.
    """
    found: list[str] = []
    for family, far_away in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far_away, 9))
            found.append(probe.getsockname()[0].partition("%")[0])
    return tuple(found)


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether a client's address is this machine; a Unix socket's is."""
    if not host:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


@lru_cache(maxsize=1024)
def plain_address(host: str) -> str:
    """A client's address in text, without a zone; one that IPv6 maps is the IPv4 that it is."""
    host = host.partition("%")[0]
    try:
        mapped = getattr(ipaddress.ip_address(host), "ipv4_mapped", None)
    except ValueError:
        return host
    return str(mapped) if mapped else host


@lru_cache(maxsize=1024)
def network_of(client: str) -> str:
    """Where one client's neighbours are: the /24 of IPv4, the /64 of IPv6; what is no address stays
    as it is."""
    client = plain_address(client)
    if ":" in client:
        return address_key(client)
    try:
        return str(ipaddress.ip_network(f"{client}/24", strict=False))
    except ValueError:
        return client


def address_key(client: str) -> str:
    """What one client can't cheaply change of its address: all of IPv4, a /64 of IPv6."""
    client = plain_address(client)
    if ":" not in client:
        return client
    try:
        address = ipaddress.IPv6Address(client)
    except ValueError:
        return client
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
