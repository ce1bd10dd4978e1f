"""What owners move into Junk and out of it is learned, once, whatever ends between the two."""

from __future__ import annotations

import time
from unittest.mock import patch

from attrs import define
from twisted.internet.threads import deferToThread

from mailnode.learning.features import likeness_of
from mailnode.learning.form import read_model
from mailnode.learning.model import NODE_BITS, UNWANTED, WANTED, Model
from mailnode.model import JUNK, PAGE, SENT, TRASH, Judgement
from mailnode.store import lessons
from mailnode.store.lessons import Lesson, Lying, label_of, read_lessons
from mailnode.store.models import NODE, Counted, ModelFiles
from mailnode.teaching import Teacher, learn
from tests.stores.support import envelope, message
from tests.stores.test_folders import ME, FolderCase


def raw(number: int) -> bytes:
    return b"From: s%d@shop.example\r\nSubject: offer q%c\r\n\r\nBuy now z%c\r\n" % (
        number,
        97 + number,
        97 + number,
    )


@define
class FakeDirectory:
    gone: frozenset[int] = frozenset()

    def find_by_id(self, account_id: int) -> object | None:
        return None if account_id in self.gone else account_id


class LessonCase(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.files = ModelFiles(self.data)
        self.teacher = self.make_teacher()

    def make_teacher(self, *gone: int) -> Teacher:
        directory = FakeDirectory(frozenset(gone))
        return Teacher(self.data, self.database, directory, deferToThread)  # type: ignore[arg-type]

    async def file(self, number: int, account_id: int = 1, **more) -> int:
        """A mail in the INBOX; its uid."""
        filed = await self.messages.file_message(
            envelope(account_id), message(more.pop("raw", raw(number)), **more)
        )
        return filed[0].uid

    async def move(
        self, uid: int, source: str, target: str, account_id: int = 1, through: str = ""
    ) -> int:
        before = await self.named(source, account_id)
        now = await self.named(target, account_id)
        (moved,) = await self.folders.move(
            account_id, before.folder_id, [uid], now.folder_id, ME, through=through
        )
        return moved[1]

    async def teach(self, teacher: Teacher | None = None) -> None:
        teacher = teacher or self.teacher
        teacher.look()
        while teacher._running:
            await deferToThread(bool)

    def model(self, account_id: int = NODE) -> Model:
        return read_model(self.files.path_of(account_id), NODE_BITS).model

    def taught(self, number: int, account_id: int = NODE) -> str | None:
        return self.model(account_id).taught(likeness_of(raw(number)))


class LessonTests(LessonCase):
    def test_into_junk_is_unwanted_and_out_of_it_wanted_but_for_trash(self):
        for before, now, label in (
            ("INBOX", JUNK, UNWANTED),
            (TRASH, JUNK, UNWANTED),
            (JUNK, "INBOX", WANTED),
            (JUNK, "Friends", WANTED),
            (JUNK, TRASH, None),
            ("INBOX", TRASH, None),
            (TRASH, "INBOX", None),
            (SENT, "Junk mail", None),
        ):
            found = label_of({"from_folder": before, "to_folder": now})
            self.assertEqual(label, found, (before, now))

    async def test_a_move_teaches_the_account_and_the_node(self):
        first, second = await self.file(1), await self.file(2)
        in_junk = await self.move(first, "INBOX", JUNK)
        await self.move(second, "INBOX", TRASH)
        await self.teach()
        self.assertEqual(UNWANTED, self.taught(1))
        self.assertEqual(UNWANTED, self.taught(1, account_id=1))
        self.assertEqual((0, 1), self.model().mails)
        await self.move(in_junk, JUNK, "INBOX")
        await self.teach()
        for account_id in (NODE, 1):
            self.assertEqual(WANTED, self.taught(1, account_id))
            self.assertEqual((1, 0), self.model(account_id).mails)
        modes = {path.stat().st_mode & 0o777 for path in self.files.folder.iterdir()}
        self.assertEqual(({0o600}, 0o700), (modes, self.files.folder.stat().st_mode & 0o777))

    async def test_what_was_moved_before_anybody_taught_is_learned(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        await self.reopen_store()
        await self.teach(self.make_teacher())
        self.assertEqual(UNWANTED, self.taught(1))

    async def test_a_process_that_ends_behind_the_models_loses_no_lesson_and_doubles_none(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        with patch.object(ModelFiles, "note_taught", side_effect=OSError(28, "No space left")):
            await self.teach()
        self.assertEqual(0, self.files.taught_up_to())
        self.assertIn("is learned later: [Errno 28] No space left", self.logged.text())
        before = self.files.path_of(NODE).read_bytes()
        await self.teach(self.make_teacher())
        self.assertGreater(self.files.taught_up_to(), 0)
        self.assertEqual(before, self.files.path_of(NODE).read_bytes())

    async def test_many_moves_are_learned_in_pieces(self):
        uids = [await self.file(number) for number in range(7)]
        with patch.object(lessons, "LESSONS_AT_ONCE", 2), patch.object(lessons, "ROWS_AT_ONCE", 3):
            for uid in uids:
                await self.move(uid, "INBOX", JUNK)
            await self.teach()
        self.assertEqual((0, 7), self.model().mails)
        (newest,) = self.rows("SELECT max(id) FROM journal")
        self.assertEqual(newest[0], self.files.taught_up_to())

    async def test_a_mail_that_is_gone_meanwhile_is_passed_over(self):
        uid = await self.move(await self.file(1), "INBOX", JUNK)
        junk = await self.named(JUNK)
        await self.folders.delete(1, junk.folder_id, [uid], ME)
        await self.move(await self.file(2), "INBOX", JUNK)
        await self.teach()
        self.assertEqual((0, 1), self.model().mails)

    async def test_lessons_are_counted_by_what_taught_them_each_once(self):
        self.assertEqual(Counted(), self.files.counted())
        in_junk = await self.move(await self.file(1), "INBOX", JUNK, through=PAGE)
        await self.move(await self.file(2), "INBOX", JUNK)
        await self.teach()
        await self.teach(self.make_teacher())
        await self.move(in_junk, JUNK, "INBOX", through=PAGE)
        await self.teach()
        counted = self.files.counted()
        self.assertEqual(
            {("page", UNWANTED): 1, ("moved", UNWANTED): 1, ("page", WANTED): 1}, counted.lessons
        )
        assert counted.last_at is not None
        self.assertLess(abs(time.time() - counted.last_at), 60)
        for damaged in ("[]", "{", '{"lessons": {"page": 1}, "last_at": 1}'):
            (self.files.folder / "counted").write_text(damaged)
            self.assertEqual(Counted(), self.files.counted(), damaged)

    async def test_of_an_account_that_is_gone_nothing_is_learned(self):
        await self.move(await self.file(1, account_id=2), "INBOX", JUNK, account_id=2)
        await self.teach(self.make_teacher(2))
        self.assertEqual([], self.files.account_ids())
        self.assertEqual((0, 0), self.model().mails)

    async def test_a_large_mail_is_read_where_it_lies_and_judged_as_it_will_be(self):
        large = raw(3) + b"word\r\n" * 100_000
        blob = await self.make_blob(large)
        await self.move(await self.file(3, raw=large, body=blob), "INBOX", JUNK)
        await self.teach()
        self.assertEqual(UNWANTED, self.model().taught(likeness_of(large)))

    async def test_a_blob_that_is_gone_teaches_nothing(self):
        lessons = [Lesson(1, UNWANTED, Lying(None, key)) for key in ("0" * 32, "../x")]
        with self.files.changing() as changing:
            learn(changing, self.data, lessons)
        self.assertEqual((0, 0), self.model().mails)

    async def test_what_was_found_when_the_mail_came_are_its_facts(self):
        found = (
            Judgement("authentication", facts={"spf": "fail shop.example", "dkim": "none"}),
            Judgement("rspamd", unwanted=True),
            Judgement("learned", facts={"verdict": "unsure"}),
        )
        await self.move(await self.file(1, judgements=found), "INBOX", JUNK)
        (lesson,) = self.database.read_now(lambda connection: read_lessons(connection, 0)).lessons
        self.assertEqual(("spf=fail", "dkim=none", "rspamd=unwanted"), lesson.mail.facts)

    async def test_a_journal_that_is_behind_is_read_from_its_beginning(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        self.files.note_taught(10_000)
        await self.teach(self.make_teacher())
        self.assertEqual(UNWANTED, self.taught(1))
        self.assertLess(self.files.taught_up_to(), 10_000)

    async def test_while_a_program_has_the_models_the_moves_wait(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        with self.files.changing():
            await self.teach()
            self.assertEqual((0, 0), self.model().mails)
        await self.teach()
        self.assertEqual((0, 1), self.model().mails)

    async def test_a_row_that_the_disk_has_changed_holds_up_no_other(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        await self.move(await self.file(2), "INBOX", JUNK)
        await self.write(
            "UPDATE journal SET detail = 'x\"Junk\"' WHERE id ="
            " (SELECT min(id) FROM journal WHERE event = 'moved')"
        )
        await self.teach()
        self.assertEqual((0, 1), self.model().mails)

    async def test_a_mail_that_breaks_the_teacher_holds_up_no_other(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        with patch("mailnode.teaching.likeness_of", side_effect=KeyError):
            await self.teach()
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        await self.move(await self.file(2), "INBOX", JUNK)
        await self.teach()
        self.assertEqual((0, 1), self.model().mails)

    async def test_a_teacher_that_stops_finishes_what_is_under_way(self):
        await self.move(await self.file(1), "INBOX", JUNK)
        self.teacher.look()
        await self.teacher.stop()
        self.assertFalse(self.teacher._running)
        self.teacher.look()
        self.assertFalse(self.teacher._running)

    async def test_a_node_where_nobody_moves_mail_to_junk_has_no_models(self):
        await self.move(await self.file(1), "INBOX", TRASH)
        await self.teach()
        self.assertFalse(self.files.folder.exists())
