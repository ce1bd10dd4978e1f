"""The clock that due times are read from: the wall's, or one that an administrator moves on.

On a test node (`--clock=manual`) `mailnode clock advance 5d` runs all that five days would have
brought, in its order. How far the clock is ahead stands in the data folder, so that a restart
doesn't set it back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define

from mailnode.durable import write_durably

CLOCK = "clock.json"


@define
class DueClock:
    """What time it is for the queue.

    Attributes:
        path: where a moved clock is kept; None for the wall's.
        ahead_s: of the wall's.
        wall: UTC epoch seconds.
    """

    path: Path | None = None
    ahead_s: float = 0.0
    wall: Callable[[], float] = time.time

    @classmethod
    def manual(cls, data: Path) -> DueClock:
        """One that can be moved, as far ahead as it was."""
        path = data / CLOCK
        return cls(path, read_clock(path)["ahead_s"])

    @classmethod
    def of_wall(cls, data: Path) -> tuple[DueClock, float]:
        """The wall's, and how far ahead one was that had been moved here; it is forgotten."""
        ahead_s = read_clock(data / CLOCK)["ahead_s"]
        (data / CLOCK).unlink(missing_ok=True)
        return cls(), ahead_s

    @property
    def is_manual(self) -> bool:
        return self.path is not None

    def now(self) -> float:
        return self.wall() + self.ahead_s

    def move_to(self, at: float) -> None:
        """It is `at` now, unless it is later already."""
        self.ahead_s = max(self.ahead_s, at - self.wall())

    def wanted(self) -> float:
        """How far ahead somebody wants it, in seconds."""
        return read_clock(self.path)["wanted_s"] if self.path is not None else 0.0

    def keep(self) -> None:
        """Write how far it is ahead."""
        if self.path is not None:
            write_clock(self.path, ahead_s=self.ahead_s, wanted_s=self.wanted())


def read_clock(path: Path | None) -> dict[str, float]:
    """`ahead_s` and `wanted_s`; 0 where nothing was written."""
    told: object = {}
    if path is not None and path.exists():
        try:
            told = json.loads(path.read_text("utf-8"))
        except ValueError:
            told = {}
    found = told if isinstance(told, dict) else {}
    return {name: _number(found.get(name)) for name in ("ahead_s", "wanted_s")}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def write_clock(path: Path, *, ahead_s: float, wanted_s: float) -> None:
    """Put both into the file, whole or not at all."""
    write_durably(path, json.dumps({"ahead_s": ahead_s, "wanted_s": wanted_s}).encode())
