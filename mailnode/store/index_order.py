"""The order in which lists show a folder: the mail that came last is first, wherever it lay since.

Uids tell the order in which mail came into the folder, so what was moved there or imported would
stand above what came after it. The index has the order by time of what it has taken in; the mails
behind that are put in order when they are asked for, as long as they are few. Else, as long as the
index is that far behind, the order is that of the uids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mailnode.errors import NoSuchFolder, NoSuchMail
from mailnode.model import Standing
from mailnode.store.folder_lists import LINE, LINE_ROWS, Copy
from mailnode.store.sqlite import packed_rows, unpack_rows

MOST_SORTED = 20_000  # uids that the index is behind: 5 ms
GONE_AT_ONCE = 512


FIRST = Standing(1 << 62, 0)
LAST = Standing(-(1 << 62), 0)


class Listed(NamedTuple):
    """A line of a list, and where it stands."""

    copy: Copy
    standing: Standing


MS = "CAST({} * 1000 AS INTEGER)"
_AT = MS.format("d.received_at")
_THERE = (
    "(SELECT 1 FROM node.delivery AS d WHERE d.folder_id = l.folder_id AND d.uid = l.uid"
    f" AND {_AT} = l.at_ms)"
)
_SORTED = """
    SELECT l.at_ms AS at_ms, l.uid AS uid FROM main.lying AS l
    WHERE l.folder_id = ?1 AND (l.at_ms, l.uid) {than} (?2, ?3) AND l.uid <= ?4 AND EXISTS {there}
    ORDER BY l.at_ms {way}, l.uid {way} LIMIT ?5
"""
_BEHIND = """
    SELECT {at} AS at_ms, d.uid AS uid FROM node.delivery AS d
    WHERE d.folder_id = ?1 AND d.uid > ?4 AND ({at}, d.uid) {than} (?2, ?3)
    ORDER BY 1 {way}, 2 {way} LIMIT ?5
"""
_BY_TIME = f"""
    SELECT at_ms, uid FROM (SELECT * FROM ({_SORTED}) UNION ALL SELECT * FROM ({_BEHIND}))
    ORDER BY 1 {{way}}, 2 {{way}} LIMIT ?5
"""
_BY_UID = """
    SELECT {at} AS at_ms, d.uid AS uid FROM node.delivery AS d
    WHERE d.folder_id = ?1 AND d.uid {than} ?2 ORDER BY d.uid {way} LIMIT ?3
"""
_LINES = f"""
    SELECT {packed_rows("at_ms", *LINE_ROWS)} FROM (
        SELECT some.at_ms AS at_ms, {", ".join(LINE)} FROM ({{some}}) AS some
        JOIN node.delivery AS d ON d.folder_id = ?1 AND d.uid = some.uid
        JOIN node.message AS m ON m.id = d.message_id
    ) AS lines
"""


def _texts(some: str) -> tuple[str, str]:
    """Older ones than some place, and newer ones."""
    ways = (("<", "DESC"), (">", "ASC"))
    shown = [some.format(at=_AT, there=_THERE, than=than, way=way) for than, way in ways]
    older, newer = (_LINES.format(some=each) for each in shown)
    return older, newer


_TEXTS_BY_TIME, _TEXTS_BY_UID = _texts(_BY_TIME), _texts(_BY_UID)

_FOLDER = """
    SELECT f.uid_next - 1, CASE WHEN i.uidvalidity = f.uidvalidity THEN i.uid ELSE 0 END
    FROM node.folder AS f LEFT JOIN main.folder AS i ON i.id = f.id
    WHERE f.id = ? AND f.account_id = ?
"""


def page(
    connection: sqlite3.Connection,
    account_id: int,
    folder_id: int,
    *,
    before: Standing | None = None,
    after: Standing | None = None,
    limit: int,
) -> list[Listed]:
    """Lines, the newest first.

    Args:
        connection: of an `IndexFile`.
        before: those behind this place, the newest of them; None begins with the newest.
        after: those in front of this one, the oldest of them.

    Raises:
        NoSuchFolder.
        sqlite3.Error.
    """
    with _one_state(connection):
        last, known = _folder(connection, account_id, folder_id)
        return _page(connection, folder_id, last, known, before, after, limit)


def around(
    connection: sqlite3.Connection, account_id: int, folder_id: int, uid: int
) -> tuple[Listed | None, Listed | None]:
    """The next newer and the next older one than this.

    Raises:
        NoSuchFolder, NoSuchMail.
        sqlite3.Error.
    """
    with _one_state(connection):
        last, known = _folder(connection, account_id, folder_id)
        row = connection.execute(
            f"SELECT {_AT} FROM node.delivery AS d WHERE d.folder_id = ? AND d.uid = ?",
            (folder_id, uid),
        ).fetchone()
        if row is None:
            raise NoSuchMail()
        here = Standing(row[0], uid)
        newer = _page(connection, folder_id, last, known, None, here, 1)
        older = _page(connection, folder_id, last, known, here, None, 1)
    return next(iter(newer), None), next(iter(older), None)


@contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """Whatever is read is of one moment, in each of both files."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _folder(connection: sqlite3.Connection, account_id: int, folder_id: int) -> tuple[int, int]:
    """The last uid that it gave, and the last one that the index knows."""
    row = connection.execute(_FOLDER, (folder_id, account_id)).fetchone()
    if row is None:
        raise NoSuchFolder()
    return row[0], row[1] or 0


def _page(
    connection: sqlite3.Connection,
    folder_id: int,
    last: int,
    known: int,
    before: Standing | None,
    after: Standing | None,
    limit: int,
) -> list[Listed]:
    by_uid = last - known > MOST_SORTED
    at = after or before or FIRST
    values: tuple[int, ...] = (folder_id, *at, known, limit)
    if by_uid:
        values = (folder_id, at.uid if after or before else 1 << 62, limit)
    text = (_TEXTS_BY_UID if by_uid else _TEXTS_BY_TIME)[after is not None]
    (rows,) = connection.execute(text, values).fetchone()
    found = [
        Listed(Copy(folder_id, *line), Standing(at_ms, line[0]))
        for at_ms, *line in unpack_rows(rows)
    ]
    return sorted(
        found, key=lambda each: each.standing.uid if by_uid else each.standing, reverse=True
    )


# Filling


def put_in_order(
    connection: sqlite3.Connection, folder_id: int, standings: Iterable[Standing]
) -> None:
    """They lie there; inside the transaction that takes in their mails."""
    connection.executemany(
        "INSERT INTO main.lying (folder_id, at_ms, uid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(folder_id, *each) for each in standings],
    )


def take_out_of_order(
    connection: sqlite3.Connection, folder_id: int, behind: Standing
) -> Standing | None:
    """Some of those that lie in the folder no more are out of its order.

    Args:
        behind: where to go on; `LAST` at the beginning.

    Returns:
        Where to go on; None once all were looked at.

    Raises:
        sqlite3.Error.
    """
    gone = connection.execute(
        "SELECT l.at_ms, l.uid FROM main.lying AS l WHERE l.folder_id = ?"
        f" AND (l.at_ms, l.uid) > (?, ?) AND NOT EXISTS {_THERE}"
        f" ORDER BY l.at_ms, l.uid LIMIT {GONE_AT_ONCE}",
        (folder_id, *behind),
    ).fetchall()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(
            "DELETE FROM main.lying WHERE folder_id = ? AND at_ms = ? AND uid = ?",
            [(folder_id, *each) for each in gone],
        )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return Standing(*gone[-1]) if len(gone) == GONE_AT_ONCE else None
