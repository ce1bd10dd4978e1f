"""The S entries: what Twisted's SMTP server gets wrong, and ours keeps."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.mail import smtp
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailnode.errors import StoreFull
from mailnode.events import RefusedMail
from mailnode.model import Filed, Message
from mailnode.smtp.factory import SmtpRules
from mailnode.smtp.paths import Forward
from mailnode.smtp.server import SmtpServer
from tests.fakes import PASSWORD, SmtpHouse, Talk

MAIL = "MAIL FROM:<x@example.org>"
OWN = "MAIL FROM:<alice@example.test>"  # what alice may say once she has signed in
RCPT = "RCPT TO:<alice@example.test>"
PLAIN = base64.b64encode(f"\0alice@example.test\0{PASSWORD}".encode()).decode()
STRANGER = "192.0.2.1"


class SmtpCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.open()

    def open(self, host: str = "127.0.0.1", tls: bool = False, **house: Any) -> Talk:
        self.house = SmtpHouse(**house)
        self.talk = self.house.connect(host, tls)
        self.greeting = self.talk.read()
        return self.talk

    def hello(self) -> Talk:
        self.talk.say("EHLO client.example.org")
        return self.talk

    def ready(self) -> Talk:
        self.hello().say(MAIL, RCPT, "DATA")
        return self.talk

    def bodies(self) -> list[bytes]:
        return [message.body for _envelope, message in self.house.messages.filed]  # type: ignore[misc]

    def check(self, line: str, start: str) -> None:
        (reply,) = self.talk.say(line)
        self.assertTrue(reply.startswith(start), f"{line!r} was answered {reply!r}")


@implementer(smtp.IMessage)
class Lines:
    """A message as Twisted's documentation has it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.ended = self.lost = False

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self.ended = True
        return succeed(None)

    def connectionLost(self) -> None:
        self.lost = True


class StartTls(SmtpCase):
    def test_s01_what_came_before_the_handshake_is_not_used_after_it(self) -> None:
        self.hello()
        said = self.talk.send("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x.test>\r\nRCPT T")
        self.assertEqual(said, "220 2.0.0 Ready to start TLS\r\n")
        self.check("O:<alice@example.test>", "500 ")
        self.check(MAIL, "503 5.5.1 ")

    def test_s01_an_argument_is_501(self) -> None:
        self.hello()
        self.check("STARTTLS now", "501 5.5.4 ")

    def test_s02_all_state_is_forgotten(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}", OWN, RCPT, "STARTTLS")
        self.assertEqual(self.house.logouts, 1)
        self.check("DATA", "503 ")
        self.check(MAIL, "503 ")
        extensions = self.talk.say("EHLO again")[0]
        self.assertNotIn("STARTTLS", extensions)
        self.assertIn("AUTH LOGIN PLAIN", extensions)
        self.check("STARTTLS", "503 ")

    def test_s29_a_port_inside_tls_offers_no_starttls(self) -> None:
        self.open(tls=True)
        self.assertNotIn("STARTTLS", self.talk.say("EHLO c")[0])
        self.check("STARTTLS", "503 ")


class Bodies(SmtpCase):
    def test_s03_only_crlf_dot_crlf_ends_data_whatever_the_lengths_of_lines(self) -> None:
        self.ready()
        body = b"Subject: long\r\n\r\n" + b"x" * 40000 + b"\r\nQUIT\r\n"
        said = self.talk.send(body + b".\r\n")
        self.assertEqual(said.count("\r\n"), 1)
        self.assertTrue(said.startswith("250 2.0.0 Ok "), said)
        self.assertEqual(self.bodies(), [body])

    def test_s17_several_recipients_are_one_transaction_and_one_reply(self) -> None:
        self.hello().say(MAIL, RCPT, "RCPT TO:<bob@example.test>", "DATA")
        said = self.talk.send("Subject: two\r\n\r\n.\r\n")
        self.assertEqual(said.count("250"), 1)
        ((envelope, _message),) = self.house.messages.filed
        self.assertEqual([r.account_id for r in envelope.recipients], [1, 2])

    def test_s17_a_failure_leaves_no_part_behind(self) -> None:
        self.hello().say(MAIL, RCPT, "RCPT TO:<bob@example.test>", "DATA")
        self.house.messages.failure = StoreFull()
        self.assertTrue(self.talk.send("x\r\n.\r\n").startswith("452 4.3.1 "))
        self.assertEqual(self.house.messages.filed, [])

    def test_s19_bare_line_ends_of_strangers_are_refused_and_the_session_goes_on(self) -> None:
        for body in (
            b"a\nb\r\n",
            b"a\rb\r\n",
            b"a\rb\nc\r\n",
            b"a\n.\nMAIL FROM:<evil@x>\r\n",
            b"a\r.\r\r\n",
        ):
            self.open(STRANGER)
            self.ready()
            said = self.talk.send(body + b".\r\n")
            self.assertTrue(said.startswith("550 5.6.11 "), (body, said))
            self.assertEqual(said.count("\r\n"), 1)
            self.assertEqual(self.bodies(), [])
            self.check(MAIL, "250 ")

    def test_s19_a_bare_lf_of_a_client_that_we_know_becomes_crlf_once(self) -> None:
        self.ready()
        said = self.talk.send(b"Subject: lf\n\nline\n.\n..\nend\r\n.\r\n")
        self.assertTrue(said.startswith("250 "), said)
        self.assertEqual(self.bodies(), [b"Subject: lf\r\n\r\nline\r\n.\r\n..\r\nend\r\n"])
        ((_envelope, message),) = self.house.messages.filed
        self.assertTrue(message.mended_lf)
        self.assertEqual(message.dot_lines, 2)

    def test_s19_a_bare_lf_of_who_signed_in_is_mended_wherever_they_are(self) -> None:
        self.open(STRANGER, tls=True)
        self.hello().say(f"AUTH PLAIN {PLAIN}", OWN, RCPT, "DATA")
        self.assertTrue(self.talk.send(b"Subject: lf\n\nx\n\r\n.\r\n").startswith("250 "))
        self.assertEqual(self.bodies(), [b"Subject: lf\r\n\r\nx\r\n\r\n"])

    def test_s19_bare_line_ends_do_not_reach_messages_of_others(self) -> None:
        for body in (b"a\nb\r\n", b"a\rb\r\n"):
            self.open(STRANGER)
            lines = Lines()
            self.patch(SmtpServer, "validateTo", lambda server, user, lines=lines: lambda: lines)
            self.ready()
            self.assertTrue(self.talk.send(body + b".\r\n").startswith("550 5.6.11"))
            self.assertEqual((lines.ended, lines.lost), (False, True))

    def test_s19_bdat_is_judged_at_last(self) -> None:
        self.open(STRANGER)
        self.hello().say(MAIL, RCPT)
        self.assertTrue(self.talk.send(b"BDAT 3\r\na\nb").startswith("250 "))
        self.assertTrue(self.talk.send(b"BDAT 2 LAST\r\n\r\n").startswith("550 5.6.11 "))

    def test_s28_body_octets_are_untouched(self) -> None:
        self.ready()
        body = b"no header here\r\n..two dots\r\n\x80\xff\r\n"
        self.talk.send(body.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        self.assertEqual(self.bodies(), [body])

    def test_s32_broken_or_missing_headers_are_taken_and_nothing_is_added(self) -> None:
        self.ready()
        self.talk.send(b": broken\r\n=?x?=\r\n\r\n.\r\n")
        ((_envelope, message),) = self.house.messages.filed
        self.assertNotIn(b"Message-ID", message.prefix)
        self.assertNotIn(b"\nDate:", message.prefix)

    def test_s32_a_submitted_mail_gets_the_date_and_message_id_that_it_lacks(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}", OWN, RCPT, "DATA")
        self.talk.send(b"Subject: x\r\n\r\n.\r\n")
        ((_envelope, message),) = self.house.messages.filed
        self.assertIn(b"\r\nMessage-ID: <", message.prefix)
        self.assertIn(b"\r\nDate: ", message.prefix)

    def test_s32_what_a_submitted_mail_has_is_not_added(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}", OWN, RCPT, "DATA")
        self.talk.send(b"Date: now\r\nMESSAGE-ID: <1@x>\r\n\r\n.\r\n")
        ((_envelope, message),) = self.house.messages.filed
        self.assertNotIn(b"Message-ID", message.prefix)
        self.assertEqual(message.prefix.count(b"Date"), 0)

    def test_s27_a_large_body_goes_to_a_blob_and_waits_for_the_disk(self) -> None:
        self.ready()
        self.house.blobs.behind = True
        big = b"x" * 300_000 + b"\r\n"
        self.assertEqual(self.talk.send(big), "")
        self.assertIsNone(self.house.blobs.made[0].blobs.kept.get("blob1"))
        self.talk.send(b"more\r\n")
        self.assertTrue(self.talk.transport.paused, "input that comes meanwhile stops the reading")
        self.house.blobs.behind = False
        assert self.house.blobs.wait is not None
        self.house.blobs.wait.callback(None)
        self.assertFalse(self.talk.transport.paused)
        self.assertTrue(self.talk.send(b".\r\n").startswith("250 "))
        self.assertEqual(self.house.blobs.kept["blob1"], big + b"more\r\n")

    def test_s27_one_spool_serves_all_recipients(self) -> None:
        self.hello().say(MAIL, RCPT, "RCPT TO:<bob@example.test>", "DATA")
        self.talk.send(b"x" * 300_000 + b"\r\n.\r\n")
        self.assertEqual(len(self.house.blobs.made), 1)

    def test_an_abandoned_body_leaves_no_blob(self) -> None:
        self.ready()
        self.talk.send(b"x" * 300_000)
        self.talk.lose()
        self.assertTrue(self.house.blobs.made[0].discarded)
        self.assertEqual(self.house.messages.filed, [])

    def test_a_blob_whose_commit_fails_is_discarded(self) -> None:
        self.ready()
        self.house.messages.failure = StoreFull()
        self.assertTrue(self.talk.send(b"x" * 300_000 + b"\r\n.\r\n").startswith("452 "))
        self.assertTrue(self.house.blobs.made[0].discarded)

    def test_bdat_chunks_are_one_body_and_a_missing_last_crlf_is_added(self) -> None:
        self.hello().say(MAIL, RCPT)
        said = self.talk.send(b"BDAT 7\r\n.abc\r\n.BDAT 3 LAST\r\nxyz")
        self.assertEqual([line[:3] for line in said.splitlines()], ["250", "250"])
        self.assertEqual(self.bodies(), [b".abc\r\n.xyz\r\n"])

    def test_bdat_without_recipients_is_read_and_refused(self) -> None:
        self.hello()
        said = self.talk.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual([line[:3] for line in said.splitlines()], ["503", "250"])

    def test_data_within_bdat_is_out_of_order(self) -> None:
        self.hello().say(MAIL, RCPT)
        self.talk.send(b"BDAT 3\r\nabc")
        self.check("DATA", "503 ")


class Commands(SmtpCase):
    def test_s04_a_line_that_never_ends_is_refused_once_and_thrown_away(self) -> None:
        self.hello()
        said = "".join(self.talk.send(b"x" * 65536) for _ in range(20))
        self.assertEqual(said, "500 5.5.6 Line is too long\r\n")
        self.assertEqual(len(self.talk.server._input), 0)
        self.assertEqual(self.talk.send(b"xx\r\nNOOP\r\n"), "250 2.0.0 Ok\r\n")

    def test_s04_too_many_of_them_end_the_session(self) -> None:
        self.hello()
        said = self.talk.send((b"x" * 600 + b"\r\n") * 12)
        self.assertEqual(said.count("500 5.5.6"), 10)
        self.assertIn("421 4.7.0", said)
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s04_auth_takes_12288_octets(self) -> None:
        self.hello()
        self.check("AUTH PLAIN " + "A" * 12000, "501 5.5.2")
        self.check("AUTH PLAIN " + "A" * 12300, "500 5.5.6")
        self.check("NOOP " + "A" * 600, "500 5.5.6")

    def test_s04_mail_takes_more_octets_for_its_parameters(self) -> None:
        self.hello()
        self.check(f"{MAIL} AUTH={'a' * 500}", "250 2.1.0")
        self.talk.say("RSET")
        self.check(f"{MAIL} AUTH={'a' * 1300}", "500 5.5.6")

    def test_s11_octets_beyond_ascii_in_a_verb_are_500(self) -> None:
        self.hello()
        for line in (b"\xffEHLO x\r\n", b"NO\0OP\r\n", b"N\xc3\xb6\r\n"):
            self.assertTrue(self.talk.send(line).startswith("500 5.5.2 "))

    def test_s20_control_octets_in_a_command_are_501(self) -> None:
        self.hello()
        for line in (b"EHLO a\x01b\r\n", b"MAIL FROM:<a\x7fb@x.test>\r\n", b"NOOP \t\r\n"):
            self.assertTrue(self.talk.send(line).startswith("501 5.5."), line)
        self.assertTrue(self.talk.send(b"NOOP a\rb\r\n").startswith("501 "))

    def test_a_bare_lf_ends_no_command(self) -> None:
        self.hello()
        self.assertTrue(self.talk.send(b"QUIT\n").startswith("500 5.5.2 "))
        self.assertFalse(self.talk.transport.disconnecting)


class Order(SmtpCase):
    def hold_rcpt(self) -> list[Deferred[Any]]:
        held: list[Deferred[Any]] = []
        real = SmtpServer.validateTo

        def slow(server: SmtpServer, user: Forward) -> Deferred[Any]:
            wait: Deferred[Any] = Deferred()
            held.append(wait)
            return wait.addCallback(lambda _: real(server, user))

        self.patch(SmtpServer, "validateTo", slow)
        return held

    def test_s05_pipelined_commands_are_answered_in_order_behind_slow_checks(self) -> None:
        self.hello()
        held = self.hold_rcpt()
        said = self.talk.send(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n")
        self.assertEqual(said, "250 2.1.0 Ok\r\n")
        held[0].callback(None)
        self.assertEqual([r[:3] for r in self.talk.read().splitlines()], ["250", "354"])

    def test_s05_what_follows_the_dot_waits_for_the_commit(self) -> None:
        self.ready()
        self.house.messages.waiting = []
        self.assertEqual(self.talk.send(b"x\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n"), "")
        self.house.messages.waiting[0].callback((Filed("a", "a", 1, 1),))
        replies = self.talk.read().splitlines()
        self.assertEqual([r[:3] for r in replies], ["250", "250", "250", "221"])
        self.assertIn("Ok 0", replies[0])

    def test_s06_a_late_recipient_does_not_join_the_next_transaction(self) -> None:
        self.hello().say(MAIL)
        server = self.talk.server
        user = Forward(server._from, None, server, server._from)
        server._reset()
        self.talk.say(MAIL)
        server._to_valid(lambda: None, user)
        self.assertEqual(server._to, [])
        self.check("DATA", "503 ")

    def test_s06_rset_forgets_the_recipients(self) -> None:
        self.hello().say(MAIL, RCPT, "RSET")
        self.assertEqual(self.talk.server._to, [])
        self.check("DATA", "503 5.5.1")

    def test_s07_input_waits_for_the_login(self) -> None:
        self.hello()
        self.house.checker.waiting = []
        self.assertEqual(self.talk.send(f"AUTH PLAIN {PLAIN}\r\n{OWN}\r\n"), "")
        self.house.checker.waiting[0].callback(b"alice@example.test")
        self.assertEqual([r[:3] for r in self.talk.read().splitlines()], ["235", "250"])
        self.assertEqual(self.talk.server._from.client.account, "alice@example.test")

    def test_s07_a_login_that_ends_after_the_client_has_gone_is_logged_out_once(self) -> None:
        self.hello()
        self.house.checker.waiting = []
        self.talk.send(f"AUTH PLAIN {PLAIN}\r\n")
        self.talk.lose()
        self.house.checker.waiting[0].callback(b"alice@example.test")
        self.assertEqual(self.house.logouts, 1)

    def test_s07_logout_is_called_once_at_the_end(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}", "QUIT")
        self.assertEqual(self.house.logouts, 0)
        self.talk.lose()
        self.assertEqual(self.house.logouts, 1)

    def test_s07_who_was_logged_out_by_starttls_is_not_logged_out_again(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}", "STARTTLS")
        self.talk.lose()
        self.assertEqual(self.house.logouts, 1)

    def test_s13_arguments_and_order_are_checked(self) -> None:
        for line, start in (
            (MAIL, "503 5.5.1"),
            ("EHLO", "501 5.5.4"),
            ("HELO", "501 5.5.4"),
            ("EHLO two words", "501 5.5.4"),
        ):
            self.check(line, start)
        self.hello()
        for line, start in (
            ("RSET foo", "501 5.5.4"),
            ("QUIT foo", "501 5.5.4"),
            ("MAIL FROM:a@b.test", "501 5."),
            ("MAIL TO:<a@b.test>", "501 5.5.4"),
            ("MAIL FROM: <a@b.test>", "250 2.1.0"),
            ("RCPT TO:alice@example.test", "501 5."),
            ("RCPT TO: <alice@example.test>", "250 2.1.5"),
            ("DATA foo", "501 5.5.4"),
            (MAIL, "503 5.5.1"),
        ):
            self.talk.server.errors = 0
            self.check(line, start)

    def test_s12_noop_vrfy_help_and_expn_are_known(self) -> None:
        for line, start in (
            ("NOOP", "250 2.0.0"),
            ("NOOP with anything", "250 2.0.0"),
            ("VRFY alice", "252 2.5.0"),
            ("HELP", "214 2.0.0"),
            ("EXPN list", "502 5.5.1"),
        ):
            self.check(line, start)


class SignIn(SmtpCase):
    def test_s08_what_is_no_sasl_is_501_and_the_session_goes_on(self) -> None:
        self.hello()
        for lines, start in (
            (["AUTH"], "501 5.5.4"),
            (["AUTH PLAIN ="], "501 5.5.2 Malformed"),
            (["AUTH PLAIN !!!!"], "501 5.5.2 Not base64"),
            (["AUTH PLAIN", ""], "501 5.5.2 Malformed"),
            (["AUTH PLAIN", "*"], "501 5.7.0"),
            (["AUTH LOGIN", "*"], "501 5.7.0"),
        ):
            self.open()
            self.hello()
            reply = self.talk.say(*lines)[-1]
            self.assertTrue(reply.startswith(start), (lines, reply))
            self.check("NOOP", "250 ")

    def test_s08_an_empty_challenge_stands_behind_334(self) -> None:
        self.hello()
        self.assertEqual(self.talk.say("AUTH PLAIN")[0], "334 ")
        self.check(PLAIN, "235 2.7.0")

    def test_s08_login_asks_twice(self) -> None:
        self.hello()
        user, password = (
            base64.b64encode(text).decode() for text in (b"alice@example.test", PASSWORD.encode())
        )
        said = self.talk.say("AUTH LOGIN", user, password)
        self.assertEqual([r[:3] for r in said], ["334", "334", "235"])

    def test_s09_no_sign_in_in_clear_but_on_loopback(self) -> None:
        self.open(STRANGER)
        self.assertNotIn("AUTH", self.talk.say("EHLO c")[0])
        self.check(f"AUTH PLAIN {PLAIN}", "538 5.7.11")
        self.open(STRANGER, tls=True)
        self.assertIn("AUTH", self.talk.say("EHLO c")[0])
        self.check(f"AUTH PLAIN {PLAIN}", "235 ")

    def test_s09_out_of_place_is_503(self) -> None:
        self.check(f"AUTH PLAIN {PLAIN}", "503 5.5.1")
        self.hello().say(MAIL)
        self.check(f"AUTH PLAIN {PLAIN}", "503 5.5.1")
        self.talk.say("RSET")
        self.check(f"AUTH PLAIN {PLAIN}", "235 ")
        self.check(f"AUTH PLAIN {PLAIN}", "503 5.5.1")

    def test_s09_base64_is_strict(self) -> None:
        self.hello()
        spare_bits = PLAIN[:-2] + chr(ord(PLAIN[-2]) + 1) + "="
        self.assertEqual(base64.b64decode(spare_bits), base64.b64decode(PLAIN))
        for loose in (f"{PLAIN[:4]}!{PLAIN[4:]}", PLAIN.rstrip("="), f"{PLAIN}=", spare_bits):
            self.check(f"AUTH PLAIN {loose}", "501 5.5.2 Not base64")
        self.check(f"AUTH PLAIN {PLAIN}", "235 ")

    def test_s09_a_foreign_authzid_is_refused(self) -> None:
        self.hello()
        foreign = base64.b64encode(f"bob@example.test\0alice@example.test\0{PASSWORD}".encode())
        self.check(f"AUTH PLAIN {foreign.decode()}", "535 5.7.8")
        self.assertEqual(self.talk.server.sign_in_failures, 1)

    def test_s09_the_third_failure_ends_the_session(self) -> None:
        self.hello()
        wrong = base64.b64encode(b"\0alice@example.test\0wrong").decode()
        said = ""
        for _ in range(3):
            self.talk.send(f"AUTH PLAIN {wrong}\r\n")
            self.house.clock.pump([1.0] * 15)
            said += self.talk.read()
        self.assertEqual(said.count("535 5.7.8"), 3)
        self.assertIn("421 4.7.0", said)
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s10_cram_md5_is_not_offered(self) -> None:
        self.assertNotIn("CRAM", self.talk.say("EHLO c")[0])
        self.check("AUTH CRAM-MD5", "504 5.5.4")

    def test_a_submission_port_needs_a_sign_in(self) -> None:
        self.open(submission=True)
        self.hello()
        self.check(MAIL, "530 5.7.0")
        self.talk.say(f"AUTH PLAIN {PLAIN}")
        self.check(OWN, "250 ")


class Replies(SmtpCase):
    def test_s14_received_says_how_and_by_whom_the_mail_came(self) -> None:
        self.open(STRANGER, tls=True)
        self.ready()
        reply = self.talk.send(b"x\r\n.\r\n")
        mail_id = reply.split()[-1]
        ((_envelope, message),) = self.house.messages.filed
        self.assertTrue(
            message.prefix.startswith(
                b"Received: from client.example.org ([192.0.2.1])\r\n"
                b"\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
                b"\tby mx.example.test (mailnode) with ESMTPS id " + mail_id.encode() + b"\r\n"
                b"\tfor <alice@example.test>; "
            ),
            message.prefix,
        )

    def test_s14_recipients_do_not_learn_of_each_other(self) -> None:
        self.hello().say(MAIL, RCPT, "RCPT TO:<bob@example.test>", "DATA")
        self.talk.send(b"x\r\n.\r\n")
        self.assertNotIn(b"for <", self.house.messages.filed[0][1].prefix)

    def test_s14_a_server_without_a_delivery_has_a_received_field(self) -> None:
        self.hello()
        server = self.talk.server
        self.assertIsNone(server.delivery)
        field = server.receivedHeader(server._helo, None, [])
        self.assertTrue(
            field.startswith(b"Received: from client.example.org ([127.0.0.1])\r\n\tby mx."), field
        )

    def test_s15_ehlo_lists_what_works(self) -> None:
        lines = [line[4:] for line in self.talk.say("EHLO c")[0].splitlines()]
        self.assertEqual(
            lines,
            [
                "mx.example.test",
                "PIPELINING",
                "SIZE 78643200",
                "8BITMIME",
                "SMTPUTF8",
                "ENHANCEDSTATUSCODES",
                "CHUNKING",
                "DSN",
                "LIMITS RCPTMAX=100",
                "STARTTLS",
                "AUTH LOGIN PLAIN",
            ],
        )

    def test_s15_parameters_are_checked(self) -> None:
        self.open(rules=SmtpRules(message_octets=1000))
        for parameters, start in (
            ("SIZE=1000", "250 "),
            ("SIZE=1001", "552 5.3.4"),
            ("SIZE=x", "501 5.5.4"),
            ("SIZE=1 SIZE=2", "501 5.5.4"),
            ("BODY=8BITMIME", "250 "),
            ("BODY=7bit", "250 "),
            ("BODY=BINARYMIME", "555 5.5.4"),
            ("BODY=9BIT", "501 5.5.4"),
            ("SMTPUTF8", "250 "),
            ("SMTPUTF8=1", "501 5.5.4"),
            ("AUTH=<>", "250 "),
            ("AUTH=a+2Bb@x.test", "250 "),
            ("AUTH=a+2bb@x.test", "501 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("RET=FULL", "250 "),
            ("ret=hdrs", "250 "),
            ("RET=SOME", "501 5.5.4"),
            ("RET", "501 5.5.4"),
            ("RET=FULL RET=HDRS", "501 5.5.4"),
            ("ENVID=QQ+20314", "250 "),
            ("ENVID=" + "x" * 100, "250 "),
            ("ENVID=" + "x" * 101, "501 5.5.4"),
            ("ENVID=a+0Ab", "501 5.5.4"),
            ("ENVID=a+E9", "501 5.5.4"),
            ("ENVID=a+2x", "501 5.5.4"),
            ("ENVID=josé SMTPUTF8", "501 5.5.4"),
            ("ENVID", "501 5.5.4"),
            ("ENVID=a ENVID=a", "501 5.5.4"),
            ("NOTIFY=NEVER", "555 5.5.4"),
            ("SMTPUTF8\u2003BODY=7BIT", "501 5.5.4"),
            ("FOO=BAR", "555 5.5.4"),
            ("=", "501 5.5.4"),
        ):
            self.talk.say("EHLO c")
            self.talk.server.errors = 0
            self.check(f"{MAIL} {parameters}", start)

    def test_s15_a_body_over_the_size_is_552_at_the_dot_and_keeps_nothing(self) -> None:
        self.open(rules=SmtpRules(message_octets=1000))
        self.ready()
        self.assertEqual(self.talk.send(b"x" * 5000 + b"\r\n"), "")
        said = self.talk.send(b".\r\n")
        self.assertTrue(said.startswith("552 5.3.4"))
        self.assertIn(" 1000 octets ", said)
        self.assertEqual(self.house.messages.filed, [])
        self.check(MAIL, "250 ")

    def test_s15_parameters_of_rcpt_are_checked(self) -> None:
        self.hello().say(f"{MAIL} SMTPUTF8")
        for parameters, start in (
            ("NOTIFY=NEVER", "250 "),
            ("NOTIFY=delay,SUCCESS,FAILURE", "250 "),
            ("NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("NOTIFY=NEVER,NEVER", "501 5.5.4"),
            ("NOTIFY=SUCCESS,", "501 5.5.4"),
            ("NOTIFY=ALWAYS", "501 5.5.4"),
            ("NOTIFY", "501 5.5.4"),
            ("NOTIFY=DELAY NOTIFY=DELAY", "501 5.5.4"),
            ("ORCPT=rfc822;a+2Bb@x.test", "250 "),
            ("ORCPT=rfc822;root", "250 "),
            ('ORCPT=rfc822;"a+20b"@x.test', "250 "),
            ("ORCPT=rfc822;a+2bb@x.test", "501 5.5.4"),
            ("ORCPT=rfc822;a+0Db@x.test", "501 5.5.4"),
            ("ORCPT=rfc822;", "501 5.5.4"),
            ("ORCPT=rfc822;<a@x.test>", "501 5.5.4"),
            ("ORCPT=rfc822;josé@x.test", "501 5.5.4"),
            ("ORCPT=x400;a@x.test", "501 5.5.4"),
            ("ORCPT=a@x.test", "501 5.5.4"),
            ("ORCPT", "501 5.5.4"),
            ("ORCPT=utf-8;josé@x.test", "250 "),
            (r"ORCPT=UTF-8;jos\x{E9}@x.test", "250 "),
            (r"ORCPT=utf-8;a\x{2B}b@x.test", "250 "),
            ("ORCPT=utf-8;a+2Bb@x.test", "501 5.5.4"),
            (r"ORCPT=utf-8;jos\xE9@x.test", "501 5.5.4"),
            (r"ORCPT=utf-8;\x{D800}@x.test", "501 5.5.4"),
            (r"ORCPT=utf-8;\x{41}@x.test", "501 5.5.4"),
            (f"ORCPT=rfc822;{'+61' * 64}@{'+78' * 63}.{'x' * 50}.test", "250 "),
            (f"ORCPT=rfc822;{'+61' * 64}@{'+78' * 63}.{'x' * 60}.{'x' * 60}", "501 5.5.4"),
            ("RET=FULL", "555 5.5.4"),
            ("SIZE=1", "555 5.5.4"),
        ):
            self.talk.server.errors = 0
            self.check(f"{RCPT} {parameters}", start)

    def test_s15_utf_8_in_orcpt_needs_smtputf8(self) -> None:
        self.hello().say(MAIL)
        self.check(f"{RCPT} ORCPT=utf-8;josé@x.test", "553 5.6.7")
        self.check(rf"{RCPT} ORCPT=utf-8;jos\x{{E9}}@x.test", "250 ")

    def test_s15_what_is_asked_of_reports_is_handed_on(self) -> None:
        self.hello().say(f"{MAIL} RET=hdrs ENVID=a+20b+2Bc")
        origin = self.talk.server._from
        self.assertEqual((origin.parameters.ret, origin.parameters.envid), ("HDRS", "a b+c"))
        asked = self.patched_recipients()
        self.talk.say(
            RCPT,
            f"{RCPT} NOTIFY=DELAY,success,DELAY ORCPT=RFC822;Bob+2BBill@Example.org",
            rf"{RCPT} NOTIFY=never ORCPT=utf-8;jos\x{{E9}}@example.org",
        )
        self.assertEqual(
            [(user.notify, user.orcpt) for user in asked],
            [
                ("", ""),
                ("SUCCESS,DELAY", "rfc822;Bob+Bill@Example.org"),
                ("NEVER", "utf-8;josé@example.org"),
            ],
        )

    def patched_recipients(self) -> list[Any]:
        """Those that the delivery is asked about from now on."""
        asked: list[Any] = []
        ask = SmtpServer.validateTo

        def note(server: Any, user: Any) -> Any:
            asked.append(user)
            return ask(server, user)

        self.patch(SmtpServer, "validateTo", note)
        return asked

    def test_s15_the_longest_parameters_fit_a_command(self) -> None:
        self.open()
        sender, domain = "x" * 64, "d" * 60 + "." + "e" * 60 + "." + "f" * 60
        self.hello()
        self.check(
            f"MAIL FROM:<{sender}@{domain}> SIZE=00000000000000000001 BODY=8BITMIME SMTPUTF8"
            f" AUTH={'a' * 495} RET=FULL ENVID={'+20' * 33}",
            "250 ",
        )
        word, plain = "+61" * 64, "x" * 60
        orcpt = f"rfc822;{word}@{'+78' * 60}.{plain}.{plain}"[:500]
        command = f"{RCPT} NOTIFY=SUCCESS,FAILURE,DELAY ORCPT={orcpt}"
        self.assertGreater(len(command), 512)
        self.check(command, "250 ")
        self.check(f"{RCPT} ORCPT={'x' * 1200}", "500 5.5.6")

    def test_s15_a_reply_about_a_long_parameter_is_no_longer_than_a_reply_may_be(self) -> None:
        self.hello()
        for words in ("X" * 900, "X" * 400 + " " + "X" * 400):
            (reply,) = self.talk.say(f"{MAIL} {words}")
            self.assertLessEqual(len(reply), 510, reply)

    def test_s16_an_unforeseen_failure_is_temporary(self) -> None:
        self.ready()
        self.house.messages.failure = RuntimeError("a bug in /var/secret")
        said = self.talk.send(b"x\r\n.\r\n")
        self.assertTrue(said.startswith("451 4.3.0 "), said)
        self.assertNotIn("secret", said)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_s16_a_full_disk_is_452_at_mail_and_at_the_dot(self) -> None:
        self.hello()
        self.house.disk_has_room = False
        self.check(MAIL, "452 4.3.1")
        self.house.disk_has_room = True
        self.talk.say(MAIL, RCPT, "DATA")
        self.house.messages.failure = StoreFull()
        self.assertTrue(self.talk.send(b"x\r\n.\r\n").startswith("452 4.3.1"))

    def test_s16_a_full_mailbox_is_452_for_that_recipient_alone(self) -> None:
        self.hello().say(MAIL)
        self.check("RCPT TO:<dave@example.test>", "452 4.2.2")
        self.check(RCPT, "250 ")
        self.check("RCPT TO:<some@example.test>", "250 ")
        self.talk.say("DATA")
        self.talk.send(b"x\r\n.\r\n")
        ((envelope, _message),) = self.house.messages.filed
        self.assertEqual([r.account_id for r in envelope.recipients], [1, 2])

    def test_s18_each_reply_has_an_enhanced_code_of_its_class(self) -> None:
        self.assertTrue(self.greeting.startswith("220 mx.example.test ESMTP"))
        self.hello()
        server = self.talk.server
        for code, text, said in (
            (250, b"fine", "250 2.0.0 fine"),
            (550, "str too", "550 5.0.0 str too"),
            (450, b"4.2.1 has one", "450 4.2.1 has one"),
            (354, b"go", "354 go"),
            (250, b"two\nlines", "250-2.0.0 two\r\n250 2.0.0 lines"),
        ):
            server.sendCode(code, text)
            self.assertEqual(self.talk.read(), said + "\r\n")

    def test_s18_twisted_errors_keep_their_code(self) -> None:
        self.hello()
        self.patch(
            SmtpServer,
            "validateFrom",
            lambda server, helo, origin: fail(smtp.SMTPServerError(554, b"not you")),
        )
        self.check(MAIL, "554 5.0.0 not you")

    def test_s22_an_8_bit_sender_goes_to_the_journal_and_harms_nothing(self) -> None:
        self.hello()
        self.talk.send("MAIL FROM:<ü@x.test>\r\n".encode("latin-1"))
        self.check("MAIL FROM:<ü@x.test>", "553 5.6.7")
        self.check("NOOP", "250 ")
        self.assertEqual(len([e for e in self.house.told if isinstance(e, RefusedMail)]), 2)

    def test_s22_an_8_bit_recipient_goes_to_the_journal_and_harms_nothing(self) -> None:
        self.hello().say(MAIL)
        self.assertTrue(
            self.talk.send("RCPT TO:<ü@example.test>\r\n".encode("latin-1")).startswith("501 5.5.2")
        )
        self.check("RCPT TO:<ü@example.test>", "553 5.6.7")
        told = [event.recipient for event in self.house.told if isinstance(event, RefusedMail)]
        self.assertEqual(told, ["\ufffd@example.test", "ü@example.test"])


class Addresses(SmtpCase):
    def test_s21_the_grammar_is_rfc_5321s(self) -> None:
        self.hello()
        long_local, long_domain = "a" * 65, ".".join(["d" * 60] * 5)
        for path, start in (
            ("<a@[127.0.0.1]>", "250"),
            ("<a@[IPv6:::1]>", "250"),
            ('<"a\\"b c"@x.test>', "250"),
            ("<@relay.test,@b.test:a@x.test>", "250"),
            ("<>", "250"),
            ("<.a@b.test>", "501 5.1.3"),
            ("<a..b@c.test>", "501 5.1.3"),
            ("<a@-x-.test>", "501 5.1.3"),
            ("<a@[300.0.0.1]>", "501 5.1.3"),
            ("<a@>", "501 5.1.3"),
            ("<@b.test>", "501 5.1.3"),
            ("<a b@c.test>", "501 5.1.3"),
            (f"<{long_local}@b.test>", "501 5.1.3"),
            (f"<a@{long_domain}>", "501 5.1.3"),
        ):
            self.talk.say("RSET")
            self.talk.server.errors = 0
            self.check(f"MAIL FROM:{path}", start)

    def test_s21_utf8_needs_smtputf8(self) -> None:
        self.hello()
        self.check("MAIL FROM:<jürgen@bücher.test> SMTPUTF8", "250 ")
        self.assertEqual(str(self.talk.server._from), "jürgen@xn--bcher-kva.test")

    def test_s21_postmaster_without_a_domain_works(self) -> None:
        directory = self.house.directory.current
        self.hello().say(MAIL)
        self.patch(self.talk.server, "host", b"example.test")
        self.assertTrue(directory.is_local("example.test"))
        self.check("RCPT TO:<Postmaster>", "250 ")

    def test_s21_postmaster_works_where_the_hosts_name_is_no_domain_here(self) -> None:
        self.open(STRANGER)
        directory = self.house.directory.current
        self.assertFalse(directory.is_local(self.talk.server.hostname()))
        self.hello().say(MAIL)
        for path in ("<postmaster>", "<PostMaster>", f"<postmaster@{self.talk.server.hostname()}>"):
            self.check(f"RCPT TO:{path}", "250 ")
        self.check(f"RCPT TO:<alice@{self.talk.server.hostname()}>", "550 5.7.1")
        self.check("RCPT TO:<postmaster@elsewhere.test>", "550 5.7.1")

    def test_s31_what_is_not_ours_is_refused_at_rcpt(self) -> None:
        self.open(STRANGER)
        self.hello().say("MAIL FROM:<>")
        for path, start in (
            ("<x@elsewhere.test>", "550 5.7.1"),
            ("<nobody@example.test>", "550 5.1.1"),
            ("<carol@example.test>", "550 5.2.1"),
            ("<loop@example.test>", "550 5.4.6"),
            ("<>", "501 5.1.3"),
            ("<team@example.test>", "250 2.1.5"),
        ):
            self.check(f"RCPT TO:{path}", start)
        refused = [e for e in self.house.told if isinstance(e, RefusedMail)]
        self.assertEqual(refused[0].recipient, "x@elsewhere.test")
        self.assertEqual(refused[0].detail["code"], 550)
        self.assertTrue(refused[0].mail_id)

    def test_s31_more_than_50_received_fields_are_a_loop(self) -> None:
        for count, start in ((50, "250 "), (51, "554 5.4.6")):
            self.talk.say("EHLO c", MAIL, RCPT, "DATA")
            said = self.talk.send(b"Received: x\r\n" * count + b"\r\n.\r\n")
            self.assertTrue(said.startswith(start), (count, said))

    def test_s31_a_header_that_goes_to_a_blob_is_looked_through_to_its_end(self) -> None:
        self.house.counter.blob_over = 100
        for count, start in ((50, "250 "), (51, "554 5.4.6")):
            self.talk.say("EHLO c", MAIL, RCPT, "DATA")
            for _ in range(count):
                self.talk.send(b"Received: x\r\n")
            said = self.talk.send(b"Subject: still there\r\n\r\n.\r\n")
            self.assertTrue(said.startswith(start), (count, said))
        ((_envelope, message),) = self.house.messages.filed
        self.assertEqual(message.subject, "still there")


class ForgedTests(SmtpCase):
    """RFC 8601 section 5: nobody else says in our name what was found of a mail."""

    FORGED = (
        b"From: a@example.org\r\n"
        b"Authentication-Results: mx.example.test;\r\n\tspf=pass\r\n"
        b"authentication-results : other.example; spf=fail\r\n"
        b"AUTHENTICATION-RESULTS: (x) MX.example.test 1; dkim=pass\r\n"
        b"Subject: it stays\r\n"
    )
    KEPT = (
        b"From: a@example.org\r\n"
        b"authentication-results : other.example; spf=fail\r\n"
        b"Subject: it stays\r\n"
    )
    BODY = b"\r\nAuthentication-Results: mx.example.test; spf=pass\r\n.\r\n"

    def sent(self, *pieces: bytes) -> Message:
        self.talk.say("EHLO c", MAIL, RCPT, "DATA")
        for piece in pieces:
            self.talk.send(piece)
        self.assertIn("250 2.0.0", self.talk.send(self.BODY))
        return self.house.messages.filed[-1][1]

    def test_what_a_stranger_writes_in_our_name_is_cut_and_nothing_else(self) -> None:
        self.house.counter.authserv_id = "mx.example.test"
        message = self.sent(self.FORGED)
        wanted = self.KEPT + self.BODY.removesuffix(b".\r\n")
        self.assertEqual(wanted, message.body)
        self.assertEqual(
            (len(wanted), sha256(wanted).digest()), (message.size_octets, message.digest)
        )

    def test_so_it_is_where_the_mail_goes_to_a_file_before_its_header_is_whole(self) -> None:
        self.house.counter.authserv_id = "mx.example.test"
        self.house.counter.blob_over = 10
        message = self.sent(*(self.FORGED[at : at + 7] for at in range(0, len(self.FORGED), 7)))
        wanted = self.KEPT + self.BODY.removesuffix(b".\r\n")
        self.assertEqual(
            (len(wanted), sha256(wanted).digest()), (message.size_octets, message.digest)
        )
        self.assertEqual("it stays", message.subject)

    def test_it_is_cut_however_far_below_it_stands(self) -> None:
        self.house.counter.authserv_id = "mx.example.test"
        for blob_over in (256 << 10, 10):
            self.house.counter.blob_over = blob_over
            far = b"X-Far: " + b"x" * 900 + b"\r\n"
            message = self.sent(far * 250, self.FORGED)
            wanted = far * 250 + self.KEPT + self.BODY.removesuffix(b".\r\n")
            self.assertEqual(sha256(wanted).digest(), message.digest)

    def test_lines_folded_under_nothing_say_no_more_in_our_own_field(self) -> None:
        self.house.counter.authserv_id = "mx.example.test"
        for blob_over in (256 << 10, 10):
            self.house.counter.blob_over = blob_over
            for blank in (b" ", b"\t", b" \r\n\t"):
                said = blank + b"dkim=pass header.d=bank.example\r\n"
                message = self.sent(said + self.FORGED)
                wanted = b"X-Stray-Lines:\r\n" + said + self.KEPT
                wanted += self.BODY.removesuffix(b".\r\n")
                self.assertEqual(
                    (len(wanted), sha256(wanted).digest()), (message.size_octets, message.digest)
                )

    def test_nor_do_they_where_nobody_finds_out_who_sent_a_mail(self) -> None:
        for blob_over in (256 << 10, 10):  # X-Spam-Flag would say more, too
            self.house.counter.blob_over = blob_over
            message = self.sent(b" NO\r\n" + self.FORGED)
            wanted = b"X-Stray-Lines:\r\n NO\r\n" + self.FORGED
            wanted += self.BODY.removesuffix(b".\r\n")
            self.assertEqual(
                (len(wanted), sha256(wanted).digest()), (message.size_octets, message.digest)
            )

    def test_who_writes_none_cuts_none(self) -> None:
        message = self.sent(self.FORGED)
        self.assertEqual(self.FORGED + self.BODY.removesuffix(b".\r\n"), message.body)


class Time(SmtpCase):
    def test_s23_no_idle_timer_runs_while_a_reply_is_pending(self) -> None:
        self.ready()
        self.house.messages.waiting = []
        self.talk.send(b"x\r\n.\r\n")
        self.house.clock.pump([1.0] * 1000)
        self.assertEqual(self.talk.read(), "")
        self.house.messages.waiting[0].callback(())
        self.assertTrue(self.talk.read().startswith("250 "))
        self.house.clock.pump([1.0] * 299)
        self.assertFalse(self.talk.transport.disconnecting, "the client had no turn before this")

    def test_s23_a_body_that_falls_silent_is_421(self) -> None:
        self.open(rules=SmtpRules(body_octets_a_second=0))
        self.ready()
        self.house.clock.pump([1.0] * 299)
        self.assertFalse(self.talk.transport.disconnecting)
        self.house.clock.pump([1.0] * 3)
        self.assertTrue(self.talk.read().startswith("421 4.4.2 "))
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s23_five_minutes_without_a_command_are_421(self) -> None:
        self.hello()
        self.house.clock.pump([1.0] * 299)
        self.assertFalse(self.talk.transport.disconnecting)
        self.house.clock.pump([1.0] * 3)
        self.assertTrue(self.talk.read().startswith("421 4.4.2 "))
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s23_a_body_has_a_least_rate_and_a_longest_time(self) -> None:
        self.ready()
        for _ in range(100):
            self.house.clock.advance(1.0)
            self.talk.send(b"x")
        self.assertTrue(self.talk.transport.disconnecting)
        self.open(rules=SmtpRules(body_octets_a_second=0, body_s=100.0, idle_s=1000.0))
        self.ready()
        for _ in range(99):
            self.house.clock.advance(1.0)
            self.talk.send(b"x")
        self.assertFalse(self.talk.transport.disconnecting)
        self.house.clock.pump([1.0] * 3)
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s24_ten_seconds_after_the_close_the_connection_is_aborted(self) -> None:
        self.hello().say("QUIT")
        self.assertTrue(self.talk.transport.disconnecting)
        self.house.clock.pump([1.0] * 10)
        self.assertFalse(self.talk.transport.aborted)
        self.house.clock.pump([1.0] * 2)
        self.assertTrue(self.talk.transport.aborted)

    def test_s24_nothing_behind_quit_is_obeyed(self) -> None:
        self.hello()
        said = self.talk.send(f"QUIT\r\n{MAIL}\r\n")
        self.assertEqual(said, "221 2.0.0 mx.example.test Bye\r\n")
        self.assertEqual(self.talk.send("NOOP\r\n"), "")

    def test_s25_nothing_is_parsed_while_the_client_does_not_read(self) -> None:
        self.hello()
        server = self.talk.transport.producer
        self.assertTrue(self.talk.transport.streaming)
        server.pauseProducing()
        self.assertEqual(self.talk.send(b"NOOP\r\n" * 100), "")
        self.assertTrue(self.talk.transport.paused)
        server.resumeProducing()
        self.assertEqual(self.talk.read().count("250"), 100)
        self.assertFalse(self.talk.transport.paused)

    def test_s25_replies_do_not_gather_without_a_bound(self) -> None:
        self.hello()
        self.talk.transport.writes.clear()
        self.talk.send(b"HELP\r\n" * 5000)
        self.assertGreater(len(self.talk.transport.writes), 1)
        self.assertLess(max(map(len, self.talk.transport.writes)), 66000)

    def test_s29_a_unix_socket_is_this_machine(self) -> None:
        server = self.house.factory.buildProtocol(None)
        transport = StringTransport(peerAddress=UNIXAddress(None))
        server.makeConnection(transport)
        server.dataReceived(b"EHLO client.example.org\r\n")
        said = transport.value().decode()
        self.assertIn("250 AUTH LOGIN PLAIN", said)
        self.assertNotIn("STARTTLS", said)

    def test_s29_a_client_that_closes_its_half_still_gets_its_250(self) -> None:
        self.ready()
        self.assertTrue(IHalfCloseableProtocol.providedBy(self.talk.server))
        self.house.messages.waiting = []
        self.talk.send(b"x\r\n.\r\n")
        self.talk.server.readConnectionLost()
        self.assertFalse(self.talk.transport.disconnecting)
        self.house.messages.waiting[0].callback(())
        self.assertTrue(self.talk.read().startswith("250 "))
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s30_a_stop_ends_idle_sessions_and_lets_transactions_finish(self) -> None:
        self.ready()
        idle = self.house.connect()
        idle.read()
        drained = self.house.sessions.drain()
        self.assertTrue(idle.read().startswith("421 4.3.2 "))
        self.assertFalse(self.talk.transport.disconnecting)
        said = self.talk.send(b"x\r\n.\r\n")
        self.assertEqual([r[:3] for r in said.splitlines()], ["250", "421"])
        idle.lose()
        self.assertNoResult(drained)
        self.talk.lose()
        self.successResultOf(drained)

    def test_s30_a_commit_under_way_is_answered_before_the_stop(self) -> None:
        self.ready()
        self.house.messages.waiting = []
        self.talk.send(b"x\r\n.\r\n")
        self.house.sessions.drain()
        self.assertEqual(self.talk.read(), "")
        self.house.messages.waiting[0].callback(())
        self.assertEqual([r[:3] for r in self.talk.read().splitlines()], ["250", "421"])

    def test_s30_a_transaction_that_is_given_up_ends_the_session_too(self) -> None:
        self.talk.send(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n")
        self.house.sessions.drain()
        said = self.talk.send(b"NOOP\r\n")
        self.assertEqual([r[:3] for r in said.splitlines()], ["250"])
        said = self.talk.send(b"RSET\r\n")
        self.assertEqual([r[:3] for r in said.splitlines()], ["250", "421"])
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s30_nobody_comes_in_while_the_node_stops(self) -> None:
        self.house.sessions.drain()
        late = self.house.connect()
        self.assertTrue(late.read().startswith("421 "))


class Limits(SmtpCase):
    def test_s26_recipients(self) -> None:
        self.open(rules=SmtpRules(recipients=2))
        self.hello().say(MAIL, RCPT, RCPT)
        self.check(RCPT, "452 4.5.3")

    def test_s26_errors(self) -> None:
        self.hello()
        replies = self.talk.say(*["NONSENSE"] * 10)
        self.assertTrue(all(reply.startswith("500 5.5.1") for reply in replies))
        self.assertIn("421 4.7.0", replies[-1])
        self.assertTrue(self.talk.transport.disconnecting)

    def test_s26_connections_of_an_address_and_in_all(self) -> None:
        self.house.sessions.most_per_address = 2
        self.house.sessions.most = 5
        said = [self.house.connect(STRANGER).read()[:3] for _ in range(3)]
        self.assertEqual(said, ["220", "220", "421"])
        said = [self.house.connect().read()[:3] for _ in range(3)]
        self.assertEqual(said, ["220", "220", "421"], "an address of this machine has no limit")

    def test_s26_mails_in_a_session(self) -> None:
        self.open(rules=SmtpRules(mails=1))
        self.ready()
        self.talk.send(b"x\r\n.\r\n")
        self.check(MAIL, "421 4.7.0")

    def test_s26_a_session_that_ends_makes_room(self) -> None:
        self.house.sessions.most_per_address = 1
        first = self.house.connect(STRANGER)
        first.lose()
        self.assertEqual(self.house.connect(STRANGER).read()[:3], "220")


class Told(SmtpCase):
    def test_a_refused_body_is_told_for_each_recipient(self) -> None:
        self.hello().say(MAIL, RCPT, "RCPT TO:<bob@example.test>", "DATA")
        self.house.messages.failure = StoreFull()
        self.talk.send(b"x\r\n.\r\n")
        told = [event.recipient for event in self.house.told if isinstance(event, RefusedMail)]
        self.assertEqual(told, ["alice@example.test", "bob@example.test"])

    def test_the_id_in_the_reply_is_the_filed_mails(self) -> None:
        self.ready()
        reply = self.talk.send(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n.\r\n")
        ((envelope, message),) = self.house.messages.filed
        self.assertEqual(reply.split()[-1], envelope.mail_id)
        self.assertEqual(message.subject, "Grüße")

    def test_the_dialog_is_kept_when_wished_and_secrets_are_masked(self) -> None:
        self.open(rules=SmtpRules(keep_dialog=True))
        self.hello().say("AUTH LOGIN", PLAIN, "*", PLAIN, f"AUTH\tPLAIN {PLAIN}")
        self.talk.say(f"AUTH PLAIN {PLAIN}", OWN, RCPT, "DATA")
        said = self.talk.send(b"x\r\n.\r\n")
        dialog = self.house.messages.filed[0][1].dialog
        for line in (
            "S: 220 ",
            "C: EHLO ",
            "S: 250-PIPELINING",
            "C: AUTH (secret)",
            "S: 334 (secret)",
            "S: 235 2.7.0 ",
        ):
            self.assertIn(line, dialog)
        self.assertIn(f"C: {OWN}", dialog)
        self.assertIn("S: 250 2.1.5 Ok", dialog)
        self.assertTrue(dialog.endswith(f"C: (the mail, 3 octets)\nS: {said.strip()}"), dialog)
        self.assertNotIn(PLAIN, dialog)
        self.assertNotIn(base64.b64encode(b"Username:").decode(), dialog)

    def test_a_dialog_is_the_sessions_and_its_own_mails(self) -> None:
        self.open(rules=SmtpRules(keep_dialog=True))
        self.hello().say(MAIL, "RSET", MAIL, RCPT, "DATA")
        self.talk.send(b"x\r\n.\r\n")
        self.talk.say("MAIL FROM:<second@example.org>", "RCPT TO:<nobody@example.test>")
        first = self.house.messages.filed[0][1].dialog
        self.assertEqual(2, first.count(MAIL))  # the one that came to nothing is the session's
        refused = str(self.house.told[-1].detail["dialog"])
        self.assertTrue(refused.startswith("S: 220 "), refused)
        self.assertEqual(1, refused.count(MAIL))
        self.assertNotIn("the mail", refused)
        self.assertTrue(refused.endswith("S: 550 5.1.1 No such user here"), refused)

    def test_a_filter_that_defers_or_breaks_is_temporary(self) -> None:
        class Breaks:
            name = "breaks"

            def judge(self, envelope: object, message: object) -> object:
                raise RuntimeError("oops")

        self.house.intake.filters = [Breaks()]
        self.ready()
        self.assertTrue(self.talk.send(b"x\r\n.\r\n").startswith("451 4.7.1"))
        self.assertEqual(self.house.messages.filed, [])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_replies_to_pipelined_commands_are_written_together(self) -> None:
        self.hello()
        self.talk.transport.writes.clear()
        self.talk.send(f"{MAIL}\r\n{RCPT}\r\n{RCPT}\r\nDATA\r\n")
        self.assertEqual(len(self.talk.transport.writes), 1)

    def test_a_filter_sees_origin_and_adds_headers(self) -> None:
        from mailnode.model import Verdict

        class Marks:
            name = "marks"

            def judge(self, envelope: Any, message: Any) -> Any:
                return succeed(Verdict(headers=b"X-Seen: " + envelope.mail_id.encode() + b"\r\n"))

        self.house.intake.filters = [Marks()]
        self.ready()
        self.talk.send(b"x\r\n.\r\n")
        envelope, message = self.house.messages.filed[0]
        self.assertTrue(message.prefix.endswith(b"X-Seen: " + envelope.mail_id.encode() + b"\r\n"))


class Revoked(SmtpCase):
    def test_a_session_whose_account_has_changed_ends(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}")
        other = self.house.connect()
        other.read()
        self.house.sessions.revoke(lambda name: name == "alice@example.test")
        self.assertTrue(self.talk.read().startswith("421 4.7.0 "))
        self.assertTrue(self.talk.transport.disconnecting)
        self.assertFalse(other.transport.disconnecting)

    def test_a_mail_under_way_is_answered_first(self) -> None:
        self.hello().say(f"AUTH PLAIN {PLAIN}", OWN, RCPT, "DATA")
        self.house.messages.waiting = []
        self.talk.send(b"x\r\n.\r\n")
        self.house.sessions.revoke(lambda name: True)
        self.assertEqual(self.talk.read(), "")
        self.house.messages.waiting[0].callback(())
        self.assertEqual([r[:3] for r in self.talk.read().splitlines()], ["250", "421"])
        self.assertTrue(self.talk.transport.disconnecting)


class Filters(SmtpCase):
    def test_a_filter_can_read_a_large_body_in_pieces(self) -> None:
        read: list[bytes] = []

        class Reads:
            name = "reads"

            async def judge(self, envelope: Any, message: Any) -> None:
                reader = message.body.open()
                while piece := await reader.read(65536):
                    read.append(piece)
                reader.close()

        self.house.intake.filters = [Reads()]
        self.ready()
        body = b"x" * 300_000 + b"\r\n"
        self.assertTrue(self.talk.send(body + b".\r\n").startswith("250 "))
        self.assertEqual(b"".join(read), body)


class Addresses64(SmtpCase):
    def test_s26_a_64_of_ipv6_counts_as_one_address(self) -> None:
        self.house.sessions.most_per_address = 1
        self.assertEqual(self.house.connect("2001:db8::1").read()[:3], "220")
        self.assertEqual(self.house.connect("2001:db8::2").read()[:3], "421")
        self.assertEqual(self.house.connect("2001:db8:0:1::1").read()[:3], "220")

    def test_s14_an_address_that_ipv6_maps_is_told_as_the_ipv4_that_it_is(self) -> None:
        self.open("::ffff:192.0.2.9")
        self.ready()
        self.talk.send(b"x\r\n.\r\n")
        self.assertIn(b"([192.0.2.9])", self.house.messages.filed[0][1].prefix)
