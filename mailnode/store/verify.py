"""Reads every stored mail and names each fault; beside a running node, too. It mends nothing."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from mailnode.errors import MailError
from mailnode.store.accept import served_head
from mailnode.store.blobs import blob_path, list_blobs
from mailnode.store.sqlite import mail_error, reading

MESSAGES_AT_ONCE = 64
PIECE_OCTETS = 1 << 20
YOUNG_S = 3600.0


@frozen
class Fault:
    """One thing that is wrong.

    Attributes:
        what: "database", "body", "blob", "size", "counter", "copy" or "message".
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


def verify(data: Path) -> Iterator[Fault]:
    """Each fault in the data folder, found by reading all of it.

    Bodies are compared with their digests, so a flipped bit is found. What a running node
    changes meanwhile is looked at twice before it is called a fault.

    Raises:
        StoreBusy, StoreBroken: the database can't be opened.
    """
    with reading(data / "mail.db") as connection:
        try:
            yield from _database(connection)
            yield from _messages(connection, data)
            yield from _blobs(connection, data)
            yield from _counters(connection)
            yield from _strays(connection)
        except sqlite3.DatabaseError as error:
            told = mail_error(error)
            text = told.detail if isinstance(told, MailError) else str(error)
            yield Fault("database", "mail.db", f"can't be read on: {text}")


def _database(connection: sqlite3.Connection) -> Iterator[Fault]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield Fault("database", "mail.db", line)


_MESSAGES = f"""
    SELECT id, mail_id, sender, prefix, size_octets, dot_lines, digest, blob_key, body
    FROM message WHERE id > ? ORDER BY id LIMIT {MESSAGES_AT_ONCE}
"""
_COPIES = "SELECT folder_id, uid, recipient, size_octets FROM delivery WHERE message_id = ?"


def _messages(connection: sqlite3.Connection, data: Path) -> Iterator[Fault]:
    last_id = 0
    while rows := connection.execute(_MESSAGES, (last_id,)).fetchall():
        for row in rows:
            last_id, mail_id, sender, prefix, size, dot_lines, digest, blob_key, body = row
            if blob_key is None:
                where = f"message {last_id}"
                yield from _octets(where, mail_id, [body], size, digest, dot_lines)
            else:
                yield from _blob(connection, data, row)
            for folder_id, uid, recipient, told in connection.execute(_COPIES, (last_id,)):
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
    seen, total, dots, tail = hashlib.sha256(), 0, 0, b"\r\n"
    for piece in pieces:
        seen.update(piece)
        total += len(piece)
        dots += (tail + piece).count(b"\r\n.")
        tail = (tail + piece)[-2:]
    if total != size:
        yield Fault(what, where, f"has {total} octets, should have {size}", mail_id)
    elif seen.digest() != digest:
        yield Fault(what, where, "its octets are not the ones that came", mail_id)
    elif dots != dot_lines:
        text = f"{dots} lines begin with a dot, the row says {dot_lines}"
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


def _counters(connection: sqlite3.Connection) -> Iterator[Fault]:
    for row in connection.execute(_COUNTERS):
        folder_id, mails, octets, uid_next, true_mails, true_octets, last_uid = row
        where = f"folder {folder_id}"
        if mails != true_mails:
            yield Fault("counter", where, f"counts {mails} mails, holds {true_mails}")
        if octets != true_octets:
            yield Fault("counter", where, f"counts {octets} octets, holds {true_octets}")
        if uid_next <= last_uid:
            yield Fault("counter", where, f"would give uid {uid_next} again")
    (following,) = connection.execute(
        "SELECT next FROM counter WHERE name = 'message'"
    ).fetchone() or (0,)
    (last_id,) = connection.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()
    if following <= last_id:
        yield Fault("counter", "messages", f"would give id {following} again")


_COPIES_OF_NOTHING = """
    SELECT folder_id, uid, message_id FROM delivery WHERE NOT EXISTS
        (SELECT 1 FROM message WHERE message.id = delivery.message_id)
"""
_COPIES_NOWHERE = """
    SELECT folder_id, uid, message_id FROM delivery WHERE NOT EXISTS
        (SELECT 1 FROM folder WHERE folder.id = delivery.folder_id)
"""
_UNFILED = """
    SELECT id, mail_id FROM message WHERE NOT EXISTS
        (SELECT 1 FROM delivery WHERE delivery.message_id = message.id)
"""


def _strays(connection: sqlite3.Connection) -> Iterator[Fault]:
    for folder_id, uid, message_id in connection.execute(_COPIES_OF_NOTHING):
        yield Fault("copy", f"folder {folder_id} uid {uid}", f"there is no message {message_id}")
    for folder_id, uid, _ in connection.execute(_COPIES_NOWHERE):
        yield Fault("copy", f"folder {folder_id} uid {uid}", "there is no such folder")
    for message_id, mail_id in connection.execute(_UNFILED):
        yield Fault("message", f"message {message_id}", "lies in no folder", mail_id)
