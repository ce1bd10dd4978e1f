"""The journal tells a mail's whole life, and is bounded in memory and on the disk."""

from __future__ import annotations

import sqlite3
import time

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from mailnode.errors import StoreFull
from mailnode.events import Accepted, Delivered, Event, Fetched, RefusedMail, SignedIn
from mailnode.model import new_mail_id, ranges_of
from mailnode.store import journal as journal_module
from mailnode.store.jobs import WriteKind
from mailnode.store.journal import Journal
from tests.stores.support import StoreCase, envelope, message, recipient


class JournalCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.journal = Journal(self.database, self.clock)

    async def flush(self) -> None:
        self.database.flush()
        await self.database.transact("after", lambda connection: None)

    def count(self) -> int:
        return self.rows("SELECT count(*) FROM journal")[0][0]


class BufferTests(JournalCase):
    async def test_events_ride_in_the_next_batch_and_ask_for_none(self):
        self.journal.append([SignedIn(recipient="user1@example.test")])
        before = self.database.stats.batches
        await self.database.read(lambda connection: None)
        self.assertEqual((self.count(), self.database.stats.batches), (0, before))
        await self.messages.file_message(envelope(1), message())
        self.assertEqual(
            self.rows("SELECT event FROM journal WHERE event = 'signed-in'"), [("signed-in",)]
        )
        self.assertEqual(self.database.stats.batches, before + 1)
        self.assertEqual(self.journal.waiting, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_they_are_flushed_after_a_second_when_no_batch_comes(self):
        self.journal.append([SignedIn()])
        self.clock.advance(0.9)
        self.assertEqual(self.journal.waiting, 1)
        self.clock.advance(0.1)
        await self.database.transact("after", lambda connection: None)
        self.assertEqual(self.count(), 1)

    async def test_those_that_wait_together_are_one_job_until_a_batch_takes_them(self):
        held = await self.hold_writer()
        for number in range(5):
            self.journal.append([SignedIn(client=f"192.0.2.{number}")])
        self.assertEqual((self.journal.waiting, self.database.queue_depth), (5, 1))
        self.patch(journal_module, "GATHERED_EVENTS", 5)
        self.journal.append([SignedIn(client="192.0.2.5")])
        self.assertEqual((self.journal.waiting, self.database.queue_depth), (6, 2))
        self.journal.flush()
        await held.release()
        await self.database.transact("after", lambda connection: None)
        self.journal.append([SignedIn(client="192.0.2.6")])
        await self.flush()
        clients = [f"192.0.2.{number}" for number in range(7)]
        kept = [client for (client,) in self.rows("SELECT client FROM journal ORDER BY id")]
        self.assertEqual(kept, clients)
        self.assertEqual(self.journal.waiting, 0)

    async def test_nobody_joins_a_batch_that_has_begun_and_may_fail(self):
        other = sqlite3.connect(self.data / "mail.db", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")  # a program that asks nobody
        self.journal.append([SignedIn(client="192.0.2.1")])
        self.journal.flush()
        while self.database.queue_depth:
            await deferLater(reactor, 0.001)
        self.journal.append([SignedIn(client="192.0.2.2")])
        while not self.journal.dropped:
            await deferLater(reactor, 0.001)
        other.execute("ROLLBACK")
        await self.flush()
        self.assertEqual(self.rows("SELECT client FROM journal"), [("192.0.2.2",)])
        self.assertEqual((self.journal.waiting, self.journal.dropped), (0, 1))

    async def test_they_are_rows_at_once_when_somebody_wants_to_read_them(self):
        self.journal.append([SignedIn()])
        self.journal.flush()
        await self.database.transact("after", lambda connection: None)
        self.assertEqual((self.count(), self.journal.waiting), (1, 0))

    async def test_what_does_not_fit_the_buffer_is_dropped_and_counted(self):
        journal = Journal(self.database, self.clock, buffer_events=10)
        journal.append([SignedIn() for _ in range(8)])
        journal.append([SignedIn() for _ in range(8)])
        journal.append([SignedIn()])
        self.assertEqual((journal.waiting, journal.dropped), (10, 7))
        await self.flush()
        self.assertEqual((self.count(), journal.waiting), (10, 0))
        journal.append([SignedIn()])
        await self.flush()
        self.assertEqual(self.count(), 11)

    async def test_events_that_the_store_cannot_take_are_counted_as_dropped(self):
        def full(connection, payloads):
            raise StoreFull()

        self.journal._kind = WriteKind("journal", full)
        self.journal.append([SignedIn(), SignedIn()])
        await self.flush()
        self.assertEqual((self.journal.waiting, self.journal.dropped), (0, 2))

    async def test_closing_the_store_writes_what_waits(self):
        self.journal.append([SignedIn()])
        await self.reopen_store()
        self.assertEqual(self.count(), 1)

    async def test_an_event_comes_back_as_it_was_told(self):
        told = RefusedMail(
            at=1234.5,
            mail_id=new_mail_id(),
            sender="",
            recipient="nobody@example.test",
            client="192.0.2.1",
            detail={"code": 550, "text": "No such user \u2013 here", "mailbox": "x@example.test"},
        )
        self.journal.append([told])
        await self.flush()
        self.assertEqual(await self.journal.trace(told.mail_id), [told])

    async def test_an_event_that_this_version_does_not_know_is_shown_all_the_same(self):
        mail_id = new_mail_id()
        text = "INSERT INTO journal (at, event, mail_id, detail) VALUES (1, 'forgotten', ?, '{}')"

        def insert(connection):
            connection.execute(text, (mail_id,))

        await self.database.transact("a newer version", insert)
        (event,) = await self.journal.trace(mail_id)
        self.assertEqual((type(event), event.detail), (Event, {"event": "forgotten"}))


class TraceTests(JournalCase):
    async def test_the_trace_of_a_mail_is_its_whole_life_in_order(self):
        sent = envelope(1, recipient(2, "sales@example.test"))
        first, second = await self.messages.file_message(sent, message())
        self.journal.append(
            [
                self.session(first.mailbox, first.folder_id, [first.uid, 5], []),
                self.session(second.mailbox, second.folder_id, [], [second.uid]),
            ]
        )
        await self.flush()
        trace = await self.journal.trace(sent.mail_id)
        self.assertEqual(
            [type(event) for event in trace], [Accepted, Delivered, Delivered, Fetched, Fetched]
        )
        self.assertEqual(trace[0].sender, "from@example.org")
        self.assertEqual(trace[0].detail["protocol"], "ESMTP")
        self.assertEqual(trace[3].detail["read"], "1,5")
        self.assertEqual(trace[4].recipient, "user2@example.test")

    async def test_sessions_that_met_other_mails_or_folders_are_left_out(self):
        sent = envelope(1)
        (filed,) = await self.messages.file_message(sent, message())
        self.journal.append(
            [
                self.session(filed.mailbox, filed.folder_id, [2, 3, 11], []),
                self.session(filed.mailbox, filed.folder_id + 1, [1], []),
                self.session("user9@example.test", filed.folder_id, [1], []),
            ]
        )
        await self.flush()
        trace = await self.journal.trace(sent.mail_id)
        self.assertEqual([type(event) for event in trace], [Accepted, Delivered])

    async def test_a_dropped_copy_is_part_of_the_story(self):
        sent = envelope(1)
        await self.messages.file_message(sent, message())
        await self.messages.drop_accounts([1])
        trace = await self.journal.trace(sent.mail_id)
        self.assertEqual([event.name for event in trace], ["accepted", "delivered", "dropped"])

    async def test_the_dialog_is_kept_when_there_is_one(self):
        sent = envelope(1)
        await self.messages.file_message(sent, message(dialog="C: QUIT\n", mended_lf=True))
        (accepted, _) = await self.journal.trace(sent.mail_id)
        self.assertEqual(accepted.detail["dialog"], "C: QUIT\n")
        self.assertIs(accepted.detail["mended_lf"], True)

    async def test_mail_is_found_by_the_address_asked_for_and_by_the_mailbox(self):
        sent = envelope(recipient(2, "sales@example.test"))
        await self.messages.file_message(sent, message())
        for address in ("sales@example.test", "user2@example.test"):
            (found,) = await self.journal.find(to=address)
            self.assertEqual((found.mail_id, found.name), (sent.mail_id, "delivered"))
        self.assertEqual(await self.journal.find(to="nobody@example.test"), [])

    async def test_mail_is_found_by_its_sender_the_null_one_too(self):
        plain, bounce = envelope(1), envelope(1, sender=None)
        for sent in (plain, bounce):
            await self.messages.file_message(sent, message())
        for sender, sent in (("from@example.org", plain), ("", bounce)):
            found = await self.journal.find(sender=sender)
            self.assertEqual({event.mail_id for event in found}, {sent.mail_id})
            self.assertEqual([event.name for event in found], ["accepted", "delivered"])
        both = await self.journal.find(to="user1@example.test", sender="")
        self.assertEqual([event.mail_id for event in both], [bounce.mail_id])

    async def test_a_limit_keeps_the_newest(self):
        for number in range(5):
            self.journal.append([SignedIn(recipient="a@b", uid=number)])
        await self.flush()
        self.assertEqual(
            [event.uid for event in await self.journal.find(to="a@b", limit=2)], [3, 4]
        )

    def session(self, mailbox: str, folder_id: int, read: list[int], deleted: list[int]) -> Fetched:
        detail = {"read": ranges_of(read), "deleted": ranges_of(deleted)}
        return Fetched(recipient=mailbox, folder_id=folder_id, detail=detail)


class PruneTests(JournalCase):
    async def test_rows_past_their_time_go(self):
        now = time.time()
        self.journal.append([SignedIn(at=now - 100 + number) for number in range(100)])
        await self.flush()
        self.assertEqual(await self.journal.prune(keep_s=40.5, size_octets=1 << 30), 60)
        self.assertEqual(self.count(), 40)

    async def test_the_oldest_go_when_all_are_too_many(self):
        self.journal.append(
            [SignedIn(uid=number, detail={"x": "y" * 1000}) for number in range(3000)]
        )
        await self.flush()
        gone = await self.journal.prune(keep_s=1000, size_octets=1 << 20)
        self.assertEqual(self.count(), 3000 - gone)
        self.assertTrue(800 <= self.count() <= 1050, self.count())
        self.assertEqual(self.rows("SELECT max(uid) FROM journal"), [(2999,)])

    async def test_an_empty_journal_is_left_alone(self):
        self.assertEqual(await self.journal.prune(keep_s=1, size_octets=1), 0)
