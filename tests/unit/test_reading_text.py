"""What a mail says in words, and what a list shows of it."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.reading.markup import MOST_PIECES
from mailnode.reading.summary import KEPT_OCTETS, Summary, skim, summary_of
from mailnode.reading.text import HTML_OCTETS, read_page, snippet_of, text_of, text_of_html

LONGEST_S = 5.0


class HtmlTests(SynchronousTestCase):
    def test_the_words_of_a_page_a_line_a_block(self):
        self.assertEqual(
            text_of_html(
                "<html><head><title>t</title><style>p{}</style></head><body><p>One &amp; <b>two</b>"
                "<p>three<br>four<script>bad()</script><ul><li>five</ul><table><tr><td>a<td>b"
            ),
            "One & two\n\nthree\nfour\n\nfive\n\na\nb",
        )

    def test_what_stands_behind_a_block_is_on_another_line(self):
        for page, words in (
            ("<p>One</p>two", "One\ntwo"),
            ("<div>a</div><div>b</div><div><br></div><div>c</div>", "a\nb\n\nc"),
            ("<ul><li>x</li><li>y</li></ul>z", "x\ny\nz"),
            ("<div><div><div>a</div></div></div> b", "a\nb"),
            ("<table><tr><td>a</td></tr></table>c", "a\nc"),
            ("x<span>y</span>z", "xyz"),
        ):
            self.assertEqual(words, text_of_html(page), page)

    def test_links_and_items_are_marked_where_that_is_wanted(self):
        for page, words in (
            ("<ul><li>a<li>b</ul>", "* a\n* b"),
            ("<a href='https://a.test/'>here</a>&amp;", "here <https://a.test/>&"),
            ('<a x="1" HREF = " https://a.test/?b&amp;c">d</a>', "d <https://a.test/?b&c>"),
            ("<a href=mailto:a@b>d</a>", "d <mailto:a@b>"),
            ("<a hrefs='https://x'>d</a><a href='javascript:x'>y</a>", "dy"),
        ):
            self.assertEqual(words, text_of_html(page, marked=True), page)

    def test_no_page_takes_long(self):
        for piece in ("<div>", "<b>", "<table>", "<b><p>", "<a><p>", "<p><button>", "<div></x>",
                      "<div><svg></div>", "<select><option>", "<td><table></table>", "<font><p>",
                      "<a x=", "<a href='http:x'>", "<li>", "<!--", "&amp", "<svg><p>",
                      "<template>", "<frameset>", "<div title='</div>'>", "<a '>", '<a "', "</a ",
                      "<textarea>&", "<xmp></x", "<p title='>'>", "<", "</", "<!",
                      "&#"):  # fmt: skip
            page = "<p>begin</p>" + piece * (2 * HTML_OCTETS // len(piece))
            began = time.monotonic()
            text_of_html(page, marked=True)
            self.assertLess(time.monotonic() - began, LONGEST_S, piece)

    def test_a_tag_of_many_attributes_keeps_nobody_busy(self):
        names = " ".join(f"{number:x}" for number in range(80_000))
        began = time.monotonic()
        self.assertEqual("ab", text_of_html(f"a<i {names}>b"))
        self.assertLess(time.monotonic() - began, LONGEST_S)

    def test_nor_do_styles_that_each_block_opens_anew(self):
        styles = "".join(f"<b id={number}>" for number in range(190))
        page = f"<div>{styles}</div>" + "<hr>x<div></div>" * 30_000
        began = time.monotonic()
        self.assertIn("x\nx", text_of_html(page).replace("\n\n", "\n"))
        self.assertLess(time.monotonic() - began, LONGEST_S)

    def test_a_page_is_read_to_its_end_however_deep_it_is(self):
        for tag in ("<div>", "<p>", "<font>", "<table><tr><td>", "<blockquote>"):
            page = f"<p>begin</p>{tag * 300}end"
            self.assertEqual(["begin", "end"], text_of_html(page).split(), tag)
            self.assertFalse(read_page(page).short)

    def test_it_is_told_when_words_are_missing(self):
        for page, short in (
            ("<p>" * (MOST_PIECES // 2 + 1) + "end", True),
            ("<br>" * (MOST_PIECES + 1) + "end", True),
            ("x" * (HTML_OCTETS + 1), True),
            ("x" * HTML_OCTETS, False),
            ("&amp;" * (MOST_PIECES + 1), True),
        ):
            self.assertEqual(short, read_page(page).short, page[:9])
        self.assertFalse(read_page("x" * 2 * HTML_OCTETS, most_characters=2 * HTML_OCTETS).short)
        self.assertTrue(read_page("<br>a<br>b", most_pieces=2).short)

    def test_what_browsers_show_as_it_stands_is_shown(self):
        self.assertEqual(
            "a <b> &amp; c\n\nd & <e>\n\nf </p>",
            text_of_html(
                "<xmp>a <b> &amp; c</xmp><textarea>d &amp; <e></textarea><plaintext>f </p>"
            ),
        )

    @given(st.text(max_size=200))
    def test_whatever_the_page_is_nothing_is_raised(self, page):
        text_of_html(page)
        text_of_html(page, marked=True)


class TextTests(SynchronousTestCase):
    def test_the_text_is_taken_before_the_page(self):
        raw = (
            b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html"
            b"\r\n\r\n<p>page\r\n--b\r\n\r\n%b\r\n--b--\r\n"
        )
        self.assertEqual(text_of(raw % b"text"), "text")
        self.assertEqual(text_of(raw % b" \r\n "), "page")

    def test_a_snippet_is_the_first_own_words(self):
        self.assertEqual(
            snippet_of("> what\n> you said\n\nYes,\tI do.\n-- \nsign\n"), "Yes, I do. sign"
        )
        self.assertEqual(snippet_of("> only\n> quoted"), "> only > quoted")
        self.assertEqual(len(snippet_of("word " * 1000)), 160)


class SummaryTests(SynchronousTestCase):
    def test_what_a_list_shows(self):
        raw = (
            "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: Bob <b@example.test>, c@d.example"
            "\r\nCc: \"Al, B\" <al@example.test>\r\nSubject: =?iso-8859-1?q?caf=E9?=\r\n now\r\n"
            "Date: Mon, 1 Jan 2024 01:00:00 +0100\r\nMessage-ID: <m@x>\r\n"
            "References: <r1@x>\r\n <r2@x>\r\nIn-Reply-To: <r2@x>\r\n\r\nHello\r\n"
        )  # fmt: skip
        self.assertEqual(
            summary_of(raw.encode()),
            Summary(
                sender_name="Jürgen",
                sender_address="j@example.org",
                to="Bob, c@d.example, Al, B",
                subject="café now",
                sent_at=1704067200.0,
                snippet="Hello",
                message_id="m@x",
                references=("r1@x", "r2@x"),
            ),
        )

    def test_nothing_at_all_is_a_summary_too(self):
        self.assertEqual(summary_of(b""), Summary())

    def test_a_date_that_is_none_is_not_told(self):
        for date in (b"yesterday", b"Mon, 99 Foo 2024 00:00:00 +9999", b"", b"1" * 5000):
            self.assertIsNone(summary_of(b"Date: " + date + b"\r\n\r\n").sent_at)

    def test_a_line_can_t_be_turned_around_or_steer_a_terminal(self):
        shown = summary_of("Subject: a\u202eb\x1b[31m\r\n\r\n".encode()).subject
        self.assertEqual(shown, "ab[31m")


class SkimTests(SynchronousTestCase):
    def letter(self, *sizes: int) -> bytes:
        parts = b"".join(
            b"--b\r\nContent-Type: application/x; name=f%d\r\n\r\n%b\r\n" % (n, b"x" * 70 * size)
            for n, size in enumerate(sizes)
        )
        return (
            b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n"
            + parts
            + b"--b--\r\n"
        )

    def test_a_small_mail_stays_as_it_is(self):
        raw = self.letter(1, 1)
        self.assertEqual(skim([raw[:50], raw[50:]]), raw)

    def test_of_a_large_one_every_file_is_named_wherever_the_pieces_end(self):
        raw = self.letter(30_000, 20_000, 1, 1, 50_000, 3)
        wanted = summary_of(raw)
        self.assertEqual(len(wanted.attachments), 6)
        for size in (65_536, 100_001, 262_144, 4_000_000, 10_000_000):
            small = skim(raw[at : at + size] for at in range(0, len(raw), size))
            self.assertEqual(summary_of(small), wanted, size)
            self.assertLess(len(small), KEPT_OCTETS + 64_000)

    def test_what_is_kept_has_an_end(self):
        for piece in (b"\n--b\n" * 50_000, b"\n--" * 80_000, b"--b" * 80_000):
            self.assertLess(len(skim([piece] * 200)), 3 << 20)
