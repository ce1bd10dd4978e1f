"""What mailboxes hold is known, though another process files and deletes."""

from __future__ import annotations

import fcntl
import os

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred.guessing import Failures
from mailnode.errors import NodeRunning
from mailnode.store import locks
from mailnode.store.database import Database
from mailnode.store.locks import join_folder, lock_folder
from mailnode.store.shared import SharedMessages
from tests.stores.support import StoreCase, envelope, message


class SharedMessagesTests(StoreCase):
    """A second process is a second database over the same folder."""

    def setUp(self):
        super().setUp()
        self.here = SharedMessages(self.database, self.blobs, self.heard)
        self.other = Database.open(
            self.data / "mail.db",
            call_in_reactor=reactor.callFromThread,
            on_fatal=self.fatal.append,
        )
        self.addCleanup(self.other.close)
        self.there = SharedMessages(self.other, self.blobs, self.heard)

    async def test_what_one_files_and_deletes_the_other_knows_once_told(self):
        (filed,) = await self.there.file_message(envelope(1), message())
        self.assertEqual((0, 0), self.here.usage(1))
        told = self.there.tell_changed()
        self.assertEqual(([filed.folder_id], []), (told, self.there.tell_changed()))
        self.here.changed_elsewhere(told)
        self.assertTrue(self.here.behind)
        await self.here.catch_up()
        self.assertFalse(self.here.behind)
        self.assertEqual(self.there.usage(1), self.here.usage(1))
        self.assertEqual(1, self.here.usage(1)[1])
        await self.there.delete_mails(filed.folder_id, [filed.uid])
        self.here.changed_elsewhere(self.there.tell_changed())
        await self.here.catch_up()
        self.assertEqual((0, 0), self.here.usage(1))

    async def test_what_others_write_counts_as_writing_so_the_index_rests_for_it_too(self):
        for number in range(30):
            await self.there.file_message(envelope(1 + number % 2), message())
        before = self.here.writes
        self.here.changed_elsewhere(self.there.tell_changed())
        await self.here.catch_up()
        self.assertEqual(before + 30, self.here.writes)
        (copy,) = await self.here.file_message(envelope(1), message())
        self.assertGreater(self.here.writes, before + 30)
        await self.there.delete_mails(copy.folder_id, [copy.uid])
        before = self.here.writes
        self.here.changed_elsewhere(self.there.tell_changed())
        await self.here.catch_up()
        self.assertEqual(before + 1, self.here.writes)

    async def test_uids_and_ids_are_given_once_by_whoever_commits(self):
        copies = []
        for _ in range(20):
            for messages in (self.here, self.there):
                copies += await messages.file_message(envelope(1), message())
        self.assertEqual(list(range(1, 41)), [copy.uid for copy in copies])

    async def test_all_is_read_again_where_nobody_knows_what_changed(self):
        for account_id in (1, 2, 3):
            await self.there.file_message(envelope(account_id), message())
        await self.there.drop_accounts([3])
        self.here.changed_elsewhere(None)
        await self.here.catch_up()
        self.assertEqual([1, 1, 0], [self.here.usage(account_id)[1] for account_id in (1, 2, 3)])

    async def test_a_folder_that_is_gone_counts_no_more(self):
        await self.here.file_message(envelope(1), message())
        await self.there.drop_accounts([1])
        self.here.changed_elsewhere(self.there.tell_changed())
        await self.here.catch_up()
        self.assertEqual((0, 0), self.here.usage(1))

    async def test_of_many_folders_those_that_changed_alone_are_taken_up(self):
        for number in range(1, 50):
            await self.here.file_message(envelope(number), message())
        await self.there.file_message(envelope(7), message())
        self.here.changed_elsewhere(None)
        taken: list[int] = []
        real = SharedMessages._set_use

        def set_use(messages, use):
            taken.append(use.account_id)
            real(messages, use)

        self.patch(SharedMessages, "_set_use", set_use)
        await self.here.catch_up()
        self.assertEqual(taken, [7])
        self.assertEqual(self.here.usage(7)[1], 2)

    async def test_who_looks_at_a_folder_hears_of_it_though_it_holds_as_much_as_before(self):
        (filed,) = await self.here.file_message(envelope(1), message())
        heard: list[tuple[int, int]] = []
        self.here.on_changed.append(lambda *which: heard.append(which))
        await self.there.delete_mails(filed.folder_id, [filed.uid])
        await self.there.file_message(envelope(1), message())
        for told, hears in ((None, []), (self.there.tell_changed(), [(1, filed.folder_id)])):
            self.here.changed_elsewhere(told)
            await self.here.catch_up()
            self.assertEqual(hears, heard)

    async def test_what_changes_here_while_it_is_read_is_read_again(self):
        (filed,) = await self.there.file_message(envelope(1), message())
        self.here.changed_elsewhere([filed.folder_id])
        reading = self.here.catch_up()
        done = Deferred.fromCoroutine(reading)
        self.here._changes([filed.folder_id])
        await done
        self.assertTrue(self.here.behind)
        await self.here.catch_up()
        self.assertEqual(1, self.here.usage(1)[1])


class FolderTests(StoreCase):
    def test_a_node_waits_for_workers_of_the_one_before(self):
        worker = join_folder(self.data)
        another = join_folder(self.data)
        self.patch(locks, "PAUSE_S", 0.0)
        self.assertRaises(NodeRunning, lock_folder, self.data)
        os.close(worker)
        self.assertRaises(NodeRunning, lock_folder, self.data)
        os.close(another)
        os.close(lock_folder(self.data))

    def test_workers_of_this_node_do_not_wait(self):
        lock = lock_folder(self.data)
        os.close(join_folder(self.data))
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


class FailuresTests(SynchronousTestCase):
    def test_another_process_knows_what_failed_and_it_fades_there_too(self):
        clock = Clock()
        here, there = Failures(clock), Failures(clock)
        for _ in range(3):
            here.add(b"192.0.2.1")
        there.take(here.told())
        self.assertEqual(here.delay_s(b"192.0.2.1"), there.delay_s(b"192.0.2.1"))
        self.assertGreater(there.delay_s(b"192.0.2.1"), there.delay_s(b"192.0.2.2"))
        clock.advance(1000)
        self.assertEqual(0, there.recent(b"192.0.2.1"))
