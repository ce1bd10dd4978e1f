"""Makes a mail database agree with itself again; nothing that can be read is thrown away.

A mail whose octets are not the ones that came stays in its maildrop, marked by a field
X-Mailnode-Damaged and under a new uid: a client that has the whole one keeps it. One without any
octets left becomes a note that says from whom it was. Uids are never given again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen

from mailnode.model import new_mail_id
from mailnode.store.accept import served_head
from mailnode.store.blobs import blob_path
from mailnode.store.exchange import make_kept_folder
from mailnode.store.mend_places import FILED, Places
from mailnode.store.mend_queue import hold_rows_of, judge_queue, lose_rows_of
from mailnode.store.octets import MARK, PIECE_OCTETS, Measured, measure, note_of
from mailnode.store.removal import HELD_BY_NOTHING

AHEAD = 1 << 20  # ids are skipped where nobody knows which were given
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
    places: Places = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.places = Places(self.new, self.rebuilt, self.account_of, self.tell, self.now)

    def run(self) -> None:
        """All of it, in the open transaction."""
        if self.rebuilt:
            self.places.judge()
        judge_queue(self.new, self.tell)
        self.places.make_folders()
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

    # Messages

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
        filed = self.places.filed(folder_id, uid)
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
                self.places.put(folder_id, uid, folder_id, made[0])

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
                self.places.put(folder_id, uid if sign < 0 else -number, folder_id, sign * number)
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
