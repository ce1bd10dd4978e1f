"""`mailnode.gate`: a proxy's connection becomes its client's."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailnode.gate import HEADER_S, ProxyGate, Waiting
from tests.fakes import FakeTransport, SmtpHouse

PROXY = "10.0.0.1"
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 25\r\n"
OF_THIS_MACHINE = b"PROXY TCP4 127.0.0.3 198.51.100.1 50000 25\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
SIX = b"PROXY TCP6 ::ffff:192.0.2.8 ::1 50000 25\r\n"


class Echo(Protocol):
    def connectionMade(self) -> None:
        self.peer = self.transport.getPeer()
        self.got = b""

    def dataReceived(self, data: bytes) -> None:
        self.got += data


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = ProxyGate.of(self.clock, ["10.0.0.0/8", "127.0.0.1", "2001:db8::/32"])
        self.inner = ServerFactory.forProtocol(Echo)
        self.lines: list[str] = []

        def hear(event: Any) -> None:
            if event.get("log_namespace") == "mailnode":
                self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def connect(self, host: str = PROXY, inner: Any = None) -> FakeTransport:
        transport: Any = FakeTransport(host)
        factory = self.gate.around(inner or self.inner)
        transport.protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return transport  # type: ignore[no-any-return]

    def came(self, transport: Any, data: bytes) -> Any:
        transport.protocol.dataReceived(data)
        return transport.protocol

    def test_without_proxies_nothing_is_in_between(self) -> None:
        self.assertIs(ProxyGate.of(self.clock, ()).around(self.inner), self.inner)

    def test_the_client_of_the_header_is_the_peer(self) -> None:
        for header, peer in (
            (HEADER, IPv4Address("TCP", "192.0.2.7", 50000)),
            (SIX, IPv4Address("TCP", "192.0.2.8", 50000)),
            (
                SIX.replace(b"::ffff:192.0.2.8", b"2001:db8::9"),
                IPv6Address("TCP", "2001:db8::9", 50000),
            ),
            (LOCAL, IPv4Address("TCP", PROXY, 40000)),
            (b"PROXY UNKNOWN\r\n", IPv4Address("TCP", PROXY, 40000)),
        ):
            transport = self.connect()
            session = self.came(transport, header + b"EHLO")
            self.assertEqual((session.peer, session.got), (peer, b"EHLO"))
            self.assertEqual(transport.getPeer(), peer)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.gate.waiting), 0)

    def test_every_split_gives_the_client_its_octets_once_and_in_order(self) -> None:
        chance = random.Random(26)
        data = HEADER + HEADER + b"EHLO client\r\n"
        for cut in [*((end,) for end in range(1, len(data))), *(range(1, len(data)),)] + [
            sorted(chance.sample(range(1, len(data)), 6)) for _ in range(200)
        ]:
            transport: Any = self.connect()
            for begin, end in zip((0, *cut), (*cut, len(data)), strict=True):
                self.came(transport, data[begin:end])
            self.assertEqual(transport.protocol.got, HEADER + b"EHLO client\r\n", cut)

    def test_from_elsewhere_no_header_is_taken(self) -> None:
        for host in ("192.0.2.1", "127.0.0.2", "2001:db9::1"):
            transport = self.connect(host)
            session = self.came(transport, HEADER)
            self.assertEqual((session.peer.host, session.got), (host, HEADER))
        protocol = self.gate.around(self.inner).buildProtocol(UNIXAddress(b"/run/mail"))
        self.assertIsInstance(protocol, Echo)

    def test_the_network_of_a_proxy_holds_in_every_form_of_its_address(self) -> None:
        for host in ("10.255.255.255", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1%eth0"):
            self.assertTrue(self.gate.is_proxy(host), host)

    def test_a_bad_header_closes_without_a_word_and_counts(self) -> None:
        for data, why in (
            (b"EHLO client\r\n", "missing"),
            (b"PROXY TCP4\r\n", "malformed"),
            (b"PROXY UNKNOWN" + b" " * 100, "too long"),
        ):
            transport = self.connect()
            self.came(transport, data)
            self.came(transport, HEADER)
            self.assertTrue(transport.aborted)
            self.assertEqual(transport.value(), b"")
            self.assertIsInstance(transport.protocol, Waiting)  # type: ignore[attr-defined]
            self.assertEqual(self.gate.refused[why], 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_late_header_closes_the_connection(self) -> None:
        transport = self.connect()
        self.clock.advance(HEADER_S - 0.1)
        self.came(transport, HEADER[:-1])
        self.assertFalse(transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.gate.refused, {"late": 1})

    def test_who_goes_before_the_header_leaves_nothing(self) -> None:
        transport: Any = self.connect()
        transport.protocol.connectionLost()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.gate.waiting)), ([], 0))
        self.assertEqual((self.gate.refused, self.lines), ({}, []))

    def test_one_address_is_told_of_once_a_minute(self) -> None:
        for _ in range(3):
            self.came(self.connect(), b"EHLO")
        self.came(self.connect("10.0.0.2"), b"EHLO")
        told = [
            "the PROXY header of 10.0.0.1 is missing",
            "the PROXY header of 10.0.0.2 is missing",
        ]
        self.assertEqual(self.lines, told)
        self.clock.advance(60)
        self.came(self.connect(), b"EHLO")
        self.assertEqual(self.lines[2:], told[:1])
        self.assertEqual(self.gate.refused, {"missing": 5})

    def test_many_addresses_fill_neither_the_log_nor_the_memory(self) -> None:
        for number in range(1200):
            self.gate.refuse(f"10.0.{number // 256}.{number % 256}", "late")
        self.assertEqual(len(self.lines), 1000)
        self.clock.advance(61)
        self.gate.refuse("10.1.0.0", "late")
        self.assertEqual(len(self.lines), 1001)

    def test_so_many_may_wait_and_no_more(self) -> None:
        self.gate.most = 1
        self.connect()
        factory = self.gate.around(self.inner)
        self.assertIsNone(factory.buildProtocol(IPv4Address("TCP", PROXY, 1)))
        self.assertEqual(self.gate.refused, {"one too many": 1})

    def test_a_stop_ends_those_who_wait(self) -> None:
        waiting, through = self.connect(), self.connect()
        self.came(through, HEADER)
        self.gate.stop()
        self.assertEqual((waiting.aborted, through.aborted), (True, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_of_this_machine_is_one_only_behind_a_proxy_of_this_machine(self) -> None:
        for proxy, host in (("127.0.0.1", "127.0.0.3"), (PROXY, PROXY)):
            session = self.came(self.connect(proxy), OF_THIS_MACHINE)
            self.assertEqual(session.peer.host, host)

    def test_limits_and_rights_of_a_session_are_those_of_the_client(self) -> None:
        house = SmtpHouse()
        self.addCleanup(house.sessions.stop)
        house.sessions.most_per_address = 1
        first, second = (self.connect("127.0.0.1", house.factory) for _ in range(2))
        session = self.came(first, HEADER + b"EHLO client\r\nMAIL FROM:<a@b.example>\r\n")
        self.assertEqual((session.peer_host, session.loopback), ("192.0.2.7", False))
        self.assertIn(b"250 2.1.0", first.value())
        self.came(second, HEADER)
        self.assertTrue(second.value().startswith(b"421 "), second.value())

    def test_a_session_that_is_turned_away_gets_no_more_input(self) -> None:
        class Rude(Echo):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.abortConnection()

        session = self.came(self.connect(inner=ServerFactory.forProtocol(Rude)), HEADER + b"EHLO")
        self.assertEqual(session.got, b"")

    def test_a_server_that_takes_nobody_has_the_connection_closed(self) -> None:
        class Full(ServerFactory):
            def buildProtocol(self, addr: Any) -> Any:
                return None

        transport = self.connect(inner=Full())
        self.came(transport, HEADER)
        self.assertTrue(transport.aborted)
