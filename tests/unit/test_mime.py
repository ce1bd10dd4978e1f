"""Mails that nobody should have written are read all the same."""

from __future__ import annotations

import time
from email.message import EmailMessage
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode import mime
from mailnode.mime import TooMuch, read_header, read_mail

BROKEN = {
    "Message-ID": "<((((1@x>",
    "To": '"',
    "Cc": "=?utf-8?q?=?=@",
    "From": "(" * 5000 + "a@b.example",
    "Content-Type": "text/plain; charset*=''%",
    "Content-Disposition": "attachment; filename*0*=%",
    "Content-Transfer-Encoding": "(",
    "Date": "0",
    "MIME-Version": ".",
    "Subject": "=?",
}


def is_too_much(mail: EmailMessage) -> bool:
    return any(isinstance(each, TooMuch) for each in mail.defects)


class LenientTests(SynchronousTestCase):
    def test_every_field_of_a_broken_mail_is_read(self) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in BROKEN.items())
        mail = read_mail(f"{fields}\r\nbody\r\n".encode())
        for name in BROKEN:
            self.assertIsInstance(mail[name], str, name)
        self.assertIn(b"<((((1@x>", mail.as_bytes())

    def test_it_is_written_as_it_came(self) -> None:
        raw = (
            b"Subject: " + b"\xc3 =?utf-8?q?x=C3=BC?= " * 9 + b"\r\n folded\r\n"
            b"References: <" + b"x" * 300 + b">\r\nTo: \xff@\xfe\r\n\r\n.b\xf0dy\r\n"
        )
        self.assertEqual(raw, read_mail(raw).as_bytes())

    def test_a_multipart_without_parts_is_written_as_it_came_too(self) -> None:
        for kind in (b"multipart/mixed; boundary=b", b"multipart/mixed"):
            raw = b"Content-Type: " + kind + b"\r\n\r\n\xff\xc3\xbc\r\n.\r\n"
            self.assertEqual(raw, read_mail(raw).as_bytes())
            self.assertEqual(raw, bytes(read_mail(raw)))
            nested = b"Content-Type: message/rfc822\r\n\r\n" + raw
            self.assertEqual(nested, read_mail(nested).as_bytes())

    def test_however_it_is_cut_while_it_is_fed(self) -> None:
        raw = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\r\n\r\n--b\r\n\r\n\xff\r\n\r\n"
            b"--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\tc\r\n\r\n\r\n--b--\r\nrest"
        )
        for octets in (1, 2, 3, 5, 1000):
            with patch.object(mime, "FED_OCTETS", octets):
                mail = read_mail(raw)
            self.assertEqual((raw, 4), (mail.as_bytes(), len(list(mail.walk()))))

    def test_what_could_not_be_parsed_is_a_defect(self) -> None:
        mail = read_mail(b"Message-ID: <((((1@x>\r\n\r\n")
        (defect,) = mail["Message-ID"].defects
        self.assertIn("IndexError", str(defect))

    def test_a_mail_in_order_has_none_and_its_addresses_are_parsed(self) -> None:
        mail = read_mail(b"From: =?utf-8?q?=C3=84?= <a@b.example>\r\nSubject: Hi\r\n\r\nbody\r\n")
        self.assertEqual(
            ("\u00c4", "a@b.example"),
            (mail["From"].addresses[0].display_name, mail["From"].addresses[0].addr_spec),
        )
        self.assertEqual(((), []), (mail["From"].defects, mail.defects))


class BoundTests(SynchronousTestCase):
    """What would keep `email` busy for minutes, or for ever, takes it a moment."""

    def setUp(self) -> None:
        self.began = time.process_time()

    def took(self) -> float:
        return time.process_time() - self.began

    def test_a_field_without_an_end_is_cut(self) -> None:
        for value in ("a,", '"a" ', "(", "=?utf-8?q?a?= ", "[ ", "a@"):
            for name in ("From", "Subject", "Content-Type"):
                mail = read_mail(f"{name}: {value * 200_000}\r\n\r\nx".encode())
                self.assertLessEqual(len(mail[name]), 50_000)
                self.assertIn("too long", str(mail[name].defects[-1]))
        self.assertLess(self.took(), 60)

    def test_an_address_is_not_cut_in_two(self) -> None:
        people = ", ".join(f"{at:06}@b.example" for at in range(9000))
        found = read_mail(f"To: {people}\r\n\r\n".encode())["To"].addresses
        self.assertGreater(len(found), 1000)
        self.assertEqual({"b.example"}, {each.domain for each in found[:-1]})
        self.assertIn(found[-1].domain, ("b.example", ""))

    def test_parameters_without_an_end_are_cut(self) -> None:
        for value in (";" * 1_000_000, "".join(f"; name*{at}=x" for at in range(80_000))):
            mail = read_mail(f"Content-Type: text/html{value}\r\n\r\nx".encode())
            self.assertEqual("text/html", mail.get_content_type())
            mail.get_filename()
        self.assertLess(self.took(), 30)

    def test_many_long_fields_share_what_one_mail_may_cost(self) -> None:
        with patch.object(mime, "WORK", 3 * 4_200**2):
            fields = "".join(f"To: {at:x<4000}@b.example\r\n" for at in range(5))
            found = read_mail(f"{fields}\r\n".encode()).get_all("To")
        self.assertEqual([True, True, True, False, False], [hasattr(e, "addresses") for e in found])
        self.assertEqual(256, len(found[-1]))
        self.assertIn("too much", str(found[-1].defects[0]))

    def test_a_field_that_is_asked_for_again_costs_nothing(self) -> None:
        mail = read_mail(b"To: " + b"a@b.example, " * 2000 + b"\r\n\r\n")
        for _ in range(100):
            self.assertEqual(2000, len(mail["To"].addresses))

    def test_parts_that_are_too_deep_or_too_many_are_not_looked_at(self) -> None:
        deep = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at)
            for at in range(1000)
        )
        many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 11_000
        forwarded = b"Content-Type: message/rfc822\r\n\r\n" * 300 + b"x"
        for raw in (
            deep,
            many,
            deep + b"\xff\xc3\xbc",
            forwarded + b"\xff",
            forwarded.removesuffix(b"\r\n\r\nx"),
        ):
            mail = read_mail(b"From: a@b.example\r\n" + raw)
            self.assertTrue(is_too_much(mail))
            self.assertEqual("a@b.example", mail["From"].addresses[0].addr_spec)
            self.assertEqual(b"From: a@b.example\r\n" + raw, mail.as_bytes())
            self.assertEqual([mail], list(mail.walk()))

    def test_a_mail_of_many_lines_is_one_text(self) -> None:
        raw = b"From: a@b.example\r\n\r\n" + b"\xff\r\n" * 50
        with patch.object(mime, "MOST_LINES", 40):
            mail = read_mail(raw)
            fields = read_mail(b"A: b\r\n" * 50)
        self.assertEqual((True, raw), (is_too_much(mail), mail.as_bytes()))
        self.assertTrue(is_too_much(fields))
        self.assertFalse(is_too_much(read_mail(raw)))

    def test_parts_within_parts_are_read_as_deep_as_people_write_them(self) -> None:
        raw = b"Content-Type: message/rfc822\r\n\r\n" * 50 + b"Subject: inmost\r\n\r\nx"
        mail = read_mail(raw)
        self.assertEqual("inmost", list(mail.walk())[-1]["Subject"])
        self.assertEqual((False, raw), (is_too_much(mail), mail.as_bytes()))

    def test_a_header_is_read_without_what_stands_behind_it(self) -> None:
        mail = read_header(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx")
        self.assertEqual("multipart/mixed", mail.get_content_type())
        self.assertFalse(mail.is_multipart())
