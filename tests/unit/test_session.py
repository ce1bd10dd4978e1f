"""`mailnode.session`: what one client's session may take of the others'."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
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

    def flood(self) -> tuple[Any, Transport]:
        session, transport = self.connect("SMTP")
        session.seconds = self.tick
        session.dataReceived(b"EHLO client.example\r\n" + b"NOOP\r\n" * 1000)
        return session, transport

    def round_of_the_reactor(self) -> None:
        """All that is due is called; what becomes due by it waits for the next round."""
        due, self.clock.calls = self.clock.calls, []
        for call in due:
            call.func(*call.args, **call.kw)

    def test_in_a_round_of_the_reactor_one_of_those_that_take_long_has_a_turn(self) -> None:
        floods = [self.flood() for _ in range(5)]
        answered = [transport.value().count(b"250 2.0.0") for _session, transport in floods]
        for turn in range(10):
            self.round_of_the_reactor()
            now = [transport.value().count(b"250 2.0.0") for _session, transport in floods]
            moved = [at for at in range(5) if now[at] > answered[at]]
            self.assertEqual([turn % 5], moved)
            answered = now

    def test_one_that_is_lost_in_the_queue_holds_nobody_up(self) -> None:
        (first, _), (_, second) = self.flood(), self.flood()
        first.connectionLost()
        for _ in range(1000):
            self.round_of_the_reactor()
        self.assertEqual(1000, second.value().count(b"250 2.0.0"))
        self.assertEqual([], self.clock.getDelayedCalls())


class Kernel(Transport):
    """A transport over a kernel that takes `room` octets at a time; -1: the connection is lost."""

    dataBuffer, offset, _tempDataLen = b"", 0, 0
    room: Any = 1 << 20

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.at_once: list[bytes] = []
        self.lost: list[Failure] = []
        self.socket = self

    def write(self, data: bytes) -> None:
        self._tempDataLen += len(data)
        super().write(data)

    def send(self, data: bytes) -> int:
        if self.room <= 0:
            raise BlockingIOError() if self.room == 0 else ConnectionResetError()
        taken = data[: self.room]
        self.at_once.append(taken)
        self.io.write(taken)
        return len(taken)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


class AtOnceTests(SessionCase):
    """A short reply goes to the kernel now; nothing is lost, doubled or out of order."""

    def said(self, **transport: Any) -> Kernel:
        """A transport to which the greeting was said."""
        self.session = session = self.factories["SMTP"].buildProtocol(None)
        kernel = Kernel(peerAddress=PEER)
        for name, value in transport.items():
            setattr(kernel, name, value)
        session.makeConnection(kernel)
        self.assertTrue(kernel.value().startswith(b"220 mx.example.test "), kernel.value())
        self.assertEqual(1, kernel.value().count(b"220 "))
        self.assertTrue(kernel.value().endswith(b"\r\n"))
        return kernel

    def test_the_kernel_takes_it_all(self) -> None:
        kernel = self.said()
        self.assertEqual([kernel.value()], kernel.at_once)

    def test_what_the_kernel_does_not_take_waits_in_the_transport(self) -> None:
        self.assertEqual([b"220 "], self.said(room=4).at_once)

    def test_a_full_kernel_and_a_lost_connection_are_the_transport_s_to_find_out(self) -> None:
        for room in (0, -1):
            self.assertEqual([], self.said(room=room).at_once)

    def test_nothing_overtakes_what_waits(self) -> None:
        for waits in ({"_tempDataLen": 3}, {"dataBuffer": b"abc"}, {"disconnecting": True}):
            self.assertEqual([], self.said(**waits).at_once)

    def test_a_session_that_ends_is_closed_at_once(self) -> None:
        kernel = self.said()
        self.session.dataReceived(b"NOOP\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual([True], [bool(why.check(ConnectionDone)) for why in kernel.lost])
        self.assertTrue(
            kernel.value().endswith(b"250 2.0.0 Ok\r\n221 2.0.0 mx.example.test Bye\r\n")
        )
        self.assertIs(None, kernel.producer)
        self.assertFalse(kernel.disconnecting)

    def test_a_goodbye_that_the_kernel_does_not_take_is_waited_for(self) -> None:
        kernel = self.said()
        kernel.room = 4
        self.session.dataReceived(b"QUIT\r\n")
        self.assertEqual([], kernel.lost)
        self.assertTrue(kernel.disconnecting)
        self.assertTrue(kernel.value().endswith(b"221 2.0.0 mx.example.test Bye\r\n"))

    def test_one_that_was_cut_off_meanwhile_is_not_closed_in_order(self) -> None:
        kernel = self.said()
        self.session.do_NOOP = lambda _: (self.session.close(), self.session.abort())
        self.session.dataReceived(b"NOOP\r\n")
        self.assertEqual([], kernel.lost)
