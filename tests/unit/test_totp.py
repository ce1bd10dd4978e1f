"""TOTP: the vectors of RFC 6238, cut to six digits, and what is no code."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred.totp import make_secret, matching_step, uri_of

SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


class TotpTests(SynchronousTestCase):
    def test_the_vectors_of_rfc_6238(self) -> None:
        for at, digits in VECTORS.items():
            self.assertEqual(at // 30, matching_step(SECRET, digits[-6:], at))

    def test_a_step_around_counts_and_none_beyond(self) -> None:
        for later_s, counts in ((-61, False), (-30, True), (0, True), (30, True), (61, False)):
            found = matching_step(SECRET, VECTORS[1234567890][-6:], 1234567890 + later_s)
            self.assertEqual(counts, found is not None, later_s)

    def test_what_is_no_six_digits_is_none(self) -> None:
        for said in (
            "",
            "05924",
            "9005924",
            "00592a",
            "\uff10\uff10\uff15\uff19\uff12\uff14",
            "005924 ",
        ):
            self.assertIsNone(matching_step(SECRET, said, 1234567890))

    def test_a_secret_is_160_random_bits(self) -> None:
        made = {make_secret() for _ in range(20)}
        self.assertEqual(20, len(made))
        self.assertEqual({20}, {len(base64.b32decode(each)) for each in made})

    def test_what_a_device_reads_names_the_account_and_the_node(self) -> None:
        parts = urlsplit(uri_of(SECRET, "a+b@example.test", "mx.example.test"))
        self.assertEqual("mx.example.test:a+b@example.test", unquote(parts.path.lstrip("/")))
        asked = parse_qs(parts.query)
        self.assertEqual(([SECRET], ["mx.example.test"]), (asked["secret"], asked["issuer"]))
