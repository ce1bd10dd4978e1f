"""What is read of mailboxes to move it out: in short reads, each mail compared with its digest."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from attrs import define, frozen

from mailnode.errors import MailError, StoreBusy
from mailnode.store.accept import served_head
from mailnode.store.blobs import blob_path
from mailnode.store.sqlite import DAMAGED, damage_error

AT_ONCE = 256
BODIES_OCTETS = 8 << 20
PIECE_OCTETS = 1 << 20


@frozen
class Folder:
    """A folder of an account, as it was when it was read."""

    folder_id: int
    account_id: int
    name: str
    uidvalidity: int
    uid_next: int
    mails: int
    octets: int


@define(eq=False)
class Copy:
    """One mail of a folder, as it is served.

    Attributes:
        octets: of it; None where they are in a blob.
        size_octets: as it is served.
    """

    data: Path
    uid: int
    mail_id: str
    sender: str
    subject: str
    flags: int
    received_at: float
    size_octets: int
    head: bytes
    octets: bytes | None
    blob_key: str | None

    def pieces(self) -> Iterator[bytes]:
        """All of it.

        Raises:
            StoreBusy: it was deleted meanwhile; who begins anew no longer finds it.
            OSError: the blob can't be read.
        """
        yield self.head
        if self.octets is not None:
            yield self.octets
        elif self.blob_key is not None:
            try:
                file = blob_path(self.data, self.blob_key).open("rb")
            except FileNotFoundError as error:
                raise StoreBusy("A mail was deleted while it was read; begin anew") from error
            with file:
                while piece := file.read(PIECE_OCTETS):
                    yield piece


@frozen
class Damaged:
    """A mail that can't be had as it came, and why."""

    uid: int
    mail_id: str
    why: str


_FOLDERS = """
    SELECT id, account_id, name, uidvalidity, uid_next, mails, octets FROM folder
    WHERE account_id = ? ORDER BY name <> 'INBOX', name
"""


def folders_of(connection: sqlite3.Connection, account_id: int) -> list[Folder]:
    """The account's folders, its INBOX first."""
    return [Folder(*row) for row in connection.execute(_FOLDERS, (account_id,))]


_SIZES = f"""
    SELECT uid, size_octets FROM delivery WHERE folder_id = ? AND uid > ? AND uid < ?
    ORDER BY uid LIMIT {AT_ONCE}
"""
_ROWS = """
    SELECT d.uid, m.mail_id, m.sender, m.subject, d.flags, d.received_at, d.size_octets,
        d.recipient, m.prefix, m.body, m.blob_key, m.size_octets, m.digest
    FROM delivery AS d JOIN message AS m ON m.id = d.message_id
    WHERE d.folder_id = ? AND d.uid >= ? AND d.uid <= ? ORDER BY d.uid
"""


@define(eq=False)
class CopyReader:
    """Reads a folder from one uid to another; no read lasts longer than a few MiB take.

    Attributes:
        connection: read-only, of a database of this version.
    """

    connection: sqlite3.Connection
    data: Path

    def read(self, folder: Folder, after_uid: int = 0) -> Iterator[Copy | Damaged]:
        """The mails behind `after_uid`, ascending; those that are deleted meanwhile are left out.

        Raises:
            StoreBroken: the folder can't be read on.
        """
        while True:
            try:
                sizes = self.connection.execute(
                    _SIZES, (folder.folder_id, after_uid, folder.uid_next)
                ).fetchall()
            except DAMAGED as error:
                raise damage_error(error) from error
            if not sizes:
                return
            first, octets = sizes[0][0], 0
            for at, (uid, size) in enumerate(sizes):
                octets += size
                if octets >= BODIES_OCTETS or at == len(sizes) - 1:
                    yield from self._range(folder.folder_id, first, uid)
                    first, octets = uid + 1, 0
            after_uid = sizes[-1][0]

    def _range(self, folder_id: int, first: int, last: int) -> Iterator[Copy | Damaged]:
        try:
            rows = self.connection.execute(_ROWS, (folder_id, first, last)).fetchall()
        except DAMAGED:
            for (uid,) in self.connection.execute(
                "SELECT uid FROM delivery WHERE folder_id = ? AND uid >= ? AND uid <= ?",
                (folder_id, first, last),
            ).fetchall():
                yield from self._one(folder_id, uid)
            return
        while rows:
            yield from self._judged(folder_id, rows.pop(0))

    def _one(self, folder_id: int, uid: int) -> Iterator[Copy | Damaged]:
        try:
            rows = self.connection.execute(_ROWS, (folder_id, uid, uid)).fetchall()
        except DAMAGED as error:
            told = damage_error(error)
            yield Damaged(uid, "", told.detail if isinstance(told, MailError) else str(told))
            return
        for row in rows:
            yield from self._judged(folder_id, row)

    def _judged(self, folder_id: int, row: tuple[object, ...]) -> Iterator[Copy | Damaged]:
        uid, mail_id, sender, subject, flags, at, size, to, prefix, body, key, raw, digest = row
        if (
            not isinstance(uid, int)
            or not isinstance(mail_id, str)
            or not isinstance(sender, str)
            or not isinstance(subject, str)
            or not isinstance(flags, int)
            or not isinstance(at, float | int)
            or not isinstance(size, int)
            or not isinstance(to, str)
            or not isinstance(prefix, bytes)
            or not isinstance(body, bytes | None)
            or not isinstance(key, str | None)
        ):
            found = uid if isinstance(uid, int) else 0
            yield Damaged(found, str(mail_id), "a value is of a wrong type")
            return
        head = served_head(sender, to, prefix)
        copy = Copy(self.data, uid, mail_id, sender, subject, flags, at, size, head, body, key)
        try:
            fault = _compare(copy, raw, digest)
        except StoreBusy:
            fault = "its file is gone"
        except OSError as error:
            fault = f"its file can't be read: {error.strerror or error}"
        if not fault:
            yield copy
        elif self.connection.execute(
            "SELECT 1 FROM delivery WHERE folder_id = ? AND uid = ?", (folder_id, uid)
        ).fetchone():  # else it was deleted while it was read
            yield Damaged(uid, mail_id, fault)


def _compare(copy: Copy, size: object, digest: object) -> str:
    """What is wrong with its octets, "" for nothing."""
    seen, octets = hashlib.sha256(), -len(copy.head)
    for number, piece in enumerate(copy.pieces()):
        octets += len(piece)
        if number:  # the head has no digest
            seen.update(piece)
    if octets != size:
        return f"it has {octets} octets, should have {size}"
    if seen.digest() != digest:
        return "its octets are not the ones that came"
    return ""
