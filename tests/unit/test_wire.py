"""`mailnode.wire`: the cuts at chunk edges, held against an oracle that reads line by line."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.wire import DotReader, DotWriter, head_of, header_fields, header_of, stuff

# What clever cuts go wrong at, a good deal more often than chance would bring it.
pieces = st.one_of(
    st.sampled_from(
        [b"\r\n", b".", b"\r", b"\n", b"a", b"\r\n.", b"\r\n..", b"\n.\n", b"\r.\r", b"\r\n.\n"]
    ),
    st.binary(max_size=4),
)
octets = st.lists(pieces, max_size=30).map(b"".join)
cuts = st.lists(st.integers(min_value=1, max_value=7), max_size=60)


def cut(data: bytes, lengths: list[int]) -> list[bytes]:
    """`data` in chunks of these lengths; what is over is the last chunk."""
    chunks = []
    for length in lengths:
        chunks.append(data[:length])
        data = data[length:]
    return [*chunks, data]


class Oracle:
    """Reads a body as RFC 5321 section 4.5.2 words it: one CRLF line after the other."""

    def __init__(self, stream: bytes, mend_bare_lf: bool) -> None:
        self.body, self.ended, self.rest = b"", False, b""
        self.bare_cr = self.bare_lf = False
        while not self.ended and b"\r\n" in stream:
            line, stream = stream.split(b"\r\n", 1)
            if line == b".":
                self.ended, self.rest = True, stream
                break
            if line.startswith(b"."):
                line = line[1:]
            self.bare_cr = self.bare_cr or b"\r" in line
            self.bare_lf = self.bare_lf or b"\n" in line
            if mend_bare_lf:
                line = line.replace(b"\n", b"\r\n")
            self.body += line + b"\r\n"
        self.dot_lines = sum(line.startswith(b".") for line in self.body.split(b"\r\n"))


class DotReaderTests(SynchronousTestCase):
    def read(self, *chunks: bytes, mend_bare_lf: bool = False) -> tuple[bytes, bool, DotReader]:
        reader, body = DotReader(mend_bare_lf=mend_bare_lf), b""
        for at, chunk in enumerate(chunks):
            piece, ended = reader.feed(chunk)
            body += piece
            if ended:
                reader.rest += b"".join(chunks[at + 1 :])
                return body, True, reader
        return body, False, reader

    @settings(max_examples=600, deadline=None)
    @given(octets, cuts, st.booleans())
    @example(b"\n.\r\n.\r\n", [1, 1, 1], True)
    @example(b".\n.\r\n\r\n.\r\n", [1, 1, 1, 1], True)
    @example(b"..\r\n.\r\n", [1, 2, 1, 1], False)
    def test_it_agrees_with_reading_line_by_line_however_the_body_is_cut(
        self, before: bytes, lengths: list[int], mend: bool
    ) -> None:
        stream = before + b"\r\n.\r\nQUIT\r\n"
        oracle = Oracle(stream, mend)
        body, ended, reader = self.read(*cut(stream, lengths), mend_bare_lf=mend)
        self.assertEqual(
            (body, ended, reader.rest, reader.size_octets, reader.dot_lines),
            (oracle.body, True, oracle.rest, len(oracle.body), oracle.dot_lines),
        )
        self.assertEqual((reader.bare_cr, reader.bare_lf), (oracle.bare_cr, oracle.bare_lf))

    @settings(max_examples=200, deadline=None)
    @given(octets, cuts)
    def test_no_crlf_is_cut_in_two_and_no_more_than_five_octets_are_held_back(
        self, stream: bytes, lengths: list[int]
    ) -> None:
        reader, taken, given_out, before = DotReader(), 0, 0, b""
        for chunk in cut(stream, lengths):
            piece, ended = reader.feed(chunk)
            taken, given_out = taken + len(chunk), given_out + len(piece)
            self.assertFalse(before.endswith(b"\r") and piece.startswith(b"\n"))
            before = piece or before
            if ended:
                return
        unstuffed = stream.count(b"\r\n.") + stream.startswith(b".")
        self.assertLessEqual(taken - given_out, unstuffed + 5)

    @settings(max_examples=200, deadline=None)
    @given(octets, cuts)
    def test_what_was_stuffed_comes_back_the_same(self, body: bytes, lengths: list[int]) -> None:
        ends_itself = not body or body.endswith(b"\r\n")
        read, ended, reader = self.read(*cut(stuff(body), lengths))
        self.assertTrue(ended)
        self.assertEqual(read, body if ends_itself else body + b"\r\n")
        self.assertEqual(reader.rest, b"")

    def test_only_crlf_dot_crlf_ends_a_body(self) -> None:
        for false_end in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r"):
            stream = b"a" + false_end + b"MAIL FROM:<evil@example.com>\r\n"
            for mend in (False, True):
                _, ended, _ = self.read(stream, mend_bare_lf=mend)
                self.assertFalse(ended, f"{false_end!r} mended: {mend}")

    def test_lines_with_a_dot_are_found_behind_any_number_of_other_dots(self) -> None:
        for dots in range(70):
            line = b"a.b" * dots
            body, ended, reader = self.read(line + b"\r\n..c\r\n.\r\nNOOP\r\n")
            self.assertEqual((body, ended), (line + b"\r\n.c\r\n", True))
            self.assertEqual((reader.dot_lines, reader.rest), (1, b"NOOP\r\n"))

    def test_an_empty_body_is_empty(self) -> None:
        body, ended, reader = self.read(b".", b"\r", b"\nNOOP\r\n")
        self.assertEqual((body, ended, reader.rest), (b"", True, b"NOOP\r\n"))

    def test_a_very_long_line_passes_through_in_pieces(self) -> None:
        reader, longest = DotReader(), b"x" * 65536
        out = b"".join(reader.feed(longest)[0] for _ in range(16))
        self.assertEqual(len(out), 16 * 65536)
        self.assertEqual(reader.feed(b"\r\n.\r\n"), (b"\r\n", True))

    def test_a_mended_line_feed_before_a_dot_counts_as_a_dot_line(self) -> None:
        body, _, reader = self.read(b"a\n", b".b\r\n.\r\n", mend_bare_lf=True)
        self.assertEqual((body, reader.dot_lines), (b"a\r\n.b\r\n", 1))


class DotWriterTests(SynchronousTestCase):
    @settings(max_examples=600, deadline=None)
    @given(octets, cuts)
    @example(b"\r\n.", [1, 1, 1])
    @example(b"\r\n.", [1, 2])
    @example(b".", [1])
    def test_chunks_come_out_as_the_whole_does(self, body: bytes, lengths: list[int]) -> None:
        writer = DotWriter()
        out = b"".join(writer.feed(chunk) for chunk in cut(body, lengths)) + writer.end()
        self.assertEqual(out, stuff(body))

    @settings(max_examples=200, deadline=None)
    @given(octets)
    def test_every_line_that_begins_with_a_dot_gets_one_and_no_other(self, body: bytes) -> None:
        lines = body.split(b"\r\n")
        if lines[-1] == b"":
            lines.pop()
        wanted = [b"." + line if line.startswith(b".") else line for line in lines]
        self.assertEqual(stuff(body), b"".join(line + b"\r\n" for line in [*wanted, b"."]))


class HeadTests(SynchronousTestCase):
    MAIL = b"Subject: a\r\nTo: b\r\n\r\none\r\n\r\nthree\r\n"

    def test_top_0_is_the_header_and_the_blank_line(self) -> None:
        self.assertEqual(head_of(self.MAIL, 0), b"Subject: a\r\nTo: b\r\n\r\n")

    def test_top_counts_empty_lines_of_the_body(self) -> None:
        self.assertEqual(head_of(self.MAIL, 2), b"Subject: a\r\nTo: b\r\n\r\none\r\n\r\n")

    def test_top_past_the_end_is_the_whole_mail(self) -> None:
        self.assertEqual(head_of(self.MAIL, 99), self.MAIL)

    def test_top_of_a_mail_without_a_blank_line_is_the_whole_mail(self) -> None:
        self.assertEqual(head_of(b"Subject: a\r\n", 0), b"Subject: a\r\n")

    def test_a_body_whose_first_line_is_empty_has_no_header(self) -> None:
        self.assertEqual(head_of(b"\r\nbody\r\n\r\nmore\r\n", 1), b"\r\nbody\r\n")
        self.assertEqual(header_of(b"\r\nSubject: body\r\n\r\n"), b"")

    def test_top_of_a_last_line_without_crlf_ends_where_the_mail_does(self) -> None:
        self.assertEqual(head_of(b"A: b\r\n\r\nhalf", 3), b"A: b\r\n\r\nhalf")

    def test_header_fields_are_unfolded_lower_cased_and_stripped(self) -> None:
        header = b"Subject: a\r\n  b\r\nno field\r\nX-Y : z\r\nFrom nobody\r\n"
        self.assertEqual(list(header_fields(header)), [(b"subject", b"a  b"), (b"x-y", b"z")])
