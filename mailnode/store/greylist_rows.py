"""The greylist's rows: who is put off, who is let through, whom accounts have written to.

All of it runs in a thread, for many that ask at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from attrs import frozen

from mailnode.store.sqlite import execute_rows, padded

DAY_S = 86400
WRITTEN_KEEP_S = 400 * DAY_S
MOST_ROWS = 1_000_000
AT_ONCE = 256
TRIM_ROWS = 2_000  # a piece of it: who asks meanwhile waits

NEW, WAITS, WAITED, SEEN, WRITTEN = "new", "waits", "waited", "seen before", "written to"


@frozen
class GreylistRules:
    """How long who waits.

    Attributes:
        wait_s: who is unknown is put off for so long.
        until_s: behind his first attempt; then he begins anew.
        keep_s: who was let through and isn't seen for so long is unknown again.
    """

    wait_s: float = 300.0
    until_s: float = 4 * 3600.0
    keep_s: float = 36.0 * DAY_S


@frozen
class Asked:
    """A recipient that a stranger names.

    Attributes:
        network: of the client, "192.0.2.0/24".
        sender: the reverse-path, "" for `<>`.
    """

    network: str
    sender: str
    recipient: str

    @property
    def waiting_key(self) -> bytes:
        return _key(self.network, self.sender.lower(), self.recipient.lower())

    @property
    def through_key(self) -> bytes:
        return _key(self.network, self.sender.rpartition("@")[2].lower())

    @property
    def written_key(self) -> bytes:
        return written_key(self.sender)


@frozen
class Look:
    """What the list says of him.

    Attributes:
        wait_s: he is to come again after so long; 0 when he is let through.
        because: NEW, WAITS, WAITED, SEEN, WRITTEN; "" where nobody could say.
    """

    wait_s: float = 0.0
    because: str = ""


def written_key(address: str) -> bytes:
    return _key("written to", address.lower())


def _key(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()


def judge(
    connection: sqlite3.Connection, asked: Sequence[Asked], rules: GreylistRules, now: float
) -> list[Look]:
    """Of each in turn, whether it is let through; what is to be kept of that is written."""
    at = int(now)
    written = _find(connection, "written_to", [each.written_key for each in asked if each.sender])
    through = _find(connection, "let_through", [each.through_key for each in asked])
    waiting = _find(connection, "waiting", [each.waiting_key for each in asked])
    looks: list[Look] = []
    begun, seen, over = dict[bytes, int](), dict[bytes, int](), list[bytes]()
    for each in asked:
        key, pair = each.waiting_key, each.through_key
        first_at, seen_at = waiting.get(key), through.get(pair)
        if each.sender and each.written_key in written:
            looks.append(Look(0.0, WRITTEN))
        elif seen_at is not None and now - seen_at < rules.keep_s:
            if abs(now - seen_at) >= DAY_S:
                seen[pair] = through[pair] = at
            looks.append(Look(0.0, SEEN))
        elif first_at is None or not 0 <= now - first_at <= rules.until_s:
            begun[key] = waiting[key] = at
            looks.append(Look(rules.wait_s, NEW))
        elif now - first_at < rules.wait_s:
            looks.append(Look(first_at + rules.wait_s - now, WAITS))
        else:
            seen[pair] = through[pair] = at
            over.append(key)
            looks.append(Look(0.0, WAITED))
    if begun or seen:
        connection.execute("BEGIN IMMEDIATE")
        _keep(connection, "waiting", begun)
        _keep(connection, "let_through", seen)
        if over:
            marks, values = padded(over)
            connection.execute(f"DELETE FROM waiting WHERE key IN ({marks})", values)
        connection.execute("COMMIT")
    return looks


def note_written(connection: sqlite3.Connection, keys: Iterable[bytes], now: float) -> None:
    """Accounts have written to these."""
    wanted = list(dict.fromkeys(keys))
    connection.execute("BEGIN IMMEDIATE")
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        known = _find(connection, "written_to", some)
        late = {key: int(now) for key in some if abs(now - known.get(key, 0)) >= DAY_S}
        _keep(connection, "written_to", late)
    connection.execute("COMMIT")


def trim(
    connection: sqlite3.Connection, rules: GreylistRules, now: float, most_rows: int = MOST_ROWS
) -> bool:
    """Rows that are too old are gone, and the oldest of those that are too many; True when there
    is more to do, for a call does a bounded piece of it."""
    more = False
    for table, keep_s in (
        ("waiting", rules.until_s),
        ("let_through", rules.keep_s),
        ("written_to", WRITTEN_KEEP_S),
    ):
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        # A hundredth more than must go, so that it needn't be done again at once.
        excess = rows - most_rows + most_rows // 100 if rows > most_rows else 0
        oldest = f"SELECT key FROM {table} WHERE at < ? ORDER BY at LIMIT ?"
        for before, count in ((int(now - keep_s), TRIM_ROWS), (1 << 60, min(excess, TRIM_ROWS))):
            if count:
                done = connection.execute(
                    f"DELETE FROM {table} WHERE key IN ({oldest})", (before, count)
                )
                more = more or done.rowcount == TRIM_ROWS
    return more


def _find(connection: sqlite3.Connection, table: str, keys: Sequence[bytes]) -> dict[bytes, int]:
    if not keys:
        return {}
    marks, values = padded(keys)
    rows = connection.execute(f"SELECT key, at FROM {table} WHERE key IN ({marks})", values)
    return dict(rows.fetchall())


def _keep(connection: sqlite3.Connection, table: str, rows: dict[bytes, int]) -> None:
    text = (
        f"INSERT INTO {table} (key, at) VALUES {{rows}}"
        " ON CONFLICT (key) DO UPDATE SET at = excluded.at"
    )
    execute_rows(connection, text, 2, [value for row in rows.items() for value in row])


def seed(connection: sqlite3.Connection, limit: int = 100_000) -> list[str]:
    """Whom accounts have written to, by the journal of mail.db: for a list that begins."""
    return [address for (address,) in connection.execute(_WRITTEN_TO, (limit,))]


_WRITTEN_TO = """
    SELECT DISTINCT q.recipient FROM journal AS a JOIN journal AS q ON q.mail_id = a.mail_id
    WHERE a.event = 'accepted' AND json_extract(a.detail, '$.account') IS NOT NULL
        AND q.event = 'queued' AND q.recipient IS NOT NULL
        AND json_extract(q.detail, '$.captured') IS NULL
    LIMIT ?
"""
