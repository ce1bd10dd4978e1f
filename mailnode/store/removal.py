"""Deletion: copies leave their folder, and a message leaves with the last that holds it.

That is a copy in a folder, or a recipient in the queue.

These run in the writer thread, inside the batch's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import Factory, define

from mailnode.events import Dropped
from mailnode.store.journal import insert_events
from mailnode.store.sqlite import packed, padded, unpack
from mailnode.store.use import FolderUse

AT_ONCE = 512
DROP_AT_ONCE = 500
# Of a row of `message`.
IN_NO_FOLDER = "NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.message_id = message.id)"
HELD_BY_NOTHING = (
    f"{IN_NO_FOLDER} AND NOT EXISTS (SELECT 1 FROM queue WHERE queue.message_id = message.id)"
)


@define
class Removed:
    """What a batch took out.

    Attributes:
        blob_keys: of messages that are gone; their blobs may be deleted after the commit.
        uses: what the folders hold now.
        folders: that are gone.
    """

    copies: int = 0
    blob_keys: list[str] = Factory(list)
    uses: list[FolderUse] = Factory(list)
    folders: list[int] = Factory(list)


def delete_copies(
    connection: sqlite3.Connection, wanted: list[tuple[int, Sequence[int]]]
) -> tuple[list[int], Removed]:
    """Delete (folder, uids) each; give how many there were, and what it took out in all."""
    removed = Removed()
    counts = []
    for folder_id, uids in wanted:
        before = removed.copies
        for at in range(0, len(uids), AT_ONCE):
            _delete_some(connection, folder_id, uids[at : at + AT_ONCE], removed)
        counts.append(removed.copies - before)
    return counts, removed


def _delete_some(
    connection: sqlite3.Connection, folder_id: int, uids: Sequence[int], removed: Removed
) -> None:
    marks, values = padded(uids)
    where = f"folder_id = ? AND uid IN ({marks})"
    count, octets, packed_ids = connection.execute(
        f"SELECT count(*), sum(size_octets), {packed('message_id')} FROM delivery WHERE {where}",
        (folder_id, *values),
    ).fetchone()
    if not count:
        return
    connection.execute(f"DELETE FROM delivery WHERE {where}", (folder_id, *values))
    delete_unheld_messages(connection, unpack(packed_ids), removed)
    account_id, octets, mails = connection.execute(
        "UPDATE folder SET octets = octets - ?, mails = mails - ?, modseq = modseq + 1"
        " WHERE id = ? RETURNING account_id, octets, mails",
        (octets, count, folder_id),
    ).fetchone()
    removed.copies += count
    removed.uses.append(FolderUse(folder_id, account_id, octets, mails))


def delete_unheld_messages(
    connection: sqlite3.Connection, message_ids: Sequence[int], removed: Removed
) -> int:
    """Of these messages, the ones that neither a folder nor the queue holds are gone; how many."""
    total = 0
    for at in range(0, len(message_ids), AT_ONCE):
        marks, values = padded(message_ids[at : at + AT_ONCE])
        (packed_ids,) = connection.execute(
            f"SELECT {packed('id')} FROM message WHERE id IN ({marks}) AND {HELD_BY_NOTHING}",
            values,
        ).fetchone()
        if gone := unpack(packed_ids):
            marks, values = padded(gone)
            removed.blob_keys += [
                key
                for (key,) in connection.execute(
                    f"SELECT blob_key FROM message WHERE id IN ({marks}) AND blob_key IS NOT NULL",
                    values,
                )
            ]
            connection.execute(f"DELETE FROM message WHERE id IN ({marks})", values)
            total += len(gone)
    return total


_COPIES_OF_FOLDER = f"""
    SELECT delivery.uid, delivery.recipient, message.mail_id FROM delivery
    JOIN message ON message.id = delivery.message_id
    WHERE delivery.folder_id = ? ORDER BY delivery.uid LIMIT {DROP_AT_ONCE}
"""


# Beside the folders; each has a column account_id. Files of drafts go once no row names them.
OWNED = ("draft", "upload", "web_session", "token", "idempotency", "factor_use", "code_try")


def owners(connection: sqlite3.Connection) -> list[int]:
    """Accounts that there is anything of."""
    each = " UNION ".join(f"SELECT account_id FROM {table}" for table in ("folder", *OWNED))
    row = connection.execute(f"SELECT {packed('account_id')} FROM ({each}) AS owners").fetchone()
    return unpack(row[0])


def drop_some(connection: sqlite3.Connection, account_id: int) -> Removed:
    """Take out some copies of an account that is gone, each with a journal row.

    A folder goes when it is empty. Nothing was left when neither copies nor folders went: then what
    else it had is gone, too.
    """
    row = connection.execute(
        "SELECT id FROM folder WHERE account_id = ? ORDER BY id LIMIT 1", (account_id,)
    ).fetchone()
    if row is None:
        for table in OWNED:
            connection.execute(f"DELETE FROM {table} WHERE account_id = ?", (account_id,))
        return Removed()
    (folder_id,) = row
    copies = connection.execute(_COPIES_OF_FOLDER, (folder_id,)).fetchall()
    if not copies:
        connection.execute("DELETE FROM folder WHERE id = ?", (folder_id,))
        return Removed(folders=[folder_id])
    insert_events(
        connection,
        [
            Dropped(mail_id=mail_id, recipient=recipient, folder_id=folder_id, uid=uid)
            for uid, recipient, mail_id in copies
        ],
    )
    _, removed = delete_copies(connection, [(folder_id, [copy[0] for copy in copies])])
    return removed
