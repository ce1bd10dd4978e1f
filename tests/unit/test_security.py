"""Each attack that docs/security.rst names has the test that it names, and one alone."""

from __future__ import annotations

import re
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.documents import DOCS, ROOT, read, section


class AttacksTests(SynchronousTestCase):
    def test_every_test_that_is_named_is_there_once(self) -> None:
        attacks = section(DOCS / "security.rst", "Attacks, and what happens")
        named = re.findall(r"``(test_\w+)``", attacks)
        self.assertLess(30, len(named))
        there = Counter(
            name
            for path in (ROOT / "tests").rglob("test_*.py")
            for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", read(path), re.M)
        )
        self.assertEqual({}, {name: there[name] for name in named if there[name] != 1})

    def test_every_attack_names_one(self) -> None:
        attacks = section(DOCS / "security.rst", "Attacks, and what happens")
        lines = re.split(r"^   \* - ", attacks, flags=re.M)[2:]
        self.assertLess(25, len(lines))
        for line in lines:
            self.assertIn("``test_", line.rpartition("     - ")[2], line)

    def test_every_event_of_the_audit_stream_stands_in_its_page(self) -> None:
        from mailnode.audited import EVENTS

        told = re.findall(r"^``([\w-]+)``\s{2}", section(DOCS / "audit.rst", "What is in it"), re.M)
        self.assertEqual(list(EVENTS), told)
