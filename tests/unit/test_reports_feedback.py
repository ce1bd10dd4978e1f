"""An aggregate report as it is sent: XML by RFC 7489's schema, whatever strangers wrote into it."""

from __future__ import annotations

import email
import email.policy
import gzip

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.mailauth.dmarc_seen import Seen
from mailnode.reports.mails import Reporter, mail_id_for, make_mail, write_report
from tests.unit.reports_case import DAY_S, DOMAIN, HOUR_S, NOON, collected, read_feedback, seen

ME = Reporter("Example <Org> & sons", parse_address("dmarc@example.test"), "mx.example.test")
READER = parse_address("dmarc@remote.test")
BEGIN = NOON - 12 * HOUR_S
TEXTS = st.text(max_size=60)
NAMES = TEXTS | st.sampled_from(
    ["", "a]]>b", "<x>&amp;", "\x00\x1b[2J", "\ud800", "\ufffe", "\r\n"]
)


class FeedbackTests(SynchronousTestCase):
    def test_it_says_who_reports_what_was_published_and_what_came(self) -> None:
        other = seen(
            source="2001:db8::7",
            disposition="quarantine",
            dkim="fail",
            overrides=(("local_policy", "arc=pass as[1].d=list.test"),),
            envelope_from="",
            envelope_to="",
            signatures=(),
            spf_check=("mx.test", "helo", "none"),
        )
        rows = [(seen(), 3), (other, 1)]
        report = collected()
        read = read_feedback(write_report(report, rows, ME))
        report_id = f"{mail_id_for(report, ME.hostname)}@mx.example.test"
        self.assertEqual(
            {
                "org_name": "Example <Org> & sons",
                "email": "dmarc@example.test",
                "report_id": report_id,
                "date_range": {"begin": f"{BEGIN:.0f}", "end": f"{BEGIN + DAY_S - 1:.0f}"},
            },
            read["report_metadata"],
        )
        self.assertEqual(
            {
                "domain": DOMAIN,
                "adkim": "s",
                "aspf": "r",
                "p": "reject",
                "sp": "quarantine",
                "pct": "50",
                "fo": "0",
            },
            read["policy_published"],
        )
        first, second = read["record"]
        self.assertEqual(
            {
                "row": {
                    "source_ip": "192.0.2.7",
                    "count": "3",
                    "policy_evaluated": {"disposition": "none", "dkim": "pass", "spf": "fail"},
                },
                "identifiers": {
                    "envelope_to": "example.test",
                    "envelope_from": "bounces.remote.test",
                    "header_from": DOMAIN,
                },
                "auth_results": {
                    "dkim": [{"domain": DOMAIN, "selector": "s1", "result": "pass"}],
                    "spf": [
                        {"domain": "bounces.remote.test", "scope": "mfrom", "result": "softfail"}
                    ],
                },
            },
            first,
        )
        reason = {"type": "local_policy", "comment": "arc=pass as[1].d=list.test"}
        self.assertEqual([reason], second["row"]["policy_evaluated"]["reason"])
        self.assertNotIn("envelope_to", second["identifiers"])

    def test_without_a_policy_of_their_own_subdomains_have_their_domains(self) -> None:
        report = collected(record="v=DMARC1; p=none; rua=mailto:a@remote.test", left_out=7)
        read = read_feedback(write_report(report, [(seen(), 1)], ME))
        self.assertEqual("none", read["policy_published"]["sp"])
        self.assertEqual(
            ["for want of room 7 mails are not counted"], read["report_metadata"]["error"]
        )

    def test_what_can_not_be_read_as_a_policy_is_reported_on_by_nobody(self) -> None:
        with self.assertRaises(ValueError):
            write_report(collected(record="v=spf1 -all"), [(seen(), 1)], ME)

    @settings(max_examples=60, deadline=None)
    @given(domain=NAMES, selector=NAMES, comment=NAMES)
    def test_whatever_strangers_write_is_text_in_a_document_that_can_be_read(
        self, domain: str, selector: str, comment: str
    ) -> None:
        hostile = seen(
            signatures=((domain, selector, "fail"),),
            spf_check=(domain, "helo", "permerror"),
            overrides=(("other", comment),),
        )
        read = read_feedback(write_report(collected(), [(hostile, 1)], ME))
        (record,) = read["record"]
        self.assertEqual(
            ["other"], [each["type"] for each in record["row"]["policy_evaluated"]["reason"]]
        )
        (dkim,) = record["auth_results"]["dkim"]
        self.assertEqual({"domain", "selector", "result"}, set(dkim))
        if domain.isalnum() and domain.isascii():
            self.assertEqual(domain, dkim["domain"])

    @given(domain=TEXTS, comment=TEXTS)
    def test_what_is_kept_of_a_mail_is_read_as_it_was(self, domain: str, comment: str) -> None:
        kept = seen(header_from=domain, overrides=(("other", comment),))
        self.assertEqual(kept, Seen.of_text(kept.as_text()))


class MailTests(SynchronousTestCase):
    def make(self, **more: object) -> bytes:
        return make_mail(collected(**more), [(seen(), 1)], ME, [READER], NOON + DAY_S)

    def test_it_carries_the_report_gzipped_under_the_name_that_readers_know(self) -> None:
        raw = self.make()
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        report_id = f"{mail_id_for(collected(), ME.hostname)}@mx.example.test"
        self.assertEqual(
            f"Report Domain: {DOMAIN} Submitter: example.test Report-ID: <{report_id}>",
            mail["Subject"],
        )
        self.assertEqual("auto-generated", mail["Auto-Submitted"])
        self.assertEqual(
            ("dmarc@example.test", "dmarc@remote.test"),
            (mail["From"].addresses[0].addr_spec, str(mail["To"])),
        )
        words, enclosed = mail.iter_parts()
        self.assertEqual(("text/plain", "application/gzip"),
                         (words.get_content_type(), enclosed.get_content_type()))  # fmt: skip
        name = f"example.test!{DOMAIN}!{BEGIN:.0f}!{BEGIN + DAY_S - 1:.0f}.xml.gz"
        self.assertEqual(name, enclosed.get_filename())
        read = read_feedback(gzip.decompress(enclosed.get_content()))
        self.assertEqual(report_id, read["report_metadata"]["report_id"])
        self.assertTrue(raw.isascii())
        self.assertLessEqual(max(map(len, raw.split(b"\r\n"))), 998)

    def test_a_second_report_of_a_day_has_a_name_of_its_own(self) -> None:
        mail = email.message_from_bytes(self.make(number=1), policy=email.policy.default)
        _, enclosed = mail.iter_parts()
        mail_id = mail_id_for(collected(), ME.hostname)
        self.assertTrue(enclosed.get_filename().endswith(f"!{mail_id}.xml.gz"))

    def test_its_id_is_the_same_again_and_another_for_any_other(self) -> None:
        ids = [
            mail_id_for(collected(**more), hostname)
            for more in ({}, {"day": "2025-01-02"}, {"domain": "x.test"}, {"record": "v=DMARC1"})
            for hostname in ("mx.example.test", "mx2.example.test")
        ]
        self.assertEqual(8, len(set(ids)))
        self.assertEqual(ids[0], mail_id_for(collected(report_id=9, mails=5), "mx.example.test"))
        self.assertEqual(26, len(ids[0]))
