"""The order in which lists show a folder: the mail that came last is first, wherever it lay since.

Uids tell the order in which mail came into the folder, so what was moved there or imported would
stand above what came after it. The index has the order by time of what it has taken in; the mails
behind that are put in order when they are asked for, as long as they are few. Else, as long as the
index is that far behind, the order is that of the uids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
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
    WHERE l.folder_id = {folder} AND (l.at_ms, l.uid) {than} (?2, ?3) AND l.uid <= {known}
        AND EXISTS {there}
    ORDER BY l.at_ms {way}, l.uid {way} LIMIT ?4
"""
_BEHIND = """
    SELECT {at} AS at_ms, d.uid AS uid FROM node.delivery AS d
    WHERE d.folder_id = ?1 AND d.uid > {known} AND ({at}, d.uid) {than} (?2, ?3)
    ORDER BY 1 {way}, 2 {way} LIMIT ?4
"""
_BY_TIME = f"""
    SELECT at_ms, uid FROM (SELECT * FROM ({_SORTED}) UNION ALL SELECT * FROM ({_BEHIND}))
    ORDER BY 1 {{way}}, 2 {{way}} LIMIT ?4
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


# How far the index is behind, and the page, unless that is too far: then folder and uid are NULL,
# which none is. In one statement, for at each the interpreter may go to another thread and come
# back.
_PAGE = f"""
    WITH about (behind, known) AS (
        SELECT f.uid_next - 1 - coalesce(i.uid, 0), coalesce(i.uid, 0) FROM node.folder AS f
        LEFT JOIN main.folder AS i ON i.id = f.id AND i.uidvalidity = f.uidvalidity
        WHERE f.id = ?1 AND f.account_id = ?5)
    SELECT (SELECT behind FROM about), ({_LINES})
"""
_NEAR = "FROM about WHERE behind <= ?6"
_ABOUT = {"folder": f"(SELECT ?1 {_NEAR})", "known": f"(SELECT known {_NEAR})"}


def _texts(text: str, some: str) -> tuple[str, str]:
    """Older ones than some place, and newer ones."""
    ways = (("<", "DESC"), (">", "ASC"))
    shown = [some.format(at=_AT, there=_THERE, than=than, way=way, **_ABOUT) for than, way in ways]
    older, newer = (text.format(some=each) for each in shown)
    return older, newer


_TEXTS_BY_TIME, _TEXTS_BY_UID = _texts(_PAGE, _BY_TIME), _texts(_LINES, _BY_UID)

_STANDING = f"""
    SELECT (SELECT {_AT} FROM node.delivery AS d WHERE d.folder_id = f.id AND d.uid = ?3)
    FROM node.folder AS f WHERE f.id = ?1 AND f.account_id = ?2
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
    at = after or before or FIRST
    way = after is not None
    behind, rows = connection.execute(
        _TEXTS_BY_TIME[way], (folder_id, *at, limit, account_id, MOST_SORTED)
    ).fetchone()
    if behind is None:
        raise NoSuchFolder()
    if behind <= MOST_SORTED:
        return sorted(_listed(folder_id, rows), key=lambda each: each.standing, reverse=True)
    uid = at.uid if after or before else 1 << 62
    (rows,) = connection.execute(_TEXTS_BY_UID[way], (folder_id, uid, limit)).fetchone()
    return sorted(_listed(folder_id, rows), key=lambda each: each.standing.uid, reverse=True)


def _listed(folder_id: int, rows: str) -> list[Listed]:
    return [
        Listed(Copy(folder_id, *line), Standing(at_ms, line[0]))
        for at_ms, *line in unpack_rows(rows)
    ]


def around(
    connection: sqlite3.Connection, account_id: int, folder_id: int, uid: int
) -> tuple[Listed | None, Listed | None]:
    """The next newer and the next older one than this.

    Raises:
        NoSuchFolder, NoSuchMail.
        sqlite3.Error.
    """
    row = connection.execute(_STANDING, (folder_id, account_id, uid)).fetchone()
    if row is None:
        raise NoSuchFolder()
    if row[0] is None:
        raise NoSuchMail()
    here, where = Standing(row[0], uid), (connection, account_id, folder_id)
    newer, older = page(*where, after=here, limit=1), page(*where, before=here, limit=1)
    return next(iter(newer), None), next(iter(older), None)


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
