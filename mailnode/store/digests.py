"""Which contents a folder has, in little memory: 16 octets of each mail's digest."""

from __future__ import annotations

from array import array

from attrs import define, field

OCTETS = 16
LEAST_PLACES = 1024


@define(eq=False)
class Digests:
    """A set of digests; that two mails have the same first 128 bits does not happen.

    A table with open places: 24 to 64 octets a mail, half as much again while it grows, where a
    set of Python's would have some 130. A million mails take 64 MiB at most.
    """

    _count: int = field(default=0, init=False)
    _places: int = field(default=LEAST_PLACES, init=False)
    _highs: array[int] = field(init=False)
    _lows: array[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._make(LEAST_PLACES)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: bytes) -> bool:
        high, low = _halves(digest)
        return self._lows[self._place_of(high, low)] != 0

    def add(self, digest: bytes) -> bool:
        """Whether it was not there before."""
        high, low = _halves(digest)
        place = self._place_of(high, low)
        if self._lows[place]:
            return False
        self._highs[place], self._lows[place] = high, low
        self._count += 1
        if 3 * self._count > 2 * self._places:
            self._grow()
        return True

    def _place_of(self, high: int, low: int) -> int:
        """Where it stands, or would."""
        highs, lows, last = self._highs, self._lows, self._places - 1
        place = high & last
        while lows[place] and (lows[place] != low or highs[place] != high):
            place = (place + 1) & last
        return place

    def _make(self, places: int) -> None:
        self._places = places
        self._highs = array("Q", bytes(8 * places))
        self._lows = array("Q", bytes(8 * places))

    def _grow(self) -> None:
        highs, lows = self._highs, self._lows
        self._make(2 * self._places)
        for high, low in zip(highs, lows, strict=True):
            if low:
                place = self._place_of(high, low)
                self._highs[place], self._lows[place] = high, low


def _halves(digest: bytes) -> tuple[int, int]:
    """Two numbers; the second is never 0, which is an open place."""
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:OCTETS], "little") or 1
