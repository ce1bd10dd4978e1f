"""`mailnode.session`: what one client's session may take of the others'."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from mailnode.admission import Sessions
from mailnode.cred.credentials import PlainCredentials
from mailnode.pop3.factory import Pop3Factory
from mailnode.smtp.factory import SmtpFactory
from tests.unit.smtp_case import House, portal_to
from tests.unit.test_directory import account

PEER = IPv4Address("TCP", "192.0.2.7", 4321)


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock)
        realm = House().realm(object)
        parts: dict[str, Any] = {
            "hostname": "mx.example.test",
            "challengers": {b"PLAIN": PlainCredentials},
            "sessions": self.sessions,
            "clock": self.clock,
        }
        self.factories = {
            "SMTP": SmtpFactory(portal_to(realm), **parts),
            "POP3": Pop3Factory(portal_to(realm), **parts),
        }

    def connect(self, server: str, *, tls: bool = False) -> tuple[Any, Transport]:
        session = self.factories[server].buildProtocol(None)
        transport = Transport(peerAddress=PEER)
        if tls:
            alsoProvides(transport, ISSLTransport)
        session.makeConnection(transport)
        return session, transport


class OneTooManyTests(SessionCase):
    """No sweep looks at a session that was never admitted."""

    def setUp(self) -> None:
        super().setUp()
        self.sessions.most = 0

    def test_a_client_in_clear_is_told_and_closed(self) -> None:
        for server, told in (("SMTP", b"421 4.7.0"), ("POP3", b"-ERR [SYS/TEMP]")):
            _, transport = self.connect(server)
            self.assertIn(told, transport.value())
            self.assertTrue(transport.disconnecting)

    def test_a_client_inside_tls_cannot_stay_by_leaving_its_handshake_undone(self) -> None:
        for server in self.factories:
            _, transport = self.connect(server, tls=True)
            self.assertTrue(transport.aborted, server)


class RevokeTests(SynchronousTestCase):
    def test_a_session_knows_whose_it_is_whatever_the_name(self) -> None:
        dotted = "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * 32  # its key is over 64 octets
        for local in ("alice", "Alice", '"a b"', '"a@b"', dotted):
            house = House(accounts=(account(1, f"{local}@example.test"),))
            ours = house.directory.find_by_id(1)
            name = house.postbox(ours).account_name
            self.assertIs(house.directory.find_sign_in(name), ours, local)


class TurnTests(SessionCase):
    """Commands that came together are run in turns, between which others are served."""

    def setUp(self) -> None:
        super().setUp()
        self.session, self.transport = self.connect("SMTP")
        self.session.dataReceived(b"EHLO client.example\r\n")
        self.transport.clear()
        self.ticks = 0
        self.session.seconds = self.tick

    def tick(self) -> float:
        self.ticks += 1
        return self.ticks / 1000

    def test_what_takes_long_goes_on_in_the_next_turn(self) -> None:
        self.session.dataReceived(b"NOOP\r\n" * 1000 + b"QUIT\r\n")
        self.assertLess(0, self.transport.value().count(b"250"))
        self.assertLess(self.transport.value().count(b"250"), 50)
        self.session.dataReceived(b"NOOP\r\n")
        self.assertEqual("paused", self.transport.producerState)
        for _ in range(1000):
            self.clock.advance(0)
        *noops, bye = self.transport.value().splitlines()
        self.assertEqual({b"250 2.0.0 Ok"}, set(noops))
        self.assertEqual(1000, len(noops))
        self.assertIn(b"221", bye)
        self.assertTrue(self.transport.disconnecting)

    def test_reading_goes_on_after_the_last_turn(self) -> None:
        self.session.dataReceived(b"NOOP\r\n" * 100)
        self.session.dataReceived(b"NOOP\r\n" * 100)
        for _ in range(1000):
            self.clock.advance(0)
        self.assertEqual(200, self.transport.value().count(b"250"))
        self.assertEqual("producing", self.transport.producerState)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_session_that_is_lost_between_two_turns_runs_no_more(self) -> None:
        self.session.dataReceived(b"NOOP\r\n" * 1000)
        self.transport.clear()
        self.session.connectionLost()
        self.clock.advance(0)
        self.assertEqual(b"", self.transport.value())
        self.assertEqual([], self.clock.getDelayedCalls())
