"""`dns check` and `dkim rotate` ask a DNS server on loopback, as they ask one in the world."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cli import published
from mailnode.cli.frame import Mistake
from mailnode.cli.published import compare, make_look_up
from mailnode.cli.records import Record
from mailnode.config import Config
from mailnode.settings import OutboundSettings

ZONE = {
    ("example.org.", "MX"): ["10 mail.example.org."],
    ("mail.example.org.", "A"): ["192.0.2.7"],
    ("long.example.org.", "TXT"): ['"' + "x" * 255 + '" "yz"'],
    ("alias.example.org.", "CNAME"): ["mail.example.org."],
}


def answer_to(wire: bytes) -> bytes:
    query = dns.message.from_wire(wire)
    (question,) = query.question
    name, kind = str(question.name).lower(), question.rdtype.name
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    alias = ZONE.get((name, "CNAME"))
    if alias:
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *alias))
        name = alias[0]
    if values := ZONE.get((name, kind)):
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *values))
    elif name.startswith("broken."):
        reply.set_rcode(dns.rcode.SERVFAIL)
    elif not any(name == known for known, _kind in ZONE):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()


@contextmanager
def dns_server(*, silent: bool = False) -> Iterator[str]:
    """Its address and port, while it answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        address, port = listening.getsockname()

        def serve() -> None:
            while True:
                wire, client = listening.recvfrom(4096)
                if not wire:
                    return
                if not silent:
                    listening.sendto(answer_to(wire), client)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"{address}:{port}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (address, port))
            thread.join(10)


class LookUpTests(SynchronousTestCase):
    def test_values_come_as_they_stand_and_text_in_one_piece(self) -> None:
        with dns_server() as server:
            look_up = make_look_up(Config(), server)
            self.assertEqual(look_up("example.org", "MX"), ("10 mail.example.org.",))
            self.assertEqual(look_up("long.example.org", "TXT"), ("x" * 255 + "yz",))
            self.assertEqual(look_up("alias.example.org", "A"), ("192.0.2.7",))

    def test_no_such_name_and_no_such_record_are_nothing_and_a_fault_is_unknown(self) -> None:
        with dns_server() as server:
            look_up = make_look_up(Config(), server)
            self.assertEqual(look_up("none.example.org", "TXT"), ())
            self.assertEqual(look_up("example.org", "TXT"), ())
            self.assertIsNone(look_up("broken.example.org", "TXT"))

    def test_the_resolvers_of_the_settings_are_asked(self) -> None:
        with dns_server() as server:
            look_up = make_look_up(Config(outbound=OutboundSettings(resolvers=(server,))), None)
            wanted = [
                Record("example.org", "MX", "10 mail.example.org.", ""),
                Record("example.org", "TXT", "v=spf1 mx ~all", ""),
                Record("broken.example.org", "TXT", "v=DMARC1; p=none", ""),
            ]
            statuses = [each.status for each in compare(wanted, look_up)]
            self.assertEqual(statuses, ["right", "missing", "unknown"])

    def test_a_server_that_says_nothing_is_75_and_named(self) -> None:
        self.patch(published, "LIFETIME_S", 0.2)
        with dns_server(silent=True) as server:
            look_up = make_look_up(Config(), server)
            with self.assertRaises(Mistake) as caught:
                look_up("example.org", "MX")
            self.assertEqual(caught.exception.code, 75)
            self.assertIn(server.rpartition(":")[2], caught.exception.message)
