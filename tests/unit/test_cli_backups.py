"""`mailnode backups`: what a disk damaged is found and mended, and what is old goes."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from mailnode.portability import chunks, manifests
from mailnode.store.blobs import blob_path
from mailnode.store.verify import verify
from tests.unit.backup_case import LARGE, MAILS, BackupCase


class DamageTests(BackupCase):
    def test_a_damaged_chunk_is_named_and_nothing_is_restored_from_it(self) -> None:
        self.make()
        for name in ("var/mail.db", "users.db", f"var/blobs/{self.large[:2]}/{self.large}"):
            chunk = self.chunk_of(name)
            whole = chunk.read_bytes()
            digest = damage(chunk)
            (fault,) = self.run_json("backups verify back", exit_code=65)["faults"]
            self.assertEqual(
                fault, f"{name}: chunk {digest} is damaged: its octets are others than they were"
            )
            self.assertIn(digest, self.refusal("restore back --to new", 65))
            self.assertFalse(Path("new").exists())
            chunk.write_bytes(whole)
            for left in self.folder.glob(".new.restoring-*"):  # what is whole there is used
                shutil.rmtree(left)
        self.restore()

    def test_a_chunk_that_is_missing_is_named_and_mended_by_the_next_backup(self) -> None:
        self.make()
        chunk = self.chunk_of("users.db")
        chunk.unlink()
        (fault,) = self.run_json("backups verify back", exit_code=65)["faults"]
        self.assertEqual(fault, f"users.db: chunk {chunk.name} is missing")
        self.assertEqual(self.make()["new_chunks"], 1)
        self.restore()

    def test_a_damaged_manifest_is_named(self) -> None:
        self.make()
        (manifest,) = (self.back / "backups").iterdir()
        text = manifest.read_text()
        manifest.write_text(text.replace("users.db", "losers.db", 2))
        for line in ("backups verify back", "restore back --to new", "backups prune back --keep 1"):
            self.assertIn(f"{manifest.name} is damaged", self.refusal(line, 65))
        manifest.write_text(text[:100])
        self.assertIn("take it out of there", self.refusal("backups list back", 65))
        manifest.unlink()
        self.make()
        self.run_json("backups prune back --keep 1")
        self.restore()

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
        before = Path("users.db").read_bytes()
        for name in (b"users.db", b"var/blobs/" + self.large[:2].encode()):
            self.rewrite_manifest(b'{"file":"%b' % name, b'{"file":"../%b' % name)
            words = "outside of its folder"
            self.assertIn(words, self.refusal("restore back --to new", 65))
            self.assertIn(words, self.refusal("backups verify back", 65))
            self.rewrite_manifest(b'{"file":"../%b' % name, b'{"file":"%b' % name)
        self.assertEqual(Path("users.db").read_bytes(), before)
        self.assertFalse(Path("new").exists())

    def test_a_manifest_that_names_chunks_elsewhere_is_refused_and_nothing_there_is_touched(
        self,
    ) -> None:
        self.make()
        digest = self.chunk_of("users.db").name.encode()
        before = Path("users.db").read_bytes()
        self.rewrite_manifest(digest, b"../../../users.db")
        for line in ("backups verify back", "restore back --to new"):
            self.assertIn("a chunk that can't be one", self.refusal(line, 65))
        self.assertEqual(Path("users.db").read_bytes(), before)


class MendTests(BackupCase):
    """A disk changes a chunk; the next backup of the node writes it anew."""

    def setUp(self) -> None:
        super().setUp()
        self.blob = f"var/blobs/{self.large[:2]}/{self.large}"
        self.first = self.make()["backup"]

    def aside(self) -> list[str]:
        return [path.name for path in (self.back / "damaged").glob("*")]

    def assert_all_whole(self) -> None:
        for told in self.run_json("backups list back"):
            self.assertEqual(self.run_json(f"backups verify back {told['backup']}")["faults"], [])
            new = self.restore(told["backup"], f"--backup {told['backup']}")
            self.assertEqual(list(verify(new / "var", new / "users.db")), [])

    def test_verify_sets_it_aside_and_the_next_backup_makes_all_of_them_whole(self) -> None:
        for name in ("var/mail.db", "users.db", self.blob):
            digest = damage(self.chunk_of(name, self.first))
            told = self.run_json("backups verify back", exit_code=65)
            self.assertIn("the next `mailnode backup back` writes 1 chunk anew", told["mend"])
            self.assertFalse(self.chunk_of(name, self.first).exists())
            self.assertIn(digest, self.aside())
            self.assertEqual(self.make()["new_chunks"], 1)
            self.assertEqual(self.run_json("backups verify back")["faults"], [])
        self.assert_all_whole()

    def test_a_chunk_of_another_length_is_written_anew_without_any_verify(self) -> None:
        for name in ("var/mail.db", "users.db", self.blob):
            for octets in (b"", b"short", self.chunk_of(name, self.first).read_bytes() + b"x"):
                self.chunk_of(name, self.first).write_bytes(octets)
                self.assertEqual(self.make()["new_chunks"], 1)
        self.assert_all_whole()

    def test_a_backup_mends_what_it_reads_of_the_mail_database_itself(self) -> None:
        digest = damage(self.chunk_of("var/mail.db", self.first))
        self.assertEqual(self.make()["new_chunks"], 1)
        self.assertEqual(self.aside(), [digest])
        self.assert_all_whole()

    def test_what_was_set_aside_is_named_until_it_is_written_anew(self) -> None:
        """So it is, too, when a verify was killed behind it."""
        digest = damage(self.chunk_of(self.blob, self.first))
        for words in ("is damaged: its octets are others than they were", *["set aside"] * 2):
            said = self.run_command("backups verify back", exit_code=65).stdout
            self.assertIn(f"{self.blob}: chunk {digest}", said)
            self.assertIn(words, said)
            self.assertIn("the next `mailnode backup back` writes 1 chunk anew", said)
        said = self.refusal("restore back --to new", 65)
        self.assertIn(f"chunk {digest} is damaged, and set aside", said)
        self.assertIn("`mailnode backups verify back` and a new backup mend this one", said)

    def test_prune_keeps_what_was_set_aside_as_long_as_nothing_better_is_there(self) -> None:
        digest = damage(self.chunk_of(self.blob, self.first))
        self.run_json("backups verify back", exit_code=65)
        self.run_json("backups prune back --keep 1")
        self.assertEqual(self.aside(), [digest])
        self.make()
        self.run_json("backups prune back --keep 9")
        self.assertEqual(self.aside(), [])
        self.assert_all_whole()

    def test_a_chunk_that_no_backup_needs_is_not_kept_aside_either(self) -> None:
        digest = damage(self.chunk_of(self.blob, self.first))
        self.run_json("backups verify back", exit_code=65)
        self.assertEqual(self.aside(), [digest])
        self.forget(self.large)
        self.make()
        self.run_json("backups prune back --keep 1")
        self.assertEqual(self.aside(), [])

    def test_it_is_set_aside_beside_others_who_read_and_not_while_somebody_writes(self) -> None:
        digest = damage(self.chunk_of(self.blob, self.first))
        with chunks.locked(self.back, alone=True):
            self.assertIn("try again", self.refusal("backups verify back", 75))
        self.assertEqual(self.aside(), [])
        with chunks.locked(self.back, alone=False):
            self.run_json("backups verify back", exit_code=65)
            self.assertEqual(self.aside(), [digest])
            self.assertIn("try again", self.refusal("backup back", 75))

    def test_what_can_not_be_written_is_left_as_it_is_and_that_is_told(self) -> None:
        chunk = self.chunk_of(self.blob, self.first)
        damage(chunk)
        real = os.open

        def open_lock(path: Any, *more: Any) -> int:
            if Path(path).name == chunks.LOCK:
                raise OSError(errno.EROFS, "Read-only file system")
            return real(path, *more)

        self.patch(chunks.os, "open", open_lock)
        told = self.run_json("backups verify back", exit_code=65)
        self.assertEqual(len(told["faults"]), 1)
        self.assertIn("verify it where it can be written", told["mend"])
        self.assertTrue(chunk.exists())

    def test_a_chunk_that_is_right_when_it_is_read_again_stays(self) -> None:
        chunk = self.chunk_of(self.blob, self.first)
        real, times = chunks.Chunks.read, []

        def read(it: Any, digest: str) -> Any:
            if digest == chunk.name and not times:
                times.append(1)
                raise chunks.ChunkDamaged(digest, "is damaged")
            yield from real(it, digest)

        self.patch(chunks.Chunks, "read", read)
        told = self.run_json("backups verify back", exit_code=65)
        self.assertEqual(len(told["faults"]), 1)
        self.assertIn("don't trust the memory", told["mend"])
        self.assertTrue(chunk.exists())


def damage(path: Path) -> str:
    """One octet is another; the file's name."""
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    return path.name


class PruneTests(BackupCase):
    def test_the_newest_stay_and_what_they_need(self) -> None:
        first = self.make()["backup"]
        self.forget(self.large)
        last = self.make()["backup"]
        stray = self.back / "chunks" / "ab" / ("ab" + "0" * 62)
        stray.write_text("of a backup that was killed")
        there = sorted(Path("back").rglob("*"))
        dry = self.run_json("backups prune back --keep 1 --dry-run")
        self.assertEqual(there, sorted(Path("back").rglob("*")))
        said = self.run_command("backups prune back --keep 1 --dry-run").stdout
        self.assertIn("would be deleted", said)
        done = self.run_json("backups prune back --keep 1")
        self.assertEqual({**dry, "dry_run": False}, done)
        self.assertEqual(done["deleted"], [first])
        self.assertGreater(done["octets"], len(LARGE))
        self.assertFalse(stray.exists())
        self.assertEqual([each["backup"] for each in self.run_json("backups list back")], [last])
        self.assertEqual(self.run_json("backups verify back")["faults"], [])
        again = self.run_json("backups prune back --keep 1")
        self.assertEqual((again["deleted"], again["chunks"]), ([], 0))

    def test_it_says_what_it_deleted_and_nothing_else(self) -> None:
        first = self.make()["backup"]
        self.make()
        said = self.run_command("backups prune back --keep 1").stdout
        self.assertEqual(said, f"backup {first} is deleted\n")
        (self.back / "chunks" / "ff" / ("ff" + "0" * 62)).touch()
        said = self.run_command("backups prune back --keep 1").stdout
        self.assertEqual(said, "deleted 1 chunk, 0 B\n")
        said = self.run_command("backups prune back --keep 1").stdout
        self.assertEqual(said, "nothing to delete\n")

    def test_chunks_are_looked_at_in_parts_where_there_are_many(self) -> None:
        self.make()
        self.patch(manifests, "PART_CHUNKS", 1)
        (self.back / "chunks" / "ff" / ("ff" + "0" * 62)).touch()
        self.assertEqual(self.run_json("backups prune back --keep 1")["chunks"], 1)
        self.assertEqual(self.run_json("backups verify back")["faults"], [])
