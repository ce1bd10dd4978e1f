"""`mailnode.timings`: durations counted by bounds."""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from mailnode.timings import LABELS, Timings, quantile_s


class TimingsTests(SynchronousTestCase):
    def test_a_bound_counts_all_that_kept_it(self) -> None:
        timings = Timings()
        for duration_s in (0.0, 0.001, 0.0011, 99.0):
            timings.add(duration_s)
        within = timings.within()
        self.assertEqual([2, 3, 3], [within[f'le="{each}"'] for each in ("0.001", "0.0025", "10")])
        self.assertEqual(4, within[LABELS[-1]])
        self.assertAlmostEqual(99.0021, timings.total_s)

    def test_the_bound_that_a_share_kept(self) -> None:
        timings = Timings()
        self.assertIsNone(quantile_s(timings.within(), 0.99))
        for duration_s in [0.004] * 99 + [0.2]:
            timings.add(duration_s)
        self.assertEqual(0.005, quantile_s(timings.within(), 0.99))
        self.assertEqual(0.25, quantile_s(timings.within(), 1.0))
        timings.add(60.0)
        self.assertEqual(math.inf, quantile_s(timings.within(), 1.0))
