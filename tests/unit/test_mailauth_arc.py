"""`mailnode.mailauth.arc` and `arc_seal`: chains that hold, chains that don't, and our own sets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.arc import MOST_SETS, ArcResult, read_chain, verify_chain
from mailnode.mailauth.arc_seal import seal
from mailnode.mailauth.canonical import BodyHash, BodyHashes, Header, read_fields
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.mailauth.public_keys import PublicKey, read_key
from mailnode.mailauth.results import Finding
from mailnode.mailauth.signatures import read_field_tags, without_value
from mailnode.mailauth.tags import read_base64
from tests.unit.mailauth_case import Zone, settle

VECTORS = Path(__file__).parents[1] / "vectors/arc"
NOW = 1_795_000_000
HEADER = b"From: alice@example.org\r\nTo: bob@example.net\r\nSubject: Greetings\r\n"
BODY = b"Hello \r\n\r\nthere\r\n\r\n"
FINDINGS = [Finding("spf", "pass", properties=(("smtp.mailfrom", "alice@example.org"),))]


def judged(mail: bytes, zone: Zone, now: float = NOW) -> ArcResult:
    head, _, body = mail.partition(b"\r\n\r\n")
    header = Header(list(read_fields(head)))
    chain = read_chain(header)
    bodies = BodyHashes.of(chain.kinds)
    bodies.feed(body)
    hashed = bodies.end()
    return settle(lambda answers: verify_chain(chain, header, hashed, answers, now), zone)


class VectorTests(SynchronousTestCase):
    """Each mail of tests/vectors/arc ends as cases.toml says; keys.toml has the keys."""

    def test_each_mail_ends_as_it_says(self) -> None:
        keys = tomllib.loads((VECTORS / "keys.toml").read_text("utf-8"))
        cases = tomllib.loads((VECTORS / "cases.toml").read_text("utf-8"))["case"]
        self.assertGreater(len(cases), 20)
        for case in cases:
            mail = (VECTORS / case["mail"]).read_bytes().replace(b"\n", b"\r\n")
            for was, becomes in case.get("change", []):
                self.assertIn(was.encode(), mail, case["name"])
                mail = mail.replace(was.encode(), becomes.encode())
            zone = Zone({(name, "TXT"): [key] for name, key in keys.items()})
            zone.update({(name, "TXT"): None for name in case.get("silent", [])})
            found = judged(mail, zone)
            self.assertEqual(found.result, case["result"], (case["name"], found))
            self.assertIn(case.get("reason", ""), found.reason, case["name"])
            self.assertEqual(list(found.sealers), case.get("sealers", []), case["name"])


class ChainCase(SynchronousTestCase):
    key = DkimKey("example.net", "arc", RSA, make_private_key(RSA))

    def setUp(self) -> None:
        record = key_record(RSA, public_text(self.key.private_key))
        self.zone = Zone({("arc._domainkey.example.net", "TXT"): [record]})

    def sealed(self, mail: bytes, found: ArcResult | None = None, change: bytes = b"") -> bytes:
        """The mail with a set of ours in front."""
        head, _, body = mail.partition(b"\r\n\r\n")
        header = head + b"\r\n"
        body_hash = BodyHash()
        body_hash.feed(body)
        chain = read_chain(Header(list(read_fields(header))))
        found = found or judged(mail, self.zone)
        added = seal(
            header, body_hash.digest(), chain, found, "mx.example.net", FINDINGS, self.key, NOW
        )
        return added + change + mail


class SealTests(ChainCase):
    def test_chains_that_we_seal_hold_and_say_who_and_what(self) -> None:
        mail = HEADER + b"\r\n" + BODY
        for count in range(1, 4):
            mail = self.sealed(mail, change=b"Received: by mx.example.net\r\n")
            found = judged(mail, self.zone)
            self.assertEqual((found.result, found.reason), ("pass", ""))
            self.assertEqual((found.instances, found.sealers), (count, ("example.net",) * count))
            self.assertEqual(
                found.told[0], "mx.example.net; spf=pass smtp.mailfrom=alice@example.org"
            )
        self.assertEqual([b"cv=pass", b"cv=pass", b"cv=none"], re.findall(rb"cv=\w+", mail))

    def test_dkimpy_believes_them_and_we_believe_dkimpy_s(self) -> None:
        private = self.key.private_key
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        mail = HEADER + b"\r\n" + BODY

        def look_up(name: bytes, timeout: int = 5) -> bytes:
            (record,) = self.zone["arc._domainkey.example.net", "TXT"] or ()
            return str(record).encode()

        for _ in range(2):
            mail = self.sealed(mail)
            told, sets, _reason = dkim.ARC(mail).verify(dnsfunc=look_up)
            self.assertEqual(told, b"pass", sets)
            theirs = dkim.ARC(b"Authentication-Results: mx.example.com; arc=pass\r\n" + mail)
            lines = theirs.sign(b"arc", b"example.net", pem, b"mx.example.com", timestamp=NOW)
            mail = b"".join(lines) + mail
            self.assertEqual(judged(mail, self.zone).result, "pass")

    def test_the_signatures_that_a_mail_came_with_are_sealed(self) -> None:
        body_hash = BodyHash()
        body_hash.feed(BODY)
        signature = sign(HEADER, body_hash.digest(), [self.key], NOW)
        mail = self.sealed(signature + HEADER + b"\r\n" + BODY)
        self.assertEqual(judged(mail, self.zone).result, "pass")
        changed = mail.replace(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=2;")
        self.assertEqual(judged(changed, self.zone).result, "fail")

    def test_a_chain_that_doesn_t_hold_is_sealed_as_broken_once(self) -> None:
        mail = self.sealed(HEADER + b"\r\n" + BODY) + b"footer\r\n"
        self.assertEqual(judged(mail, self.zone).result, "fail")
        again = self.sealed(mail)
        self.assertIn(b"cv=fail", again)
        self.assertIn(b"i=2;", again)
        found = judged(again, self.zone)
        self.assertEqual(
            (found.result, found.reason), ("fail", "example.net found it broken before")
        )
        self.assertEqual(self.sealed(again), again)

    def test_a_seal_of_a_broken_chain_is_about_its_own_set_alone(self) -> None:
        mail = self.sealed(self.sealed(HEADER + b"\r\n" + BODY) + b"footer\r\n")
        fields = list(read_fields(mail.partition(b"\r\n\r\n")[0]))
        own, message, results = fields[:3]
        data = b"".join(each.relaxed + b"\r\n" for each in (results, message))
        (record,) = self.zone["arc._domainkey.example.net", "TXT"] or ()
        key = read_key(record, RSA)
        assert isinstance(key, PublicKey)
        value = read_base64(read_field_tags(own)["b"])
        self.assertTrue(key.verifies(value, data + without_value(own).relaxed))

    def test_nothing_is_added_to_what_is_not_known_or_is_full(self) -> None:
        mail = HEADER + b"\r\n" + BODY
        self.assertEqual(self.sealed(mail, ArcResult("temperror", instances=1)), mail)
        self.assertEqual(self.sealed(mail, ArcResult("pass", instances=MOST_SETS)), mail)


class BoundsTests(ChainCase):
    def test_fifty_sets_hold_and_51_are_not_looked_at(self) -> None:
        mail = HEADER + b"\r\n" + BODY
        found = ArcResult("none")
        for number in range(1, MOST_SETS + 1):
            mail = self.sealed(mail, found)
            found = ArcResult("pass", instances=number)
        found = judged(mail, self.zone)
        self.assertEqual((found.result, found.instances), ("pass", MOST_SETS))
        self.zone.asked.clear()
        found = judged(b"ARC-Seal: i=51; cv=pass\r\n" + mail, self.zone)
        self.assertEqual(found.result, "fail")
        self.assertIn("more than 50", found.reason)
        self.assertEqual(self.zone.asked, [])

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["Seal", "Message-Signature", "Authentication-Results"]),
                st.lists(
                    st.sampled_from(
                        "i=1 i=2 i=0 i=999 cv=none cv=pass cv=fail a=rsa-sha256 d=example.net s=arc"
                        " h=from b=AAAA bh=AAAA c=relaxed/simple x \u00e4 mx.example.net".split()
                    ),
                    max_size=9,
                ),
            ),
            max_size=7,
        )
    )
    def test_nothing_raises_whatever_stands_there(self, told: list[tuple[str, list[str]]]) -> None:
        fields = "".join(f"ARC-{name}: {'; '.join(tags)}\r\n" for name, tags in told)
        found = judged(fields.encode() + HEADER + b"\r\n" + BODY, self.zone)
        self.assertIn(found.result, ("none", "fail"))
        self.assertRegex(found.reason, r"\A[ -~]*\Z")
        self.assertEqual(found.result == "none", not told)
