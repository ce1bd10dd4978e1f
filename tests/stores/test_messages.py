"""Mail goes in, is listed, read and deleted; counters and usage stay true."""

from __future__ import annotations

import time
from array import array

from attrs import evolve
from twisted.internet.defer import ensureDeferred, gatherResults

from mailnode.addresses import parse_address
from mailnode.errors import StoreBroken
from mailnode.events import Accepted, CopyKept, Delivered
from mailnode.model import SEEN, Blob, Judgement, Kept, Once, Remote
from mailnode.store.accept import served_head
from mailnode.store.answers import Answered, AnsweredBefore, Answers
from mailnode.store.fetching import Frame, StoredMail
from mailnode.store.sqlite import connect
from mailnode.store.verify import verify
from tests.stores.support import PREFIX, StoreCase, envelope, message, recipient

RAW = b"Subject: hello\r\n\r\nBody\r\n"
HEAD = b"Return-Path: <from@example.org>\r\nDelivered-To: user1@example.test\r\n" + PREFIX


class FilingTests(StoreCase):
    async def test_a_filed_mail_is_read_back_with_its_head(self):
        (filed,) = await self.messages.file_message(envelope(1), message(RAW, dot_lines=3))
        snapshot = await self.messages.snapshot(filed.folder_id)
        wanted = list(zip(snapshot.uids, snapshot.message_ids, strict=True))
        self.assertEqual(
            await self.messages.read_mails(filed.folder_id, wanted),
            [StoredMail(1, HEAD, RAW, len(HEAD) + len(RAW), 3)],
        )

    async def test_each_recipient_gets_a_copy_with_its_own_delivered_to(self):
        to = recipient(2, "sales@example.test")
        first, second = await self.messages.file_message(envelope(1, to), message())
        self.assertEqual((first.mailbox, second.mailbox), ("user1@example.test", to.mailbox))
        self.assertEqual(second.address, "sales@example.test")
        (mail,) = await self.messages.read_mails(second.folder_id, [(second.uid, 1)])
        self.assertIn(b"\r\nDelivered-To: sales@example.test\r\n", mail.head)
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(1,)])

    async def test_the_null_reverse_path_is_kept(self):
        (filed,) = await self.messages.file_message(envelope(1, sender=None), message())
        (mail,) = await self.messages.read_mails(filed.folder_id, [(filed.uid, 1)])
        self.assertTrue(mail.head.startswith(b"Return-Path: <>\r\n"))

    async def test_an_address_beyond_ascii_is_counted_in_octets(self):
        to = recipient(1, "jürgen@example.test", "jürgen@example.test")
        (filed,) = await self.messages.file_message(envelope(to), message())
        (mail,) = await self.messages.read_mails(filed.folder_id, [(filed.uid, 1)])
        self.assertEqual(mail.size_octets, len(mail.head) + len(mail.body))
        self.assertIn("jürgen".encode(), mail.head)

    async def test_uids_ascend_without_a_gap_across_batches(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(200)]
        await held.release()
        first = await gatherResults(filing)
        (last,) = await self.messages.file_message(envelope(1), message())
        self.assertEqual([filed.uid for (filed,) in first], list(range(1, 201)))
        self.assertEqual(last.uid, 201)

    async def test_a_uid_is_never_given_twice(self):
        (filed,) = await self.messages.file_message(envelope(1), message())
        await self.messages.delete_mails(filed.folder_id, [filed.uid])
        await self.reopen_store()
        (again,) = await self.messages.file_message(envelope(1), message())
        self.assertEqual(again.uid, filed.uid + 1)
        self.assertEqual(self.rows("SELECT id FROM message"), [(2,)])

    async def test_many_mailboxes_are_filed_in_one_batch(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(n, n + 1), message()) for n in range(1, 151)]
        await held.release()
        before = self.database.stats.batches
        await gatherResults(filing)
        self.assertEqual(self.database.stats.batches - before, 1)
        for account_id, mails in [(1, 1), (2, 2), (150, 2), (151, 1)]:
            self.assertEqual(self.messages.usage(account_id)[1], mails)

    async def test_a_mail_to_more_mailboxes_than_one_statement_takes(self):
        filed = await self.messages.file_message(envelope(*range(1, 1001)), message())
        self.assertEqual(len({copy.folder_id for copy in filed}), 1000)
        self.assertEqual(self.rows("SELECT sum(mails), sum(uid_next) FROM folder"), [(1000, 2000)])

    async def test_the_log_hears_of_it_once_after_the_commit(self):
        sent = envelope(1, recipient(2, "sales@example.test"))
        await self.messages.file_message(sent, message())
        accepted, first, second = self.heard.events
        self.assertIsInstance(accepted, Accepted)
        self.assertEqual((accepted.mail_id, accepted.client), (sent.mail_id, "192.0.2.1"))
        self.assertIsInstance(first, Delivered)
        self.assertEqual(second.recipient, "sales@example.test")
        self.assertEqual(second.detail, {"mailbox": "user2@example.test"})

    async def test_what_is_unwanted_lies_in_junk_and_the_inbox_beside_it_is_as_it_was(self):
        held = await self.hold_writer()
        judged = (Judgement("words", True, ("the word viagra",), {"spf": "fail"}),)
        unwanted = evolve(recipient(1), folder="Junk")
        filing = [
            self.messages.file_message(envelope(1), message()),
            self.messages.file_message(
                envelope(unwanted, recipient(2), sender="bad@example.org"),
                message(judgements=judged),
            ),
            self.messages.file_message(envelope(unwanted), message()),
        ]
        await held.release()
        await gatherResults(filing)
        self.assertEqual(
            self.rows("SELECT account_id, name, mails, uid_next FROM folder ORDER BY 1, 2"),
            [(1, "INBOX", 1, 2), (1, "Junk", 2, 3), (2, "INBOX", 1, 2)],
        )
        self.assertEqual(self.messages.usage(1)[1], 3)
        accepted, junk, inbox = self.heard.events[2:5]
        self.assertEqual(
            accepted.detail["judged"],
            [{"by": "words", "unwanted": True, "reasons": ["the word viagra"],
              "facts": {"spf": "fail"}}],
        )  # fmt: skip
        self.assertEqual(({"folder": "Junk"}, {}), (junk.detail, inbox.detail))
        self.assertEqual([], list(verify(self.data)))

    async def test_a_mail_id_that_is_there_already_fails_alone(self):
        first = envelope(1)
        await self.messages.file_message(first, message())
        held = await self.hold_writer()
        good = self.messages.file_message(envelope(1), message())
        bad = self.messages.file_message(envelope(1, mail_id=first.mail_id), message())
        also = self.messages.file_message(envelope(2), message())
        await held.release()
        await self.assertFailure(bad, Exception)
        self.assertEqual([(await good)[0].uid, (await also)[0].uid], [2, 1])
        self.assertEqual(self.messages.usage(1)[1], 2)
        self.assertEqual(len(self.heard.events), 6)


class KeptTests(StoreCase):
    KEPT = Kept(7, "user7@example.test")

    async def test_a_copy_that_its_sender_keeps_lies_read_in_its_folder_as_it_was_sent(self):
        sent = envelope(1, kept=self.KEPT)
        (filed,) = await self.messages.file_message(sent, message(RAW))
        self.assertEqual(filed.mailbox, "user1@example.test")
        self.assertEqual(
            self.rows(
                "SELECT folder.name, uid, recipient, flags, size_octets FROM delivery"
                " JOIN folder ON folder.id = folder_id WHERE account_id = 7"
            ),
            [("Sent", 1, "", SEEN, len(PREFIX) + len(RAW))],
        )
        self.assertEqual(self.messages.usage(7), (len(PREFIX) + len(RAW), 1))
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(1,)])
        kept = self.heard.events[-1]
        self.assertIsInstance(kept, CopyKept)
        self.assertEqual((kept.recipient, kept.uid), (self.KEPT.mailbox, 1))
        self.assertEqual([], list(verify(self.data)))

    async def test_what_goes_elsewhere_alone_is_kept_and_many_senders_keep_theirs_in_a_batch(self):
        there = (Remote(parse_address("bob@elsewhere.test")),)
        held = await self.hold_writer()
        filing = [
            self.messages.file_message(
                envelope(remotes=there, kept=Kept(account_id, f"user{account_id}@example.test")),
                message(RAW),
            )
            for account_id in (7, 7, 8)
        ]
        await held.release()
        await gatherResults(filing)
        self.assertEqual([self.messages.usage(each)[1] for each in (7, 8)], [2, 1])
        self.assertEqual(
            self.rows("SELECT account_id, uid_next, modseq FROM folder ORDER BY account_id"),
            [(7, 3, 2), (8, 2, 1)],
        )
        self.assertEqual([], list(verify(self.data)))


class OnceTests(StoreCase):
    ONCE = Once(7, "key-1", b"\1" * 32, '{"id": "x"}')

    async def test_an_answer_is_kept_with_its_mail_and_found_by_its_account_and_key(self):
        sent = envelope(1, once=self.ONCE)
        await self.messages.file_message(sent, message())
        answers = Answers(self.database)
        self.assertEqual(
            await answers.find(7, "key-1"), Answered(b"\1" * 32, sent.mail_id, '{"id": "x"}')
        )
        self.assertIsNone(await answers.find(8, "key-1"))
        self.assertIsNone(await answers.find(7, "key-2"))

    async def test_of_two_with_one_key_the_second_is_filed_nowhere_and_harms_no_other(self):
        held = await self.hold_writer()
        first = self.messages.file_message(envelope(1, once=self.ONCE), message())
        second = self.messages.file_message(envelope(1, once=self.ONCE), message())
        other = self.messages.file_message(envelope(2), message())
        await held.release()
        await first
        await self.assertFailure(second, AnsweredBefore)
        await other
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(2,)])
        self.assertEqual(0, self.database.stats.failed_batches)
        self.assertEqual([], list(verify(self.data)))

    async def test_old_answers_are_swept(self):
        await self.messages.file_message(envelope(1, once=self.ONCE), message())
        answers = Answers(self.database)
        self.assertEqual(0, await answers.sweep(time.time()))
        self.assertEqual(1, await answers.sweep(time.time() + 86401))
        self.assertIsNone(await answers.find(7, "key-1"))


class UsageTests(StoreCase):
    async def test_usage_counts_octets_as_served_and_mails(self):
        self.assertEqual(self.messages.usage(1), (0, 0))
        await self.messages.file_message(envelope(1), message(RAW))
        self.assertEqual(self.messages.usage(1), (len(HEAD) + len(RAW), 1))

    async def test_usage_is_the_same_after_a_start(self):
        await self.messages.file_message(envelope(1, 2), message())
        await self.messages.file_message(envelope(2), message())
        before = [self.messages.usage(account_id) for account_id in (1, 2, 3)]
        await self.reopen_store()
        self.assertEqual([self.messages.usage(each) for each in (1, 2, 3)], before)

    async def test_usage_shrinks_by_what_is_deleted(self):
        (filed,) = await self.messages.file_message(envelope(1), message())
        await self.messages.delete_mails(filed.folder_id, [filed.uid])
        self.assertEqual(self.messages.usage(1), (0, 0))


class InboxTests(StoreCase):
    async def test_an_inbox_is_made_for_whoever_asks_and_stays(self):
        inbox = await self.messages.inbox(7)
        self.assertEqual((inbox.account_id, inbox.name, inbox.mails), (7, "INBOX", 0))
        self.assertEqual(await self.messages.inbox(7), inbox)
        (filed,) = await self.messages.file_message(envelope(7), message())
        self.assertEqual(filed.folder_id, inbox.folder_id)

    async def test_opened_it_says_what_lies_there_and_a_missing_one_is_made(self):
        empty = await self.messages.open_inbox(7)
        self.assertEqual([], list(empty.uids))
        (filed,) = await self.messages.file_message(envelope(7), message())
        opened = await self.messages.open_inbox(7)
        self.assertEqual((filed.folder_id, [1]), (opened.folder_id, list(opened.uids)))
        self.assertEqual(empty.folder_id, opened.folder_id)

    async def test_the_uidvalidity_stays_and_fits_32_bits(self):
        inbox = await self.messages.inbox(7)
        await self.messages.file_message(envelope(7), message())
        await self.reopen_store()
        snapshot = await self.messages.snapshot(inbox.folder_id)
        self.assertEqual(snapshot.uidvalidity, inbox.uidvalidity)
        self.assertTrue(0 < inbox.uidvalidity < 1 << 32)

    async def test_a_snapshot_is_arrays_that_ascend_by_uid(self):
        for raw in (RAW, RAW + b"more\r\n", RAW):
            await self.messages.file_message(envelope(1), message(raw))
        (other,) = await self.messages.file_message(envelope(2), message())
        inbox = await self.messages.inbox(1)
        await self.messages.delete_mails(inbox.folder_id, [1])
        snapshot = await self.messages.snapshot(inbox.folder_id)
        size = len(HEAD) + len(RAW)
        self.assertEqual(snapshot.uids, array("I", [2, 3]))
        self.assertEqual(snapshot.message_ids, array("Q", [2, 3]))
        self.assertEqual(snapshot.sizes, array("I", [size + 6, size]))
        self.assertNotEqual(other.folder_id, inbox.folder_id)

    async def test_a_snapshot_of_an_empty_folder_is_empty(self):
        inbox = await self.messages.inbox(1)
        snapshot = await self.messages.snapshot(inbox.folder_id)
        self.assertEqual([len(snapshot.uids), len(snapshot.sizes)], [0, 0])

    async def test_a_snapshot_keeps_no_transaction_open(self):
        (filed,) = await self.messages.file_message(envelope(1), message())
        await self.messages.snapshot(filed.folder_id)
        await self.messages.read_mails(filed.folder_id, [(1, 1)])
        busy = await self.database.read(lambda connection: connection.in_transaction)
        self.assertFalse(busy)
        # A checkpoint that empties the log has to wait for every open read transaction.
        other = connect(self.data / "mail.db", busy_timeout_s=0)
        self.addCleanup(other.close)
        self.assertEqual(other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone(), (0, 0, 0))


def served(mail: StoredMail) -> bytes:
    assert isinstance(mail.body, bytes)
    return mail.head + mail.body


class ReadingTests(StoreCase):
    async def test_mails_come_in_the_order_asked_for_and_missing_ones_are_left_out(self):
        for number in range(4):
            await self.messages.file_message(envelope(1), message(b"%d\r\n" % number))
        inbox = await self.messages.inbox(1)
        await self.messages.delete_mails(inbox.folder_id, [2])
        mails = await self.messages.read_mails(inbox.folder_id, [(4, 4), (2, 2), (1, 1), (9, 9)])
        found = [(mail.uid, served(mail)) for mail in mails]
        self.assertEqual(found, [(4, HEAD + b"3\r\n"), (1, HEAD + b"0\r\n")])

    async def test_more_mails_than_one_statement_takes(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(600)]
        await held.release()
        await gatherResults(filing)
        inbox = await self.messages.inbox(1)
        mails = await self.messages.read_mails(inbox.folder_id, [(n, n) for n in range(1, 601)])
        self.assertEqual([mail.uid for mail in mails], list(range(1, 601)))

    async def test_a_blob_among_many_is_given_as_its_key(self):
        blob = await self.make_blob(RAW)
        await self.messages.file_message(envelope(1), message(b"\0"))
        await self.messages.file_message(envelope(1), message(RAW, body=blob))
        inbox = await self.messages.inbox(1)
        mails = await self.messages.read_mails(inbox.folder_id, [(1, 1), (2, 2)])
        self.assertEqual([mail.body for mail in mails], [b"\0", Blob(blob.key)])
        self.assertEqual([mail.head for mail in mails], [HEAD] * 2)

    async def test_a_body_in_a_blob_is_given_as_its_key(self):
        blob = await self.make_blob(RAW)
        (filed,) = await self.messages.file_message(envelope(1), message(RAW, body=blob))
        (mail,) = await self.messages.read_mails(filed.folder_id, [(filed.uid, 1)])
        self.assertEqual(mail.body, Blob(blob.key))
        self.assertEqual(mail.size_octets, len(HEAD) + len(RAW))

    async def test_a_uid_with_another_message_is_no_hit(self):
        (filed,) = await self.messages.file_message(envelope(1), message())
        self.assertEqual(await self.messages.read_mails(filed.folder_id, [(filed.uid, 77)]), [])


FRAME = Frame("+OK ", " octets\r\n", ".\r\n")


def reply(mail):
    return b"+OK %d octets\r\n%b.\r\n" % (len(mail), mail)


class RunTests(StoreCase):
    """Mails that follow each other, in one piece."""

    async def file(self, *bodies, **more):
        for body in bodies:
            await self.messages.file_message(envelope(1, **more), message(body))

    async def read(self, first, last):
        shot = await self.messages.snapshot((await self.messages.inbox(1)).folder_id)
        which = slice(list(shot.uids).index(first), list(shot.uids).index(last) + 1)
        wanted = list(zip(shot.uids[which], shot.message_ids[which], strict=True))
        return await self.messages.read_run(shot.folder_id, wanted, shot.sizes[which], FRAME)

    async def assertOneByOne(self, bodies):
        """Each is given alone, as its row has it: nothing but the first where one is damaged."""
        mails = await self.read(1, 3)
        self.assertIsInstance(mails, list)
        self.assertEqual([served(mail) for mail in mails], [HEAD + body for body in bodies])

    async def test_they_stand_there_as_they_are_sent(self):
        bodies = [b"1\r\n", b"", bytes(range(256)) * 5 + b"\r\n", b"\0\r\n", b"5\r\n"]
        await self.file(*bodies)
        run = await self.read(1, 5)
        replies = [reply(HEAD + body) for body in bodies]
        for start in range(5):
            for stop in range(start + 1, 6):
                self.assertEqual(b"".join(run.framed(start, stop)), b"".join(replies[start:stop]))
        mails = [(b"", HEAD + body, 0) for body in bodies]
        self.assertEqual((len(run), list(run)), (5, mails))

    async def test_any_sender_is_counted_in_octets(self):
        senders = ("", "a@b.example", "j\u00f6rg@b\u00fccher.example", '"a\\"b"@c.example')
        for sender in senders:
            await self.file(b"x\r\n", sender=sender)
        run = await self.read(1, 4)
        (inbox, wanted) = (await self.messages.inbox(1), [(n, n) for n in range(1, 5)])
        alone = await self.messages.read_mails(inbox.folder_id, wanted)
        self.assertEqual(b"".join(run.framed(0, 4)), b"".join(map(reply, map(served, alone))))

    async def test_as_many_as_fit_and_one_at_least(self):
        await self.file(*[b"x" * 998 + b"\r\n"] * 3)
        run = await self.read(1, 3)
        one = len(reply(HEAD + b"x" * 998 + b"\r\n"))
        fitting = [run.fitting(0, octets) for octets in (0, one, 2 * one - 1, 2 * one, 3 * one)]
        self.assertEqual(fitting, [1, 1, 1, 2, 3])
        self.assertEqual(run.fitting(2, 0), 3)

    async def test_what_is_left_of_those_that_have_begun_when_some_octets_are_sent(self):
        bodies = [b"1\r\n", b"22\r\n", b"333\r\n"]
        await self.file(*bodies)
        run, replies = await self.read(1, 3), [reply(HEAD + body) for body in bodies]
        for start in range(3):
            whole = b"".join(replies[start:])
            ends = [len(b"".join(replies[start : stop + 1])) for stop in range(start, 3)]
            for sent in range(1, len(whole) + 1):
                stop = run.begun(start, sent)
                end = next(end for end in ends if end >= sent)
                self.assertEqual(stop, start + ends.index(end) + 1)
                self.assertEqual(b"".join(run.framed(start, stop, sent)), whole[sent:end])

    async def test_lines_that_begin_with_a_dot_are_counted(self):
        await self.file(b"1\r\n")
        await self.messages.file_message(envelope(1), message(b".2\r\n", dot_lines=1))
        self.assertEqual((await self.read(1, 2)).dot_lines, [0, 1])

    async def test_a_mail_without_a_last_line_end_is_in_no_run(self):
        await self.file(b"1\r\n", b"2", b"3\r\n")
        await self.assertOneByOne([b"1\r\n", b"2", b"3\r\n"])

    async def test_a_last_mail_without_a_last_line_end_is_in_no_run(self):
        await self.file(b"1\r\n", b"2\r\n", b"3")
        await self.assertOneByOne([b"1\r\n", b"2\r\n", b"3"])

    async def test_a_blob_is_in_no_run(self):
        blob = await self.make_blob(RAW)
        await self.file(b"1\r\n")
        await self.messages.file_message(envelope(1), message(RAW, body=blob))
        mails = await self.read(1, 2)
        self.assertEqual([mail.body for mail in mails], [b"1\r\n", Blob(blob.key)])

    async def test_one_that_is_gone_leaves_the_others(self):
        await self.file(b"1\r\n", b"2\r\n", b"3\r\n")
        shot = await self.messages.snapshot((await self.messages.inbox(1)).folder_id)
        await self.messages.delete_mails(shot.folder_id, [2])
        wanted = list(zip(shot.uids, shot.message_ids, strict=True))
        mails = await self.messages.read_run(shot.folder_id, wanted, shot.sizes, FRAME)
        self.assertEqual([mail.uid for mail in mails], [1, 3])

    async def test_another_message_at_a_uid_is_in_no_run(self):
        await self.file(b"1\r\n", b"2\r\n")
        shot = await self.messages.snapshot((await self.messages.inbox(1)).folder_id)
        wanted = [(1, 1), (2, 77)]
        mails = await self.messages.read_run(shot.folder_id, wanted, shot.sizes, FRAME)
        self.assertEqual([mail.uid for mail in mails], [1])

    async def test_damaged_numbers_spoil_no_other_mail(self):
        await self.file(b"1\r\n", b"2\r\n", b"3\r\n")
        for damage in ("''", "x''", "1.5", "'many'"):
            await self.write(f"UPDATE message SET dot_lines = {damage} WHERE id = 2")
            await self.assertOneByOne([b"1\r\n", b"2\r\n", b"3\r\n"])

    async def test_sizes_that_do_not_add_up_are_no_cut_between_mails(self):
        await self.file(b"1\r\n", b"2\r\n", b"3\r\n")
        await self.write("UPDATE delivery SET size_octets = size_octets + 1 WHERE uid = 1")
        await self.write("UPDATE delivery SET size_octets = size_octets - 1 WHERE uid = 2")
        await self.assertOneByOne([b"1\r\n", b"2\r\n", b"3\r\n"])

    async def test_one_that_has_no_octets_at_all_is_damaged_and_not_empty(self):
        await self.file(b"1\r\n", b"2\r\n", b"3\r\n")
        await self.write("PRAGMA ignore_check_constraints = ON")
        await self.write("UPDATE message SET body = NULL WHERE id = 2")
        await self.assertOneByOne([b"1\r\n"])
        await self.assertFailure(ensureDeferred(self.read(2, 2)), StoreBroken)

    async def test_one_whose_octets_have_become_text_is_damaged(self):
        await self.file(b"1\r\n", b"2\r\n", b"3\r\n")
        await self.write("UPDATE message SET body = '\u00e9' WHERE id = 2")
        await self.assertOneByOne([b"1\r\n"])
        await self.assertFailure(ensureDeferred(self.read(2, 2)), StoreBroken)


class DeletionTests(StoreCase):
    async def test_a_message_goes_with_its_last_copy_and_its_blob_after_it(self):
        blob = await self.make_blob(RAW)
        first, second = await self.messages.file_message(envelope(1, 2), message(RAW, body=blob))
        self.assertEqual(await self.messages.delete_mails(first.folder_id, [first.uid]), 1)
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(1,)])
        self.assertEqual([key for key, _, _ in await self.blobs.keys()], [blob.key])
        self.assertEqual(await self.messages.delete_mails(second.folder_id, [second.uid]), 1)
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(0,)])
        await self.until_no_blob_is_left()

    async def test_two_mailboxes_that_delete_it_in_one_batch_leave_no_message(self):
        first, second = await self.messages.file_message(envelope(1, 2), message())
        held = await self.hold_writer()
        deleting = [
            self.messages.delete_mails(filed.folder_id, [filed.uid]) for filed in (first, second)
        ]
        await held.release()
        self.assertEqual(await gatherResults(deleting), [1, 1])
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(0,)])

    async def test_what_is_gone_already_is_not_counted(self):
        (filed,) = await self.messages.file_message(envelope(1), message())
        folder_id = filed.folder_id
        self.assertEqual(await self.messages.delete_mails(folder_id, [filed.uid, 50, 51]), 1)
        self.assertEqual(await self.messages.delete_mails(folder_id, [filed.uid]), 0)
        self.assertEqual(await self.messages.delete_mails(folder_id, []), 0)
        self.assertEqual(self.rows("SELECT mails, octets FROM folder"), [(0, 0)])

    async def test_a_uid_given_twice_is_counted_once(self):
        (filed,) = await self.messages.file_message(envelope(1), message())
        uids = [filed.uid] * 700
        self.assertEqual(await self.messages.delete_mails(filed.folder_id, uids), 1)
        self.assertEqual(self.messages.usage(1), (0, 0))

    async def test_more_than_one_statement_takes(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(1100)]
        await held.release()
        await gatherResults(filing)
        inbox = await self.messages.inbox(1)
        self.assertEqual(await self.messages.delete_mails(inbox.folder_id, range(2, 1101)), 1099)
        self.assertEqual(self.rows("SELECT id FROM message"), [(1,)])
        self.assertEqual(self.messages.usage(1)[1], 1)

    async def test_the_modseq_grows_with_each_change(self):
        seen = []
        (filed,) = await self.messages.file_message(envelope(1), message())
        for change in (
            lambda: self.messages.file_message(envelope(1), message()),
            lambda: self.messages.delete_mails(filed.folder_id, [filed.uid]),
        ):
            seen += self.rows("SELECT modseq FROM folder")
            await change()
        seen += self.rows("SELECT modseq FROM folder")
        self.assertEqual(seen, [(1,), (2,), (3,)])
        self.assertEqual(self.rows("SELECT modseq FROM delivery"), [(2,)])


class DroppedAccountTests(StoreCase):
    async def test_copies_of_a_gone_account_leave_with_a_journal_row_each(self):
        await self.messages.file_message(envelope(1, 2), message())
        kept = envelope(2)
        await self.messages.file_message(kept, message())
        self.assertEqual(sorted(await self.messages.account_ids()), [1, 2])
        self.assertEqual(await self.messages.drop_accounts([1]), 1)
        self.assertEqual(await self.messages.account_ids(), [2])
        self.assertEqual(self.messages.usage(1), (0, 0))
        self.assertEqual(self.messages.usage(2)[1], 2)
        self.assertEqual(
            self.rows("SELECT recipient, uid FROM journal WHERE event = 'dropped'"),
            [("user1@example.test", 1)],
        )

    async def test_mail_that_comes_for_it_meanwhile_makes_a_new_folder(self):
        (before,) = await self.messages.file_message(envelope(1), message())
        await self.messages.drop_accounts([1])
        (after,) = await self.messages.file_message(envelope(1), message())
        self.assertGreater(after.folder_id, before.folder_id)

    async def test_more_copies_than_one_transaction_takes(self):
        held = await self.hold_writer()
        filing = [self.messages.file_message(envelope(1), message()) for _ in range(1100)]
        await held.release()
        await gatherResults(filing)
        self.assertEqual(await self.messages.drop_accounts([1]), 1100)
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(0,)])


class ServedHeadTests(StoreCase):
    def test_it_stands_in_the_order_that_the_rfc_asks_for(self):
        self.assertEqual(
            served_head("a@b", "c@d", b"X: y\r\n"),
            b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nX: y\r\n",
        )
