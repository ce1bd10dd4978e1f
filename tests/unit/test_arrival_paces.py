"""`mailnode.arrival.paces`: an hour's worth for each key, whoever else there is."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from mailnode.arrival.paces import NUMBERS, Paces
from mailnode.workers.counts import Counts, make_memory

KEY = b"k" * 32


class PacesTests(SynchronousTestCase):
    def test_an_hour_s_worth_may_come_at_once_and_then_one_at_a_time(self) -> None:
        paces = Paces()
        self.assertEqual([0.0] * 10, [paces.take("a", 10, 5.0) for _ in range(10)])
        self.assertEqual(360.0, paces.take("a", 10, 5.0))
        self.assertAlmostEqual(60.0, paces.take("a", 10, 305.0))
        self.assertEqual(0.0, paces.take("a", 10, 365.0))
        self.assertGreater(paces.take("a", 10, 365.0), 0.0)

    def test_who_is_told_to_wait_isnt_counted(self) -> None:
        paces = Paces()
        paces.take("a", 1, 0.0)
        for _ in range(100):
            paces.take("a", 1, 10.0)
        self.assertEqual(0.0, paces.take("a", 1, 3600.0))

    def test_keys_are_counted_apart(self) -> None:
        paces = Paces()
        self.assertEqual(0.0, paces.take("a", 1, 0.0))
        self.assertEqual(0.0, paces.take("b", 1, 0.0))

    def test_200_000_others_make_none_wait_and_take_no_more_memory(self) -> None:
        paces = Paces(key=KEY)
        for number in range(200_000):
            paces.take(f"other {number}", 100, 0.0)
        self.assertEqual(NUMBERS, len(paces.numbers))
        made_wait = [paces.take(f"mine {number}", 100, 1.0) for number in range(1_000)]
        self.assertEqual([0.0] * 1_000, made_wait)

    def test_all_workers_count_together(self) -> None:
        memory = make_memory(2)
        views = [Counts(os.dup(memory), 2, KEY) for _ in range(2)]
        os.close(memory)
        first, second = (Paces(view.paces, view.locked_paces, KEY) for view in views)
        self.assertEqual(0.0, first.take("a", 1, 0.0))
        self.assertEqual(3600.0, second.take("a", 1, 0.0))
        views[0].add(0, "smtp", "192.0.2.1", 1)
        views[0].change_bucket(7, lambda full_at: 9.0)
        self.assertEqual(0.0, second.take("b", 1, 0.0))
        self.assertEqual(1, views[1].of_address("smtp", "192.0.2.1"))
        for paces, view in ((first, views[0]), (second, views[1])):
            paces.numbers.release()
            view.close()
