"""`mailnode.reading.decoding`, `octets`: contents piece by piece are what they are at once."""

from __future__ import annotations

import base64
import binascii
import quopri
from collections.abc import Iterator
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailnode.reading import decoding
from mailnode.reading.decoding import decode_octets, decode_pieces, decoded_size
from mailnode.reading.octets import Span
from mailnode.reading.parts import parts_of

TEXT = bytes(range(256)) * 40


def by_sizes(octets: bytes, encoding: str) -> Iterator[tuple[int, bytes]]:
    for size in (*range(3, 40), 1000, 1 << 16):
        with mock.patch.object(decoding, "PIECE_OCTETS", size):
            yield size, b"".join(decode_pieces(octets, encoding))


class PiecesTests(SynchronousTestCase):
    def assert_same(self, octets: bytes, encoding: str, wanted: bytes | None = None) -> None:
        whole = decode_octets(octets, encoding)
        if wanted is not None:
            self.assertEqual(wanted, whole)
        for size, pieces in by_sizes(octets, encoding):
            self.assertEqual(whole, pieces, f"{encoding} by {size}")

    def test_base64_is_the_same_wherever_it_is_cut(self) -> None:
        for length in (0, 1, 2, 3, 57, 1000):
            written = base64.encodebytes(TEXT[:length]).replace(b"\n", b"\r\n")
            self.assert_same(written, "base64", TEXT[:length])

    def test_base64_that_is_broken_gives_as_much_as_there_is(self) -> None:
        for written in (
            b"aGVsbG8",
            b"aGVsbG8gd29ybGQ",
            b"!!aGVs\x00bG8=\r\nmore",
            b"=aGVs",
            b"====",
        ):
            self.assert_same(written, "base64")

    def test_quoted_printable_is_the_same_wherever_it_is_cut(self) -> None:
        written = quopri.encodestring(TEXT).replace(b"\n", b"\r\n")
        self.assert_same(written, "quoted-printable")
        self.assert_same(b"=C3=A4" * 300, "quoted-printable", "ä".encode() * 300)
        self.assert_same(b"=C=ZZ=\r\n=4", "quoted-printable")

    def test_uuencoded_is_the_same_wherever_it_is_cut(self) -> None:
        lines = [binascii.b2a_uu(TEXT[at : at + 45]) for at in range(0, len(TEXT), 45)]
        written = b"words\r\nbegin 644 a.bin\r\n" + b"".join(lines).replace(b"\n", b"\r\n")
        for end in (b"`\r\nend\r\nbehind\r\n", b" \r\nend", b""):
            for encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
                self.assert_same(written + end, encoding, TEXT)

    def test_uuencoded_that_is_broken_gives_as_much_as_there_is(self) -> None:
        for line, wanted in ((b"#86)Cx", b"abc"), (b"#86)C", b"abc"), (b"#86)", b"ab@"),
                             (b"#\xff\xff", b""), (b"#86)C" + b"x" * 9000, b"abc"),
                             (b"", b""), (b" ", b"")):  # fmt: skip
            self.assert_same(b"begin 644 a\n" + line + b"\n#86)C\nend\n", "uue", wanted + b"abc")

    def test_how_many_octets_come_out_is_known_before(self) -> None:
        with mock.patch.object(
            decoding, "COUNTED_OCTETS", 500
        ):  # a larger one isn't decoded for it
            for length in (0, 1, 2, 3, 56, 57, 58, 114, 999, 1000, 1001, len(TEXT)):
                for width in (57, 45, 3):
                    lines = [TEXT[:length][at : at + width] for at in range(0, length, width)]
                    letters = [base64.b64encode(line) for line in lines]
                    for ends in (b"\r\n", b"\n"):
                        written = ends.join(letters)
                        for around in (b"%b", b"%b" + ends, ends + b"%b" + ends * 3):
                            said = decoded_size(around % written, "base64")
                            self.assertEqual(length, said, (width, around))
                self.assertEqual(length, decoded_size(base64.b64encode(TEXT[:length]), "base64"))
                self.assertEqual(length, decoded_size(TEXT[:length], "8bit"))

    def test_of_what_is_small_it_is_counted_however_it_is_written(self) -> None:
        for written in (b"aGVs\r\nbG8gd29\r\nybGQ", b"!!aGVs\x00bG8=\r\nmore", b"=", b"   \r\n"):
            self.assertEqual(len(decode_octets(written, "base64")), decoded_size(written, "base64"))
        quoted = quopri.encodestring(TEXT)
        size = decoded_size(quoted, "quoted-printable")
        self.assertEqual(len(decode_octets(quoted, "quoted-printable")), size)

    def test_no_octets_are_too_odd_to_be_measured(self) -> None:
        for piece in (b"\n", b" ", b"=", b"\r\n=", b"A", b"\xff", b"A\n"):
            written = piece * decoding.COUNTED_OCTETS * 2
            self.assertGreaterEqual(decoded_size(written, "base64"), 0)
            self.assertLessEqual(decoded_size(written, "base64"), len(written))

    def test_other_encodings_leave_the_octets_as_they_are(self) -> None:
        for encoding in ("", "8bit", "x-uuencode"):
            self.assert_same(TEXT, encoding, TEXT)

    def test_a_part_in_pieces_is_its_content(self) -> None:
        mail = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
        )
        part = parts_of(mail).at("1")
        assert part is not None
        self.assertEqual([b"hello"], list(part.pieces()))

    def test_a_mail_in_a_mail_is_read_where_it_lies(self) -> None:
        inner = b"Subject: inner\r\n\r\nWords"
        outer = b"Content-Type: message/rfc822\r\n\r\n" + inner
        part = parts_of(outer).at("1")
        assert part is not None
        span = part.span
        self.assertEqual((len(inner), inner), (len(span), span[:]))
        self.assertEqual(["inner"], parts_of(span).fields["subject"])
        self.assertEqual("Words", next(iter(parts_of(span))).text())

    def test_a_span_finds_nothing_outside_of_itself(self) -> None:
        span = Span(b"abcabc", 1, 4)
        self.assertEqual(2, span.find(b"a"))
        self.assertEqual(-1, span.find(b"a", 3))
        self.assertEqual(-1, span.find(b"abc"))
        self.assertTrue(span.startswith((b"x", b"bc")))
        self.assertFalse(span.startswith(b"bcab"))
