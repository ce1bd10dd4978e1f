"""What a mail looks like is read from what its reader sees, within bounds, whatever it is."""

from __future__ import annotations

import base64
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.learning.features import (
    MOST_FACTS,
    MOST_NAMES,
    MOST_WORDS,
    likeness_of,
    likeness_of_file,
    words_of,
)
from mailnode.learning.page import PAGE_CHARACTERS, read_page
from tests.unit.learning_case import mail

PLAIN = mail("Dear friend, buy now at http://shop.example.com/x for $9.99!!", subject="BUY NOW 50%")
MOST_CPU_S = 1.0  # a tenth of it here; slow machines, busy ones


def names(raw: bytes) -> set[str]:
    return set(likeness_of(raw).names)


def page(html: str, more: str = "") -> bytes:
    head = f"From: a@example.org\r\nTo: b@x\r\nSubject: x\r\nContent-Type: text/html{more}\r\n\r\n"
    return head.encode() + html.encode()


class WhatIsRead(SynchronousTestCase):
    def test_subject_sender_words_links_and_form(self) -> None:
        found = names(PLAIN)
        for name in (
            "subject buy", "subject ##", "form subject in capitals", "sender a@example.org",
            "sender @example.org", "sender .org", "form to one", "part text/plain", "word friend",
            "word $#.##", "link example.com", "link .com", "form several exclamation marks",
        ):  # fmt: skip
            self.assertIn(name, found)

    def test_fields_that_tell_the_way_change_nothing(self) -> None:
        way = (
            b"Received: from spam.example by mx.example; Thu, 22 Aug 2002 12:36:23 +0000\r\n"
            b"Date: Thu, 22 Aug 2002 12:36:23 +0000\r\nMessage-ID: <odd.1@host.example>\r\n"
            b"X-Spam-Status: Yes, hits=20\r\nX-Mailer: The Bat!\r\nList-Id: <fork.example>\r\n"
            b"Precedence: bulk\r\nReturn-Path: <x@y.example>\r\nDelivered-To: zzzz@x.example\r\n"
            b"In-Reply-To: <a@b>\r\nReferences: <a@b>\r\nSender: list@x.example\r\n"
        )
        self.assertEqual(likeness_of(way + PLAIN), likeness_of(PLAIN))

    def test_addresses_in_to_are_counted_and_not_read(self) -> None:
        one = likeness_of(PLAIN)
        other = likeness_of(PLAIN.replace(b"b@example.test", b"Someone <zzzz@taint.example>"))
        self.assertEqual(one, other)
        many = PLAIN.replace(b"b@example.test", b"a@x, b@x, c@x, d@x, e@x, f@x")
        self.assertIn("form to many", names(many))
        self.assertIn("form to nobody", names(PLAIN.replace(b"To: b@example.test\r\n", b"")))

    def test_a_word_is_found_however_it_is_hidden(self) -> None:
        soft = "via\u00adgra vi\u200bag\u200dra \uff36\uff29\uff21\uff27\uff32\uff21"
        plain = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n"
        for raw in (
            page("<p>VIA<b></b>GRA<p>"),
            page("v<!-- x -->iagra"),
            page("&#118;iagra"),
            page("<td>cheap</td><td>viagra</td>"),
            plain + b"\r\n" + soft.encode(),
            plain + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(b"a viagra b"),
            plain + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nvi=61gr=\r\na",
        ):
            self.assertIn("word viagra", names(raw), raw)

    def test_text_that_a_page_does_not_show_is_no_word_of_it(self) -> None:
        found = names(page("<style>innocent {}</style><script>var clean</script>seen <i>this</i>"))
        self.assertIn("word seen", found)
        self.assertFalse({"word innocent", "word clean", "word var"} & found)
        self.assertIn("form hidden text", names(page('<p style="display: none">x</p>')))

    def test_languages_without_blanks_are_pairs_of_letters(self) -> None:
        self.assertEqual(words_of("電子郵件"), ["電子", "子郵", "郵件"])
        self.assertEqual(words_of("grüße привет"), ["grüße", "привет"])

    def test_words_keep_what_joins_them(self) -> None:
        self.assertEqual(
            words_of("Don't e-mail 'me' 50% -- $9.99, x_y. a http://www.example.org/a1"),
            ["don't", "e-mail", "me", "##", "$#.##", "x_y", "http", "www.example.org", "a#"],
        )
        self.assertEqual(words_of("z" * 100), ["z…"])

    def test_files_are_known_by_what_they_end_in(self) -> None:
        raw = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n"
            b'Content-Type: application/octet-stream; name="invoice.pdf.exe"\r\n\r\nMZ\r\n--b--\r\n'
        )
        self.assertIn("file .exe", names(raw))

    def test_links_to_numbers_and_with_names_are_told(self) -> None:
        found = names(page('<a href="http://paypal.com@10.0.0.1/x">x</a>'))
        self.assertLessEqual(
            {"form link to a number", "form link with a name before its host"}, found
        )


class Facts(SynchronousTestCase):
    def test_are_names_beside_those_of_the_mail(self) -> None:
        by_map = likeness_of(PLAIN, {"spf": "fail", "dkim": "none"})
        self.assertEqual(by_map.facts, ("fact spf=fail", "fact dkim=none"))
        self.assertEqual(by_map, likeness_of(PLAIN, ["spf=fail", "dkim=none"]))
        self.assertEqual(by_map.key, likeness_of(PLAIN).key)
        self.assertEqual(len(by_map.numbers), len(by_map.names) + 2)

    def test_are_bounded_and_on_one_line(self) -> None:
        facts = likeness_of(PLAIN, [f"x={at}\n{'y' * 9999}" for at in range(1000)]).facts
        self.assertEqual(len(facts), MOST_FACTS)
        self.assertTrue(all(len(each) < 80 and "\n" not in each for each in facts))


def bombs() -> Iterator[tuple[str, bytes]]:
    head = b"From: a@x.example\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    yield "nothing", b""
    yield "a gap", b"\r\n\r\n"
    yield "octets", bytes(range(256)) * 4096
    yield "zeros", bytes(1 << 20)
    yield "parts", head + b"--b\r\n\r\nx\r\n" * 100_000
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (at, at)
        for at in range(5000)
    )
    yield "parts in parts", nested
    yield "mails in mails", b"Content-Type: message/rfc822\r\n\r\n" * 20_000
    yield "a header", b"Subject: " + b"=?utf-8?q?x?= " * 50_000 + b"\r\n\r\nx"
    yield "senders", b"From: " + b"<a@b.example>, " * 50_000 + b"\r\n\r\nx"
    yield "brackets", b"From: " + b"(" * 60_000 + b"\r\n\r\nx"
    yield "fields", b"X: y\r\n" * 200_000
    yield "a word", b"Subject: x\r\n\r\n" + b"a" * (1 << 22)
    yield "words", b"Subject: x\r\n\r\n" + b" ".join(b"w%x" % at for at in range(1 << 18))
    yield "a mail", b"Subject: x\r\n\r\n" + b"some words again\r\n" * (1 << 21)
    utf = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    yield "marks on a letter", utf + ("a" + "\u0301" * 100_000).encode()
    yield "long ligatures", utf + "\ufdfa".encode() * 100_000
    for what in (
        "<b>", "<div>", "<b id=1><p>", "<table>", "<a><b>", "<a ", "&amp;", "<", "<!--", "<style>",
        "<script></script", "<a href=http://", "http://x", "://", "<svg><g>", "<p style=a:b>",
    ):  # fmt: skip
        yield what, page(what * 200_000)


class Bounds(SynchronousTestCase):
    def test_time_and_names_are_bounded_whatever_comes(self) -> None:
        for what, raw in bombs():
            began = time.thread_time()
            likeness = likeness_of(raw, ["x=y"])
            took = time.thread_time() - began
            self.assertLess(took, MOST_CPU_S, what)
            self.assertLessEqual(len(likeness.names), MOST_NAMES, what)
            self.assertLess(sum(map(len, likeness.names)), 64 << 10, what)

    def test_memory_is_bounded_whatever_comes(self) -> None:
        for what, raw in bombs():
            tracemalloc.start()
            try:
                likeness_of(raw)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(peak, 12 << 20, what)

    def test_of_a_file_no_more_is_read_than_is_looked_at(self) -> None:
        path = Path(self.mktemp())
        with path.open("wb") as file:
            file.write(PLAIN)
            file.truncate(1 << 40)
        self.assertIn("subject buy", likeness_of_file(path).names)

    def test_of_text_the_first_words_are_taken(self) -> None:
        words = words_of(" ".join(f"{'w' * (at // 26 + 2)}{at % 26:c}" for at in range(20_000)))
        self.assertLessEqual(len(words), MOST_WORDS)

    def test_a_page_is_looked_at_so_far(self) -> None:
        html = (
            "<style>"
            + "x" * PAGE_CHARACTERS
            + "</style><p>begin "
            + "<br>" * PAGE_CHARACTERS
            + "end"
        )
        text = read_page(html).text
        self.assertIn("begin", text)
        self.assertNotIn("end", text)
        self.assertIn("word begin", names(page(html)))

    @given(st.binary(max_size=3000))
    @settings(max_examples=200, deadline=None)
    def test_any_octets_are_a_mail(self, raw: bytes) -> None:
        for each in (raw, page("") + raw):
            likeness = likeness_of(each)
            self.assertEqual(likeness, likeness_of(each))
            self.assertEqual(len(set(likeness.names)), len(likeness.names))
            self.assertEqual(len(likeness.numbers), len(likeness.names))
            self.assertFalse([name for name in likeness.names if "\n" in name])
