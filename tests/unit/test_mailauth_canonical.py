"""`mailnode.mailauth.canonical`: relaxed forms, in chunks as they would be in one piece."""

from __future__ import annotations

import hashlib
import itertools
import re

import dkim.canonicalization
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.canonical import BodyHash, BodyHashes, BodyKind, Field, Header, read_fields


def relaxed_body(body: bytes) -> bytes:
    """RFC 6376 section 3.4.4, word by word, over a whole body."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    lines = body.split(b"\r\n")[:-1]
    lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def digest_of(*chunks: bytes) -> bytes:
    body = BodyHash()
    for chunk in chunks:
        body.feed(chunk)
    return body.digest()


PIECES = st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b"a", b"bc", b".", b"\xff", b"\0"])
CUTS = st.lists(st.integers(0, 40), max_size=8)


class BodyHashTests(SynchronousTestCase):
    @settings(max_examples=500, deadline=None)
    @given(st.lists(PIECES, max_size=30).map(b"".join), CUTS)
    @example(b"a \r\n\r\n \t\r\n", [1, 2, 3, 4, 5])
    @example(b"a \r", [2])
    @example(b"\r\n\r\n", [1, 2, 3])
    @example(b"a \rb\r\r\n", [1, 2, 3, 4, 5, 6])
    def test_any_split_is_hashed_as_the_whole(self, body: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(body)]
        chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
        self.assertEqual(digest_of(*chunks), hashlib.sha256(relaxed_body(body)).digest())

    @settings(max_examples=300, deadline=None)
    @given(st.lists(PIECES, max_size=30).map(b"".join))
    def test_a_body_of_whole_lines_is_hashed_as_dkimpy_does(self, body: bytes) -> None:
        lines = body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
        theirs = dkim.canonicalization.Relaxed.canonicalize_body(lines)
        self.assertEqual(digest_of(lines), hashlib.sha256(theirs).digest())

    def test_the_example_of_the_rfc(self) -> None:
        body = b" C \r\nD \t E\r\n\r\n\r\n"
        self.assertEqual(digest_of(body), hashlib.sha256(b" C\r\nD E\r\n").digest())

    def test_an_empty_body_and_one_of_empty_lines_are_nothing(self) -> None:
        nothing = hashlib.sha256(b"").digest()
        self.assertEqual(digest_of(), nothing)
        self.assertEqual(digest_of(b"\r\n", b" ", b"\r\n"), nothing)

    def test_a_million_empty_lines_are_counted_and_not_kept(self) -> None:
        body = b"a\r\n" + b"\r\n" * 1_000_000 + b"b\r\n"
        hashed = BodyHash()
        for start in range(0, len(body), 65536):
            hashed.feed(body[start : start + 65536])
            (form,) = hashed._hashes._forms.values()
            self.assertLess(len(form._held), 3)
        self.assertEqual(hashed.digest(), hashlib.sha256(body).digest())


class KindTests(SynchronousTestCase):
    def hashed(self, body: bytes, cuts: list[int], *kinds: BodyKind) -> list[tuple[bytes, int]]:
        hashes = BodyHashes.of(kinds)
        for a, b in itertools.pairwise([0, *sorted(cuts), len(body)]):
            hashes.feed(body[a:b])
        found = hashes.end()
        return [(found[kind].digest, found[kind].size_octets) for kind in kinds]

    @settings(max_examples=500, deadline=None)
    @given(st.lists(PIECES, max_size=30).map(b"".join), CUTS, st.integers(0, 30))
    @example(b"", [], 0)
    @example(b"a\r", [1], 1)
    def test_every_kind_is_hashed_in_any_split_as_the_whole(
        self, body: bytes, cuts: list[int], most: int
    ) -> None:
        relaxed = relaxed_body(body)
        simple = re.sub(rb"(\r\n)*\Z", b"", body, count=1) + b"\r\n"
        kinds = [BodyKind(form, limit) for form in (True, False) for limit in (None, most)]
        told = self.hashed(body, cuts, *kinds)
        wanted = [
            (hashlib.sha256(whole[: kind.most_octets]).digest(), len(whole))
            for kind, whole in zip(kinds, (relaxed, relaxed, simple, simple), strict=True)
        ]
        self.assertEqual(told, wanted)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(PIECES, max_size=30).map(b"".join))
    def test_the_simple_form_is_dkimpys(self, body: bytes) -> None:
        lines = body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
        theirs = dkim.canonicalization.Simple.canonicalize_body(lines)
        ((told, _),) = self.hashed(lines, [], BodyKind(relaxed=False))
        self.assertEqual(told, hashlib.sha256(theirs).digest())


class HeaderTests(SynchronousTestCase):
    def names(self, header: bytes) -> list[bytes]:
        return [each.name for each in read_fields(header)]

    def test_the_example_of_the_rfc(self) -> None:
        told = [each.relaxed for each in read_fields(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\n")]
        self.assertEqual(told, [b"a:X", b"b:Y Z"])

    def test_a_header_ends_at_the_empty_line_or_at_its_end(self) -> None:
        self.assertEqual(self.names(b"A: 1\r\nB: 2\r\n"), [b"a", b"b"])
        self.assertEqual(self.names(b"A: 1\r\n\r\nB: 2\r\n"), [b"a"])
        self.assertEqual(self.names(b"\r\nB: 2\r\n"), [])
        self.assertEqual(self.names(b""), [])

    def test_what_is_no_field_is_passed_over_with_its_folded_lines(self) -> None:
        header = b" folded\r\nA: 1\r\nFrom alice\r\n more: 2\r\n: 3\r\nB: 4\r\n"
        self.assertEqual(self.names(header), [b"a", b"b"])

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.sampled_from([b"A", b"b-C", b":", b" ", b"\t", b"\r\n", b"x"])).map(b"".join)
    )
    def test_fields_have_no_line_ends_and_stand_in_the_header(self, header: bytes) -> None:
        for each in read_fields(header):
            self.assertIn(each.raw, header)
            self.assertNotIn(b"\r\n", each.relaxed)

    def test_a_name_means_its_lowest_field_first_and_then_those_above(self) -> None:
        header = Header(list(read_fields(b"To: upper\r\nA: 1\r\nTo:  lower\r\n")))
        own = Field(b"dkim-signature", b"DKIM-Signature: b=")
        names = [b"to", b"to", b"to"]
        relaxed = b"to:lower\r\nto:upper\r\ndkim-signature:b="
        self.assertEqual(header.hashed(names, own), relaxed)
        self.assertEqual(header.hashed(names, own), relaxed)  # nothing is used up
        simple = b"To:  lower\r\nTo: upper\r\nDKIM-Signature: b="
        self.assertEqual(header.hashed(names, own, relaxed=False), simple)
