"""`verify` finds what is wrong and nothing else; the sweep takes out what nobody needs."""

from __future__ import annotations

import os
import sqlite3
import time

from twisted.internet.task import Clock

from mailnode.errors import StoreBroken
from mailnode.events import SignedIn
from mailnode.settings import JournalSettings
from mailnode.store.blobs import FileBlobs
from mailnode.store.journal import Journal
from mailnode.store.models import ModelFiles
from mailnode.store.removal import OWNED
from mailnode.store.sweep import EVERY_S, PRUNE_EVERY_S, Sweep
from mailnode.store.verify import verify
from tests.stores.support import StoreCase, envelope, message

RAW = b"Subject: a\r\n\r\n.dot\r\nmarmalade\r\n"


class VerifyTests(StoreCase):
    async def setUp(self):
        super().setUp()
        self.blob = await self.make_blob(RAW * 1000)
        self.large = envelope(1, 2)
        self.small = envelope(1)
        await self.messages.file_message(
            self.large, message(RAW * 1000, body=self.blob, dot_lines=1000)
        )
        await self.messages.file_message(self.small, message(RAW, dot_lines=1))

    def faults(self) -> list[tuple[str, str, str]]:
        return [(fault.what, fault.where, fault.mail_id) for fault in verify(self.data)]

    async def damage(self, text: str) -> None:
        other = sqlite3.connect(self.data / "mail.db", isolation_level=None)
        other.execute(text)
        other.close()

    async def test_a_store_without_a_fault_has_none_while_the_node_runs_and_after_it(self):
        self.assertEqual(self.faults(), [])
        await self.close_store()
        self.assertEqual(self.faults(), [])
        self.open_store()

    async def test_a_flipped_bit_in_a_body_is_found(self):
        await self.close_store()
        path = self.data / "mail.db"
        octets = path.read_bytes()
        self.assertEqual(octets.count(b"marmalade"), 1)
        path.write_bytes(octets.replace(b"marmalade", b"marmalaee"))
        self.assertEqual(self.faults(), [("body", "message 2", self.small.mail_id)])
        self.open_store()

    async def test_a_flipped_bit_in_a_blob_is_found(self):
        path = self.blobs.path_of(self.blob.key)
        octets = bytearray(path.read_bytes())
        octets[len(octets) // 2] ^= 1
        path.write_bytes(octets)
        where = f"blob {self.blob.key} of message 1"
        self.assertEqual(self.faults(), [("blob", where, self.large.mail_id)])

    async def test_a_blob_that_was_cut_is_found(self):
        path = self.blobs.path_of(self.blob.key)
        os.truncate(path, 100)
        (fault,) = verify(self.data)
        self.assertIn("has 100 octets, should have", str(fault))

    async def test_a_missing_blob_is_found(self):
        self.blobs.path_of(self.blob.key).unlink()
        where = f"blob {self.blob.key} of message 1"
        self.assertEqual(self.faults(), [("blob", where, self.large.mail_id)])

    async def test_a_blob_that_no_mail_names_is_found_once_it_is_old(self):
        stray = await self.make_blob(b"x")
        self.assertEqual(self.faults(), [])
        old = time.time() - 7200
        os.utime(self.blobs.path_of(stray.key), (old, old))
        self.assertEqual(self.faults(), [("blob", f"blob {stray.key}", "")])

    async def test_broken_counters_are_found(self):
        await self.damage("UPDATE folder SET mails = mails + 1 WHERE id = 1")
        await self.damage("UPDATE folder SET octets = 5 WHERE id = 2")
        self.assertEqual(self.faults(), [("counter", "folder 1", ""), ("counter", "folder 2", "")])

    async def test_a_uid_or_id_that_would_be_given_again_is_found(self):
        await self.damage("UPDATE folder SET uid_next = 2 WHERE id = 1")
        await self.damage("UPDATE counter SET next = 2")
        self.assertEqual(self.faults(), [("counter", "folder 1", ""), ("counter", "messages", "")])

    async def test_a_wrong_size_of_a_copy_is_found(self):
        await self.damage("UPDATE delivery SET size_octets = 7 WHERE folder_id = 2")
        await self.damage("UPDATE folder SET octets = 7 WHERE id = 2")
        self.assertEqual(self.faults(), [("size", "folder 2 uid 1", self.large.mail_id)])

    async def test_a_wrong_count_of_dots_is_found(self):
        await self.damage("UPDATE message SET dot_lines = 0 WHERE id = 2")
        self.assertEqual(self.faults(), [("body", "message 2", self.small.mail_id)])

    async def test_copies_without_a_message_and_messages_without_a_copy_are_found(self):
        await self.damage("DELETE FROM message WHERE id = 2")
        await self.damage("DELETE FROM delivery WHERE message_id = 1")
        found = {what for what, _, _ in self.faults()}
        self.assertEqual(found, {"copy", "message", "counter"})

    async def test_a_database_with_damaged_pages_is_a_fault_and_no_crash(self):
        for _ in range(50):
            await self.messages.file_message(envelope(1), message(b"x" * 3000))
        await self.close_store()
        path = self.data / "mail.db"
        octets = path.read_bytes()
        half = len(octets) // 2
        path.write_bytes(octets[:half] + b"\xa5" * (len(octets) - half))
        self.assertIn("database", {what for what, _, _ in self.faults()})
        path.write_bytes(octets)
        self.open_store()

    async def test_what_is_no_database_is_a_fault(self):
        await self.close_store()
        path = self.data / "mail.db"
        whole = path.read_bytes()
        path.write_bytes(b"no database" * 1000)
        self.assertEqual(self.faults(), [("database", "mail.db", "")])
        path.unlink()
        with self.assertRaises(StoreBroken):  # or the sweep would delete each blob
            self.open_store()
        path.write_bytes(whole)
        self.open_store()


class Accounts:
    """Stands where the directory does."""

    def __init__(self, *ids: int) -> None:
        self.ids = set(ids)
        self.callbacks = []

    def find_by_id(self, account_id: int) -> object | None:
        return account_id if account_id in self.ids else None

    def subscribe(self, callback) -> None:
        self.callbacks.append(callback)


class SweepTests(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.accounts = Accounts(1, 2)
        self.make_sweep()

    async def start_again(self) -> None:
        """The process of before has ended."""
        await self.reopen_store()
        self.make_sweep()

    def make_sweep(self) -> None:
        self.journal = Journal(self.database, self.clock)
        self.sweep = Sweep(
            self.messages,
            self.blobs,
            self.journal,
            self.accounts,
            JournalSettings(keep=3600),
            self.clock,
        )

    async def test_the_start_deletes_blobs_that_no_mail_names_and_keeps_the_others(self):
        kept, stray = await self.make_blob(RAW), await self.make_blob(RAW)
        await self.messages.file_message(envelope(1), message(RAW, body=kept))
        await self.start_again()
        (self.blobs.spool / ("f" * 32)).write_bytes(b"left by a crash")
        await self.sweep.run()
        self.assertEqual([key for key, _, _ in await self.blobs.keys()], [kept.key])
        self.assertEqual(list(self.blobs.spool.iterdir()), [])
        self.assertIn("1 blobs without a mail", self.logged.text())
        self.assertNotEqual(stray.key, kept.key)

    async def test_a_blob_on_its_way_into_a_row_is_left_whatever_the_clock_says(self):
        waiting = await self.make_blob(RAW)
        for written_at in (0.0, time.time() - 90_000, time.time() + 90_000):
            os.utime(self.blobs.path_of(waiting.key), (written_at, written_at))
            await self.sweep.run()
        await self.messages.file_message(envelope(1), message(RAW, body=waiting, dot_lines=1))
        await self.sweep.run()
        self.assertEqual([key for key, _, _ in await self.blobs.keys()], [waiting.key])
        self.assertEqual([], list(verify(self.data)))

    async def test_a_blob_whose_row_is_committed_while_it_sweeps_is_left(self):
        waiting = await self.make_blob(RAW)
        listing = self.blobs.keys

        async def list_then_commit():
            listed = await listing()
            await self.messages.file_message(envelope(1), message(RAW, body=waiting))
            return listed

        self.patch(FileBlobs, "keys", lambda _: list_then_commit())
        await self.sweep.run()
        self.assertTrue(self.blobs.path_of(waiting.key).exists())

    async def test_a_blob_that_was_filed_and_whose_mail_is_gone_is_no_longer_in_hand(self):
        blob = await self.make_blob(RAW)
        await self.messages.file_message(envelope(1), message(RAW, body=blob))
        await self.database.transact(
            "damage",
            lambda c: c.execute("DELETE FROM delivery") and c.execute("DELETE FROM message") and 0,
        )
        await self.sweep.run()
        self.assertEqual([], await self.blobs.keys())

    async def test_a_message_in_no_folder_goes_with_its_blob(self):
        blob = await self.make_blob(RAW)
        await self.messages.file_message(envelope(1), message(RAW, body=blob))
        await self.messages.file_message(envelope(1), message())
        await self.database.transact(
            "damage", lambda c: c.execute("DELETE FROM delivery WHERE message_id = 1") and None
        )
        await self.sweep.run()
        self.assertEqual(self.rows("SELECT id FROM message"), [(2,)])
        await self.until_no_blob_is_left()

    async def test_old_journal_rows_go(self):
        self.journal.append([SignedIn(at=time.time() - 7200), SignedIn()])
        await self.database.transact("flush", lambda connection: None)
        await self.sweep.run()
        self.assertEqual(self.rows("SELECT count(*) FROM journal"), [(1,)])

    async def test_mail_of_accounts_that_are_gone_goes(self):
        await self.messages.file_message(envelope(1, 2), message())
        self.accounts.ids = {2}
        await self.sweep.run()
        self.assertEqual(await self.messages.account_ids(), [2])
        self.assertEqual(self.messages.usage(1), (0, 0))

    async def test_of_an_account_that_is_gone_nothing_stays_though_it_had_no_mail(self):
        await self.messages.file_message(envelope(1, 2), message())
        tables = {
            "draft": "(NULL, {0}, 1, {0}, 1.5)",
            "upload": "(NULL, {0}, {0}, '', '', 1, 'key{0}', '', 1.5)",
            "web_session": "(x'0{0}', {0}, 1.5, 1.5, 9e9, '', '', 'c')",
            "token": "(NULL, x'0{0}', {0}, 'n', 'read', 1.5, NULL, NULL, NULL, NULL)",
            "factor_use": "({0}, {0}, 0, 1.5, '')",
            "code_try": "({0}, 1, 1.5)",
            "idempotency": "({0}, 'k', x'00', 'm', '', 1.5)",
        }
        self.assertEqual(set(OWNED), set(tables))
        for table, values in tables.items():
            for account_id in (1, 2, 3):
                await self.write(f"INSERT INTO {table} VALUES {values.format(account_id)}")
        self.accounts.ids = {2}
        await self.sweep.run()
        for table in tables:
            self.assertEqual(self.rows(f"SELECT account_id FROM {table}"), [(2,)], table)

    def learn(self, *account_ids: int) -> None:
        with ModelFiles(self.data).changing() as changing:
            for account_id in account_ids:
                changing.write(account_id)

    async def test_what_an_account_has_learned_goes_with_it(self):
        self.learn(1, 2)
        await self.messages.file_message(envelope(1, 2), message())
        self.accounts.ids = {2}
        await self.sweep._drop([1])
        self.assertEqual([2], ModelFiles(self.data).account_ids())

    async def test_and_with_the_next_sweep_where_nobody_heard_of_it(self):
        self.learn(1)
        await self.messages.file_message(envelope(2), message())
        self.accounts.ids = {2}
        await self.sweep.run()
        self.assertEqual([], ModelFiles(self.data).account_ids())

    async def test_under_another_users_db_no_mail_is_dropped(self):
        self.learn(1)
        await self.messages.file_message(envelope(1, 2), message())
        self.accounts.ids = {7}
        await self.sweep.run()
        self.assertEqual(sorted(await self.messages.account_ids()), [1, 2])
        self.assertIn("is it the right file?", self.logged.text())
        self.assertEqual([1], ModelFiles(self.data).account_ids())

    async def test_when_users_db_becomes_another_one_while_it_runs_no_mail_is_dropped(self):
        await self.messages.file_message(envelope(1, 2), message())
        await self.sweep.run()
        self.sweep.start()
        self.accounts.ids = {7}
        (changed,) = self.accounts.callbacks
        changed({1, 2})
        while "is it the right file?" not in self.logged.text():
            await self.database.transact("wait", lambda connection: None)
        self.assertEqual(sorted(await self.messages.account_ids()), [1, 2])
        self.sweep.stop()

    async def test_mail_of_an_account_that_is_deleted_goes_at_once(self):
        await self.messages.file_message(envelope(1, 2), message())
        await self.sweep.run()
        self.sweep.start()
        self.accounts.ids = {1}
        (changed,) = self.accounts.callbacks
        changed({1, 2})
        while await self.messages.account_ids() != [1]:
            await self.database.transact("wait", lambda connection: None)
        self.assertEqual(self.messages.usage(1)[1], 1)
        self.sweep.stop()

    async def test_it_runs_every_day_and_survives_a_fault(self):
        runs: list[int] = []

        async def run():
            runs.append(1)
            raise StoreBroken(detail="a fault")

        self.patch(Sweep, "run", lambda self: run())
        self.patch(Sweep, "_prune", lambda self: None)
        self.sweep.start()
        self.clock.advance(EVERY_S)
        self.clock.advance(EVERY_S)
        self.assertEqual(len(runs), 3)
        self.sweep.stop()
        self.clock.advance(EVERY_S)
        self.assertEqual(len(runs), 3)
        self.assertEqual(len(self.flushLoggedErrors(StoreBroken)), 3)

    async def test_a_stop_ends_what_is_under_way(self):
        self.sweep.start()
        self.sweep.stop()
        await self.messages.file_message(envelope(1), message())
        await self.database.read(lambda connection: None)
        self.assertFalse(self.sweep.done_once)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_the_journal_is_kept_in_its_bounds_each_hour(self):
        pruned: list[tuple[float, int]] = []

        async def prune(keep_s, size_octets):
            pruned.append((keep_s, size_octets))
            return 0

        self.patch(Journal, "prune", lambda journal, *bounds: prune(*bounds))
        self.patch(Sweep, "run", lambda sweep: prune(0, 0))
        self.sweep.start()
        pruned.clear()
        self.clock.advance(PRUNE_EVERY_S)
        self.assertEqual(pruned, [(self.sweep.settings.keep, self.sweep.settings.size)])
        self.sweep.stop()
