"""`mailnode.composing`: what a person writes becomes a mail, or what is wrong is named."""

from __future__ import annotations

import base64
import email
import email.policy
import os
import quopri
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.client.composing import make_letter
from mailnode.composing.drafts import Draft, Enclosure, fatal, look_over
from mailnode.composing.mails import PIECE_OCTETS, FileUnreadable, compose
from mailnode.composing.people import Mailbox, parse_groups, read_address, read_mailboxes
from mailnode.errors import BadAddress
from mailnode.findings import NOTE, find

BOB = read_mailboxes("Bob <bob@example.test>")[0]


def draft(**more: object) -> Draft:
    values: dict[str, object] = {"sender": BOB, "to": read_mailboxes("eve@example.test")} | more
    return Draft(**values)  # type: ignore[arg-type]


def octets_of(made: Draft) -> bytes:
    mail = compose(made)
    raw = b"".join(mail.pieces())
    assert len(raw) == mail.size_octets
    return raw


def parsed(made: Draft) -> EmailMessage:
    mail = email.message_from_bytes(octets_of(made), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


class AddressTests(SynchronousTestCase):
    def test_names_commas_and_quotes_are_understood(self) -> None:
        found = read_mailboxes(
            'a@x.test, Bob B <b@x.test>, "C, D" <c@x.test>,"E \\"e\\"" <e@x.test>,'
        )
        self.assertEqual(
            ["a@x.test", "b@x.test", "c@x.test", "e@x.test"], [str(each.address) for each in found]
        )
        self.assertEqual(["", "Bob B", "C, D", 'E "e"'], [each.name for each in found])

    def test_what_is_wrong_is_named(self) -> None:
        for text, words in (
            ("sina", "has no @"),
            ("@x.test", "lacks what stands before the @"),
            ("a@", "lacks what stands behind the @"),
            ("a@sina", "'sina' is not a whole domain"),
            ("a b@x.test", "Not an address"),
            ("a@x..test", "Not a domain name"),
            ("a@-x.test", "Not a domain name"),
        ):
            with self.assertRaisesRegex(BadAddress, words):
                read_address(text)

    def test_literals_localhost_and_other_alphabets_are_addresses(self) -> None:
        for text in ("a@[192.0.2.1]", "a@localhost", "пётр@пример.рф", '"a b"@x.test'):
            read_address(text)

    def test_the_option_that_was_wrong_is_named(self) -> None:
        with self.assertRaisesRegex(BadAddress, "^cc: 'sina' has no @"):
            parse_groups(["a@x.test", "sina"], "cc")
        with self.assertRaisesRegex(BadAddress, "names nobody"):
            parse_groups([" , "], "to")


class LookTests(SynchronousTestCase):
    def words(self, made: Draft) -> list[str]:
        return [f"{'! ' if each.fatal else ''}{each}" for each in look_over(made)]

    def test_a_good_one_has_no_doubts(self) -> None:
        self.assertEqual([], self.words(draft(subject="s" * 150, text="hi")))

    def test_a_long_subject_none_and_an_empty_text_are_notes(self) -> None:
        self.assertEqual(
            ["subject: 151 characters: many programs show 150"],
            self.words(draft(subject="s" * 151, text="hi")),
        )
        self.assertEqual(["subject: there is none", "body: it is empty"], self.words(draft()))

    def test_nobody_to_send_to_and_a_line_end_in_the_subject_keep_it(self) -> None:
        wrong = fatal(look_over(draft(to=(), subject="a\nBcc: x@y.test", text="x")))
        self.assertEqual(["to", "subject"], [each.part for each in wrong])

    def test_what_a_command_line_says_in_no_utf_8_keeps_it(self) -> None:
        for part, more in (("subject", {"subject": "a\udcff"}),
                           ("body", {"subject": "s", "text": "a\udcff"})):  # fmt: skip
            self.assertEqual([part], [each.part for each in fatal(look_over(draft(**more)))])

    def test_files_that_cannot_be_read_are_named(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        wrong = self.words(draft(subject="s", text="t", files=(folder, folder / "missing")))
        self.assertIn("is a folder", wrong[0])
        self.assertIn("missing: No such file", wrong[1])


class MailTests(SynchronousTestCase):
    def test_it_has_what_a_mail_must_have(self) -> None:
        made = compose(draft(subject="Grüße", text="Hallo Eve,\n.\nwie geht es dir, Zoë?"))
        mail = email.message_from_bytes(b"".join(made.pieces()), policy=email.policy.default)
        self.assertEqual("Bob <bob@example.test>", mail["From"])
        self.assertEqual(("eve@example.test", "Grüße"), (mail["To"], mail["Subject"]))
        self.assertIsNotNone(mail["Date"].datetime.tzinfo)
        self.assertRegex(mail["Message-ID"], "^<.+@example.test>$")
        self.assertEqual(made.message_id, mail["Message-ID"])
        self.assertEqual(
            ["Hallo Eve,", ".", "wie geht es dir, Zoë?"], mail.get_content().splitlines()
        )

    def test_it_is_plain_octets_in_whole_lines(self) -> None:
        made = make_letter(draft(subject="Grüße", text="ü" * 3000))
        raw = b"".join(made.mail.pieces())
        self.assertTrue(raw.isascii())
        self.assertEqual(raw.count(b"\n"), raw.count(b"\r\n"))
        self.assertLess(max(map(len, raw.split(b"\r\n"))), 998)
        self.assertEqual((False, False), (made.letter.eight_bit, made.letter.smtputf8))

    def test_bcc_is_in_the_envelope_alone_and_nobody_twice(self) -> None:
        more = {
            "cc": read_mailboxes("carl@example.test"),
            "bcc": read_mailboxes("dora@example.test, EVE@example.test"),
        }
        made = make_letter(draft(**more, text="hi"))
        self.assertEqual(
            {"eve@example.test", "carl@example.test", "dora@example.test"},
            {each.lower() for each in made.letter.recipients},
        )
        self.assertEqual(3, len(made.letter.recipients))
        self.assertNotIn(b"dora", b"".join(made.mail.pieces()))

    def test_a_mail_to_bcc_alone_names_nobody(self) -> None:
        mail = parsed(draft(to=(), bcc=read_mailboxes("dora@example.test"), text="hi"))
        self.assertEqual("undisclosed-recipients:;", mail["To"])

    def test_files_go_with_it_octet_for_octet_and_by_their_names(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        octets = bytes(range(256)) * 10
        for name in ("Bild ü.png", "notes.txt", "letter.eml", "archive.tar.gz"):
            (folder / name).write_bytes(octets)
        mail = parsed(draft(text="see", files=tuple(sorted(folder.iterdir()))))
        found = {part.get_filename(): part for part in mail.iter_attachments()}
        self.assertEqual({"Bild ü.png", "notes.txt", "letter.eml", "archive.tar.gz"}, set(found))
        self.assertEqual("image/png", found["Bild ü.png"].get_content_type())
        self.assertEqual("application/octet-stream", found["letter.eml"].get_content_type())
        for part in found.values():
            self.assertEqual(octets, part.get_payload(decode=True))

    def test_what_the_html_shows_stands_with_it_and_files_behind_both(self) -> None:
        def enclosure(name: str, content_id: str = "") -> Enclosure:
            octets = name.encode() * 1000
            return Enclosure(name, "image/png", len(octets), lambda: BytesIO(octets), content_id)

        mail = parsed(
            draft(
                text="hi",
                html='<img src="cid:a@b">',
                enclosures=(enclosure("shown.png", "a@b"), enclosure("file.png")),
            )
        )
        self.assertEqual("multipart/mixed", mail.get_content_type())
        alternative, file = mail.iter_parts()
        plain, related = alternative.iter_parts()
        html, shown = related.iter_parts()
        self.assertEqual(
            ("hi", "text/html"), (plain.get_content().strip(), html.get_content_type())
        )
        self.assertEqual(
            ("<a@b>", "inline"), (shown["Content-ID"], shown.get_content_disposition())
        )
        self.assertEqual(b"shown.png" * 1000, shown.get_content())
        self.assertEqual(
            ("file.png", "attachment"), (file.get_filename(), file.get_content_disposition())
        )

    def test_a_file_of_any_length_is_told_in_octets_and_comes_in_pieces(self) -> None:
        for size in (0, 1, 56, 57, 58, PIECE_OCTETS, PIECE_OCTETS + 1, 3 * PIECE_OCTETS - 1):
            octets = bytes(size)
            each = Enclosure("x", "a/b", size, lambda octets=octets: BytesIO(octets))
            made = compose(draft(text="t", enclosures=(each,)))
            pieces = list(made.pieces())
            self.assertEqual(made.size_octets, sum(map(len, pieces)))
            self.assertLess(max(map(len, pieces)), 80_000)
            with made.open() as file:
                raw = file.read()
            self.assertEqual(b"".join(pieces), raw)
            (part,) = email.message_from_bytes(raw, policy=email.policy.default).iter_attachments()
            self.assertEqual(octets, part.get_payload(decode=True))

    def test_a_text_says_its_charset_where_that_can_be_known(self) -> None:
        large = "\u00e4" * 2 * PIECE_OCTETS + "x"  # a letter over the pieces' edges
        for content, kind, charset in (
            (b"Hello\r\n", "text/plain", "us-ascii"),
            (b"", "text/plain", "us-ascii"),
            ("Gr\u00fc\u00dfe\r\n".encode(), "text/csv", "utf-8"),
            (("x" + large).encode(), "text/html", "utf-8"),
            ("Gr\u00fc\u00dfe".encode("latin-1"), "text/plain", None),
            ("Gr\u00fc\u00dfe".encode()[:-4] + b"\xc3", "text/plain", None),
            ("Gr\u00fc\u00dfe".encode("utf-16"), "text/plain", None),
            ("Hello".encode("utf-16-le"), "text/plain", None),
            ("Gr\u00fc\u00dfe".encode(), "application/json", None),
        ):
            file = Enclosure("x", kind, len(content), lambda content=content: BytesIO(content))
            mail = parsed(draft(text="see", enclosures=(file,)))
            (part,) = mail.iter_attachments()
            self.assertEqual((kind, charset), (part.get_content_type(), part.get_content_charset()))
            self.assertEqual(content, part.get_payload(decode=True))

    def test_a_file_that_has_changed_is_named_and_ends_the_mail(self) -> None:
        for size in (11, PIECE_OCTETS * 2):
            each = Enclosure("x.bin", "a/b", size, lambda: BytesIO(b"0123456789"))
            with self.assertRaisesRegex(FileUnreadable, "x.bin is shorter"):
                list(compose(draft(enclosures=(each,))).pieces())
        gone = Path(self.mktemp())
        gone.write_bytes(b"x")
        made = compose(draft(files=(gone,)))
        gone.unlink()
        with self.assertRaisesRegex(FileUnreadable, f"{gone.name}: No such file"):
            list(made.pieces())

    def test_a_type_that_is_none_or_may_not_be_encoded_is_any_octets(self) -> None:
        for kind in ("message/rfc822", "multipart/mixed", "x", "a/b; c=d", "a/b\r\nX: y", ""):
            each = Enclosure("x", kind, 1, lambda: BytesIO(b"x"))
            (part,) = parsed(draft(enclosures=(each,))).iter_attachments()
            self.assertEqual("application/octet-stream", part.get_content_type())

    def test_names_of_people_and_files_are_one_line_whatever_they_are(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in (b"a\nb.txt", b"\xff.txt"):
            Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
        person = Mailbox(read_address("a@x.test"), "A\r\nBcc: b")
        mail = parsed(draft(sender=person, to=(person,), files=tuple(sorted(folder.iterdir()))))
        self.assertEqual('"A Bcc: b" <a@x.test>', mail["To"])
        names = [each.get_filename() for each in mail.iter_attachments()]
        self.assertEqual(["a b.txt", "\N{REPLACEMENT CHARACTER}.txt"], names)

    def test_html_stands_beside_the_text(self) -> None:
        mail = parsed(draft(text="hi", html="<b>hi</b>"))
        self.assertEqual("multipart/alternative", mail.get_content_type())
        kinds = [part.get_content_type() for part in mail.iter_parts()]
        self.assertEqual(["text/plain", "text/html"], kinds)

    def test_an_address_in_another_alphabet_asks_for_smtputf8(self) -> None:
        made = make_letter(draft(to=(Mailbox(read_address("пётр@example.test")),), text="hi"))
        self.assertTrue(made.letter.smtputf8)
        with made.letter.open() as file:
            self.assertIn("пётр@example.test".encode(), file.read())

    def test_a_long_paragraph_is_encoded_as_no_reader_cuts_it_off(self) -> None:
        words = "Grüße " * 100 + "\n" + "word " * 300
        for more in ({"text": words}, {"text": "x", "html": f"<p>{words}</p>"}):
            made = octets_of(draft(subject="s", **more))
            self.assertEqual([], [each for each in find(made) if each.severity != NOTE])

    def test_what_looks_encoded_adds_no_field_and_no_body(self) -> None:
        for ends in ("=0D=0A", "=0D=0A=0D=0A", "=0A", "=0D"):
            word = f"=?utf-8?q?a{ends}X-Evil:_1?="
            octets = quopri.decodestring(f"a{ends}X-Evil: 1")
            coded = f"=?utf-8?b?{base64.b64encode(octets).decode()}?="
            for said in (word, coded, f"=?utf-8?q?b?= {word}", f"Re: {word}{word}"):
                name = said.replace(" ", "")
                mail = draft(
                    sender=Mailbox(BOB.address, said),
                    to=(Mailbox(BOB.address, said),),
                    cc=(Mailbox(BOB.address, f"{said}, x"),),
                    subject=said,
                    text="hi",
                    in_reply_to=f"<{name}@x> <2@x>",
                    references=f"<{name}> <1@x>",
                    enclosures=(Enclosure(said, "text/plain", 0, BytesIO),),
                )
                raw = octets_of(mail)
                self.assertNotRegex(raw, rb"(?m)^X-Evil")
                made = email.message_from_bytes(raw, policy=email.policy.default)
                self.assertEqual("bob@example.test", made["From"].addresses[0].addr_spec)
                self.assertEqual(1, len(made["To"].addresses))
                told = made["Subject"].strip().replace("= ?", "=?")
                self.assertEqual(said, told)
                answers = made["In-Reply-To"], made["References"]
                self.assertEqual(("<2@x>", "<1@x> <2@x>"), answers)

    def test_an_address_that_looks_encoded_is_none(self) -> None:
        evil = "=?utf-8?q?=0D=0AX-Evil=3A_1?=@example.test"
        with self.assertRaisesRegex(BadAddress, "encoded word"):
            read_address(evil)
        with self.assertRaises(ValueError):  # whoever made it
            compose(draft(to=(Mailbox(parse_address(evil)),)))

    def test_what_is_no_message_id_is_not_answered(self) -> None:
        strange = ("<a b@x>", "<a\0@x>", "<a\r\nX-Evil: 1@x>", "<\u2028@x>", f"<{'a' * 600}@x>")
        for said in ("hello", *strange):
            mail = parsed(draft(text="hi", in_reply_to=said))
            self.assertEqual((None, None), (mail["In-Reply-To"], mail["References"]))

    def test_a_reply_names_what_it_answers(self) -> None:
        mail = parsed(draft(text="hi", in_reply_to="<2@x>", references="<1@x>"))
        self.assertEqual(("<2@x>", "<1@x> <2@x>"), (mail["In-Reply-To"], mail["References"]))
