"""Where accounts sign in from: what is new of it, and how often they are told. In a thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from attrs import frozen

from mailnode.audited import AGAIN, Entry
from mailnode.machine import network_of
from mailnode.store.audit_lines import Line

MOST_SEEN = 50  # rows of an account; those that were used longest ago make room
MOST_KNOWN = 200
SHOWN = 20
TOLD_LATE_S = 86400.0  # of what is older nobody is told any more
WEB = "web"
WEIGHTY = frozenset(("password-changed", "factor-added", "factor-removed", "recovery-codes-made"))
NOTICED = WEIGHTY | {"token-made"}
SIGN_INS, ALL = "sign-ins and tokens", "all"

_SEE = """
INSERT INTO seen (account_id, way, client, device, first_at, last_at, times)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id, way, client, device) DO UPDATE SET
    last_at = max(last_at, excluded.last_at), times = times + excluded.times
"""
_KNOW = """
INSERT INTO known (account_id, kind, name, last_at) VALUES (?, ?, ?, ?)
ON CONFLICT (account_id, kind, name) DO UPDATE SET last_at = max(last_at, excluded.last_at)
"""
_TELL = """
INSERT INTO told (account_id, day, notices) VALUES (?, ?, 1)
ON CONFLICT (account_id) DO UPDATE SET
    notices = CASE day WHEN excluded.day THEN notices + 1 ELSE 1 END, day = excluded.day
RETURNING notices
"""
_COUNT = "SELECT notices FROM told WHERE account_id = ? AND day = ?"
_FOLLOW = """
INSERT INTO followed (id, number) VALUES (1, ?)
ON CONFLICT (id) DO UPDATE SET number = excluded.number
"""


@frozen
class SeenRow:
    """Sign-ins that are alike.

    Attributes:
        way: "web", "pop3", "smtp", or with an app password "pop3 by phone".
        client: the address; "" for this machine.
    """

    way: str
    client: str
    first_at: float
    last_at: float
    times: int


@frozen
class Notice:
    """What an account is told of.

    Attributes:
        line: of the audit stream.
        last: of what no more are told on that day: `SIGN_INS`, `ALL`, or "" for nothing.
    """

    account_id: int
    line: Line
    last: str = ""


def followed(connection: sqlite3.Connection) -> int | None:
    """Up to which line all of it is here; None where nothing ever was."""
    row = connection.execute("SELECT number FROM followed").fetchone()
    return None if row is None else int(row[0])


def set_followed(connection: sqlite3.Connection, number: int) -> None:
    connection.execute(_FOLLOW, (number,))


def take_lines(
    connection: sqlite3.Connection,
    lines: Sequence[Line],
    account_id_of: Callable[[str], int | None],
    is_told: Callable[[int], bool],
    most: int,
    now: float,
) -> list[Notice]:
    """Take up lines, the oldest first, in a transaction; what is to be told of them.

    Args:
        account_id_of: whose address it is.
        is_told: whether an account wants to know at all.
        most: notices of an account in a day, and of what is weighty so many more: sign-ins and
            tokens, of which there may be any number, never take their place.
    """
    notices = []
    for line in lines:
        account_id = account_id_of(line.entry.account)
        if account_id is None:
            continue
        is_news = line.entry.event in NOTICED
        if line.entry.event in ("signed-in", AGAIN):
            is_news = _take_sign_in(connection, account_id, line)
        late = abs(now - line.entry.at) > TOLD_LATE_S
        if is_news and not late and is_told(account_id):
            day = time.strftime("%Y-%m-%d", time.gmtime(line.entry.at))
            most_of_it = 2 * most if line.entry.event in WEIGHTY else most
            (told,) = connection.execute(_COUNT, (account_id, day)).fetchone() or (0,)
            if told < most_of_it:
                (count,) = connection.execute(_TELL, (account_id, day)).fetchone()
                last = {2 * most: ALL, most: SIGN_INS}.get(count, "")
                notices.append(Notice(account_id, line, last))
    return notices


def _take_sign_in(connection: sqlite3.Connection, account_id: int, line: Line) -> bool:
    """Whether it is from where the account never was, as far as is known."""
    entry, detail = line.entry, line.entry.detail
    way, client, device = entry.actor.way, entry.actor.client, str(detail.get("device", ""))
    if way == WEB and not device:  # a password that is asked for once more
        return False
    times = detail.get("times", 1)
    count = times if isinstance(times, int) and not isinstance(times, bool) else 1
    at = _last_at(entry)
    connection.execute(_SEE, (account_id, way, client, device, at, at, max(1, count)))
    network = network_of(client) if client else "this machine"
    had_any = _has(connection, account_id)
    was_there = _has(connection, account_id, "network", network)
    had_device = _has(connection, account_id, "device")
    is_new = had_any and not was_there
    if device:  # a browser that is known may be anywhere
        is_known = _has(connection, account_id, "device", device)
        is_new = not is_known and (had_device or is_new)
        connection.execute(_KNOW, (account_id, "device", device, at))
    connection.execute(_KNOW, (account_id, "network", network, at))
    _make_room(connection, account_id)
    return is_new


def _last_at(entry: Entry) -> float:
    """When it was; of what is summed up, the last time."""
    try:
        return datetime.fromisoformat(str(entry.detail["last"])).timestamp()
    except (KeyError, ValueError, OverflowError):
        return entry.at


def _has(connection: sqlite3.Connection, account_id: int, kind: str = "", name: str = "") -> bool:
    """Whether something is known of an account: of that kind, or exactly that."""
    query, values = "SELECT 1 FROM known WHERE account_id = ?", [account_id, kind, name]
    query += " AND kind = ?" if kind else ""
    query += " AND name = ?" if name else ""
    wanted = [values[0], *(each for each in values[1:] if each)]
    return connection.execute(f"{query} LIMIT 1", wanted).fetchone() is not None


def _make_room(connection: sqlite3.Connection, account_id: int) -> None:
    for table, key, most in (
        ("seen", "(way, client, device)", MOST_SEEN),
        ("known", "(kind, name)", MOST_KNOWN),
    ):
        columns = key.strip("()")
        connection.execute(
            f"DELETE FROM {table} WHERE account_id = ? AND {key} IN (SELECT {columns} FROM {table}"
            " WHERE account_id = ? ORDER BY last_at DESC LIMIT -1 OFFSET ?)",
            (account_id, account_id, most),
        )


def recent_of(connection: sqlite3.Connection, account_id: int) -> list[SeenRow]:
    """Where an account signed in from, the last one first."""
    rows = connection.execute(
        "SELECT way, client, first_at, last_at, times FROM seen WHERE account_id = ?"
        " ORDER BY last_at DESC LIMIT ?",
        (account_id, SHOWN),
    )
    return [SeenRow(*row) for row in rows]


def forget_others(connection: sqlite3.Connection, account_ids: Collection[int]) -> None:
    """Nothing is kept of accounts that are gone."""
    for table in ("seen", "known", "told"):
        rows = connection.execute(f"SELECT DISTINCT account_id FROM {table}").fetchall()
        gone = [(each,) for (each,) in rows if each not in account_ids]
        connection.executemany(f"DELETE FROM {table} WHERE account_id = ?", gone)
