"""The queue in a mail database that is mended: it stays, and nothing leaves on a guess.

A row that may be of another mail or for another recipient, and a mail whose octets are not the
ones that came, are held: an administrator looks and releases them, or drops them.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol

from mailnode.store.leases import STATES
from mailnode.store.verify import UNTOLD


class Tell(Protocol):
    """Hears of one thing that was found: `mend.Told`."""

    def __call__(
        self, kind: str, what: str, where: object, text: str, mail_id: str = "", /
    ) -> None: ...


_NOT_OF_ITS_MAIL = """
    SELECT queue.id, queue.mail_id, queue.recipient,
        (SELECT id FROM message WHERE message.mail_id = queue.mail_id)
    FROM queue LEFT JOIN message ON message.id = queue.message_id
    WHERE message.mail_id <> queue.mail_id
"""
_HOLD = (
    "UPDATE queue SET state = CASE state WHEN 'captured' THEN state ELSE 'held' END,"
    " leased_by = NULL, leased_until = NULL, last_reply = ? WHERE id = ?"
)


def judge_queue(new: sqlite3.Connection, tell: Tell) -> None:
    """Each row is of the mail and for the recipient that it names, and in a state that there is."""
    for queue_id, mail_id, recipient, message_id in new.execute(_NOT_OF_ITS_MAIL).fetchall():
        if message_id is not None:
            new.execute("UPDATE queue SET message_id = ? WHERE id = ?", (message_id, queue_id))
            tell("mended", "queue", f"row {queue_id} to {recipient}", "named another mail", mail_id)
        else:
            new.execute(
                "UPDATE queue SET mail_id = (SELECT mail_id FROM message WHERE id = message_id)"
                " WHERE id = ?",
                (queue_id,),
            )
            _hold(new, tell, queue_id, mail_id, recipient, "which mail it is of is not certain")
    marks = ", ".join("?" * len(STATES))
    for queue_id, mail_id, recipient in new.execute(
        f"SELECT id, mail_id, recipient FROM queue WHERE state NOT IN ({marks})", STATES
    ).fetchall():
        _hold(new, tell, queue_id, mail_id, recipient, "its state could not be read")
    for queue_id, mail_id, recipient in new.execute(UNTOLD).fetchall():
        _hold(new, tell, queue_id, mail_id, recipient, "whom it is for is not certain")
    new.execute("UPDATE queue SET priority = 1 WHERE priority NOT IN (0, 1, 2)")
    for queue_id, recipient in new.execute(
        "SELECT id, recipient FROM queue WHERE substr(recipient, -length(domain) - 1)"
        " <> '@' || domain"
    ).fetchall():
        domain = recipient.rpartition("@")[2]
        new.execute("UPDATE queue SET domain = ? WHERE id = ?", (domain, queue_id))
    new.execute(
        "UPDATE queue SET state = 'waiting' WHERE state = 'leased'"
        " AND (leased_by IS NULL OR leased_until IS NULL)"
    )
    new.execute(
        "UPDATE queue SET leased_by = NULL, leased_until = NULL WHERE state <> 'leased'"
        " AND (leased_by IS NOT NULL OR leased_until IS NOT NULL)"
    )


def _hold(
    new: sqlite3.Connection, tell: Tell, queue_id: int, mail_id: str, recipient: str, why: str
) -> None:
    new.execute(_HOLD, (f"held by repair: {why}", queue_id))
    tell("kept", "queue", f"row {queue_id} to {recipient}", f"held: {why}", mail_id)


def hold_rows_of(new: sqlite3.Connection, message_id: int, why: str, tell: Tell) -> None:
    """A mail that is not what it was does not leave by itself."""
    for queue_id, mail_id, recipient in _rows_of(new, message_id):
        _hold(new, tell, queue_id, mail_id, recipient, why)


def lose_rows_of(new: sqlite3.Connection, message_id: int, tell: Tell) -> None:
    """A mail without octets goes to nobody elsewhere."""
    for queue_id, mail_id, recipient in _rows_of(new, message_id):
        new.execute("DELETE FROM queue WHERE id = ?", (queue_id,))
        where = f"row {queue_id} to {recipient}"
        tell("lost", "queue", where, "the octets of its mail are gone", mail_id)


def _rows_of(new: sqlite3.Connection, message_id: int) -> list[tuple[int, str, str]]:
    return new.execute(
        "SELECT id, mail_id, recipient FROM queue WHERE message_id = ?", (message_id,)
    ).fetchall()
