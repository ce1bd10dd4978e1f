"""Mail that the gear keeps from leaving, listed for whoever looks what a program has sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import define, frozen

from mailnode.reading.query import Words, folded_words, stand_in
from mailnode.store.database import Database
from mailnode.store.fetching import StoredMail
from mailnode.store.queue import find_queued_mail
from mailnode.store.sqlite import packed_rows, unpack_rows

SEARCHED_AT_ONCE, SEARCHED_ROWS = 500, 5_000


@frozen
class Captured:
    """A mail to one recipient elsewhere.

    Attributes:
        id: of its row in the queue.
        sender: the reverse-path, "" for `<>`.
        size_octets: of the raw octets.
        at: when it was queued, UTC epoch seconds.
    """

    id: int
    mail_id: str
    sender: str
    recipient: str
    subject: str
    size_octets: int
    at: float


@frozen
class FoundCaptured:
    """A piece of what fits, newest first.

    Attributes:
        before: where the next piece begins; 0 where nothing older is left to look at.
        reached_at: how far back was looked where that was not all, UTC epoch seconds.
    """

    rows: tuple[Captured, ...]
    before: int = 0
    reached_at: float | None = None


@frozen
class Level:
    """What shows that something was captured or deleted: one of the two is another then.

    Attributes:
        newest: the highest id; 0 for none.
    """

    newest: int
    count: int

    @property
    def mark(self) -> str:
        """Another one for each other level; never empty."""
        return f"{self.newest}-{self.count}"


@define(eq=False)
class CapturedMails:
    """All of it, whoever sent it. Each call may raise StoreBusy or StoreBroken."""

    database: Database

    async def page(
        self, *, before: int = 0, after: int | None = None, limit: int = 50
    ) -> list[Captured]:
        """As `list_captured` has it."""
        return await self.database.read(
            lambda connection: list_captured(connection, before=before, after=after, limit=limit)
        )

    async def search(self, words: Sequence[Words], before: int, limit: int) -> FoundCaptured:
        """As `search_captured` has it."""
        return await self.database.read(
            lambda connection: search_captured(connection, words, before, limit)
        )

    async def find(self, row_id: int) -> tuple[Captured, StoredMail] | None:
        """The row of this id, and its mail as it would leave; None for none."""
        return await self.database.read(lambda connection: open_captured(connection, row_id))

    async def level(self) -> Level:
        return await self.database.read(read_level)


_LINE = (
    "queue.id, queue.mail_id, queue.sender, queue.recipient, message.subject AS subject,"
    " message.size_octets AS size_octets, queue.queued_at"
)
_JOINED = "queue JOIN message ON message.id = queue.message_id WHERE queue.state = 'captured'"
_COLUMNS = ("id", "mail_id", "sender", "recipient", "subject", "size_octets", "queued_at")
_SOME = f"SELECT {packed_rows(*_COLUMNS)} FROM (SELECT {_LINE} FROM {_JOINED}"
_BEFORE = f"{_SOME} AND queue.id < ? ORDER BY queue.id DESC LIMIT ?) AS lines"
_AFTER = f"{_SOME} AND queue.id > ? ORDER BY queue.id LIMIT ?) AS lines"


def list_captured(
    connection: sqlite3.Connection, *, before: int = 0, after: int | None = None, limit: int = 50
) -> list[Captured]:
    """The newest first.

    Args:
        before: those with a lower id, the highest of them; 0 begins with the newest.
        after: those with a higher one, the lowest of them.
    """
    if after is None:
        (rows,) = connection.execute(_BEFORE, (before or 1 << 62, limit)).fetchone()
        return [Captured(*row) for row in unpack_rows(rows)]
    (rows,) = connection.execute(_AFTER, (after, limit)).fetchone()
    return [Captured(*row) for row in unpack_rows(rows)][::-1]


def find_captured(connection: sqlite3.Connection, row_id: int) -> Captured | None:
    """The one with this id; None when there is none, or it isn't captured."""
    row = connection.execute(
        f"SELECT {_LINE} FROM {_JOINED} AND queue.id = ?", (row_id,)
    ).fetchone()
    return Captured(*row) if row else None


def open_captured(
    connection: sqlite3.Connection, row_id: int
) -> tuple[Captured, StoredMail] | None:
    """The same with its mail as it would leave: the prefix is its head."""
    row = find_captured(connection, row_id)
    mail = find_queued_mail(connection, row.mail_id) if row is not None else None
    if row is None or mail is None:
        return None
    octets = len(mail.prefix) + mail.size_octets
    return row, StoredMail(0, mail.prefix, mail.body, octets, mail.dot_lines)


def read_level(connection: sqlite3.Connection) -> Level:
    """Out of an index alone."""
    newest, count = connection.execute(
        "SELECT coalesce(max(id), 0), count(*) FROM queue WHERE state = 'captured'"
    ).fetchone()
    return Level(int(newest), int(count))


def search_captured(
    connection: sqlite3.Connection,
    words: Sequence[Words],
    before: int = 0,
    limit: int = 50,
    searched_rows: int = SEARCHED_ROWS,
) -> FoundCaptured:
    """The newest whose sender, recipient and subject the words stand in.

    So many rows are looked at in one go, and who wants older ones asks on from there.

    Args:
        words: each `where` of them is "from", "to" or "subject", or "" for any of these.
        before: a piece's `before`; 0 begins with the newest.
    """
    found: list[Captured] = []
    for _ in range(0, searched_rows, SEARCHED_AT_ONCE):
        rows = list_captured(connection, before=before, limit=SEARCHED_AT_ONCE)
        for row in rows:
            if _fits(row, words):
                found.append(row)
                if len(found) == limit:
                    return FoundCaptured(tuple(found), row.id)
        if len(rows) < SEARCHED_AT_ONCE:
            return FoundCaptured(tuple(found))
        before = rows[-1].id
    return FoundCaptured(tuple(found), before, rows[-1].at)


def _fits(row: Captured, words: Sequence[Words]) -> bool:
    texts = {
        "from": folded_words(row.sender),
        "to": folded_words(row.recipient),
        "subject": folded_words(row.subject),
    }
    for each in words:
        places = [texts[each.where]] if each.where else texts.values()
        if any(stand_in(each, text) for text in places) is each.without:
            return False
    return True
