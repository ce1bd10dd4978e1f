"""`mailnode.outbound.dsn`: reports as Python's parser reads them, and whole, to the octet."""

from __future__ import annotations

import os
import time
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import Address, parse_address
from mailnode.model import Envelope, Filed, Recipient, Remote
from mailnode.outbound.dsn import (
    ORIGINAL_OCTETS,
    Told,
    gives_all_back,
    make_report,
    may_be_told,
    told_of_filed,
    wants,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "reports"
AT = 1_751_360_400  # Tue, 01 Jul 2025 09:00:00 +0000
DAY_S = 86_400
HEADER = (
    b"Received: from client.example.test ([192.0.2.7])\r\n\tby mx.example.test\r\n"
    b"From: Alice <alice@example.test>\r\nTo: bob@example.org\r\n"
    b"Subject: =?utf-8?q?Lunch_at_the_caf=C3=A9=3F?=\r\nMessage-ID: <1@example.test>\r\n"
)
MAIL = HEADER + b"\r\nAt noon?\r\n.\r\n--=_REPORT\r\n"
UTF8_HEADER = HEADER.replace(b"bob@", "jos\u00e9@".encode())

FAILED = Told(
    "bob@example.org", "rfc822;Bob@example.org", "failed", "5.1.1", "mx.example.org",
    "550 5.1.1 No such user here", AT + 5,
)  # fmt: skip
DELAYED = Told(
    "carl@example.net", "", "delayed", "4.4.1", "", "", AT + 4 * 3600, AT + 5 * DAY_S
)  # fmt: skip
DELIVERED = Told("alice@example.test", "rfc822;a+b@example.org", "delivered", "2.0.0", "", "", AT)
RELAYED = Told(
    "bob@example.org", "", "relayed", "2.0.0", "mx.example.org", "250 2.0.0 Ok", AT + 2
)  # fmt: skip
EXPANDED = Told("team@example.test", "", "expanded", "2.0.0", "", "", AT)
JOSE = Told(
    "jos\u00e9@example.org", "utf-8;jos\u00e9@example.org", "failed", "5.6.7", "mx.example.org",
    "553 5.6.7 No letters beyond ASCII", AT + 5,
)  # fmt: skip


class ReportCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", {**os.environ, "TZ": "UTC"})
        time.tzset()
        self.addCleanup(time.tzset)

    def report(self, *told: Told, **more: Any) -> bytes:
        given: dict[str, Any] = {
            "hostname": "mx.example.test",
            "to": "alice@example.test",
            "mail_id": "01JZ2B6C7D8E9F0G1H2J3K4M5N",
            "envid": "QQ 314159",
            "arrived_at": AT,
            "told": told,
            "original_head": HEADER,
            "original": None,
            "smtputf8": False,
            "at": AT + 10,
            "report_id": "REPORT",
        }
        octets = make_report(**given | more)
        self.check_lines(octets)
        return octets

    def check_lines(self, octets: bytes) -> None:
        """CRLF alone ends lines, and none is too long."""
        self.assertTrue(octets.endswith(b"\r\n"))
        for line in octets.split(b"\r\n"):
            self.assertLessEqual(len(line), 998)
            self.assertNotIn(b"\n", line)
            self.assertNotIn(b"\r", line)
            self.assertNotIn(b"\0", line)

    def parts(self, octets: bytes) -> tuple[str, list[Message], EmailMessage]:
        """The words; the groups of fields; the part about the original."""
        report = message_from_bytes(octets, policy=policy.SMTPUTF8)
        assert isinstance(report, EmailMessage)
        self.assertEqual(report.defects, [])
        self.assertEqual(report.get_content_type(), "multipart/report")
        words, status, original = report.iter_parts()
        self.assertEqual(report.get_param("report-type"), status.get_content_subtype())
        return words.get_content(), fields_of(status), original  # type: ignore[return-value]


def fields_of(status: Any) -> list[Message]:
    payload = status.get_payload()
    if status.get_content_type() == "message/delivery-status":
        groups: list[Message] = payload
        return groups
    inside = payload[0].as_bytes() if isinstance(payload, list) else status.get_content()
    return [message_from_bytes(each, policy=policy.SMTPUTF8) for each in inside.split(b"\r\n\r\n")]


class HeaderTests(ReportCase):
    def test_the_header_says_what_it_is(self) -> None:
        report = message_from_bytes(self.report(FAILED), policy=policy.SMTP)
        self.assertEqual(
            [(name, str(value)) for name, value in report.items()],
            [
                ("Date", "Tue, 01 Jul 2025 09:00:10 +0000"),
                ("From", "Mail Delivery System <postmaster@mx.example.test>"),
                ("To", "alice@example.test"),
                ("Subject", "Delivery failed: the mail did not arrive"),
                ("Message-ID", "<REPORT@mx.example.test>"),
                ("In-Reply-To", "<1@example.test>"),
                ("Auto-Submitted", "auto-replied"),
                ("MIME-Version", "1.0"),
                (
                    "Content-Type",
                    'multipart/report; report-type="delivery-status"; boundary="=_REPORT"',
                ),
            ],
        )

    def test_the_subject_says_the_worst_that_happened(self) -> None:
        for told, begin in (
            ((DELIVERED, FAILED, DELAYED), b"Delivery failed: "),
            ((DELIVERED, DELAYED), b"Delivery delayed: "),
            ((RELAYED, DELIVERED), b"Delivered: "),
            ((EXPANDED,), b"Delivered: "),
            ((RELAYED,), b"Passed on: "),
        ):
            self.assertIn(b"\r\nSubject: " + begin, self.report(*told))

    def test_a_message_id_that_is_none_is_not_answered(self) -> None:
        for wrong in (b"", b"x", b"<a@b> <c@d>", b"<a\xff@b>", b"<" + b"a" * 300 + b">"):
            head = b"Message-ID: " + wrong + b"\r\n"
            self.assertNotIn(b"In-Reply-To", self.report(FAILED, original_head=head))

    def test_no_octet_is_8bit_without_need(self) -> None:
        for told, smtputf8 in (((FAILED, DELAYED), True), ((JOSE,), False)):
            self.assertTrue(self.report(*told, original=MAIL, smtputf8=smtputf8).isascii())


class WordsTests(ReportCase):
    def words(self, *told: Told, **more: Any) -> str:
        return self.parts(self.report(*told, **more))[0]

    def test_a_person_learns_what_happened_and_why(self) -> None:
        words = " ".join(self.words(FAILED, DELAYED).split())
        for said in (
            'A mail with the subject "Lunch at the caf\u00e9?" came here on Tue, 01 Jul 2025',
            "It could not be delivered to: bob@example.org There is no such mailbox.",
            "The server mx.example.org said: 550 5.1.1 No such user here It is not tried again.",
            "It has not been delivered yet to: carl@example.net That server did not answer.",
            "It is tried again until Sun, 06 Jul 2025 09:00:00 +0000.",
            "Its number here is 01JZ2B6C7D8E9F0G1H2J3K4M5N; postmaster@mx.example.test finds it",
        ):
            self.assertIn(said, words)

    def test_recipients_with_one_fate_stand_together(self) -> None:
        words = self.words(FAILED, DELAYED, JOSE)
        self.assertEqual(words.count("It could not be delivered to:"), 1)
        self.assertIn("    jos\u00e9@example.org\n", words.replace("\r\n", "\n"))

    def test_what_was_asked_for_is_told_too(self) -> None:
        self.assertIn("was delivered to:", self.words(DELIVERED))
        self.assertIn("members of this address", self.words(EXPANDED))
        self.assertIn("sends no reports of its own", self.words(RELAYED))

    def test_a_subject_that_nobody_can_read_is_shown_as_it_came(self) -> None:
        for value, shown in (
            (b"=?no-such-charset?q?a?=", '"=?no-such-charset?q?a?="'),
            (b"a\xffb\x07", '"a\ufffdb"'),
            (b"", "without a subject"),
            (b"x" * 300, '"' + "x" * 200 + '"'),
        ):
            head = b"Subject: " + value + b"\r\n"
            self.assertIn(shown, self.words(FAILED, original_head=head).replace("\r\n", " "))

    def test_lines_are_short(self) -> None:
        told = Told("a" * 64 + "@example.org", reply="550 " + "word " * 90 + "x" * 50)
        lines = self.words(told).splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)


class StatusTests(ReportCase):
    def groups(self, *told: Told, **more: Any) -> list[list[tuple[str, str]]]:
        _, groups, _ = self.parts(self.report(*told, **more))
        return [[(name, str(value)) for name, value in group.items()] for group in groups]

    def test_every_field_is_there(self) -> None:
        self.assertEqual(
            self.groups(FAILED, DELAYED),
            [
                [
                    ("Original-Envelope-Id", "QQ 314159"),
                    ("Reporting-MTA", "dns; mx.example.test"),
                    ("Arrival-Date", "Tue, 01 Jul 2025 09:00:00 +0000"),
                    ("X-Mailnode-Mail-Id", "01JZ2B6C7D8E9F0G1H2J3K4M5N"),
                ],
                [
                    ("Original-Recipient", "rfc822; Bob@example.org"),
                    ("Final-Recipient", "rfc822; bob@example.org"),
                    ("Action", "failed"),
                    ("Status", "5.1.1"),
                    ("Remote-MTA", "dns; mx.example.org"),
                    ("Diagnostic-Code", "smtp; 550 5.1.1 No such user here"),
                    ("Last-Attempt-Date", "Tue, 01 Jul 2025 09:00:05 +0000"),
                ],
                [
                    ("Final-Recipient", "rfc822; carl@example.net"),
                    ("Action", "delayed"),
                    ("Status", "4.4.1"),
                    ("Last-Attempt-Date", "Tue, 01 Jul 2025 13:00:00 +0000"),
                    ("Will-Retry-Until", "Sun, 06 Jul 2025 09:00:00 +0000"),
                ],
            ],
        )

    def test_what_is_not_known_is_left_out(self) -> None:
        groups = self.groups(Told("a@b.example"), envid="")
        self.assertEqual(groups[0][0][0], "Reporting-MTA")
        self.assertEqual([name for name, _ in groups[1]], ["Final-Recipient", "Action", "Status"])

    def test_only_what_waits_is_tried_again(self) -> None:
        told = Told("a@b.example", action="failed", will_retry_until=AT)
        self.assertNotIn(b"Will-Retry-Until", self.report(told))

    def test_words_of_ours_are_no_reply_of_smtp(self) -> None:
        for reply, code in (
            ("Connection refused", "x-mailnode; Connection refused"),
            ("550", "smtp; 550"),
            ("550-5.1.1 no", "smtp; 550-5.1.1 no"),
            ("5500 no", "x-mailnode; 5500 no"),
        ):
            self.assertIn(
                ("Diagnostic-Code", code), self.groups(Told("a@b.example", reply=reply))[1]
            )

    def test_a_socket_of_ours_is_nobodys_business(self) -> None:
        report = self.report(Told("a@b.example", remote_host="/run/lmtp", reply="550 no"))
        self.assertNotIn(b"/run/lmtp", report)

    def test_no_words_of_a_remote_make_a_field_or_a_long_line(self) -> None:
        evil = Told(
            "a@b.example", reply="550 no\r\nAction: delivered\r\n\r\nx\x00\x1b" + "\u00e9" * 2000
        )
        for smtputf8 in (False, True):
            groups = self.groups(evil, smtputf8=smtputf8)
            self.assertEqual([v for n, v in groups[1] if n == "Action"], ["failed"])
            self.assertEqual(len(groups), 2)


class Utf8Tests(ReportCase):
    def test_for_who_used_smtputf8_it_stands_bare(self) -> None:
        octets = self.report(JOSE, smtputf8=True, original_head=UTF8_HEADER)
        words, groups, original = self.parts(octets)
        self.assertIn("Content-Transfer-Encoding: 8bit", octets.decode().partition("\r\n\r\n")[0])
        self.assertIn("jos\u00e9@example.org", words)
        self.assertIn(b"Content-Type: message/global-delivery-status\r\n", octets)
        self.assertIn("\r\nFinal-Recipient: utf-8; jos\u00e9@example.org\r\n".encode(), octets)
        self.assertIn("\r\nOriginal-Recipient: utf-8; jos\u00e9@example.org\r\n".encode(), octets)
        self.assertEqual(len(groups), 2)
        self.assertEqual(original.get_content_type(), "message/global-headers")

    def test_for_others_it_is_coded_in_ascii(self) -> None:
        octets = self.report(JOSE)
        self.assertTrue(octets.isascii())
        self.assertIn(b"Content-Type: message/delivery-status\r\n", octets)
        self.assertIn(b"\r\nFinal-Recipient: utf-8; jos\\x{E9}@example.org\r\n", octets)
        self.assertIn(b"\r\nOriginal-Recipient: utf-8; jos\\x{E9}@example.org\r\n", octets)
        self.assertIn("jos\u00e9@example.org", self.parts(octets)[0])

    def test_a_sender_beyond_ascii_is_named_as_it_is(self) -> None:
        octets = self.report(FAILED, to="jos\u00e9@example.test")
        self.assertIn("\r\nTo: <jos\u00e9@example.test>\r\n".encode(), octets)

    def test_a_whole_mail_with_utf_8_in_its_header_is_a_global_one(self) -> None:
        mail = UTF8_HEADER + b"\r\nx\r\n"
        octets = self.report(JOSE, smtputf8=True, original_head=UTF8_HEADER, original=mail)
        self.assertIn(b"Content-Type: message/global\r\n", octets)
        self.assertIn(mail, octets)


class OriginalTests(ReportCase):
    def test_headers_alone_come_back(self) -> None:
        for head in (HEADER, HEADER + b"\r\n", MAIL):
            _, _, original = self.parts(self.report(FAILED, original_head=head))
            self.assertEqual(original.get_content_type(), "text/rfc822-headers")
            self.assertEqual(original.get_payload(decode=True), HEADER)

    def test_a_whole_mail_comes_back_as_it_is(self) -> None:
        for body in (b"\r\nAt noon?\r\n", b"\r\n\xff\xfe\r\n", b"", b"\r\n", b"\r\nno end"):
            mail = HEADER + body
            octets = self.report(FAILED, original=mail)
            self.assertIn(b"Content-Type: message/rfc822\r\n", octets)
            self.assertIn(b"\r\n\r\n" + mail + b"\r\n--=_REPORT--\r\n", octets)
            encoding = b"\r\nContent-Transfer-Encoding: 8bit\r\n"
            self.assertEqual(octets.count(encoding), 0 if mail.isascii() else 2)

    def test_a_boundary_never_stands_in_the_original(self) -> None:
        octets = self.report(FAILED, original=MAIL)
        self.assertIn(b'boundary="=_REPORT="', octets)
        _, _, original = self.parts(octets)
        self.assertIn("--=_REPORT", original.get_content().get_content())

    def test_what_no_part_can_hold_gives_its_header(self) -> None:
        for body in (
            b"x" * ORIGINAL_OCTETS, b"x" * 999, b"a\0b", b"a\nb", b"a\rb",
        ):  # fmt: skip
            mail = HEADER + b"\r\n" + body + b"\r\n"
            self.assertIn(
                b"Content-Type: text/rfc822-headers\r\n", self.report(FAILED, original=mail)
            )
        longest = HEADER + b"\r\n" + b"x" * 998 + b"\r\n"
        self.assertIn(b"Content-Type: message/rfc822\r\n", self.report(FAILED, original=longest))

    def test_a_header_that_is_broken_is_encoded(self) -> None:
        for field in (b"X: " + b"x" * 2000, b"X: \xff", b"X: a\0b"):
            header = HEADER + field + b"\r\n"
            octets = self.report(FAILED, original_head=header)
            self.assertTrue(octets.isascii())
            _, _, original = self.parts(octets)
            self.assertEqual(original.get_payload(decode=True), header)

    def test_a_huge_header_is_cut_between_lines(self) -> None:
        header = HEADER + b"X: y\r\n" * 20_000
        _, _, original = self.parts(self.report(FAILED, original_head=header))
        payload = original.get_payload(decode=True)
        self.assertTrue(header.startswith(payload) and payload.endswith(b"X: y\r\n"))
        self.assertTrue(ORIGINAL_OCTETS - 10 < len(payload) <= ORIGINAL_OCTETS)

    def test_only_a_failure_gives_the_whole_mail_back(self) -> None:
        self.assertTrue(gives_all_back("FULL", ORIGINAL_OCTETS, [DELIVERED, FAILED]))
        for ret, size, told in (
            ("HDRS", 100, FAILED), ("", 100, FAILED), ("FULL", ORIGINAL_OCTETS + 1, FAILED),
            ("FULL", 100, DELAYED), ("FULL", 100, DELIVERED),
        ):  # fmt: skip
            self.assertFalse(gives_all_back(ret, size, [told]))
        self.assertNotIn(b"message/rfc822", self.report(DELAYED, original=MAIL))

    def test_an_original_without_any_line_end_leaves_none_bare(self) -> None:
        report = self.report(Told("a@b.example"), original_head=b"\0" * 26, original=None)
        self.assertNotIn(b"\n", report.replace(b"\r\n", b""))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300), st.booleans(), st.booleans(), st.text(max_size=40))
    def test_whatever_the_original_is_the_report_can_be_sent(
        self, octets: bytes, whole: bool, smtputf8: bool, reply: str
    ) -> None:
        told = Told("a@b.example", reply=reply)
        report = self.report(
            told, original_head=octets, original=octets if whole else None, smtputf8=smtputf8
        )
        _, groups, _ = self.parts(report)
        self.assertEqual(len(groups), 2)


class WishesTests(SynchronousTestCase):
    def test_failure_and_delay_are_told_unless_the_sender_says(self) -> None:
        for notify, told in (
            ("", {"failure", "delay"}),
            ("NEVER", set()),
            ("FAILURE", {"failure"}),
            ("SUCCESS,DELAY", {"success", "delay"}),
            ("SUCCESS,FAILURE,DELAY", {"success", "failure", "delay"}),
        ):
            wished = {what for what in ("success", "failure", "delay") if wants(notify, what)}
            self.assertEqual(wished, told, notify)

    def test_nobody_is_told_of_a_report(self) -> None:
        self.assertFalse(may_be_told(None))
        self.assertFalse(may_be_told(""))
        self.assertTrue(may_be_told("a@b.example"))
        self.assertTrue(may_be_told(Address("a", "b.example")))


class FiledTests(SynchronousTestCase):
    def told(
        self, *recipients: Recipient, sender: str = "a@b.example", **more: Any
    ) -> list[tuple[str, str, str]]:
        envelope = Envelope(
            "ID", parse_address(sender) if sender else None, tuple(recipients), **more
        )
        filed = [Filed(str(to.address), to.mailbox, 1, 1) for to in recipients]
        told = told_of_filed(envelope, filed, AT)
        for each in told:
            self.assertEqual((each.status, each.last_attempt_at), ("2.0.0", AT))
        return [(each.recipient, each.orcpt, each.action) for each in told]

    def to(self, asked: str, mailbox: str, notify: str = "SUCCESS") -> Recipient:
        return Recipient(parse_address(asked), 1, mailbox, notify, "rfc822;x@y.example")

    def test_who_asked_for_it_is_told(self) -> None:
        alice = self.to("alice@x.test", "alice@x.test")
        for notify in ("", "NEVER", "FAILURE"):
            self.assertEqual(self.told(self.to("bob@x.test", "bob@x.test", notify)), [])
        self.assertEqual(self.told(alice), [("alice@x.test", "rfc822;x@y.example", "delivered")])
        self.assertEqual(self.told(alice, sender=""), [])

    def test_an_alias_is_told_once_and_its_members_never(self) -> None:
        team = self.to("team@x.test", "alice@x.test"), self.to("team@x.test", "bob@x.test")
        self.assertEqual([t[0] for t in self.told(*team)], ["team@x.test"])

    def test_an_alias_that_leads_elsewhere_too_is_expanded(self) -> None:
        team = self.to("team@x.test", "alice@x.test")
        away = Remote(parse_address("c@y.example"), alias=parse_address("team@x.test"))
        other = Remote(parse_address("d@y.example"))
        self.assertEqual([t[2] for t in self.told(team, remotes=(away,))], ["expanded"])
        self.assertEqual([t[2] for t in self.told(team, remotes=(other,))], ["delivered"])

    def test_what_was_not_filed_is_not_told(self) -> None:
        envelope = Envelope("ID", Address("a", "b"), (self.to("c@x.test", "c@x.test"),))
        self.assertEqual(told_of_filed(envelope, [], AT), ())


class VectorTests(ReportCase):
    """One whole report of each kind, to the octet; lines end in LF in the files."""

    def test_each_is_written_as_it_ever_was(self) -> None:
        for name, octets in {
            "failed": self.report(FAILED),
            "failed-full": self.report(FAILED, original=MAIL),
            "delayed": self.report(DELAYED),
            "delivered": self.report(DELIVERED),
            "relayed": self.report(RELAYED),
            "expanded": self.report(EXPANDED),
            "mixed": self.report(DELIVERED, FAILED, DELAYED),
            "utf8": self.report(JOSE, smtputf8=True, original_head=UTF8_HEADER),
            "utf8-in-ascii": self.report(JOSE),
        }.items():
            path = VECTORS / f"{name}.eml"
            if os.environ.get("WRITE_VECTORS"):
                path.write_bytes(octets.replace(b"\r\n", b"\n"))
            self.assertEqual(octets, path.read_bytes().replace(b"\n", b"\r\n"), name)
