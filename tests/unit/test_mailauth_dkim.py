"""`mailnode.mailauth.dkim`: signatures that somebody else's verifier believes."""

from __future__ import annotations

import base64
import re

import dkim
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.dkim import ED25519, RSA, BodyHash, DkimKey, sign
from mailnode.mailauth.keys import (
    key_record,
    make_private_key,
    packed,
    public_text,
    seal_label,
    unpack_key,
)

HEADER = (
    b"Received: from laptop by mx.example.org; Fri, 27 Nov 2026 14:00:00 +0000\r\n"
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net,\r\n  carol@example.net\r\n"
    b"Subject:   A  subject\t\r\nDate: Fri, 27 Nov 2026 14:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nX-Own: not signed\r\n"
)
BODY = b"Hello\r\n\r\n  and  goodbye \r\n.\r\n\r\n\r\n"
AT = 1_795_000_000


def body_hash(body: bytes = BODY) -> bytes:
    hashed = BodyHash()
    hashed.feed(body)
    return hashed.digest()


class DkimCase(SynchronousTestCase):
    rsa = DkimKey("example.org", "mn2026-rsa", RSA, make_private_key(RSA))
    ed = DkimKey("example.org", "mn2026-ed", ED25519, make_private_key(ED25519))

    def signed(self, header: bytes = HEADER, body: bytes = BODY) -> bytes:
        return sign(header, body_hash(body), [self.rsa, self.ed], AT) + header + b"\r\n" + body

    def look_up(self, name: bytes, timeout: int = 5) -> bytes:
        for key in (self.rsa, self.ed):
            if name == f"{key.selector}._domainkey.{key.domain}.".encode():
                return key_record(key.algorithm, public_text(key.private_key)).encode()
        return b""

    def verified(self, mail: bytes) -> list[bool]:
        """Of each signature, from the top."""
        verifier = dkim.DKIM(mail)
        count = mail.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:")
        return [self._one(verifier, index) for index in range(count)]

    def _one(self, verifier: dkim.DKIM, index: int) -> bool:
        try:
            return bool(verifier.verify(index, dnsfunc=self.look_up))
        except dkim.DKIMException:
            return False


class SignatureTests(DkimCase):
    def test_dkimpy_verifies_both(self) -> None:
        self.assertEqual(self.verified(self.signed()), [True, True])

    def test_each_change_of_what_is_signed_breaks_both(self) -> None:
        mail = self.signed()
        for was, becomes in (
            (b"Hello", b"Hallo"),
            (b"Alice", b"Mallory"),
            (b"bob@example.net", b"eve@example.net"),
            (b"A  subject", b"Another"),
            (b"Date: Fri", b"Date: Thu"),
            (b"t=1795", b"t=1796"),
            (b"To: bob", b"To: eve@example.com\r\nTo: bob"),
        ):
            self.assertEqual(self.verified(mail.replace(was, becomes, 1))[0], False, was)

    def test_a_second_of_what_a_mail_has_once_breaks_both(self) -> None:
        for added in (b"From: mallory@example.com\r\n", b"Subject: x\r\n", b"To: x@y\r\n"):
            mail = self.signed().replace(b"MIME-Version: ", added + b"MIME-Version: ")
            self.assertEqual(self.verified(mail), [False, False])
            self.assertEqual(self.verified(added + self.signed()), [False, False])

    def test_what_relays_change_breaks_none(self) -> None:
        mail = b"Received: by mx.example.net\r\n" + self.signed()
        for was, becomes in (
            (b"X-Own: not signed", b"X-Own: changed"),
            (b"Subject:   A  subject\t", b"SUBJECT: A subject"),
            (b"bob@example.net,\r\n  carol", b"bob@example.net, carol"),
            (b"goodbye \r\n", b"goodbye\r\n"),
            (b".\r\n\r\n\r\n", b".\r\n"),
        ):
            self.assertIn(was, mail)
            mail = mail.replace(was, becomes)
        self.assertEqual(self.verified(mail), [True, True])

    def test_every_field_that_is_there_twice_is_signed_twice(self) -> None:
        (h,) = re.findall(rb"\bh=([^;]*);", sign(HEADER * 2, body_hash(), [self.ed], AT))
        names = re.sub(rb"\s", b"", h).split(b":")
        counts = {name: names.count(name) for name in names}
        self.assertEqual(set(counts.values()), {3})  # one that is added breaks it
        wanted = {b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version"}
        self.assertEqual(set(counts), wanted)
        self.assertEqual(self.verified(self.signed(HEADER * 2)), [True, True])

    def test_fields_of_lists_are_signed(self) -> None:
        header = b"List-Unsubscribe: <https://example.org/u>\r\n" + HEADER
        mail = self.signed(header)
        self.assertEqual(self.verified(mail), [True, True])
        self.assertEqual(self.verified(mail.replace(b"org/u", b"org/v")), [False, False])

    def test_it_says_when_and_never_until_when(self) -> None:
        told = sign(HEADER, body_hash(), [self.rsa], AT)
        self.assertIn(b" t=1795000000;", told)
        self.assertNotRegex(told, rb"\bx=")

    def test_lines_are_under_78_and_end_with_crlf(self) -> None:
        header = b"List-Unsubscribe-Post: x\r\n" * 40 + HEADER
        long = DkimKey("a" * 40 + ".example.org", "s" * 60, RSA, self.rsa.private_key)
        told = sign(header, body_hash(), [self.rsa, self.ed, long], AT)
        self.assertTrue(told.endswith(b"\r\n"))
        for line in told.removesuffix(b"\r\n").split(b"\r\n"):
            self.assertLess(len(line), 78)
            self.assertRegex(line, rb"\A(DKIM-Signature: |\t)\S")

    def test_without_keys_it_is_nothing(self) -> None:
        self.assertEqual(sign(HEADER, body_hash(), [], AT), b"")

    def test_a_mail_beyond_ascii_and_one_without_a_body_verify(self) -> None:
        header = "From: Zoë <zoë@example.org>\r\nSubject: Grüße\r\n".encode()
        self.assertEqual(self.verified(self.signed(header, "Grüße\r\n".encode())), [True, True])
        self.assertEqual(self.verified(self.signed(header, b"")), [True, True])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.sampled_from(["To", "subject", "Cc", "X-A", "List-Id", "Date"]), max_size=8),
        st.lists(st.text('aZ:;= \t"<>@.', max_size=90), min_size=8, max_size=8),
        st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"."]), max_size=12),
    )
    def test_whatever_the_mail_dkimpy_verifies_it(
        self, names: list[str], values: list[str], body: list[bytes]
    ) -> None:
        fields = [f"{name}: {value}\r\n" for name, value in zip(names, values, strict=False)]
        header = b"From: a@example.org\r\n" + "".join(fields).encode()
        self.assertEqual(self.verified(self.signed(header, b"".join(body) + b"\r\n")), [True] * 2)


class KeyTests(DkimCase):
    def test_one_that_was_packed_signs_as_before(self) -> None:
        for key in (self.rsa, self.ed):
            again = unpack_key(key.domain, key.selector, key.algorithm, packed(key.private_key))
            told = sign(HEADER, body_hash(), [key], AT)
            self.assertEqual(sign(HEADER, body_hash(), [again], AT), told)

    def test_its_record_is_as_the_rfcs_say(self) -> None:
        ed, rsa = (public_text(key.private_key) for key in (self.ed, self.rsa))
        self.assertEqual(len(base64.b64decode(ed)), 32)
        self.assertEqual(len(base64.b64decode(rsa)), 294)  # a SubjectPublicKeyInfo of 2048 bits
        self.assertEqual(key_record(ED25519, ed), f"v=DKIM1; k=ed25519; p={ed}")
        self.assertTrue(key_record(RSA, rsa).startswith("v=DKIM1; k=rsa; p=MIIBIjANBg"))

    def test_what_is_no_key_or_another_kind_of_key_is_a_value_error(self) -> None:
        curve: object = generate_private_key(SECP256R1())
        for algorithm, der in (
            (RSA, b""),
            (RSA, packed(self.rsa.private_key)[:-7]),
            (RSA, packed(self.ed.private_key)),
            (ED25519, packed(self.rsa.private_key)),
            (RSA, packed(curve)),  # type: ignore[arg-type]
            ("rsa-sha1", packed(self.rsa.private_key)),
        ):
            with self.assertRaises(ValueError):
                unpack_key("example.org", "s", algorithm, der)

    def test_its_repr_does_not_tell_it(self) -> None:
        self.assertNotIn("private", repr(self.rsa))

    def test_a_seal_is_for_one_domain_and_selector(self) -> None:
        self.assertEqual(seal_label("example.org", "mn1"), b"dkim:example.org/mn1")
