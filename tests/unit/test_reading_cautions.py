"""Readers are told of senders and links that aren't what they look like, and of no others."""

from __future__ import annotations

import email
import time
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mime import read_mail
from mailnode.reading.cautions import (
    BARE_ADDRESS,
    LOOK_ALIKE,
    MOST_CAUTIONS,
    OTHER_ADDRESS,
    OTHER_HOST,
    PROGRAM,
    REPLY_ELSEWHERE,
    SENDER_NAME,
    SIGN_IN_NAME,
    Caution,
    cautions_of,
)
from mailnode.reading.domains import is_ip_address, registrable
from mailnode.reading.frame import frame_of
from mailnode.reading.html import clean_html

VECTORS = Path(__file__).parents[1] / "vectors"
KNOWN = ["paypal.com", "example.org", "rheinmetall.de", "bücher.example", "my-bank.co.uk"]


def of(html: str = "", *, sender: str = "a@shop.example", more: str = "") -> list[Caution]:
    raw = f"From: {sender}\r\n{more}Subject: x\r\n\r\nx"
    return cautions_of(read_mail(raw.encode()), html, known_domains=KNOWN)


def kinds(html: str = "", **fields: str) -> list[str]:
    return [each.kind for each in of(html, **fields)]


def link(href: str, text: str) -> str:
    return f'<p><a href="{href}">{text}</a></p>'


class TestLinks(SynchronousTestCase):
    def test_text_that_names_another_host_is_told_with_both(self) -> None:
        for text in (
            "www.paypal.com",
            "https://www.paypal.com/signin?x=1",
            "HTTP://PAYPAL.COM",
            "paypal.com",
            "paypal.com/signin",
            "<b>www.pay</b>pal.com",
            " (www.paypal.com). ",
            "https://user@www.paypal.com:443/",
        ):
            found = of(link("https://evil.example/x", text))
            self.assertEqual([each.kind for each in found], [OTHER_HOST], text)
            self.assertIn("paypal.com, but leads to evil.example.", found[0].words)
            self.assertEqual(found[0].about, "https://evil.example/x")

    def test_hosts_that_one_owner_registered_are_one(self) -> None:
        for href, text in (
            ("https://click.shop.co.uk/t/1", "www.shop.co.uk"),
            ("http://shop.example/", "https://shop.example/"),
            ("https://shop.example.:443/x", "SHOP.example."),
            ("https://xn--bcher-kva.de/", "bücher.de"),
        ):
            self.assertEqual(kinds(link(href, text)), [], text)
        self.assertEqual(kinds(link("https://evil.co.uk/", "www.shop.co.uk")), [OTHER_HOST])
        self.assertEqual(kinds(link("https://evil.github.io/", "good.github.io")), [OTHER_HOST])

    def test_newsletters_whose_text_is_words_raise_no_alarm(self) -> None:
        for text in (
            "Shop now", "Read more...", "Node.js 24 is out", "README.md", "setup.py", "e.g. this",
            "v1.2.3", "10.5", "Unsubscribe", "", '<img src="https://a.example/x.png">', "and/or",
            "Ask at www.paypal.com or call", "report.final", "a.b", "U.S.A.", "3.11",
            "Hi.There", "hello.world", "run.sh",
            "alice@paypal.com", "…", "...", "//", "https://", "@paypal.com", "$9.99", "foo.bar.baz",
        ):  # fmt: skip
            self.assertEqual(kinds(link("https://click.mailer.test/t/1?u=2", text)), [], text)

    def test_a_sign_in_name_before_the_host_is_told(self) -> None:
        found = of(link("https://paypal.com@evil.example/", "Sign in"))
        self.assertEqual([each.kind for each in found], [SIGN_IN_NAME])
        self.assertIn("paypal.com@", found[0].words)
        self.assertIn("leads to evil.example", found[0].words)
        self.assertEqual(kinds(link("https:\\\\paypal.com%2f@evil.example/", "x")), [SIGN_IN_NAME])
        self.assertEqual(kinds(link("https://evil.example/@paypal.com", "x")), [])

    def test_a_bare_number_instead_of_a_name_is_told(self) -> None:
        for host in (
            "192.0.2.1",
            "3221225985",
            "0xC0000201",
            "0300.0.2.1",
            "127.1",
            "[2001:db8::1]",
        ):
            self.assertEqual(kinds(link(f"http://{host}/x", "Sign in")), [BARE_ADDRESS], host)
            self.assertTrue(is_ip_address(host))
        self.assertEqual(kinds(link("http://192-0-2-1.example/", "x")), [])

    def test_a_link_that_would_run_a_program_is_told(self) -> None:
        for href in (
            "javascript:alert(1)", "JAVA&#9;SCRIPT:x", "&#1; javascript:x", "data:text/html,x",
            "vbscript:x", "file:///etc/passwd", "blob:https://a/b",
        ):  # fmt: skip
            self.assertEqual(kinds(link(href, "x")), [PROGRAM], href)

    def test_an_address_that_differs_from_the_one_written_to_is_told(self) -> None:
        self.assertEqual(kinds(link("mailto:x@evil.example", "help@paypal.com")), [OTHER_ADDRESS])
        self.assertEqual(kinds(link("mailto:Help@paypal.com?subject=x", "help@PayPal.com")), [])
        self.assertEqual(kinds(link("mailto:x@evil.example", "Write to us")), [])

    def test_links_of_maps_and_in_bad_markup_are_seen(self) -> None:
        self.assertEqual(kinds('<map><area href="http://192.0.2.1/">'), [BARE_ADDRESS])
        self.assertEqual(kinds('<svg><a href="javascript:x">x'), [PROGRAM])
        self.assertEqual(kinds("<a href=https://evil.example/>www.paypal.com"), [OTHER_HOST])


class TestSenders(SynchronousTestCase):
    def test_a_name_that_shows_anothers_address_is_told(self) -> None:
        found = of(sender='"boss@example.org" <x@evil.example>')
        self.assertEqual([each.kind for each in found], [SENDER_NAME])
        self.assertEqual(
            found[0].words,
            "The sender's name shows boss@example.org, but the mail is from x@evil.example.",
        )
        encoded = "=?utf-8?q?Boss_=28boss=40example=2Eorg=29?= <x@evil.example>"
        self.assertEqual(kinds(sender=encoded), [SENDER_NAME])

    def test_a_name_that_shows_the_own_address_is_fine(self) -> None:
        for sender in (
            '"Alice@Shop.example" <alice@shop.example>', "Alice <alice@shop.example>",
            '"Alice @ Shop" <alice@shop.example>', "alice@shop.example",
        ):  # fmt: skip
            self.assertEqual(kinds(sender=sender), [], sender)

    def test_a_list_that_names_who_wrote_is_fine(self) -> None:
        sender = '"alice@paypal.com via Users" <users@lists.example>'
        self.assertEqual(kinds(sender=sender, more="List-Id: <users.lists.example>\r\n"), [])
        self.assertEqual(kinds(sender=sender), [SENDER_NAME])

    def test_answers_to_another_domain_are_told_mildly(self) -> None:
        found = of(more="Reply-To: Shop <shop@mailer.test>\r\n")
        self.assertEqual([(each.kind, each.mild) for each in found], [(REPLY_ELSEWHERE, True)])
        self.assertEqual(kinds(more="Reply-To: help@support.shop.example\r\n"), [])
        listed = "List-Id: <l.lists.test>\r\nReply-To: l@lists.test\r\n"
        self.assertEqual(kinds(more=listed), [])

    def test_the_grave_stand_before_the_mild(self) -> None:
        html = link("https://evil.example/", "www.paypal.com")
        self.assertEqual(kinds(html, more="Reply-To: x@y.test\r\n"), [OTHER_HOST, REPLY_ELSEWHERE])


class TestLookAlikes(SynchronousTestCase):
    def test_digits_and_pairs_of_letters_for_a_letter_are_told(self) -> None:
        for domain, known in (
            ("paypa1.com", "paypal.com"),
            ("paypai.com", "paypal.com"),
            ("xn--pypal-4ve.com", "paypal.com"),
            ("rheinrnetall.de", "rheinmetall.de"),
            ("examp1e.org", "example.org"),
            ("mybank.co.uk", "my-bank.co.uk"),
            ("bucher.example", "bücher.example"),
        ):
            for found in (of(sender=f"a@mail.{domain}"), of(link(f"https://{domain}/", "x"))):
                self.assertEqual([each.kind for each in found], [LOOK_ALIKE], domain)
                self.assertIn(f"looks like {known}", found[0].words)
                self.assertEqual(found[0].about, domain)

    def test_alphabets_that_are_mixed_or_pretended_are_told(self) -> None:
        self.assertIn("looks like apple.com", of(sender="a@xn--80ak6aa92e.com")[0].words)
        mixed = "goog\u04cfe-mail.com"  # a Cyrillic letter in a Latin name
        self.assertEqual(kinds(link(f"https://{mixed}/", "x")), [LOOK_ALIKE])
        self.assertIn("mixes letters", of(link(f"https://{mixed}/", "x"))[0].words)

    def test_honest_domains_of_any_alphabet_are_fine(self) -> None:
        for domain in (
            "paypal.com", "www.paypal.com", "example.net", "xn--bcher-kva.de",
            "xn--d1abbgf6aiiy.xn--p1ai", "xn--wgv71a119e.jp", "xn--fiqs8s", "caf\u00e9.fr",
            "a1.net", "3m.com", "365online.example", "xn--999999999.com",
        ):  # fmt: skip
            self.assertEqual(
                kinds(link(f"https://{domain}/", "x"), sender=f"a@{domain}"), [], domain
            )

    def test_short_names_are_not_compared_by_digits(self) -> None:
        mail = read_mail(b"From: a@a1.net\r\n\r\nx")
        self.assertEqual(cautions_of(mail, "", known_domains=["al.net"]), [])


class TestBounds(SynchronousTestCase):
    def test_cautions_are_few_and_about_each_thing_once(self) -> None:
        many = "".join(link(f"https://x{n}.test/", "www.paypal.com") for n in range(3_000))
        self.assertEqual(len(of(many)), MOST_CAUTIONS)
        same = link("https://x.test/", "www.paypal.com") * 50
        self.assertEqual(len(of(same)), 1)

    def test_what_is_said_is_short_and_of_one_line(self) -> None:
        href = "http://192.0.2.1/" + "x" * 5_000 + "\u202e\u200bgnp"
        found = of(link(href, "x"), sender='"boss@example.org\u202e" <x@evil.example>')
        for each in found:
            self.assertTrue(each.words.isprintable())
            self.assertLess(len(each.words), 400)
            self.assertLess(len(each.about), 130)

    def test_the_worst_take_no_square_of_time(self) -> None:
        for html in (
            link("https://x.test/", "a." * 100_000),
            link("https://" + "a." * 100_000, "x"),
            link("https://" + "a@" * 100_000, "https://" + "b@" * 100_000),
            "<a href=https://u@x.test/>www.y.test" * 50_000,
            "".join(link(f"https://{n}.x{n}.test/", f"w{n}.y{n}.test/") for n in range(20_000)),
            link("mailto:" + "a" * 100_000, "a-" * 100_000),
        ):
            began = time.process_time()
            of(html)
            self.assertLess(time.process_time() - began, 1.5)
        began = time.process_time()
        of(sender='"' + "a@b." * 5_000 + '" <x@y.test>')
        self.assertLess(time.process_time() - began, 1.5)

    def test_registrable_is_what_somebody_registered(self) -> None:
        self.assertEqual(registrable("a.b.example.co.uk"), "example.co.uk")
        self.assertEqual(registrable("mail.example.test"), "example.test")
        self.assertEqual(registrable("co.uk"), "co.uk")


def _torture() -> list[Path]:
    files = [*(VECTORS / "torture").glob("*.eml"), *(VECTORS / "mails").glob("*.eml")]
    if found := find_spec("test"):  # CPython's own, where they are installed
        for folder in found.submodule_search_locations or ():
            files += (Path(folder) / "test_email" / "data").glob("*.txt")
    return sorted(files)


class TestTorture(SynchronousTestCase):
    def read(self, raw: bytes) -> None:
        """All of a mail that might be taken for HTML is cleaned, shown and warned of."""
        mail = read_mail(raw)
        texts = [raw.decode("latin-1"), raw.decode("utf-8", "surrogateescape")]
        plain = email.message_from_bytes(raw)
        for part in plain.walk():
            payload = part.get_payload(decode=not part.is_multipart())
            if isinstance(payload, bytes):
                texts.append(payload.decode("utf-8", "surrogateescape"))
        for text in texts[:50]:
            cleaned = clean_html(text, show_remote=False, cid_url=lambda cid: None)
            frame_of(cleaned, show_remote=False).document.encode()
            for each in cautions_of(mail, text, known_domains=KNOWN):
                each.words.encode()

    def test_no_mail_that_is_malformed_raises(self) -> None:
        files = _torture()
        self.assertGreaterEqual(len(files), 60)
        for file in files:
            try:
                self.read(file.read_bytes())
            except Exception as error:
                raise AssertionError(file.name) from error

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=300), st.text(max_size=200), st.lists(st.text(max_size=20), max_size=5)
    )
    def test_nothing_at_all_raises(self, sender: bytes, text: str, known: list[str]) -> None:
        mail = read_mail(b"From: " + sender + b"\r\nReply-To: x <" + sender + b">\r\n\r\nx")
        html = link(f"https://{text}", text) + link(text, text) + link(f"mailto:{text}", text)
        cautions_of(mail, html, known_domains=known)
