"""A domain as strangers write it becomes A-labels, or is none, and takes no time either way."""

from __future__ import annotations

from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.reading import domains
from mailnode.reading.domains import ascii_domain


class AsciiDomainTests(SynchronousTestCase):
    def test_letters_of_other_alphabets_become_a_labels(self) -> None:
        for written in ("Bücher.example", "bücher。example", "bücher\uff0eEXAMPLE."):
            self.assertEqual("xn--bcher-kva.example", ascii_domain(written))

    def test_a_label_that_is_too_long_is_none_and_is_not_looked_through(self) -> None:
        with patch.object(domains.idna, "encode", side_effect=AssertionError):
            for written in ("\u0661" * 64, f"a.{'ü' * 64}.example", "ü" * 250):
                self.assertEqual("", ascii_domain(written))

    def test_what_is_no_domain_is_none(self) -> None:
        for written in ("", ".", "a..b", "a b", "-ü", "ü..a", "a" * 300):
            self.assertEqual("", ascii_domain(written))
