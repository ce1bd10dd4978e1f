"""Drafts: mails in the folder Drafts that are written on, and files that wait to go with them.

The text of a draft is a mail of its own each time it is saved; the one before is gone with that
commit. A file is stored once, under `var/uploads`, and stays as long as its draft does.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import define, field, frozen

from mailnode.errors import DraftChanged, MailboxFull, MailError, NoSuchMail
from mailnode.mime import subject_of
from mailnode.model import DRAFT, DRAFTS, SEEN, Filed, new_mail_id
from mailnode.store.blobs import FileBlobs
from mailnode.store.jobs import WriteKind
from mailnode.store.messages import Messages
from mailnode.store.removal import Removed, delete_copies
from mailnode.store.sqlite import padded, reserve_ids
from mailnode.store.use import FolderUse, make_folders
from mailnode.wire import header_of

UPLOADS_FOLDER = "uploads"
FILES_OF_A_DRAFT = 100
YOUNG_S = 86400.0  # a file whose draft was never saved, and one that no row names


class NoSuchDraft(NoSuchMail):
    text = "There is no such draft"


class TooManyFiles(MailError):
    smtp_code, enhanced, http_status, exit_code = 552, "5.3.4", 413, 65
    text = f"A mail takes {FILES_OF_A_DRAFT} files at most"


@frozen
class SavedDraft:
    """Where a draft lies now."""

    draft_id: int
    folder_id: int
    uid: int
    mail_id: str


@frozen
class Upload:
    """A file that waits to go with a mail.

    Attributes:
        kind: its media type, as the sender's browser said it.
        content_id: what the HTML shows it by; "" for an attachment.
    """

    upload_id: int
    draft_id: int
    name: str
    kind: str
    size_octets: int
    blob_key: str
    content_id: str = ""


@frozen
class _Save:
    account_id: int
    draft_id: int
    raw: bytes
    at: float
    over: tuple[int, int] | None


@define
class _Note:
    uses: list[FolderUse] = field(factory=list)
    removed: Removed = field(factory=Removed)


@define(eq=False)
class Drafts:
    """The drafts of all accounts.

    All methods are awaited on the reactor's thread, and may fail with StoreBusy, StoreFull or
    StoreBroken: then nothing was changed.

    Attributes:
        messages: hears what folders hold after a change.
        files: where files wait, a blob store of their own.
        has_room: (account id, octets) to whether the account may keep so much more.
    """

    messages: Messages
    files: FileBlobs
    has_room: Callable[[int, int], bool] = lambda account_id, octets: True
    _saves: WriteKind[_Save, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._saves = WriteKind("save draft", _save, self._saved)

    def _saved(self, note: _Note) -> None:
        note.removed.uses += note.uses
        self.messages.took_part(None, note.removed)

    async def save(
        self,
        account_id: int,
        raw: bytes,
        draft_id: int = 0,
        over: tuple[int, int] | None = None,
    ) -> SavedDraft:
        """The draft's text, durably, in place of the one before.

        Args:
            raw: CRLF lines.
            draft_id: 0 for a new one.
            over: folder id and uid of the text that is replaced; None for whichever there is.

        Raises:
            NoSuchDraft: it was sent or deleted meanwhile.
            DraftChanged: it has another text than `over`.
            MailboxFull.
        """
        if not self.has_room(account_id, len(raw)):
            raise MailboxFull()
        wanted = _Save(account_id, draft_id, raw, time.time(), over)
        saved: SavedDraft = await self.messages.database.submit(self._saves, wanted, len(raw))
        return saved

    async def find(self, account_id: int, folder_id: int, uid: int) -> int:
        """The draft that this copy is the text of; a mail that was none becomes one.

        A draft that another mail program has left in the folder can be written on so, too.

        Raises:
            NoSuchMail.
        """

        now = time.time()

        def write(connection: sqlite3.Connection) -> int | None:
            there = connection.execute(_OWN_COPY, (folder_id, uid, account_id)).fetchone()
            if there is None:
                return None
            known = connection.execute(
                "SELECT id FROM draft WHERE folder_id = ? AND uid = ? AND account_id = ?",
                (folder_id, uid, account_id),
            ).fetchone()
            if known is not None:
                return int(known[0])
            return _insert(connection, account_id, folder_id, uid, now)

        found = await self.messages.database.transact("open draft", write)
        if found is None:
            raise NoSuchMail()
        return found

    async def discard(self, account_id: int, draft_id: int) -> bool:
        """The draft and its files are gone; whether it was there."""
        keys, removed = await self.messages.database.transact(
            "discard draft", partial(_discard, account_id=account_id, draft_id=draft_id), frees=True
        )
        if removed is None:
            return False
        self.messages.took_part(None, removed)
        if keys:
            await self.files.delete(keys)
        return True

    # Files

    async def add_file(
        self,
        account_id: int,
        draft_id: int,
        *,
        name: str,
        kind: str,
        size_octets: int,
        blob_key: str,
        content_id: str = "",
    ) -> Upload:
        """A file whose blob is kept already (`files.create()`) will go with the draft.

        Raises:
            NoSuchDraft, TooManyFiles: and the blob is gone.
        """

        def write(connection: sqlite3.Connection) -> int | MailError:
            if not connection.execute(_OWN_DRAFT, (draft_id, account_id)).fetchone():
                return NoSuchDraft()
            (count,) = connection.execute(
                "SELECT count(*) FROM upload WHERE draft_id = ?", (draft_id,)
            ).fetchone()
            if count >= FILES_OF_A_DRAFT:
                return TooManyFiles()
            row = connection.execute(
                "INSERT INTO upload (account_id, draft_id, name, kind, size_octets, blob_key,"
                " content_id, made_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (account_id, draft_id, name, kind, size_octets, blob_key, content_id, time.time()),
            ).fetchone()
            return int(row[0])

        try:
            made = await self.messages.database.transact("add file", write)
        except BaseException:
            await self.files.delete([blob_key])
            raise
        finally:
            self.files.settled([blob_key])
        if isinstance(made, MailError):
            await self.files.delete([blob_key])
            raise made
        return Upload(made, draft_id, name, kind, size_octets, blob_key, content_id)

    async def uploads(self, account_id: int, draft_id: int) -> list[Upload]:
        """The files of a draft, in the order that they came."""
        return await self.messages.database.read(
            lambda connection: [
                Upload(*row) for row in connection.execute(_UPLOADS, (draft_id, account_id))
            ]
        )

    async def waiting_octets(self, account_id: int) -> int:
        """Of all files that wait to go with the account's drafts."""
        return await self.messages.database.read(
            lambda connection: int(
                connection.execute(
                    "SELECT coalesce(sum(size_octets), 0) FROM upload WHERE account_id = ?",
                    (account_id,),
                ).fetchone()[0]
            )
        )

    async def remove_file(self, account_id: int, draft_id: int, upload_id: int) -> bool:
        """It won't go with the draft, and is gone; whether it was there."""

        def write(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "DELETE FROM upload WHERE id = ? AND draft_id = ? AND account_id = ?"
                " RETURNING blob_key",
                (upload_id, draft_id, account_id),
            ).fetchone()
            return str(row[0]) if row else None

        key = await self.messages.database.transact("remove file", write, frees=True)
        if key is None:
            return False
        await self.files.delete([key])
        return True

    async def sweep(self) -> int:
        """Rows of drafts that are gone, and files that belong to none, are gone; how many files."""
        old = time.time() - YOUNG_S
        keys = await self.messages.database.transact(
            "sweep drafts", partial(_sweep, before=old), frees=True
        )
        listed = [key for key, _size, at in await self.files.keys() if at < old]
        in_hand = self.files.in_hand
        known = await self.messages.database.read(lambda connection: _named(connection, listed))
        gone = {*keys, *(key for key in listed if key not in known and key not in in_hand)}
        return await self.files.delete(gone) if gone else 0


# What runs in the threads

_OWN_DRAFT = "SELECT folder_id, uid FROM draft WHERE id = ? AND account_id = ?"
_OWN_COPY = """
    SELECT 1 FROM delivery JOIN folder ON folder.id = delivery.folder_id
    WHERE delivery.folder_id = ? AND delivery.uid = ? AND folder.account_id = ?
"""
_UPLOADS = """
    SELECT id, draft_id, name, kind, size_octets, blob_key, content_id FROM upload
    WHERE draft_id = ? AND account_id = ? ORDER BY id
"""
_INSERT_MESSAGE = """
    INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,
        received_at, prefix, body)
    VALUES (?, ?, '', ?, ?, ?, ?, ?, x'', ?)
"""
_COUNT = """
    UPDATE folder SET uid_next = uid_next + 1, modseq = modseq + 1, mails = mails + 1,
        octets = octets + ?
    WHERE account_id = ? AND name = ?
    RETURNING id, uid_next - 1, modseq, octets, mails
"""
_INSERT_COPY = """
    INSERT INTO delivery (folder_id, uid, message_id, recipient, flags, modseq, size_octets,
        received_at)
    VALUES (?, ?, ?, '', ?, ?, ?, ?)
"""


def _save(
    connection: sqlite3.Connection, wanted: list[_Save]
) -> tuple[list[SavedDraft | MailError], _Note]:
    results: list[SavedDraft | MailError] = []
    note = _Note()
    for save in wanted:
        before = None
        if save.draft_id:
            before = connection.execute(_OWN_DRAFT, (save.draft_id, save.account_id)).fetchone()
            if (
                before is None
                or not connection.execute(
                    "SELECT 1 FROM delivery WHERE folder_id = ? AND uid = ?", before
                ).fetchone()
            ):
                results.append(NoSuchDraft())
                continue
            if save.over is not None and save.over != tuple(before):
                results.append(DraftChanged())
                continue
        filed = _file(connection, save, note)
        if before is None:
            made = _insert(connection, save.account_id, filed.folder_id, filed.uid, save.at)
            results.append(SavedDraft(made, filed.folder_id, filed.uid, filed.address))
        else:
            connection.execute(
                "UPDATE draft SET folder_id = ?, uid = ?, saved_at = ? WHERE id = ?",
                (filed.folder_id, filed.uid, save.at, save.draft_id),
            )
            _counts, removed = delete_copies(connection, [(before[0], [before[1]])])
            note.uses += removed.uses
            note.removed.blob_keys += removed.blob_keys
            results.append(SavedDraft(save.draft_id, filed.folder_id, filed.uid, filed.address))
    return results, note


def _insert(
    connection: sqlite3.Connection, account_id: int, folder_id: int, uid: int, saved_at: float
) -> int:
    (made,) = connection.execute(
        "INSERT INTO draft (account_id, folder_id, uid, saved_at) VALUES (?, ?, ?, ?) RETURNING id",
        (account_id, folder_id, uid, saved_at),
    ).fetchone()
    return int(made)


def _file(connection: sqlite3.Connection, save: _Save, note: _Note) -> Filed:
    raw, size = save.raw, len(save.raw)
    wanted = (size, save.account_id, DRAFTS)
    row = connection.execute(_COUNT, wanted).fetchone()
    if row is None:
        make_folders(connection, save.account_id, [DRAFTS])
        row = connection.execute(_COUNT, wanted).fetchone()
    folder_id, uid, modseq, octets, mails = row
    note.uses.append(FolderUse(folder_id, save.account_id, octets, mails))
    message_id, mail_id = reserve_ids(connection, "message", 1), new_mail_id(save.at)
    dots = raw.count(b"\r\n.") + raw.startswith(b".")
    digest = hashlib.sha256(raw).digest()
    subject = subject_of(header_of(raw))
    connection.execute(
        _INSERT_MESSAGE, (message_id, mail_id, subject, size, dots, digest, save.at, raw)
    )
    connection.execute(
        _INSERT_COPY, (folder_id, uid, message_id, SEEN | DRAFT, modseq, size, save.at)
    )
    return Filed(mail_id, "", folder_id, uid)


def _discard(
    connection: sqlite3.Connection, account_id: int, draft_id: int
) -> tuple[list[str], Removed | None]:
    row = connection.execute(_OWN_DRAFT, (draft_id, account_id)).fetchone()
    if row is None:
        return [], None
    _counts, removed = delete_copies(connection, [(row[0], [row[1]])])
    connection.execute("DELETE FROM draft WHERE id = ?", (draft_id,))
    keys = connection.execute(
        "DELETE FROM upload WHERE draft_id = ? RETURNING blob_key", (draft_id,)
    ).fetchall()
    return [key for (key,) in keys], removed


def _sweep(connection: sqlite3.Connection, before: float) -> list[str]:
    connection.execute(
        "DELETE FROM draft WHERE saved_at < ? AND NOT EXISTS (SELECT 1 FROM delivery"
        " WHERE delivery.folder_id = draft.folder_id AND delivery.uid = draft.uid)",
        (before,),
    )
    keys = connection.execute(
        "DELETE FROM upload WHERE made_at < ? AND draft_id NOT IN (SELECT id FROM draft)"
        " RETURNING blob_key",
        (before,),
    ).fetchall()
    return [key for (key,) in keys]


def _named(connection: sqlite3.Connection, keys: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(keys), 500):
        marks, values = padded(keys[at : at + 500])
        rows = connection.execute(
            f"SELECT blob_key FROM upload WHERE blob_key IN ({marks})", values
        )
        found.update(key for (key,) in rows)
    return found
