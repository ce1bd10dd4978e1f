"""`mailnode.short_answers`: says what dnspython says of the same octets, or nothing."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode import records
from mailnode.errors import NoSuchName
from mailnode.records import Parsed, make_query, read_answer
from mailnode.short_answers import ShortAnswer, read_short, write_query
from tests.dns_world import Answer, answer_query

ZONE: dict[tuple[str, str], Any] = {
    ("example.org", "A"): Answer(["192.0.2.1", "192.0.2.2"], ttl=77),
    ("example.org", "AAAA"): ["2001:db8::7", "::ffff:192.0.2.1"],
    ("example.org", "TXT"): ['"v=spf1 " "-all"', '"' + "x" * 255 + '" "\\195\\188"'],
    ("example.org", "MX"): ["10 mx.example.org."],
    ("www.example.org", "CNAME"): ["example.org."],
    ("long.example.org", "A"): Answer(["192.0.2.1"], ttl=10**7),
    ("7.2.0.192.in-addr.arpa", "PTR"): ["Mail.Example.org."],
    ("8.2.0.192.in-addr.arpa", "PTR"): ["a.example.org.", "b.example.org."],
}


ASKED = [("example.org", kind) for kind in ("A", "AAAA", "TXT")] + [
    ("7.2.0.192.in-addr.arpa", "PTR"),
    ("none.example.org", "A"),
    ("long.example.org", "TXT"),
]


def answered(name: str, kind: str) -> tuple[dns.message.QueryMessage, dns.message.Message]:
    query = make_query(name, kind)
    made = answer_query(ZONE, query, authenticated=True)
    assert made is not None
    return query, made


class ShortAnswerTests(SynchronousTestCase):
    def at_length(self, data: bytes, query: dns.message.Message) -> Parsed | None:
        """What it is without this."""
        self.patch(records, "read_short", lambda *_: None)
        try:
            return records.parse_answer(data, query)
        finally:
            self.patch(records, "read_short", read_short)

    def assertSame(self, data: bytes, query: dns.message.Message) -> bool:
        """Whether it was read here; what it says is what dnspython says."""
        short = read_short(data, query)
        if short is None:
            return False
        long = self.at_length(data, query)
        assert long is not None, data
        self.assertNotIsInstance(long, ShortAnswer)
        for trusted in (False, True):
            self.assertEqual(read_answer(long, trusted), read_answer(short, trusted))
        self.assertEqual((int(long.flags), long.rcode()), (short.flags, short.rcode()))
        return True

    def test_values_of_the_name_itself_are_read_and_all_else_is_not(self) -> None:
        for name, kind, is_short in (
            ("example.org", "A", True),
            ("EXAMPLE.org", "A", True),
            ("example.org", "AAAA", True),
            ("example.org", "TXT", True),
            ("long.example.org", "A", True),
            ("example.org", "MX", False),
            ("www.example.org", "A", False),
            ("7.2.0.192.in-addr.arpa", "PTR", True),
            ("8.2.0.192.in-addr.arpa", "PTR", False),
            ("none.example.org", "A", True),
            ("long.example.org", "TXT", True),
            ("www.example.org", "TXT", False),
        ):
            query, made = answered(name, kind)
            self.assertEqual(is_short, self.assertSame(made.to_wire(), query), (name, kind))

    def test_an_answer_to_another_question_or_cut_or_with_more_behind_it_is_not_read(self) -> None:
        query, made = answered("example.org", "A")
        wire = made.to_wire()
        other = make_query("example.org", "A")
        other.id = query.id ^ 1
        self.assertIs(None, read_short(wire, other))
        for cut in range(len(wire)):
            self.assertIs(None, read_short(wire[:cut], query))
        self.assertIs(None, read_short(wire + b"\0", query))
        made.flags |= dns.flags.TC
        self.assertIs(None, read_short(made.to_wire(), query))

    def test_a_value_of_another_length_than_its_kind_has_makes_it_no_answer(self) -> None:
        for kind, octets in (("A", 4), ("AAAA", 16)):
            query, made = answered("example.org", kind)
            wire = made.to_wire()
            question = wire[: wire.index(b"\xc0\x0c")]
            for other in (0, octets - 1, octets + 1):
                value = other.to_bytes(2, "big") + b"\1" * other
                record = b"\xc0\x0c" + int(query.question[0].rdtype).to_bytes(2, "big")
                record += b"\0\1\0\0\0\x3c" + value
                forged = question[:6] + b"\0\1\0\0\0\0" + question[12:] + record
                self.assertIs(None, records.parse_answer(forged, query), (kind, other))

    @given(
        st.sampled_from(ASKED),
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3),
    )
    def test_changed_octets_say_the_same_or_nothing(
        self, asked: tuple[str, str], changes: list[tuple[int, int]]
    ) -> None:
        query, made = answered(*asked)
        wire = bytearray(made.to_wire())
        for at, octet in changes:
            wire[at % len(wire)] = octet
        self.assertSame(bytes(wire), query)

    def test_a_query_is_written_as_dnspython_writes_it(self) -> None:
        for name in ("example.org", "WWW.Example.ORG.", "_dmarc.x\\.y.example", "a" * 63 + ".org"):
            for kind in ("A", "TXT", "TLSA"):
                query = make_query(name, kind)
                self.assertEqual(query.to_wire(), write_query(query))
                query.use_edns(False)
                self.assertEqual(query.to_wire(), write_query(query))

    def test_a_name_that_can_not_be_is_still_none(self) -> None:
        self.assertRaises(NoSuchName, make_query, "a..b", "TXT")
