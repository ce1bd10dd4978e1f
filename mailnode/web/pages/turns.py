"""Turns: of all that a page says of one draft the newest is kept, whichever way it came.

A page that is left says its words beside what it asked for before. Either may arrive first, and the
page never hears which draft its words became: it counts its turns, and here is remembered which of
them was the last that was kept, and where.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import DeferredLock

from mailnode.background import Together
from mailnode.web.refusals import TooManyBodies

T = TypeVar("T")

MOST_PAGES = 2_000
MOST_OF_ACCOUNT = 20  # that are kept at a time, whoever still waits for it
_TURN = re.compile(r"([A-Za-z0-9]{16,64})-(\d{1,15})")


@frozen
class Turn:
    """How often a page had been written on.

    Attributes:
        page: the name that it gave itself when it was opened; "" for one without its script.
    """

    page: str = ""
    number: int = 0


def read_turn(text: str) -> Turn:
    """Of "a page's name-17"; a turn of no page for what is none."""
    found = _TURN.fullmatch(text)
    return Turn(found.group(1), int(found.group(2))) if found else Turn()


@define(eq=False)
class Page:
    """What of a page is kept.

    Attributes:
        number: of the last turn that was; -1 for none.
        draft_id, place: what it became; 0 and "" before.
    """

    number: int = -1
    draft_id: int = 0
    place: str = ""
    lock: DeferredLock = field(factory=DeferredLock)

    def note(self, turn: Turn, draft_id: int, place: str) -> None:
        """That turn was kept, there."""
        self.number = max(self.number, turn.number)
        self.draft_id, self.place = draft_id, place


@define(eq=False)
class Turns:
    """What is remembered of pages: of those that spoke last, until the node stops."""

    _pages: OrderedDict[tuple[int, str], Page] = field(factory=OrderedDict, init=False)
    _under_way: Together = field(factory=Together, init=False)
    _keeping: Counter[int] = field(factory=Counter, init=False)

    @asynccontextmanager
    async def of(self, account_id: int, turn: Turn) -> AsyncIterator[Page]:
        """The page whose turn it is, for one request at a time."""
        if not turn.page:
            yield Page()
            return
        key = account_id, turn.page
        page = self._pages.setdefault(key, Page())
        self._pages.move_to_end(key)
        if len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        await page.lock.acquire()
        try:
            yield page
        finally:
            page.lock.release()

    async def run(self, account_id: int, turn: Turn, work: Callable[[Page], Awaitable[T]]) -> T:
        """What `work` gives of the page whose turn it is, for one request at a time.

        It goes on when whoever asked is gone: of a page that is left the browser breaks off what
        was asked for before, and what that became must be known to what is asked last.

        Raises:
            TooManyBodies.
        """
        if self._keeping[account_id] >= MOST_OF_ACCOUNT:
            raise TooManyBodies()

        async def run() -> T:
            self._keeping[account_id] += 1
            try:
                async with self.of(account_id, turn) as page:
                    return await work(page)
            finally:
                self._keeping[account_id] -= 1
                self._keeping += Counter()  # those of none go

        done: T = await self._under_way.run(object(), run)
        return done

    async def has(self, account_id: int, turn: Turn) -> bool:
        """Whether it is known that this turn, or a later one, was kept."""
        page = self._pages.get((account_id, turn.page))
        if page is None:
            return False
        async with self.of(account_id, turn):
            return page.number >= turn.number
