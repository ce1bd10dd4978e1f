"""What waits for one destination, as far as the relay knows."""

from __future__ import annotations

import math

from attrs import define, field

from mailnode.queued import NO_TURNS, Begun, Key


@define(eq=False)
class Line:
    """What waits for one destination.

    Attributes:
        due_at: of the next row, as far as is known.
        asleep_until: its hosts are left alone until then.
        failures: times in a row that none of them answered.
        tasks: that serve it.
        begun: what was claimed and no task has taken yet.
        begun_rows: recipients in it.
        long: whether there was more to take than one task does.
        after: whose mail had its turn last, of each priority: each account has one before
            another has two.
    """

    domain: str
    send_as: int
    due_at: float = math.inf
    asleep_until: float = 0.0
    failures: int = 0
    tasks: int = 0
    begun: list[Begun] = field(factory=list)  # a deque is larger than the rest of the line
    begun_rows: int = 0
    long: bool = False
    after: list[int] = field(factory=lambda: list(NO_TURNS))

    @property
    def key(self) -> Key:
        return self.domain, self.send_as

    @property
    def wakes_at(self) -> float:
        return max(0.0 if self.begun else self.due_at, self.asleep_until)

    def is_over(self, now: float) -> bool:
        """Whether nothing waits, and nothing is to be remembered of its hosts."""
        idle = not self.tasks and not self.begun and self.due_at == math.inf
        return idle and self.asleep_until <= now

    def add_begun(self, begun: Begun) -> None:
        self.begun.append(begun)
        self.begun_rows += len(begun.rows)

    def take_begun(self, rows: float = math.inf) -> list[Begun]:
        """The first of `begun`, until they have so many rows; all without a number."""
        mails = taken = 0
        while mails < len(self.begun) and taken < rows:
            taken += len(self.begun[mails].rows)
            mails += 1
        begun, self.begun = self.begun[:mails], self.begun[mails:]
        self.begun_rows -= taken
        return begun
