"""Rows that the relay claims are leased by the commit that makes them, and handed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import gatherResults

from mailnode.model import Blob, Filed
from mailnode.queued import ROW_OCTETS, Begun, Claims, octets_in_memory
from mailnode.store.queue import Settled
from tests.stores.support import PREFIX, envelope, message
from tests.stores.test_queue import AT, RAW, QueueCase, remote

KEY = ("example.com", 0)
UNTIL = AT + 1800
ONE = octets_in_memory(PREFIX, RAW)


class ClaimCase(QueueCase):
    def open_store(self) -> None:
        super().open_store()
        self.begun: list[Begun] = []
        self.waiting: list[set] = []
        self.queue.on_queued = self.hear
        self.claims = Claims("relay:7", lambda: UNTIL, octets=1 << 20)
        self.queue.claim(self.claims)

    def hear(self, waiting, begun: Sequence[Begun]) -> None:
        self.waiting.append(set(waiting))
        self.begun += begun

    def send_together(self, count: int):
        """So many mails to example.com, in one batch."""
        return gatherResults(
            [
                self.messages.file_message(
                    envelope(remotes=(remote(f"u{number}@example.com"),), received_at=AT),
                    message(RAW),
                )
                for number in range(count)
            ]
        )


class BornLeasedTests(ClaimCase):
    async def test_it_is_leased_in_its_first_commit_and_nobody_else_gets_it(self):
        self.claims.rows[KEY] = 10
        before = self.database.stats.batches
        await self.send("bob@example.com")
        self.assertEqual(self.database.stats.batches - before, 1)
        self.assertEqual(
            self.rows("SELECT state, leased_by, leased_until FROM queue"),
            [("leased", "relay:7", UNTIL)],
        )
        self.assertEqual(await self.lease(), [])
        self.assertEqual(self.events(), ["accepted", "queued"])
        self.assertEqual((self.waiting, len(self.begun)), ([set()], 1))
        self.assertEqual((self.begun[0].key, self.begun[0].until), (KEY, UNTIL))

    async def test_what_is_handed_over_is_what_a_lease_and_a_look_would_give(self):
        self.claims.rows["example.com", 7] = 10
        await self.send_with_all()
        ((row,), mail) = self.begun[0].rows, self.begun[0].mail
        self.assertEqual(await self.queue.read(row.message_id), mail)
        back = [Settled(row.queue_id, "retry", due_at=AT)]
        await self.queue.settle(back, by="relay:7")
        self.assertEqual(await self.lease(send_as=7), [row])

    async def test_a_body_outside_the_database_is_named(self):
        self.claims.rows[KEY] = 10
        raw = b"x" * 100_000
        blob = await self.make_blob(raw)
        to = envelope(remotes=(remote("bob@example.com"),), received_at=AT)
        await self.messages.file_message(to, message(raw, body=blob))
        self.assertEqual(self.begun[0].mail.body, Blob(blob.key))
        self.assertLess(self.begun[0].octets, 10_000)
        self.assertEqual(await self.queue.read(1), self.begun[0].mail)

    async def test_recipients_of_one_mail_come_together_by_destination(self):
        self.claims.rows.update({KEY: 2, ("example.net", 0): 5})
        await self.send(
            "a@example.com", "b@example.net", "c@example.com", "d@example.com", "e@example.org"
        )
        self.assertEqual(
            [[row.recipient for row in each.rows] for each in self.begun],
            [["a@example.com", "c@example.com"], ["b@example.net"]],
        )
        self.assertEqual(self.waiting, [{KEY, ("example.org", 0)}])

    async def test_it_is_handed_over_though_the_commit_can_t_be_told(self):
        self.claims.rows[KEY] = 1
        self.patch(self.messages, "log", None)
        await self.send("bob@example.com")
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual((self.states(), len(self.begun)), ([("bob@example.com", "leased")], 1))

    async def test_what_was_handed_over_is_settled_as_any_lease_is(self):
        self.claims.rows[KEY] = 1
        await self.send("bob@example.com")
        lost = await self.queue.settle([Settled(1, "done")], by="relay:7")
        self.assertEqual((lost, self.states()), (set(), []))
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(0,)])

    async def test_it_is_due_again_when_its_process_has_ended(self):
        self.claims.rows[KEY] = 1
        await self.send("bob@example.com")
        (found,) = await self.queue.recover(AT + 5, by_prefix="relay:7")
        self.assertEqual((found.recipient, found.attempts), ("bob@example.com", 1))
        self.assertEqual(self.events()[-1], "interrupted")


class BoundTests(ClaimCase):
    async def test_nothing_is_leased_that_nobody_claims(self):
        self.claims.rows["example.net", 0] = 10
        self.claims.rows["example.com", 1] = 10
        await self.send("bob@example.com")
        self.assertEqual(self.states(), [("bob@example.com", "waiting")])
        self.assertEqual((self.waiting, self.begun), ([{KEY}], []))

    async def test_so_many_rows_of_a_batch_and_no_more(self):
        self.claims.rows[KEY] = 3
        held = await self.hold_writer()
        sending = self.send_together(5)
        await held.release()
        await sending
        self.assertEqual([state for _, state in self.states()], ["leased"] * 3 + ["waiting"] * 2)
        self.assertEqual((len(self.begun), self.waiting), (3, [{KEY}]))

    async def test_so_many_octets_of_a_batch_and_no_more(self):
        self.claims.rows[KEY] = 100
        self.claims.octets = 2 * ONE
        held = await self.hold_writer()
        sending = self.send_together(3)
        await held.release()
        await sending
        self.assertEqual([state for _, state in self.states()], ["leased"] * 2 + ["waiting"])

    async def test_a_mail_s_octets_count_once_and_each_recipient_for_itself(self):
        self.claims.rows[KEY] = 100
        self.claims.octets = ONE + 2 * ROW_OCTETS
        await self.send(*(f"u{number}@example.com" for number in range(4)))
        self.assertEqual([state for _, state in self.states()], ["leased"] * 3 + ["waiting"])
        self.assertEqual([each.octets for each in self.begun], [self.claims.octets])

    async def test_what_is_captured_is_not_leased(self):
        self.claims.rows[KEY] = 10
        await self.send(remote("bob@example.com", captured=True))
        self.assertEqual(self.states(), [("bob@example.com", "captured")])
        self.assertEqual(self.begun, [])

    async def test_a_batch_that_fails_and_is_done_again_hands_each_over_once(self):
        self.claims.rows[KEY] = 2
        held = await self.hold_writer()
        sending = self.send_together(2)
        spoiled = self.database.transact("fails", fail)
        await held.release()
        await self.assertFailure(spoiled, sqlite3.DatabaseError)
        await sending
        self.assertEqual([state for _, state in self.states()], ["leased"] * 2)
        self.assertEqual([len(each.rows) for each in self.begun], [1, 1])


def fail(connection: sqlite3.Connection) -> tuple[Filed, ...]:
    raise sqlite3.DatabaseError("a fault")
