"""`mailnode.mailauth.dmarc`: whose mail it is, and what that domain wants to be done."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.canonical import Field, Header
from mailnode.mailauth.dmarc import (
    MOST_AUTHORS,
    MOST_NAMES,
    DmarcResult,
    author_domains,
    judge_authors,
    walk,
)
from mailnode.mailauth.dmarc_record import is_record, read_record
from mailnode.mailauth.signatures import DkimResult
from mailnode.mailauth.spf import SpfResult
from tests.unit.mailauth_case import Zone, settle

VECTORS = Path(__file__).parents[1] / "vectors/dmarc.toml"


def authors(*values: str) -> list[str]:
    return author_domains(Header([Field(b"from", f"From: {each}".encode()) for each in values]))


def judged(
    domains: list[str], zone: Zone, spf: Any = ("", "none"), dkim: Any = (), roll: int = 0
) -> DmarcResult:
    envelope = SpfResult(spf[1], spf[0], "SPF says so")
    signatures = [DkimResult(result, "DKIM says so", domain) for domain, result in dkim]
    return settle(lambda answers: judge_authors(domains, envelope, signatures, answers, roll), zone)


class VectorTests(SynchronousTestCase):
    def test_each_mail_ends_as_it_says(self) -> None:
        told = tomllib.loads(VECTORS.read_text("utf-8"))
        self.assertGreater(len(told["case"]), 50)
        for case in told["case"]:
            zone = self.zone(told["zone"])
            zone.update({(name, "A"): ["192.0.2.1"] for name in case.get("exists", [])})
            domains = authors(case["from"].replace("HUNDRED", ".".join("a" * 100)))
            found = judged(
                domains,
                zone,
                case.get("spf", ("", "none")),
                case.get("dkim", ()),
                case.get("roll", 0),
            )
            for key in ("result", "apply", "policy", "policy_domain", "organization", "domain"):
                if key in case:
                    self.assertEqual(getattr(found, key), case[key], (case["name"], found))
            self.assertIn(case.get("reason", ""), found.reason, case["name"])
            if found.result in ("pass", "none", "permerror", "temperror"):
                self.assertEqual(found.apply, "none", case["name"])
            if "questions" in case:
                self.assertEqual(sum(map(len, zone.asked)), case["questions"])

    def zone(self, told: dict[str, Any]) -> Zone:
        zone = Zone({})
        for name, records in told.items():
            silent = records == "silent"
            texts = [each.replace("LONG", "x" * 65_000) for each in records]
            zone[f"_dmarc.{name}", "TXT"] = None if silent else texts
        return zone


class WalkTests(SynchronousTestCase):
    def test_it_goes_from_the_domain_to_its_top_in_eight_steps_at_most(self) -> None:
        self.assertEqual(walk("example"), ["example"])
        self.assertEqual(walk("a.b.example"), ["a.b.example", "b.example", "example"])
        eight = "a.b.c.d.e.f.g.example"
        self.assertEqual((walk(eight)[1], len(walk(eight))), ("b.c.d.e.f.g.example", MOST_NAMES))
        nine = f"z.{eight}"
        self.assertEqual(walk(nine)[:2], [nine, "b.c.d.e.f.g.example"])
        self.assertEqual(len(walk(nine)), MOST_NAMES)

    def test_all_names_are_asked_at_once(self) -> None:
        zone = Zone({("_dmarc.b.example", "TXT"): ["v=DMARC1; p=reject"]})
        judged(["a.b.example"], zone)
        self.assertEqual(len(zone.asked), 1)

    def test_of_a_domain_that_could_not_be_looked_up_a_policy_above_counts(self) -> None:
        zone = Zone(
            {
                ("_dmarc.a.b.example", "TXT"): None,
                ("_dmarc.b.example", "TXT"): ["v=DMARC1; p=reject"],
            }
        )
        self.assertEqual(judged(["c.b.example"], zone).apply, "reject")


class AuthorTests(SynchronousTestCase):
    def test_all_from_fields_count(self) -> None:
        self.assertEqual(authors("a@one.example", "b@two.example"), ["one.example", "two.example"])

    def test_a_crowd_is_cut_and_the_first_ones_count(self) -> None:
        crowd = ", ".join(f"a@d{n}.example" for n in range(1000))
        found = authors(crowd)
        self.assertEqual((len(found), found[-1]), (MOST_AUTHORS + 1, ""))

    def test_who_is_hidden_is_found_or_told_of(self) -> None:
        for value in (
            "=?utf-8?q?ceo=40bank.example?=",
            "=?utf-8?q?CEO_=3Cceo=40bank.example=3E?=",
            "CEO <ceo@=?utf-8?q?bank.example?=>",
            "'ceo@bank.example'",
            'a@one.example, "x <ceo@bank.example>',
        ):
            self.assertIn("bank.example", authors(value), value)
        for hidden in (
            ["a@one.example"] * MOST_AUTHORS + ["ceo@bank.example"],
            [f"a@one.example, {'x' * 9000} <ceo@bank.example>"],
            [f"a@one.example, {'x' * 5000}, <ceo@bank.example"],
            ["a@one.example, ceo@bank..example"],
            ["a@one.example, CEO <ceo@bank.example\u00ff\ufffd>"],
        ):
            self.assertEqual(authors(*hidden), ["one.example", ""], hidden)

    def test_an_author_who_is_proved_proves_none_who_is_hidden(self) -> None:
        zone = Zone({("_dmarc.one.example", "TXT"): ["v=DMARC1; p=reject"]})
        proved = [("one.example", "pass")]
        self.assertEqual(judged(["one.example"], zone, dkim=proved).result, "pass")
        found = judged(["one.example", ""], zone, dkim=proved)
        self.assertEqual((found.result, found.domain), ("permerror", ""))
        self.assertEqual(judged(["one.example", ""], zone).apply, "reject")

    def test_a_folded_name_and_comments_are_passed_over(self) -> None:
        self.assertEqual(
            authors('"A\r\n B"\r\n (x@y.example)\r\n <a@one.example>'), ["one.example"]
        )

    def test_64_kib_of_brackets_end_soon(self) -> None:
        for piece in ("(", "<", '"', "a@", ",", ":;", "=?utf-8?q?"):
            authors(piece * 16_000)

    @settings(max_examples=200, deadline=None)
    @given(st.text('a@.<>",:;()[] \\\u00e4', max_size=60))
    def test_nothing_raises(self, value: str) -> None:
        for each in authors(value):
            self.assertRegex(each, r"\A[a-z0-9._-]*\Z")


class RecordTests(SynchronousTestCase):
    def test_where_reports_go_is_kept_as_it_is_written(self) -> None:
        record = read_record(
            "v=DMARC1; p=none; rua=mailto:a@example.org!10m , https://x/, no uri;"
            " ruf=mailto:f@example.org; fo=1:d"
        )
        assert record is not None
        self.assertEqual(record.aggregate, ("mailto:a@example.org!10m", "https://x/"))
        self.assertEqual((record.failures, record.options), (("mailto:f@example.org",), "1:d"))

    def test_the_first_of_a_tag_counts(self) -> None:
        record = read_record("v=DMARC1; p=none; p=reject")
        assert record is not None
        self.assertEqual(record.policy, "none")

    @settings(max_examples=300, deadline=None)
    @given(st.text("v=DMARC1;psnrujectoadkf y\u00e4%:,mailto@", max_size=60))
    def test_nothing_raises(self, text: str) -> None:
        self.assertTrue(is_record("v=DMARC1;" + text))
        read_record("v=DMARC1;" + text)
        read_record("v=DMARC1;p=reject;" + text)
