"""Drafts are saved over and over, keep their files, and leave nothing behind."""

from __future__ import annotations

import os
import time

from mailnode.errors import DraftChanged, MailboxFull
from mailnode.model import DRAFT, DRAFTS, INBOX, SEEN, TRASH
from mailnode.store.blobs import FileBlobs
from mailnode.store.drafts import FILES_OF_A_DRAFT, Drafts, NoSuchDraft, TooManyFiles
from mailnode.store.verify import verify
from tests.stores.test_folders import ME, FolderCase

TEXT = b"Subject: plans\r\n\r\n.first\r\n"


class DraftCase(FolderCase):
    def open_store(self) -> None:
        super().open_store()
        call = self.database._call_in_reactor
        self.files = FileBlobs(self.data / "uploads", call)
        self.drafts = Drafts(self.messages, self.files)

    async def close_store(self) -> None:
        await super().close_store()
        self.files.close()

    async def file(self, draft_id: int, octets: bytes = b"picture", account_id: int = 1, **more):
        writer = self.files.create()
        writer.write(octets)
        key = await writer.commit()
        return await self.drafts.add_file(
            account_id,
            draft_id,
            name="a.png",
            kind="image/png",
            size_octets=len(octets),
            blob_key=key,
            **more,
        )

    async def kept_files(self) -> int:
        return len(await self.files.keys())

    def age(self) -> None:
        """What was made is two days old."""
        old = time.time() - 2 * 86400
        for folder, _folders, names in os.walk(self.files.kept):
            for name in names:
                os.utime(os.path.join(folder, name), (old, old))


class SavingTests(DraftCase):
    async def test_a_draft_is_a_mail_in_drafts_and_each_saving_takes_the_place_of_the_last(self):
        first = await self.drafts.save(1, TEXT)
        second = await self.drafts.save(1, TEXT + b"more\r\n", first.draft_id)
        self.assertEqual(first.draft_id, second.draft_id)
        self.assertEqual([second.uid], await self.uids(DRAFTS))
        copy, mail = await self.folders.mail(1, second.folder_id, second.uid)
        self.assertEqual(("plans", SEEN | DRAFT), (copy.subject, copy.flags))
        self.assertEqual((b"", TEXT + b"more\r\n", 1), (mail.head, mail.body, mail.dot_lines))
        self.assertEqual(1, self.messages.usage(1)[1])
        self.assertEqual(self.rows("SELECT count(*) FROM message"), [(1,)])
        self.assertEqual([], list(verify(self.data)))

    async def test_a_text_that_was_written_on_an_older_one_replaces_none_that_came_since(self):
        first = await self.drafts.save(1, TEXT)
        over = first.folder_id, first.uid
        second = await self.drafts.save(1, b"One\r\n", first.draft_id, over)
        with self.assertRaises(DraftChanged):
            await self.drafts.save(1, b"Other\r\n", first.draft_id, over)
        self.assertEqual([second.uid], await self.uids(DRAFTS))
        _copy, mail = await self.folders.mail(1, second.folder_id, second.uid)
        self.assertEqual(b"One\r\n", mail.body)

    async def test_many_are_saved_in_one_batch_and_the_same_one_twice(self):
        first = await self.drafts.save(1, TEXT)
        held = await self.hold_writer()
        saving = [
            self.defer(self.drafts.save(1, b"%d\r\n" % number, first.draft_id))
            for number in range(3)
        ] + [self.defer(self.drafts.save(1, TEXT))]
        await held.release()
        saved = [await each for each in saving]
        self.assertEqual(
            sorted([saved[2].uid, saved[3].uid], reverse=True), await self.uids(DRAFTS)
        )
        self.assertEqual([], list(verify(self.data)))

    def defer(self, coroutine):
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(coroutine)

    async def test_what_was_sent_or_deleted_meanwhile_or_is_anothers_is_not_saved(self):
        saved = await self.drafts.save(1, TEXT)
        await self.assertFailure(self.defer(self.drafts.save(2, TEXT, saved.draft_id)), NoSuchDraft)
        await self.folders.delete(1, saved.folder_id, [saved.uid], ME)
        await self.assertFailure(self.defer(self.drafts.save(1, TEXT, saved.draft_id)), NoSuchDraft)
        self.assertEqual(0, self.messages.usage(1)[1])

    async def test_a_full_mailbox_takes_no_draft(self):
        self.drafts.has_room = lambda account_id, octets: octets < 10
        await self.assertFailure(self.defer(self.drafts.save(1, TEXT)), MailboxFull)

    async def test_a_mail_of_another_program_can_be_written_on(self):
        inbox = await self.fill(1)
        drafts = await self.named(DRAFTS)
        ((_, uid),) = await self.folders.move(1, inbox, [1], drafts.folder_id, ME)
        draft_id = await self.drafts.find(1, drafts.folder_id, uid)
        self.assertEqual(draft_id, await self.drafts.find(1, drafts.folder_id, uid))
        saved = await self.drafts.save(1, TEXT, draft_id)
        self.assertEqual([saved.uid], await self.uids(DRAFTS))
        self.assertEqual([], await self.uids(INBOX))


class FileTests(DraftCase):
    async def test_files_wait_with_their_draft_in_the_order_that_they_came(self):
        saved = await self.drafts.save(1, TEXT)
        first = await self.file(saved.draft_id, b"one")
        second = await self.file(saved.draft_id, b"two", content_id="a@b")
        self.assertEqual([first, second], await self.drafts.uploads(1, saved.draft_id))
        self.assertEqual([], await self.drafts.uploads(2, saved.draft_id))
        self.assertEqual(b"two", await self.files.open(second.blob_key).read(100))
        self.assertTrue(await self.drafts.remove_file(1, saved.draft_id, first.upload_id))
        self.assertFalse(await self.drafts.remove_file(1, saved.draft_id, first.upload_id))
        self.assertEqual([second], await self.drafts.uploads(1, saved.draft_id))
        self.assertEqual(1, await self.kept_files())

    async def test_a_file_for_no_draft_or_for_anothers_and_one_too_many_leave_nothing(self):
        saved = await self.drafts.save(1, TEXT)
        for account_id, draft_id in ((1, 99), (2, saved.draft_id)):
            with self.assertRaises(NoSuchDraft):
                await self.file(draft_id, account_id=account_id)
        await self.write(
            "INSERT INTO upload (account_id, draft_id, name, kind, size_octets, blob_key, made_at)"
            f" WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <"
            f" {FILES_OF_A_DRAFT}) SELECT 1, {saved.draft_id}, 'x', 'a/b', 1, 'key' || i, 0 FROM n"
        )
        with self.assertRaises(TooManyFiles):
            await self.file(saved.draft_id)
        self.assertEqual(0, await self.kept_files())

    async def test_a_draft_that_is_sent_or_thrown_away_for_good_takes_its_files_along(self):
        saved = await self.drafts.save(1, TEXT)
        await self.file(saved.draft_id)
        self.assertFalse(await self.drafts.discard(2, saved.draft_id))
        self.assertTrue(await self.drafts.discard(1, saved.draft_id))
        self.assertFalse(await self.drafts.discard(1, saved.draft_id))
        self.assertEqual((0, []), (await self.kept_files(), await self.uids(DRAFTS)))
        self.assertEqual(self.rows("SELECT count(*) FROM upload"), [(0,)])
        self.assertEqual((0, 0), self.messages.usage(1))

    async def test_a_draft_that_is_moved_to_trash_and_back_still_has_its_files(self):
        saved = await self.drafts.save(1, TEXT)
        await self.file(saved.draft_id)
        trash = await self.named(TRASH)
        ((_, there),) = await self.folders.move(
            1, saved.folder_id, [saved.uid], trash.folder_id, ME
        )
        ((_, back),) = await self.folders.move(1, trash.folder_id, [there], saved.folder_id, ME)
        self.assertEqual(saved.draft_id, await self.drafts.find(1, saved.folder_id, back))
        again = await self.drafts.save(1, TEXT, saved.draft_id)
        self.assertEqual(1, len(await self.drafts.uploads(1, again.draft_id)))


class SweepTests(DraftCase):
    async def test_files_of_a_draft_that_is_gone_and_those_of_none_are_swept_once_old(self):
        kept = await self.drafts.save(1, TEXT)
        await self.file(kept.draft_id)
        gone = await self.drafts.save(1, TEXT)
        await self.file(gone.draft_id)
        await self.folders.delete(1, gone.folder_id, [gone.uid], ME)
        writer = self.files.create()
        writer.write(b"of a process that was killed")
        key = await writer.commit()
        self.files.settled([key])
        self.assertEqual(0, await self.drafts.sweep())
        self.age()
        await self.write("UPDATE draft SET saved_at = 0")
        await self.write("UPDATE upload SET made_at = 0")
        self.assertEqual(2, await self.drafts.sweep())
        self.assertEqual(1, await self.kept_files())
        self.assertEqual(1, len(await self.drafts.uploads(1, kept.draft_id)))

    async def test_a_file_that_is_on_its_way_in_is_left_alone(self):
        writer = self.files.create()
        writer.write(b"x")
        await writer.commit()
        self.age()
        self.assertEqual(0, await self.drafts.sweep())
        self.assertEqual(1, await self.kept_files())
