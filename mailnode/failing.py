"""What fails each time it is tried, since when, and how often: for whoever looks after the node."""

from __future__ import annotations

import time
from typing import Any

from attrs import define, field

REMEMBERED_S = 300.0  # nobody tries it any more, so nobody can see that it is over


@define(eq=False)
class Failing:
    """Begins with a failure, and ends with what works.

    Attributes:
        clock: an IReactorTime on monotonic seconds.
        count: failures in a row.
        why: the last one's reason.
    """

    clock: Any
    count: int = field(default=0, init=False)
    why: str = field(default="", init=False)
    _began: float = field(default=0.0, init=False)
    _last: float = field(default=0.0, init=False)

    def failed(self, why: str) -> None:
        self._last = self.clock.seconds()
        if not self.count:
            self._began = self._last
        self.count += 1
        self.why = why

    def worked(self) -> int:
        """How many failures are over by that."""
        count, self.count = self.count, 0
        return count

    def told(self, least: int = 1) -> str:
        """Since when and how often; "" when all is well, or when it was long ago.

        Args:
            least: fewer failures in a row are nothing to speak of.
        """
        now = self.clock.seconds()
        if self.count < least or now - self._last > REMEMBERED_S:
            return ""
        began = time.gmtime(time.time() - (now - self._began))
        times = "once" if self.count == 1 else f"{self.count:,} times"
        return f"{times} since {time.strftime('%Y-%m-%d %H:%M:%S', began)} UTC"
