"""What the disk last failed at, for `/readyz`."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field

REMEMBERED_S = 60.0  # who is told "not ready" sends nothing that could show it is over


@define(eq=False)
class Trouble:
    """Set by a failure, over with the next success, or when it is old. Any thread may call."""

    clock: Callable[[], float] = time.monotonic
    _text: str = field(default="", init=False)
    _at: float = field(default=0.0, init=False)

    def begins(self, text: str) -> None:
        self._at = self.clock()
        self._text = text

    def is_over(self) -> None:
        if self._text:
            self._text = ""

    @property
    def text(self) -> str:
        """In words; "" when all is well."""
        return self._text if self.clock() - self._at < REMEMBERED_S else ""
