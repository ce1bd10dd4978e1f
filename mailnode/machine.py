"""This machine: its name in the form that mail needs, its own addresses, and those of others."""

from __future__ import annotations

import ipaddress
import resource
import socket
from functools import lru_cache

from twisted.logger import Logger

from mailnode.addresses import parse_domain
from mailnode.errors import BadAddress

_log = Logger(namespace="mailnode")


def raise_descriptor_limit() -> None:
    """As many files and connections may be open as the hard limit lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.info("the descriptor limit stays at {soft}: {error}", soft=soft, error=str(error))


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
