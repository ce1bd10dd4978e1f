"""The writer commits in groups, and what goes wrong reaches the right caller by its name."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from threading import Event

from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from mailnode.errors import StoreBroken, StoreBusy, StoreFull, StoreTooNew
from mailnode.store.beside import writing_beside
from mailnode.store.database import QUEUE_JOBS, Database
from mailnode.store.jobs import WriteKind
from mailnode.store.sqlite import connect, migrate, schema_scripts
from mailnode.store.verify import verify
from tests.damaged import damage_schema
from tests.stores.support import StoreCase, envelope, message


class GroupCommitTests(StoreCase):
    async def test_what_queues_up_during_a_batch_is_committed_as_one(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(200)]
        before = self.database.stats.batches
        await held.release()
        await gatherResults(filing)
        self.assertEqual(self.database.stats.batches, before + 2)
        self.assertEqual(self.database.stats.jobs, 201)

    async def test_a_batch_takes_256_jobs_and_no_more(self):
        held = await self.hold_writer()
        sizes: list[int] = []

        def run(connection, payloads):
            sizes.append(len(payloads))
            return payloads, None

        kind = WriteKind("count", run)
        done = [self.database.submit(kind, number) for number in range(600)]
        self.assertEqual(self.database.queue_depth, 600)
        await held.release()
        self.assertEqual(await gatherResults(done), list(range(600)))
        self.assertEqual(sizes, [256, 256, 88])

    async def test_a_batch_takes_16_mib_and_no_more(self):
        held = await self.hold_writer()
        sizes: list[int] = []

        def run(connection, payloads):
            sizes.append(len(payloads))
            return payloads, None

        kind = WriteKind("count", run)
        done = [self.database.submit(kind, None, 6 << 20) for _ in range(5)]
        await held.release()
        await gatherResults(done)
        self.assertEqual(sizes, [3, 2])

    async def test_only_the_bad_job_of_a_failed_batch_fails(self):
        held = await self.hold_writer()

        def note(connection, text):
            connection.execute("INSERT INTO counter (name, next) VALUES (?, 1)", (text,))
            if text == "bad":
                raise ValueError(text)
            return text

        jobs = [
            self.database.transact(text, lambda c, text=text: note(c, text))
            for text in ("first", "bad", "last")
        ]
        filed = self.messages.file_message(envelope(1), message())
        await held.release()
        self.assertEqual([await jobs[0], await jobs[2]], ["first", "last"])
        await self.assertFailure(jobs[1], ValueError)
        await filed
        stats = self.database.stats
        self.assertEqual((stats.failed_batches, stats.batches, stats.jobs), (1, 4, 4))
        self.assertEqual(
            self.rows("SELECT name FROM counter ORDER BY name"),
            [("first",), ("last",), ("message",), ("queue",)],
        )

    async def test_kinds_run_in_the_order_in_which_they_came(self):
        held = await self.hold_writer()
        ran: list[tuple[str, int]] = []

        def kind(name):
            def run(connection, payloads):
                ran.append((name, len(payloads)))
                return payloads, None

            return WriteKind(name, run)

        first, second = kind("first"), kind("second")
        done = [self.database.submit(each, None) for each in (first, second, first, first)]
        await held.release()
        await gatherResults(done)
        self.assertEqual(ran, [("first", 3), ("second", 1)])

    async def test_results_come_after_the_commit(self):
        await self.messages.file_message(envelope(1), message())
        self.assertEqual(self.rows("SELECT count(*) FROM delivery"), [(1,)])

    async def test_too_many_waiting_jobs_are_refused_as_busy(self):
        held = await self.hold_writer()
        kind = WriteKind("nothing", lambda connection, payloads: (payloads, None))
        done = [self.database.submit(kind, None) for _ in range(QUEUE_JOBS)]
        await self.assertFailure(self.database.submit(kind, None), StoreBusy)
        await held.release()
        await gatherResults(done)

    async def test_closing_writes_what_waits(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(300)]
        closed = self.database.close()
        await self.assertFailure(self.messages.file_message(envelope(1), message()), StoreBusy)
        await held.release()
        await gatherResults(filing)
        await closed
        self.open_store()
        self.assertEqual(self.messages.usage(1)[1], 300)

    async def test_a_second_process_writes_between_our_batches(self):
        other = Database.open(
            self.data / "mail.db", call_in_reactor=reactor.callFromThread, on_fatal=self.fail
        )
        for _ in range(20):
            await gatherResults(
                [
                    database.transact(
                        "count",
                        lambda c: c.execute("UPDATE counter SET next = next + 1") and None,
                    )
                    for database in (self.database, other)
                ]
            )
        await other.close()
        self.assertEqual(self.rows("SELECT DISTINCT next FROM counter"), [(41,)])


class FaultTests(StoreCase):
    async def test_a_full_disk_is_store_full_and_harms_nothing(self):
        await self.messages.file_message(envelope(1), message())
        pages = self.database._batches.connection.execute("PRAGMA page_count").fetchone()[0]
        await self.database.read(lambda connection: None)
        self.database._batches.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        filing = self.messages.file_message(envelope(1), message(b"x" * 60_000))
        await self.assertFailure(filing, StoreFull)
        self.assertEqual(self.messages.usage(1)[1], 1)
        self.assertEqual(self.rows("SELECT mails FROM folder"), [(1,)])
        self.database._batches.connection.execute("PRAGMA max_page_count = 1000000")
        await self.messages.file_message(envelope(1), message())
        self.assertEqual(self.messages.usage(1)[1], 2)
        self.assertEqual(self.fatal, [])

    async def test_a_small_mail_beside_a_large_one_still_fits_a_disk_that_is_nearly_full(self):
        await self.messages.file_message(envelope(1), message())
        pages = self.database._batches.connection.execute("PRAGMA page_count").fetchone()[0]
        self.database._batches.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        held = await self.hold_writer()
        large = self.messages.file_message(envelope(1), message(b"x" * 60_000))
        small = self.messages.file_message(envelope(1), message(b"x"))
        await held.release()
        await self.assertFailure(large, StoreFull)
        await small

    async def test_a_locked_database_is_store_busy(self):
        other = sqlite3.connect(self.data / "mail.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await self.assertFailure(self.messages.file_message(envelope(1), message()), StoreBusy)
        other.execute("ROLLBACK")
        other.close()
        await self.messages.file_message(envelope(1), message())
        self.assertEqual(self.fatal, [])

    async def test_a_read_only_database_is_store_broken_and_logged(self):
        held = await self.hold_writer()
        self.database._batches.connection.execute("PRAGMA query_only = ON")
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(5)]
        await held.release()
        for each in filing:
            await self.assertFailure(each, StoreBroken)
        self.assertEqual(self.fatal, [])
        self.assertIn("has a fault (accept)", self.logged.text())

    async def test_a_corrupt_page_is_store_broken(self):
        for _ in range(50):
            await self.messages.file_message(envelope(1), message(b"x" * 3000))
        await self.close_store()
        path = self.data / "mail.db"
        octets = bytearray(path.read_bytes())
        octets[8192:] = b"\xa5" * (len(octets) - 8192)
        path.write_bytes(octets)
        with self.assertRaises(StoreBroken):
            self.open_store()
        path.unlink()
        self.open_store()

    async def test_a_commit_that_cannot_be_flushed_is_fatal_and_never_retried(self):
        real = self.database._batches.connection
        failing = FailingCommits(real)
        self.database._batches.connection = failing
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(3)]
        failing.error = io_error()
        with self.assertRaises(StoreBroken):
            await held.release()
        for each in filing:
            await self.assertFailure(each, StoreBroken)
        self.assertEqual(failing.commits, 1)
        self.assertEqual(len(self.fatal), 1)
        self.assertIsNotNone(self.database.fault)
        await self.assertFailure(self.messages.file_message(envelope(1), message()), StoreBroken)
        self.assertEqual(failing.commits, 1)
        self.assertEqual(self.heard.events, [])

    async def test_a_read_that_fails_tells_its_caller_and_the_next_one_works(self):
        def bad(connection):
            raise ValueError("bad")

        await self.assertFailure(self.database.read(bad), ValueError)
        self.assertEqual(await self.database.read(lambda connection: 5), 5)

    async def test_a_reader_cannot_write(self):
        def write(connection):
            connection.execute("UPDATE counter SET next = 5")

        await self.assertFailure(self.database.read(write), StoreBroken)


def io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    return error


class FailingCommits:
    """A connection whose COMMIT raises `error`, once it is set."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.error: Exception | None = None
        self.commits = 0

    def execute(self, text, *values):
        if text == "COMMIT" and self.error is not None:
            self.commits += 1
            raise self.error
        return self.connection.execute(text, *values)

    def __getattr__(self, name):
        return getattr(self.connection, name)


class CheckpointTests(StoreCase):
    async def test_the_log_does_not_grow_for_ever_while_mail_comes(self):
        self.database._batches.checkpointer.size_octets = 1 << 20
        for _ in range(60):
            await gatherResults(
                [self.messages.file_message(envelope(1), message(b"x" * 8000)) for _ in range(50)]
            )
        self.assertGreater(self.database._batches.checkpointer.runs, 1)
        self.assertLess((self.data / "mail.db-wal").stat().st_size, 15 << 20)

    async def test_the_log_of_large_bodies_is_emptied_sooner(self):
        checkpointer = self.database._batches.checkpointer
        for octets, at_once in ((4_000, 100), (100_000, 4)):
            for _ in range(40):
                body = message(b"x" * octets)
                await gatherResults(
                    [self.messages.file_message(envelope(1), body) for _ in range(at_once)]
                )
            if octets < 10_000:
                self.assertEqual(checkpointer.runs, 0)  # 16 MB
        self.assertGreater(checkpointer.runs, 0)  # 16 MB, too

    async def test_a_checkpoint_that_cannot_be_flushed_is_fatal(self):
        checkpointer = self.database._batches.checkpointer

        class Broken:
            def execute(self, text):
                raise io_error()

        self.assertFalse(checkpointer._step(Broken()))
        await self.assertFailure(self.messages.file_message(envelope(1), message()), StoreBroken)
        await self.database.read(lambda connection: None)
        self.assertEqual(len(self.fatal), 1)


class SchemaTests(StoreCase):
    def schema_of(self, path: Path) -> list[tuple]:
        connection = connect(path)
        try:
            return connection.execute(
                "SELECT type, name, sql FROM sqlite_master ORDER BY name"
            ).fetchall()
        finally:
            connection.close()

    async def test_a_store_of_every_past_version_is_brought_to_the_newest(self):
        scripts = schema_scripts()
        for version in range(len(scripts)):
            path = self.data / f"past-{version}" / "mail.db"
            path.parent.mkdir()
            past = sqlite3.connect(path, isolation_level=None)
            if version:
                migrate(past, {number: scripts[number] for number in range(1, version + 1)})
            past.close()
            opened = Database.open(
                path, call_in_reactor=reactor.callFromThread, on_fatal=self.fatal.append
            )
            self.assertEqual(opened.schema_version, max(scripts))
            await opened.close()
            self.assertEqual(self.schema_of(path), self.schema_of(self.data / "mail.db"))

    def test_where_a_step_fails_or_is_killed_all_is_as_before(self):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        steps = {1: "CREATE TABLE a (x)", 2: "CREATE TABLE b (x); CREATE TABLE a (x);"}
        with self.assertRaises(sqlite3.OperationalError):
            migrate(connection, steps)
        self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (0,))
        self.assertEqual(connection.execute("SELECT name FROM sqlite_master").fetchall(), [])
        self.assertEqual(migrate(connection, {1: steps[1]}), 1)
        self.assertEqual(migrate(connection, {**steps, 2: "ALTER TABLE a ADD COLUMN y"}), 2)
        self.assertEqual(migrate(connection, {**steps, 2: "not SQL"}), 2)

    async def test_a_store_of_a_newer_version_is_left_alone(self):
        await self.close_store()
        connection = sqlite3.connect(self.data / "mail.db")
        connection.execute("PRAGMA user_version = 9999")
        connection.close()
        with self.assertRaises(StoreTooNew):
            self.open_store()
        connection = sqlite3.connect(self.data / "mail.db")
        connection.execute(f"PRAGMA user_version = {max(schema_scripts())}")
        connection.close()
        self.open_store()

    def test_the_files_are_for_their_owner_alone(self):
        for name in ("mail.db", "mail.db-wal", "writer.lock"):
            self.assertEqual(os.stat(self.data / name).st_mode & 0o777, 0o600, name)

    def test_a_file_that_is_no_database_is_store_broken(self):
        path = self.data / "other" / "mail.db"
        path.parent.mkdir()
        path.write_bytes(b"this is no database" * 1000)
        with self.assertRaises(StoreBroken):
            Database.open(path, call_in_reactor=reactor.callFromThread, on_fatal=self.fail)

    async def test_so_is_one_whose_damage_is_quoted_in_words_that_are_no_utf_8(self):
        path = self.data / "other" / "mail.db"
        path.parent.mkdir()
        other = {"call_in_reactor": reactor.callFromThread, "on_fatal": self.fail}
        await Database.open(path, **other).close()
        damage_schema(path, "folder")
        with self.assertRaises(StoreBroken):
            Database.open(path, **other)
        with self.assertRaises(StoreBroken), writing_beside(path):
            self.fail("it was opened")
        self.assertEqual({"mail.db"}, {fault.where for fault in verify(path.parent)})

    async def test_a_read_that_takes_long_holds_up_no_other(self):
        slow, go_on = Event(), Event()

        def read_slowly(connection):
            slow.set()
            return go_on.wait(20)

        first = self.database.read(read_slowly)
        slow.wait(20)
        quick = [self.database.read(lambda connection: threading.get_ident()) for _ in range(50)]
        threads = set(await gatherResults(quick))
        self.assertFalse(first.called)
        self.assertEqual(len(threads), 1)
        go_on.set()
        self.assertTrue(await first)

    async def test_what_was_asked_before_the_end_is_read(self):
        asked = [self.database.read(lambda connection: 7) for _ in range(300)]
        closed = self.database.close()
        self.assertEqual(await gatherResults(asked), [7] * 300)
        await closed
        await self.reopen_store()

    async def test_after_a_crash_what_was_committed_is_there(self):
        await self.messages.file_message(envelope(1), message())
        copy = self.data / "copy"
        copy.mkdir()
        for name in ("mail.db", "mail.db-wal"):  # as the disk stands while the node runs
            (copy / name).write_bytes((self.data / name).read_bytes())
        recovered = sqlite3.connect(copy / "mail.db")
        self.addCleanup(recovered.close)
        self.assertEqual(recovered.execute("SELECT count(*) FROM delivery").fetchone(), (1,))


class ReserveTests(StoreCase):
    reserve_octets = 64 << 10

    async def test_a_store_that_is_open_has_its_reserve_and_takes_mail(self):
        """Not a moment later: who looked meanwhile took the disk for full."""
        self.assertEqual(self.reserve_octets, (self.data / "reserve").stat().st_size)
        self.database.reserve.look()
        self.assertFalse(self.database.reserve.spent)

    async def test_it_is_made_before_anybody_can_look(self):
        await self.close_store()
        (self.data / "reserve").unlink()
        began = threading.Event()
        self.patch(Database, "_write_forever", lambda _self: began.wait(10))
        self.open_store()
        self.database.reserve.look()
        self.assertFalse(self.database.reserve.spent)
        began.set()
