"""`mailnode.records`: what a DNS answer says, and what is no answer."""

from __future__ import annotations

import contextlib
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import NoSuchName
from mailnode.records import (
    MOST_NEGATIVE_TTL_S,
    MOST_RECORDS,
    MOST_TTL_S,
    UDP_OCTETS,
    WITHOUT_SOA_S,
    Reading,
    ServerFault,
    make_query,
    parse_answer,
    read_answer,
)
from tests.dns_world import NEGATIVE_TTL_S, Answer, answer_query


def read(zone: dict[tuple[str, str], Any], name: str, kind: str, **more: Any) -> Reading:
    query = make_query(name, kind)
    made = answer_query(zone, query, **more)
    assert made is not None
    answer = parse_answer(made.to_wire(), query)
    assert answer is not None
    return read_answer(answer, trusted=True)


class QueryTests(SynchronousTestCase):
    def test_it_has_edns_and_asks_for_ad_and_recursion(self) -> None:
        query = dns.message.from_wire(make_query("example.org", "MX").to_wire())
        self.assertEqual((0, UDP_OCTETS, 0), (query.edns, query.payload, query.ednsflags))
        self.assertTrue(query.flags & dns.flags.AD and query.flags & dns.flags.RD)

    def test_ids_are_of_chance(self) -> None:
        self.assertGreater(len({make_query("example.org", "A").id for _ in range(50)}), 40)

    def test_what_can_not_be_a_name_is_none(self) -> None:
        for name in ("a..b", "x" * 64 + ".org", "bücher.example", ".".join(["abcdefgh"] * 40), "."):
            if name != ".":
                self.assertRaises(NoSuchName, make_query, name, "A")


class ManyTests(SynchronousTestCase):
    def test_a_message_of_more_records_than_any_name_has_is_not_unpacked(self) -> None:
        """4,000 long names fit into 64 KiB, and take nine seconds."""
        query = make_query("example.org", "A")
        for count in (MOST_RECORDS - 1, MOST_RECORDS):  # and the one of EDNS
            values = [f"192.0.{n >> 8}.{n & 255}" for n in range(count)]
            made = answer_query({("example.org", "A"): values}, query)
            assert made is not None
            answer = parse_answer(made.to_wire(max_size=65535), query)
            self.assertEqual(count < MOST_RECORDS, answer is not None)


class ParseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.query = make_query("example.org", "A")
        made = answer_query({("example.org", "A"): ["192.0.2.1"]}, self.query)
        assert made is not None
        self.made = made

    def test_the_question_is_compared_without_case(self) -> None:
        wire = self.made.to_wire().replace(b"\x07example", b"\x07EXAMPLE", 1)
        self.assertIsNotNone(parse_answer(wire, self.query))

    def test_another_id_question_kind_or_direction_is_no_answer(self) -> None:
        wire = self.made.to_wire()
        other = dns.message.from_wire(wire)
        other.question = make_query("example.com", "A").question
        kind = dns.message.from_wire(wire)
        kind.question = make_query("example.org", "AAAA").question
        for data in (
            bytes([wire[0] ^ 1]) + wire[1:],
            other.to_wire(),
            kind.to_wire(),
            self.query.to_wire(),
        ):
            self.assertIs(None, parse_answer(data, self.query))

    def test_a_truncated_one_may_end_in_the_middle_of_a_record(self) -> None:
        self.made.flags |= dns.flags.TC
        answer = parse_answer(self.made.to_wire()[:-15], self.query)
        assert answer is not None
        self.assertTrue(answer.flags & dns.flags.TC)

    @given(st.binary(max_size=200), st.integers(0, 60))
    def test_octets_of_any_kind_raise_nothing(self, noise: bytes, at: int) -> None:
        wire = self.made.to_wire()
        parse_answer(wire[:at] + noise, self.query)
        parse_answer(wire[:2] + noise, self.query)
        answer = parse_answer(wire[:at] + noise + wire[at + len(noise) :], self.query)
        if answer is not None:
            with contextlib.suppress(ServerFault):
                read_answer(answer, trusted=False)


class ReadTests(SynchronousTestCase):
    def test_a_chain_of_cnames_is_followed_and_the_least_ttl_counts(self) -> None:
        zone = {
            ("a.example.org", "CNAME"): Answer(["b.example.org"], ttl=500),
            ("b.example.org", "CNAME"): Answer(["c.example.org"], ttl=50),
            ("c.example.org", "A"): Answer(["192.0.2.1"], ttl=100),
        }
        reading = read(zone, "a.example.org", "A")
        records = reading.records
        self.assertEqual((("192.0.2.1",), "c.example.org"), (records.values, records.name))
        self.assertEqual((50.0, True), (records.expires_in_s, reading.complete))

    def test_a_cname_whose_target_is_not_told_is_not_complete(self) -> None:
        zone = {("a.example.org", "CNAME"): Answer(["b.example.org"], follow=False)}
        reading = read(zone, "a.example.org", "A")
        self.assertEqual((False, "b.example.org"), (reading.complete, reading.records.name))

    def test_a_cname_to_a_name_without_that_kind_is_complete_and_empty(self) -> None:
        zone = {
            ("a.example.org", "CNAME"): ["b.example.org"],
            ("b.example.org", "A"): ["192.0.2.1"],
        }
        reading = read(zone, "a.example.org", "AAAA")
        self.assertEqual(
            (True, True, ()), (reading.exists, reading.complete, reading.records.values)
        )
        self.assertEqual(NEGATIVE_TTL_S, reading.records.expires_in_s)

    def test_a_cname_to_nowhere_is_no_such_name(self) -> None:
        zone = {("a.example.org", "CNAME"): ["b.example.org"]}
        self.assertFalse(read(zone, "a.example.org", "A").exists)

    def test_a_circle_of_cnames_is_a_fault(self) -> None:
        zone = {
            ("a.example.org", "CNAME"): ["b.example.org"],
            ("b.example.org", "CNAME"): ["a.example.org"],
        }
        self.assertRaises(ServerFault, read, zone, "a.example.org", "A")

    def test_times_are_bounded(self) -> None:
        zone = {("a.example.org", "A"): Answer(["192.0.2.1"], ttl=2**31 - 1)}
        self.assertEqual(MOST_TTL_S, read(zone, "a.example.org", "A").records.expires_in_s)
        query = make_query("b.example.org", "A")
        made = dns.message.make_response(query)
        made.set_rcode(dns.rcode.NXDOMAIN)
        self.assertEqual(WITHOUT_SOA_S, read_answer(parsed(made, query), True).records.expires_in_s)
        soa = "ns. hostmaster. 1 3600 600 86400 999999"
        made.authority.append(dns.rrset.from_text("example.org.", 999999, "IN", "SOA", soa))
        self.assertEqual(
            MOST_NEGATIVE_TTL_S, read_answer(parsed(made, query), True).records.expires_in_s
        )

    def test_ad_counts_only_where_it_can_be_trusted(self) -> None:
        zone = {("example.org", "A"): ["192.0.2.1"]}
        query = make_query("example.org", "A")
        for authenticated, trusted, expected in (
            (True, True, True),
            (True, False, False),
            (False, True, False),
        ):
            made = answer_query(zone, query, authenticated=authenticated)
            assert made is not None
            reading = read_answer(parsed(made, query), trusted)
            self.assertEqual(expected, reading.records.authenticated)

    def test_servfail_and_its_kin_are_faults(self) -> None:
        for code in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"):
            error = self.assertRaises(
                ServerFault, read, {("example.org", "A"): code}, "example.org", "A"
            )
            self.assertEqual(code, str(error))


def parsed(made: dns.message.Message, query: dns.message.Message) -> dns.message.QueryMessage:
    answer = parse_answer(made.to_wire(), query)
    assert answer is not None
    return answer
