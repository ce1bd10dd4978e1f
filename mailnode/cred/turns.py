"""Whose password is checked next: owners where they are known, before any stranger who waits."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field
from twisted.internet.defer import Deferred

from mailnode.errors import SignInBusy

AT_ONCE = 4  # as many as hash, and as many again
MOST_WAITING = 64


@define(eq=False)
class Turns:
    """A line of strangers, so short in front of the checkers that an owner waits for few of them.

    Attributes:
        most_waiting: in the line; one more is answered `SignInBusy`.
    """

    most_waiting: int = MOST_WAITING
    _under_way: int = field(default=0, init=False)
    _line: deque[Deferred[None]] = field(factory=deque, init=False)
    _calling: bool = field(default=False, init=False)

    @asynccontextmanager
    async def turn(self, *, first: bool) -> AsyncIterator[None]:
        """It is one's turn inside.

        Args:
            first: nobody is waited for.

        Raises:
            SignInBusy: too many wait.
        """
        if first:
            yield
            return
        if self._under_way >= AT_ONCE or self._line:
            if len(self._line) >= self.most_waiting:
                raise SignInBusy(detail="too many passwords to check")
            mine: Deferred[None] = Deferred(self._leave)
            self._line.append(mine)
            await mine  # whoever ends calls the next
        else:
            self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._call()

    def _call(self) -> None:
        """Whoever comes next has a turn. One whose turn is over before this returns, as that of a
        password is that was right lately, is within it: a long line takes no deep stack."""
        if self._calling:
            return
        self._calling = True
        try:
            while self._line and self._under_way < AT_ONCE:
                self._under_way += 1
                self._line.popleft().callback(None)
        finally:
            self._calling = False

    def _leave(self, waiting: Deferred[None]) -> None:
        """The client is gone."""
        self._line.remove(waiting)
