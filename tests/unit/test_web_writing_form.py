"""What a form says becomes the mail that is sent, with its pictures and nothing harmful."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from mmap import ACCESS_READ
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailnode.composing.drafts import Draft
from mailnode.composing.mails import compose
from mailnode.composing.written import Written
from mailnode.reading.parts import parts_of
from mailnode.store.drafts import Upload
from mailnode.web.bodies import Form
from mailnode.web.pages.originals import Mapped
from mailnode.web.pages.writing_files import sent_octets
from mailnode.web.pages.writing_form import (
    Desktop,
    Faults,
    draft_of,
    read_written,
    sent_html,
    shown_html,
    source_of,
    with_cids,
)
from mailnode.web.refusals import BadRequest

PICTURE = Upload(5, 12, "dot.png", "image/png", 3, "k" * 32, "abc@inline")
OTHER = Upload(6, 12, "dot.gif", "image/gif", 3, "l" * 32, "def@inline")
WRITTEN = Written(sender="me@here.example", to="you@there.example", text="Hello", key="k" * 32)


class NoFiles:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, key: str) -> Path:
        return self.folder / key


class Reading(SynchronousTestCase):
    def test_a_form_is_read_as_it_was_typed(self) -> None:
        form = Form(
            {
                "from": ["me@here.example"],
                "to": [" a@x.example ,"],
                "subject": ["a\r\nBcc: b \x00\u202ec"],
                "text": ["one\r\ntwo\0"],
                "html": ["<p>not chosen</p>"],
                "format": ["text"],
                "key": ["short"],
            }
        )
        written = read_written(form)
        self.assertEqual("a@x.example ,", written.to)
        self.assertEqual("a Bcc: b c", written.subject)
        self.assertEqual(("one\ntwo", ""), (written.text, written.html))
        self.assertGreater(len(written.key), 30, "a key that is none is another's or nobody's")

    def test_fields_that_no_header_can_hold_are_refused(self) -> None:
        self.assertRaises(BadRequest, read_written, Form({"to": ["a@x.example, " * 5000]}))

    def test_a_place_is_two_numbers(self) -> None:
        self.assertEqual("3/17", str(source_of("3/17", 1)))
        for text in ("", "3", "3/", "/3", "3/x", "-1/2", "3/" + "1" * 30, "1/2/3"):
            self.assertIsNone(source_of(text, 1), text)


class Pictures(SynchronousTestCase):
    def test_pictures_are_named_by_their_content_ids_where_they_are_kept(self) -> None:
        html = '<p>x</p><img src="/write/12/files/5" alt="dot">'
        kept = with_cids(html, [PICTURE])
        self.assertEqual('<p>x</p><img src="cid:abc@inline" alt="dot">', kept)
        self.assertEqual(html, shown_html(kept, [PICTURE]))

    def test_those_of_another_mail_are_not_shown(self) -> None:
        html = '<img src="/write/13/files/99"><img src="cid:else@where">'
        self.assertEqual(html, with_cids(html, [PICTURE]))
        self.assertEqual(html, shown_html(html, [PICTURE]))
        sent, shown = sent_html(html, {"abc@inline"})
        self.assertNotIn("src", sent)
        self.assertEqual(set(), shown)

    def test_no_script_and_nothing_from_outside_leaves(self) -> None:
        html = (
            "<b onclick=x()>b</b><script>evil()</script><img src='https://t.example/p.png'>"
            "<a href='javascript:evil()'>l</a><iframe src='https://t.example/'></iframe>"
        )
        sent, _shown = sent_html(html, set())
        for word in ("evil", "onclick", "t.example"):
            self.assertNotIn(word, sent)
        self.assertIn("<b>b</b>", sent)


class Sending(SynchronousTestCase):
    def make(self, written: Written, *uploads: Upload) -> tuple[Draft | None, Faults]:
        folder = Path(self.mktemp())
        folder.mkdir()
        for each in uploads:
            (folder / each.blob_key).write_bytes(b"123")
        faults, files = Faults(), NoFiles(folder)
        stored: Any = files
        return draft_of(written, uploads, stored, faults), faults

    def mail(self, written: Written, *uploads: Upload) -> EmailMessage:
        draft, faults = self.make(written, *uploads)
        assert draft is not None, faults
        mail = message_from_bytes(b"".join(compose(draft).pieces()), policy=default)
        assert isinstance(mail, EmailMessage)
        return mail

    def test_a_page_goes_with_its_words_and_the_pictures_that_it_shows(self) -> None:
        html = '<p>Hello <i>you</i></p><img src="cid:abc@inline">'
        mail = self.mail(evolve(WRITTEN, html=html), PICTURE, OTHER)
        kinds = [each.get_content_type() for each in mail.walk()]
        self.assertEqual(
            ["multipart/mixed", "multipart/alternative", "text/plain", "multipart/related",
             "text/html", "image/png", "image/gif"],
            kinds,
        )  # fmt: skip
        related, attached = list(mail.walk())[5:]
        self.assertEqual("<abc@inline>", related["Content-ID"])
        self.assertIsNone(attached["Content-ID"], "a picture that is shown nowhere is a file")
        self.assertEqual("attachment", attached.get_content_disposition())

    def test_all_that_is_wrong_is_said_at_its_field(self) -> None:
        _draft, faults = self.make(evolve(WRITTEN, to="a, b", cc="c@d", sender="x, y"))
        self.assertEqual({"to": 2, "cc": 1, "from": 3},
                         {name: len(said) for name, said in faults.by_field.items()})  # fmt: skip
        _draft, faults = self.make(evolve(WRITTEN, to=" , "))
        self.assertEqual(["to"], list(faults.by_field))
        draft, _faults = self.make(evolve(WRITTEN, sender=""))
        self.assertIsNone(draft)

    def test_names_bring_no_line_into_the_header(self) -> None:
        mail = self.mail(evolve(WRITTEN, to='"a\x0bb\x85c\u2028d" <you@there.example>'))
        self.assertEqual(["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"],
                         list(mail.keys())[:6])  # fmt: skip
        self.assertIn("you@there.example", mail["To"])

    def test_the_size_that_is_shown_is_about_the_one_that_is_sent(self) -> None:
        large = evolve(PICTURE, size_octets=3, content_id="")
        draft, _faults = self.make(WRITTEN, large)
        assert draft is not None
        shown = Desktop(written=WRITTEN, uploads=[large]).octets
        self.assertLess(abs(shown - compose(draft).size_octets), 2_500)
        self.assertEqual(78 * 1000 + 500, sent_octets(57 * 1000))


class Pieces(SynchronousTestCase):
    def test_a_part_is_given_in_pieces_that_are_its_content(self) -> None:
        octets = bytes(range(256)) * 40
        mail = EmailMessage()
        mail.set_content("text")
        mail.add_attachment(octets, "application", "octet-stream", filename="a")
        mail.add_attachment("Grüße =\n" * 50, filename="b", cte="quoted-printable")
        raw = mail.as_bytes().replace(b"\n", b"\r\n")
        for part in parts_of(raw).attachments():
            self.assertEqual(part.content(), b"".join(part.pieces()), part.path)

    def test_a_mail_in_a_file_is_read_like_one_in_memory(self) -> None:
        mail = EmailMessage()
        mail.set_content("text\n" * 1000)
        for number in range(5):
            octets = bytes(range(256)) * 3000 + bytes([number])
            mail.add_attachment(octets, "application", "octet-stream", filename=f"{number}")
        raw = mail.as_bytes().replace(b"\n", b"\r\n")
        path = Path(self.mktemp())
        path.write_bytes(raw)
        with path.open("rb") as file, Mapped(file.fileno(), 0, access=ACCESS_READ) as mapped:
            lying: Any = mapped
            there, here = parts_of(lying), parts_of(raw)
            self.assertEqual([each.path for each in here], [each.path for each in there])
            self.assertEqual([each.name for each in here], [each.name for each in there])
            for one, other in zip(here, there, strict=True):
                self.assertEqual(one.content(), b"".join(other.pieces()))
            self.assertEqual(raw.find(b"nowhere"), mapped.find(b"nowhere"))
            for wanted in (raw[(1 << 20) - 3 : (1 << 20) + 40], raw[-20:]):
                self.assertEqual(raw.find(wanted), mapped.find(wanted))
                self.assertEqual(raw.find(wanted, 77, 1 << 20), mapped.find(wanted, 77, 1 << 20))
