"""Mail that the gear keeps from leaving, listed for whoever looks what a program has sent."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from mailnode.store.sqlite import packed_rows, unpack_rows


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
