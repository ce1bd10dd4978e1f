"""`mailnode.mailauth.verifying`: which DKIM signatures are believed, and why others aren't."""

from __future__ import annotations

import base64
import hashlib
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.answers import Answer, Answers
from mailnode.mailauth.canonical import BodyHashes, Field, Header, read_fields
from mailnode.mailauth.dkim import ED25519, RSA, BodyHash, DkimKey, sign
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.mailauth.public_keys import MOST_BITS, NoKey, PublicKey, read_key
from mailnode.mailauth.signatures import DkimResult, Signature, read_signature, without_value
from mailnode.mailauth.verifying import MOST_SIGNATURES, read_signatures, verify_all
from tests.unit.mailauth_case import Zone, settle

VECTORS = Path(__file__).parents[1] / "vectors/dkim"
NOW = 1_795_000_000
HEADER = b"From: alice@example.org\r\nTo: bob@example.net\r\nSubject: Greetings\r\n"
BODY = b"Hello \r\n\r\nthere\r\n\r\n"
NAME = ("s1._domainkey.example.org", "TXT")


def verified(mail: bytes, zone: Zone, now: float = NOW) -> list[DkimResult]:
    head, _, body = mail.partition(b"\r\n\r\n")
    header = Header(list(read_fields(head)))
    found = read_signatures(header)
    bodies = BodyHashes.of(each.kind for each in found if isinstance(each, Signature))
    bodies.feed(body)
    hashed = bodies.end()
    return list(settle(lambda answers: verify_all(found, header, hashed, answers, now), zone))


class VectorTests(SynchronousTestCase):
    def test_the_mails_of_the_rfcs_pass_and_don_t_when_one_octet_is_another(self) -> None:
        keys = tomllib.loads((VECTORS / "keys.toml").read_text("utf-8"))
        zone = Zone({(name, "TXT"): [key] for name, key in keys.items()})
        for name, count in (("rfc6376-a", 1), ("rfc8463-a", 2)):
            mail = (VECTORS / f"{name}.eml").read_bytes().replace(b"\n", b"\r\n")
            self.assertEqual([each.result for each in verified(mail, zone)], ["pass"] * count)
            for was, becomes, reason in (
                (b"hungry", b"Hungry", "the body was changed"),
                (b"Is dinner", b"is dinner", "a signed field was changed"),
                (b"2jUSO", b"2jUSP", "a signed field was changed"),
            ):
                found = verified(mail.replace(was, becomes), zone)
                self.assertEqual([each.result for each in found], ["fail"] * count)
                self.assertTrue(all(reason in each.reason for each in found), found)


class SignedCase(SynchronousTestCase):
    rsa = make_private_key(RSA)
    ed = make_private_key(ED25519)
    assert isinstance(rsa, RSAPrivateKey)

    def setUp(self) -> None:
        self.zone = Zone({NAME: [key_record(RSA, public_text(self.rsa))]})

    def signed(
        self,
        tags: dict[str, str | None] | None = None,
        header: bytes = HEADER,
        body: bytes = BODY,
        key: Any = None,
    ) -> bytes:
        """A mail with one signature, whose tags are these besides the usual ones."""
        limit = (tags or {}).get("l")
        simple = body.rstrip(b"\r\n") + b"\r\n"
        hashed = hashlib.sha256(simple[: int(limit) if limit and limit.isdigit() else None])
        told = {
            "v": "1",
            "a": RSA,
            "c": "simple/simple",
            "d": "example.org",
            "s": "s1",
            "h": "from:subject",
            "bh": base64.b64encode(hashed.digest()).decode(),
            **(tags or {}),
        }
        text = "; ".join(f"{tag}={value}" for tag, value in told.items() if value is not None)
        own = Field(b"dkim-signature", f"DKIM-Signature: {text}; b=".encode())
        names = [each.strip() for each in str(told["h"] or "").lower().encode().split(b":")]
        data = Header(list(read_fields(header))).hashed(names, own, relaxed=False)
        if key is None or isinstance(key, RSAPrivateKey):
            value = (key or self.rsa).sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            value = key.sign(hashlib.sha256(data).digest())
        return own.raw + base64.b64encode(value) + b"\r\n" + header + b"\r\n" + body

    def judged(self, mail: bytes, now: float = NOW) -> DkimResult:
        (found,) = verified(mail, self.zone, now)
        self.assertRegex(found.reason, r"\A[ -~]*\Z")
        return found

    def ends(self, tags: dict[str, str | None], result: str, reason: str = "") -> None:
        found = self.judged(self.signed(tags))
        self.assertEqual(found.result, result, (tags, found))
        self.assertIn(reason, found.reason)


class PassTests(SignedCase):
    def test_our_own_signatures_pass(self) -> None:
        body = BodyHash()
        body.feed(BODY)
        keys = [
            DkimKey("example.org", "s1", RSA, self.rsa),
            DkimKey("example.org", "s2", ED25519, self.ed),
        ]
        self.zone["s2._domainkey.example.org", "TXT"] = [key_record(ED25519, public_text(self.ed))]
        mail = sign(HEADER, body.digest(), keys, NOW) + HEADER + b"\r\n" + BODY
        found = verified(mail, self.zone)
        self.assertEqual([(each.result, each.reason) for each in found], [("pass", "")] * 2)
        self.assertEqual([each.selector for each in found], ["s1", "s2"])
        self.assertEqual(len(self.zone.asked), 1)  # both keys side by side

    def test_dkimpys_pass_in_every_form(self) -> None:
        pem = self.rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        mail = HEADER + b"\r\n" + BODY
        for forms in ((a, b) for a in (b"simple", b"relaxed") for b in (b"simple", b"relaxed")):
            for length in (False, True):
                field = dkim.sign(
                    mail, b"s1", b"example.org", pem, canonicalize=forms, length=length
                )
                found = self.judged(field + mail, time.time())
                self.assertEqual((found.result, found.reason), ("pass", ""))
                longer = self.judged(field + mail + b"more\r\n", time.time())
                self.assertEqual(longer.result, "policy" if length else "fail")

    def test_what_a_result_says_of_its_signature(self) -> None:
        found = self.judged(self.signed({"i": "alice@News.example.org"}))
        self.assertEqual(found.result, "pass")
        self.assertEqual((found.domain, found.selector), ("example.org", "s1"))
        self.assertEqual((found.identity, found.algorithm), ("alice@News.example.org", RSA))
        self.assertEqual(len(found.shown), 8)

    def test_fields_that_nobody_knows_and_blanks_are_no_matter(self) -> None:
        self.ends({"zz": " x y", "q": "http/post:dns/txt", "h": "from : subject : x-none"}, "pass")

    def test_a_key_as_bare_pkcs1_and_one_of_every_length_that_is_allowed_is_used(self) -> None:
        bare = self.rsa.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        self.zone[NAME] = ["k=rsa; p=" + base64.b64encode(bare).decode()]
        self.ends({}, "pass")


class RuleTests(SignedCase):
    def test_tags_that_are_missing_or_wrong_are_permerror_and_named(self) -> None:
        for tags, reason in (
            ({"v": "2"}, "v= is not 1"),
            ({"v": None}, "v= is not 1"),
            ({"d": None}, "d= or s="),
            ({"d": "a b"}, "d= or s="),
            ({"s": "../x"}, "d= or s="),
            ({"h": None}, "doesn't cover From"),
            ({"h": "to:subject"}, "doesn't cover From"),
            ({"a": "rsa-md5"}, "no algorithm"),
            ({"a": None}, "no algorithm"),
            ({"c": "nofws"}, "c="),
            ({"c": "relaxed/x"}, "c="),
            ({"q": "http"}, "not in the DNS"),
            ({"i": "@example.com"}, "i= is not at d="),
            ({"i": "alice@badexample.org"}, "i= is not at d="),
            ({"i": "example.org"}, "i= is not at d="),
            ({"l": "-1"}, "l= is no number"),
            ({"l": "9" * 80}, "l= is no number"),
            ({"t": "now"}, "t= is no number"),
            ({"t": "1795000000", "x": "1794999999"}, "expires before"),
            ({"bh": "*"}, "base64"),
            ({"z z": "1"}, "is no tag"),
        ):
            self.ends(tags, "permerror", reason)

    def test_a_tag_that_stands_there_twice_is_permerror(self) -> None:
        mail = self.signed().replace(b"; d=", b"; d=example.com; d=", 1)
        self.assertEqual(self.judged(mail).reason, "d= stands there twice")

    def test_an_empty_signature_is_permerror(self) -> None:
        mail = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1; h=from; bh=; b=\r\n\r\n"
        self.assertEqual(self.judged(mail).result, "permerror")

    def test_sha1_is_policy_whatever_it_says(self) -> None:
        self.ends({"a": "rsa-sha1"}, "policy", "RFC 8301")

    def test_one_that_has_expired_or_is_from_the_future_is_policy_but_for_clocks(self) -> None:
        for tags, result in (
            ({"x": str(NOW - 299)}, "pass"),
            ({"x": str(NOW - 301)}, "policy"),
            ({"t": str(NOW + 299)}, "pass"),
            ({"t": str(NOW + 301)}, "policy"),
        ):
            self.ends(tags, result)

    def test_octets_behind_what_it_covers_are_policy(self) -> None:
        whole = len(BODY) - 2
        self.ends({"l": str(whole)}, "pass")
        self.ends({"l": "3"}, "policy", f"3 of {whole} octets")
        self.ends({"l": "0"}, "policy")
        self.ends({"l": str(whole + 1)}, "permerror", f"about {whole + 1} octets")

    def test_a_second_from_makes_a_signature_that_covers_one_count_for_nothing(self) -> None:
        for names, result in (("from:subject", "policy"), ("from:from:subject", "fail")):
            mail = self.signed({"h": names})
            field, _, rest = mail.partition(b"\r\n")
            more = field + b"\r\nFrom: eve@example.com\r\n" + rest
            self.assertEqual(self.judged(more).result, result)
        two = b"From: eve@example.com\r\n" + HEADER
        self.assertEqual(self.judged(self.signed({"h": "from:from"}, two)).result, "pass")

    def test_after_ten_nobody_looks(self) -> None:
        field, _, rest = self.signed().partition(b"\r\n")
        self.assertEqual(len(verified((field + b"\r\n") * 50 + rest, self.zone)), MOST_SIGNATURES)

    def test_without_any_there_is_no_result(self) -> None:
        self.assertEqual(verified(HEADER + b"\r\n" + BODY, self.zone), [])


class KeyTests(SignedCase):
    def published(self, record: str | None, result: str, reason: str) -> None:
        if record is None:
            self.zone[NAME] = None
        else:
            self.zone[NAME] = [record]
        self.ends({}, result, reason)

    def test_what_its_record_says_is_obeyed(self) -> None:
        p = public_text(self.rsa)
        ec = generate_private_key(SECP256R1()).public_key()
        der = ec.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for record, result, reason in (
            (f"p={p}", "pass", ""),
            (f"v=DKIM1; h=sha1:sha256; s=email; n=notes; g=*; p={p}", "pass", ""),
            (f" v = DKIM1 ; p = {p[:60]} \t {p[60:]} ; ", "pass", ""),
            (f"v=DKIM1; t=y; p={p}", "pass", "testing"),
            (f"v=DKIM2; p={p}", "permerror", "another version"),
            (f"h=sha1; p={p}", "permerror", "SHA-256"),
            (f"s=tlsrpt; p={p}", "permerror", "not for mail"),
            (f"k=ed25519; p={p}", "permerror", "another algorithm"),
            (f"k=rsa; p={base64.b64encode(der).decode()}", "permerror", "another algorithm"),
            ("v=DKIM1; p=", "permerror", "revoked"),
            ("v=DKIM1", "permerror", "has no key"),
            ("v=DKIM1; p=AAAA", "permerror", "no key"),
            ("v=DKIM1; p=?", "permerror", "can't be read"),
            ("v=spf1 -all", "permerror", "another version"),
            ("\u202e", "permerror", "can't be read"),
            ("p=" + "A" * 65_000, "permerror", "too long"),
            (f"p={public_text(make_private_key(RSA))}", "fail", "another key"),
            (None, "temperror", "s1._domainkey.example.org could not be looked up"),
        ):
            self.published(record, result, reason)

    def test_no_record_and_no_such_name_are_permerror(self) -> None:
        self.zone[NAME] = []
        self.ends({}, "permerror", "there is no key at s1._domainkey.example.org")
        del self.zone[NAME]
        self.ends({}, "permerror", "there is no key at s1._domainkey.example.org")

    def test_of_several_records_the_one_key_is_used_and_two_are_none(self) -> None:
        record = key_record(RSA, public_text(self.rsa))
        self.zone[NAME] = ["v=spf1 -all", record]
        self.ends({}, "pass")
        self.zone[NAME] = [record, record]
        self.ends({}, "permerror", "more than one key")

    def test_a_key_for_the_domain_itself_has_no_identity_below_it(self) -> None:
        self.zone[NAME] = [f"t=s; p={public_text(self.rsa)}"]
        self.ends({"i": "alice@example.org"}, "pass")
        self.ends({}, "pass")
        self.ends({"i": "alice@news.example.org"}, "permerror", "for d= itself")

    def test_keys_of_fewer_bits_than_1024_and_more_than_8192_are_policy(self) -> None:
        for bits in (512, 1023, MOST_BITS + 8, 16_384):
            found = read_key(self.of_bits(bits), RSA)
            assert isinstance(found, NoKey)
            self.assertIn(found.result, ("policy", "permerror"))
        for bits in (1024, MOST_BITS):
            self.assertIsInstance(read_key(self.of_bits(bits), RSA), PublicKey)

    def test_a_key_with_a_long_exponent_is_policy(self) -> None:
        found = read_key(self.of_bits(2048, exponent=(1 << 1500) + 1), RSA)
        assert isinstance(found, NoKey)
        self.assertEqual(found.result, "policy")

    def of_bits(self, bits: int, exponent: int = 65537) -> str:
        """A record whose key has this length; nobody has the numbers that made it."""
        numbers = RSAPublicNumbers(exponent, (1 << bits - 1) + 12345)
        return f"p={base64.b64encode(_der(numbers)).decode()}"

    def test_a_signature_by_1024_bits_passes_and_one_by_another_algorithm_s_key_doesn_t(
        self,
    ) -> None:
        short = generate_rsa(public_exponent=65537, key_size=1024)
        self.zone[NAME] = [key_record(RSA, public_text(short))]
        self.assertEqual(self.judged(self.signed(key=short)).result, "pass")
        self.zone[NAME] = [key_record(ED25519, public_text(self.ed))]
        self.assertEqual(self.judged(self.signed({"a": ED25519}, key=self.ed)).result, "pass")
        self.assertEqual(self.judged(self.signed(key=self.ed)).result, "permerror")


def _der(numbers: RSAPublicNumbers) -> bytes:
    """RSAPublicKey of RFC 8017, also of numbers that cryptography would not make a key of."""

    def piece(tag: int, octets: bytes) -> bytes:
        size = len(octets)
        count = (size.bit_length() + 7) // 8
        length = (
            bytes([size]) if size < 128 else bytes([0x80 + count]) + size.to_bytes(count, "big")
        )
        return bytes([tag]) + length + octets

    def number(value: int) -> bytes:
        return piece(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    return piece(0x30, number(numbers.n) + number(numbers.e))


TAGS = st.lists(
    st.tuples(
        st.sampled_from("v a b bh c d h i l q s t x z".split()),
        st.sampled_from(
            [
                "1",
                RSA,
                "example.org",
                "from:subject",
                "",
                "simple",
                "\u00e4",
                "=",
                "9" * 20,
                "AAAA",
                "@example.org",
            ]
        )
        | st.text(max_size=8),
    ),
    max_size=16,
)


class StrangersTests(SignedCase):
    @settings(max_examples=300, deadline=None)
    @given(TAGS, st.text(max_size=30))
    def test_nothing_raises_whatever_is_signed_and_published(
        self, tags: list[tuple[str, str]], record: str
    ) -> None:
        text = ";".join(f"{tag}={value}" for tag, value in tags)
        field = f"DKIM-Signature: {text}\r\n".encode("utf-8", "replace")
        zone = Zone({NAME: [record, "v=DKIM1; " + record]})
        for each in verified(field + HEADER + b"\r\n" + BODY, zone):
            self.assertRegex(each.reason + each.identity + each.shown, r"\A[ -~]*\Z")

    def test_a_thousand_tags_and_a_thousand_fields_are_permerror(self) -> None:
        self.ends({f"z{n}": "1" for n in range(1000)}, "permerror", "more than 50 tags")
        self.ends({"h": ":".join(["from"] * 1000)}, "permerror", "more than 500 fields")
        self.ends({"z": "a" * 40_000}, "permerror", "longer than")

    def test_the_value_is_taken_out_of_its_own_tag_and_nowhere_else(self) -> None:
        for raw, left in (
            (b"DKIM-Signature:b=abc;bh=b=x; d=y", b"DKIM-Signature:b=;bh=b=x; d=y"),
            (
                b"DKIM-Signature: bh=x;\r\n\tb =\r\n\ta\r\n\tb ;d=y",
                b"DKIM-Signature: bh=x;\r\n\tb =;d=y",
            ),
            (b"DKIM-Signature: a=1; b= a= ", b"DKIM-Signature: a=1; b="),
        ):
            signature = Field(b"dkim-signature", raw)
            self.assertEqual(without_value(signature).raw, left)

    def test_a_result_of_what_can_t_be_read_says_why(self) -> None:
        found = read_signature(Field(b"dkim-signature", b"DKIM-Signature: \xff\x1b[2J"))
        assert isinstance(found, DkimResult)
        self.assertEqual((found.result, found.domain), ("permerror", ""))

    def test_two_signatures_with_one_key_read_it_once(self) -> None:
        answers = Answers({NAME: Answer(tuple(self.zone[NAME] or ()))})
        field, _, rest = self.signed().partition(b"\r\n")
        head, _, body = ((field + b"\r\n") * 2 + rest).partition(b"\r\n\r\n")
        header = Header(list(read_fields(head)))
        found = read_signatures(header)
        bodies = BodyHashes.of(each.kind for each in found if isinstance(each, Signature))
        bodies.feed(body)
        check = partial(verify_all, found, header, bodies.end(), answers, NOW)
        self.assertEqual([each.result for each in check()], ["pass"] * 2)
        self.assertEqual(len(answers._made), 1)
