"""`mailnode.proxy`: what is a PROXY header, and where it ends."""

from __future__ import annotations

import ipaddress
import random
import struct

from twisted.trial.unittest import SynchronousTestCase

from mailnode.proxy import BadHeader, ProxyHeader, read_header

BEGIN = b"\r\n\r\n\0\r\nQUIT\n"
TCP4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 50000, 25)
TCP6 = (
    ipaddress.ip_address("2001:db8::7").packed
    + ipaddress.ip_address("2001:db8::1").packed
    + struct.pack("!HH", 50001, 25)
)
TLVS = b"\x01\x00\x02h2" + b"\x04\x00\x03\0\0\0"


def v2(command: int, family: int, rest: bytes) -> bytes:
    return BEGIN + struct.pack("!BBH", command, family, len(rest)) + rest


FOUR, SIX = ("192.0.2.7", 50000), ("2001:db8::7", 50001)

GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25\r\n", FOUR),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 65535\r\n", ("192.0.2.7", 0)),
    (b"PROXY TCP6 2001:DB8::7 ::1 50001 25\r\n", SIX),
    (
        b"PROXY TCP6 " + b" ".join([b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] * 2)
        + b" 65535 65535\r\n",
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:ffff whatever 1\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    (v2(0x21, 0x11, TCP4), FOUR),
    (v2(0x21, 0x11, TCP4 + TLVS), FOUR),
    (v2(0x21, 0x21, TCP6), SIX),
    (v2(0x21, 0x21, TCP6 + bytes(4060)), SIX),
    (v2(0x21, 0x31, b"/run/client".ljust(108, b"\0") + bytes(108)), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x00, TLVS), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, TCP4 + TLVS), None),
    (v2(0x20, 0x77, b""), None),
]  # fmt: skip

BAD = [
    ("missing", b"EHLO client.example\r\n"),
    ("missing", b"\x16\x03\x01"),
    ("missing", b"proxy TCP4 192.0.2.7 198.51.100.1 50000 25\r\n"),
    ("missing", b"PROXX"),
    ("missing", b"PROXY\r\n"),
    ("missing", b"\r\n\r\n\0\r\nQUIT\r"),
    ("missing", b"\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25\n"),
    ("malformed", b"PROXY \r\n"),
    ("malformed", b"PROXY  TCP4 192.0.2.7 198.51.100.1 50000 25\r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25 \r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 65536\r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.1 050000 25\r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.07 198.51.100.1 50000 25\r\n"),
    ("malformed", b"PROXY TCP4 192.0.2.7 198.51.100.256 50000 25\r\n"),
    ("malformed", b"PROXY TCP4 ::1 ::1 50000 25\r\n"),
    ("malformed", b"PROXY TCP6 192.0.2.7 198.51.100.1 50000 25\r\n"),
    ("malformed", b"PROXY TCP6 fe80::1%lo ::1 50000 25\r\n"),
    ("malformed", b"PROXY UDP4 192.0.2.7 198.51.100.1 50000 25\r\n"),
    ("malformed", b"PROXY UNKNOWNS\r\n"),
    ("malformed", b"PROXY TCP4 \xb2.0.2.7 198.51.100.1 50000 25\r\n"),
    ("too long", b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"),
    ("too long", b"PROXY UNKNOWN " + b"x" * 93),
    ("malformed", v2(0x11, 0x11, TCP4)),
    ("malformed", v2(0x22, 0x11, TCP4)),
    ("malformed", v2(0x21, 0x12, TCP4)),
    ("malformed", v2(0x21, 0x10, TCP4)),
    ("malformed", v2(0x21, 0x41, TCP4)),
    ("malformed", v2(0x21, 0x11, TCP4[:-1])),
    ("malformed", v2(0x21, 0x21, TCP4)),
    ("malformed", v2(0x21, 0x31, bytes(215))),
    ("too long", v2(0x21, 0x21, TCP6 + bytes(4061))),
    ("too long", v2(0x20, 0x00, b"")[:-2] + b"\xff\xff"),
]


class ReadHeaderTests(SynchronousTestCase):
    def test_a_header_names_its_client_and_takes_no_octet_behind_it(self) -> None:
        for header, client in GOOD:
            for rest in (b"", b"EHLO client.example\r\n", header):
                self.assertEqual(read_header(header + rest), ProxyHeader(len(header), client))

    def test_one_that_is_not_whole_yet_is_waited_for(self) -> None:
        for header, _client in GOOD:
            for end in range(len(header)):
                self.assertIsNone(read_header(header[:end]), header[:end])

    def test_what_is_none_is_refused_and_said_why(self) -> None:
        for why, data in BAD:
            with self.assertRaises(BadHeader, msg=repr(data)) as caught:
                read_header(data)
            self.assertEqual(str(caught.exception), why, data)

    def test_whatever_comes_is_whole_waited_for_or_refused_however_it_is_split(self) -> None:
        chance = random.Random(26)
        for _ in range(3000):
            data = bytearray(chance.choice(GOOD)[0][:300] + b"EHLO client.example\r\n")
            for _ in range(chance.randrange(4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            ends = [*sorted(chance.choices(range(len(data)), k=5)), len(data)]
            whole = self.outcome(bytes(data), ends[-1:])
            self.assertEqual(self.outcome(bytes(data), ends), whole, (data, ends))

    def outcome(self, data: bytes, ends: list[int]) -> object:
        """What is said in the end, when it comes in pieces that end there."""
        for end in ends:
            try:
                if (found := read_header(data[:end])) is not None:
                    return found
            except BadHeader as error:
                return str(error)
        return None
