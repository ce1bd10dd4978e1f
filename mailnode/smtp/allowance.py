"""How many recipients elsewhere an account may send to."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field

from mailnode.errors import SendingTooFast

HOUR_S = 3600.0
MOST_KEPT = 10_000


@define(eq=False)
class Allowance:
    """A bucket of `burst` recipients for each account, which fills at `rate` an hour.

    A bucket is kept as the time when it is full again, so one that is full isn't kept at all.

    Attributes:
        rate: recipients an hour; 0 for any number.
        burst: recipients at once; a full bucket lets pass an alias that leads to more.
        seconds: a monotonic clock.
    """

    rate: int = 200
    burst: int = 50
    seconds: Callable[[], float] = time.monotonic
    _full_at: dict[int, float] = field(factory=dict, init=False)

    def take(self, account_id: int, count: int) -> None:
        """Count recipients in.

        Raises:
            SendingTooFast: they are too many for now, and none was counted.
        """
        if not self.rate or not count:
            return
        now = self.seconds()
        wait_s = self._take(account_id, now, count * HOUR_S / self.rate)
        if wait_s > 0:
            refusal = SendingTooFast(f"{_TOO_MANY}, try again in {int(wait_s) + 1} s")
            refusal.retry_after_s = int(wait_s) + 1
            raise refusal

    def give_back(self, account_id: int, count: int) -> None:
        """Recipients of a mail that was never sent are not counted."""
        if self.rate and count:
            self._give_back(account_id, count * HOUR_S / self.rate)

    def _give_back(self, account_id: int, cost_s: float) -> None:
        if account_id in self._full_at:
            self._full_at[account_id] -= cost_s

    def _take(self, account_id: int, now: float, cost_s: float) -> float:
        """How long it will be before there is room; 0 when there was, and it is taken."""
        full_at, wait_s = self._after(self._full_at.get(account_id, now), now, cost_s)
        if not wait_s:
            if len(self._full_at) >= MOST_KEPT:
                self._forget(now)
            self._full_at[account_id] = full_at
        return wait_s

    def _after(self, full_at: float, now: float, cost_s: float) -> tuple[float, float]:
        """When the bucket will be full if that is taken, and how long it is to wait before."""
        depth_s = max(1, self.burst) * HOUR_S / self.rate
        full_at = max(full_at, now)
        too_soon_s = full_at - now + min(cost_s, depth_s) - depth_s
        return full_at + cost_s, too_soon_s if too_soon_s > 1e-6 else 0.0

    def _forget(self, now: float) -> None:
        """Full buckets; where none is, the one that is nearest to it."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        if len(self._full_at) >= MOST_KEPT:
            del self._full_at[min(self._full_at, key=lambda key: self._full_at[key])]


_TOO_MANY = "You have sent to too many recipients"
