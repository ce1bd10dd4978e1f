"""A mail as a person reads it, whatever a stranger has written."""

from __future__ import annotations

import time
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.client import markup
from mailnode.client.markup import REST, text_of_html
from mailnode.client.reading import attachments_of, field_of, head_of, text_of
from mailnode.mime import read_mail


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
        self.assertEqual("plain", text_of(read_mail(both)).strip())
        html = b"Content-Type: text/html; charset=latin1\r\n\r\n<h1>Gr\xfc\xdfe</h1><p>a<br>b"
        self.assertEqual(["Grüße", "", "a", "b"], text_of(read_mail(html)).splitlines())

    def test_what_is_not_to_be_seen_is_not_and_links_are_named(self) -> None:
        html = "<style>x{}</style><script>bad()</script><a href='https://a.test/'>here</a>&amp;"
        self.assertEqual("here <https://a.test/>&\n", text_of_html(html))
        self.assertNotIn("javascript", text_of_html("<a href='javascript:x'>y</a>"))

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
            mail = read_mail(raw)
            text_of(mail)
            list(attachments_of(mail))
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
        self.assertLess(len(field_of(read_mail(raw), "FROM")), 8200)

    def test_a_mail_that_is_too_much_is_shown_as_it_came(self) -> None:
        raw = b"Subject: s\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 300 + b"x\x1b[2J\r\n"
        mail = read_mail(raw)
        self.assertRegex(
            text_of(mail), r"(?s)^\[this mail can't be shown .*Content-Type: mess.*x\x1b"
        )
        self.assertEqual([], list(attachments_of(mail)))

    def test_mails_within_an_attached_mail_are_not_taken_out_of_it_again(self) -> None:
        nested = b"Content-Type: message/rfc822\r\n\r\n" * 90
        file = b'Content-Disposition: attachment; filename="a.bin"\r\n\r\n' + b"x" * 9000
        found = list(attachments_of(read_mail(nested + file)))
        self.assertEqual(["message/rfc822", "text/plain"], [each.kind for each in found])
        self.assertEqual(nested[32:] + file, found[0].content)


class MarkupTests(SynchronousTestCase):
    def test_what_has_no_end_is_text(self) -> None:
        for html, words in (
            ("a <b", "a <b"),
            ("a <!-- b", "a <!-- b"),
            ("a <b c='d>e", "a <b c='d>e"),
            ("<![x", "<![x"),
            ("<![<![ y", "<![<![ y"),
            ("a <script>b", "a"),
            ("1 < 2 <3", "1 < 2 <3"),
            ("a</b", "a</b"),
            ("<", "<"),
        ):
            self.assertEqual(f"{words}\n", text_of_html(html), html)

    def test_markup_is_not_shown(self) -> None:
        for html, words in (
            ("a<!-- <p> -->b<?x?>c<!DOCTYPE d>e<![CDATA[f]]>g", "abceg"),
            ('<p title="a > b">c', "c"), ("<p title='\"'>c", "c"), ("<P>a<BR/>b", "a\nb"),
            ("<title>a <b> &lt;</title>b", "b"), ("<script>'</p>'</SCRIPT >b", "b"),
            ("<head><p>a</p></head>b", "b"), ("<ul><li>a<li>b</ul>", "* a\n* b"),
            ("a &lt;b&gt; &#228;&#xe4;&auml;", "a <b> äää"), ("&#" + "9" * 5000 + ";x", "\ufffdx"),
            ('<a x="1" HREF = "https://a.test/?b&amp;c">d</a>', "d <https://a.test/?b&c>"),
            ("<a href=mailto:a@b>d</a>", "d <mailto:a@b>"), ("<a hrefs='https://x'>d</a>", "d"),
        ):  # fmt: skip
            self.assertEqual(f"{words}\n", text_of_html(html), html)

    def test_each_octet_is_passed_once_whatever_they_are(self) -> None:
        began = time.process_time()
        for piece in (
            "<a ", "<!--", "</a ", "<![", "<script>", "&#", '<a "', "<a '>", '<a ">" ', "<", "</",
            "</script", "<title></title", "<a href=", "<a href='x'>", "<!", "\n\n<p>",
        ):  # fmt: skip
            text_of_html(piece * 100_000)
            text_of_html(piece * 100_000 + ">")
        self.assertLess(time.process_time() - began, 60)

    def test_of_a_page_without_an_end_the_beginning_is_shown(self) -> None:
        with patch.object(markup, "MOST_CHARACTERS", 10):
            self.assertEqual(f"0123456789\n\n{REST}\n", text_of_html("0123456789x"))
            self.assertEqual("0123456789\n", text_of_html("0123456789"))
