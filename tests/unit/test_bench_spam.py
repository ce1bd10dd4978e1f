"""The bench of the filters counts rightly, and its mails betray nobody."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.bench.page import replace
from tests.bench.spam import Figures, area
from tests.bench.spam_corpus import as_written
from tests.bench.spam_filters import Outcome

CAME = b"""From owner@x Thu Aug 22 12:36:23 2002
Return-Path: <x@spamassassin.taint.org>
Received: from phobos.labs.netnoteinc.com
\tby localhost with IMAP
From: Justin <jm@jmason.org>
To: zzzz@localhost, friend@people.example
Date: Thu, 22 Aug 2002 12:36:23 +0100
Subject: a long
 one
X-Spam-Status: No
List-Id: <x>
Content-Type: text/plain

From here zzzz-ilug and http://www.netnoteinc.com/x
"""


def outcomes(good: list[float], bad: list[float]) -> list[Outcome]:
    def verdict(score: float) -> str:
        return "unwanted" if score > 0.8 else "wanted" if score < 0.2 else "unsure"

    return [Outcome(each, verdict(each), False) for each in good] + [
        Outcome(each, verdict(each), True) for each in bad
    ]


class Counting(SynchronousTestCase):
    def test_the_area_is_the_share_of_pairs_in_order(self) -> None:
        self.assertEqual(area(outcomes([0.1, 0.2], [0.3, 0.4])), 1)
        self.assertEqual(area(outcomes([0.5], [0.5])), 0.5)
        chance = random.Random(1)
        good = [round(chance.random(), 1) for _ in range(60)]
        bad = [round(chance.random() + 0.2, 1) for _ in range(40)]
        pairs = [1.0 if b > g else 0.5 if b == g else 0.0 for b in bad for g in good]
        self.assertAlmostEqual(area(outcomes(good, bad)), sum(pairs) / len(pairs))

    def test_wanted_ones_above_95_of_100_unwanted_are_false(self) -> None:
        bad = [0.5 + at / 1000 for at in range(100)]  # 95 of them from 0.505 on
        figures = Figures.of(outcomes([0.1, 0.504, 0.505, 0.9], bad))
        self.assertEqual((figures.false, figures.lost), (0.5, 0.25))

    def test_verdicts_are_counted_of_their_kind(self) -> None:
        figures = Figures.of(outcomes([0.1, 0.9], [0.1, 0.5, 0.9, 0.95]))
        self.assertEqual((figures.lost, figures.caught, figures.missed), (0.5, 0.5, 0.25))


class Mails(SynchronousTestCase):
    def test_are_as_they_were_written(self) -> None:
        self.assertEqual(
            as_written(CAME),
            b"From: Justin <somebody@somebody>\r\nTo: somebody@localhost, friend@people.example\r\n"
            b"Subject: a long\r\n one\r\nContent-Type: text/plain\r\n\r\n"
            b"From here somebody and http://somebody/x\r\n",
        )


class Page(SynchronousTestCase):
    def test_one_mark_is_filled_and_others_stay(self) -> None:
        text = "a\n.. begin x\nold\n.. end x\n.. begin y\nkept\n.. end y\n"
        self.assertEqual(
            replace(text, "x", "new"),
            "a\n.. begin x\n\nnew\n\n.. end x\n.. begin y\nkept\n.. end y\n",
        )
