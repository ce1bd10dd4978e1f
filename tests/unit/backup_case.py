"""A node's folder with mail to back up, and what was made of it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mailnode.addresses import parse_address
from mailnode.model import Blob, Envelope, Message, Recipient, Remote, new_mail_id
from mailnode.sealing import Seal
from mailnode.store.accept import accept_mails
from mailnode.store.blobs import blob_path
from tests.unit.cli_case import CommandCase

ALICE, BOB = "alice@example.test", "bob@example.test"
LARGE = b"Subject: large\r\n\r\n" + b"many octets\r\n" * 200_000


class BackupCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(ALICE, BOB)
        self.var, self.back = self.folder / "var", self.folder / "back"
        Seal.open(self.var)
        self.small = self.file(b"Subject: small\r\n\r\nhello\r\n")
        self.large = self.file(LARGE, blob=True)

    def file(self, raw: bytes, *, blob: bool = False, remotes: tuple[Remote, ...] = ()) -> str:
        """File a mail as the node does, its digest too; its blob's key or its id."""
        key = new_mail_id().lower()
        if blob:
            path = blob_path(self.var, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        to = () if remotes else (Recipient(parse_address(ALICE), 1, ALICE),)
        envelope = Envelope(new_mail_id(), parse_address(BOB), to, remotes=remotes)
        digest = hashlib.sha256(raw).digest()
        message = Message(b"Received: here\r\n", Blob(key) if blob else raw, len(raw), digest)
        self.write_mail(lambda connection: accept_mails(connection, [(envelope, message)]))
        return key if blob else envelope.mail_id

    def forget(self, blob_key: str) -> None:
        """The mail is deleted, and its blob."""

        def delete(connection: sqlite3.Connection) -> None:
            (number,) = connection.execute(
                "SELECT id FROM message WHERE blob_key = ?", (blob_key,)
            ).fetchone()
            connection.execute("DELETE FROM delivery WHERE message_id = ?", (number,))
            connection.execute("DELETE FROM message WHERE id = ?", (number,))
            connection.execute(
                "UPDATE folder SET (mails, octets) = (SELECT count(*), sum(size_octets)"
                " FROM delivery)"
            )

        self.write_mail(delete)
        blob_path(self.var, blob_key).unlink()

    def make(self, **more: Any) -> dict[str, Any]:
        told: dict[str, Any] = self.run_json("backup back", **more)
        return told

    def restore(self, to: str = "new", options: str = "", **more: Any) -> Path:
        self.run_json(f"restore back --to {to} {options}", **more)
        return self.folder / to

    def rows(self, folder: Path, text: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(folder / "var" / "mail.db")) as connection:
            return connection.execute(text).fetchall()

    def chunk_of(self, name: str, backup: str = "*") -> Path:
        """The first chunk of a file, of that backup or the only one."""
        (manifest,) = (self.back / "backups").glob(f"{backup}.jsonl")
        for line in manifest.read_text().splitlines():
            told = json.loads(line)
            if told.get("file") == name:
                digest = told["chunks"][0]
                return self.back / "chunks" / digest[:2] / digest
        raise AssertionError(name)

    def rewrite_manifest(self, old: bytes, new: bytes) -> None:
        """Somebody wrote something else into the only backup, with a digest that is right."""
        (manifest,) = (self.back / "backups").iterdir()
        before = manifest.read_bytes()
        self.assertIn(old, before)
        lines = before.replace(old, new).splitlines(True)
        tail = json.loads(lines[-1])
        tail["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        manifest.write_bytes(b"".join(lines[:-1]) + json.dumps(tail).encode())


MAILS = """
    SELECT uidvalidity, uid, mail_id, body, blob_key FROM delivery
    JOIN message ON message.id = message_id JOIN folder ON folder.id = folder_id ORDER BY uid
"""
