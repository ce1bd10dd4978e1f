"""When the next batch begins while many write: as soon as waiting would cost anybody time.

A batch costs the same few statements and the same flush however many mails are in it, and each
of its statements takes the GIL from the reactor twice. While the reactor has its hands full it
could answer nobody sooner, so what it reads meanwhile rides along; once it has time to spare,
the batch goes. It goes at once when as many wait as were in the last one: all whom that one
answered have asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

TICK_S = 0.001
LONGEST_S = 0.010
BUSY_SHARE = 0.6


@define(eq=False)
class Pace:
    """Holds back a batch, and lets it go. Lives on the reactor thread.

    Attributes:
        waiting: how many jobs wait for the batch.
        release: lets it begin; called once after each `hold`.
        cpu_seconds: what this thread has used of a processor.
    """

    clock: IReactorTime
    waiting: Callable[[], int]
    release: Callable[[], None]
    cpu_seconds: Callable[[], float] = time.thread_time
    _until: float = field(default=0.0, init=False)
    _looked_at: float = field(default=0.0, init=False)
    _cpu_s: float = field(default=0.0, init=False)
    _next_look: IDelayedCall | None = field(default=None, init=False)

    def hold(self) -> None:
        """The last batch is done: the next one begins once jobs wait for it and the reactor has
        time, and 10 ms from now at the latest."""
        self.end()
        self._until = self.clock.seconds() + LONGEST_S
        self._look_later()

    def let_go(self) -> None:
        """The next batch begins now."""
        self.end()
        self.release()

    def end(self) -> None:
        """Nothing is held back any more, and nothing is released."""
        look, self._next_look = self._next_look, None
        if look is not None:
            look.cancel()

    def _look_later(self) -> None:
        self._looked_at, self._cpu_s = self.clock.seconds(), self.cpu_seconds()
        self._next_look = self.clock.callLater(TICK_S, self._look)

    def _look(self) -> None:
        self._next_look = None
        now = self.clock.seconds()
        busy = self.cpu_seconds() - self._cpu_s > BUSY_SHARE * (now - self._looked_at)
        if now >= self._until or (self.waiting() and not busy):
            self.release()
        else:
            self._look_later()
