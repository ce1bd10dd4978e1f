"""`mailnode.xtext`: what parameters of SMTP stand for, and how it is written again (S15)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.xtext import (
    from_addr_xtext,
    from_xtext,
    orcpt_on_wire,
    to_addr_xtext,
    to_xtext,
)

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)
UTF8 = st.text(
    st.characters(min_codepoint=0x20, codec="utf-8", exclude_characters="\x7f"), min_size=1
)


class XtextTests(SynchronousTestCase):
    def test_what_rfc_3461_shows(self) -> None:
        self.assertEqual(to_xtext("a+b=c d"), "a+2Bb+3Dc+20d")
        self.assertEqual(from_xtext("a+2Bb+3Dc+20d"), "a+b=c d")

    def test_what_is_no_xtext_is_refused(self) -> None:
        for text in ("", "a b", "a=b", "a+2b", "a+2", "+", "a\r\nb", "jos\u00e9"):
            self.assertRaises(ValueError, from_xtext, text)

    def test_xtext_never_stands_for_what_a_header_field_can_not_hold(self) -> None:
        for code in (*range(0x20), *range(0x7F, 0x100)):
            self.assertRaises(ValueError, from_xtext, f"a+{code:02X}b")
        for text in ("a\r\nb", "a\x00", "jos\u00e9"):
            self.assertRaises(ValueError, to_xtext, text)

    @settings(max_examples=300, deadline=None)
    @given(PRINTABLE)
    def test_it_reads_back_the_same(self, text: str) -> None:
        coded = to_xtext(text)
        self.assertRegex(coded, r"\A[!-<>-~]+\Z")
        self.assertEqual(from_xtext(coded), text)


class AddrXtextTests(SynchronousTestCase):
    def test_what_rfc_6533_shows(self) -> None:
        self.assertEqual(
            to_addr_xtext("jos\u00e9+x@\u4f8b.test"), r"jos\x{E9}\x{2B}x@\x{4F8B}.test"
        )
        self.assertEqual(from_addr_xtext(r"jos\x{E9}\x{2B}x@y"), "jos\u00e9+x@y")
        self.assertEqual(from_addr_xtext("jos\u00e9@y"), "jos\u00e9@y")

    def test_what_is_none_is_refused(self) -> None:
        for text in (
            "", "a b", "a+b", "a=b", "a\\b", r"\x{}", r"\xE9", r"\x{e9}", r"\x{0E9}", r"\x{41}",
            r"\x{A}", r"\x{0D}", r"\x{7F}", r"\x{110000}", r"\x{1000000}",
        ):  # fmt: skip
            self.assertRaises(ValueError, from_addr_xtext, text)

    @settings(max_examples=300, deadline=None)
    @given(UTF8)
    def test_it_reads_back_the_same(self, text: str) -> None:
        coded = to_addr_xtext(text)
        self.assertRegex(coded, r"\A[!-<>-~]+\Z")
        self.assertEqual(from_addr_xtext(coded), text)
        self.assertEqual(from_addr_xtext(to_addr_xtext(text, bare_utf8=True)), text)


class OrcptTests(SynchronousTestCase):
    def test_on_the_wire_it_is_coded_by_its_type(self) -> None:
        for orcpt, smtputf8, value in (
            ("rfc822;a+b@x.test", False, "rfc822;a+2Bb@x.test"),
            ("rfc822;a+b@x.test", True, "rfc822;a+2Bb@x.test"),
            ("utf-8;jos\u00e9+b@x.test", False, r"utf-8;jos\x{E9}\x{2B}b@x.test"),
            ("utf-8;jos\u00e9+b@x.test", True, "utf-8;jos\u00e9\\x{2B}b@x.test"),
        ):
            self.assertEqual(orcpt_on_wire(orcpt, smtputf8), value)
