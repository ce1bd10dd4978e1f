"""How long something takes: summed, and counted by bounds, so that processes can be added up."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

from attrs import define, field

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = (*(f'le="{bound:g}"' for bound in BOUNDS_S), 'le="+Inf"')


@define(eq=False)
class Timings:
    """Durations since the start.

    Attributes:
        total_s: their sum.
    """

    total_s: float = field(default=0.0, init=False)
    _counts: list[int] = field(factory=lambda: [0] * len(LABELS), init=False)

    def add(self, duration_s: float) -> None:
        self.total_s += duration_s
        self._counts[bisect_left(BOUNDS_S, duration_s)] += 1

    def within(self) -> dict[str, int]:
        """How many took no longer than each bound, by its label; "+Inf" has all."""
        return dict(zip(LABELS, accumulate(self._counts), strict=True))


def quantile_s(within: Mapping[str, float], share: float) -> float | None:
    """The bound that such a share of durations kept; None without any; inf past the last bound.

    Args:
        within: as `Timings.within` gives it, or the difference of two.
    """
    total = within.get(LABELS[-1], 0)
    if total <= 0:
        return None
    for bound, label in zip(BOUNDS_S, LABELS, strict=False):
        if within.get(label, 0) >= share * total:
            return bound
    return math.inf
