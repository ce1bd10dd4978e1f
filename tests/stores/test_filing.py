"""Mail at rest comes into a folder many at a time, each once, and a node beside it learns of it."""

from __future__ import annotations

import hashlib
import os
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBusy, StoreFull
from mailnode.events import Imported
from mailnode.model import SEEN
from mailnode.portability.letter import Gathering, Letter, gather
from mailnode.settings import JournalSettings
from mailnode.store import filing
from mailnode.store.beside import make_mail_database, writing_beside
from mailnode.store.copies import CopyReader, Damaged, folders_of
from mailnode.store.digests import Digests
from mailnode.store.directory import LiveDirectory
from mailnode.store.filing import Filing, Target
from mailnode.store.journal import Journal, read_trace
from mailnode.store.locks import lock_blobs, writing_blobs
from mailnode.store.shared import SharedMessages
from mailnode.store.spooling import SpooledBlob
from mailnode.store.sqlite import connect
from mailnode.store.sweep import Sweep
from mailnode.store.verify import verify
from tests.stores.support import StoreCase, envelope, message

ANN = Target(1, "ann@example.test")


def letter(number: int = 0, **facts: object) -> Letter:
    octets = facts.pop("octets", b"Subject: %d\r\n\r\nbody\r\n" % number)
    made = gather(octets, f"here, mail {number}", **facts)
    assert isinstance(made, Letter)
    return made


class FilingCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        beside = writing_beside(self.data / "mail.db")
        self.writer = beside.__enter__()
        self.addCleanup(beside.__exit__, None, None, None)

    def filing(self, target: Target = ANN, **facts: int) -> Filing:
        made = Filing(self.writer, self.data, target, **facts)
        connection = connect(self.data / "mail.db", read_only=True)
        made.learn(connection)
        connection.close()
        return made

    def spooled(self, octets: bytes) -> Letter:
        gathering = Gathering(lambda: SpooledBlob(self.data), held_octets=10)
        gathering.feed(octets)
        made = gathering.end("here")
        assert isinstance(made, Letter)
        return made

    def copies(self, account_id: int = 1) -> list:
        connection = connect(self.data / "mail.db", read_only=True)
        reader = CopyReader(connection, self.data)
        found = [
            copy for folder in folders_of(connection, account_id) for copy in reader.read(folder)
        ]
        self.addCleanup(connection.close)
        return found

    def contents(self, account_id: int = 1) -> list[bytes]:
        return [b"".join(copy.pieces()) for copy in self.copies(account_id)]

    def assert_whole(self) -> None:
        self.assertEqual([str(fault) for fault in verify(self.data)], [])


class FilingTests(FilingCase):
    def test_mails_lie_there_as_they_came_with_time_and_flags_and_nothing_in_front(self) -> None:
        work = self.filing()
        work.take(letter(1, received_at=1e9, flags=SEEN, sender="b@example.org"))
        work.take(letter(2))
        work.flush()
        one, two = self.copies()
        self.assertEqual((one.received_at, one.flags, one.sender), (1e9, SEEN, "b@example.org"))
        self.assertEqual((one.uid, two.uid), (1, 2))
        self.assertEqual(self.contents()[0], b"Subject: 1\r\n\r\nbody\r\n")
        self.assertEqual((work.tally.filed, work.tally.known), (2, 0))
        self.assert_whole()

    async def test_pop3_serves_them_as_they_came_beside_mail_that_was_delivered(self) -> None:
        await self.messages.file_message(envelope(1), message())
        work = self.filing()
        work.take(letter(1))
        work.flush()
        snapshot = await self.messages.open_inbox(1)
        wanted = list(zip(snapshot.uids, snapshot.message_ids, strict=True))
        frame = ("+OK ", "\r\n", ".\r\n")
        run = await self.messages.read_run(snapshot.folder_id, wanted, snapshot.sizes, frame)
        delivered, imported = run[0][1], run[1][1]
        self.assertTrue(delivered.startswith(b"Return-Path: <from@example.org>\r\nDelivered-To: "))
        self.assertEqual(imported, b"Subject: 1\r\n\r\nbody\r\n")
        again = await self.messages.read_mails(snapshot.folder_id, wanted)
        self.assertEqual([len(each.head) + len(each.body) for each in again], list(snapshot.sizes))
        self.assertEqual(again[1].head, b"")

    def test_what_is_there_already_is_passed_over_in_any_later_import(self) -> None:
        for number in range(3):
            work = self.filing()
            for each in (1, 1, 2):
                work.take(letter(each))
            work.flush()
            self.assertEqual(work.tally.filed, 0 if number else 2)
        self.assertEqual(len(self.copies()), 2)

    async def test_what_came_by_smtp_meanwhile_is_not_taken_again(self) -> None:
        work = self.filing()
        work.take(letter(1))
        raw = b"Subject: 1\r\n\r\nbody\r\n"
        await self.messages.file_message(envelope(1), message(raw))
        work.take(letter(2))
        work.flush()
        self.assertEqual((work.tally.filed, work.tally.known), (1, 1))
        self.assertEqual(len(self.copies()), 2)

    def test_two_imports_side_by_side_bring_each_mail_once(self) -> None:
        works = [self.filing(), self.filing()]
        for number in range(600):
            for work in works:
                work.take(letter(number))
        for work in works:
            work.flush()
        self.assertEqual(len(self.copies()), 600)
        self.assertEqual(sum(work.tally.filed for work in works), 600)
        self.assert_whole()

    def test_another_folder_has_contents_of_its_own(self) -> None:
        for folder in ("INBOX", "Sent"):
            work = self.filing(Target(1, "ann@example.test", folder))
            work.take(letter(1))
            work.flush()
        self.assertEqual(len(self.copies()), 2)

    def test_the_journal_tells_where_each_lay(self) -> None:
        work = self.filing(Target(1, "ann@example.test", "Sent"))
        work.take(letter(1))
        work.flush()
        (copy,) = self.copies()
        (event,) = self.database.read_now(lambda c: read_trace(c, copy.mail_id))
        self.assertIsInstance(event, Imported)
        self.assertEqual((event.recipient, event.uid), ("ann@example.test", 1))
        self.assertEqual(event.detail["source"], "here, mail 1")
        self.assertEqual(event.detail["folder"], "Sent")

    def test_a_full_mailbox_takes_what_fits_and_names_the_rest(self) -> None:
        size = letter(1).size_octets
        for target, fit in (
            (Target(1, "a@example.test", most_mails=2), 2),
            (Target(2, "b@example.test", most_octets=3 * size + 1), 3),
        ):
            work = self.filing(target)
            for number in range(5):
                work.take(letter(number))
            work.flush()
            self.assertEqual((work.tally.filed, len(work.tally.over_quota)), (fit, 5 - fit))

    def test_a_disk_without_room_to_spare_takes_nothing(self) -> None:
        work = self.filing(least_free_octets=1 << 60)
        work.take(letter(1))
        self.assertRaises(StoreFull, work.flush)
        self.assertEqual(self.copies(), [])

    def test_a_batch_that_fails_leaves_nothing_and_no_blob(self) -> None:
        self.patch(filing, "_insert", self.fail_busy)
        work = self.filing()
        work.take(self.spooled(b"A: 1\r\n\r\nlarge\r\n"))
        self.assertRaises(StoreBusy, work.flush)
        self.assertEqual(self.copies(), [])
        self.assertEqual([path for path in self.data.glob("*/**/*") if path.is_file()], [])

    def fail_busy(self, *_: object) -> None:
        raise StoreBusy

    def test_large_mails_are_blobs(self) -> None:
        octets = b"A: 1\r\n\r\n" + b"large\r\n" * 1000
        work = self.filing()
        work.take(self.spooled(octets))
        work.take(self.spooled(octets))
        work.flush()
        self.assertEqual(self.contents(), [octets])
        self.assertEqual(len(list(self.data.glob("blobs/*/*"))), 1)
        self.assertEqual(list((self.data / "spool").iterdir()), [])
        self.assert_whole()

    def test_the_log_is_emptied_while_much_comes(self) -> None:
        self.patch(filing, "CHECKPOINT_OCTETS", 1 << 20)
        work = self.filing()
        for number in range(3000):
            work.take(letter(number, octets=b"A: %d\r\n\r\n" % number + b"x" * 4000 + b"\r\n"))
        work.flush()
        self.assertLess(os.stat(self.data / "mail.db-wal").st_size, 8 << 20)

    async def test_a_node_beside_it_counts_what_came_once_it_is_rung(self) -> None:
        here = SharedMessages(self.database, self.blobs, self.heard)
        await here.file_message(envelope(1), message())
        work = self.filing()
        work.take(letter(1))
        work.flush()
        self.assertEqual(here.usage(1)[1], 1)
        here.changed_elsewhere(None)
        await here.catch_up()
        self.assertEqual(here.usage(1)[1], 2)
        self.assertEqual(len((await here.open_inbox(1)).uids), 2)


class CopyTests(FilingCase):
    def test_a_mail_that_is_damaged_is_named_and_the_others_are_read(self) -> None:
        work = self.filing()
        for number in range(3):
            work.take(letter(number))
        work.take(self.spooled(b"A: 1\r\n\r\nlarge\r\n"))
        work.flush()
        connection = connect(self.data / "mail.db")
        connection.execute("UPDATE message SET body = x'00' WHERE id = 2")
        connection.close()
        (blob,) = self.data.glob("blobs/*/*")
        blob.write_bytes(b"A: 1\r\n\r\nlargE\r\n")
        found = self.copies()
        damaged = [each for each in found if isinstance(each, Damaged)]
        self.assertEqual([each.uid for each in damaged], [2, 4])
        self.assertIn("has 1 octets, should have", damaged[0].why)
        self.assertIn("not the ones that came", damaged[1].why)
        blob.unlink()
        self.assertIn("its file is gone", self.copies()[3].why)

    def test_a_large_mail_that_is_deleted_once_it_was_compared_is_a_reason_to_begin_anew(
        self,
    ) -> None:
        work = self.filing()
        work.take(self.spooled(b"A: 1\r\n\r\nlarge\r\n"))
        work.flush()
        (copy,) = self.copies()
        (blob,) = self.data.glob("blobs/*/*")
        blob.unlink()
        self.assertRaises(StoreBusy, b"".join, copy.pieces())

    def test_it_is_read_from_any_mail_on_in_pieces(self) -> None:
        work = self.filing()
        for number in range(700):
            work.take(letter(number))
        work.flush()
        connection = connect(self.data / "mail.db", read_only=True)
        self.addCleanup(connection.close)
        (folder,) = folders_of(connection, 1)
        found = CopyReader(connection, self.data).read(folder, 100)
        self.assertEqual([each.uid for each in found], list(range(101, 701)))


class SweepTests(FilingCase):
    def sweep(self) -> Sweep:
        journal = Journal(self.database, Clock())
        directory = LiveDirectory()
        return Sweep(self.messages, self.blobs, journal, directory, JournalSettings(), Clock())

    async def test_blobs_in_hand_beside_the_node_are_not_swept_and_left_ones_are(self) -> None:
        with writing_blobs(self.data):
            one, two = SpooledBlob(self.data), SpooledBlob(self.data)
            one.write(b"x")
            two.write(b"y")
            two.keep()
            self.assertIsNone(lock_blobs(self.data))
            await self.sweep().run()
            self.assertEqual(len(list(self.data.glob("blobs/*/*"))), 1)
            self.assertEqual(len(list((self.data / "spool").iterdir())), 1)
        await self.sweep().run()
        self.assertEqual(list(self.data.glob("blobs/*/*")), [])
        self.assertEqual(list((self.data / "spool").iterdir()), [])


class MakingTests(SynchronousTestCase):
    def test_a_folder_on_which_no_node_ever_ran_gets_a_database(self) -> None:
        from pathlib import Path

        data = Path(self.mktemp()) / "var"
        data.parent.mkdir()
        for _ in range(2):
            make_mail_database(data)
            with writing_beside(data / "mail.db") as writer:
                work = Filing(writer, data, ANN)
                work.take(letter(1))
                work.flush()
        self.assertEqual([str(fault) for fault in verify(data)], [])


class DigestsTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.binary(min_size=16, max_size=16) | st.integers(0, 40).map(
        lambda n: bytes([n % 3]) + bytes(7) + bytes([n]) + bytes(7)), max_size=200))  # fmt: skip
    def test_it_is_a_set(self, octets: list[bytes]) -> None:
        digests, known = Digests(), set[bytes]()
        for each in octets:
            # 0 stands for an open place, so 1 and it are one in the second half.
            meant = each[:8] + (each[8:] if any(each[8:]) else b"\1" + bytes(7))
            self.assertEqual(each in digests, meant in known)
            self.assertEqual(digests.add(each), meant not in known)
            known.add(meant)
        self.assertEqual(len(digests), len(known))

    def test_it_takes_little_memory(self) -> None:
        digests, some = Digests(), random.Random(1)
        for _ in range(100_000):
            digests.add(hashlib.sha256(some.randbytes(8)).digest())
        octets = sum(each.buffer_info()[1] * 8 for each in (digests._highs, digests._lows))
        self.assertLessEqual(octets, 64 * 100_000)
