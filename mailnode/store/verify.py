"""Reads every stored mail and names each fault; beside a running node, too. It mends nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from mailnode.errors import MailError, StoreBroken
from mailnode.store.accept import served_head
from mailnode.store.blobs import blob_path, list_blobs
from mailnode.store.leases import STATES, has_queue
from mailnode.store.lists import wrong_types
from mailnode.store.octets import PIECE_OCTETS, measure
from mailnode.store.removal import HELD_BY_NOTHING, IN_NO_FOLDER
from mailnode.store.sqlite import DAMAGED, mail_error, reading

MESSAGES_AT_ONCE = 64
YOUNG_S = 3600.0


@frozen
class Fault:
    """One thing that is wrong.

    Attributes:
        what: "database", "body", "blob", "size", "counter", "copy", "message" or "queue".
        where: what it was found on.
        text: in words.
        mail_id: of the mail that it harms, "" for none.
    """

    what: str
    where: str
    text: str
    mail_id: str = ""

    def __str__(self) -> str:
        mail = f" (mail {self.mail_id})" if self.mail_id else ""
        return f"{self.what}: {self.where}{mail}: {self.text}"


def verify(data: Path, users: Path | None = None) -> Iterator[Fault]:
    """Each fault in the data folder, and in the file of accounts, found by reading all of it.

    Bodies are compared with their digests, so a flipped bit is found. What a running node
    changes meanwhile is looked at twice before it is called a fault.

    Raises:
        StoreBusy: try again.
    """
    try:
        with reading(data / "mail.db") as connection:
            for look in (_database, _messages, _blobs, _counters, _strays, _queue):
                try:
                    yield from look(connection, data)
                except DAMAGED as error:
                    yield _unreadable("mail.db", error)
    except (StoreBroken, *DAMAGED) as error:
        yield _unreadable("mail.db", error)
    if users is not None and users.exists():
        yield from _users(users)


def _unreadable(name: str, error: Exception) -> Fault:
    told = mail_error(error)
    text = told.detail if isinstance(told, MailError) else str(error)
    return Fault("database", name, f"can't be read on: {text}")


def _users(path: Path) -> Iterator[Fault]:
    try:
        with reading(path) as connection:
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                yield Fault("database", path.name, "is empty, or has no schema of ours")
            yield from _integrity(connection, path.name)
    except (StoreBroken, *DAMAGED) as error:
        yield _unreadable(path.name, error)


def _database(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    yield from _integrity(connection, "mail.db")


def _integrity(connection: sqlite3.Connection, name: str) -> Iterator[Fault]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield Fault("database", name, line)
    for line in wrong_types(connection):
        yield Fault("database", name, line)


_MESSAGES = f"""
    SELECT id, mail_id, sender, prefix, size_octets, dot_lines, digest, blob_key, body
    FROM message WHERE id > ? ORDER BY id LIMIT {MESSAGES_AT_ONCE}
"""
_MESSAGE = """
    SELECT id, mail_id, sender, prefix, size_octets, dot_lines, digest, blob_key, body
    FROM message WHERE id = ?
"""
_HEAD = (int, str, str, bytes, int, int, bytes)
_ROWS = ((*_HEAD, type(None), bytes), (*_HEAD, str, type(None)))
_COPIES = "SELECT folder_id, uid, recipient, size_octets FROM delivery WHERE message_id = ?"


def _messages(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    last_id = 0
    while True:
        try:
            rows = connection.execute(_MESSAGES, (last_id,)).fetchall()
        except DAMAGED:
            break
        if not rows:
            return
        for row in rows:
            last_id = row[0]
            yield from _message(connection, data, row)
    for message_id, mail_id in _ids(connection, last_id):
        try:
            row = connection.execute(_MESSAGE, (message_id,)).fetchone()
        except DAMAGED as error:
            told = mail_error(error)
            text = told.detail if isinstance(told, MailError) else str(error)
            yield Fault("message", f"message {message_id}", f"can't be read: {text}", mail_id)
        else:
            if row is not None:
                yield from _message(connection, data, row)


def _ids(connection: sqlite3.Connection, after_id: int) -> list[tuple[int, str]]:
    """(id, mail id) of what an index or the copies name: the table itself can't be read on."""
    found: dict[int, str] = {}
    for text in (
        "SELECT message_id, '' FROM delivery INDEXED BY delivery_message WHERE message_id > ?",
        "SELECT id, mail_id FROM message INDEXED BY sqlite_autoindex_message_1"
        " WHERE mail_id > '' AND id > ?",
    ):
        with suppress(*DAMAGED):
            for message_id, mail_id in connection.execute(text, (after_id,)):
                found[message_id] = mail_id
    return sorted(found.items())


def _message(connection: sqlite3.Connection, data: Path, row: tuple[Any, ...]) -> Iterator[Fault]:
    message_id, mail_id, sender, prefix, size, dot_lines, digest, blob_key, body = row
    if tuple(map(type, row)) not in _ROWS:
        yield Fault("message", f"message {message_id}", "a value is of a wrong type", str(mail_id))
        return
    if blob_key is None:
        where = f"message {message_id}"
        yield from _octets(where, mail_id, [body], size, digest, dot_lines)
    else:
        yield from _blob(connection, data, row)
    for folder_id, uid, recipient, told in connection.execute(_COPIES, (message_id,)):
        if not isinstance(recipient, str):
            continue
        served = len(served_head(sender, recipient, prefix)) + size
        if told != served:
            where = f"folder {folder_id} uid {uid}"
            yield Fault("size", where, f"says {told} octets, serves {served}", mail_id)


def _blob(connection: sqlite3.Connection, data: Path, row: tuple[object, ...]) -> Iterator[Fault]:
    message_id, mail_id, _, _, size, dot_lines, digest, key, _ = row
    where = f"blob {key} of message {message_id}"
    try:
        with blob_path(data, str(key)).open("rb") as file:
            pieces = iter(lambda: file.read(PIECE_OCTETS), b"")
            yield from _octets(where, str(mail_id), pieces, size, digest, dot_lines, "blob")
    except OSError as error:
        there = connection.execute("SELECT 1 FROM message WHERE id = ?", (message_id,)).fetchone()
        if there:
            yield Fault("blob", where, f"can't be read: {error.strerror}", str(mail_id))


def _octets(
    where: str,
    mail_id: str,
    pieces: Iterator[bytes] | list[bytes],
    size: object,
    digest: object,
    dot_lines: object,
    what: str = "body",
) -> Iterator[Fault]:
    """Compare octets with what the row says of them."""
    real = measure(pieces)
    if real.size != size:
        yield Fault(what, where, f"has {real.size} octets, should have {size}", mail_id)
    elif real.digest != digest:
        yield Fault(what, where, "its octets are not the ones that came", mail_id)
    elif real.dots != dot_lines:
        text = f"{real.dots} lines begin with a dot, the row says {dot_lines}"
        yield Fault(what, where, text, mail_id)


def _blobs(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    """Blobs that no row names. A young one may be on its way into a row."""
    kept = data / "blobs"
    if not kept.is_dir():
        return
    for key, size, written_at in list_blobs(kept):
        if written_at >= time.time() - YOUNG_S:
            continue
        named = connection.execute("SELECT 1 FROM message WHERE blob_key = ?", (key,)).fetchone()
        if not named and blob_path(data, key).exists():
            yield Fault("blob", f"blob {key}", f"{size} octets that no message names")


_COUNTERS = """
    SELECT folder.id, folder.mails, folder.octets, folder.uid_next,
        count(delivery.uid), coalesce(sum(delivery.size_octets), 0), coalesce(max(delivery.uid), 0)
    FROM folder LEFT JOIN delivery ON delivery.folder_id = folder.id
    GROUP BY folder.id, folder.mails, folder.octets, folder.uid_next
"""


_NEXT_ID = """
    SELECT coalesce((SELECT next FROM counter WHERE name = ?), 0),
        coalesce((SELECT max(id) FROM {table}), 0)
"""


def _counters(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    for row in connection.execute(_COUNTERS):
        folder_id, mails, octets, uid_next, true_mails, true_octets, last_uid = row
        where = f"folder {folder_id}"
        if mails != true_mails:
            yield Fault("counter", where, f"counts {mails} mails, holds {true_mails}")
        if octets != true_octets:
            yield Fault("counter", where, f"counts {octets} octets, holds {true_octets}")
        if uid_next <= last_uid:
            yield Fault("counter", where, f"would give uid {uid_next} again")
    for name, where in (("message", "messages"), ("queue", "queue")):
        if name == "queue" and not has_queue(connection):
            continue
        following, last_id = connection.execute(_NEXT_ID.format(table=name), (name,)).fetchone()
        if following <= last_id:
            yield Fault("counter", where, f"would give id {following} again")


_COPIES_OF_NOTHING = """
    SELECT folder_id, uid, message_id FROM delivery WHERE NOT EXISTS
        (SELECT 1 FROM message WHERE message.id = delivery.message_id)
"""
_COPIES_NOWHERE = """
    SELECT folder_id, uid, message_id FROM delivery WHERE NOT EXISTS
        (SELECT 1 FROM folder WHERE folder.id = delivery.folder_id)
"""


def _strays(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    for folder_id, uid, message_id in connection.execute(_COPIES_OF_NOTHING):
        yield Fault("copy", f"folder {folder_id} uid {uid}", f"there is no message {message_id}")
    for folder_id, uid, _ in connection.execute(_COPIES_NOWHERE):
        yield Fault("copy", f"folder {folder_id} uid {uid}", "there is no such folder")
    held_by_nothing = HELD_BY_NOTHING if has_queue(connection) else IN_NO_FOLDER
    unheld = f"SELECT id, mail_id FROM message WHERE {held_by_nothing}"
    for message_id, mail_id in connection.execute(unheld):
        text = "lies in no folder and not in the queue"
        yield Fault("message", f"message {message_id}", text, mail_id)


_QUEUE = """
    SELECT queue.id, queue.mail_id, queue.message_id, message.mail_id, state,
        leased_by IS NOT NULL AND leased_until IS NOT NULL
    FROM queue LEFT JOIN message ON message.id = queue.message_id
    WHERE message.id IS NULL OR message.mail_id <> queue.mail_id
        OR state NOT IN ('waiting', 'leased', 'held', 'captured')
        OR (leased_by IS NOT NULL) <> (state = 'leased')
        OR (leased_until IS NOT NULL) <> (state = 'leased')
        OR priority NOT IN (0, 1, 2) OR substr(recipient, -length(domain) - 1) <> '@' || domain
"""
# Their mail was not accepted for them, says the journal, where it goes back far enough: the row
# that a mail was accepted is the first of its rows to be pruned.
UNTOLD = """
    SELECT queue.id, queue.mail_id, queue.recipient FROM queue JOIN (
        SELECT mail_id, recipient FROM queue WHERE state IN ('waiting', 'leased')
        EXCEPT SELECT mail_id, recipient FROM journal WHERE event = 'queued'
    ) AS untold ON untold.mail_id = queue.mail_id AND untold.recipient = queue.recipient
    WHERE state IN ('waiting', 'leased') AND EXISTS (SELECT 1 FROM journal
        WHERE journal.mail_id = queue.mail_id AND event = 'accepted')
    ORDER BY queue.id
"""


def _queue(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    if not has_queue(connection):
        return
    for queue_id, mail_id, message_id, its_mail, state, leased in connection.execute(_QUEUE):
        if its_mail is None:
            text = f"there is no message {message_id}"
        elif its_mail != mail_id:
            text = f"its message {message_id} is mail {its_mail}"
        elif state not in STATES:
            text = f"is in no state that there is: {state!r}"
        elif (state == "leased") != leased:
            text = f"is {state}, and its lease says otherwise"
        else:
            text = "its domain or priority is none of its own"
        yield Fault("queue", f"row {queue_id}", text, str(mail_id))
    for queue_id, mail_id, recipient in connection.execute(UNTOLD):
        text = f"the journal knows nothing of {recipient}"
        yield Fault("queue", f"row {queue_id}", text, mail_id)
