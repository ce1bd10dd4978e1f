"""Makes a mail database agree with itself again; nothing that can be read is thrown away.

A mail whose octets are not the ones that came stays in its maildrop, marked by a field
X-Mailnode-Damaged and under a new uid: a client that has the whole one keeps it. One without any
octets left becomes a note that says from whom it was. Uids are never given again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

from mailnode.model import INBOX, new_mail_id
from mailnode.store.accept import served_head
from mailnode.store.blobs import blob_path
from mailnode.store.exchange import make_kept_folder
from mailnode.store.mend_queue import hold_rows_of, judge_queue, lose_rows_of
from mailnode.store.octets import MARK, PIECE_OCTETS, Measured, measure, note_of
from mailnode.store.removal import HELD_BY_NOTHING

AHEAD = 1 << 20  # ids are skipped where nobody knows which were given
FILED = "event IN ('delivered', 'imported', 'kept', 'moved')"  # and says where a copy lies
MOST_UID = (1 << 32) - 1
COUNTERS = {"message": "messages", "queue": "the queue"}


@frozen
class Told:
    """One thing that repair found.

    Attributes:
        kind: "kept", "mended" or "lost".
        what: "mail", "folder", "queue", "account", "blob", "counter" or "database".
        where: which one.
        text: in words.
        mail_id: of the mail that it is about, "" for none.
    """

    kind: str
    what: str
    where: str
    text: str
    mail_id: str = ""

    def __str__(self) -> str:
        mail = f" (mail {self.mail_id})" if self.mail_id else ""
        return f"{self.kind}: {self.what} {self.where}{mail}: {self.text}"


@define(eq=False)
class Mending:
    """One database in the making.

    Attributes:
        new: an open transaction on it; foreign keys are off.
        rebuilt: it was salvaged, so there are hints, and rows may be gone.
        account_of: the id of the account with an address, None for none.
        aside: a folder for mails that nobody is known for.
    """

    new: sqlite3.Connection
    data: Path
    aside: Path
    rebuilt: bool
    account_of: Callable[[str], int | None]
    told: list[Told] = field(factory=list)
    now: float = field(factory=time.time)

    def run(self) -> None:
        """All of it, in the open transaction."""
        if self.rebuilt:
            self._judge_folders()
            self._judge_copies()
            self._file_what_lies_nowhere()
        judge_queue(self.new, self.tell)
        self._make_folders()
        self._make_messages()
        if self.rebuilt:
            self._keep_the_unfiled()
        self._raise_uids()
        self._read_bodies()
        self._count()

    def tell(self, kind: str, what: str, where: object, text: str, mail_id: str = "") -> None:
        self.told.append(Told(kind, what, str(where), text, mail_id))

    def _one(self, text: str, *values: object) -> tuple | None:  # type: ignore[type-arg]
        row: tuple | None = self.new.execute(text, values).fetchone()  # type: ignore[type-arg]
        return row

    # What is whose

    def _judge_folders(self) -> None:
        """Where a folder and the index disagree whose it is, the journal decides, or the index."""
        hints = "hint_sqlite_autoindex_folder_1"
        for folder_id, account_id, name in self.new.execute(
            f"SELECT id, account_id, name FROM folder WHERE NOT EXISTS"
            f" (SELECT 1 FROM {hints} WHERE a = account_id AND b = name AND c = id)"
        ).fetchall():
            moved = self._one(f"SELECT c FROM {hints} WHERE a = ? AND b = ?", account_id, name)
            owner = self._one(f"SELECT a, b FROM {hints} WHERE c = ?", folder_id)
            if owner is not None:
                kept = account_id == self._owner_in_journal(folder_id)
                self.new.execute(
                    "UPDATE OR IGNORE folder SET account_id = ?, name = ? WHERE id = ?",
                    (
                        account_id if kept else owner[0],
                        INBOX if INBOX in (name, owner[1]) else owner[1],
                        folder_id,
                    ),
                )
            elif moved is not None:
                self.new.execute(
                    "UPDATE OR IGNORE folder SET id = ? WHERE id = ?", (moved[0], folder_id)
                )
            else:
                continue
            self.tell("mended", "folder", folder_id, "was another's")

    def _owner_in_journal(self, folder_id: int) -> int | None:
        row = self._one(
            "SELECT coalesce(mailbox, recipient) FROM journal WHERE folder_id = ?"
            f" AND {FILED} ORDER BY id DESC",
            folder_id,
        )
        return self.account_of(row[0]) if row and row[0] else None

    def _judge_copies(self) -> None:
        """Where a copy and the index disagree, the journal and the size say which is right.

        A mail must not come to lie in another's maildrop.
        """
        self.new.execute("CREATE INDEX temp.hint_copy ON hint_delivery_message (b, c)")
        self.new.execute("CREATE INDEX temp.hint_mail ON hint_delivery_message (a)")
        rows = self.new.execute(
            "SELECT folder_id, uid, message_id FROM delivery WHERE NOT EXISTS (SELECT 1 FROM"
            " hint_delivery_message WHERE a = message_id AND b = folder_id AND c = uid)"
        ).fetchall()
        for folder_id, uid, message_id in rows:
            if self._fits(folder_id, uid, message_id):
                continue
            other = self._one(
                "SELECT a FROM hint_delivery_message WHERE b = ? AND c = ?", folder_id, uid
            )
            where = "WHERE folder_id = ? AND uid = ?"
            if other is not None:
                self.new.execute(
                    f"UPDATE delivery SET message_id = ? {where}", (other[0], folder_id, uid)
                )
                self.tell("mended", "mail", f"folder {folder_id} uid {uid}", "named another mail")
            elif self._one("SELECT 1 FROM hint_delivery_message WHERE a = ?", message_id):
                self.new.execute(f"DELETE FROM delivery {where}", (folder_id, uid))
                self.tell("mended", "mail", f"folder {folder_id} uid {uid}", "lay in a wrong place")

    def _fits(self, folder_id: int, uid: int, message_id: int) -> bool:
        """Whether the journal, or else the size, says that this copy is of that mail."""
        message = self._one(
            "SELECT mail_id, sender, prefix, size_octets FROM message WHERE id = ?", message_id
        )
        if message is None:
            return (
                self._one(
                    "SELECT 1 FROM hint_delivery_message WHERE b = ? AND c = ?", folder_id, uid
                )
                is None
            )
        mail_id, sender, prefix, size = message
        filed = self._filed(folder_id, uid)
        if filed is not None:
            return bool(filed[0] == mail_id)
        copy = self._one(
            "SELECT recipient, size_octets FROM delivery WHERE folder_id = ? AND uid = ?",
            folder_id,
            uid,
        )
        return copy is not None and copy[1] == len(served_head(sender, copy[0], prefix)) + size

    def _filed(self, folder_id: int, uid: int) -> tuple[str, str] | None:
        """What the journal says was filed there: (mail id, mailbox)."""
        row = self._one(
            "SELECT mail_id, coalesce(mailbox, recipient) FROM journal"
            f" WHERE {FILED} AND folder_id = ? AND uid = ?",
            folder_id,
            uid,
        )
        return row if row and row[0] and row[1] else None

    def _recipient(self, folder_id: int, uid: int) -> str:
        """What Delivered-To of a copy says, "" for none: mail that its owner kept or brought."""
        filed = self._filed(folder_id, uid)
        if filed is None:
            row = self._one("SELECT recipient FROM delivery WHERE folder_id = ?", folder_id)
            return str(row[0]) if row else ""
        mail_id, mailbox = filed
        row = self._one(
            "SELECT CASE event WHEN 'delivered' THEN recipient ELSE '' END FROM journal"
            " WHERE mail_id = ? AND coalesce(mailbox, recipient) = ?"
            " AND event IN ('delivered', 'imported', 'kept')"
            " ORDER BY folder_id = ? AND uid = ? DESC LIMIT 1",
            mail_id,
            mailbox,
            folder_id,
            uid,
        )
        return str(row[0]) if row else mailbox

    def _file_what_lies_nowhere(self) -> None:
        """Copies whose page is gone are made again from the index, or from the journal."""
        self.new.execute(
            "CREATE INDEX IF NOT EXISTS temp_journal ON journal (event, folder_id, uid)"
        )
        rows = self.new.execute(
            "SELECT a, b, c FROM hint_delivery_message WHERE NOT EXISTS (SELECT 1 FROM delivery"
            " WHERE folder_id = b AND uid = c)"
        ).fetchall()
        for message_id, folder_id, uid in rows:
            if isinstance(message_id, int) and isinstance(folder_id, int) and isinstance(uid, int):
                self._make_copy(message_id, folder_id, uid)
        unfiled = self.new.execute(
            f"SELECT id, mail_id FROM message WHERE {HELD_BY_NOTHING}"
        ).fetchall()
        for message_id, mail_id in unfiled:
            for folder_id, uid in self._places(mail_id):
                if not self._one(
                    "SELECT 1 FROM delivery WHERE folder_id = ? AND uid = ?", folder_id, uid
                ):
                    self._make_copy(message_id, folder_id, uid)

    def _places(self, mail_id: str) -> list[tuple[int, int]]:
        """Where the journal says that a mail was put, but for where it was taken from."""
        found: dict[tuple[int, int], None] = {}
        for folder_id, uid, event, detail in self.new.execute(
            "SELECT folder_id, uid, event, detail FROM journal WHERE mail_id = ?"
            f" AND {FILED} AND folder_id IS NOT NULL AND uid IS NOT NULL ORDER BY id",
            (mail_id,),
        ).fetchall():
            if event == "moved":
                with suppress(ValueError, AttributeError):
                    told = json.loads(detail)
                    source = self._one(
                        "SELECT source.id FROM folder AS source JOIN folder AS target"
                        " ON target.account_id = source.account_id"
                        " WHERE target.id = ? AND source.name = ?",
                        folder_id,
                        told.get("from_folder"),
                    )
                    found.pop((source[0] if source else 0, told.get("from_uid")), None)
            found[folder_id, uid] = None
        return list(found)

    def _make_copy(self, message_id: int, folder_id: int, uid: int) -> None:
        recipient = self._recipient(folder_id, uid)
        row = self._one("SELECT mail_id, received_at FROM message WHERE id = ?", message_id)
        mail_id, received_at = row or ("", self.now)
        self.new.execute(
            "INSERT OR IGNORE INTO delivery (folder_id, uid, message_id, recipient, modseq,"
            " size_octets, received_at) VALUES (?, ?, ?, ?, 1, 0, ?)",
            (folder_id, uid, message_id, recipient, received_at),
        )
        self.tell("kept", "mail", f"folder {folder_id} uid {uid}", "is in its maildrop", mail_id)

    # What is gone

    def _make_folders(self) -> None:
        missing = self.new.execute(
            "SELECT DISTINCT folder_id FROM delivery WHERE folder_id NOT IN (SELECT id FROM folder)"
        ).fetchall()
        for (folder_id,) in missing:
            account_id, name = self._owner(folder_id)
            taken = self._one(
                "SELECT id FROM folder WHERE account_id = ? AND name = ?", account_id, name
            )
            if account_id is not None and taken:
                self._pour(folder_id, taken[0])
            elif account_id is not None:
                self.new.execute(
                    "INSERT INTO folder (id, account_id, name, uidvalidity) VALUES (?, ?, ?, ?)",
                    (folder_id, account_id, name, int(self.now)),
                )
                self.tell("kept", "folder", folder_id, "made again; clients see its mail as new")
            else:
                self.new.execute("DELETE FROM delivery WHERE folder_id = ?", (folder_id,))
                self.tell("lost", "folder", folder_id, "nobody knows whose it was")

    def _owner(self, folder_id: int) -> tuple[int | None, str]:
        if self.rebuilt:
            row = self._one(
                "SELECT a, b FROM hint_sqlite_autoindex_folder_1 WHERE c = ?", folder_id
            )
            if row and isinstance(row[0], int) and isinstance(row[1], str):
                return row[0], row[1]
        for (address,) in self.new.execute(
            "SELECT DISTINCT coalesce(mailbox, recipient) FROM journal WHERE folder_id = ?"
            f" AND {FILED} UNION SELECT DISTINCT recipient FROM delivery"
            " WHERE folder_id = ?",
            (folder_id, folder_id),
        ):
            if address and (account_id := self.account_of(address)) is not None:
                return account_id, INBOX
        return None, INBOX

    def _pour(self, source: int, target: int) -> None:
        """All copies of one folder lie in another, under new uids."""
        row = self._one(
            "SELECT max(uid_next, coalesce((SELECT max(uid) + 1 FROM delivery"
            " WHERE folder_id = folder.id), 1)) FROM folder WHERE id = ?",
            target,
        )
        uid = row[0] if row else 1
        for (old,) in self.new.execute(
            "SELECT uid FROM delivery WHERE folder_id = ? ORDER BY uid", (source,)
        ).fetchall():
            self._put(source, old, target, uid)
            uid += 1
        self.new.execute("UPDATE folder SET uid_next = ? WHERE id = ?", (uid, target))

    def _put(self, source: int, old: int, target: int, uid: int) -> None:
        """A copy lies elsewhere, and the draft that it is the text of with it."""
        for table in ("delivery", "draft"):
            self.new.execute(
                f"UPDATE {table} SET folder_id = ?, uid = ? WHERE folder_id = ? AND uid = ?",
                (target, uid, source, old),
            )

    def _make_messages(self) -> None:
        """What names a message that is gone gets one, by what indexes and journal know of it."""
        missing = self.new.execute(
            "SELECT message_id, min(folder_id), min(uid), min(received_at), min(mail_id) FROM"
            " (SELECT message_id, folder_id, uid, received_at, NULL AS mail_id FROM delivery"
            " UNION ALL SELECT message_id, NULL, NULL, queued_at, mail_id FROM queue)"
            " WHERE message_id NOT IN (SELECT id FROM message) GROUP BY message_id"
        ).fetchall()
        for message_id, folder_id, uid, received_at, queued_id in missing:
            mail_id = queued_id or self._mail_id(message_id, folder_id, uid)
            taken = self._one("SELECT id FROM message WHERE mail_id = ?", mail_id)
            if taken:
                for table in ("delivery", "queue"):
                    self.new.execute(
                        f"UPDATE {table} SET message_id = ? WHERE message_id = ?",
                        (taken[0], message_id),
                    )
                continue
            sender = self._one(
                "SELECT sender FROM journal WHERE mail_id = ? AND sender IS NOT NULL", mail_id
            )
            key = None
            if self.rebuilt:
                key = self._key_of(message_id)
            self.new.execute(
                "INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,"
                " received_at, blob_key, prefix, body)"
                " VALUES (?, ?, ?, '', 0, 0, x'', ?, ?, x'', ?)",
                (
                    message_id,
                    mail_id,
                    sender[0] if sender else "",
                    received_at,
                    key,
                    b"" if key is None else None,
                ),
            )

    def _key_of(self, message_id: int) -> str | None:
        """Of its blob, as an index says; one of `upload` has the same shape, and other files."""
        for (key,) in self.new.execute(
            "SELECT a FROM hint_message_blob WHERE b = ?", (message_id,)
        ).fetchall():
            if str(key).isalnum() and blob_path(self.data, str(key)).is_file():
                return str(key)
        return None

    def _mail_id(self, message_id: int, folder_id: int, uid: int) -> str:
        if self.rebuilt:
            row = self._one("SELECT a FROM hint_sqlite_autoindex_message_1 WHERE b = ?", message_id)
            if row and isinstance(row[0], str):
                return row[0]
        filed = self._filed(folder_id, uid)
        return filed[0] if filed else new_mail_id()

    def _keep_the_unfiled(self) -> None:
        """Mails that nobody is known for, and blobs of none, lie as files in `aside`."""
        folder = self.aside / "mails"
        for message_id, mail_id, sender, prefix, key, body in self.new.execute(
            "SELECT id, mail_id, sender, prefix, blob_key, body FROM message"
            f" WHERE {HELD_BY_NOTHING}"
        ).fetchall():
            make_kept_folder(folder)
            octets = body if key is None else self._blob(key) or b""
            target = folder / f"{mail_id if mail_id.isalnum() else message_id}.eml"
            target.write_bytes(b"Return-Path: <%b>\r\n%b" % (sender.encode(), prefix) + octets)
            target.chmod(0o600)
            self.new.execute("DELETE FROM message WHERE id = ?", (message_id,))
            self.tell("kept", "mail", target, "whom it was for is not known", mail_id)

    def _blob(self, key: str) -> bytes | None:
        try:
            return blob_path(self.data, key).read_bytes()
        except OSError:
            return None

    # Octets

    def _read_bodies(self) -> None:
        last_id = 0
        while row := self._one(
            "SELECT id, mail_id, size_octets, dot_lines, digest, blob_key, body FROM message"
            " WHERE id > ? ORDER BY id LIMIT 1",
            last_id,
        ):
            last_id, mail_id, size, dots, digest, key, body = row
            why = ""
            if key is None:
                real = measure([body])
            else:
                try:
                    with blob_path(self.data, key).open("rb") as file:
                        real = measure(iter(lambda: file.read(PIECE_OCTETS), b""))
                except OSError as error:
                    real, why = Measured(), f"its blob can't be read: {error.strerror}"
            if real.digest == digest:
                if (real.size, real.dots) != (size, dots):
                    self._set_measures(last_id, real)
                    self.tell("mended", "mail", f"message {last_id}", "had a wrong size", mail_id)
                continue
            if not real.size:
                self._make_note(last_id, why or "its octets are gone")
            else:
                self._set_measures(last_id, real)
                why = "its octets are not the ones that came"
                self._mark(last_id, why)
                hold_rows_of(self.new, last_id, why, self.tell)
                self.tell(
                    "kept", "mail", f"message {last_id}", f"{real.size} octets, marked", mail_id
                )

    def _set_measures(self, message_id: int, real: Measured) -> None:
        self.new.execute(
            "UPDATE message SET size_octets = ?, dot_lines = ?, digest = ? WHERE id = ?",
            (real.size, real.dots, real.digest, message_id),
        )

    def _mark(self, message_id: int, why: str) -> None:
        """A field in front says so, and the copies get new uids: they are not what they were."""
        row = self._one("SELECT prefix FROM message WHERE id = ?", message_id)
        field_ = f"{MARK}: {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(self.now))}; {why}\r\n"
        prefix = field_.encode("ascii", "replace") + (row[0] if row else b"")
        self.new.execute("UPDATE message SET prefix = ? WHERE id = ?", (prefix, message_id))
        for folder_id, uid in self.new.execute(
            "SELECT folder_id, uid FROM delivery WHERE message_id = ?", (message_id,)
        ).fetchall():
            made = self._one(
                "UPDATE folder SET uid_next = uid_next + 1 WHERE id = ? RETURNING uid_next - 1",
                folder_id,
            )
            if made:
                self._put(folder_id, uid, folder_id, made[0])

    def _make_note(self, message_id: int, why: str) -> None:
        """What tells its owner which mail is lost stands in the place of its octets."""
        lose_rows_of(self.new, message_id, self.tell)
        if self._one(f"SELECT 1 FROM message WHERE id = ? AND {HELD_BY_NOTHING}", message_id):
            self.new.execute("DELETE FROM message WHERE id = ?", (message_id,))
            return
        row = self._one(
            "SELECT mail_id, sender, subject, received_at FROM message WHERE id = ?", message_id
        )
        assert row is not None
        mail_id, sender, subject, received_at = row
        body = note_of(mail_id, sender, subject, received_at)
        self.new.execute(
            "UPDATE message SET blob_key = NULL, body = ?, prefix = x'' WHERE id = ?",
            (body, message_id),
        )
        self._set_measures(message_id, measure([body]))
        self._mark(message_id, why)
        self.tell("lost", "mail", f"message {message_id}", f"from <{sender}>: {why}", mail_id)

    # Sums

    def _raise_uids(self) -> None:
        """No uid is given again, neither one that lies there nor one that the journal knows."""
        rows = self.new.execute(
            "SELECT id, uid_next, max(coalesce((SELECT max(uid) FROM delivery"
            " WHERE folder_id = folder.id), 0), coalesce((SELECT max(uid) FROM journal WHERE"
            f" folder_id = folder.id AND {FILED}), 0)) FROM folder"
        ).fetchall()
        for folder_id, uid_next, last_uid in rows:
            if last_uid < uid_next < MOST_UID // 2:
                continue
            if last_uid >= MOST_UID // 2:  # no uid that was ever given: all get new ones
                self.new.execute(
                    "DELETE FROM journal WHERE folder_id = ? AND uid >= ?",
                    (folder_id, MOST_UID // 2),
                )
                self._number_anew(folder_id)
                continue
            self.new.execute(
                "UPDATE folder SET uid_next = ? WHERE id = ?", (last_uid + 1, folder_id)
            )
            self.tell("mended", "counter", f"folder {folder_id}", "would have given a uid again")

    def _number_anew(self, folder_id: int) -> None:
        uids = self.new.execute(
            "SELECT uid FROM delivery WHERE folder_id = ? ORDER BY received_at, uid", (folder_id,)
        ).fetchall()
        self.new.execute(  # whose text is gone: another mail would get its number
            "DELETE FROM draft WHERE folder_id = ? AND NOT EXISTS (SELECT 1 FROM delivery"
            " WHERE delivery.folder_id = draft.folder_id AND delivery.uid = draft.uid)",
            (folder_id,),
        )
        for sign in (-1, 1):  # by way of numbers that nobody has
            for number, (uid,) in enumerate(uids, 1):
                self._put(folder_id, uid if sign < 0 else -number, folder_id, sign * number)
        self.new.execute(
            "UPDATE folder SET uid_next = ?, uidvalidity = max(uidvalidity + 1, ?) WHERE id = ?",
            (len(uids) + 1, int(self.now), folder_id),
        )
        self.tell("mended", "folder", folder_id, "numbered anew; clients see its mail as new")

    def _count(self) -> None:
        for folder_id, uid, sender, recipient, prefix, size, told in self.new.execute(
            "SELECT folder_id, uid, sender, recipient, prefix, message.size_octets,"
            " delivery.size_octets FROM delivery JOIN message ON message.id = message_id"
        ).fetchall():
            served = len(served_head(sender, recipient, prefix)) + size
            if served != told:
                self.new.execute(
                    "UPDATE delivery SET size_octets = ? WHERE folder_id = ? AND uid = ?",
                    (served, folder_id, uid),
                )
        mended = self.new.execute(
            "UPDATE folder SET mails = sums.mails, octets = sums.octets, modseq = modseq + 1"
            " FROM (SELECT folder.id AS id, count(uid) AS mails,"
            " coalesce(sum(delivery.size_octets), 0) AS octets"
            " FROM folder LEFT JOIN delivery ON folder_id = folder.id GROUP BY folder.id) AS sums"
            " WHERE folder.id = sums.id AND (folder.mails <> sums.mails"
            " OR folder.octets <> sums.octets)"
        ).rowcount
        if mended:
            self.tell("mended", "counter", "folders", f"{mended} were counted anew")
        for name in COUNTERS:
            self._raise_counter(name)
        self.new.execute("DROP INDEX IF EXISTS temp_journal")

    def _raise_counter(self, name: str) -> None:
        """No id of that table is given again."""
        (last_id,) = self._one(f"SELECT coalesce(max(id), 0) FROM {name}") or (0,)
        following = self._one("SELECT next FROM counter WHERE name = ?", name)
        if following is None:
            self.new.execute("INSERT INTO counter VALUES (?, ?)", (name, last_id + AHEAD))
        elif not last_id < following[0] < 1 << 62:
            self.new.execute("UPDATE counter SET next = ? WHERE name = ?", (last_id + AHEAD, name))
            self.tell("mended", "counter", COUNTERS[name], "would have given an id again")
