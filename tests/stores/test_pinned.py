"""The mail database is read as of one moment, whatever is written and checkpointed meanwhile.

PINS=500 for more of the moments that chance chooses.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBroken, StoreBusy
from mailnode.store.exchange import next_of
from mailnode.store.pinned import Pinned, copy_database, names_blob, pinned
from mailnode.store.restored import open_sparsely, settle
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts
from mailnode.store.verify import verify
from tests.live.node import environment
from tests.stores.busy_writer import body, is_deleted

PINS = int(os.environ.get("PINS", "25"))
PIECE = 64 << 10

pytestmark = pytest.mark.timeout(120 + 3 * PINS)


def read_all(pin: Pinned, chance: random.Random, threads: int = 3) -> bytes:
    """Its octets, read in pieces, in any order and by several threads, as slowly as a disk may."""
    places = list(range(0, pin.octets, PIECE))
    chance.shuffle(places)

    def read(at: int) -> tuple[int, bytes]:
        return at, bytes(pin.read(at, PIECE))

    with ThreadPoolExecutor(threads) as pool:
        return b"".join(data for _, data in sorted(pool.map(read, places)))


class BusyWriterTests(SynchronousTestCase):
    """Another process writes: closing a file of a database takes away its own process's locks."""

    def setUp(self) -> None:
        self.data = Path(self.mktemp()).absolute()
        self.data.mkdir()
        self.path = self.data / "mail.db"
        self.writer = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.busy_writer", str(self.path)],
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=Path(__file__).parents[2],
        )
        self.addCleanup(self.end)
        self.filed = 0
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.wait_for(50)

    def listen(self) -> None:
        for line in self.writer.stdout or ():
            self.filed = int(line)

    def end(self) -> None:
        self.writer.kill()
        self.writer.wait()
        self.listener.join(10)
        if self.writer.stdout:
            self.writer.stdout.close()

    def wait_for(self, filed: int) -> None:
        until = time.monotonic() + 30
        while self.filed < filed:
            self.assertIs(self.writer.poll(), None)
            self.assertLess(time.monotonic(), until)
            time.sleep(0.001)

    def test_each_moment_is_the_one_that_sqlite_sees_octet_by_octet(self) -> None:
        chance, from_log = random.Random(1), 0
        for number in range(PINS):
            time.sleep(chance.uniform(0, 0.05))
            before = self.filed
            with pinned(self.path) as pin:
                from_log += bool(pin._frames)
                octets = read_all(pin, chance)
                if number % 3 == 0:  # long enough for the log to be moved and begun anew
                    self.wait_for(self.filed + 300)
                    octets = read_all(pin, chance)
                self.assertEqual(len(octets), pin.octets)
                seen = pin._connection.serialize()
                self.assertEqual(
                    hashlib.sha256(octets).digest(), hashlib.sha256(seen).digest(), number
                )
            self.judge(octets, before)
        self.assertGreater(from_log, 0)

    def judge(self, octets: bytes, filed_before: int) -> None:
        data = Path(self.mktemp())
        data.mkdir()
        (data / "mail.db").write_bytes(octets)
        settle(data / "mail.db", ())
        self.assertEqual(list(verify(data)), [])
        with closing(connect(data / "mail.db")) as connection:
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            rows = connection.execute(
                "SELECT uid, body FROM delivery JOIN message ON message.id = message_id"
            )
            bodies = dict(rows.fetchall())
        for uid in range(1, filed_before + 1):
            if not is_deleted(uid):
                self.assertEqual(bodies[uid], body(uid))
        (data / "mail.db").unlink()


class PinTests(SynchronousTestCase):
    """One process does all of it, so nothing is closed here while a moment is pinned."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / "mail.db"
        self.path.parent.mkdir()
        prepare(self.path)
        self.connection = connect(self.path)
        self.addCleanup(self.connection.close)
        migrate(self.connection, schema_scripts())

    def write(self, count: int) -> None:
        self.connection.execute("CREATE TABLE IF NOT EXISTS filler (octets BLOB)")
        self.connection.execute("BEGIN")
        self.connection.execute("UPDATE filler SET octets = randomblob(length(octets))")
        for _ in range(count):
            self.connection.execute("INSERT INTO filler VALUES (randomblob(3000))")
        self.connection.execute("COMMIT")

    def checkpoint(self) -> tuple[int, int, int]:
        row: tuple[int, int, int] = self.connection.execute(
            "PRAGMA wal_checkpoint(PASSIVE)"
        ).fetchone()
        return row

    def test_a_log_that_stood_in_the_file_is_begun_anew_and_does_not_matter(self) -> None:
        self.write(50)
        self.checkpoint()
        expected = self.connection.serialize()
        with pinned(self.path) as pin:
            self.assertEqual(pin._frames, {})
            log = self.path.with_name("mail.db-wal").read_bytes()[:32]
            self.write(80)
            self.checkpoint()
            begun = self.path.with_name("mail.db-wal").read_bytes()[:32]
            self.assertNotEqual(log, begun, "the log was not begun anew: this test shows nothing")
            self.assertEqual(read_all(pin, random.Random(1)), expected)

    def test_what_a_checkpoint_moves_meanwhile_does_not_matter(self) -> None:
        self.write(50)
        expected = self.connection.serialize()
        with pinned(self.path) as pin:
            self.assertNotEqual(pin._frames, {})
            first = pin.read(0, PIECE)
            self.write(50)
            self.checkpoint()
            self.write(80)
            _, frames, moved = self.checkpoint()
            self.assertLess(moved, frames)
            self.assertEqual(pin.read(0, PIECE), first)
            self.assertEqual(read_all(pin, random.Random(1)), expected)

    def test_a_database_whose_end_stands_in_the_log_alone_is_read_whole(self) -> None:
        self.checkpoint()
        self.write(200)
        self.assertLess(self.path.stat().st_size, len(self.connection.serialize()))
        with pinned(self.path) as pin:
            self.assertEqual(read_all(pin, random.Random(1)), self.connection.serialize())

    def test_one_that_is_being_exchanged_is_left_alone(self) -> None:
        next_of(self.path).touch()
        with self.assertRaises(StoreBusy), pinned(self.path):
            pass

    def test_a_foreign_program_that_writes_all_the_time_is_named(self) -> None:
        import mailnode.store.pinned as module

        moments = iter(range(10_000))
        self.patch(module, "_index_header", lambda *_: (next(moments), b""))
        with self.assertRaises(StoreBusy) as caught, pinned(self.path):
            pass
        self.assertIn("isn't mailnode", caught.exception.detail)

    def test_blobs_that_messages_name_are_told_with_their_digests(self) -> None:
        add = (
            "INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,"
            " received_at, blob_key, prefix, codec) VALUES (?, ?, '', '', 7, 0, ?, 0, ?, x'', ?)"
        )
        self.connection.execute(add, (1, "a", b"\1" * 32, "key1", ""))
        self.connection.execute(add, (2, "b", b"\2" * 32, "key2", "zstd"))
        with pinned(self.path) as pin:
            told = [(blob.key, blob.octets, blob.digest) for blob in pin.blobs()]
            self.assertEqual(pin.blob_octets(), 14)
        self.assertEqual(told, [("key1", 7, "01" * 32), ("key2", 7, "")])
        self.assertTrue(names_blob(self.path, "key1"))
        self.assertFalse(names_blob(self.path, "key3"))

    def test_a_copy_of_a_small_database_is_whole(self) -> None:
        source, target = self.path.with_name("users.db"), self.path.with_name("copy.db")
        with closing(sqlite3.connect(source)) as made:
            migrate(made, schema_scripts("accounts"))
            made.execute("BEGIN IMMEDIATE")
            made.execute("INSERT INTO domain (name, created_at) VALUES ('example.test', 0)")
            self.assertEqual(copy_database(source, target), max(schema_scripts("accounts")))
            made.execute("COMMIT")
        with closing(sqlite3.connect(target)) as copied:
            self.assertEqual(copied.execute("SELECT count(*) FROM domain").fetchone(), (0,))
            self.assertEqual(copied.execute("PRAGMA integrity_check").fetchone(), ("ok",))


class SparseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def image(self, *statements: str) -> bytes:
        with closing(sqlite3.connect(self.folder / "made.db", isolation_level=None)) as made:
            migrate(made, schema_scripts())
            for statement in statements:
                made.execute(statement)
        return (self.folder / "made.db").read_bytes()

    def version(self, image: bytes) -> int:
        read = {"octets": 0}

        def piece(at: int, count: int) -> bytes:
            read["octets"] += count
            return image[at : at + count]

        version = open_sparsely(piece, len(image), self.folder / "sparse.db")
        self.assertLess(read["octets"], len(image))
        self.assertEqual([each.name for each in self.folder.glob("sparse*")], [])
        return version

    def test_the_schema_opens_from_its_own_pages_wherever_they_are(self) -> None:
        filler = "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
        filler += " FROM n LIMIT 500) SELECT i, randomblob(2000) AS octets FROM n"
        long = "CREATE TABLE long (a TEXT /* " + "x" * 20_000 + " */)"
        many = [f"CREATE TABLE t{number} (a TEXT /* {'y' * 900} */)" for number in range(100)]
        self.assertEqual(self.version(self.image(filler, long, *many)), max(schema_scripts()))

    def test_a_schema_that_is_damaged_is_told(self) -> None:
        image = bytearray(self.image())
        image[4096:] = bytes(len(image) - 4096)
        image[100:108] = b"\x05\0\0\0\x02\0\0\0"
        with self.assertRaises(StoreBroken):
            self.version(bytes(image))
        with self.assertRaises(StoreBroken):
            open_sparsely(lambda at, count: b"mail" * 1024, 4096, self.folder / "sparse.db")
