"""What an owner does with copies: marks them, moves them to another folder, deletes them for good.

These run in the writer thread, inside the batch's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import Factory, define, frozen

from mailnode.errors import MailError, NoSuchFolder
from mailnode.events import Deleted, Event, Moved
from mailnode.model import DRAFT, MARKS
from mailnode.store.journal import insert_events
from mailnode.store.removal import Removed, delete_copies
from mailnode.store.sqlite import execute_rows, padded
from mailnode.store.use import FolderUse

Moves = list[tuple[int, int]]
"""(uid before, uid now) of each copy."""


@frozen
class Mark:
    """Flags to set and to take; uids in one piece."""

    account_id: int
    folder_id: int
    uids: Sequence[int]
    add: int
    take: int


@frozen
class Move:
    """Copies that go to another folder; without one (0) they are deleted.

    Attributes:
        uids: ascending, in one piece.
        by: the account's address, for the journal.
        at: UTC epoch seconds.
        through: `model.PAGE` where its owner did it in a browser; "" elsewhere.
    """

    account_id: int
    folder_id: int
    uids: Sequence[int]
    target_id: int
    by: str
    at: float
    through: str = ""


@define
class Rearranged:
    """What is told of a commit."""

    removed: Removed = Factory(Removed)
    events: list[Event] = Factory(list)


def _name_of(connection: sqlite3.Connection, account_id: int, folder_id: int) -> str | None:
    """None: it isn't the account's. That fails its job alone, and no batch."""
    row = connection.execute(
        "SELECT name FROM folder WHERE id = ? AND account_id = ?", (folder_id, account_id)
    ).fetchone()
    return str(row[0]) if row else None


def mark_copies(
    connection: sqlite3.Connection, wanted: list[Mark]
) -> tuple[list[int | MailError], Rearranged]:
    """How many copies each mark was for, whether or not it changed their flags."""
    counts: list[int | MailError] = []
    note = Rearranged()
    for mark in wanted:
        if _name_of(connection, mark.account_id, mark.folder_id) is None:
            counts.append(NoSuchFolder())
            continue
        marks, values = padded(mark.uids)
        where = f"folder_id = ? AND uid IN ({marks})"
        (count,) = connection.execute(
            f"SELECT count(*) FROM delivery WHERE {where}", (mark.folder_id, *values)
        ).fetchone()
        counts.append(count)
        changed = connection.execute(
            "UPDATE delivery SET flags = (flags | ?) & ~?, modseq = 1 +"
            " (SELECT modseq FROM folder WHERE folder.id = delivery.folder_id)"
            f" WHERE {where} AND flags <> (flags | ?) & ~?",
            (mark.add, mark.take, mark.folder_id, *values, mark.add, mark.take),
        )
        if changed.rowcount:
            note.removed.uses.append(_count(connection, mark.folder_id, 0, 0))
    return counts, note


_USE = """
    UPDATE folder SET mails = mails + ?, octets = octets + ?, uid_next = uid_next + ?,
        modseq = modseq + 1
    WHERE id = ? RETURNING id, account_id, octets, mails
"""
_COPIES = """
    SELECT d.uid, d.message_id, d.recipient, d.flags, d.size_octets, d.received_at, m.mail_id
    FROM delivery AS d JOIN message AS m ON m.id = d.message_id
    WHERE d.folder_id = ? AND d.uid IN ({marks}) ORDER BY d.uid
"""
_INSERT = """
    INSERT INTO delivery (folder_id, uid, message_id, recipient, flags, modseq, size_octets,
        received_at)
    VALUES {rows}
"""


def _count(
    connection: sqlite3.Connection, folder_id: int, mails: int, octets: int, uids: int = 0
) -> FolderUse:
    row = connection.execute(_USE, (mails, octets, uids, folder_id)).fetchone()
    return FolderUse(*row)


def move_copies(
    connection: sqlite3.Connection, wanted: list[Move]
) -> tuple[list[Moves | MailError], Rearranged]:
    """(uid before, uid now) of the copies that each move found; a move to where they lie is none.

    The messages stay: their copies are made before those that were are deleted.
    """
    results: list[Moves | MailError] = []
    note = Rearranged()
    for move in wanted:
        from_name = _name_of(connection, move.account_id, move.folder_id)
        to_name = _name_of(connection, move.account_id, move.target_id)
        if from_name is None or to_name is None:
            results.append(NoSuchFolder())
            continue
        if move.folder_id == move.target_id:
            results.append([])
            continue
        marks, values = padded(move.uids)
        rows = connection.execute(_COPIES.format(marks=marks), (move.folder_id, *values)).fetchall()
        moved: Moves = []
        through = {"through": move.through} if move.through else {}
        if rows:
            (uid, modseq) = connection.execute(
                "SELECT uid_next, modseq + 1 FROM folder WHERE id = ?", (move.target_id,)
            ).fetchone()
            copies: list[object] = []
            octets = 0
            for before, message_id, recipient, flags, size, received_at, mail_id in rows:
                marks = flags & MARKS  # who moves a mail has judged it: no tag is left
                copies += (move.target_id, uid, message_id, recipient, marks, modseq, size)
                copies.append(received_at)
                octets += size
                moved.append((before, uid))
                note.events.append(
                    Moved(
                        at=move.at,
                        mail_id=mail_id,
                        recipient=move.by,
                        folder_id=move.target_id,
                        uid=uid,
                        detail={
                            "from_folder": from_name,
                            "from_uid": before,
                            "to_folder": to_name,
                            **through,
                        },
                    )
                )
                uid += 1
            execute_rows(connection, _INSERT, 8, copies)
            if any(flags & DRAFT for _uid, _id, _to, flags, *_rest in rows):
                _take_drafts_along(connection, move, moved)
            use = _count(connection, move.target_id, len(rows), octets, len(rows))
            _counts, removed = delete_copies(
                connection, [(move.folder_id, [before for before, _ in moved])]
            )
            _join(note.removed, removed)
            note.removed.uses.append(use)
        results.append(moved)
    insert_events(connection, note.events)
    return results, note


def _take_drafts_along(connection: sqlite3.Connection, move: Move, moved: Moves) -> None:
    """A draft that is thrown away and brought back still has its files."""
    for before, uid in moved:
        connection.execute(
            "UPDATE draft SET folder_id = ?, uid = ? WHERE folder_id = ? AND uid = ?",
            (move.target_id, uid, move.folder_id, before),
        )


def delete_marked(
    connection: sqlite3.Connection, wanted: list[Move]
) -> tuple[list[Moves | MailError], Rearranged]:
    """(uid, 0) of each copy that is gone; a message goes with the last that holds it."""
    results: list[Moves | MailError] = []
    note = Rearranged()
    for move in wanted:
        name = _name_of(connection, move.account_id, move.folder_id)
        if name is None:
            results.append(NoSuchFolder())
            continue
        marks, values = padded(move.uids)
        rows = connection.execute(_COPIES.format(marks=marks), (move.folder_id, *values)).fetchall()
        for uid, *_facts, mail_id in rows:
            note.events.append(
                Deleted(
                    at=move.at,
                    mail_id=mail_id,
                    recipient=move.by,
                    folder_id=move.folder_id,
                    uid=uid,
                    detail={"folder": name},
                )
            )
        uids = [row[0] for row in rows]
        _counts, removed = delete_copies(connection, [(move.folder_id, uids)])
        _join(note.removed, removed)
        results.append([(uid, 0) for uid in uids])
    insert_events(connection, note.events)
    return results, note


def _join(into: Removed, removed: Removed) -> None:
    into.copies += removed.copies
    into.blob_keys += removed.blob_keys
    into.uses += removed.uses
