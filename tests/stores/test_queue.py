"""Recipients elsewhere wait in the queue, are leased once, and leave it with what came of them."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections import Counter

from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from mailnode.addresses import parse_address
from mailnode.errors import StoreBroken, StoreFull
from mailnode.events import Bounced, Interrupted, PutOff, QueueChanged, Queued, Relayed
from mailnode.model import MailParameters, Remote
from mailnode.queued import NO_TURNS
from mailnode.store import queue as queue_module
from mailnode.store.accept import accept_mails
from mailnode.store.beside import writing_beside
from mailnode.store.database import Database
from mailnode.store.queue import Queue, QueuedMail, Settled, Waiting
from mailnode.store.queue_desk import QueueFilter, change_rows, count_rows, list_rows
from mailnode.store.shared import SharedMessages
from mailnode.store.sqlite import migrate, schema_scripts
from mailnode.store.verify import verify
from tests.stores.support import PREFIX, StoreCase, envelope, message

RAW = b"Subject: hello\r\n\r\nBody\r\n"
BY = "relay:1"
AT = 1_700_000_000.0


def remote(address: str, **more) -> Remote:
    return Remote(parse_address(address), **more)


class QueueCase(StoreCase):
    def open_store(self) -> None:
        super().open_store()
        self.queue = Queue(self.database, self.messages)

    async def send(self, *remotes: Remote | str, to: tuple[int, ...] = (), **more):
        """A mail to these is accepted."""
        body = more.pop("body", RAW)
        there = tuple(remote(each) if isinstance(each, str) else each for each in remotes)
        sent = envelope(*to, remotes=there, received_at=more.pop("received_at", AT), **more)
        await self.messages.file_message(sent, message(RAW, body=body))
        return sent

    async def send_with_all(self):
        """A mail of which is said what can be said."""
        to = remote(
            "bob@example.com",
            alias=parse_address("sales@example.test"),
            sender="SRS0=x@example.test",
            notify="DELAY,FAILURE",
            orcpt="rfc822;sales@example.test",
            send_as=7,
        )
        parameters = MailParameters(smtputf8=True, ret="HDRS", envid="QQ314159")
        return await self.send(to, parameters=parameters, account_id=3, priority=2)

    def lease(self, domain: str = "example.com", send_as: int = 0, **more):
        wanted = {"now": AT + 1, "until": AT + 300, "limit": 100, "by": BY} | more
        return self.queue.lease(domain, send_as, **wanted)

    def states(self) -> list[tuple]:
        return self.rows("SELECT recipient, state FROM queue ORDER BY id")

    def events(self) -> list[str]:
        return [event for (event,) in self.rows("SELECT event FROM journal ORDER BY id")]


class AcceptTests(QueueCase):
    async def test_a_mail_has_a_row_for_each_recipient_elsewhere_in_its_own_batch(self):
        before = self.database.stats.batches
        sent = await self.send("bob@example.com", "eve@example.net", to=(1,))
        self.assertEqual(self.database.stats.batches - before, 1)
        self.assertEqual(
            self.states(), [("bob@example.com", "waiting"), ("eve@example.net", "waiting")]
        )
        self.assertEqual(self.events(), ["accepted", "delivered", "queued", "queued"])
        queued = [event for event in self.heard.events if isinstance(event, Queued)]
        self.assertEqual(
            [(event.mail_id, event.recipient) for event in queued],
            [(sent.mail_id, "bob@example.com"), (sent.mail_id, "eve@example.net")],
        )

    async def test_a_mail_for_elsewhere_alone_has_a_message_and_no_delivery(self):
        await self.send("bob@example.com")
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(1,)])
        self.assertEqual(self.rows("SELECT count(*) FROM delivery"), [(0,)])
        self.assertEqual(await self.messages.delete_unfiled(), 0)
        self.assertEqual(list(verify(self.data)), [])

    async def test_all_that_was_said_of_a_recipient_comes_back_with_its_lease(self):
        sent = await self.send_with_all()
        (leased,) = await self.lease(send_as=7)
        self.assertEqual((leased.queue_id, leased.message_id), (1, 1))
        self.assertEqual((leased.mail_id, leased.account_id), (sent.mail_id, 3))
        self.assertEqual(
            (leased.sender, leased.alias), ("SRS0=x@example.test", "sales@example.test")
        )
        self.assertEqual((leased.notify, leased.ret), ("DELAY,FAILURE", "HDRS"))
        self.assertEqual((leased.orcpt, leased.envid), ("rfc822;sales@example.test", "QQ314159"))
        self.assertEqual((leased.smtputf8, leased.priority), (True, 2))
        self.assertEqual((leased.queued_at, leased.due_at, leased.attempts), (AT, AT, 0))
        self.assertEqual((leased.noticed_at, leased.last_reply, leased.bounce), (None, None, None))

    async def test_the_sender_is_the_reverse_path_unless_the_recipient_has_its_own(self):
        await self.send("bob@example.com", sender="from@example.org")
        await self.send("bob@example.com", sender=None)
        await self.send(remote("bob@example.com", sender=""))
        senders = [leased.sender for leased in await self.lease()]
        self.assertEqual(senders, ["from@example.org", "", ""])

    async def test_what_is_captured_waits_for_nobody(self):
        heard: list[set] = []
        self.queue.on_queued = lambda queued, begun: heard.append(queued)
        await self.send(remote("bob@example.com", captured=True))
        self.assertEqual(self.states(), [("bob@example.com", "captured")])
        self.assertEqual((await self.queue.waiting(), await self.lease(), heard), ([], [], []))
        (queued,) = [event for event in self.heard.events if isinstance(event, Queued)]
        self.assertEqual(queued.detail, {"captured": True})

    async def test_who_relays_is_told_the_destinations_after_the_commit(self):
        heard: list[set] = []
        self.queue.on_queued = lambda queued, begun: heard.append(queued)
        held = await self.hold_writer()
        sending = [
            self.messages.file_message(
                envelope(1, remotes=(remote(f"u{number}@example.com", send_as=number % 2),)),
                message(),
            )
            for number in range(5)
        ]
        sending.append(self.messages.file_message(envelope(1), message()))
        await held.release()
        self.assertEqual(heard, [])
        await gatherResults(sending)
        self.assertEqual(heard, [{("example.com", 0), ("example.com", 1)}])
        await self.messages.file_message(envelope(1), message())
        self.assertEqual(len(heard), 1)

    async def test_a_mail_for_more_recipients_than_a_statement_takes(self):
        await self.send(*(f"u{number}@example.com" for number in range(1000)))
        self.assertEqual(
            self.rows("SELECT count(*), min(id), max(id) FROM queue"), [(1000, 1, 1000)]
        )
        self.assertEqual(self.rows("SELECT next FROM counter WHERE name = 'queue'"), [(1001,)])

    async def test_ids_are_never_given_again(self):
        await self.send("bob@example.com")
        (leased,) = await self.lease()
        await self.queue.settle([Settled(leased.queue_id, "done")], by=BY)
        await self.reopen_store()
        await self.send("bob@example.com")
        self.assertEqual(self.rows("SELECT id FROM queue"), [(2,)])

    async def test_a_priority_that_there_is_not_is_the_nearest(self):
        await self.send("bob@example.com", priority=9)
        self.assertEqual([leased.priority for leased in await self.lease()], [2])


class LeaseTests(QueueCase):
    async def test_what_waits_is_told_by_destination(self):
        await self.send("a@example.com", "b@example.com", "c@example.net", received_at=AT + 5)
        await self.send("d@example.com", remote("e@example.com", send_as=4), received_at=AT)
        self.assertEqual(
            await self.queue.waiting(),
            [
                Waiting("example.com", 0, 3, AT),
                Waiting("example.com", 4, 1, AT),
                Waiting("example.net", 0, 1, AT + 5),
            ],
        )

    async def test_more_destinations_than_are_read_at_once(self):
        from mailnode.store import queue

        self.patch(queue, "_DESTINATIONS_AT_ONCE", 3)
        await self.send(*(remote("a@b.example.com", send_as=number) for number in range(5)))
        await self.send(*(f"a@d{number}.example.com" for number in range(7)))
        found = await self.queue.waiting()
        self.assertEqual(len(found), 12)
        self.assertEqual(len({(each.domain, each.send_as) for each in found}), 12)

    async def test_it_is_by_priority_and_then_by_what_is_due_longest(self):
        for address, priority, due in (
            ("list@example.com", 2, 0), ("late@example.com", 1, 5),
            ("early@example.com", 1, 1), ("reply@example.com", 0, 9),
        ):  # fmt: skip
            await self.send(address, priority=priority, received_at=AT + due)
        first = await self.lease(now=AT + 10, limit=3)
        rest = await self.lease(now=AT + 10, limit=3)
        self.assertEqual(
            [leased.recipient.partition("@")[0] for leased in [*first, *rest]],
            ["reply", "early", "late", "list"],
        )

    async def test_each_account_has_its_turn_however_much_another_has_sent(self):
        for account, count in ((1, 50), (2, 1), (3, 9)):
            for number in range(count):
                await self.send(f"u{number}@example.com", account_id=account)
        await self.send("reply@example.com", account_id=1, priority=0)
        turns, sent, after = [], [], list(NO_TURNS)
        for _ in range(4):
            rows = await self.lease(limit=6, after=after)
            after[1] = rows[-1].account_id
            turns.append(Counter(row.account_id for row in rows))
            sent += [row.queue_id for row in rows if row.account_id == 1 and row.priority]
        self.assertEqual(turns, [{1: 3, 2: 1, 3: 2}, {1: 3, 3: 3}, {1: 3, 3: 3}, {1: 5, 3: 1}])
        self.assertEqual(sent, list(range(1, 14)))
        rows = await self.lease(limit=100)
        self.assertEqual({row.account_id for row in rows}, {1})

    async def test_turns_go_round(self):
        for account in (0, 4, 7, 9):
            await self.send("a@example.com", "b@example.com", "c@example.com", account_id=account)
        turns, after = [], list(NO_TURNS)
        for _ in range(6):
            rows = await self.lease(limit=2, after=after)
            after[1] = rows[-1].account_id
            turns += [row.account_id for row in rows]
        self.assertEqual(turns, [0, 4, 7, 9] * 3)

    async def test_replies_take_nobody_s_turn_among_the_others(self):
        for account in range(1, 9):
            await self.send(*(f"u{number}@example.com" for number in range(4)), account_id=account)
        had, after = Counter(), list(NO_TURNS)
        for _ in range(8):
            await self.send("reply@example.com", account_id=0, priority=0)
            for row in await self.lease(limit=3, after=after):
                after[row.priority] = row.account_id
                had[row.account_id] += 1
        self.assertEqual(had, {0: 8, **dict.fromkeys(range(1, 9), 2)})

    async def test_who_has_nothing_due_has_no_turn(self):
        for account in range(1, 30):
            await self.send("late@example.com", account_id=account, received_at=AT + 50)
        await self.send("due@example.com", account_id=30)
        (row,) = await self.lease(limit=5)
        self.assertEqual((row.recipient, row.account_id), ("due@example.com", 30))
        self.assertEqual(await self.queue.next_due("example.com", 0), AT + 50)

    async def test_what_is_not_due_or_for_another_destination_is_left(self):
        await self.send("a@example.com", received_at=AT + 100)
        await self.send("a@example.net", remote("b@example.com", send_as=1))
        self.assertEqual(await self.lease(), [])

    async def test_nobody_leases_what_another_has(self):
        await self.send(*(f"u{number}@example.com" for number in range(30)))
        found = await gatherResults([self.lease(limit=7, by=f"relay:{n}") for n in range(6)])
        ids = [leased.queue_id for some in found for leased in some]
        self.assertEqual(sorted(ids), list(range(1, 31)))

    async def test_a_lease_is_on_the_disk_before_it_is_given(self):
        await self.send("bob@example.com")
        await self.lease()
        self.assertEqual(
            self.rows("SELECT state, leased_by, leased_until FROM queue"),
            [("leased", BY, AT + 300)],
        )

    async def test_a_renewed_lease_lasts_longer_and_lost_ones_are_told(self):
        await self.send("a@example.com", "b@example.com")
        await self.lease(limit=1)
        await self.lease(by="relay:2")
        self.assertEqual(await self.queue.renew([1, 2, 99], AT + 900, BY), {2, 99})
        self.assertEqual(await self.queue.recover(AT + 600), [self.leased_again(2)])
        self.assertEqual(self.states()[0], ("a@example.com", "leased"))

    def leased_again(self, queue_id: int):
        (row,) = self.rows("SELECT attempts, due_at FROM queue WHERE id = ?", queue_id)
        self.assertEqual(row, (1, AT + 600))
        return self.AnyLeased(queue_id)

    class AnyLeased:
        def __init__(self, queue_id: int) -> None:
            self.queue_id = queue_id

        def __eq__(self, other: object) -> bool:
            return getattr(other, "queue_id", None) == self.queue_id

    async def test_the_message_is_read_as_it_leaves(self):
        sent = await self.send("bob@example.com", parameters=MailParameters(smtputf8=True))
        mail = await self.queue.read(1)
        digest = hashlib.sha256(RAW).digest()
        self.assertEqual(
            mail,
            QueuedMail(
                sent.mail_id, "from@example.org", PREFIX, RAW, len(RAW), digest, 0, AT, True
            ),
        )
        self.assertIsNone(await self.queue.read(2))

    async def test_the_next_messages_are_read_with_it_while_they_are_small(self):
        for _ in range(4):
            await self.send("bob@example.com")
        most = 2 * len(RAW)
        self.assertEqual([3, 1], list(await self.queue.read_ahead([3, 1, 2], most)))
        self.assertEqual([3], list(await self.queue.read_ahead([3, 1, 2], 1)))
        both = await self.queue.read_ahead([1, 2, 9, 4], 10 * most)
        self.assertEqual([1, 2], list(both))
        self.assertEqual(await self.queue.read(2), both[2])
        self.assertEqual({}, await self.queue.read_ahead([9, 1], most))

    async def test_any_octets_are_read_ahead_as_each_is_read_alone(self):
        bodies = [bytes(range(256)) * 9, b"", b"\0", b"\xff\xfe\xc3", b"x" * 20_000, b"\0a\0"]
        for body in bodies:
            await self.send("bob@example.com", body=body)
        await self.send("bob@example.com", body=await self.make_blob(RAW))
        ids = list(range(1, 8))
        each = {message_id: await self.queue.read(message_id) for message_id in ids}
        self.assertEqual(each, await self.queue.read_ahead(ids, 1 << 20))
        self.assertEqual(bodies, [each[message_id].body for message_id in ids[:6]])

    async def test_lengths_that_do_not_add_up_are_no_cut_between_messages(self):
        for number in range(3):
            await self.send("bob@example.com", body=b"%d\r\n" % number)
        self.patch(queue_module, "_SMALL", queue_module._SMALL.replace("length(body)))", "2))"))
        found = await self.queue.read_ahead([1, 2, 3], 1 << 20)
        self.assertEqual([b"0\r\n", b"1\r\n", b"2\r\n"], [found[n].body for n in (1, 2, 3)])

    async def test_one_that_is_damaged_holds_up_none_before_or_behind_it(self):
        for _ in range(3):
            await self.send("bob@example.com")
        for damage in (
            "size_octets = x'3131'",
            "dot_lines = 'x'",
            "sender = x'3131'",
            "sender = CAST(x'ce' AS TEXT)",
            "body = '\u00e9'",
        ):
            await self.write(f"UPDATE message SET {damage} WHERE id = 2")
            self.assertEqual([1], list(await self.queue.read_ahead([1, 2, 3], 1 << 20)))
            await self.assertFailure(self.queue.read_ahead([2, 3], 1 << 20), StoreBroken)
            self.assertEqual([3], list(await self.queue.read_ahead([3], 1 << 20)))

    async def test_a_blob_weighs_nothing_when_it_is_read_ahead(self):
        await self.send("bob@example.com", body=await self.make_blob(RAW))
        await self.send("bob@example.com")
        self.assertEqual([1, 2], list(await self.queue.read_ahead([1, 2], len(RAW))))

    async def test_a_large_message_is_read_from_its_blob(self):
        blob = await self.make_blob(RAW)
        await self.send("bob@example.com", body=blob)
        mail = await self.queue.read(1)
        self.assertEqual(mail.body, blob)


class SettleTests(QueueCase):
    async def setUp(self) -> None:
        super().setUp()
        self.blob = await self.make_blob(RAW)
        self.sent = await self.send(
            "a@example.com", "b@example.com", "c@example.com", body=self.blob
        )
        await self.lease()

    async def test_what_is_done_is_gone_and_the_message_with_the_last(self):
        told = Relayed(mail_id=self.sent.mail_id, recipient="a@example.com")
        self.assertEqual(
            await self.queue.settle([Settled(1, "done", events=(told,))], by=BY), set()
        )
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(1,)])
        await self.queue.settle([Settled(2, "done"), Settled(3, "done")], by=BY)
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(0,)])
        await self.until_no_blob_is_left()
        self.assertEqual(self.events()[-1], "relayed")
        self.assertIn(told, self.heard.events)

    async def test_what_is_put_off_waits_with_what_was_said(self):
        told = PutOff(mail_id=self.sent.mail_id, recipient="a@example.com")
        await self.queue.settle(
            [
                Settled(
                    1, "retry", AT + 60, "mx.example.com", "451 4.7.1 Greylisted", None, (told,)
                ),
                Settled(2, "retry", AT + 60, "mx.example.com", "421 4.3.2 Busy", AT + 9),
                Settled(3, "hold", reply="450 4.2.1 Full", host="mx.example.com"),
            ],
            by=BY,
            at=AT + 10,
        )
        columns = "state, due_at, attempts, last_at, last_host, last_reply, noticed_at, leased_by"
        host = "mx.example.com"
        self.assertEqual(
            self.rows(f"SELECT {columns} FROM queue ORDER BY id"),
            [
                ("waiting", AT + 60, 1, AT + 10, host, "451 4.7.1 Greylisted", None, None),
                ("waiting", AT + 60, 1, AT + 10, host, "421 4.3.2 Busy", AT + 9, None),
                ("held", AT, 1, AT + 10, host, "450 4.2.1 Full", None, None),
            ],
        )
        again = await self.lease(now=AT + 61)
        self.assertEqual([leased.attempts for leased in again], [1, 1])
        self.assertEqual(again[1].noticed_at, AT + 9)
        self.assertEqual(again[0].last_reply, "451 4.7.1 Greylisted")

    async def test_given_back_without_a_reply_it_was_no_attempt(self):
        await self.queue.settle([Settled(1, "retry", AT)], by=BY)
        self.assertEqual(
            self.rows("SELECT state, attempts, last_at, last_reply FROM queue WHERE id = 1"),
            [("waiting", 0, None, None)],
        )

    async def test_reports_are_filed_in_the_same_commit(self):
        report = envelope(1, sender=None, remotes=(remote("x@example.net"),), priority=0)
        heard: list[set] = []
        self.queue.on_queued = lambda queued, begun: heard.append(queued)
        before = self.database.stats.batches
        await self.queue.settle(
            [Settled(number, "done", events=(Bounced(recipient="x"),)) for number in (1, 2, 3)],
            [(report, message())],
            by=BY,
        )
        self.assertEqual(self.database.stats.batches - before, 1)
        self.assertEqual(self.messages.usage(1)[1], 1)
        self.assertEqual(heard, [{("example.net", 0)}])
        self.assertEqual(self.events()[-3:], ["accepted", "delivered", "queued"])
        self.assertEqual(list(verify(self.data)), [])

    async def test_a_report_that_cannot_be_filed_settles_nothing(self):
        report = envelope(1, sender=None, mail_id=self.sent.mail_id)
        settling = self.queue.settle([Settled(1, "done")], [(report, message())], by=BY)
        await self.assertFailure(settling, sqlite3.IntegrityError)
        self.assertEqual(self.states()[0], ("a@example.com", "leased"))
        self.assertEqual(self.messages.usage(1)[1], 0)

    async def test_what_another_leases_by_now_is_left_alone_and_told(self):
        await self.queue.recover(AT + 400)
        (other,) = await self.lease(now=AT + 400, limit=1, by="relay:2")
        told = Relayed(recipient="a@example.com")
        lost = await self.queue.settle(
            [Settled(1, "done", events=(told,)), Settled(2, "retry", AT), Settled(77, "done")],
            [(envelope(1, sender=None), message())],
            by=BY,
        )
        self.assertEqual(lost, {1, 2, 77})
        self.assertEqual(other.queue_id, 1)
        self.assertEqual([state for _, state in self.states()], ["leased", "waiting", "waiting"])
        self.assertNotIn("relayed", self.events())
        self.assertEqual(self.messages.usage(1)[1], 0)

    async def test_a_recipient_is_settled_once(self):
        first, second = await gatherResults(
            [self.queue.settle([Settled(1, "done")], by=BY) for _ in range(2)]
        )
        self.assertEqual((first, second), (set(), {1}))

    async def test_many_settlements_are_one_batch(self):
        held = await self.hold_writer()
        before = self.database.stats.batches
        settling = [self.queue.settle([Settled(number, "done")], by=BY) for number in (1, 2, 3)]
        await held.release()
        await gatherResults(settling)
        self.assertEqual(self.database.stats.batches - before, 2)  # with the one that held it
        self.assertEqual(self.states(), [])

    async def test_a_message_in_a_maildrop_and_the_queue_goes_with_the_last_of_both(self):
        sent = await self.send("d@example.com", to=(1,))
        (copy,) = self.rows("SELECT folder_id, uid FROM delivery")
        await self.messages.delete_mails(copy[0], [copy[1]])
        there = "SELECT count(*) FROM message WHERE mail_id = ?"
        self.assertEqual(self.rows(there, sent.mail_id), [(1,)])
        (leased,) = await self.lease()
        await self.queue.settle([Settled(leased.queue_id, "done")], by=BY)
        self.assertEqual(self.rows(there, sent.mail_id), [(0,)])
        kept = await self.send("e@example.com", to=(1,))
        (leased,) = await self.lease()
        await self.queue.settle([Settled(leased.queue_id, "done")], by=BY)
        self.assertEqual(self.rows(there, kept.mail_id), [(1,)])


class RecoverTests(QueueCase):
    async def test_leases_of_a_process_that_is_gone_are_due_at_once(self):
        await self.send("a@example.com", "b@example.com", "c@example.com")
        await self.lease(limit=1, by="worker-1:9:1")
        await self.lease(limit=1, by="worker-2:9:1")
        await self.lease(limit=1, by="worker-12:9:1")
        found = await self.queue.recover(AT + 5, "worker-1:")
        self.assertEqual([(each.queue_id, each.due_at) for each in found], [(1, AT + 5)])
        self.assertEqual([state for _, state in self.states()], ["waiting", "leased", "leased"])
        (told,) = [event for event in self.heard.events if isinstance(event, Interrupted)]
        self.assertEqual(
            (told.recipient, told.detail["process"]), ("a@example.com", "worker-1:9:1")
        )
        self.assertEqual(self.events()[-1], "interrupted")
        (again,) = await self.lease(now=AT + 5)
        self.assertEqual(again.attempts, 1)

    async def test_at_the_start_of_a_node_every_lease_is_of_one_that_is_gone(self):
        await self.send("a@example.com", "b@example.com")
        await self.lease()
        await self.reopen_store()
        self.assertEqual(len(await self.queue.recover(AT, "")), 2)
        self.assertEqual(await self.queue.recover(AT, ""), [])

    async def test_leases_that_did_not_run_out_stay(self):
        await self.send("a@example.com")
        await self.lease()
        self.assertEqual(await self.queue.recover(AT + 299), [])
        self.assertEqual(len(await self.queue.recover(AT + 300)), 1)


class RoomTests(QueueCase):
    reserve_octets = 1 << 20

    async def test_a_full_disk_still_relays(self):
        await self.send("a@example.com", "b@example.com")
        self.database.reserve.give_up()
        self.patch(type(self.database.reserve), "restore", lambda reserve: False)
        filing = self.messages.file_message(envelope(1), message())
        await self.assertFailure(filing, StoreFull)
        self.assertEqual(len(await self.lease()), 2)
        await self.queue.settle([Settled(1, "done"), Settled(2, "retry", AT)], by=BY)
        self.assertEqual(self.states(), [("b@example.com", "waiting")])


class DeskTests(QueueCase):
    async def setUp(self) -> None:
        super().setUp()
        self.first = await self.send("a@example.com", "b@example.net", sender="x@example.org")
        self.second = await self.send("c@example.com", sender=None, received_at=AT + 100)

    def change(self, name: str, wanted: QueueFilter, **more):
        with writing_beside(self.data / "mail.db") as writer:
            return change_rows(writer.transaction, wanted, name, now=AT + 50, by="root", **more)

    def fitting(self, **wanted) -> list[int]:
        def read(connection):
            fit = QueueFilter(**wanted)
            rows = [row.id for row in list_rows(connection, fit, 0)]
            self.assertEqual(count_rows(connection, fit), len(rows))
            return rows

        return self.database.read_now(read)

    async def test_rows_are_found_by_what_is_known_of_them(self):
        await self.lease(limit=1)
        await self.queue.settle([Settled(1, "retry", AT, "mx", "451 4.7.1 GreyListed")], by=BY)
        await self.lease(domain="example.net")
        self.assertEqual(self.fitting(), [1, 2, 3])
        self.assertEqual(self.fitting(domain="example.com"), [1, 3])
        self.assertEqual(self.fitting(sender="x@example.org"), [1, 2])
        self.assertEqual(self.fitting(sender=""), [3])
        self.assertEqual(self.fitting(recipient="b@example.net"), [2])
        self.assertEqual(self.fitting(before=AT + 1), [1, 2])
        self.assertEqual(self.fitting(after=AT + 1), [3])
        self.assertEqual(self.fitting(reply="greylisted"), [1])
        self.assertEqual(self.fitting(state="leased"), [2])
        self.assertEqual(self.fitting(mail_ids=(self.second.mail_id,), ids=(1,)), [1, 3])
        self.assertEqual(self.fitting(mail_ids=(self.first.mail_id,), domain="example.com"), [1])

    async def test_held_rows_wait_until_they_are_released(self):
        self.assertEqual(self.change("hold", QueueFilter(domain="example.com")).ids, [1, 3])
        self.assertEqual(await self.lease(now=AT + 500), [])
        self.assertEqual(self.change("release", QueueFilter()).ids, [1, 3])
        self.assertEqual(len(await self.lease(now=AT + 50)), 2)
        details = self.rows("SELECT recipient, detail FROM journal WHERE event = 'queue-changed'")
        self.assertEqual(details[0], ("a@example.com", '{"action":"held","by":"root"}'))
        self.assertEqual(len(details), 4)

    async def test_a_leased_row_is_left_alone_and_counted(self):
        await self.lease(limit=1)
        for name in ("retry", "hold", "release", "bounce", "drop"):
            changed = self.change(name, QueueFilter(ids=(1,)))
            self.assertEqual((changed.ids, changed.left), ([], {"leased": 1}))
        self.assertEqual(self.states()[0], ("a@example.com", "leased"))

    async def test_what_is_to_be_bounced_is_due_with_the_reason(self):
        self.change("bounce", QueueFilter(ids=(3,)), reason="Closed")
        self.assertEqual(self.fitting(state="bouncing"), [3])
        self.assertEqual(self.fitting(state="waiting"), [1, 2])
        leased = await self.lease(now=AT + 60)
        self.assertEqual([each.bounce for each in leased], [None, "Closed"])
        await self.queue.recover(AT + 60, "")
        self.assertEqual(self.fitting(state="bouncing"), [3])
        self.change("retry", QueueFilter(ids=(3,)))
        self.assertEqual(self.fitting(state="bouncing"), [])

    async def test_dropped_rows_are_gone_with_their_messages(self):
        self.assertEqual(self.change("drop", QueueFilter(domain="example.com")).ids, [1, 3])
        self.assertEqual(self.rows("SELECT mail_id FROM message"), [(self.first.mail_id,)])
        self.assertEqual(list(verify(self.data)), [])

    async def test_captured_rows_can_only_be_dropped(self):
        await self.send(remote("d@example.com", captured=True))
        for name in ("retry", "hold", "release", "bounce"):
            self.assertEqual(self.change(name, QueueFilter(ids=(4,))).left, {"captured": 1})
        self.assertEqual(self.change("drop", QueueFilter(ids=(4,))).ids, [4])

    async def test_more_rows_than_a_transaction_takes_are_all_changed(self):
        await self.send(*(f"u{number}@example.com" for number in range(1200)))
        changed = self.change("hold", QueueFilter(domain="example.com"))
        self.assertEqual(len(changed.ids), 1202)
        self.assertEqual(await self.lease(now=AT + 500), [])
        kept = self.rows("SELECT count(*) FROM journal WHERE event = ?", QueueChanged.name)
        self.assertEqual(kept, [(1202,)])

    async def test_it_writes_between_the_batches_of_the_node(self):
        for _ in range(10):
            filing = self.messages.file_message(envelope(1), message())
            self.change("retry", QueueFilter(ids=(1,)))
            await filing
        self.assertEqual(self.messages.usage(1)[1], 10)


class ProcessesTests(QueueCase):
    """Several processes share one queue."""

    def setUp(self) -> None:
        super().setUp()
        self.other = Database.open(
            self.data / "mail.db", call_in_reactor=reactor.callFromThread, on_fatal=self.fail
        )
        self.addCleanup(self.other.close)
        messages = SharedMessages(self.other, self.blobs, self.heard)
        self.there = Queue(self.other, messages)

    async def test_each_finds_and_leases_what_another_accepted(self):
        heard: list[set] = []
        self.there.on_queued = lambda queued, begun: heard.append(queued)
        await self.send("a@example.com")
        self.assertEqual(heard, [])
        self.assertEqual(await self.there.waiting(), [Waiting("example.com", 0, 1, AT)])
        (leased,) = await self.there.lease(
            "example.com", 0, now=AT, until=AT + 9, limit=9, by="there"
        )
        self.assertEqual(await self.queue.settle([Settled(leased.queue_id, "done")], by=BY), {1})
        self.assertEqual(await self.there.settle([Settled(1, "done")], by="there"), set())

    async def test_a_worker_tells_what_it_queued_itself_and_which_boxes_a_report_fills(self):
        heard: list[set] = []
        self.there.on_queued = lambda queued, begun: heard.append(queued)
        await self.there.messages.file_message(
            envelope(remotes=(remote("a@example.com"),)), message()
        )
        self.assertEqual(heard, [{("example.com", 0)}])
        await self.there.settle([], [(envelope(1, sender=None), message())], by="there")
        self.assertEqual(self.there.messages.tell_changed(), [1])

    async def test_no_two_processes_lease_the_same(self):
        await self.send(*(f"u{number}@example.com" for number in range(200)))
        wanted = {"now": AT, "until": AT + 9, "limit": 10}
        found = await gatherResults(
            [
                queue.lease("example.com", 0, by=by, **wanted)
                for _ in range(10)
                for queue, by in ((self.queue, "here"), (self.there, "there"))
            ]
        )
        ids = [leased.queue_id for some in found for leased in some]
        self.assertEqual(sorted(ids), list(range(1, 201)))


class CountTests(QueueCase):
    async def test_recipients_are_counted_by_state(self):
        await self.send("a@example.com", "b@example.com", remote("c@example.com", captured=True))
        await self.lease(limit=1)
        await self.queue.count()
        self.assertEqual(self.queue.counts, {"waiting": 1, "leased": 1, "held": 0, "captured": 1})

    async def test_the_first_of_those_that_wait_or_are_attempted_says_since_when(self):
        await self.queue.count()
        self.assertIsNone(self.queue.oldest_at)
        await self.send(remote("c@example.com", captured=True), "a@example.com", "b@example.com")
        await self.lease(limit=1)
        await self.database.transact(
            "x", lambda connection: connection.execute("UPDATE queue SET queued_at = id").rowcount
        )
        await self.queue.count()
        self.assertEqual(2.0, self.queue.oldest_at)


class CostTests(QueueCase):
    """The questions that are asked again and again are answered from indexes."""

    def plan(self, text: str, values: object) -> str:
        rows = self.database.read_now(
            lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
        )
        return "\n".join(row[-1] for row in rows)

    def test_leases_waiting_and_counts_scan_no_table(self):
        from mailnode.store import leases, queue

        of = {"domain": "x", "send_as": 0, "priority": 1, "now": 1, "limit": 9, "after": 3}
        index = "USING COVERING INDEX queue_next (domain=? AND send_as=? AND priority=? AND"
        due = self.plan(leases._DUE, {**of, "account_id": 1, "offset": 0})
        self.assertIn(f"{index} account_id=? AND due_at<?)", due)
        self.assertNotIn("TEMP B-TREE", due)
        turns = self.plan(leases._TURNS, of)
        self.assertEqual(turns.count(f"{index} account_id>?)"), 2, turns)
        self.assertEqual(turns.count(f"{index} account_id=? AND due_at<?)"), 1, turns)
        next_due = self.plan(queue._NEXT_DUE, of)
        self.assertEqual(next_due.count(index), 3, next_due)
        rows = self.plan(leases._ROWS.format(marks="?"), (1,))
        self.assertIn("SEARCH queue USING INTEGER PRIMARY KEY", rows)
        waiting = self.plan(queue._WAITING, ("", 10))
        self.assertIn("USING COVERING INDEX queue_next", waiting)
        self.assertNotIn("TEMP B-TREE", waiting)
        counts = self.plan(queue._COUNTS, ())
        self.assertEqual(counts.count("COVERING INDEX"), 3, counts)
        over = self.plan(leases._OVER, {"now": 1, "gone": "", "own": ""})
        self.assertIn("USING INDEX queue_leased", over)


class WholeTests(QueueCase):
    """verify, the sweep's deletions, and an upgrade."""

    async def damage(self, text: str) -> None:
        other = sqlite3.connect(self.data / "mail.db", isolation_level=None)
        other.execute(text)
        other.close()

    def faults(self) -> list[tuple[str, str]]:
        return [(fault.what, fault.where) for fault in verify(self.data)]

    async def test_verify_finds_rows_that_fit_no_mail_or_no_state(self):
        for number in range(7):
            await self.send(f"u{number}@example.com")
        self.assertEqual(self.faults(), [])
        await self.damage("UPDATE queue SET message_id = 1 WHERE id = 2")
        await self.damage("UPDATE queue SET state = 'weird' WHERE id = 3")
        await self.damage("UPDATE queue SET leased_by = 'x' WHERE id = 4")
        await self.damage("UPDATE queue SET domain = 'example.net' WHERE id = 5")
        await self.damage("UPDATE queue SET priority = 3 WHERE id = 6")
        await self.damage("UPDATE queue SET recipient = 'x@example.com' WHERE id = 7")
        rows = [("queue", f"row {number}") for number in range(2, 8)]
        self.assertEqual(self.faults(), [("message", "message 2"), *rows])

    async def test_verify_finds_rows_without_a_message_and_a_counter_that_is_behind(self):
        await self.send("a@example.com")
        await self.damage("DELETE FROM message")
        await self.damage("UPDATE counter SET next = 1")
        self.assertEqual(self.faults(), [("counter", "queue"), ("queue", "row 1")])

    async def test_an_account_that_is_dropped_leaves_what_it_sent_in_the_queue(self):
        sent = await self.send("a@example.com", to=(1,))
        await self.messages.drop_accounts([1])
        self.assertEqual(self.rows("SELECT mail_id FROM message"), [(sent.mail_id,)])
        self.assertEqual(self.faults(), [])

    async def test_a_store_without_a_queue_is_verified_and_upgraded_with_its_mail(self):
        await self.close_store()
        path = self.data / "old" / "mail.db"
        path.parent.mkdir()
        old = sqlite3.connect(path, isolation_level=None)
        migrate(old, {1: schema_scripts()[1]})
        before = envelope(1)
        accept_mails(old, [(before, message())])
        old.close()
        self.assertEqual(list(verify(path.parent)), [])
        self.data = path.parent
        self.open_store()
        await self.send("a@example.com", to=(1,), received_at=time.time())
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.messages.usage(1)[1], 2)
        self.assertIn((before.mail_id,), self.rows("SELECT mail_id FROM message"))
        self.assertEqual(self.rows("SELECT recipient FROM queue"), [("a@example.com",)])

    async def test_a_store_whose_queue_had_no_turns_is_upgraded_with_what_waits(self):
        await self.close_store()
        path = self.data / "old" / "mail.db"
        path.parent.mkdir()
        old = sqlite3.connect(path, isolation_level=None)
        migrate(old, {version: schema_scripts()[version] for version in (1, 2)})
        there = tuple(remote(f"u{number}@example.com") for number in range(3))
        accept_mails(old, [(envelope(remotes=there, account_id=7, received_at=AT), message())])
        old.close()
        self.data = path.parent
        self.open_store()
        leased = await self.lease()
        self.assertEqual(
            [(row.recipient, row.account_id) for row in leased],
            [(f"u{number}@example.com", 7) for number in range(3)],
        )
        self.assertEqual(self.faults(), [])
