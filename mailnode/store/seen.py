"""Where accounts sign in from: var/seen.db, which follows the audit stream.

One process of the node writes it. It may be lost: then the next sign-in of each account is its
first, and is told to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed

from mailnode.store.audit_lines import Line, files, read_back
from mailnode.store.own_file import Kind, OwnFile
from mailnode.store.seen_rows import (
    Notice,
    SeenRow,
    followed,
    forget_others,
    recent_of,
    set_followed,
    take_lines,
)
from mailnode.store.sqlite import DAMAGED, damage_error
from mailnode.threads import Threads

T = TypeVar("T")
End = tuple[int, int, int]

NAME = "seen.db"
SEEN = Kind(NAME, synchronous="NORMAL")
MOST_LINES = 20_000  # of the stream that are taken up in one go; older ones are passed over


@frozen
class People:
    """Who has an account at this moment.

    Attributes:
        account_id_of: whose address it is.
        is_told: whether an account is told of anything.
        account_ids: of all.
    """

    account_id_of: Callable[[str], int | None]
    is_told: Callable[[int], bool]
    account_ids: Collection[int]


@frozen
class News:
    """What the stream has that is new.

    Attributes:
        through: the last line of it.
    """

    lines: tuple[Line, ...]
    notices: tuple[Notice, ...]
    through: int


@define(eq=False)
class Seen:
    """The file, and the stream that it follows.

    Attributes:
        now: UTC epoch seconds.
    """

    data: Path
    _call_in_reactor: Callable[..., object]
    now: Callable[[], float]
    _file: OwnFile = field(init=False)  # of the thread
    _threads: Threads = field(init=False)
    _looked_at: End | None = field(default=None, init=False)  # of the thread

    def __attrs_post_init__(self) -> None:
        self._file = OwnFile(SEEN, self.data)
        self._threads = Threads(self._call_in_reactor, most_threads=1)

    def look(self, people: People, most: int) -> Deferred[News | None]:
        """What is new, and nothing is kept of it yet; None for nothing.

        Errors:
            StoreBusy, StoreFull, StoreBroken: of `keep` and `recent`, too.
        """
        return self._threads.run(self._look, people, most)

    def keep(self, news: News, people: People, most: int) -> Deferred[None]:
        """It is taken up: the next look begins behind it."""
        return self._threads.run(partial(self._work, self._keep, news, people, most))

    def recent(self, account_id: int) -> Deferred[list[SeenRow]]:
        """See `recent_of`; nothing where the stream was never followed."""
        if not (self.data / NAME).exists():
            return succeed([])
        return self._threads.run(partial(self._work, self._recent, account_id))

    async def stop(self) -> None:
        """What its thread does is done, and the file closed."""
        await self._threads.run(self._file.close)
        self._threads.stop()

    # In the thread

    def _look(self, people: People, most: int) -> News | None:
        end = _end_of(self.data)
        if end == self._looked_at:
            return None
        news = self._work(self._find, people, most)
        if news is None:
            self._looked_at = end
        return news

    def _find(self, people: People, most: int) -> News | None:
        connection, _ = self._file.open()
        number = followed(connection)
        newest = next(read_back(self.data), None)
        through = newest.head.number if newest is not None else 0
        if number is None or number > through:  # the past is told to nobody
            set_followed(connection, through)
            return None
        lines = tuple(self._lines_behind(number))
        if not lines:
            return None
        connection.execute("BEGIN")
        try:
            notices = take_lines(connection, lines, *_of(people), most, self.now())
        finally:
            connection.execute("ROLLBACK")
        return News(lines, tuple(notices), through)

    def _lines_behind(self, number: int) -> list[Line]:
        found: list[Line] = []
        for line in islice(read_back(self.data), MOST_LINES):
            if line.head.number <= number:
                break
            found.append(line)
        return found[::-1]

    def _keep(self, news: News, people: People, most: int) -> None:
        connection, _ = self._file.open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            take_lines(connection, news.lines, *_of(people), most, self.now())
            set_followed(connection, news.through)
            if any(each.entry.event == "account-deleted" for each in news.lines):
                forget_others(connection, people.account_ids)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _recent(self, account_id: int) -> list[SeenRow]:
        connection, _ = self._file.open()
        return recent_of(connection, account_id)

    def _work(self, work: Callable[..., T], *args: object) -> T:
        try:
            return work(*args)
        except DAMAGED as error:
            self._file.mend(error)
            raise damage_error(error) from error
        except OSError as error:
            self._file.close()
            raise damage_error(error) from error


def _end_of(data: Path) -> End:
    """What is another one when something was appended."""
    there = files(data)
    if not there:
        return 0, 0, 0
    about = there[-1].stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _of(people: People) -> tuple[Callable[[str], int | None], Callable[[int], bool]]:
    return people.account_id_of, people.is_told
