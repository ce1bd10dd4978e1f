"""The PROXY header, versions 1 and 2: who a client is that came through a proxy.

No I/O. https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt says what is in it.
"""

from __future__ import annotations

import ipaddress
import re
import struct

from attrs import frozen

V1_OCTETS = 107
V2_OCTETS = 4096  # behind the first 16

_V1_BEGIN = b"PROXY "
_V1_CLIENT = re.compile(r"PROXY TCP([46]) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})", re.A)
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: |\Z)")

_V2_BEGIN = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = len(_V2_BEGIN) + 4
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_OCTETS = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}


class BadHeader(Exception):
    """What came is no PROXY header: `missing`, `malformed` or `too long`."""


@frozen
class ProxyHeader:
    """A whole header.

    Attributes:
        octets: how many it takes; what follows is the client's.
        client: address and port, or None where the header names none (LOCAL, UNKNOWN, UNSPEC,
            a Unix socket): the peer is then who it seems to be.
    """

    octets: int
    client: tuple[str, int] | None = None


def read_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None while it isn't whole yet.

    Raises:
        BadHeader: as soon as it can't become one.
    """
    if data.startswith(_V1_BEGIN):
        return _read_v1(data)
    if data.startswith(_V2_BEGIN):
        return _read_v2(data)
    if _V1_BEGIN.startswith(data) or _V2_BEGIN.startswith(data):
        return None
    raise BadHeader("missing")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, V1_OCTETS)
    if end < 0:
        if len(data) >= V1_OCTETS:
            raise BadHeader("too long")
        return None
    if data[end - 1 : end] != b"\r":
        raise BadHeader("malformed")
    line = data[: end - 1]
    if _V1_UNKNOWN.match(line):  # what follows means nothing
        return ProxyHeader(end + 1)
    found = _V1_CLIENT.fullmatch(line.decode("latin-1"))
    if found is None:
        raise BadHeader("malformed")
    family, source, target, *ports = found.groups()
    kind = ipaddress.IPv4Address if family == "4" else ipaddress.IPv6Address
    try:
        host = str(kind(source))
        kind(target)
    except ValueError:
        raise BadHeader("malformed") from None
    if "%" in source + target or max(map(int, ports)) > 65535:
        raise BadHeader("malformed")
    return ProxyHeader(end + 1, (host, int(ports[0])))


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED:
        return None
    command, family, rest = struct.unpack_from("!BBH", data, len(_V2_BEGIN))
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("malformed")
    if rest > V2_OCTETS:
        raise BadHeader("too long")
    if command == _PROXY and rest < _ADDRESS_OCTETS.get(family, rest + 1):
        raise BadHeader("malformed")
    whole = _V2_FIXED + rest
    if len(data) < whole:
        return None
    client = None
    if command == _PROXY and family == _TCP4:
        source, port = struct.unpack_from("!4s4xH", data, _V2_FIXED)
        client = str(ipaddress.IPv4Address(source)), port
    elif command == _PROXY and family == _TCP6:
        source, port = struct.unpack_from("!16s16xH", data, _V2_FIXED)
        client = str(ipaddress.IPv6Address(source)), port
    return ProxyHeader(whole, client)
