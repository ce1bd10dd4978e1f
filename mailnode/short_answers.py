"""DNS questions and answers of the usual form, written and read without dnspython's messages: pure.

Nearly all answers say a few values of the name that was asked for, and no more, or that it has
none. Such a one is read here in a tenth of the time; whatever is anything else, by the least, is
left to dnspython.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from socket import inet_ntoa
from typing import Any

import dns.exception
import dns.flags
import dns.ipv6
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import frozen

UDP_OCTETS = 1232  # no fragment on any way (DNS flag day 2020)

_HEAD = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, others
_KIND = struct.Struct("!HH")  # and class
_RECORD = struct.Struct("!HHHIH")  # a pointer to the question's name, kind, class, TTL, octets
_TO_NAME = 0xC00C
_OPT = struct.Struct("!BHHIH")  # the root, kind, octets, code and version and flags, octets
_EDNS = _OPT.pack(0, dns.rdatatype.OPT, UDP_OCTETS, 0, 0)
_SOA = struct.Struct("!HHIH")  # kind, class, TTL, octets; behind its name
_LEAST = struct.Struct("!16xI")  # its last number, behind four others
_MOST_TTL = 1 << 31
# All but AA, RD, RA, AD and CD: what makes an answer none, or one of another kind.
_UNUSUAL = 0xFFFF & ~int(dns.flags.AA | dns.flags.RD | dns.flags.RA | dns.flags.AD | dns.flags.CD)

_CODES = (dns.flags.QR, dns.flags.QR | dns.rcode.NXDOMAIN)
_Place = tuple[int, int]  # from and to


@frozen
class ShortAnswer:
    """What the name that was asked for has.

    Attributes:
        flags: of the message.
        values: as `records.Records` has them, none twice; () for a name that has none.
        ttl_s: the least of theirs; for none, how long that may be kept.
        name: that name, in lower case.
        exists: False for a name that isn't there.
    """

    flags: int
    values: tuple[Any, ...]
    ttl_s: float
    name: str
    exists: bool = True

    def rcode(self) -> dns.rcode.Rcode:
        return dns.rcode.NOERROR if self.exists else dns.rcode.NXDOMAIN


def write_query(query: dns.message.Message) -> bytes:
    """A query of `records.make_query` as it is sent."""
    (asked,) = query.question
    has_edns = query.edns >= 0
    head = _HEAD.pack(query.id, query.flags, 1, 0, 0, int(has_edns))
    return head + _question(asked) + (_EDNS if has_edns else b"")


def read_short(data: bytes, query: dns.message.Message) -> ShortAnswer | None:
    """The answer to `query`; None where it is of another form, or is none.

    Its records have the name that was asked for, written as a pointer to it, or there is the SOA of
    a zone which says that there are none; behind them there is nothing but the record of EDNS.
    """
    (asked,) = query.question
    read = _READ.get(asked.rdtype)
    question = _question(asked)
    at = _HEAD.size + len(question)
    if read is None or data[_HEAD.size : at] != question:
        return None
    try:
        number, flags, questions, count, authorities, others = _HEAD.unpack_from(data)
        if number != query.id or questions != 1 or others > 1 or flags & _UNUSUAL not in _CODES:
            return None
        exists = flags & 15 != dns.rcode.NXDOMAIN
        if count and exists and not authorities:
            found, ttl_s, at = _records(data, at, count, asked)
        elif authorities == 1 and not count:
            found, ttl_s, at = {}, *_lack(data, at, question)
        else:
            return None
        if others:
            root, kind, _, code, octets = _OPT.unpack_from(data, at)
            if root or kind != dns.rdatatype.OPT or code >> 16 or octets:
                return None
            at += _OPT.size
        if at != len(data):
            return None
        values = tuple([read(data, each) for each in found.values()])
    except (struct.error, ValueError, IndexError, dns.exception.DNSException):
        return None
    return ShortAnswer(flags, values, float(ttl_s), name_text(asked.name), exists)


def _records(data: bytes, at: int, count: int, asked: Any) -> tuple[dict[bytes, _Place], int, int]:
    """(where each value stands, by its octets; the least TTL; where they end).

    Raises:
        ValueError, struct.error: they are of another form.
    """
    found: dict[bytes, _Place] = {}
    least = _MOST_TTL
    for _ in range(count):
        name, kind, of_class, ttl_s, octets = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        wanted = _TO_NAME, asked.rdtype, asked.rdclass
        if (name, kind, of_class) != wanted or ttl_s >= _MOST_TTL:
            raise ValueError(name)
        found.setdefault(data[at : at + octets], (at, at + octets))
        at += octets
        least = min(least, ttl_s)
    if len(found) > 1 and asked.rdtype == dns.rdatatype.PTR:
        raise ValueError(count)  # one name can be written in several ways
    return found, least, at


def _lack(data: bytes, at: int, question: bytes) -> tuple[int, int]:
    """(how long it may be kept that there is nothing, where its SOA ends): RFC 2308 section 5.

    Raises:
        ValueError, struct.error: it is of another form.
    """
    zone, octets = dns.name.from_wire(data, at)
    at += octets
    kind, of_class, ttl_s, octets = _SOA.unpack_from(data, at)
    at += _SOA.size
    end = at + octets
    if kind != dns.rdatatype.SOA or of_class != dns.rdataclass.IN:
        raise ValueError(kind)
    for _ in range(2):  # the zone's server, and whose it is
        at += dns.name.from_wire(data, at)[1]
    (least_s,) = _LEAST.unpack_from(data, at)
    name = question[: -_KIND.size].lower()
    if (
        at + _LEAST.size != end
        or max(ttl_s, least_s) >= _MOST_TTL
        or not _is_below(name, zone.to_digestable())
    ):
        raise ValueError(octets)
    return min(ttl_s, least_s), end


def _is_below(name: bytes, zone: bytes) -> bool:
    """Whether a name is that of the zone or one in it."""
    while len(name) > len(zone):
        name = name[1 + name[0] :]
    return name == zone


def name_text(name: Any) -> str:
    """A `dns.name.Name` in lower case, without its last dot."""
    text: str = name.to_text(omit_final_dot=True)
    return text.lower().removesuffix(".")


def _question(asked: Any) -> bytes:
    name: bytes = asked.name.to_wire()
    return name + _KIND.pack(asked.rdtype, asked.rdclass)


def _address(data: bytes, place: _Place) -> str:
    octets = data[slice(*place)]
    if len(octets) != 4:
        raise ValueError(place)
    return inet_ntoa(octets)


def _address6(data: bytes, place: _Place) -> str:
    return dns.ipv6.inet_ntoa(data[slice(*place)])


def _name(data: bytes, place: _Place) -> str:
    begin, end = place
    name, octets = dns.name.from_wire(data, begin)
    if begin + octets != end:
        raise ValueError(place)
    return name_text(name)


def _text(data: bytes, place: _Place) -> str:
    at, end = place
    strings = []
    while at < end:
        after = at + 1 + data[at]
        strings.append(data[at + 1 : after])
        at = after
    if at != end or not strings:
        raise ValueError(place)
    return b"".join(strings).decode("utf-8", "replace")


_READ: Mapping[int, Callable[[bytes, _Place], Any]] = {
    dns.rdatatype.A: _address,
    dns.rdatatype.AAAA: _address6,
    dns.rdatatype.PTR: _name,
    dns.rdatatype.TXT: _text,
}
