"""Hashes that other systems made: which are taken, at what cost, and what they fit."""

from __future__ import annotations

import bcrypt
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred.foreign import (
    MOST_ROUNDS,
    ForeignHashRefused,
    foreign_fits,
    is_foreign,
    read_foreign,
)
from mailnode.cred.hashes import DUMMY_HASH, hash_password, is_outdated, password_matches

# As openssl passwd and crypt(3) write them.
SHA512 = (
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfa"
    "S35inz1"
)
SHA512_ROUNDS = (
    "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHB"
    "y/YTBmSK6H9qs/y3RnOaw5v."
)
SHA256 = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
BCRYPT = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()


class ReadTests(SynchronousTestCase):
    def test_what_dovecot_writes_is_read_with_its_scheme_and_without(self) -> None:
        for text in (BCRYPT, f"{{BLF-CRYPT}}{BCRYPT}", f"{{CRYPT}}{BCRYPT}", f" {BCRYPT}\n"):
            self.assertEqual(BCRYPT, read_foreign(text))
        for text in (f"{{SHA512-CRYPT}}{SHA512}", f"{{crypt}}{SHA512}", SHA512):
            self.assertEqual(SHA512, read_foreign(text))
        self.assertEqual(SHA256, read_foreign(f"{{SHA256-CRYPT}}{SHA256}"))
        php = BCRYPT.replace("$2b$", "$2y$")
        self.assertEqual(php, read_foreign(php))

    def why_not(self, text: str) -> str:
        self.assertFalse(is_foreign(text))
        return self.assertRaises(ForeignHashRefused, read_foreign, text).text

    def test_one_that_costs_more_than_any_servers_is_refused(self) -> None:
        self.assertIn("cost", self.why_not(BCRYPT.replace("$04$", "$20$")))
        self.assertIn("cost", self.why_not(BCRYPT.replace("$04$", "$03$")))
        for rounds in (999_999_999, MOST_ROUNDS + 1):
            text = SHA512_ROUNDS.replace("10000", str(rounds))
            self.assertIn("rounds", self.why_not(text))

    def test_what_is_no_hash_of_its_scheme_is_refused(self) -> None:
        for text in (
            "",
            "sesame",
            "$6$",
            "$6$$",
            SHA512[:-1],
            SHA512 + "x",
            SHA256 + "x" * 43,
            SHA512.replace("$6$", "$5$"),
            BCRYPT[:-1],
            BCRYPT + "\n$",
            "$6$rounds=$saltstring$" + SHA512[-86:],
            "$6$rounds=0010000$saltstring$" + SHA512[-86:],
            "$1$saltstri$" + "a" * 22,
            DUMMY_HASH,
            f"{{BLF-CRYPT}}{SHA512}",
            f"{{SHA512-CRYPT}}{BCRYPT}",
        ):
            self.why_not(text)

    def test_a_scheme_that_is_none_of_these_is_named(self) -> None:
        for scheme in ("PLAIN", "MD5-CRYPT", "SSHA512", "PBKDF2"):
            self.assertIn(f"{{{scheme}}} is no scheme", self.why_not(f"{{{scheme}}}whatever"))


class FitTests(SynchronousTestCase):
    def test_the_password_fits_and_no_other(self) -> None:
        for text, password in (
            (SHA512, "Hello world!"),
            (SHA512_ROUNDS, "Hello world!"),
            (SHA256, "Hello world!"),
            (BCRYPT, "sesame"),
            (BCRYPT.replace("$2b$", "$2y$"), "sesame"),
        ):
            self.assertTrue(password_matches(text, password), text)
            for other in ("", "Sesame", "sesame ", "Hello world", "x" * 5000, "sesame\0"):
                self.assertFalse(password_matches(text, other), (text, other))

    def test_bcrypt_reads_72_octets_as_it_does_everywhere(self) -> None:
        long = "owl " * 20
        text = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
        self.assertTrue(foreign_fits(text, long))

    def test_it_is_outdated_as_is_one_of_weaker_parameters(self) -> None:
        weaker = "$argon2id$v=19$m=4096,t=1,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43
        for text in (BCRYPT, SHA512, SHA256, weaker, "", "no hash"):
            self.assertTrue(is_outdated(text), text)
        self.assertFalse(is_outdated(hash_password("sesame")))
