"""`mailnode.client.maildrop`: a mailbox by POP3, whatever the server makes of that."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.client import maildrop
from mailnode.client.connection import Server
from mailnode.client.maildrop import AHEAD, Maildrop, Size
from mailnode.client.trouble import (
    Denied,
    NoReply,
    NotTrusted,
    SignInRefused,
    Unreachable,
)
from tests.unit.client_case import ELSEWHERE, HERE, ScriptedConnection

CAPA = b"+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nSASL PLAIN LOGIN\r\n.\r\n"
OK = b"+OK\r\n"


class MaildropCase(SynchronousTestCase):
    def open(
        self, *replies: bytes, capa: bytes = CAPA, server: Server = HERE, signed_in: bool = True
    ) -> Maildrop:
        sign_in = [OK] if signed_in else []
        self.connection = ScriptedConnection(b"+OK ready\r\n", [capa, *sign_in, *replies], server)
        maildrop = Maildrop.open(self.connection, "bob", "pw")
        self.connection.said.clear()
        return maildrop


class SignInTests(SynchronousTestCase):
    def open(
        self, replies: Sequence[bytes], server: Server = HERE, user: str = "bob", **trust: object
    ) -> ScriptedConnection:
        connection = ScriptedConnection(b"+OK ready\r\n", replies, server, **trust)
        Maildrop.open(connection, user, "pässword")
        return connection

    def test_plain_is_said_where_it_is_offered(self) -> None:
        connection = self.open([CAPA, OK])
        self.assertEqual([b"CAPA\r\n", b"AUTH PLAIN AGJvYgBww6Rzc3dvcmQ=\r\n"], connection.said)

    def test_user_and_pass_do_elsewhere_even_without_capa(self) -> None:
        connection = self.open([b"-ERR what?\r\n", OK, OK])
        said = [b"CAPA\r\n", b"USER bob\r\n", "PASS pässword\r\n".encode()]
        self.assertEqual(said, connection.said)

    def test_tls_begins_where_it_is_offered_and_what_was_said_in_clear_is_forgotten(
        self,
    ) -> None:
        stls = b"+OK\r\nSTLS\r\nSASL PLAIN\r\n.\r\n"
        connection = self.open([stls, OK, b"+OK\r\nUSER\r\n.\r\n", OK, OK], ELSEWHERE)
        self.assertEqual(1, connection.secured)
        self.assertEqual([b"STLS\r\n", b"CAPA\r\n", b"USER bob\r\n"], connection.said[1:4])

    def test_no_password_goes_to_another_machine_in_clear(self) -> None:
        connection = ScriptedConnection(b"+OK\r\n", [CAPA, OK], ELSEWHERE)
        with self.assertRaisesRegex(NotTrusted, "offers no TLS"):
            Maildrop.open(connection, "bob", "pw")
        self.assertEqual(([b"CAPA\r\n"], True), (connection.said, connection.closed))

    def test_it_does_when_that_is_asked_for(self) -> None:
        self.assertEqual(2, len(self.open([CAPA, OK], ELSEWHERE, clear=True).said))

    def test_a_refusal_has_the_server_s_words(self) -> None:
        with self.assertRaisesRegex(SignInRefused, r"bob is not let in: \[AUTH\] go away"):
            self.open([CAPA, b"-ERR [AUTH] go away\r\n"])

    def test_a_name_with_a_line_end_smuggles_no_command(self) -> None:
        with self.assertRaises(SignInRefused):
            self.open([b"-ERR\r\n", OK, OK], user="bob\r\nDELE 1")

    def test_what_speaks_another_protocol_is_named(self) -> None:
        connection = ScriptedConnection(b"220 smtp.example.org ESMTP\r\n", [])
        with self.assertRaisesRegex(NoReply, "is no POP3 server: it says '220 smtp"):
            Maildrop.open(connection, "bob", "pw")
        self.assertTrue(connection.closed)

    def test_a_server_that_does_not_greet_may_wait_for_tls(self) -> None:
        with self.assertRaisesRegex(Unreachable, "does TLS begin at once there.*pop3s://"):
            Maildrop.open(ScriptedConnection(b"", []), "bob", "pw")
        with self.assertRaises(Unreachable) as told:
            Maildrop.open(ScriptedConnection(b"", [], Server("localhost", 995, True)), "bob", "pw")
        self.assertNotIn("pop3s://", str(told.exception))

    def test_a_server_that_closes_is_said_to(self) -> None:
        with self.assertRaisesRegex(Unreachable, "localhost:110 has closed the connection"):
            self.open([CAPA])

    def test_a_line_without_an_end_is_not_kept(self) -> None:
        with self.assertRaisesRegex(Unreachable, "line without an end"):
            Maildrop.open(ScriptedConnection(b"+OK" + b"x" * 70_000, []), "bob", "pw")


class ListTests(MaildropCase):
    def test_how_many_and_how_large(self) -> None:
        self.assertEqual(Size(2, 320), self.open(b"+OK 2 320 octets\r\n").stat())

    def test_sizes_and_unique_ids_by_number(self) -> None:
        maildrop = self.open(
            b"+OK\r\n1 120\r\n3 200 more\r\n.\r\n", b"+OK\r\n1 a b\r\n3 <x>\r\n.\r\n"
        )
        self.assertEqual({1: 120, 3: 200}, maildrop.sizes())
        self.assertEqual({1: "a b", 3: "<x>"}, maildrop.unique_ids())

    def test_an_empty_mailbox_has_an_empty_list(self) -> None:
        self.assertEqual({}, self.open(b"+OK\r\n.\r\n").sizes())

    def test_what_is_no_listing_is_no_guess(self) -> None:
        for said in (b"+OK\r\nx y\r\n.\r\n", b"+OK\r\n1\r\n.\r\n", b"+OK\r\n1 -2\r\n.\r\n"):
            with self.assertRaisesRegex(NoReply, "no reply to it"):
                self.open(said).sizes()

    def test_a_number_that_no_mailbox_has_is_none(self) -> None:
        for digits in (19, 400, 5000):
            number = b"9" * digits
            for said in (b"1 " + number, number + b" 1"):
                with self.assertRaisesRegex(NoReply, "answers LIST with what is no reply"):
                    self.open(b"+OK\r\n" + said + b"\r\n.\r\n").sizes()
                with self.assertRaisesRegex(NoReply, "answers STAT"):
                    self.open(b"+OK " + said + b"\r\n").stat()
            with self.assertRaisesRegex(NoReply, "answers UIDL"):
                self.open(b"+OK\r\n" + number + b" a\r\n.\r\n").unique_ids()
        self.assertEqual(
            {1: 10**18 - 1}, self.open(b"+OK\r\n1 " + b"9" * 18 + b"\r\n.\r\n").sizes()
        )

    def test_a_list_without_an_end_is_not_read_to_it(self) -> None:
        with patch.object(maildrop, "LIST_MAILS", 3):
            three = b"+OK\r\n1 1\r\n2 1\r\n3 1\r\n"
            self.assertEqual(3, len(self.open(three + b".\r\n").sizes()))
            with self.assertRaisesRegex(NoReply, "more than 3 mails"):
                self.open(three + three).sizes()
        short = patch.object(maildrop, "LIST_OCTETS", 999)
        with short, self.assertRaisesRegex(NoReply, "more than 999 octets"):
            self.open(b"+OK\r\n" + b"1 1\r\n" * 300).sizes()
        with self.assertRaisesRegex(NoReply, "a line"):
            self.open(b"+OK\r\n" + b"x" * 70_000).sizes()
        self.assertTrue(self.connection.closed)

    def test_capabilities_without_an_end_are_not_read_to_it(self) -> None:
        with self.assertRaisesRegex(NoReply, "more than 65,536 octets"):
            self.open(capa=b"+OK\r\n" + b"\r\n" * 33_000 + b".\r\n")

    def test_of_a_long_header_the_beginning_is_kept_and_the_session_goes_on(self) -> None:
        maildrop = self.open(
            b"+OK\r\nSubject: one\r\nX: "
            + b"x" * 200_000
            + b"\r\n\r\n.\r\n+OK\r\nTo: b\r\n\r\n.\r\n"
        )
        (_, long), (_, short) = maildrop.heads([1, 2])
        self.assertEqual((65536, b"To: b\r\n\r\n"), (len(long), short))
        self.assertTrue(long.startswith(b"Subject: one\r\n"))

    def test_headers_come_in_the_order_asked_for_a_refused_one_is_empty(self) -> None:
        maildrop = self.open(
            b"+OK\r\nSubject: one\r\n\r\n.\r\n-ERR gone\r\n+OK\r\nSubject: .\r\n.\r\n"
        )
        heads = list(maildrop.heads([1, 2, 3]))
        self.assertEqual([(1, b"Subject: one\r\n\r\n"), (2, b""), (3, b"Subject: .\r\n")], heads)
        self.assertEqual([b"TOP 1 0\r\nTOP 2 0\r\nTOP 3 0\r\n"], self.connection.said)

    def test_so_many_commands_are_ahead_and_no_more(self) -> None:
        maildrop = self.open(*([b"+OK\r\n\r\n.\r\n" * AHEAD] * 3))
        heads = maildrop.heads(range(1, 2 * AHEAD))
        next(heads)
        self.assertEqual(AHEAD, self.connection.said[0].count(b"TOP"))

    def test_without_pipelining_each_waits_for_its_reply(self) -> None:
        maildrop = self.open(*([b"+OK\r\n\r\n.\r\n"] * 2), capa=b"+OK\r\nSASL PLAIN\r\n.\r\n")
        list(maildrop.heads([1, 2]))
        self.assertEqual([b"TOP 1 0\r\n", b"TOP 2 0\r\n"], self.connection.said)


class RetrieveTests(MaildropCase):
    def test_a_mail_comes_as_it_lies_there(self) -> None:
        maildrop = self.open(
            b"+OK\r\nA: b\r\n\r\n..dot\r\n" + b"x" * 5000 + b"\r\n.\r\n+OK 1 2\r\n"
        )
        pieces: list[bytes] = []
        octets = maildrop.retrieve(1, pieces.append)
        raw = b"".join(pieces)
        self.assertEqual(b"A: b\r\n\r\n.dot\r\n" + b"x" * 5000 + b"\r\n", raw)
        self.assertEqual(len(raw), octets)

    def test_one_without_an_end_is_not_read_to_it(self) -> None:
        endless = b"+OK\r\n" + b"x" * 2000 + b"\r\n"
        with patch.object(maildrop, "MAIL_OCTETS", 1000):
            with self.assertRaisesRegex(NoReply, "more than 1,000 octets in one reply"):
                self.open(endless).retrieve(1, bytes)
            with self.assertRaisesRegex(NoReply, "more than 1,000 octets in one reply"):
                list(self.open(endless).heads([1]))
        short = patch.object(maildrop, "LARGE_OCTETS", 1000)
        with short, self.assertRaisesRegex(NoReply, "more than 1,000 octets in one reply"):
            list(self.open(endless).retrieve_all([1], lambda number: bytes))
        self.assertTrue(self.connection.closed)

    def test_one_that_is_not_there_is_denied(self) -> None:
        with self.assertRaisesRegex(Denied, "no such mail"):
            self.open(b"-ERR no such mail\r\n").retrieve(9, bytes)

    def test_many_are_asked_for_ahead_and_each_has_a_place_of_its_own(self) -> None:
        maildrop = self.open(b"+OK\r\none\r\n.\r\n-ERR no\r\n+OK\r\nthree\r\n.\r\n")
        got: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
        outcomes = list(maildrop.retrieve_all([1, 2, 3], lambda number: got[number].append))
        self.assertEqual({1: [b"one\r\n"], 2: [], 3: [b"three\r\n"]}, got)
        self.assertEqual([True, False, True], [refusal is None for _, refusal in outcomes])

    def test_a_connection_lost_in_the_middle_is_no_mail(self) -> None:
        with self.assertRaises(Unreachable):
            self.open(b"+OK\r\nhalf of it").retrieve(1, bytes)


class DeleteTests(MaildropCase):
    def test_which_could_not_be_deleted_is_told(self) -> None:
        refused = self.open(b"+OK\r\n-ERR gone\r\n+OK\r\n").delete([1, 2, 3])
        self.assertEqual([2], [number for number, _ in refused])

    def test_leaving_in_order_deletes_and_a_failure_is_told(self) -> None:
        maildrop = self.open(b"-ERR some were not deleted\r\n")
        with self.assertRaisesRegex(Denied, "not deleted"):
            maildrop.quit()
        self.assertEqual(([b"QUIT\r\n"], True), (self.connection.said, self.connection.closed))

    def test_going_without_a_word_deletes_nothing(self) -> None:
        self.open().leave()
        self.assertEqual(([], True), (self.connection.said, self.connection.closed))
