"""What the lists of an account show: its folders, and lines of what lies in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attrs import evolve, frozen

from mailnode.errors import NoSuchFolder, NoSuchMail
from mailnode.model import SEEN, STANDARD_FOLDERS
from mailnode.store.fetching import StoredMail, read_mails
from mailnode.store.sqlite import packed, packed_rows, unpack, unpack_rows

PAGE_MAILS = 200


@frozen
class Folder:
    """A folder as it was when it was read.

    Attributes:
        unread: mails that nobody has seen.
        modseq: grows with each change of it.
        uid_next: every mail in it has a lower one, and every mail to come this or a higher one.
    """

    folder_id: int
    account_id: int
    name: str
    uidvalidity: int
    mails: int
    octets: int
    modseq: int
    unread: int = 0
    uid_next: int = 1

    @property
    def standard(self) -> bool:
        """Whether every account has it: it is neither renamed nor removed."""
        return self.name in STANDARD_FOLDERS


class Copy(NamedTuple):
    """A line of a list.

    Attributes:
        flags: bits of `model.SEEN` and its like.
        size_octets: as it is served.
        received_at: UTC epoch seconds.
        sender: the reverse-path, "" for `<>`.
    """

    folder_id: int
    uid: int
    message_id: int
    mail_id: str
    recipient: str
    flags: int
    size_octets: int
    received_at: float
    sender: str
    subject: str


def place_of(folder: Folder) -> tuple[int, str]:
    """Where it stands in a list: the standard ones in their order, then those by name."""
    if folder.standard:
        return STANDARD_FOLDERS.index(folder.name), ""
    return len(STANDARD_FOLDERS), folder.name.casefold()


# What runs in the threads

Counted = Mapping[int, tuple[int, int]]
"""(modseq, unread mails) by folder, as they were; the reactor's thread goes on changing it."""

_FOLDERS = """
    SELECT id, account_id, name, uidvalidity, mails, octets, modseq, 0, uid_next FROM folder
    WHERE account_id = ?
"""
_UNREAD = f"SELECT count(*) FROM delivery WHERE folder_id = ? AND flags & {SEEN} = 0"
LINE = ("d.uid", "d.message_id", "m.mail_id", "d.recipient", "d.flags", "d.size_octets",
        "d.received_at", "m.sender", "m.subject")  # fmt: skip
LINE_ROWS = tuple(each[2:] for each in LINE)
_JOINED = "delivery AS d JOIN message AS m ON m.id = d.message_id"
_ONE = f"SELECT {', '.join(LINE)} FROM {_JOINED} WHERE d.folder_id = ? AND d.uid = ?"
_ROWS = packed_rows(*LINE_ROWS)
_SOME = f"SELECT {_ROWS} FROM (SELECT {', '.join(LINE)} FROM {_JOINED} WHERE d.folder_id = ?"
_PAGE = f"{_SOME} AND d.uid < ? ORDER BY d.uid DESC LIMIT ?) AS lines"
_PAGE_AFTER = f"{_SOME} AND d.uid > ? ORDER BY d.uid LIMIT ?) AS lines"
_PLACES = f"""
    SELECT d.folder_id, {", ".join(LINE)} FROM {_JOINED} JOIN folder ON folder.id = d.folder_id
    WHERE d.message_id = ? AND folder.account_id = ? ORDER BY d.folder_id, d.uid
"""


def read_folders(connection: sqlite3.Connection, account_id: int, counted: Counted) -> list[Folder]:
    """The account's, in no order; what has changed since it was counted is counted anew."""
    folders = [Folder(*row) for row in connection.execute(_FOLDERS, (account_id,))]
    return [evolve(each, unread=_unread_of(connection, each, counted)) for each in folders]


def read_page(
    connection: sqlite3.Connection, folder_id: int, *, before: int, after: int, limit: int
) -> list[Copy]:
    """As `Folders.page` has it."""
    text, uid = (_PAGE_AFTER, after) if after else (_PAGE, before or 1 << 62)
    (rows,) = connection.execute(text, (folder_id, uid, limit)).fetchone()
    found = [Copy(folder_id, *row) for row in unpack_rows(rows)]
    return found[::-1] if after else found


def read_uids(connection: sqlite3.Connection, folder_id: int, up_to: int) -> list[int]:
    """All up to that one, ascending."""
    (uids,) = connection.execute(
        f"SELECT {packed('uid')} FROM (SELECT uid FROM delivery WHERE folder_id = ? AND uid <= ?"
        " ORDER BY uid) AS copies",
        (folder_id, up_to),
    ).fetchone()
    return unpack(uids)


def read_places(
    connection: sqlite3.Connection, account_id: int, message_ids: Sequence[int]
) -> dict[int, list[Copy]]:
    """As `Folders.copies` has it."""
    found: dict[int, list[Copy]] = {}
    for message_id in message_ids:
        for row in connection.execute(_PLACES, (message_id, account_id)):
            found.setdefault(message_id, []).append(Copy(*row))
    return found


def read_places_of(connection: sqlite3.Connection, account_id: int, mail_id: str) -> list[Copy]:
    """As `Folders.copies_of` has it."""
    row = connection.execute("SELECT id FROM message WHERE mail_id = ?", (mail_id,)).fetchone()
    return read_places(connection, account_id, [row[0]]).get(row[0], []) if row else []


def read_copy(connection: sqlite3.Connection, folder_id: int, uid: int) -> Copy:
    """One line.

    Raises:
        NoSuchMail.
    """
    row = connection.execute(_ONE, (folder_id, uid)).fetchone()
    if row is None:
        raise NoSuchMail()
    return Copy(folder_id, *row)


def read_mail(connection: sqlite3.Connection, folder_id: int, uid: int) -> tuple[Copy, StoredMail]:
    """One mail as it is served.

    Raises:
        NoSuchMail.
    """
    copy = read_copy(connection, folder_id, uid)
    mails = read_mails(connection, folder_id, [(uid, copy.message_id)])
    if not mails:
        raise NoSuchMail()
    return copy, mails[0]


def _unread_of(connection: sqlite3.Connection, folder: Folder, known: Counted) -> int:
    """Counted anew where the folder has changed: 100,000 rows are 8 ms."""
    modseq, unread = known.get(folder.folder_id, (-1, 0))
    if modseq == folder.modseq:
        return unread
    return int(connection.execute(_UNREAD, (folder.folder_id,)).fetchone()[0])


def require_folder(connection: sqlite3.Connection, account_id: int, folder_id: int) -> None:
    """It is the account's.

    Raises:
        NoSuchFolder: it isn't.
    """
    found = connection.execute(
        "SELECT 1 FROM folder WHERE id = ? AND account_id = ?", (folder_id, account_id)
    ).fetchone()
    if found is None:
        raise NoSuchFolder()


def rename_folder(
    connection: sqlite3.Connection, account_id: int, folder_id: int, name: str
) -> bool:
    """Whether it was there, and no other of the account's has that name."""
    renamed = connection.execute(
        "UPDATE folder SET name = ?1, modseq = modseq + 1 WHERE id = ?2 AND account_id = ?3"
        " AND NOT EXISTS (SELECT 1 FROM folder AS other"
        " WHERE other.account_id = ?3 AND other.name = ?1 AND other.id <> ?2)",
        (name, folder_id, account_id),
    )
    return bool(renamed.rowcount)


def remove_folder(connection: sqlite3.Connection, account_id: int, folder_id: int) -> bool:
    """Whether it was empty, and is gone."""
    gone = connection.execute(
        "DELETE FROM folder WHERE id = ? AND account_id = ? AND NOT EXISTS"
        " (SELECT 1 FROM delivery WHERE delivery.folder_id = folder.id)",
        (folder_id, account_id),
    )
    if gone.rowcount:
        return True
    there = connection.execute("SELECT 1 FROM folder WHERE id = ?", (folder_id,)).fetchone()
    return there is None
