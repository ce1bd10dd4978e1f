"""Mails that nobody should have written are read all the same."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailnode.mime import read_mail

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
