"""Long work that ends when somebody asks, whole as far as it came."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from attrs import define


@define(eq=False)
class Ending:
    """Whether somebody wants the work to end: the first signal asks, a second one cuts it off."""

    asked: bool = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def heeding_signals() -> Iterator[Ending]:
    """SIGINT and SIGTERM are asked for instead of ending the process."""
    ending = Ending()
    before = {each: signal.signal(each, ending._hear) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ending
    finally:
        for each, action in before.items():
            signal.signal(each, action)
