"""How much comes within an hour, of however many addresses and senders, in memory of a fixed size.

A bucket is kept as the time when it is full again (`smtp/allowance.py` does it so). Four of them
stand for a key, one in each row, picked by a keyed hash; the least of the four counts, and all are
raised to it. So a flood of keys costs no more memory and drives nobody out, a count is never too
low, and nobody who doesn't know the hash's key can make two keys meet. One is counted too high
where others met it in all four rows, which 200,000 at once don't do to one of a thousand.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from mmap import mmap

from attrs import define, field

HOUR_S = 3600.0
ROWS, SLOTS = 4, 1 << 16
NUMBERS = ROWS * SLOTS


def _own_numbers() -> memoryview[float]:
    return memoryview(mmap(-1, 8 * NUMBERS)).cast("d")  # a page that nobody counts in costs nothing


def _nobody_else() -> AbstractContextManager[object]:
    return nullcontext()


@define(eq=False)
class Paces:
    """Buckets by key, each of an hour's worth, which fill again within an hour.

    Attributes:
        numbers: `NUMBERS` doubles, 0 at first; those of other processes, too.
        locked: what looks and changes holds meanwhile.
        key: of the hash; the same for all that share the numbers.
    """

    numbers: memoryview[float] = field(factory=_own_numbers, repr=False)
    locked: Callable[[], AbstractContextManager[object]] = _nobody_else
    key: bytes = field(factory=lambda: secrets.token_bytes(32), repr=False)

    def take(self, what: str, rate: int, now: float) -> float:
        """Count one in.

        Args:
            what: kind and key, such as "mails address 192.0.2.7".
            rate: an hour; above 0.
            now: on a monotonic clock that all have.

        Returns:
            0.0; or how long it is until there is room, and then it wasn't counted.
        """
        places = self._places(what)
        cost_s = HOUR_S / rate
        with self.locked():
            full_at = max(now, min(self.numbers[place] for place in places)) + cost_s
            wait_s = full_at - now - max(HOUR_S, cost_s)
            if wait_s > 1e-6:
                return wait_s
            for place in places:
                if self.numbers[place] < full_at:
                    self.numbers[place] = full_at
        return 0.0

    def _places(self, what: str) -> list[int]:
        digest = blake2b(
            what.encode("utf-8", "replace"), digest_size=2 * ROWS, key=self.key
        ).digest()
        return [row * SLOTS + int.from_bytes(digest[2 * row : 2 * row + 2]) for row in range(ROWS)]
