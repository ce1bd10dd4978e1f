"""Lists of addresses and domains that are published in the DNS (RFC 5782): pure.

A list is asked by a name: the turned address, or the domain, in front of its zone. It answers with
an address of 127.0.0.0/8 that says why; which of them count, and how much, the setting says.
"""

from __future__ import annotations

import ipaddress
import re

from attrs import frozen

MOST_WEIGHT = 1000
MOST_NAME = 253
MOST_CODES = 50

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_LIST = re.compile(rf"((?:{_LABEL}\.)+{_LABEL})(?:=([0-9./&+-]+))?(?:\*(-?[0-9]{{1,4}}))?", re.I)
_RANGE = re.compile(r"([0-9.]+)-([0-9]{1,3})")


@frozen
class Codes:
    """Answers that count: from `first` to `last`, and of these such as have one of `bits`."""

    first: int
    last: int
    bits: int = 0

    @classmethod
    def parse(cls, text: str) -> Codes:
        """Of "127.0.0.2", "127.0.0.2-11", "127.0.1.0/24" or "&72", bits of the last octet.

        Raises:
            ValueError: it is none of these, or not of 127.0.0.0/8.
        """
        if text.startswith("&"):
            first = int(ipaddress.IPv4Address("127.0.0.0"))
            made = cls(first, first + 255, int(text[1:]))
            if not 0 < made.bits < 256:
                raise ValueError(text)
        elif found := _RANGE.fullmatch(text):
            first = int(ipaddress.IPv4Address(found.group(1)))
            made = cls(first, first & ~255 | int(found.group(2)))
            if not made.first <= made.last <= first | 255:
                raise ValueError(text)
        else:
            network = ipaddress.IPv4Network(text)
            made = cls(int(network.network_address), int(network.broadcast_address))
        if made.first >> 24 != 127 or made.last >> 24 != 127:
            raise ValueError(text)
        return made

    def have(self, answer: int) -> bool:
        return self.first <= answer <= self.last and (not self.bits or bool(answer & self.bits))


USUAL = (
    Codes.parse("127.0.0.2-255"),
    Codes.parse("127.0.1.0-254"),
    Codes(0x7F000200, 0x7FFEFFFF),
)
"""What says "listed": 127.0.0.1 never does (RFC 5782 section 5), 127.255.0.0/16 and 127.0.1.255 say
that the question was out of place, as one from a resolver that serves everybody."""


@frozen
class DnsList:
    """One list.

    Attributes:
        zone: what stands behind the name that is asked.
        codes: answers that count.
        weight: of a listing; below 0 for a list of those who are wanted, 0 for a mere remark.
    """

    zone: str
    codes: tuple[Codes, ...] = USUAL
    weight: int = 1

    @classmethod
    def parse(cls, text: str) -> DnsList:
        """Of "zen.example.org", "zen.example.org=127.0.0.2-11+127.0.0.16*2".

        Raises:
            ValueError: it is none.
        """
        found = _LIST.fullmatch(text)
        if found is None:
            raise ValueError(text)
        zone, written, weight = found.group(1), found.group(2), int(found.group(3) or 1)
        codes = tuple(map(Codes.parse, written.split("+"))) if written else USUAL
        if len(codes) > MOST_CODES or abs(weight) > MOST_WEIGHT:
            raise ValueError(text)
        return cls(zone.lower(), codes, weight)

    def lists(self, answer: str) -> bool:
        """Whether an A record of it counts; one outside 127.0.0.0/8 is a dead list's."""
        try:
            number = int(ipaddress.IPv4Address(answer))
        except ValueError:
            return False
        return any(codes.have(number) for codes in self.codes)

    def name_for(self, subject: str) -> str | None:
        """What to ask for a `turned` address or a domain; None where it is too long for the DNS."""
        name = f"{subject}.{self.zone}"
        return name if len(name) <= MOST_NAME else None


def turned(address: str) -> str:
    """An address as lists are asked for it: its octets or nibbles from the last to the first.

    Raises:
        ValueError: it is no address.
    """
    pointer = ipaddress.ip_address(address).reverse_pointer
    return pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
