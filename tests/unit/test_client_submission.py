"""`mailnode.client.submission`: a mail is handed over, or it is said who would not have it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from mailnode.client.connection import Server
from mailnode.client.submission import Letter, Submission
from mailnode.client.trouble import Denied, Late, NotTrusted, SignInRefused, Unreachable
from mailnode.outbound.words import Login
from tests.unit.client_case import HERE, ScriptedConnection

EHLO = b"250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
TLS = b"250-mx\r\n250 STARTTLS\r\n"
AUTH = b"250-mx\r\n250 AUTH PLAIN\r\n"
ELSEWHERE = Server("mail.example.org", 587)
LOGIN = Login("bob", "pw")
RAW = b"Subject: hello\r\n\r\n.dot\r\n"


def letter(*recipients: str, raw: bytes = RAW) -> Letter:
    return Letter("bob@example.org", recipients or ("x@y.test",), len(raw), lambda: io.BytesIO(raw))


class SubmissionCase(SynchronousTestCase):
    def open(
        self,
        replies: Sequence[bytes],
        server: Server = HERE,
        login: Login | None = None,
        **trust: object,
    ) -> Submission:
        self.connection = ScriptedConnection(b"220 ready\r\n", replies, server, **trust)
        return Submission.open(self.connection, login)


class OpenTests(SubmissionCase):
    def test_elsewhere_nothing_is_sent_in_clear(self) -> None:
        with self.assertRaisesRegex(NotTrusted, "mail.example.org:587 offers no TLS"):
            self.open([EHLO], ELSEWHERE)
        self.assertTrue(self.connection.closed)

    def test_it_is_where_that_is_asked_for_and_on_this_machine(self) -> None:
        self.assertTrue(self.open([EHLO], ELSEWHERE, clear=True).usable)
        self.assertTrue(self.open([EHLO]).usable)

    def test_no_password_is_ever_said_in_clear(self) -> None:
        for server in (HERE, ELSEWHERE):
            with self.assertRaises(NotTrusted):
                self.open([AUTH, b"235 ok\r\n"], server, LOGIN, clear=True)
            self.assertNotIn(b"AUTH", b"".join(self.connection.said))

    def test_behind_starttls_the_offers_are_asked_for_anew(self) -> None:
        self.open([TLS, b"220 go\r\n", AUTH, b"235 ok\r\n"], ELSEWHERE, LOGIN)
        self.assertEqual(1, self.connection.secured)
        self.assertIn(b"AUTH PLAIN AGJvYgBwdw==\r\n", self.connection.said)

    def test_a_refused_sign_in_has_the_server_s_words_and_not_the_password(self) -> None:
        with self.assertRaisesRegex(SignInRefused, "bob is not let in at mail.*535 5.7.8 no"):
            self.open([AUTH, b"535 5.7.8 no\r\n"], Server("mail.example.org", 465, True), LOGIN)

    def test_a_server_that_is_busy_or_says_no_is_told_apart(self) -> None:
        with self.assertRaisesRegex(Late, "says 450 4.3.2 later"):
            self.open([b"450 4.3.2 later\r\n"])
        with self.assertRaisesRegex(Denied, "says 554 5.7.1 not you"):
            self.open([b"554 5.7.1 not you\r\n"] * 2)

    def test_one_that_closes_is_not_there(self) -> None:
        with self.assertRaisesRegex(Unreachable, "localhost:110 has closed the connection"):
            self.open([])


class SendTests(SubmissionCase):
    def test_each_recipient_has_an_answer_and_the_body_is_stuffed(self) -> None:
        replies = [
            EHLO,
            b"250 ok\r\n250 ok\r\n550 5.1.1 who?\r\n354 go\r\n",
            b"",
            b"250 2.0.0 id1\r\n",
        ]
        session = self.open(replies)
        told: list[int] = []
        answers = session.send(letter("a@y.test", "b@y.test"), told.append)
        self.assertEqual(
            [("a@y.test", "250 id1"), ("b@y.test", "550 5.1.1 who?")],
            [(address, str(answer)) for address, answer in answers],
        )
        self.assertIn(b"Subject: hello\r\n\r\n..dot\r\n", self.connection.said)
        self.assertEqual([len(RAW)], told)
        self.assertTrue(session.usable)

    def test_the_server_s_size_is_heeded_before_the_mail_is_begun(self) -> None:
        session = self.open([EHLO])
        ((_, answer),) = session.send(letter(raw=b"x" * 1001))
        self.assertEqual((552, 1), (answer.code, len(self.connection.said)))

    def test_a_connection_lost_behind_the_dot_is_neither_sent_nor_refused(self) -> None:
        session = self.open([EHLO, b"250 ok\r\n250 ok\r\n354 go\r\n"])
        ((_, answer),) = session.send(letter())
        self.assertEqual((0, "dot", False), (answer.code, answer.stage, answer.delivered))
        self.assertFalse(session.usable)
