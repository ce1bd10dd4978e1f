"""`mailnode.mailauth.results`: what is written of a mail, and what others wrote in our name."""

from __future__ import annotations

import re
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.results import (
    MOST_FIELDS,
    Finding,
    authserv_id,
    read_claims,
    without_forged,
    write_results,
)

OWN = ("mx.example.org",)


class WritingTests(SynchronousTestCase):
    def written(self, *findings: Finding) -> str:
        field = write_results("mx.example.org", findings)
        self.assertTrue(field.endswith(b"\r\n"))
        return re.sub(r"\r\n\s", " ", field.decode("ascii").removesuffix("\r\n"))

    def test_each_finding_has_its_result_reason_and_properties(self) -> None:
        told = self.written(
            Finding("spf", "pass", properties=(("smtp.mailfrom", "alice@example.net"),)),
            Finding(
                "dkim",
                "fail",
                'the "body" was changed',
                (("header.d", "example.net"), ("header.b", "ab/+=1"), ("header.i", "")),
            ),
        )
        self.assertEqual(
            told,
            "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=alice@example.net; "
            'dkim=fail reason="the \\"body\\" was changed" header.d=example.net header.b="ab/+=1"',
        )

    def test_without_findings_it_says_none(self) -> None:
        self.assertEqual(self.written(), "Authentication-Results: mx.example.org; none")

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.text(max_size=400), st.text(max_size=90)), max_size=12))
    def test_whatever_a_stranger_said_it_is_one_field_of_ascii(
        self, said: list[tuple[str, str]]
    ) -> None:
        findings = [
            Finding("dkim", "fail", reason, (("header.d", value),)) for reason, value in said
        ]
        field = write_results("mx.example.org", findings)
        first, *others = field.removesuffix(b"\r\n").split(b"\r\n")
        self.assertRegex(first, rb"\AAuthentication-Results: [ -~]*\Z")
        for line in others:
            self.assertRegex(line, rb"\A\t[!-~][ -~]*\Z")
        told = authserv_id(field.decode().partition(":")[2])
        self.assertEqual(told, "mx.example.org")
        self.assertEqual(without_forged(field, OWN), b"")

    def test_lines_are_under_78(self) -> None:
        field = write_results("mx.example.org", [Finding("arc", "fail", "some words " * 15)] * 3)
        self.assertLess(max(map(len, field.split(b"\r\n"))), 78)


class ClaimTests(SynchronousTestCase):
    def test_what_is_written_can_be_read(self) -> None:
        findings = [
            Finding("spf", "pass", "dmarc=pass; arc=pass", (("smtp.helo", "a;dkim=pass"),)),
            Finding("dkim", "fail", 'said "; dmarc=pass"'),
        ]
        told = write_results("mx.example.org", findings).decode().partition(":")[2]
        self.assertEqual(read_claims(told), [("spf", "pass"), ("dkim", "fail")])

    def test_comments_versions_and_blanks_are_passed_over(self) -> None:
        for told, claims in (
            ("a.example; (dmarc=pass) SPF / 1 = Pass (x; y=z)", [("spf", "pass")]),
            ("a.example 1; none", []),
            ("dkim=pass", []),
            ("", []),
            ("a.example; dkim=pass (", []),
        ):
            self.assertEqual(read_claims(told), claims)


class ForgedTests(SynchronousTestCase):
    def forged(self, *values: str) -> list[bool]:
        """Of each field whether it is cut; all of what isn't stays."""
        fields = [f"Authentication-Results:{value}\r\n".encode() for value in values]
        header = b"From: a@example.net\r\n" + b"X-A: 1\r\n".join(fields) + b"To: b@example.org\r\n"
        kept = without_forged(header, OWN)
        gone = [field not in kept for field in fields]
        for field, is_gone in zip(fields, gone, strict=True):
            header = header.replace(field, b"") if is_gone else header
        self.assertEqual(header, kept)
        return gone

    def test_those_that_bear_our_name_are_found_however_it_is_written(self) -> None:
        ours = (
            " mx.example.org; spf=pass",
            "mx.example.org;spf=pass",
            " MX.Example.Org; none",
            " mx.example.org. 1; none",
            " mx.example.org",
            "\r\n mx.example.org;\r\n\tspf=pass",
            "\r\n\tmx.example.org\r\n\t1; spf=pass",
            ' "mx.example.org"; spf=pass',
            ' "mx\\.example.org"; spf=pass',
            " (a (nested) comment; mx.other) mx.example.org; spf=pass",
            " mx(in).example.org; spf=pass",
            " ) mx.example.org; spf=pass",
            " (mx.example.org; spf=pass",
            " mx.example.org/1; spf=pass",
            " <mx.example.org>, x; spf=pass",
            " \0mx.example.org; spf=pass",
            f" {'()' * 2000} mx.example.org; spf=pass",
        )
        self.assertEqual(self.forged(*ours), [True] * len(ours))

    def test_those_of_others_stay(self) -> None:
        others = (
            " mx.example.net; spf=pass (mx.example.org: ok)",
            " amx.example.org; none",
            " mx.example.org.example.net; none",
            " (mx.example.org) mx.example.net; none",
            " x; mx.example.org",
            " x; dkim=fail (mx.example.org",
            "",
            " ;",
        )
        self.assertEqual(self.forged(*others), [False] * len(others))

    def test_behind_more_fields_than_are_read_none_stays(self) -> None:
        others = b"Authentication-Results: x; none\r\n" * MOST_FIELDS
        for more in (b" mx.example.org; none", b" y; none"):
            header = others + b"Authentication-Results:" + more + b"\r\nTo: b@example.org\r\n"
            self.assertEqual(without_forged(header, OWN), others + b"To: b@example.org\r\n")

    def test_a_field_of_many_marks_is_read_as_far_as_its_name(self) -> None:
        header = b"Authentication-Results: x;" + b"(" * 60_000 + b"\r\n"
        began = process_time()
        for _ in range(50):
            self.assertEqual(without_forged(header, OWN), header)
        self.assertLess(process_time() - began, 0.4)

    def test_the_name_of_the_field_is_found_in_any_case_and_with_blanks(self) -> None:
        for header in (
            b"AUTHENTICATION-RESULTS: mx.example.org; none",
            b"authentication-results \t: mx.example.org; none\r\n",
        ):
            self.assertEqual(without_forged(header, OWN), b"")

    def test_other_fields_are_not_those(self) -> None:
        for name in ("X-Authentication-Results", "ARC-Authentication-Results"):
            header = f"{name}: mx.example.org; x\r\n".encode()
            self.assertEqual(without_forged(header, OWN), header)

    @settings(max_examples=200, deadline=None)
    @given(st.text('();"\\ \tam.x1:\r\n', max_size=60))
    def test_nothing_raises(self, value: str) -> None:
        without_forged(f"Authentication-Results:{value}\r\n".encode(), OWN)
        authserv_id(value)
        read_claims(value)
