"""A mail as a person reads it, whatever a stranger has written."""

from __future__ import annotations

import time
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.client import reading
from mailnode.client.reading import REST, field_of, files_of, head_of, open_mail, said_in
from mailnode.mime import read_header


class ReadingTests(SynchronousTestCase):
    def test_fields_are_decoded_into_one_line(self) -> None:
        head = head_of(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n from far\r\nFrom: A <a@x>\r\n")
        self.assertEqual(("Grüße from far", "A <a@x>", None), (head.subject, head.sender, head.at))
        self.assertEqual(0.0, head_of(b"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n").at)

    def test_text_is_preferred_and_html_gives_its_words(self) -> None:
        both = (
            b"Content-Type: multipart/alternative; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/html\r\n\r\n<p>html\r\n"
            b"--b\r\n\r\nplain\r\n--b--\r\n"
        )
        self.assertEqual("plain", said_in(open_mail(both)).strip())
        html = b"Content-Type: text/html; charset=latin1\r\n\r\n<h1>Gr\xfc\xdfe</h1><p>a<br>b"
        self.assertEqual(["Grüße", "", "a", "b"], said_in(open_mail(html)).splitlines())

    def test_links_are_named_and_what_is_not_to_be_seen_is_not(self) -> None:
        html = (
            b"Content-Type: text/html\r\n\r\n<style>x{}</style><script>bad()</script>"
            b"<a href='https://a.test/'>here</a>&amp;<a href='javascript:x'>y</a>"
        )
        self.assertEqual("here <https://a.test/>&y", said_in(open_mail(html)))

    def test_who_has_sent_and_when_is_told_by_the_trace_where_the_writer_has_not(self) -> None:
        path = b"Return-Path: <r@x.test>\r\n"
        trace = (
            b"Received: from a by b; id 7;\r\n Mon, 1 Jan 2024 01:00:00 +0100 (CET)\r\n"
            b"Received: from c by a; Sun, 31 Dec 2023 00:00:00 +0000\r\n"
        )
        for raw, sender, at in (
            (path + trace, "r@x.test", 1704067200.0),
            (path + trace + b"Sender: s@x.test\r\nDate: yesterday\r\n", "s@x.test", 1704067200.0),
            (path + trace + b"From:\r\nDate: Mon, 1 Jan 2024 00:00:01 -0000\r\n", "r@x.test",
             1704067201.0),
            (path + trace + b"From: f@x.test\r\n", "f@x.test", 1704067200.0),
            (b"Return-Path: <>\r\nReceived: by b\r\n" + trace, "", None),
            (b"Received: " + b"x" * 9000 + b"; Mon, 1 Jan 2024 01:00:00 +0100\r\n", "",
             1704067200.0),
            (b"Received: by b; Mon, 99 Foo 2024 00:00:00 +9999\r\n", "", None),
            (b"", "", None),
        ):  # fmt: skip
            head = head_of(raw + b"Subject: s\r\n\r\nReturn-Path: <no@x.test>\r\n")
            self.assertEqual((sender, at), (head.sender, head.at), raw)

    def test_a_text_is_shown_whole_and_of_a_page_without_an_end_the_beginning(self) -> None:
        page = b"Content-Type: text/html\r\n\r\n<p>begin</p>" + b"<br>x" * 3_000
        whole = said_in(open_mail(page))
        self.assertEqual(["begin", *["x"] * 3_000], whole.split())
        for bound in ("PAGE_CHARACTERS", "PAGE_PIECES"):
            with patch.object(reading, bound, 2_000):
                shown = said_in(open_mail(page))
            self.assertTrue(shown.endswith(f"x\n\n{REST}"), bound)
            self.assertTrue(whole.startswith(shown.removesuffix(f"\n\n{REST}")), bound)
        text = b"Content-Type: text/plain\r\n\r\n" + b"x\r\n" * 1_000_000
        self.assertEqual("x\n" * 1_000_000, said_in(open_mail(text)))

    def test_what_stands_behind_a_picture_of_megabytes_is_shown(self) -> None:
        picture = b"<img src='data:image/png;base64," + b"A" * (3 << 20) + b"'>"
        raw = b"Content-Type: text/html\r\n\r\n<p>a" + picture + b"<p>b" * 500 + b"<p>end"
        self.assertEqual(["a", *["b"] * 500, "end"], said_in(open_mail(raw)).split())

    def test_a_page_is_shown_where_the_text_beside_it_is_empty(self) -> None:
        raw = (
            b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n \r\n"
            b"--b\r\nContent-Type: text/html\r\n\r\n<p>page" + b"<br>x" * 600 + b"\r\n--b--\r\n"
        )
        self.assertEqual(["page", *["x"] * 600], said_in(open_mail(raw)).split())
        with patch.object(reading, "PAGE_PIECES", 100):
            self.assertTrue(said_in(open_mail(raw)).endswith(REST))

    def test_no_mail_takes_long(self) -> None:
        around = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        page = b"Content-Type: text/html\r\n\r\n"
        deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
                        for n in range(100))  # fmt: skip
        names = b" ".join(b"%x" % number for number in range(80_000))
        mails = [page + b"<a " + names + b">x"]
        for head, pieces in (
            (page, (b"<a ", b"<b id=1><p>", b"</a ", b"<!--", b"<![", b"<script>", b"&#", b'<a "',
                    b"<a '>", b"<", b"</", b"</script", b"<title></title", b"<a href=", b"<div>",
                    b"<a href='http:x'>", b"<!", b"\n\n<p>", b"<textarea><", b"<xmp>&")),
            (around, (b"--b\r\n", b"--b\r\n\r\nx\r\n", b"--bx\r\n", b"--b\r\na:\r\nx\r\n")),
            (deep, (b"--b\n", b"--b99\n", b"--b0x\n", b"--b99\n\nx\n")),
            (b"", (b"Content-Type: message/rfc822\r\n\r\n", b"a:\r\n", b"x\r\n", b"\r\n")),
        ):  # fmt: skip
            mails += [head + piece * 30_000 + b">" for piece in pieces]
        for raw in mails:
            began = time.process_time()
            parts = open_mail(raw)
            said_in(parts)
            for each in files_of(parts):
                each.content()
            self.assertLess(time.process_time() - began, 5, raw[:200])

    def test_nothing_of_a_mail_raises(self) -> None:
        for raw in (b"", b"Content-Type: multipart/mixed\r\n\r\nx", b"Content-Type: x/\r\n\r\n\xff",
                    b"Content-Type: text/plain; charset=nope\r\n\r\n\xff",
                    b"Content-Type: message/rfc822\r\n\r\n",
                    b"Date: x\r\nFrom: <((\r\n\r\n",
                    b"Date: Fri, 31 Dec 9999 23:59:59 -1200\r\n\r\n",
                    b"Date: Mon, 01 Jan 0001 00:00:00 +1400\r\n\r\n",
                    b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a-9" * 99_999,
                    b"Content-Type: text/html\r\n\r\n<![<![\r\n",
                    b"Content-Type: text/html\r\n\r\n&#" + b"9" * 5000,
                    b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
                    b"begin 1\r\n\xff\r\n"):  # fmt: skip
            parts = open_mail(raw)
            said_in(parts)
            [each.content() for each in files_of(parts)]
            head_of(raw)

    def test_a_long_field_is_shown_by_its_beginning(self) -> None:
        raw = (
            b"From: "
            + b"a@x, " * 500_000
            + b"\r\nSubject: "
            + b"=?utf-8?q?a?= " * 99_999
            + b"\r\n\r\n"
        )
        head = head_of(raw)
        self.assertTrue(head.sender.startswith("a@x, a@x,") and head.sender.endswith(" ..."))
        self.assertTrue(head.subject.startswith("aaaaa") and head.subject.endswith(" ..."))
        self.assertLess(len(head.sender) + len(head.subject), 2100)
        self.assertLess(len(field_of(read_header(raw), "FROM")), 8200)

    def test_of_a_mail_that_is_too_much_it_is_said_that_there_is_more(self) -> None:
        nested = b"Content-Type: message/rfc822\r\n\r\n"
        raw = b"Subject: s\r\n" + nested * 300 + b"x\x1b[2J\r\n"
        self.assertEqual(REST, said_in(open_mail(raw)))
        (file,) = files_of(open_mail(raw))
        self.assertEqual(nested * 299 + b"x\x1b[2J\r\n", file.content())

    def test_each_of_thousands_of_files_is_one_and_a_text_is_found_90_deep(self) -> None:
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        file = b"--b\r\nContent-Type: application/x\r\n\r\nx\r\n"
        self.assertEqual(9_000, len(list(files_of(open_mail(head + file * 9_000)))))
        deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
                        for n in range(90))  # fmt: skip
        self.assertEqual("words", said_in(open_mail(deep + b"\r\nwords")))

    def test_a_text_with_a_file_s_name_is_read_and_a_file(self) -> None:
        parts = open_mail(b"Content-Type: text/plain; name=a.txt\r\n\r\nwords")
        self.assertEqual("words", said_in(parts))
        self.assertEqual(["a.txt"], [each.name for each in files_of(parts)])

    def test_mails_within_an_attached_mail_are_not_taken_out_of_it_again(self) -> None:
        nested = b"Content-Type: message/rfc822\r\n\r\n" * 90
        file = b'Content-Disposition: attachment; filename="a.bin"\r\n\r\n' + b"x" * 9000
        found = list(files_of(open_mail(nested + file)))
        self.assertEqual(["message/rfc822", "text/plain"], [each.kind for each in found])
        self.assertEqual(nested[32:] + file, found[0].content())

    def test_pictures_of_a_page_are_files_and_its_text_is_none(self) -> None:
        raw = (
            b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html"
            b"\r\n\r\n<img src='cid:c'>\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <c>"
            b"\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--b--\r\n"
        )
        (picture,) = files_of(open_mail(raw))
        self.assertEqual(("image/png", b"\x89PNG"), (picture.kind, picture.content()))
