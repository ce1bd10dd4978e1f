"""`mailnode backup`, `restore` and `backups`: a node as it was, and nothing that does harm."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mailnode.addresses import parse_address
from mailnode.model import Blob, Envelope, Message, Recipient, Remote, new_mail_id
from mailnode.sealing import Seal
from mailnode.store.accept import accept_mails
from mailnode.store.blobs import blob_path
from mailnode.store.restored import UIDS_LEFT_OUT
from mailnode.store.verify import verify
from tests.unit.cli_case import CommandCase

module: Any = sys.modules["mailnode.cli.backup"]  # the package has its command by that name
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

    def chunk_of(self, name: str) -> Path:
        (manifest,) = (self.back / "backups").iterdir()
        for line in manifest.read_text().splitlines():
            told = json.loads(line)
            if told.get("file") == name:
                digest = told["chunks"][0]
                return self.back / "chunks" / digest[:2] / digest
        raise AssertionError(name)


MAILS = """
    SELECT uidvalidity, uid, mail_id, body, blob_key FROM delivery
    JOIN message ON message.id = message_id JOIN folder ON folder.id = folder_id ORDER BY uid
"""


class RestoredTests(BackupCase):
    def test_it_has_the_same_mail_with_the_same_unique_ids_and_all_that_belongs_to_it(self) -> None:
        (self.var / "tls").mkdir()
        (self.var / "tls" / "cert.pem").write_text("a certificate")
        (self.var / "mta-sts.json").write_text("{}")
        self.make()
        new = self.restore()
        self.assertEqual(self.rows(new, MAILS), self.rows(self.folder, MAILS))
        self.assertEqual(blob_path(new / "var", self.large).read_bytes(), LARGE)
        for name in ("keys/seal.key", "tls/cert.pem", "mta-sts.json"):
            self.assertEqual((new / "var" / name).read_bytes(), (self.var / name).read_bytes())
        self.assertEqual(list(verify(new / "var", new / "users.db")), [])
        users = self.run_json(f"user list --users {new / 'users.db'} --data {new / 'var'}")
        self.assertEqual([user["address"] for user in users], [ALICE, BOB])

    def test_nobody_else_can_read_a_backup_or_what_was_restored(self) -> None:
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        self.make()
        new = self.restore()
        for folder in (self.back, new):
            for path in (folder, *folder.rglob("*")):
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        self.assertEqual(os.umask(0o022), 0o022)  # the command's own, and its alone

    def test_locks_sockets_logs_and_what_a_start_makes_are_not_in_it(self) -> None:
        for name in ("node.lock", "writer.lock", "listening.json", "reserve", "twistd.log"):
            (self.var / name).touch()
        for name in ("spool/half", "locks/maildrops", "kept/mail.db-schema-1-x"):
            (self.var / name).parent.mkdir(exist_ok=True)
            (self.var / name).touch()
        os.mkfifo(self.var / "bell.sock")
        self.make()
        new = self.restore()
        names = sorted(str(path.relative_to(new)) for path in new.rglob("*") if path.is_file())
        key = self.large
        blob = f"var/blobs/{key[:2]}/{key}"
        self.assertEqual(names, ["users.db", blob, "var/keys/seal.key", "var/mail.db"])

    def test_settings_come_along_where_they_were_named_and_are_told_of(self) -> None:
        Path("site.toml").write_text('[node]\nhostname = "mx.example.org"\n')
        self.run_command("--config site.toml backup back")
        said = self.run_command("restore back --to new").stdout
        self.assertEqual(Path("new/mailnode.toml").read_text(), Path("site.toml").read_text())
        self.assertIn("--config mailnode.toml uses them", said)
        self.assertIn(f"cd {self.folder}/new && twistd -n mailnode", said)
        self.assertEqual(self.run_json("backups list back")[0]["hostname"], "mx.example.org")

    def test_another_database_of_the_data_folder_is_copied_whole(self) -> None:
        with closing(sqlite3.connect(self.var / "more.db", isolation_level=None)) as more:
            more.execute("PRAGMA journal_mode = WAL")
            more.execute("CREATE TABLE t AS SELECT 7 AS n")
            self.make()
        with closing(sqlite3.connect(self.restore() / "var" / "more.db")) as copied:
            self.assertEqual(copied.execute("SELECT n FROM t").fetchall(), [(7,)])

    def test_no_new_mail_gets_the_unique_id_of_one_that_came_after_the_backup(self) -> None:
        self.make()
        new = self.restore()
        ((before, validity),) = self.rows(self.folder, "SELECT uid_next, uidvalidity FROM folder")
        self.assertEqual(
            self.rows(new, "SELECT uid_next, uidvalidity FROM folder"),
            [(before + UIDS_LEFT_OUT, validity)],
        )

    def test_what_was_in_the_queue_is_held_for_it_may_have_been_sent_since(self) -> None:
        remote = Remote(parse_address("carol@example.com"), "carol@example.com")
        self.file(b"Subject: out\r\n\r\nx\r\n", remotes=(remote,))
        self.make()
        said = self.run_command("restore back --to new").stdout
        self.assertIn("1 recipient in the queue held", said)
        new = self.folder / "new"
        self.assertEqual(self.rows(new, "SELECT state, leased_by FROM queue"), [("held", None)])
        self.assertEqual(list(verify(new / "var")), [])

    def test_a_mail_that_is_deleted_meanwhile_is_not_in_it(self) -> None:
        kept = self.file(LARGE + b"another\r\n", blob=True)
        self.while_copying(lambda: self.forget(self.large))
        self.assertEqual(self.make()["deleted_meanwhile"], 1)
        self.assertEqual(self.run_json("backups verify back")["faults"], [])
        new = self.restore()
        self.assertEqual([row[-1] for row in self.rows(new, MAILS)], [None, kept])
        self.assertEqual(list(verify(new / "var")), [])

    def while_copying(self, happens: Any) -> None:
        """After the mail database was copied, before the blobs are."""
        real = module._Backup._copy_belongings

        def copy(self: Any, copying: Any) -> None:
            happens()
            real(self, copying)

        self.patch(module._Backup, "_copy_belongings", copy)

    def test_files_that_change_meanwhile_are_of_one_moment(self) -> None:
        (self.var / "pair").mkdir()
        (self.var / "pair" / "cert").write_text("old")
        (self.var / "pair" / "key").write_text("old")
        real, times = module._Backup._copy_aside, []

        def copy(backup: Any, each: Any, number: int) -> Any:
            if each.name == "var/pair/key" and not times:
                times.append(1)
                (self.var / "pair" / "cert").write_text("newer")
                (self.var / "pair" / "key").write_text("newer")
            return real(backup, each, number)

        self.patch(module._Backup, "_copy_aside", copy)
        self.make()
        new = self.restore() / "var" / "pair"
        self.assertEqual(((new / "cert").read_text(), (new / "key").read_text()), ("newer",) * 2)


class IncrementTests(BackupCase):
    def test_what_is_there_already_is_not_written_again(self) -> None:
        self.assertGreater(self.make()["new_octets"], len(LARGE))
        again = self.make()
        self.assertEqual((again["new_chunks"], again["new_octets"]), (0, 0))
        self.file(b"Subject: more\r\n\r\nx\r\n")
        more = self.make()
        self.assertEqual(more["new_chunks"], 1)

    def test_a_blob_that_is_there_is_not_even_read(self) -> None:
        self.make()
        path = blob_path(self.var, self.large)
        path.write_bytes(bytes(len(LARGE)))
        self.assertEqual(self.make()["faults"], [])
        self.assertEqual(blob_path(self.restore() / "var", self.large).read_bytes(), LARGE)

    def test_a_chunk_that_was_cut_is_written_anew(self) -> None:
        self.make()
        chunk = self.chunk_of("users.db")
        os.truncate(chunk, 10)
        self.assertEqual(self.make()["new_chunks"], 1)
        self.assertEqual(self.run_json("backups verify back")["faults"], [])

    def test_each_backup_can_be_restored_by_its_name(self) -> None:
        first = self.make()["backup"]
        self.file(b"Subject: more\r\n\r\nx\r\n")
        self.make()
        self.assertEqual(len(self.rows(self.restore("newest"), MAILS)), 3)
        self.assertEqual(len(self.rows(self.restore("first", f"--backup {first}"), MAILS)), 2)

    def test_a_clock_that_is_set_back_does_not_make_the_newest_an_old_one(self) -> None:
        first = self.make()["backup"]
        self.patch(module.time, "time", lambda: 1e9)
        self.file(b"Subject: more\r\n\r\nx\r\n")
        second = self.make()["backup"]
        self.assertGreater(second, first)
        self.assertEqual(len(self.rows(self.restore(), MAILS)), 3)


class DamageTests(BackupCase):
    def damage(self, path: Path) -> str:
        octets = bytearray(path.read_bytes())
        octets[len(octets) // 2] ^= 1
        path.write_bytes(octets)
        return path.name

    def test_a_damaged_chunk_is_named_and_nothing_is_restored_from_it(self) -> None:
        self.make()
        for name in ("var/mail.db", "users.db", f"var/blobs/{self.large[:2]}/{self.large}"):
            chunk = self.chunk_of(name)
            whole = chunk.read_bytes()
            digest = self.damage(chunk)
            (fault,) = self.run_json("backups verify back", exit_code=65)["faults"]
            self.assertEqual(
                fault, f"{name}: chunk {digest} is damaged: its octets are others than they were"
            )
            self.assertIn(digest, self.refusal("restore back --to new", 65))
            self.assertFalse(Path("new").exists())
            chunk.write_bytes(whole)
            for left in self.folder.glob(".new.restoring-*"):  # what is whole there is used
                shutil.rmtree(left)
        chunk.unlink()
        (fault,) = self.run_json("backups verify back", exit_code=65)["faults"]
        self.assertIn("is missing", fault)
        chunk.write_bytes(whole)
        self.restore()

    def test_a_damaged_manifest_is_named(self) -> None:
        self.make()
        (manifest,) = (self.back / "backups").iterdir()
        text = manifest.read_text()
        manifest.write_text(text.replace("users.db", "losers.db", 2))
        for line in ("backups verify back", "restore back --to new", "backups prune back --keep 1"):
            self.assertIn(f"{manifest.name} is damaged", self.refusal(line, 65))
        manifest.write_text(text[:100])
        self.assertIn("is damaged", self.refusal("backups list back", 65))

    def test_a_store_that_is_damaged_is_backed_up_and_that_is_told(self) -> None:
        blob_path(self.var, self.large).write_bytes(LARGE.replace(b"many", b"some"))
        gone = self.file(LARGE + b"x\r\n", blob=True)
        blob_path(self.var, gone).unlink()
        faults = self.make(exit_code=65)["faults"]
        self.assertEqual(len(faults), 2)
        self.assertIn(f"blob {self.large}: its octets are not the ones that came", faults)
        self.assertIn(f"blob {gone}: is missing", faults)
        new = self.restore()
        self.assertEqual(len(self.rows(new, MAILS)), 3)
        self.assertEqual(len(list(verify(new / "var"))), 2)

    def test_a_manifest_that_names_files_elsewhere_is_refused(self) -> None:
        self.make()
        (manifest,) = (self.back / "backups").iterdir()
        lines = (
            manifest.read_bytes().replace(b'"users.db","m', b'"../users.db","m').splitlines(True)
        )
        tail = json.loads(lines[-1])
        tail["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        manifest.write_bytes(b"".join(lines[:-1]) + json.dumps(tail).encode())
        self.assertIn(
            "outside of its folder",
            self.refusal("restore back --to new/x", 73) + self.refusal("restore back --to new", 65),
        )


class InterruptedTests(BackupCase):
    def test_a_backup_that_was_killed_is_none_and_the_next_one_goes_on(self) -> None:
        def end(*_: Any) -> None:
            raise KeyboardInterrupt

        with self.patched_finish(end):
            self.run_command("backup back", exit_code=130)
        self.assertIn("no backup", self.refusal("restore back --to new", 65))
        self.assertEqual(self.run_json("backups list back"), [])
        self.assertEqual(self.make()["new_chunks"], 0)
        self.restore()

    @contextmanager
    def patched_finish(self, finish: Any) -> Iterator[None]:
        real = module.ManifestWriter.finish
        module.ManifestWriter.finish = finish
        try:
            yield
        finally:
            module.ManifestWriter.finish = real

    def test_what_a_killed_backup_left_half_made_goes_with_the_next(self) -> None:
        self.make()
        left = self.back / "unfinished" / "chunk-0"
        left.touch()
        self.make()
        self.assertFalse(left.exists())

    def test_a_restore_goes_on_with_what_a_killed_one_left_of_the_same_backup(self) -> None:
        made = self.make()["backup"]
        self.restore()
        left = self.folder / f".new.restoring-{made}"
        Path("new").rename(left)
        blob = blob_path(left / "var", self.large)
        before = blob.stat().st_ino
        (left / "var" / "keys" / "seal.key").unlink()
        (left / "var" / "mail.db-wal").write_bytes(b"of a database that was looked at")
        other = self.folder / ".new.restoring-20200101T000000Z"
        other.mkdir()
        new = self.restore()
        self.assertEqual(blob_path(new / "var", self.large).stat().st_ino, before)
        self.assertEqual(list(verify(new / "var")), [])
        self.assertTrue((new / "var" / "keys" / "seal.key").exists())
        self.assertFalse(other.exists())
        ((uid_next,),) = self.rows(new, "SELECT uid_next FROM folder")
        self.assertLess(uid_next, 2 * UIDS_LEFT_OUT)


class PruneTests(BackupCase):
    def test_the_newest_stay_and_what_they_need(self) -> None:
        first = self.make()["backup"]
        self.forget(self.large)
        last = self.make()["backup"]
        stray = self.back / "chunks" / "ab" / ("ab" + "0" * 62)
        stray.write_text("of a backup that was killed")
        done = self.run_json("backups prune back --keep 1")
        self.assertEqual(done["deleted"], [first])
        self.assertGreater(done["octets"], len(LARGE))
        self.assertFalse(stray.exists())
        self.assertEqual([each["backup"] for each in self.run_json("backups list back")], [last])
        self.assertEqual(self.run_json("backups verify back")["faults"], [])
        again = self.run_json("backups prune back --keep 1")
        self.assertEqual((again["deleted"], again["chunks"]), ([], 0))

    def test_chunks_are_looked_at_in_parts_where_there_are_many(self) -> None:
        from mailnode.portability import manifests

        self.make()
        self.patch(manifests, "PART_CHUNKS", 1)
        (self.back / "chunks" / "ff" / ("ff" + "0" * 62)).touch()
        self.assertEqual(self.run_json("backups prune back --keep 1")["chunks"], 1)
        self.assertEqual(self.run_json("backups verify back")["faults"], [])


class MistakeTests(BackupCase):
    def test_folders_that_can_not_be_used_are_named_with_the_mend(self) -> None:
        Path("full").mkdir()
        Path("full/thing").touch()
        self.assertIn("data folder itself", self.refusal("backup var/back", 64))
        self.assertIn("other things than backups", self.refusal("backup full", 73))
        self.assertIn("no folder", self.refusal("backup users.db", 73))
        self.assertIn("`mailnode backup full` makes", self.refusal("backups list full", 65))
        self.make()
        self.assertIn("not empty", self.refusal("restore back --to full", 73))
        self.assertIn("make it first", self.refusal("restore back --to a/b", 73))
        self.assertIn("no backup x", self.refusal("restore back --to new --backup x", 65))
        Path("empty").mkdir()
        os.chdir("empty")
        self.assertIn("in use", self.refusal("restore ../back --to .", 73))
        os.chdir("..")
        self.restore("empty")

    def test_one_works_on_a_folder_at_a_time(self) -> None:
        self.make()
        fd = os.open(self.back / "lock", os.O_RDWR)
        self.addCleanup(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_SH)
        self.assertIn("another mailnode", self.refusal("backup back", 75))
        self.assertIn("another mailnode", self.refusal("backups prune back --keep 1", 75))
        self.restore()
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.assertIn("another mailnode", self.refusal("restore back --to other", 75))

    def test_a_backup_of_a_newer_version_is_refused(self) -> None:
        self.make()
        (manifest,) = (self.back / "backups").iterdir()
        lines = manifest.read_bytes().replace(b'"mail.db":3', b'"mail.db":99').splitlines(True)
        tail = json.loads(lines[-1])
        tail["sha256"] = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
        manifest.write_bytes(b"".join(lines[:-1]) + json.dumps(tail).encode())
        self.assertIn("which is newer", self.refusal("restore back --to new", 78))

    def test_on_the_nodes_own_disk_it_leaves_the_room_that_the_node_needs(self) -> None:
        os.environ["MAILNODE_STORE__FREE_SPACE"] = "900000 GiB"
        self.addCleanup(os.environ.pop, "MAILNODE_STORE__FREE_SPACE")
        self.assertIn("store.free_space", self.refusal("backup back", 75))

    def test_a_disk_that_gives_back_other_octets_is_named(self) -> None:
        from mailnode.portability import chunks

        self.patch(chunks.os, "pread", lambda fd, count, at: b"" if at else b"others")
        self.assertRaises(chunks.BackupFault, self.chunks().keep, b"octets")
        with Path("large").open("rb") as large:
            self.assertRaises(chunks.BackupFault, self.chunks().keep_file, large)

    def chunks(self) -> Any:
        from mailnode.portability.chunks import Chunks

        Path("large").write_bytes(bytes(3 << 20))
        made = Chunks(self.back)
        made.make_folders()
        return made
