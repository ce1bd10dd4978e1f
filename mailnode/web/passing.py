"""What browsers are in the middle of: kept in memory, for a while, under what only they know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")

MOST_KEPT = 10_000


@define(eq=False)
class Passing(Generic[T]):
    """Values that are forgotten after a while, and the oldest of too many.

    Args:
        seconds: of a clock that nobody sets.
        keep_s: how long each is kept.
    """

    _seconds: Callable[[], float]
    _keep_s: float
    _most: int = MOST_KEPT
    _kept: OrderedDict[Hashable, tuple[T, float]] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Hashable, value: T) -> None:
        self._kept.pop(key, None)
        self._kept[key] = value, self._seconds() + self._keep_s
        while len(self._kept) > self._most or self._is_over(next(iter(self._kept))):
            self._kept.popitem(last=False)

    def find(self, key: Hashable) -> T | None:
        if key not in self._kept or self._is_over(key):
            return None
        return self._kept[key][0]

    def drop(self, key: Hashable) -> None:
        self._kept.pop(key, None)

    def _is_over(self, key: Hashable) -> bool:
        return self._seconds() >= self._kept[key][1]
