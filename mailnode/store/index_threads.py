"""Threads: mails that name each other in Message-ID, In-Reply-To and References are of one.

Each name belongs to a thread, whether its mail is here or not; so mails find each other in
whichever order they come.
"""

from __future__ import annotations

import hashlib
import sqlite3

from mailnode.reading.summary import Summary
from mailnode.store.sqlite import padded

MOST_MERGED = 500  # mails of a thread that becomes part of another


def thread_for(connection: sqlite3.Connection, message_id: int, summary: Summary) -> int:
    """The thread of the mails that it answers, or that answer it; a new one where there is none.

    It is called inside the transaction that puts the mail in.
    """
    names = [name_of(each) for each in (*reversed(summary.references), summary.message_id) if each]
    if not names:
        return message_id
    marks, values = padded(names)
    rows = connection.execute(
        f"SELECT name, thread FROM main.named WHERE name IN ({marks})", values
    ).fetchall()
    known: dict[int, int] = dict(rows)
    threads = list(dict.fromkeys(known[name] for name in names if name in known))
    thread: int = threads[0] if threads else message_id
    for other in threads[1:]:
        _merge(connection, thread, other)
    connection.executemany(
        "INSERT INTO main.named (name, thread) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
        [(name, thread) for name in dict.fromkeys(names) if name not in known],
    )
    return thread


def _merge(connection: sqlite3.Connection, thread: int, other: int) -> None:
    """They are one; unless that one is large: a stranger who names many mails would cost much."""
    (mails,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM main.mail WHERE thread = ? LIMIT ?) AS some",
        (other, MOST_MERGED + 1),
    ).fetchone()
    if mails <= MOST_MERGED:
        for table in ("mail", "named"):
            connection.execute(
                f"UPDATE main.{table} SET thread = ? WHERE thread = ?", (thread, other)
            )


def name_of(message_id: str) -> int:
    """63 bits of its digest."""
    octets = message_id.encode("utf-8", "replace")
    digest: bytes = hashlib.blake2b(octets, digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    return number >> 1
