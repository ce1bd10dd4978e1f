"""What an index is filled with: mails that came, a few at a time. Those that left are taken out.

How far it has come stands in the index, in the transaction that filled it. So a crash at any moment
leaves an index that goes on from there.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from mailnode.errors import StoreBroken
from mailnode.model import Standing
from mailnode.reading.fields import addresses_of, decoded
from mailnode.reading.parts import parts_of
from mailnode.reading.summary import Summary, skim, summary_of
from mailnode.reading.text import text_of
from mailnode.store.blobs import blob_path
from mailnode.store.index_order import LAST, MS, put_in_order, take_out_of_order
from mailnode.store.index_threads import thread_for
from mailnode.store.sqlite import padded

TEXT_OCTETS = 64 << 10  # of a mail's text that are found by search; what is behind is not
ROW_OCTETS = 512 << 10  # of a body in its row that are looked at
BATCH_MAILS = 32
BATCH_OCTETS = 4 << 20
PIECE_OCTETS = 256 << 10
GONE_AT_ONCE = 64
MOST_STEPS = 64

Rest = Callable[[], None]

log = Logger()


@frozen
class Entry:
    """A mail as the index has it.

    Attributes:
        texts: what is found: sender, recipients, subject, files, text.
    """

    id: int
    mail_id: str
    received_at: float
    size_octets: int
    summary: Summary
    texts: tuple[str, ...]


@define
class Row:
    """A mail as mail.db has it."""

    uid: int
    id: int
    mail_id: str
    received_at: float
    size_octets: int
    sender: str
    subject: str
    prefix: bytes
    blob_key: str | None
    body: bytes | None


ROW = f"""m.id, m.mail_id, m.received_at, d.size_octets, m.sender, m.subject, m.prefix, m.blob_key,
    substr(m.body, 1, {ROW_OCTETS})"""


def read_entry(row: Row, data: Path) -> Entry:
    """Of a mail; of one that can't be read, what is known without it.

    Any mail may be sent by a stranger, and one that nobody foresaw is in the way of no other.
    """
    try:
        summary, texts = _read(octets_of(row, data), row.sender)
    except Exception:
        log.failure("mail {mail_id} can't be read for lists and search", mail_id=row.mail_id)
        summary = Summary(sender_address=row.sender, subject=row.subject)
        texts = (row.sender, "", row.subject, "", "")
    clean = tuple(each.encode("utf-8", "replace").decode() for each in texts)
    return Entry(row.id, row.mail_id, row.received_at, row.size_octets, summary, clean)


def _read(raw: bytes, reverse_path: str) -> tuple[Summary, tuple[str, ...]]:
    """A mail that names nobody as its author is from its envelope's sender."""
    parts = parts_of(raw)
    text = text_of(parts, TEXT_OCTETS)[:TEXT_OCTETS]
    summary = summary_of(parts, text)
    fields = parts.fields
    sender = " ".join(" ".join(each) for each in addresses_of(fields.get("from", [])))
    if not summary.sender:
        summary = evolve(summary, sender_address=reverse_path)
    sender = sender or summary.sender_address
    to = [*fields.get("to", ()), *fields.get("cc", ()), *fields.get("bcc", ())]
    recipients = " ".join(" ".join(each) for each in addresses_of(to))
    subject = decoded(fields.get("subject", [""])[0])
    return summary, (sender, recipients, subject, " ".join(summary.attachments), text)


def octets_of(row: Row, data: Path) -> bytes:
    """The mail, made small where it is large; what is gone meanwhile is empty."""
    if row.blob_key is None:
        return row.prefix + (row.body or b"")
    try:
        with blob_path(data, row.blob_key).open("rb", buffering=0) as file:
            return skim(_pieces(row.prefix, file.read))
    except (OSError, StoreBroken):
        return row.prefix


def _pieces(first: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    yield first
    while piece := read(PIECE_OCTETS):
        yield piece


@frozen
class Step:
    """What was done.

    Attributes:
        mails: that the index has now, and had not before.
        done: nothing is left to do.
    """

    mails: int = 0
    done: bool = False


@define(eq=False)
class Filling:
    """Fills one index.

    Attributes:
        connection: of an `IndexFile`.
        rest: called after each mail, so that others have their turn.
    """

    connection: sqlite3.Connection
    data: Path
    account_id: int
    rest: Rest
    _looked_to: int = field(default=0, init=False)
    _left: list[int] = field(factory=list, init=False)
    _behind: Standing = field(default=LAST, init=False)
    _mails: dict[int, int] = field(factory=dict, init=False)

    def step(self) -> Step:
        """Take in the next few mails, or take out some that left.

        Raises:
            sqlite3.Error.
        """
        folders = self._folders()
        if self.is_taking_out:
            return self._take_out(folders)
        for folder in folders:
            if folder.behind:
                return self._take_in(folder)
        if self._changed(folders):
            return self._take_out(folders)
        return Step(done=True)

    @property
    def is_taking_out(self) -> bool:
        """Whether it has looked at some of the mails, and not at all."""
        return self._looked_to > 0 or bool(self._left)

    def _folders(self) -> list[_Folder]:
        """What mail.db says of each beside what the index knows."""
        return [
            _Folder(*row)
            for row in self.connection.execute(
                "SELECT f.id, f.uidvalidity, f.uid_next, f.mails,"
                " CASE WHEN i.uidvalidity = f.uidvalidity THEN i.uid ELSE 0 END,"
                " coalesce(i.mails, 0)"
                " FROM node.folder AS f LEFT JOIN main.folder AS i ON i.id = f.id"
                " WHERE f.account_id = ? ORDER BY f.name <> 'INBOX', f.id",
                (self.account_id,),
            )
        ]

    # In

    def _take_in(self, folder: _Folder) -> Step:
        copies = self.connection.execute(
            "SELECT d.uid, d.message_id, d.size_octets,"
            f" {MS.format('d.received_at')} FROM node.delivery AS d"
            f" WHERE d.folder_id = ? AND d.uid > ? ORDER BY d.uid LIMIT {BATCH_MAILS}",
            (folder.id, folder.known_uid or 0),
        ).fetchall()
        octets = last = 0
        ids: list[int] = []
        standings: list[Standing] = []
        for uid, message_id, size, at_ms in copies:
            ids.append(message_id)
            standings.append(Standing(at_ms, uid))
            last, octets = uid, octets + min(size, ROW_OCTETS)
            if octets >= BATCH_OCTETS:
                break
        count = len(ids)
        if count == len(copies) < BATCH_MAILS:  # what has no copy any more is behind us, too
            last = max(last, folder.uid_next - 1)
        entries = self._entries(folder.id, ids)
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._still(folder):
                return Step()
            known = _which_are_known(self.connection, [entry.id for entry in entries])
            new = sorted(
                (entry for entry in entries if entry.id not in known),
                key=lambda entry: (entry.received_at, entry.id),
            )
            for entry in new:
                _insert(self.connection, entry)
            put_in_order(self.connection, folder.id, standings)
            self.connection.execute(
                "INSERT INTO main.folder (id, uidvalidity, uid, mails) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT (id) DO UPDATE SET uidvalidity = ?2, uid = ?3, mails = ?4 +"
                " CASE WHEN uidvalidity = ?2 THEN mails ELSE 0 END",
                (folder.id, folder.uidvalidity, last, count),
            )
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        return Step(len(new))

    def _still(self, folder: _Folder) -> bool:
        """Whether nobody else has gone on meanwhile."""
        row = self.connection.execute(
            "SELECT uidvalidity, uid FROM main.folder WHERE id = ?", (folder.id,)
        ).fetchone()
        known = 0 if row is None or row[0] != folder.uidvalidity else row[1]
        return bool(known == (folder.known_uid or 0))

    def _entries(self, folder_id: int, ids: Sequence[int]) -> list[Entry]:
        """Of those that are not in it yet; each is read alone: one body at a time is in memory."""
        known = _which_are_known(self.connection, ids)
        entries = []
        for message_id in dict.fromkeys(ids):
            if message_id in known:
                continue
            row = self.connection.execute(
                f"SELECT d.uid, {ROW} FROM node.message AS m"
                " JOIN node.delivery AS d ON d.message_id = m.id AND d.folder_id = ?"
                " WHERE m.id = ? LIMIT 1",
                (folder_id, message_id),
            ).fetchone()
            if row is not None:
                entries.append(read_entry(Row(*row), self.data))
            self.rest()
        return entries

    # Out

    def _changed(self, folders: list[_Folder]) -> list[int]:
        """Folders that mail has left, or that are gone."""
        known = self.connection.execute("SELECT id FROM main.folder").fetchall()
        gone = {row[0] for row in known} - {folder.id for folder in folders}
        return [*gone, *(each.id for each in folders if each.mails != each.known_mails)]

    def _take_out(self, folders: list[_Folder]) -> Step:
        """A few of those that left; all are looked at from the first on, and what the folders held
        then is known once that is over."""
        if not self.is_taking_out:
            self._mails = {folder.id: folder.mails for folder in folders}
            self._left = self._changed(folders)
        if self._left:
            behind = take_out_of_order(self.connection, self._left[-1], self._behind)
            self._behind = behind or LAST
            if behind is None:
                self._left.pop()
            if self._left:
                self.rest()
                return Step()
        ids = ",".join(map(str, self._mails)) or "-1"
        gone = self.connection.execute(
            "SELECT m.place, s.id, s.words, m.thread FROM main.mail AS m"
            " JOIN main.shown AS s ON s.id = m.id WHERE m.place > ? AND NOT EXISTS"
            " (SELECT 1 FROM node.delivery AS d"
            f" WHERE d.message_id = m.id AND +d.folder_id IN ({ids}))"
            f" ORDER BY m.place LIMIT {GONE_AT_ONCE}",
            (self._looked_to,),
        ).fetchall()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for place, message_id, words, thread in gone:
                self._delete(message_id, place, words, thread)
            self._looked_to = gone[-1][0] if gone else 0
            if len(gone) < GONE_AT_ONCE:
                self._looked_to = 0
                self.connection.execute(f"DELETE FROM main.folder WHERE id NOT IN ({ids})")
                self.connection.executemany(
                    "UPDATE main.folder SET mails = ?2 WHERE id = ?1", list(self._mails.items())
                )
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        self.rest()
        return Step()

    def _delete(self, message_id: int, place: int, words: bytes, thread: int) -> None:
        done = self.connection.execute("DELETE FROM main.mail WHERE id = ?", (message_id,))
        if not done.rowcount:  # somebody else did
            return
        self.connection.execute("DELETE FROM main.shown WHERE id = ?", (message_id,))
        self.connection.execute(
            "INSERT INTO main.words (words, rowid, sender, recipients, subject, files, body)"
            " VALUES ('delete', ?, ?, ?, ?, ?, ?)",
            (place, *unpack_words(words)),
        )
        self.connection.execute(
            "DELETE FROM main.named WHERE thread = ?1"
            " AND NOT EXISTS (SELECT 1 FROM main.mail WHERE thread = ?1)",
            (thread,),
        )


@frozen
class _Folder:
    id: int
    uidvalidity: int
    uid_next: int
    mails: int
    known_uid: int | None
    known_mails: int

    @property
    def behind(self) -> bool:
        return (self.known_uid or 0) < self.uid_next - 1


def _which_are_known(connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    if not ids:
        return set()
    marks, values = padded(ids)
    rows = connection.execute(f"SELECT id FROM main.mail WHERE id IN ({marks})", values)
    return {message_id for (message_id,) in rows}


def _insert(connection: sqlite3.Connection, entry: Entry) -> None:
    summary = entry.summary
    place = _place(connection, entry)
    connection.execute(
        "INSERT INTO main.mail (place, id, received_at, size_octets, files, thread)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (place, entry.id, entry.received_at, entry.size_octets, len(summary.attachments),
         thread_for(connection, entry.id, entry.summary)),
    )  # fmt: skip
    texts = (summary.sender_name, summary.sender_address, summary.to, summary.subject,
             summary.snippet, json.dumps(summary.attachments), summary.message_id,
             json.dumps(summary.references))  # fmt: skip
    connection.execute(
        "INSERT INTO main.shown (id, mail_id, sender_name, sender_address, recipients, subject,"
        " snippet, files, message_id, reply_to, sent_at, words)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (entry.id, entry.mail_id, *map(_storable, texts), summary.sent_at,
         pack_words(entry.texts)),
    )  # fmt: skip
    connection.execute(
        "INSERT INTO main.words (rowid, sender, recipients, subject, files, body)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (place, *entry.texts),
    )


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def pack_words(texts: Sequence[str]) -> bytes:
    return zlib.compress(json.dumps(texts).encode(), 3)


def unpack_words(packed: bytes) -> list[str]:
    texts: list[str] = json.loads(zlib.decompress(packed))
    return texts


def _place(connection: sqlite3.Connection, entry: Entry) -> int:
    """A number that ascends with time, close to the one before: what it is small by, the index is.

    Mail that is brought from elsewhere has its old time, and stands among what came then: to the
    second, or where much came in one, to some days.
    """
    received_at = entry.received_at
    base = max(1, min(int(received_at), 1 << 40))
    newest, last = connection.execute(
        "SELECT (SELECT max(received_at) FROM main.mail), (SELECT max(place) FROM main.mail)"
    ).fetchone()
    if newest is None or received_at >= newest:
        return max(base, int(last or 0) + 1)
    for step in range(MOST_STEPS):
        spread = (entry.id * 2_654_435_761 + step * 40_503) % (1 << min(step // 2, 20))
        taken = connection.execute(
            "SELECT 1 FROM main.mail WHERE place = ?", (base + spread,)
        ).fetchone()
        if not taken:
            return base + spread
    return max(base, int(last) + 1)
