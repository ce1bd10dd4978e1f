"""Where mails lie in a database that is mended: whose each folder is, and what lies in it.

Rows, the indexes of them that could be read, and the journal say it. A mail must not come to lie in
another's maildrop, and none lies where it was moved away from.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress

from attrs import define

from mailnode.model import INBOX
from mailnode.store.accept import served_head
from mailnode.store.mend_queue import Tell
from mailnode.store.removal import HELD_BY_NOTHING

FILED = "event IN ('delivered', 'imported', 'kept', 'moved')"  # and says where a copy lies


@define(eq=False)
class Places:
    """Of one database in the making; its attributes are as `mend.Mending` has them."""

    new: sqlite3.Connection
    rebuilt: bool
    account_of: Callable[[str], int | None]
    tell: Tell
    now: float

    def judge(self) -> None:
        """What a page said that is gone is there again, as far as anything knows it."""
        self._judge_folders()
        self._judge_copies()
        self._file_what_lies_nowhere()

    def _one(self, text: str, *values: object) -> tuple | None:  # type: ignore[type-arg]
        row: tuple | None = self.new.execute(text, values).fetchone()  # type: ignore[type-arg]
        return row

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
        filed = self.filed(folder_id, uid)
        if filed is not None:
            return bool(filed[0] == mail_id)
        copy = self._one(
            "SELECT recipient, size_octets FROM delivery WHERE folder_id = ? AND uid = ?",
            folder_id,
            uid,
        )
        return copy is not None and copy[1] == len(served_head(sender, copy[0], prefix)) + size

    def filed(self, folder_id: int, uid: int) -> tuple[str, str] | None:
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
        filed = self.filed(folder_id, uid)
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

    def make_folders(self) -> None:
        """Each copy lies in a folder that is somebody's."""
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
            self.put(source, old, target, uid)
            uid += 1
        self.new.execute("UPDATE folder SET uid_next = ? WHERE id = ?", (uid, target))

    def put(self, source: int, old: int, target: int, uid: int) -> None:
        """A copy lies elsewhere, and the draft that it is the text of with it."""
        for table in ("delivery", "draft"):
            self.new.execute(
                f"UPDATE {table} SET folder_id = ?, uid = ? WHERE folder_id = ? AND uid = ?",
                (target, uid, source, old),
            )
