"""`mailnode.failing`: since when something fails, and how often."""

from __future__ import annotations

import re

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.failing import REMEMBERED_S, Failing


class FailingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.failing = Failing(self.clock)

    def test_it_is_told_from_the_first_failure_until_something_works(self) -> None:
        self.assertEqual("", self.failing.told())
        self.failing.failed("no socket")
        self.clock.advance(60)
        self.failing.failed("no answer")
        told = self.failing.told()
        self.assertTrue(re.fullmatch(r"2 times since [0-9-]{10} [0-9:]{8} UTC", told), told)
        self.assertEqual(("no answer", 2), (self.failing.why, self.failing.worked()))
        self.assertEqual(("", 0), (self.failing.told(), self.failing.worked()))

    def test_fewer_than_count_and_what_was_long_ago_are_not_told(self) -> None:
        self.failing.failed("x")
        self.assertEqual("", self.failing.told(least=2))
        self.assertTrue(self.failing.told().startswith("once since "))
        self.clock.advance(REMEMBERED_S + 1)
        self.assertEqual("", self.failing.told())
