"""Copies that senders keep of what they send, in the accept's batch: its 250 is for them, too.

These run in the writer thread, inside the batch's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen

from mailnode.events import CopyKept, Event
from mailnode.model import Envelope, Kept, Message
from mailnode.store.sqlite import execute_rows
from mailnode.store.use import FolderUse, make_folders


@frozen
class KeptMail:
    """One of them; its message is in the batch already."""

    message_id: int
    kept: Kept
    envelope: Envelope
    message: Message


_INSERT = """
    INSERT INTO delivery (folder_id, uid, message_id, recipient, flags, modseq, size_octets,
        received_at)
    VALUES {rows}
"""
_COUNT = """
    UPDATE folder SET uid_next = uid_next + 1, modseq = modseq + 1, mails = mails + 1,
        octets = octets + ?
    WHERE account_id = ? AND name = ?
    RETURNING id, uid_next - 1, modseq, octets, mails
"""


def keep_copies(
    connection: sqlite3.Connection, mails: Sequence[KeptMail], events: list[Event], now: float
) -> list[FolderUse]:
    """Each lies in its folder, which is made where it is missing; what the folders hold then.

    Args:
        events: gets one for each.
    """
    copies: list[object] = []
    uses: list[FolderUse] = []
    for mail in mails:
        kept, envelope = mail.kept, mail.envelope
        size = len(mail.message.prefix) + mail.message.size_octets
        wanted = (size, kept.account_id, kept.folder)
        row = connection.execute(_COUNT, wanted).fetchone()
        if row is None:
            make_folders(connection, kept.account_id, [kept.folder])
            row = connection.execute(_COUNT, wanted).fetchone()
        folder_id, uid, modseq, octets, count = row
        copies += (folder_id, uid, mail.message_id, "", kept.flags, modseq, size)
        copies.append(envelope.received_at)
        uses.append(FolderUse(folder_id, kept.account_id, octets, count))
        events.append(
            CopyKept(
                at=now,
                mail_id=envelope.mail_id,
                recipient=kept.mailbox,
                folder_id=folder_id,
                uid=uid,
                detail={"folder": kept.folder},
            )
        )
    execute_rows(connection, _INSERT, 8, copies)
    return uses
