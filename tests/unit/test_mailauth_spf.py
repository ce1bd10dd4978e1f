"""`mailnode.mailauth.spf`: what it says in words, and what a stranger's records can't do.

RFC 7208's own suite is held by `test_mailauth_spf_suite`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.answers import Answers, Lacking
from mailnode.mailauth.spf import EXPLANATION_CHARACTERS, Sending, SpfResult, check_host
from mailnode.mailauth.spf_record import (
    MOST_CHARACTERS,
    MOST_MACROS,
    MOST_TERMS,
    BadRecord,
    is_record,
    read_record,
)
from tests.unit.mailauth_case import Zone, settle

CLIENT = "192.0.2.7"


class SpfCase(SynchronousTestCase):
    def check(
        self,
        told: dict[Any, Any],
        client: str = CLIENT,
        sender: str = "alice@example.org",
        helo: str = "mx.example.org",
    ) -> SpfResult:
        """Args: told: "name KIND" to values."""
        self.zone = Zone({tuple(key.split()): values for key, values in told.items()})
        sending = Sending.of(client, sender, helo, "mx.example.net", 1_795_000_000)
        return settle(partial(check_host, sending), self.zone)

    def of(self, *records: str, **more: Any) -> SpfResult:
        return self.check({"example.org TXT": records}, **more)


class WordsTests(SpfCase):
    def test_the_term_that_decided_is_named(self) -> None:
        for record, result, reason in (
            ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "ip4:192.0.2.0/24 in the record"),
            ("v=spf1 ip4:198.51.100.0/24 ~all", "softfail", "~all in the record of example.org"),
            ("v=spf1 ip4:198.51.100.0/24", "neutral", "says nothing of this client"),
            ("v=spf1 ip4:198.51.100.300 -all", "permerror", "'ip4:198.51.100.300' names no"),
            ("v=spf1 foo:bar -all", "permerror", "'foo:bar' is no mechanism"),
            ("spf", "none", "example.org has no SPF record"),
        ):
            found = self.of(record)
            self.assertEqual((found.result, found.domain), (result, "example.org"))
            self.assertIn(reason, found.reason)

    def test_a_mechanism_of_an_included_record_that_passes_is_the_include(self) -> None:
        found = self.check(
            {
                "example.org TXT": ["v=spf1 include:a.example.com -all"],
                "a.example.com TXT": ["v=spf1 mx -all"],
                "a.example.com MX": [(10, "m1.example.com"), (20, "m2.example.com")],
                "m1.example.com A": ["198.51.100.1"],
                "m2.example.com A": [CLIENT],
            }
        )
        self.assertEqual(found.result, "pass")
        self.assertIn("include:a.example.com in the record of example.org", found.reason)
        self.assertEqual(len(self.zone.asked[-1]), 2)  # both hosts side by side

    def test_what_could_not_be_looked_up_is_named(self) -> None:
        found = self.check({"example.org TXT": ["v=spf1 a:x.example.org"], "x.example.org A": None})
        self.assertEqual(found.result, "temperror")
        self.assertEqual(found.reason, "A of x.example.org could not be looked up")

    def test_the_null_sender_is_postmaster_at_the_helo(self) -> None:
        told = {
            "mx.example.org TXT": ["v=spf1 exists:%{l}.%{o}"],
            "postmaster.mx.example.org A": ["1.1.1.1"],
        }
        found = self.check(told, sender="")
        self.assertEqual((found.result, found.domain), ("pass", "mx.example.org"))

    def test_an_address_literal_has_no_record_and_nobody_is_asked(self) -> None:
        for helo in ("[192.0.2.7]", "[IPv6:2001:db8::1]", "localhost", "", "a..b"):
            self.assertEqual(self.check({}, sender="", helo=helo).result, "none")
            self.assertEqual(self.zone.asked, [])

    def test_ipv4_in_the_dress_of_ipv6_is_ipv4(self) -> None:
        found = self.of("v=spf1 ip4:192.0.2.7 -all", client="::ffff:192.0.2.7")
        self.assertEqual(found.result, "pass")

    def test_an_explanation_is_ascii_and_short(self) -> None:
        record = "v=spf1 -all exp=why.example.org"
        for said, told in (
            ("%{i} is not allowed", "192.0.2.7 is not allowed"),
            ("Gr\u00fc\u00dfe", ""),
            ("a\x1b[2Jb", ""),
            ("a\r\n550 b", ""),
            ("%{", ""),
            ("x" * 70_000, "x" * EXPLANATION_CHARACTERS),
            ("%{s}" * 90, ("alice@example.org" * 90)[:EXPLANATION_CHARACTERS]),
        ):
            found = self.check({"example.org TXT": [record], "why.example.org TXT": [said]})
            self.assertEqual((found.result, found.explanation), ("fail", told))

    def test_a_sender_beyond_ascii_stands_in_no_explanation(self) -> None:
        told = {
            "example.org TXT": ["v=spf1 -all exp=why.example.org"],
            "why.example.org TXT": ["%{s}"],
        }
        found = self.check(told, sender="z\u00f6e@example.org")
        self.assertEqual((found.result, found.explanation), ("fail", ""))

    def test_an_explanation_that_can_not_be_had_changes_nothing(self) -> None:
        record = "v=spf1 -all exp=why.example.org"
        for said in (None, [], ["a", "b"]):
            found = self.check({"example.org TXT": [record], "why.example.org TXT": said})
            self.assertEqual((found.result, found.explanation), ("fail", ""))

    def test_reasons_are_printable_ascii(self) -> None:
        found = self.of("v=spf1 \u202ea\x1b[2J:b -all")
        self.assertEqual(found.result, "permerror")
        self.assertRegex(found.reason, r"\A[ -~]+\Z")


class BoundsTests(SpfCase):
    def test_a_hundred_includes_end_after_ten(self) -> None:
        told: dict[str, Any] = {
            f"s{n}.example.org TXT": ["v=spf1 ip4:198.51.100.1"] for n in range(100)
        }
        includes = " ".join(f"include:s{n}.example.org" for n in range(100))
        found = self.check({"example.org TXT": [f"v=spf1 {includes} -all"], **told})
        self.assertEqual(found.result, "permerror")
        self.assertIn("more than 10 look-ups", found.reason)
        self.assertEqual(len(self.zone.asked), 11)

    def test_a_loop_of_includes_and_one_of_redirects_end(self) -> None:
        for term in ("include:example.org", "redirect=example.org"):
            found = self.of(f"v=spf1 {term}")
            self.assertEqual(found.result, "permerror")

    def test_nothing_found_three_times_is_permerror(self) -> None:
        terms = " ".join(f"a:n{n}.example.org" for n in range(5))
        found = self.of(f"v=spf1 {terms} ip4:{CLIENT}")
        self.assertEqual(found.result, "permerror")
        self.assertIn("found nothing, the last one A of n2.example.org", found.reason)

    def test_what_is_found_nothing_behind_a_match_is_no_matter(self) -> None:
        hosts = [(n, f"m{n}.example.org") for n in range(9)]
        told: dict[str, Any] = {
            "example.org TXT": ["v=spf1 mx"],
            "example.org MX": hosts,
            "m0.example.org A": ["198.51.100.1", CLIENT],
        }
        self.assertEqual(self.check(told).result, "pass")
        told["m0.example.org A"] = ["198.51.100.1"]
        self.assertEqual(self.check(told).result, "permerror")

    def test_eleven_mail_hosts_are_permerror(self) -> None:
        hosts = [(10, f"m{n}.example.org") for n in range(11)]
        found = self.check({"example.org TXT": ["v=spf1 mx"], "example.org MX": hosts})
        self.assertEqual(found.result, "permerror")

    def test_of_a_thousand_names_of_a_client_ten_are_looked_up(self) -> None:
        names = [f"n{n}.example.org" for n in range(1000)]
        found = self.check(
            {"example.org TXT": ["v=spf1 ptr -all"], "7.2.0.192.in-addr.arpa PTR": names}
        )
        self.assertEqual(found.result, "fail")
        self.assertEqual(len(self.zone.asked[-1]), 10)

    def test_records_of_64_kib_end_as_permerror(self) -> None:
        for record in (
            "v=spf1 " + "a " * 32_000,
            "v=spf1 a:" + "%{s}" * 16_000,
            "v=spf1 a:" + "a" * 64_000,
            "v=spf1 " + "a" * 64_000,
            "v=spf1 " + "ip4:192.0.2.1 " * 500 + "x",
        ):
            self.assertEqual(self.of(record).result, "permerror")

    def test_the_longest_record_and_the_most_terms_are_read_and_one_more_is_not(self) -> None:
        for rest in ("x=" + "a" * (MOST_CHARACTERS - 23), "a=b " * (MOST_TERMS - 2) + "c=d"):
            record = f"v=spf1 ip4:{CLIENT} {rest}"
            self.assertEqual(self.of(record).result, "pass")
            found = self.of(f"{record} e=f")
            self.assertEqual(found.result, "permerror")
            self.assertIn("than", found.reason)

    def test_macros_that_swell_are_permerror(self) -> None:
        record = f"v=spf1 a:{'%{s}' * MOST_MACROS}.example.org"
        found = self.of(record, sender="x" * 64 + "@example.org")
        self.assertEqual(found.result, "permerror")
        self.assertIn("too long", found.reason)

    def test_a_term_has_a_hundred_macros_at_most(self) -> None:
        for count, result in ((MOST_MACROS, "pass"), (MOST_MACROS + 1, "permerror")):
            term = f"x={'%{d1r.-+}' * count}"
            self.assertEqual(self.of(f"v=spf1 {term} ip4:{CLIENT}").result, result)

    def test_a_record_is_read_once_however_often_the_check_is_run(self) -> None:
        answers = Answers()
        read: list[object] = []
        record = "v=spf1 a -all"
        for _ in range(3):
            read.append(answers.once(read_record, record))
        self.assertIs(read[0], read[2])

    def test_a_question_is_never_asked_twice(self) -> None:
        self.check({"example.org TXT": ["v=spf1 a a:EXAMPLE.org a:example.org. ip4:192.0.2.7"]})
        asked = [each for questions in self.zone.asked for each in questions]
        self.assertEqual(len(asked), len(set(asked)))
        self.assertEqual(asked, [("example.org", "TXT"), ("example.org", "A")])


WORDS = st.sampled_from(
    [
        *"a mx ptr all include: exists: ip4: ip6: redirect= exp= a: : / // /24 192.0.2.0".split(),
        *"2001:db8:: example.org . - + ~ ? %{ %{s} %{p} %{d1r} %{I} %{t} %% %_ } = v=spf1".split(),
        *"\u00e4\0  ",
    ]
)
RECORDS = st.lists(WORDS, max_size=12).map("".join)


class StrangersTests(SpfCase):
    @settings(max_examples=150, deadline=None)
    @given(st.lists(RECORDS, min_size=1, max_size=3), st.text(max_size=20), st.text(max_size=20))
    def test_nothing_raises_whatever_is_published_and_said(
        self, records: list[str], sender: str, helo: str
    ) -> None:
        told: dict[str, Any] = {
            "example.org TXT": ["v=spf1 " + records[0]],
            "example.org A": ["192.0.2.1"],
            "example.org MX": [(0, ""), (1, "example.org"), (2, records[-1])],
            "7.2.0.192.in-addr.arpa PTR": ["example.org", records[-1], ""],
        }
        for said in (f"{sender}@example.org", sender):
            found = self.check(told, sender=said, helo=helo)
            self.assertRegex(found.reason + found.explanation, r"\A[ -~]*\Z")

    @settings(max_examples=150, deadline=None)
    @given(RECORDS)
    def test_a_record_is_read_or_bad(self, record: str) -> None:
        if is_record(record):
            self.assertTrue(read_record(record))

    def test_what_is_asked_can_stand_in_the_dns(self) -> None:
        with self.assertRaises(Lacking) as caught:
            Answers().find_all(
                [("A.example.", "A"), ("a.example", "A"), ("x" * 64, "A"), ("", "A")]
            )
        self.assertEqual(caught.exception.questions, (("a.example", "A"),))

    def test_a_bad_record_is_a_value(self) -> None:
        self.assertIsInstance(read_record("v=spf1 -all:x"), BadRecord)
