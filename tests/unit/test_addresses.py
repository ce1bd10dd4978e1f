"""`mailnode.addresses`: what is an address, what is none, and what is the same one (S21)."""

from __future__ import annotations

import contextlib
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import (
    Address,
    parse_address,
    parse_address_list,
    parse_domain,
    parse_path,
    split_path,
)
from mailnode.errors import AddressTooLong, BadAddress


class ParseAddressTests(SynchronousTestCase):
    def test_addresses_that_the_grammar_has_are_taken(self) -> None:
        for text, local, domain in [
            ("alice@example.test", "alice", "example.test"),
            ("a.b+c@Example.TEST", "a.b+c", "example.test"),
            ("a@[127.0.0.1]", "a", "[127.0.0.1]"),
            ("a@[IPv6:::1]", "a", "[IPv6:::1]"),
            ("a@[ipv6:0:0:0:0:0:0:0:1]", "a", "[IPv6:::1]"),
            (r'"a\"b"@x', 'a"b', "x"),
            ('"a b@c"@x', "a b@c", "x"),
            ('""@x', "", "x"),
            ("jos\u00e9@b\u00fccher.example", "jos\u00e9", "xn--bcher-kva.example"),
            ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
            ("a" * 64 + "@x", "a" * 64, "x"),
        ]:
            self.assertEqual(parse_address(text), Address(local, domain), text)

    def test_what_is_no_address_is_refused(self) -> None:
        for text in [
            "", "a", "@x", "a@", ".a@b", "a.@b", "a..b@c", "a@-x-.com", "a@x-.com", "a@b..c",
            "a@b.", "a@.b", "a@b_c", "a b@c", "a@b c", "a@b@c", '"a@b', '"a"b@c', '"a\nb"@c',
            "a@[1.2.3]", "a@[127.0.0.1", "a@[IPv6:1]", "a@[::1]", "a\x00@b", "a@b\x7f",
            "<a@b>", "a@" + "x" * 64 + ".com", "\ud800@x", "a@\ud800", "a@\u3002",
        ]:  # fmt: skip
            self.assertRaises(BadAddress, parse_address, text)

    def test_lengths_are_counted_in_octets(self) -> None:
        self.assertRaises(AddressTooLong, parse_address, "a" * 65 + "@x")
        self.assertRaises(AddressTooLong, parse_address, "\u00e9" * 33 + "@x")
        parse_address("\u00e9" * 32 + "@x")
        label = "x" * 62 + "."
        self.assertRaises(AddressTooLong, parse_address, "a@" + label * 4 + "y" * 4)
        self.assertEqual(len(parse_domain(label * 4 + "yyy")), 255)

    def test_two_spellings_of_a_mailbox_share_its_key(self) -> None:
        for one, other in [
            ("Alice@Example.Test", "alice@example.test"),
            ('"alice"@x', "alice@x"),
            ("jose\u0301@x", "JOS\u00c9@x"),
            ("a@b\u00fccher.example", "A@xn--bcher-kva.example"),
            ("stra\u00dfe@x", "STRASSE@x"),
        ]:
            self.assertEqual(parse_address(one).key, parse_address(other).key, (one, other))

    def test_different_mailboxes_have_different_keys(self) -> None:
        self.assertNotEqual(parse_address("a.b@x").key, parse_address("ab@x").key)

    def test_an_address_is_written_quoted_where_the_grammar_asks_for_it(self) -> None:
        for text in ['"a b"@x', r'"a\"b"@x', r'"a\\b"@x', '"a..b"@x', '""@x', "a.b@x"]:
            self.assertEqual(str(parse_address(text)), text)

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=12), st.sampled_from(["x", "example.test", "[127.0.0.1]"]))
    def test_what_is_taken_reads_back_the_same_and_nothing_else_is_raised(
        self, local: str, domain: str
    ) -> None:
        for text in (f"{local}@{domain}", f'"{local}"@{domain}', f"a@{local}"):
            try:
                address = parse_address(text)
            except BadAddress:
                continue
            self.assertEqual(parse_address(str(address)), address)
            self.assertEqual(parse_path(f"<{address}>"), address)


class AddressListTests(SynchronousTestCase):
    def test_names_comments_and_groups_are_passed_over(self) -> None:
        for text, addresses in (
            ("a@b", ["a@b"]),
            (" Ann <a@b> ", ["a@b"]),
            ('"x@y, \\"z" <a@b>, Bo (x@y (\\) deep), too) <c@d>', ["a@b", "c@d"]),
            ('"a b"@c', ['"a b"@c']),
            ('<"a>b"@c>', ['"a>b"@c']),
            ("a@[IPv6:::1], <b@[127.0.0.1]>", ["a@[IPv6:::1]", "b@[127.0.0.1]"]),
            ("team: a@b, c@d;, e@f", ["a@b", "c@d", "e@f"]),
            ("nobody:;", []),
            ("", []),
            (", a@b,,", ["a@b"]),
            ("J\u00fcrgen <j\u00fc@b>", ["j\u00fc@b"]),
            ("x@y <a@b>", ["a@b"]),
        ):
            self.assertEqual([str(each) for each in parse_address_list(text)], addresses, text)

    def test_what_cannot_be_read_whole_is_refused(self) -> None:
        for text in ("Ann", '"a', "<a@b", "a@b>", "<a@b> c", "<a@b> <c@d>", "a:b:c@d;", "(a@b",
                     "<>", "a@b c@d", "a @b", "<a@b>:c@d;", "[", "(\\", "a@b, Ann"):  # fmt: skip
            self.assertRaises(BadAddress, parse_address_list, text)

    def test_many_pieces_of_one_name_take_no_square_of_time(self) -> None:
        began = time.process_time()
        self.assertRaises(BadAddress, parse_address_list, '""' * 1_000_000)
        self.assertLess(time.process_time() - began, 20)

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet='ab@.<>()",:;[]\\ ', max_size=20))
    def test_nothing_else_is_raised(self, text: str) -> None:
        with contextlib.suppress(BadAddress):
            parse_address_list(text)


class PathTests(SynchronousTestCase):
    def test_the_null_path_is_none(self) -> None:
        self.assertIsNone(parse_path("<>"))

    def test_source_routes_are_stripped(self) -> None:
        self.assertEqual(parse_path("<@a.example,@b.example:c@d>"), Address("c", "d"))

    def test_brackets_are_asked_for(self) -> None:
        for text in ["a@b", "<a@b", "a@b>", "", "< a@b>", "<a@b >", "<<a@b>>"]:
            self.assertRaises(BadAddress, parse_path, text)

    def test_a_path_is_at_most_256_octets(self) -> None:
        domain = ".".join(["x" * 60] * 4)  # 243 octets
        self.assertIsNotNone(parse_path(f"<{'a' * 10}@{domain}>"))
        self.assertRaises(AddressTooLong, parse_path, f"<{'a' * 11}@{domain}>")

    def test_a_path_of_text_that_no_encoding_has_is_refused(self) -> None:
        self.assertRaises(BadAddress, parse_path, "<\ud800@x>")

    def test_a_path_is_cut_from_its_parameters_minding_quotes(self) -> None:
        self.assertEqual(split_path("<a@b> SIZE=1"), ("<a@b>", " SIZE=1"))
        self.assertEqual(split_path(r'<"a>\"b"@c>X'), (r'<"a>\"b"@c>', "X"))
        self.assertEqual(split_path("<>"), ("<>", ""))
        for text in ["a@b", "", "<a@b", '<"a>@b', "<a@b\\"]:
            self.assertRaises(BadAddress, split_path, text)
