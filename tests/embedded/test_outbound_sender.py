"""`mailnode.outbound.sender` against scripted remote hosts: a real reactor and real sockets."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mailnode.outbound.certificates import Trust
from mailnode.outbound.sender import (
    Answer,
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
from tests import remote as host
from tests.remote import Remote, make_pair

BODY = b"Subject: Hello\r\n\r\n.a dot\r\n..two\r\nIt works.\r\n"
CLEAR = TlsPolicy("none")
VERBS = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT")


class Reader:
    """Gives a body in pieces; `reads` counts them."""

    def __init__(self, body: bytes) -> None:
        self.file, self.reads, self.closed = io.BytesIO(body), 0, False

    def read(self, count: int) -> Deferred[bytes]:
        self.reads += 1
        return succeed(self.file.read(count))

    def close(self) -> None:
        self.closed = True


def mail(*to: str, body: bytes = BODY, sender: str = "alice@example.test", **more: Any) -> Outgoing:
    targets = tuple(map(Target, to or ("bob@remote.test",)))
    return Outgoing(sender, targets, len(body), lambda: Reader(body), **more)


class SenderCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.sender = Sender(reactor, "mx.example.test")

    def listen(self, remote: Remote) -> int:
        port = reactor.listenTCP(0, remote, interface="127.0.0.1")
        self.addCleanup(self.gone, remote)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def gone(self, remote: Remote) -> None:
        """Every connection is closed at both ends."""
        for session in list(remote.here):
            session.transport.abortConnection()
        while remote.here:
            await deferLater(reactor, 0.01)
        await deferLater(reactor, 0.01)

    async def connect(
        self, remote: Remote, policy: TlsPolicy = CLEAR, login: Login | None = None, **hop: Any
    ) -> Session:
        port = self.listen(remote)
        where = Hop(hop.pop("host", "localhost"), "127.0.0.1", port, lmtp=remote.lmtp, **hop)
        return await self.sender.connect(where, policy, login)

    async def refused(self, *args: Any, **more: Any) -> Answer:
        try:
            await self.connect(*args, **more)
        except CannotSend as error:
            return error.answer
        raise AssertionError("it was connected")

    async def hand_over(self, remote: Remote, outgoing: Outgoing) -> list[Answer]:
        session = await self.connect(remote)
        answers = await session.send(outgoing)
        await session.quit()
        return answers


class MailTests(SenderCase):
    async def test_a_mail_arrives_as_it_was(self) -> None:
        remote = Remote()
        (answer,) = await self.hand_over(remote, mail())
        self.assertEqual(Answer(250, "2.0.0", "Taken", "dot"), answer)
        self.assertEqual([BODY], [each.body for each in remote.taken])
        self.assertEqual(["EHLO", "MAIL", "RCPT", "DATA", "QUIT"], remote.verbs())

    async def test_several_mails_share_a_connection(self) -> None:
        remote = Remote()
        session = await self.connect(remote)
        for _ in range(3):
            (answer,) = await session.send(mail())
            self.assertTrue(answer.delivered)
        await session.quit()
        self.assertFalse(session.usable)
        self.assertEqual((3, 1), (len(remote.taken), remote.connections))
        self.assertNotIn("RSET", remote.verbs())

    async def test_c01_a_large_body_is_never_whole_in_memory_and_arrives_whole(self) -> None:
        line = b"." * 70 + b"\r\n"
        body = line * 200_000
        reader, size, digest = Reader(body), len(body), hashlib.sha256(body).digest()
        remote = Remote(offers=("PIPELINING",))
        session = await self.connect(remote)
        outgoing = Outgoing("", (Target("bob@remote.test"),), size, lambda: reader)
        (answer,) = await session.send(outgoing)
        await session.quit()
        self.assertTrue(answer.delivered)
        self.assertEqual(digest, hashlib.sha256(remote.taken[0].body).digest())
        self.assertGreater(reader.reads, 200)
        self.assertTrue(reader.closed)

    async def test_c01_a_remote_host_that_does_not_read_stops_the_reader(self) -> None:
        remote = Remote({"DATA": host.READS_NO_MORE})
        reader = Reader((b"x" * 78 + b"\r\n") * 1_000_000)
        session = await self.connect(remote)
        outgoing = Outgoing("", (Target("bob@remote.test"),), 1000, lambda: reader)
        sending = Deferred.fromCoroutine(session.send(outgoing))
        reads = -1
        while reads != reader.reads:
            reads = reader.reads
            await deferLater(reactor, 0.1)
        self.assertTrue(1 < reads < 600, reads)
        session.abort()
        (answer,) = await sending
        self.assertEqual((0, "DATA"), (answer.code, answer.stage))
        self.assertTrue(reader.closed)

    async def test_lmtp_over_a_unix_socket_answers_for_each(self) -> None:
        path = f"/tmp/mailnode-test-{time.monotonic_ns()}"
        remote = Remote({"DOT": ("250 2.0.0 Filed", "452 4.2.2 Full")}, lmtp=True)
        port = reactor.listenUNIX(path, remote)
        self.addCleanup(port.stopListening)
        session = await self.sender.connect(Hop("lmtp", path, 0, lmtp=True), TlsPolicy())
        answers = await session.send(mail("a@remote.test", "b@remote.test"))
        self.assertEqual([250, 452], [each.code for each in answers])
        await session.quit()
        await self.gone(remote)

    async def test_it_gives_up_before_the_dot_when_the_mail_is_not_its_own_any_more(self) -> None:
        remote = Remote()
        session = await self.connect(remote)
        (answer,) = await session.send(mail(), lambda: False)
        self.assertEqual((0, "DATA"), (answer.code, answer.stage))
        self.assertTrue(answer.temporary)
        self.assertFalse(session.usable)
        await self.gone(remote)
        self.assertEqual([], remote.taken)

    async def test_a_mail_that_can_not_be_read_ends_the_connection_without_a_dot(self) -> None:
        remote, reader = Remote(), Reader(b"a" * 200_000)
        read = reader.read
        reader.read = lambda count: read(count) if reader.reads < 2 else 1 // 0  # type: ignore
        session = await self.connect(remote)
        outgoing = Outgoing("", (Target("bob@remote.test"),), 1, lambda: reader)
        with self.assertRaises(ZeroDivisionError):
            await session.send(outgoing)
        await self.gone(remote)
        self.assertEqual([], remote.taken)
        self.assertTrue(reader.closed)


class BadRemoteTests(SenderCase):
    """Every verb, everything that goes wrong: the right answer, and never a second attempt."""

    async def outcome(self, remote: Remote) -> Answer:
        try:
            (answer,) = await self.hand_over(remote, mail())
        except CannotSend as error:
            answer = error.answer
        await self.gone(remote)
        self.assertEqual(1, remote.connections)
        return answer

    async def test_drops_at_every_step(self) -> None:
        for verb in VERBS:
            for offers in (host.OFFERS, ()):
                answer = await self.outcome(Remote({verb: host.DROP}, offers))
                stage = {"GREETING": "greeting", "DOT": "dot"}.get(verb, verb)
                self.assertEqual((0, True), (answer.code, answer.temporary), verb)
                if offers and verb in ("RCPT", "DATA"):  # its earlier replies may be lost with it
                    self.assertIn(answer.stage, ("MAIL", "RCPT", "DATA"))
                else:
                    self.assertEqual(stage, answer.stage)

    async def test_refusals_at_every_step(self) -> None:
        for verb in VERBS:
            for code in (421, 451, 550):
                for offers in (host.OFFERS, ()):
                    remote = Remote({verb: f"{code} no", "HELO": "550 no"}, offers)
                    answer = await self.outcome(remote)
                    stage = {"GREETING": "greeting", "DOT": "dot"}.get(verb, verb)
                    self.assertEqual((code, stage), (answer.code, answer.stage))
                    self.assertEqual([], remote.taken)

    async def test_c03_replies_without_an_end_and_without_sense_at_every_step(self) -> None:
        for verb in VERBS:
            for reply in (host.ENDLESS, "hello", "250-a\n251 b", "999 what"):
                answer = await self.outcome(Remote({verb: reply}))
                self.assertEqual((0, True), (answer.code, answer.temporary), (verb, reply))

    async def test_nobody_listens(self) -> None:
        port = reactor.listenTCP(0, Remote(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        try:
            await self.sender.connect(Hop("localhost", "127.0.0.1", number), CLEAR)
        except CannotSend as error:
            self.assertEqual(("connect", 0), (error.answer.stage, error.answer.code))
            self.assertIn("refused", error.answer.text)
        else:
            self.fail("it was connected")


class TlsTests(SenderCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = make_pair("Authority", authority=True)
        self.good = make_pair("localhost", self.authority)
        self.old = evolve(self.good, old=True)
        roots = self.authority.write(Path(self.mktemp()))
        self.sender = Sender(reactor, "mx.example.test", Trust(roots))

    async def deliver(
        self, remote: Remote, policy: TlsPolicy, login: Login | None = None, **hop: Any
    ) -> Session:
        session = await self.connect(remote, policy, login, **hop)
        (answer,) = await session.send(mail())
        self.assertTrue(answer.delivered)
        await session.quit()
        return session

    async def test_c06_may_takes_any_certificate(self) -> None:
        for pair in (self.good, make_pair("other.test"), make_pair("localhost", days=-1)):
            remote = Remote(tls=pair)
            session = await self.deliver(remote, TlsPolicy())
            self.assertTrue(session.tls.startswith("TLSv1.3 TLS_"), session.tls)
            self.assertEqual("", session.tls_note)
            self.assertTrue(remote.taken[0].tls)

    async def test_c06_verify_wants_a_trusted_one_for_the_host(self) -> None:
        session = await self.deliver(Remote(tls=self.good), TlsPolicy("verify"))
        self.assertEqual("verified", session.tls_note)
        session = await self.deliver(Remote(tls=self.good), TlsPolicy("verify"), host="[127.0.0.1]")
        self.assertEqual("verified", session.tls_note)
        named = TlsPolicy("verify", names=("localhost",))
        await self.deliver(Remote(tls=self.good), named, host="mx.remote.test")
        for pair, words in (
            (make_pair("localhost"), "self-signed"),
            (make_pair("localhost", self.authority, days=-1), "expired"),
            (make_pair("other.test", self.authority), "not for localhost"),
            (make_pair("localhost", make_pair("Evil", authority=True)), "not one that we trust"),
        ):
            remote = Remote(tls=pair)
            answer = await self.refused(remote, TlsPolicy("verify"))
            self.assertIn(words, answer.text)
            self.assertEqual(
                ("STARTTLS", True, "4.7.5"), (answer.stage, answer.temporary, answer.enhanced)
            )
            self.assertEqual((["EHLO", "STARTTLS"], 1), (remote.verbs(), remote.connections))

    async def test_a_policy_on_trial_tells_what_it_would_not_have_taken(self) -> None:
        trial = TlsPolicy(trial=True)
        for pair, words in (
            (self.good, ""),
            (make_pair("localhost"), "self-signed"),
            (make_pair("localhost", self.authority, days=-1), "expired"),
            (make_pair("other.test", self.authority), "not for localhost"),
            (make_pair("localhost", make_pair("Evil", authority=True)), "not one that we trust"),
        ):
            session = await self.deliver(Remote(tls=pair), trial)
            self.assertTrue(session.tls.startswith("TLSv1.3"))
            self.assertEqual("", session.tls_note)
            self.assertIn(words, session.doubt)
            self.assertEqual(bool(words), bool(session.doubt))

    def tlsa(self, pair: host.Pair, usage: int, selector: int, matching: int) -> Tlsa:
        data = pair.certificate.public_bytes(Encoding.DER)
        if selector:
            key = pair.certificate.public_key()
            data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if matching:
            data = hashlib.new(("sha256", "sha512")[matching - 1], data).digest()
        return Tlsa(usage, selector, matching, data)

    async def test_c06_dane_ee_minds_the_key_and_nothing_else(self) -> None:
        expired = make_pair("other.test", days=-1)
        for selector in (0, 1):
            for matching in (0, 1, 2):
                record = self.tlsa(expired, 3, selector, matching)
                session = await self.deliver(Remote(tls=expired), TlsPolicy(dane=(record,)))
                self.assertEqual("DANE-EE", session.tls_note)
        wrong = self.tlsa(self.good, 3, 1, 1)
        answer = await self.refused(Remote(tls=expired), TlsPolicy(dane=(wrong,)))
        self.assertIn("matches no TLSA record", answer.text)
        self.assertTrue(answer.temporary)

    async def test_c06_dane_ta_minds_the_name_and_the_dates(self) -> None:
        authority = make_pair("Not in any list", authority=True)
        record = self.tlsa(authority, 2, 1, 1)
        policy = TlsPolicy(dane=(record,))
        session = await self.deliver(Remote(tls=make_pair("localhost", authority)), policy)
        self.assertEqual("DANE-TA", session.tls_note)
        for pair, words in (
            (make_pair("other.test", authority), "not for localhost"),
            (make_pair("localhost", authority, days=-1), "expired"),
        ):
            answer = await self.refused(Remote(tls=pair), policy)
            self.assertIn(words, answer.text)
        forged = make_pair("localhost")
        forged.shown = (authority.certificate,)
        answer = await self.refused(Remote(tls=forged), policy)
        self.assertIn("not valid", answer.text)

    async def test_c06_a_whole_authority_in_a_record_need_not_be_shown(self) -> None:
        authority = make_pair("Not in any list", authority=True)
        pair = make_pair("localhost", authority)
        pair.shown = ()
        policy = TlsPolicy(dane=(self.tlsa(authority, 2, 0, 0),))
        self.assertEqual("DANE-TA", (await self.deliver(Remote(tls=pair), policy)).tls_note)

    async def test_c06_records_that_can_not_be_used_make_tls_a_must(self) -> None:
        policy = TlsPolicy(dane=(self.tlsa(self.good, 1, 1, 1), Tlsa(3, 1, 1, b"short")))
        session = await self.deliver(Remote(tls=make_pair("other.test")), policy)
        self.assertEqual("", session.tls_note)
        answer = await self.refused(Remote(), policy)
        self.assertEqual(("STARTTLS", True), (answer.stage, answer.temporary))

    async def test_a_failed_handshake_is_followed_by_one_connection_in_clear(self) -> None:
        remote = Remote(tls=self.old)
        session = await self.deliver(remote, TlsPolicy())
        self.assertEqual("", session.tls)
        self.assertIn("handshake failed", session.tls_note)
        self.assertEqual(2, remote.connections)
        for policy in (TlsPolicy("must"), TlsPolicy("verify")):
            remote = Remote(tls=self.old)
            answer = await self.refused(remote, policy)
            self.assertEqual(("STARTTLS", True), (answer.stage, answer.temporary))
            self.assertEqual(1, remote.connections)

    async def test_a_refused_starttls_goes_on_in_clear_where_it_may(self) -> None:
        for code in (454, 554):
            remote = Remote({"STARTTLS": f"{code} not today"}, tls=self.good)
            session = await self.deliver(remote, TlsPolicy())
            self.assertEqual(("", 1), (session.tls, remote.connections))
            self.assertIn("not today", session.tls_note)
            answer = await self.refused(
                Remote({"STARTTLS": f"{code} not today"}, tls=self.good), TlsPolicy("must")
            )
            self.assertTrue(answer.temporary)

    async def test_c04_octets_behind_starttls_s_220_fail_the_connection(self) -> None:
        for level in ("may", "must", "verify"):
            remote = Remote({"STARTTLS": host.TOO_EARLY}, tls=self.good)
            answer = await self.refused(remote, TlsPolicy(level))
            self.assertIn("octets behind", answer.text)
            self.assertEqual((["EHLO", "STARTTLS"], 1), (remote.verbs(), remote.connections))

    async def test_tls_from_the_first_octet(self) -> None:
        remote = Remote(tls=self.good, implicit_tls=True)
        session = await self.deliver(remote, TlsPolicy("verify"), implicit_tls=True)
        self.assertTrue(session.tls)
        remote = Remote(tls=make_pair("localhost"), implicit_tls=True)
        answer = await self.refused(remote, TlsPolicy("verify"), implicit_tls=True)
        self.assertEqual(("STARTTLS", 1, []), (answer.stage, remote.connections, remote.lines))

    async def test_c05_a_sign_in_happens_inside_tls_alone(self) -> None:
        login = Login("alice", "correct horse")
        for says in ({}, {"AUTH": "LOGIN alone"}):
            remote = Remote(says, tls=self.good, users={"alice": "correct horse"})
            await self.deliver(remote, TlsPolicy(), login)
            self.assertEqual("alice", remote.taken[0].user)
        for level in ("none", "may", "must", "verify"):
            remote = Remote(offers=("AUTH PLAIN LOGIN",), users={"alice": "correct horse"})
            answer = await self.refused(remote, TlsPolicy(level), login)
            self.assertEqual(("STARTTLS", ["EHLO"]), (answer.stage, remote.verbs()))

    async def test_c05_a_failed_handshake_never_puts_a_password_in_clear(self) -> None:
        login = Login("alice", "correct horse")
        remote = Remote(tls=self.old, offers=("AUTH PLAIN",), users={"alice": "correct horse"})
        answer = await self.refused(remote, TlsPolicy("may"), login)
        self.assertEqual(("STARTTLS", 1), (answer.stage, remote.connections))

    async def test_c05_a_refused_sign_in_tells_no_password(self) -> None:
        remote = Remote(tls=self.good, users={"alice": "other"})
        try:
            await self.connect(remote, TlsPolicy(), Login("alice", "correct horse"))
        except CannotSend as error:
            self.assertEqual(("AUTH", 535), (error.answer.stage, error.answer.code))
            self.assertNotIn("correct horse", f"{error!r} {error} {vars(error)}")
        else:
            self.fail("it was signed in")
