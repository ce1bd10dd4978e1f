"""`mailnode backup`, `restore` and `backups`: a node as it was, and nothing that does harm."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mailnode.addresses import parse_address
from mailnode.cli import backup as module
from mailnode.cli import belongings
from mailnode.model import Remote
from mailnode.store.blobs import blob_path
from mailnode.store.restored import UIDS_LEFT_OUT
from mailnode.store.sqlite import schema_scripts
from mailnode.store.verify import verify
from tests.unit.backup_case import ALICE, BOB, LARGE, MAILS, BackupCase


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
        for name in ("spool/half", "locks/maildrops", "kept/mail.db-schema-1-x", "uploads/spool/a"):
            (self.var / name).parent.mkdir(parents=True, exist_ok=True)
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

    def test_no_new_draft_or_token_gets_the_number_of_one_that_came_after_the_backup(self) -> None:
        self.make()
        with closing(sqlite3.connect(self.restore() / "var" / "mail.db")) as mail:
            mail.execute("INSERT INTO draft VALUES (NULL, 1, 1, 1, 1.5)")
            token = "NULL, x'01', 1, 'n', '', 1.5, 0, 0, '', NULL"
            mail.execute(f"INSERT INTO token VALUES ({token})")
            for table in ("draft", "token"):
                ((number,),) = mail.execute(f"SELECT id FROM {table}").fetchall()
                self.assertGreater(number, 1000, table)

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

    def test_a_file_that_is_gone_when_it_is_looked_at_is_no_mistake(self) -> None:
        (self.var / "state.json").write_text("{}")
        real, times = belongings._belonging, []

        def look(name: str, path: Path) -> Any:
            if not times:
                times.append(1)
                (self.var / "state.json").unlink()
                raise FileNotFoundError(2, "No such file", str(path))
            return real(name, path)

        self.patch(belongings, "_belonging", look)
        self.make()
        self.assertFalse((self.restore() / "var" / "state.json").exists())


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


class MistakeTests(BackupCase):
    def test_folders_that_can_not_be_used_are_named_with_the_mend(self) -> None:
        Path("full").mkdir()
        Path("full/thing").touch()
        self.assertIn("data folder itself", self.refusal("backup var/back", 64))
        self.assertIn("other things than backups", self.refusal("backup full", 73))
        self.assertIn("no folder", self.refusal("backup users.db", 73))
        self.assertIn("`mailnode backup full` makes", self.refusal("backups list full", 66))
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
        self.rewrite_manifest(b'"mail.db":%d' % max(schema_scripts()), b'"mail.db":99')
        self.assertIn("which is newer", self.refusal("restore back --to new", 78))

    def test_a_folder_without_a_backup_is_told_of_for_its_disk_may_not_be_mounted(self) -> None:
        told = "made back, which was not there: this is the first one"
        self.assertEqual(self.run_command("backup back").stdout.splitlines()[0], told)
        self.assertEqual(len(self.run_command("backup back").stdout.splitlines()), 1)
        Path("empty").mkdir()
        said = self.run_command("backup empty").stdout.splitlines()
        self.assertEqual(said[0], "empty holds no backup: this is the first one")
        self.assertIs(self.run_json("backup other")["made_folder"], True)
        self.assertIs(self.run_json("backup other")["made_folder"], False)

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
