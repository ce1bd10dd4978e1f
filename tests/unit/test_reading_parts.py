"""The parts of a mail are told whatever the mail is, in bounded time."""

from __future__ import annotations

import time
from pathlib import Path

import test
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mime import read_mail
from mailnode.reading.fields import FIELD_OCTETS, decode, read_content, read_fields
from mailnode.reading.parts import MOST_DEPTH, MOST_PARTS, Parts, parts_of
from mailnode.reading.summary import summary_of
from mailnode.reading.text import text_of

LONGEST_S = 5.0  # for what takes a tenth of that

MIXED = b"""From: a@example.org\r
Content-Type: multipart/mixed; boundary="out"\r
\r
preamble\r
--out\r
Content-Type: multipart/alternative; boundary=in\r
\r
--in\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
caf=E9\r
--in\r
Content-Type: text/html\r
\r
<p>caf&eacute;\r
--in--\r
--out\r
Content-Type: application/pdf; name*0*=utf-8''%e2%82%ac; name*1=".pdf"\r
Content-Disposition: attachment\r
Content-Transfer-Encoding: base64\r
\r
aGVs\r
bG8=\r
--out\r
Content-Type: message/rfc822\r
\r
Subject: inner\r
Content-Type: multipart/mixed; boundary=deep\r
\r
--deep\r
\r
one\r
--deep\r
Content-Disposition: attachment; filename=x.bin\r
\r
two\r
--deep--\r
--out--\r
epilogue\r
"""

LINES = st.sampled_from(
    [b"", b"--b", b"--b--", b"--c", b"--c--", b"x", b"Content-Type: multipart/mixed; boundary=b",
     b"Content-Type: multipart/digest; boundary=\"c\"", b"Content-Type: message/rfc822",
     b"Content-Transfer-Encoding: base64", b"Content-Disposition: attachment; filename*=x'y'%zz",
     b" folded", b"\xff\x00", b"Content-Type: text/html; charset=punycode", b"=?utf-8?q?=zz?=",
     b"From: ((((", b"Date: x", b"References: <a> <", b"Content-Type: ;;;=\"", b"A" * 90]
)  # fmt: skip


class PartsTests(SynchronousTestCase):
    def in_time(self, raw: bytes) -> Parts:
        began = time.monotonic()
        parts = parts_of(raw)
        summary_of(parts)
        self.assertLess(time.monotonic() - began, LONGEST_S)
        self.assertLessEqual(len(parts), MOST_PARTS)
        self.assertLessEqual(max(part.depth for part in parts), MOST_DEPTH)
        return parts

    def test_each_is_told_with_its_path_kind_and_content(self):
        told = [(part.path, part.kind, part.content()) for part in parts_of(MIXED)]
        told = [each for each in told if not each[1].startswith("multipart/")]
        self.assertEqual(told[0], ("1.1", "text/plain", b"caf\xe9"))
        self.assertEqual(told[1], ("1.2", "text/html", b"<p>caf&eacute;"))
        self.assertEqual(told[2], ("2", "application/pdf", b"hello"))
        self.assertEqual(told[3][:2], ("3", "message/rfc822"))
        self.assertTrue(told[3][2].startswith(b"Subject: inner\r\n"))
        self.assertTrue(told[3][2].endswith(b"--deep--"))
        self.assertEqual(told[4:], [("3.1", "text/plain", b"one"), ("3.2", "text/plain", b"two")])

    def test_what_is_read_and_what_is_a_file_are_told_apart(self):
        parts = parts_of(MIXED)
        self.assertEqual(parts.body("text/plain").text(), "café")
        self.assertEqual(
            [(p.path, p.name) for p in parts.attachments()], [("2", "€.pdf"), ("3", "")]
        )
        self.assertIs(parts.at("1.2"), parts.body("text/html"))
        self.assertIsNone(parts.at("9"))

    def test_a_text_with_a_file_s_name_is_read_where_there_is_no_other(self):
        named = b'Content-Type: text/plain; name="a.txt"\r\n\r\nwords\r\n'
        page = b"Content-Type: text/html\r\n\r\n<p>page\r\n"
        told = b"Content-Disposition: attachment\r\n" + named
        self.assertEqual("words\n", text_of(named))
        self.assertEqual(["a.txt"], [part.name for part in parts_of(named).attachments()])
        self.assertEqual("", text_of(told))
        mixed = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n%b--b\r\n%b--b--\r\n"
        self.assertEqual("page", text_of(mixed % (named, page)))
        self.assertEqual("page", text_of(mixed % (told, page.replace(b"html", b"html; name=a"))))

    def test_lines_behind_the_last_field_that_are_none_are_read(self):
        field, more = b"Subject: s\r\n folded\r\n", b"Hello,\r\n: you\r\n"
        for head in (b"", field, b"garbage\r\n" + field):
            for rest in (b"", b"\r\nbehind\r\n"):
                raw = head + more + rest
                self.assertEqual(more + rest, parts_of(raw).all[0].content(), raw)
                self.assertEqual(["s folded"] if head else [], summary_of(raw).subject.splitlines())
        for raw in (field, b"X: y\r\ngarbage\r\n" + field + b"\r\n", b"\r\n", b"a:"):
            self.assertEqual(b"", parts_of(raw).all[0].content(), raw)
        (part,) = parts_of(b"From a Mon Jan 1\r\nSubject: s\r\n\r\nx: y\r\n")
        self.assertEqual(b"x: y\r\n", part.content())

    def test_a_header_of_whatever_lines_takes_no_time(self):
        for line in (b"a:\n", b" x\n", b"x\n", b"x" * 70 + b"\n", b"x: y\n \n"):
            parts = self.in_time(b"--b\n".join([line * 25_000] * 20))
            self.assertFalse(parts.cut)
            around = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"
            self.in_time(around + b"\n--b\n".join([line * 25_000] * 20))

    def test_a_long_name_keeps_what_says_its_kind(self):
        for name, wanted in (
            ("n" * 300 + ".pdf", "n" * 196 + ".pdf"),
            ("n" * 300, "n" * 200),
            ("n" * 200, "n" * 200),
            ("n." + "m" * 300, "n." + "m" * 198),
        ):
            (part,) = parts_of(f"Content-Type: x/y; name={name}\r\n\r\n".encode())
            self.assertEqual(wanted, part.name)

    def test_how_much_is_looked_at_can_be_chosen(self):
        many = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * (2 * MOST_PARTS)
        self.assertEqual((MOST_PARTS, True), (len(parts_of(many)), parts_of(many).cut))
        parts = parts_of(many, most_parts=3 * MOST_PARTS)
        self.assertEqual((2 * MOST_PARTS + 1, False), (len(parts), parts.cut))
        deep = b"Content-Type: message/rfc822\n\n" * (2 * MOST_DEPTH) + b"\nx"
        self.assertTrue(parts_of(deep).cut)
        self.assertFalse(parts_of(deep, most_depth=2 * MOST_DEPTH).cut)

    def test_parts_whose_delimiter_nobody_writes_are_missing(self):
        for length, cut in ((200, False), (201, True)):
            head = b"Content-Type: multipart/mixed; boundary=" + b"b" * length
            self.assertEqual(cut, parts_of(head + b"\r\n\r\nx").cut)

    def test_a_mail_that_email_has_read_has_the_same_parts(self):
        self.assertEqual(
            [(p.path, p.kind, p.name) for p in parts_of(read_mail(MIXED))],
            [(p.path, p.kind, p.name) for p in parts_of(MIXED)],
        )

    def test_a_mail_of_one_part_is_part_1(self):
        (part,) = parts_of(b"Subject: x\r\n\r\nbody\r\n")
        self.assertEqual((part.path, part.kind, part.content()), ("1", "text/plain", b"body\r\n"))

    def test_a_picture_of_a_page_is_no_attachment(self):
        parts = parts_of(
            b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html"
            b"\r\n\r\n<img src=cid:a>\r\n--b\r\nContent-Type: image/png; name=a.png\r\n"
            b"Content-ID: <a>\r\n\r\nx\r\n--b--\r\n"
        )
        self.assertEqual(list(parts.attachments()), [])
        self.assertEqual([part.cid for part in parts], ["", "", "a"])

    def test_a_boundary_within_a_longer_line_parts_nothing(self):
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        raw = head + b"--b\r\n\r\n--bc\r\nx --b\r\n--b--\r\n"
        self.assertEqual([part.content() for part in parts_of(raw)][1:], [b"--bc\r\nx --b"])

    def test_base64_that_is_cut_or_mixed_with_other_signs_is_read_as_far_as_it_goes(self):
        for body, wanted in {
            b"aGVsbG8": b"hello",
            b"aGVsbG8gd": b"hello ",
            b"aGV!s bG8=\r\n": b"hello",
            b"": b"",
            b"====": b"",
        }.items():
            (part,) = parts_of(b"Content-Transfer-Encoding: base64\r\n\r\n" + body)
            self.assertEqual(part.content(), wanted)

    def test_multiparts_nested_without_end(self):
        parts = self.in_time(
            b"".join(
                b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
                for n in range(50_000)
            )
        )
        self.assertTrue(parts.cut)

    def test_mails_nested_without_end(self):
        self.assertTrue(self.in_time(b"Content-Type: message/rfc822\r\n\r\n" * 200_000).cut)

    def test_millions_of_parts(self):
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        self.assertTrue(self.in_time(head + b"--b\r\n\r\n\r\n" * 2_000_000).cut)

    def test_millions_of_lines_that_look_like_a_boundary(self):
        self.in_time(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bx\r\n" * 3_000_000)

    def test_millions_of_fields_and_fields_of_megabytes(self):
        self.in_time(b"a:b\r\n" * 3_000_000)
        for name in (b"From", b"To", b"Content-Type", b"References", b"Subject", b"Message-ID"):
            for text in (b"(" * 100_000, b"<a@b> " * 20_000, b"=?utf-8?q?a?= " * 8_000,
                         b"a;b=\"" * 20_000, b"," * 100_000, b";a*0*=" * 20_000):  # fmt: skip
                self.in_time(name + b": " + text + b"\r\n\r\nx\r\n")

    def test_the_mails_that_python_is_tested_with(self):
        for path in (Path(test.__file__).parent / "test_email" / "data").glob("*.txt"):
            parts = parts_of(path.read_bytes())
            self.assertTrue(len(parts), path.name)
            summary_of(parts)

    @given(st.one_of(st.lists(LINES, max_size=40).map(b"\r\n".join), st.binary(max_size=300)))
    def test_whatever_the_mail_is_nothing_is_raised(self, raw):
        parts = parts_of(raw)
        self.assertTrue(len(parts))
        for part in parts:
            self.assertGreaterEqual(part.size_octets, 0)
            part.text()
            self.assertNotIn("\n", part.name)
        text_of(parts)
        summary = summary_of(parts)
        for shown in (summary.subject, summary.sender_name, summary.to, summary.snippet):
            self.assertTrue(shown.isprintable(), shown)


class FieldTests(SynchronousTestCase):
    def test_a_field_is_cut_between_two_characters(self):
        (value,) = read_fields(b"Subject: " + "é".encode() * FIELD_OCTETS)["subject"]
        self.assertEqual(set(value), set())
        (value,) = read_fields(b"Subject: a " + "é".encode() * 100)["subject"]
        self.assertEqual(value, "a " + "é" * 100)

    def test_a_wrong_charset_is_guessed(self):
        for charset in ("utf-8", "no-such", "", "base64", "punycode", "zlib", "us-ascii", "\0"):
            self.assertEqual(decode("é".encode(), charset), "é", charset)
        self.assertEqual(decode(b"\xe9", "ascii"), "é")
        self.assertEqual(decode(b"\xe9", "utf-8"), "\N{REPLACEMENT CHARACTER}")

    def test_parameters_as_they_are_found_in_mails(self):
        for value, wanted in {
            'x/y; name="a b.txt"': "a b.txt",
            "x/y; name=a b.txt": "a b.txt",
            "x/y;NAME=a.txt;": "a.txt",
            r'x/y; name="a\"b"': 'a"b',
            "x/y; name*=utf-8'de'%C3%A4.txt": "ä.txt",
            "x/y; name==?utf-8?q?=C3=A4?=": "ä",
            'x/y; name="unfinished': "unfinished",
            "x/y; name*9999999999=a": "a",
        }.items():
            found = read_content(value).parameters
            self.assertEqual(found.get("name") or next(iter(found.values()), ""), wanted, value)
