"""Mails that lists show before they are indexed: read once, and in a part of the time alone."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.reading.summary import Summary
from mailnode.store import index_unread
from mailnode.store.index_filling import Row
from mailnode.store.index_unread import KEPT_CHARACTERS, MOST_S, PART, PAUSE_S, Unindexed

TAKES_S = MOST_S / 4


class UnindexedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.read: list[int] = []
        self.pauses: list[float] = []
        self.unindexed = Unindexed(Path(self.mktemp()), lambda: self.now, self.pauses.append)

    def row(self, number: int, more: str = "") -> Row:
        """It takes a while to read."""
        self.now += TAKES_S
        self.read.append(number)
        raw = f"Subject: mail {number}\r\nMessage-ID: <{number}{more}@x>\r\n\r\nWords\r\n".encode()
        return Row(number, number, f"id{number}", self.now, len(raw), "", "", b"", None, raw)

    def summary(self, number: int, more: str = "") -> Summary | None:
        return self.unindexed.summary(number, lambda: self.row(number, more))

    def test_a_mail_is_read_once(self) -> None:
        first = self.summary(7)
        assert first is not None
        self.assertEqual("mail 7", first.subject)
        self.assertEqual(first, self.summary(7))
        self.assertEqual([7], self.read)

    def test_others_have_a_turn_behind_each_that_is_read_and_for_none_that_is_known(self) -> None:
        for number in (1, 2, 1, 2):
            self.summary(number)
        self.assertEqual([PAUSE_S] * 2, self.pauses)

    def test_so_much_is_read_at_once_and_then_no_more_until_time_has_passed(self) -> None:
        for number in range(20):
            self.summary(number)
        self.assertEqual([0, 1, 2, 3, 4], self.read)  # while something was left
        self.assertIsNone(self.summary(5))
        self.assertIsNotNone(self.summary(4))
        self.now += TAKES_S / PART
        self.assertIsNotNone(self.summary(5))
        self.assertIsNone(self.summary(6))

    def test_in_the_long_run_it_is_a_part_of_the_time(self) -> None:
        for number in range(10_000):
            self.summary(number)
            self.now += 0.1
        spent_s = len(self.read) * TAKES_S - MOST_S
        part = spent_s / (self.now - 1000.0)
        self.assertTrue(0.8 * PART < part < 1.2 * PART, part)

    def test_what_is_kept_is_bounded_and_the_oldest_goes_first(self) -> None:
        self.patch(index_unread, "KEPT_SUMMARIES", 3)
        for number in (1, 2, 3, 1, 4):
            self.now += 1000
            self.summary(number)
        self.assertEqual([1, 2, 3, 4], self.read)
        for number in (1, 2):
            self.now += 1000
            self.summary(number)
        self.assertEqual([1, 2, 3, 4, 2], self.read)
        self.summary(9, "x" * 990)
        self.now += 1000
        large = " ".join(f"<{number}{'y' * 400}@x>" for number in range(KEPT_CHARACTERS // 400 + 1))
        for _ in range(2):
            self.summary(10, f"@x>\r\nReferences: {large}\r\nX-Y: <")
        self.assertEqual([1, 2, 3, 4, 2, 9, 10, 10], self.read)

    def test_what_is_gone_is_left_out(self) -> None:
        self.assertIsNone(self.unindexed.summary(7, lambda: None))
        self.assertIsNotNone(self.summary(7))
