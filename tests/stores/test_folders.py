"""What an owner does with folders: lists them, marks, moves, deletes; counters stay true."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults

from mailnode.errors import BadFolder, NoSuchFolder, NoSuchMail
from mailnode.events import Deleted, Moved
from mailnode.model import FLAGGED, INBOX, JUNK, SEEN, STANDARD_FOLDERS, SUBJECT_TAGGED, TRASH, Blob
from mailnode.store.database import Database
from mailnode.store.folder_lists import Folder
from mailnode.store.folders import MOST_FOLDERS, Folders
from mailnode.store.use import make_folders
from mailnode.store.verify import verify
from tests.stores.support import StoreCase, envelope, message, recipient

ME = "user1@example.test"


class FolderCase(StoreCase):
    def open_store(self) -> None:
        super().open_store()
        self.folders = Folders(self.messages)

    async def fill(self, count: int, account_id: int = 1) -> int:
        """So many mails in the INBOX; its id."""
        filing = [
            self.messages.file_message(
                envelope(account_id), message(b"Subject: %d\r\n\r\nx\r\n" % number)
            )
            for number in range(count)
        ]
        return (await gatherResults(filing))[0][0].folder_id

    async def named(self, name: str, account_id: int = 1):
        return await self.folders.named(account_id, name)

    async def uids(self, name: str) -> list[int]:
        folder = await self.named(name)
        return [copy.uid for copy in await self.folders.page(1, folder.folder_id, limit=200)]

    def assert_sound(self) -> None:
        self.assertEqual([], [str(fault) for fault in verify(self.data)])


class TagTests(FolderCase):
    async def test_an_unwanted_copy_is_tagged_until_somebody_moves_it(self):
        tagged = evolve(recipient(1), flags=SUBJECT_TAGGED)
        mine, _others = await self.messages.file_message(envelope(tagged, 2), message())
        inbox, junk = mine.folder_id, (await self.named(JUNK)).folder_id
        self.assertEqual({mine.uid: SUBJECT_TAGGED}, await self.messages.tagged(inbox))
        others = (await self.messages.inbox(2)).folder_id
        self.assertEqual({}, await self.messages.tagged(others))
        await self.folders.mark(1, inbox, [mine.uid], add=SEEN)
        self.assertEqual({mine.uid: SUBJECT_TAGGED}, await self.messages.tagged(inbox))
        ((_before, away),) = await self.folders.move(1, inbox, [mine.uid], junk, ME)
        await self.folders.move(1, junk, [away], inbox, ME)
        self.assertEqual({}, await self.messages.tagged(inbox))


class ListTests(FolderCase):
    async def test_every_account_has_the_standard_folders_and_then_its_own_by_name(self):
        await self.folders.make(1, "zebra")
        await self.folders.make(1, "Apples")
        names = [folder.name for folder in await self.folders.folders(1)]
        self.assertEqual([*STANDARD_FOLDERS, "Apples", "zebra"], names)
        self.assertEqual([*STANDARD_FOLDERS], [f.name for f in await self.folders.folders(2)])

    async def test_pages_follow_each_other_in_both_directions(self):
        inbox = await self.fill(25)
        first = await self.folders.page(1, inbox, limit=10)
        self.assertEqual(list(range(25, 15, -1)), [copy.uid for copy in first])
        second = await self.folders.page(1, inbox, before=first[-1].uid, limit=10)
        self.assertEqual(list(range(15, 5, -1)), [copy.uid for copy in second])
        third = await self.folders.page(1, inbox, before=second[-1].uid, limit=10)
        self.assertEqual([5, 4, 3, 2, 1], [copy.uid for copy in third])
        self.assertEqual(second, await self.folders.page(1, inbox, after=third[0].uid, limit=10))
        self.assertEqual([], await self.folders.page(1, inbox, after=25))

    async def test_a_line_says_what_a_list_shows(self):
        inbox = await self.fill(1)
        (copy,) = await self.folders.page(1, inbox)
        self.assertEqual(
            (inbox, 1, ME, 0, "from@example.org", "hello"),
            (copy.folder_id, copy.uid, copy.recipient, copy.flags, copy.sender, copy.subject),
        )
        exact = await self.folders.copy(1, inbox, 1)
        self.assertEqual(copy, exact._replace(received_at=copy.received_at))
        self.assertAlmostEqual(exact.received_at, copy.received_at, places=4)
        self.assertEqual(
            {copy.message_id: [exact]}, await self.folders.copies(1, [copy.message_id])
        )

    async def test_nobody_sees_or_changes_anothers_folder(self):
        inbox = await self.fill(1)
        trash = await self.named(TRASH)
        theirs = await self.named(TRASH, 2)
        for call in (
            self.folders.page(2, inbox),
            self.folders.copy(2, inbox, 1),
            self.folders.mail(2, inbox, 1),
            self.folders.mark(2, inbox, [1], add=SEEN),
            self.folders.move(2, inbox, [1], theirs.folder_id, "user2@example.test"),
            self.folders.move(1, inbox, [1], theirs.folder_id, ME),
            self.folders.move(2, theirs.folder_id, [1], trash.folder_id, "user2@example.test"),
            self.folders.delete(2, inbox, [1], "user2@example.test"),
            self.folders.rename(2, inbox, "mine"),
            self.folders.remove(2, inbox, "user2@example.test"),
            self.folders.folder(2, inbox),
        ):
            with self.assertRaises(NoSuchFolder):
                await call
        self.assertEqual({}, await self.folders.copies(2, [1]))
        self.assertEqual([1], await self.uids(INBOX))

    async def test_a_forged_folder_fails_its_own_job_and_no_batch(self):
        inbox = await self.fill(1)
        held = await self.hold_writer()
        bad = self.assertFailure(
            Deferred.fromCoroutine(self.folders.mark(1, 999, [1], add=SEEN)), NoSuchFolder
        )
        good = Deferred.fromCoroutine(self.folders.mark(1, inbox, [1], add=SEEN))
        await held.release()
        await bad
        self.assertEqual(1, await good)
        self.assertEqual(0, self.database.stats.failed_batches)

    async def test_a_mail_is_read_as_it_is_served_and_a_large_one_by_its_blob(self):
        inbox = await self.fill(1)
        copy, mail = await self.folders.mail(1, inbox, 1)
        self.assertEqual(copy.size_octets, len(mail.head) + len(mail.body))
        blob = await self.make_blob(b"Subject: x\r\n\r\nlarge\r\n")
        await self.messages.file_message(envelope(1), message(b"", body=blob))
        _copy, mail = await self.folders.mail(1, inbox, 2)
        self.assertEqual(Blob(blob.key), mail.body)
        with self.assertRaises(NoSuchMail):
            await self.folders.mail(1, inbox, 3)


class MarkTests(FolderCase):
    async def test_unread_mails_are_counted_through_marks_new_mail_and_deletions(self):
        inbox = await self.fill(5)
        self.assertEqual(5, (await self.named(INBOX)).unread)
        self.assertEqual(2, await self.folders.mark(1, inbox, [1, 2, 99], add=SEEN))
        self.assertEqual(3, (await self.named(INBOX)).unread)
        await self.fill(1)
        self.assertEqual(4, (await self.named(INBOX)).unread)
        await self.folders.delete(1, inbox, [5, 2], ME)
        self.assertEqual(3, (await self.named(INBOX)).unread)
        await self.folders.mark(1, inbox, [1], take=SEEN)
        self.assertEqual(4, (await self.named(INBOX)).unread)

    async def test_flags_are_set_and_taken_side_by_side_and_the_rest_stays(self):
        inbox = await self.fill(2)
        await self.folders.mark(1, inbox, [1], add=SEEN | FLAGGED)
        await self.folders.mark(1, inbox, [1, 2], add=FLAGGED, take=SEEN)
        self.assertEqual([(FLAGGED,), (FLAGGED,)], self.rows("SELECT flags FROM delivery"))

    async def test_a_mark_that_changes_something_counts_modseq_up_and_one_that_doesnt_not(self):
        inbox = await self.fill(2)
        before = (await self.named(INBOX)).modseq
        await self.folders.mark(1, inbox, [1], add=SEEN)
        self.assertEqual(before + 1, (await self.named(INBOX)).modseq)
        self.assertEqual(1, await self.folders.mark(1, inbox, [1], add=SEEN))
        self.assertEqual(before + 1, (await self.named(INBOX)).modseq)
        self.assertEqual(
            [(1, before + 1), (2, before)], self.rows("SELECT uid, modseq FROM delivery")
        )
        self.assert_sound()


class MoveTests(FolderCase):
    async def test_moved_mails_lie_in_the_other_folder_alone_with_their_flags_and_octets(self):
        inbox = await self.fill(4)
        await self.folders.mark(1, inbox, [2], add=SEEN)
        usage = self.messages.usage(1)
        trash = await self.named(TRASH)
        moved = await self.folders.move(1, inbox, [3, 2, 77], trash.folder_id, ME)
        self.assertEqual([(2, 1), (3, 2)], moved)
        self.assertEqual(([4, 1], [2, 1]), (await self.uids(INBOX), await self.uids(TRASH)))
        self.assertEqual(SEEN, (await self.folders.copy(1, trash.folder_id, 1)).flags)
        self.assertEqual(usage, self.messages.usage(1))
        self.assertEqual(
            (2, 1), ((await self.named(TRASH)).mails, (await self.named(TRASH)).unread)
        )
        self.assert_sound()

    async def test_a_move_is_undone_by_moving_back_under_a_uid_of_its_own(self):
        inbox = await self.fill(2)
        trash = await self.named(TRASH)
        ((_, new),) = await self.folders.move(1, inbox, [1], trash.folder_id, ME)
        self.assertEqual([(new, 3)], await self.folders.move(1, trash.folder_id, [new], inbox, ME))
        self.assertEqual([3, 2], await self.uids(INBOX))
        self.assert_sound()

    async def test_a_move_to_where_they_lie_does_nothing(self):
        inbox = await self.fill(1)
        self.assertEqual([], await self.folders.move(1, inbox, [1], inbox, ME))
        self.assertEqual([1], await self.uids(INBOX))

    async def test_thousands_are_moved_in_pieces(self):
        inbox = await self.fill(1100)
        trash = await self.named(TRASH)
        moved = await self.folders.move(1, inbox, range(1, 1101), trash.folder_id, ME)
        self.assertEqual([(n, n) for n in range(1, 1101)], moved)
        self.assert_sound()

    async def test_the_journal_and_the_log_hear_of_each(self):
        inbox = await self.fill(1)
        trash = await self.named(TRASH)
        self.heard.events.clear()
        await self.folders.move(1, inbox, [1], trash.folder_id, ME)
        await self.folders.delete(1, trash.folder_id, [1], ME)
        moved, deleted = self.heard.events
        self.assertIsInstance(moved, Moved)
        self.assertEqual(
            (ME, trash.folder_id, 1, {"from_folder": INBOX, "from_uid": 1, "to_folder": TRASH}),
            (moved.recipient, moved.folder_id, moved.uid, moved.detail),
        )
        self.assertIsInstance(deleted, Deleted)
        self.assertEqual({"folder": TRASH}, deleted.detail)
        self.assertEqual(
            [("moved",), ("deleted",)],
            self.rows("SELECT event FROM journal ORDER BY id DESC LIMIT 2")[::-1],
        )

    async def test_a_maildrop_that_was_opened_before_misses_what_was_moved(self):
        inbox = await self.fill(2)
        snapshot = await self.messages.snapshot(inbox)
        trash = await self.named(TRASH)
        await self.folders.move(1, inbox, [1], trash.folder_id, ME)
        wanted = list(zip(snapshot.uids, snapshot.message_ids, strict=True))
        mails = await self.messages.read_mails(inbox, wanted)
        self.assertEqual([2], [mail.uid for mail in mails])
        self.assertEqual([2], list((await self.messages.snapshot(inbox)).uids))


class HeardTests(FolderCase):
    async def test_whoever_listens_hears_of_each_folder_that_changed_after_the_commit(self):
        inbox, trash = await self.fill(1), await self.named(TRASH)
        heard: list[tuple[int, int]] = []
        self.messages.on_changed.append(lambda *what: heard.append(what))
        await self.fill(1)
        await self.fill(1, account_id=2)
        theirs = (await self.folders.named(2, INBOX)).folder_id
        self.assertEqual([(1, inbox), (2, theirs)], heard)
        heard.clear()
        await self.folders.mark(1, inbox, [1], add=SEEN)
        await self.folders.mark(1, inbox, [1], add=SEEN)
        self.assertEqual([(1, inbox)], heard)
        heard.clear()
        await self.folders.move(1, inbox, [1], trash.folder_id, ME)
        self.assertEqual({(1, inbox), (1, trash.folder_id)}, set(heard))


class DeleteTests(FolderCase):
    async def test_what_is_deleted_frees_its_octets_and_its_blob(self):
        blob = await self.make_blob(b"Subject: x\r\n\r\nlarge\r\n")
        (filed,) = await self.messages.file_message(envelope(1), message(b"", body=blob))
        self.assertEqual(1, await self.folders.delete(1, filed.folder_id, [1, 2], ME))
        self.assertEqual((0, 0), self.messages.usage(1))
        self.assertEqual([], self.rows("SELECT id FROM message"))
        await self.until_no_blob_is_left()
        self.assert_sound()

    async def test_a_copy_of_another_account_stays(self):
        (mine, theirs) = await self.messages.file_message(envelope(1, 2), message())
        await self.folders.delete(1, mine.folder_id, [mine.uid], ME)
        copy, _mail = await self.folders.mail(2, theirs.folder_id, theirs.uid)
        self.assertEqual("user2@example.test", copy.recipient)


class OwnFolderTests(FolderCase):
    async def test_a_folder_is_made_renamed_and_removed_and_its_mails_go_to_trash(self):
        inbox = await self.fill(3)
        mine = await self.folders.make(1, "  Lists /  python ".replace(" /  ", "/"))
        self.assertEqual("Lists/python", mine.name)
        await self.folders.move(1, inbox, [1, 2], mine.folder_id, ME)
        renamed = await self.folders.rename(1, mine.folder_id, "Snakes")
        self.assertEqual((mine.folder_id, "Snakes"), (renamed.folder_id, renamed.name))
        self.assertEqual(2, await self.folders.remove(1, mine.folder_id, ME))
        self.assertEqual([2, 1], await self.uids(TRASH))
        self.assertNotIn("Snakes", [each.name for each in await self.folders.folders(1)])
        self.assert_sound()

    async def test_names_that_are_none_or_taken_are_refused_with_the_reason(self):
        mine = await self.folders.make(1, "Mine")
        for name, words in (
            ("", "needs a name"),
            ("x" * 101, "100 characters"),
            ("a\x07b", "control"),
            ("a//b", "must be a word"),
            ("../b", "must be a word"),
            ("inbox", "already"),
            ("mine", "already"),
        ):
            error = await self.refused(self.folders.make(1, name))
            self.assertIn(words, error.text)
        self.assertIn(
            "already", (await self.refused(self.folders.rename(1, mine.folder_id, "trash"))).text
        )
        self.assertEqual("MINE", (await self.folders.rename(1, mine.folder_id, "MINE")).name)

    async def test_two_that_get_one_name_at_once_are_one_and_a_refusal_that_fails_no_batch(self):
        one, other = await self.folders.make(1, "one"), await self.folders.make(1, "other")
        held, asked, transact = await self.hold_writer(), list[str](), Database.transact

        def submit(database: Database, name: str, function):
            asked.append(name)
            submitted = transact(database, name, function)
            if len(asked) == 2:  # neither saw the other's name, and both are one batch
                held.release()
            return submitted

        self.patch(Database, "transact", submit)
        renamed = await gatherResults(
            [
                Deferred.fromCoroutine(self.folders.rename(1, each.folder_id, "same")).addErrback(
                    lambda failure: failure.value
                )
                for each in (one, other)
            ]
        )
        # Both looked in threads, so either may be the quicker one.
        refused, done = sorted(renamed, key=lambda each: isinstance(each, Folder))
        self.assertEqual(["rename folder"] * 2, asked)
        self.assertEqual("same", done.name)
        self.assertIn("already", refused.text)
        self.assertEqual(0, self.database.stats.failed_batches)

    async def test_an_account_has_so_many_folders_and_no_more(self):
        names = [f"f{number}" for number in range(MOST_FOLDERS - len(STANDARD_FOLDERS))]
        await self.folders.folders(1)
        await self.database.transact("fill", lambda sql: make_folders(sql, 1, names))
        self.assertIn("500 folders", (await self.refused(self.folders.make(1, "more"))).text)
        first = await self.named(names[0])
        await self.folders.remove(1, first.folder_id, ME)
        await self.folders.make(1, "more")

    async def test_a_standard_folder_is_neither_renamed_nor_removed(self):
        trash = await self.named(TRASH)
        for call in (
            self.folders.rename(1, trash.folder_id, "Bin"),
            self.folders.remove(1, trash.folder_id, ME),
        ):
            self.assertIn("every account has it", (await self.refused(call)).text)

    async def refused(self, coroutine) -> BadFolder:
        try:
            await coroutine
        except BadFolder as error:
            return error
        raise AssertionError("it was not refused")
