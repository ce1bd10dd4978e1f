"""`mailnode.outbound.sender` and `link` in memory: deadlines, back-pressure, the next attempt."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import MailGone
from mailnode.outbound.certificates import BadCertificate, match_dane, match_names
from mailnode.outbound.sender import (
    CannotSend,
    Hop,
    Login,
    Outgoing,
    Sender,
    Session,
    Target,
    Tlsa,
    TlsPolicy,
)  # fmt: skip
from tests.fakes import FakeTransport
from tests.remote import make_pair

HOP = Hop("mx.remote.test", "192.0.2.1", 25)
CLEAR = TlsPolicy("none")


class Pieces:
    """A body that comes piece by piece, each when it is let out."""

    def __init__(self, *pieces: bytes, held: bool = False) -> None:
        self.pieces = [*pieces, b""]
        self.held, self.waiting, self.closed = held, None, False  # type: ignore[var-annotated]

    def read(self, count: int) -> Deferred[bytes]:
        piece = self.pieces.pop(0)
        if not self.held:
            return succeed(piece)
        self.waiting: Any = Deferred()
        self.waiting.piece = piece
        return self.waiting

    def let_out(self) -> None:
        waiting, self.waiting = self.waiting, None
        waiting.callback(waiting.piece)

    def close(self) -> None:
        self.closed = True


class Transport(FakeTransport):
    """Has OpenSSL's handshake told by the test."""

    context: Any = None

    def startTLS(self, context: object) -> None:
        self.context = context
        super().startTLS(context)


class Kernel(Transport):
    """A transport whose kernel takes at once what it is given."""

    dataBuffer, offset, _tempDataLen = b"", 0, 0

    def __init__(self) -> None:
        super().__init__()
        self.socket = self
        self.at_once: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.at_once.append(data)
        self.io.write(data)
        return len(data)


class SenderCase(SynchronousTestCase):
    make_transport: type[Transport] = Transport

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.sender = Sender(self.reactor, "mx.example.test")
        self.transports: list[Transport] = []

    def connect(self, policy: TlsPolicy = CLEAR, login: Login | None = None) -> Deferred[Session]:
        connecting = Deferred.fromCoroutine(self.sender.connect(HOP, policy, login))
        self.accept()
        return connecting

    def accept(self) -> None:
        """The connection that is asked for comes about."""
        factory = self.reactor.tcpClients[-1][2]
        self.link = factory.buildProtocol(None)
        self.transport = self.make_transport()
        self.transports.append(self.transport)
        self.link.makeConnection(self.transport)

    def hear(self, *lines: str) -> list[str]:
        self.link.dataReceived("".join(f"{line}\r\n" for line in lines).encode())
        return self.said()

    def said(self) -> list[str]:
        said = self.transport.value().decode()
        self.transport.clear()
        return said.split("\r\n")[:-1]

    def ready(self, *offers: str) -> Session:
        connecting = self.connect()
        self.hear("220 remote.test")
        self.hear(*[f"250-{each}" for each in ("remote.test", *offers)], "250 HELP")
        return self.successResultOf(connecting)

    def send(self, session: Session, reader: Pieces, **more: Any) -> Deferred[Any]:
        outgoing = Outgoing("a@s.test", (Target("b@r.test"),), 10, lambda: reader)
        return Deferred.fromCoroutine(session.send(outgoing, **more))

    def lose(self) -> None:
        self.link.connectionLost(Failure(ConnectionDone()))

    def failed(self, connecting: Deferred[Any]) -> Any:
        return self.failureResultOf(connecting, CannotSend).value.answer


class ConnectTests(SenderCase):
    def test_it_connects_where_it_is_told_within_30_s(self) -> None:
        connecting = Deferred.fromCoroutine(self.sender.connect(HOP, CLEAR))
        host, port, factory, timeout, _bind = self.reactor.tcpClients[0]
        self.assertEqual(("192.0.2.1", 25, 30.0), (host, port, timeout))
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError("no")))
        answer = self.failed(connecting)
        self.assertEqual((0, "connect", "4.4.1"), (answer.code, answer.stage, answer.enhanced))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_a_unix_socket_is_spoken_to_without_tls(self) -> None:
        hop = Hop("lmtp", "/run/lmtp", 0, lmtp=True)
        connecting = Deferred.fromCoroutine(self.sender.connect(hop, TlsPolicy()))
        path, factory, _timeout, _check = self.reactor.unixClients[0]
        self.assertEqual("/run/lmtp", path)
        self.link = factory.buildProtocol(None)
        self.transport = Transport()
        self.link.makeConnection(self.transport)
        self.assertEqual(["LHLO mx.example.test"], self.hear("220 here"))
        self.hear("250-here", "250-STARTTLS", "250 DSN")
        session = self.successResultOf(connecting)
        self.assertEqual((True, ""), (session.dsn, session.tls))

    def test_who_stops_waiting_ends_the_connection(self) -> None:
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_who_stops_waiting_for_a_connection_has_none(self) -> None:
        connecting = Deferred.fromCoroutine(self.sender.connect(HOP, CLEAR))
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertTrue(self.reactor.connectors[0]._disconnected)


class DeadlineTests(SenderCase):
    """C3: RFC 5321 section 4.5.3.2."""

    def test_c03_each_step_has_its_time(self) -> None:
        connecting = self.connect()
        self.reactor.advance(299)
        self.hear("220 remote.test")
        self.reactor.advance(299)
        self.hear("250 remote.test")
        session = self.successResultOf(connecting)
        sending = self.send(session, Pieces(b"body\r\n"))
        for reply, wait_s in (("250 ok", 299), ("250 ok", 299), ("354 go", 119)):
            self.reactor.advance(wait_s)
            self.hear(reply)
        self.reactor.advance(599)
        self.assertNoResult(sending)
        self.hear("250 taken")
        self.assertTrue(self.successResultOf(sending)[0].delivered)

    def test_c03_who_is_late_is_cut_off(self) -> None:
        steps = ("greeting", 300), ("EHLO", 300), ("MAIL", 300), ("RCPT", 300), ("DATA", 120)
        replies = ("220 x", "250 x", "250 ok", "250 ok", "354 go")
        for at, (stage, wait_s) in enumerate((*steps, ("dot", 600))):
            connecting = self.connect()
            outcome: Deferred[Any] = connecting
            for number, reply in enumerate(replies[:at]):
                self.hear(reply)
                if number == 1:
                    session = self.successResultOf(connecting)
                    outcome = self.send(session, Pieces(b"body\r\n"))
            self.reactor.advance(wait_s - 1)
            self.assertNoResult(outcome)
            self.reactor.advance(1.5)
            answer = self.failed(outcome) if at < 2 else self.successResultOf(outcome)[0]
            self.assertEqual((0, stage), (answer.code, answer.stage))
            self.assertTrue(self.transport.aborted)
            self.lose()
            self.assertEqual([], self.reactor.getDelayedCalls())

    def test_c03_a_reply_that_drips_puts_nothing_off(self) -> None:
        connecting = self.connect()
        for _ in range(11):
            self.link.dataReceived(b"220-hello\r\n")
            self.reactor.advance(27)
        self.link.dataReceived(b"220-he")
        self.reactor.advance(4)
        self.assertEqual("greeting", self.failed(connecting).stage)

    def test_an_idle_session_is_kept(self) -> None:
        session = self.ready()
        self.reactor.advance(100_000)
        self.assertTrue(session.usable)
        self.hear("421 4.4.2 idle for too long")
        self.assertFalse(session.usable)

    def test_a_host_that_does_not_close_behind_quit_is_cut_off(self) -> None:
        session = self.ready()
        leaving = Deferred.fromCoroutine(session.quit())
        self.assertEqual(["QUIT"], self.said())
        self.hear("221 bye")
        self.successResultOf(leaving)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.aborted)
        self.reactor.advance(10)
        self.assertTrue(self.transport.aborted)

    def test_nobody_waits_long_for_the_reply_to_quit(self) -> None:
        session = self.ready()
        leaving = Deferred.fromCoroutine(session.quit())
        self.reactor.advance(10)
        self.successResultOf(leaving)
        self.assertTrue(self.transport.aborted)


class BodyTests(SenderCase):
    def test_c01_dots_are_stuffed_whatever_the_cuts(self) -> None:
        session = self.ready()
        sending = self.send(session, Pieces(b".a\r", b"\n", b".\r\n.", b"b\r\n", b".c"))
        self.hear("250 ok", "250 ok", "354 go")
        self.link.dataReceived(b"250 ok\r\n")
        self.assertTrue(self.successResultOf(sending)[0].delivered)
        sent = b"".join(self.transport.writes)
        self.assertTrue(sent.endswith(b"DATA\r\n..a\r\n..\r\n..b\r\n..c\r\n.\r\n"), sent)

    def test_a_small_body_leaves_with_its_dot_in_one_write(self) -> None:
        session = self.ready("PIPELINING")
        sending = self.send(session, Pieces(b"body\r\n"))
        before = len(self.transport.writes)
        self.hear("250 ok", "250 ok", "354 go")
        self.assertEqual([b"body\r\n.\r\n"], self.transport.writes[before:])
        self.hear("250 ok")
        self.successResultOf(sending)

    def test_c01_nothing_more_is_read_while_the_remote_host_is_behind(self) -> None:
        reader = Pieces(b"one\r\n", b"two\r\n", b"three\r\n")
        session = self.ready()
        sending = self.send(session, reader)
        self.link.pauseProducing()
        self.hear("250 ok", "250 ok", "354 go")
        self.assertEqual([b"three\r\n", b""], reader.pieces)
        self.reactor.advance(179)
        self.link.resumeProducing()
        self.hear("250 ok")
        self.assertTrue(self.successResultOf(sending)[0].delivered)

    def test_c03_a_piece_that_is_not_taken_within_180_s_ends_it(self) -> None:
        session, reader = self.ready(), Pieces(b"one\r\n", b"two\r\n")
        sending = self.send(session, reader)
        self.link.pauseProducing()
        self.hear("250 ok", "250 ok", "354 go")
        self.reactor.advance(181)
        (answer,) = self.successResultOf(sending)
        self.assertEqual((0, "DATA", True), (answer.code, answer.stage, self.transport.aborted))
        self.assertTrue(reader.closed)

    def test_a_slow_disk_of_ours_is_not_the_remote_host_s_fault(self) -> None:
        session, reader = self.ready(), Pieces(b"one\r\n", held=True)
        sending = self.send(session, reader)
        reader.let_out()
        self.hear("250 ok", "250 ok", "354 go")
        self.reactor.advance(1000)
        self.assertNoResult(sending)
        reader.let_out()
        self.hear("250 ok")
        self.assertTrue(self.successResultOf(sending)[0].delivered)

    def test_lost_while_the_body_is_read(self) -> None:
        session, reader = self.ready(), Pieces(b"one\r\n", b"two\r\n", held=True)
        sending = self.send(session, reader)
        reader.let_out()
        self.hear("250 ok", "250 ok", "354 go")
        self.lose()
        reader.let_out()
        (answer,) = self.successResultOf(sending)
        self.assertEqual((0, "DATA"), (answer.code, answer.stage))

    def test_the_lease_is_looked_at_before_the_dot(self) -> None:
        session = self.ready()
        sending = self.send(session, Pieces(b"body\r\n"), still_ours=lambda: False)
        self.hear("250 ok", "250 ok", "354 go")
        (answer,) = self.successResultOf(sending)
        self.assertEqual((0, "DATA", True), (answer.code, answer.stage, self.transport.aborted))
        self.assertNotIn(b"\r\n.\r\n", b"".join(self.transport.writes))


class AtOnceTests(SenderCase):
    """In clear, what is said goes to the kernel without a turn of the reactor."""

    make_transport = Kernel

    def test_what_is_said_in_clear_goes_at_once(self) -> None:
        session = self.ready("PIPELINING")
        sending = self.send(session, Pieces(b"hello\r\n"))
        self.hear("250 ok", "250 ok", "354 go on")
        self.hear("250 taken")
        self.assertEqual([250], [each.code for each in self.successResultOf(sending)])
        self.assertEqual(
            ["EHLO mx.example.test", "MAIL FROM:<a@s.test>", "hello"],
            [each.decode().split("\r\n")[0] for each in self.transport.at_once],
        )
        self.assertEqual([], self.transport.writes)

    def test_nothing_goes_by_what_waits(self) -> None:
        session = self.ready()
        self.transport.dataBuffer = b"something before"
        sending = self.send(session, Pieces(b"hello\r\n"))
        self.assertEqual([b"MAIL FROM:<a@s.test>\r\n"], self.transport.writes)
        self.lose()
        self.successResultOf(sending)

    def test_inside_tls_nothing_goes_by_it(self) -> None:
        connecting = self.connect(TlsPolicy("may"))
        self.hear("220 remote.test")
        self.hear("250-remote.test", "250 STARTTLS")
        said = len(self.transport.at_once)
        self.hear("220 go ahead")
        self.link.handshakeCompleted()
        self.hear("250 remote.test")
        self.successResultOf(connecting)
        self.assertEqual(said, len(self.transport.at_once))
        self.assertEqual([b"EHLO mx.example.test\r\n"], self.transport.writes)


class LossTests(SenderCase):
    def test_c02_a_connection_that_is_lost_is_not_made_again(self) -> None:
        connecting = self.connect()
        self.hear("220 remote.test")
        self.lose()
        self.assertEqual("EHLO", self.failed(connecting).stage)
        self.assertEqual(1, len(self.reactor.tcpClients))

    def test_c02_lost_behind_the_dot_is_told_and_not_tried_again(self) -> None:
        session = self.ready("PIPELINING")
        sending = self.send(session, Pieces(b"body\r\n"))
        self.hear("250 ok", "250 ok", "354 go")
        self.lose()
        (answer,) = self.successResultOf(sending)
        self.assertEqual((0, "dot", True), (answer.code, answer.stage, answer.temporary))
        self.reactor.advance(100_000)
        self.assertEqual(1, len(self.reactor.tcpClients))

    def test_a_kept_session_that_was_lost_says_so_of_each_target(self) -> None:
        session = self.ready()
        self.lose()
        self.assertFalse(session.usable)
        (answer,) = self.successResultOf(self.send(session, Pieces(b"x")))
        self.assertEqual((0, "MAIL"), (answer.code, answer.stage))

    def test_what_refused_one_mail_is_no_answer_to_the_next(self) -> None:
        refused = self.ready()
        reader = Pieces(b"one\r\n", held=True)
        sending = self.send(refused, reader)
        reader.let_out()
        self.hear("250 ok", "250 ok", "354 go")
        self.hear("552 5.3.4 too large")
        reader.let_out()
        self.assertTrue(self.successResultOf(sending)[0].permanent)
        (answer,) = self.successResultOf(self.send(refused, Pieces(b"x")))
        self.assertTrue(answer.temporary)

    def test_a_session_that_ends_while_the_mail_is_read_is_told(self) -> None:
        session, reader = self.ready(), Pieces(b"body\r\n", held=True)
        sending = self.send(session, reader)
        self.hear("421 4.4.2 idle for too long")
        reader.let_out()
        (answer,) = self.successResultOf(sending)
        self.assertEqual((0, "MAIL"), (answer.code, answer.stage))
        self.assertIn("idle for too long", answer.text)

    def test_a_mail_that_can_not_be_read_costs_no_connection_before_it_is_begun(self) -> None:
        session, reader = self.ready(), Pieces(b"body\r\n", held=True)
        sending = self.send(session, reader)
        reader.waiting.errback(MailGone())
        self.failureResultOf(sending, MailGone)
        self.assertTrue(session.usable)
        self.assertTrue(reader.closed)

    def test_who_stops_waiting_for_a_mail_ends_the_connection(self) -> None:
        session, reader = self.ready(), Pieces(b"body\r\n")
        sending = self.send(session, reader)
        sending.cancel()
        self.failureResultOf(sending)
        self.assertTrue(self.transport.aborted)
        self.assertTrue(reader.closed)

    def test_c06_a_handshake_without_an_end_is_followed_by_one_in_clear_where_it_may(self) -> None:
        for level in ("may", "must"):
            connecting = self.connect(TlsPolicy(level))
            self.hear("220 remote.test")
            self.hear("250-remote.test", "250 STARTTLS")
            self.hear("220 Go ahead")
            connections = len(self.reactor.tcpClients)
            self.reactor.advance(121)
            self.assertTrue(self.transport.aborted)
            self.lose()
            if level == "must":
                self.assertEqual("STARTTLS", self.failed(connecting).stage)
                self.assertEqual(connections, len(self.reactor.tcpClients))
            else:
                self.accept()
                self.hear("220 remote.test")
                self.hear("250-remote.test", "250 STARTTLS")
                session = self.successResultOf(connecting)
                self.assertIn("handshake failed", session.tls_note)
                self.assertEqual("", session.tls)

    def test_c05_with_a_login_may_is_a_must(self) -> None:
        connecting = self.connect(TlsPolicy("may"), Login("alice", "correct horse"))
        self.hear("220 remote.test")
        self.assertEqual([], self.hear("250-remote.test", "250 AUTH PLAIN"))
        answer = self.failed(connecting)
        self.assertEqual(("STARTTLS", True), (answer.stage, answer.temporary))
        self.assertNotIn(b"AUTH", b"".join(self.transport.writes))


class CertificateTests(SynchronousTestCase):
    def test_c06_names_are_compared_by_rfc_6125(self) -> None:
        certificate = make_pair("*.remote.test").certificate
        match_names(certificate, ["mx.remote.test"])
        match_names(certificate, ["other.test", "mx.remote.test."])
        for name in ("remote.test", "a.b.remote.test", "remote.test.evil", "192.0.2.1", "", "ä b"):
            self.assertRaises(BadCertificate, match_names, certificate, [name])

    def test_c06_dane_outranks_names_and_dates(self) -> None:
        certificate = make_pair("other.test", days=-1).certificate
        data = certificate.public_bytes(Encoding.DER)
        record = Tlsa(3, 0, 0, data)
        self.assertEqual("DANE-EE", match_dane([record], [certificate], ["mx.remote.test"]))
        for wrong in (Tlsa(3, 0, 0, data[:-1] + b"x"), Tlsa(3, 1, 1, bytes(32))):
            self.assertRaises(BadCertificate, match_dane, [wrong], [certificate], ["other.test"])
        self.assertEqual("", match_dane([Tlsa(1, 0, 0, data)], [certificate], ["other.test"]))

    def test_c06_a_host_is_never_its_own_authority_under_another_name(self) -> None:
        authority = make_pair("An authority", authority=True)
        record = Tlsa(2, 0, 0, authority.certificate.public_bytes(Encoding.DER))
        good = make_pair("mx.remote.test", authority)
        shown = [good.certificate, authority.certificate]
        self.assertEqual("DANE-TA", match_dane([record], shown, ["mx.remote.test"]))
        self.assertRaises(BadCertificate, match_dane, [record], shown, ["mx.other.test"])
        forged = make_pair("mx.remote.test")
        shown = [forged.certificate, authority.certificate]
        self.assertRaises(BadCertificate, match_dane, [record], shown, ["mx.remote.test"])
