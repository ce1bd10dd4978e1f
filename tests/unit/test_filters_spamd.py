"""`mailnode.filters.spamd`: SPAMC's protocol, and the report's rules as reasons."""

from __future__ import annotations

from pathlib import Path

from mailnode.errors import Refused
from mailnode.filters.spamd import REPORT_OCTETS, Spamd
from mailnode.model import Verdict
from tests.unit.filters_case import MAIL, RECEIVED, BlobReader, FilterCase, blob_message, split

REPORTS = Path(__file__).parents[1] / "vectors" / "filters"


def answer(report: bytes, spam: bytes = b"True ; 6.9 / 5.0", more: bytes = b"") -> bytes:
    return (
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: %d\r\n%sSpam: %s\r\n\r\n%s"
        % (len(report), more, spam, report)
    )  # fmt: skip


class ReportTests(FilterCase):
    def told(self, said: bytes, size: int = 1 << 20, **settings: float) -> Verdict:
        self.endpoint.wires.clear()
        judging = self.judge(self.make(Spamd, **settings))
        for piece in split(said, size):
            self.endpoint.wire.say(piece)
        return self.successResultOf(judging)

    def test_the_request(self) -> None:
        self.told(answer(b""))
        head, _, mail = self.endpoint.wire.value().partition(b"\r\n\r\n")
        size = len(RECEIVED) + len(MAIL)
        self.assertEqual(b"REPORT SPAMC/1.5\r\nContent-length: %d" % size, head)
        self.assertEqual(RECEIVED + MAIL, mail)

    def test_a_user_s_preferences(self) -> None:
        self.told(answer(b""), user="alice\r\nX: y")  # type: ignore[arg-type]
        self.assertIn(b"\r\nUser: alice X: y\r\n\r\n", self.endpoint.wire.value())

    def test_spam_is_unwanted_and_its_rules_say_why(self) -> None:
        report = (REPORTS / "spamassassin-report.txt").read_bytes()
        verdict = self.told(answer(report))
        self.assertEqual(("accept", True), (verdict.action, verdict.unwanted))
        self.assertEqual(
            b"X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=6.9 required=5.0 by=spamd\r\n",
            verdict.headers,
        )
        self.assertEqual(
            (
                "SpamAssassin gives it 6.9 points, 5.0 make it spam",
                "GTUBE (+1000.0): BODY: Generic Test for Unsolicited Bulk Email",
                "DATE_IN_FUTURE_96_Q (+3.1): Date: is 4 days to 4 months after Received: date",
                "RCVD_IN_ZEN (-2.5): RBL: Listed at a place that is written on two lines"
                " [192.0.2.7 listed in zen.example]",
            ),
            verdict.reasons,
        )
        self.assertEqual(verdict, self.told(answer(report), 1))

    def test_ham_keeps_its_reasons(self) -> None:
        verdict = self.told(answer(b" 1.0 A_RULE some words\r\n", b"False ; 1.0 / 5.0"))
        self.assertEqual((False, b""), (verdict.unwanted, verdict.headers))
        self.assertEqual("A_RULE (+1.0): some words", verdict.reasons[1])

    def test_a_threshold_of_ours(self) -> None:
        said = answer(b"", b"False ; 4.0 / 5.0")
        self.assertFalse(self.told(said).unwanted)
        verdict = self.told(said, unwanted_at=4.0)
        self.assertTrue(verdict.unwanted)
        self.assertIn("4.0 make it spam", verdict.reasons[0])
        self.assertFalse(self.told(answer(b""), unwanted_at=7.0).unwanted)

    def test_a_score_from_which_it_is_refused(self) -> None:
        judging = self.judge(self.make(Spamd, refuse_at=6.9))
        self.endpoint.wire.say(answer(b" 6.9 A_RULE some words\r\n" + b" 1.0 B_RULE x\r\n" * 100))
        error = self.refusal(judging)
        self.assertIsInstance(error, Refused)
        self.assertIn("make it spam; A_RULE (+6.9): some words; B_RULE", error.detail)
        self.assertLessEqual(len(error.detail), 600)
        self.assertEqual((550, "5.7.1"), (error.smtp_code, error.enhanced))
        self.assertIn("6.9 points", error.detail)

    def test_a_report_without_a_table_leaves_the_score(self) -> None:
        self.assertEqual(1, len(self.told(answer(b"This is spam.\r\n")).reasons))

    def test_ten_rules_at_most_none_of_them_long_or_of_two_lines(self) -> None:
        lines = [b"%d.0 RULE_%d %s\x1b[2J\r\n" % (n, n, b"x" * 380) for n in range(1, 40)]
        verdict = self.told(answer(b"".join(lines)))
        self.assertEqual(11, len(verdict.reasons))
        self.assertTrue(verdict.reasons[1].startswith("RULE_39 (+39.0): xxx"))
        for reason in verdict.reasons:
            self.assertLessEqual(len(reason), 200)
            self.assertTrue(reason.isprintable(), reason)


class HostileTests(FilterCase):
    def test_answers_that_are_none(self) -> None:
        for said, why in (
            (b"HTTP/1.1 200 OK\r\n\r\n", "none of spamd's"),
            (b"SPAMD/1.1 76 Bad header line\r\n", "76 Bad header line"),
            (b"SPAMD/1.1 99999999999 x\r\n", "none of spamd's"),
            (b"SPAMD/1.1 0 EX_OK\r\n\r\n", "no score"),
            (answer(b"", b"Maybe ; 1 / 2"), "no score"),
            (answer(b"", b"True ; nan / 5.0"), "no score"),
            (answer(b"", b"True ; 1e999 / 5.0"), "no score"),
            (answer(b"").replace(b"length: 0", b"length: -1"), "no length"),
            (answer(b"").replace(b"length: 0", b"length: 9999999999"), "no length"),
            (b"SPAMD/1.1 0 EX_OK\r\n" + b"A: b\r\n" * 30, "over 20 lines"),
            (b"x" * 2_000, "over 1000 octets"),
        ):
            self.endpoint.wires.clear()
            judging = self.judge(self.make(Spamd))
            self.endpoint.wire.say(said)
            self.check_unjudged(judging, why)

    def test_half_a_report(self) -> None:
        judging = self.judge(self.make(Spamd))
        self.endpoint.wire.say(answer(b"x" * 100)[:-1])
        self.assertNoResult(judging)
        self.endpoint.wire.lose()
        self.check_unjudged(judging, "the connection was lost")

    def test_of_a_report_of_any_length_the_beginning_is_read(self) -> None:
        judging = self.judge(self.make(Spamd))
        head = answer(b"").replace(b"length: 0", b"length: 900000000")
        self.endpoint.wire.say(head)
        said = self.endpoint.wire.say_for_ever(b" " * 8_192)
        self.assertLessEqual(said, REPORT_OCTETS + 8_192)
        self.assertEqual(1, len(self.successResultOf(judging).reasons))

    def test_a_mail_over_500_kb_is_passed_as_spamc_does(self) -> None:
        judging = self.judge(self.make(Spamd), blob_message(BlobReader(bytes(600_000))))
        self.check_unjudged(judging, "over 512000 octets")
