"""The files of what was learned: who reads them has the newest, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.learning import form
from mailnode.learning.features import likeness_of
from mailnode.learning.model import ACCOUNT_BITS, UNWANTED, Model
from mailnode.store import models
from mailnode.store.models import LOOK_S, NODE, ModelFiles, ModelShelf
from tests.unit.learning_case import mail

MAIL = likeness_of(mail("casino winner"))


class ModelCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.files = ModelFiles(self.data)
        self.clock = Clock()
        self.shelf = ModelShelf(self.files, self.clock.seconds)

    def teach(self, *account_ids: int, text: str = "casino winner") -> None:
        with self.files.changing() as changing:
            assert changing is not None
            for account_id in account_ids:
                changing.teach(account_id, likeness_of(mail(text)), UNWANTED)
                changing.write(account_id)


class FilesTests(ModelCase):
    def test_an_account_s_model_is_named_by_its_id(self) -> None:
        self.teach(NODE, 7, 12)
        self.assertEqual([7, 12], self.files.account_ids())
        names = sorted(path.name for path in self.files.folder.iterdir())
        self.assertEqual(["12.model", "7.model", "node.model"], names)

    def test_of_accounts_that_are_gone_nothing_stays(self) -> None:
        self.teach(NODE, 7, 12)
        for left in ("7.model.damaged", "7.model.4711.new", "8.model.4711.new"):
            (self.files.folder / left).touch()
        self.assertEqual([7, 8, 12], self.files.account_ids())
        self.assertEqual(1, self.files.drop([7, 8]))
        names = sorted(path.name for path in self.files.folder.iterdir())
        self.assertEqual(["12.model", "node.model"], names)

    def test_what_one_left_who_was_killed_is_gone_with_the_next(self) -> None:
        self.teach(NODE)
        (self.files.folder / "node.model.4711.new").touch()
        with self.files.changing():
            with self.files.changing(wait=False):
                pass
            (self.files.folder / "node.model.4712.new").touch()  # being written
            with self.files.changing(wait=False):
                pass
            names = sorted(path.name for path in self.files.folder.iterdir())
            self.assertEqual(["node.model", "node.model.4712.new"], names)

    def test_one_at_a_time_changes_them(self) -> None:
        with self.files.changing(), self.files.changing(wait=False) as other:
            self.assertIsNone(other)
        with self.files.changing(wait=False) as other:
            self.assertIsNotNone(other)

    def test_a_damaged_one_is_set_aside_and_begun_anew(self) -> None:
        self.teach(NODE)
        self.files.path_of(NODE).write_bytes(b"nonsense")
        self.teach(NODE)
        self.assertEqual((0, 1), self.shelf.model(NODE).mails)  # type: ignore[union-attr]
        self.assertTrue((self.files.folder / "node.model.damaged").exists())

    def test_a_lesson_is_taken_back(self) -> None:
        self.teach(NODE)
        with self.files.changing() as changing:
            assert changing is not None
            self.assertTrue(changing.forget(NODE, MAIL))
            self.assertFalse(changing.forget(NODE, MAIL))

    def test_how_far_was_taught_is_kept_and_nonsense_is_nothing(self) -> None:
        self.assertEqual(0, self.files.taught_up_to())
        self.files.note_taught(4711)
        self.assertEqual(4711, self.files.taught_up_to())
        for wrong in ("", "[]", "{}", '{"journal_row": "x"}', '{"journal_row": -1}', "\xff"):
            (self.files.folder / "taught").write_text(wrong, "latin-1")
            self.assertEqual(0, self.files.taught_up_to())


class ShelfTests(ModelCase):
    def test_it_is_empty_until_something_was_learned_and_looks_once_a_second(self) -> None:
        self.assertTrue(self.shelf.is_empty)
        self.teach(3)
        self.assertTrue(self.shelf.is_empty)
        self.clock.advance(LOOK_S)
        self.assertFalse(self.shelf.is_empty)

    def test_who_has_no_model_has_none(self) -> None:
        self.assertIsNone(self.shelf.model(NODE))
        self.teach(NODE)
        self.clock.advance(LOOK_S)
        self.assertEqual((0, 1), self.shelf.model(NODE).mails)  # type: ignore[union-attr]
        self.assertIsNone(self.shelf.model(1))

    def test_one_that_could_not_be_read_is_read_once_it_has_another_owner(self) -> None:
        with patch.object(Path, "open", side_effect=PermissionError):
            self.teach(1)
            self.assertIsNone(self.shelf.model(1))
        self.files.path_of(1).chmod(0o600)  # as chown does, it changes ctime alone
        self.clock.advance(LOOK_S)
        self.assertIsNotNone(self.shelf.model(1))

    def test_a_model_is_read_again_once_it_has_changed(self) -> None:
        self.teach(1)
        first = self.shelf.model(1)
        self.clock.advance(LOOK_S)
        self.assertIs(first, self.shelf.model(1))
        self.teach(1, text="other words")
        self.assertIs(first, self.shelf.model(1))
        self.clock.advance(LOOK_S)
        self.assertEqual((0, 2), self.shelf.model(1).mails)  # type: ignore[union-attr]

    def test_while_one_reads_it_again_others_judge_by_what_was_there(self) -> None:
        self.teach(NODE)
        before = self.shelf.model(NODE)
        self.teach(NODE, text="another")
        self.clock.advance(LOOK_S)
        during: list[object] = []

        def reading(path: Path) -> Model | None:
            during.append(self.shelf.model(NODE))
            return read(path)

        read = models._read
        with patch.object(models, "_read", reading):
            after = self.shelf.model(NODE)
        self.assertEqual([before], during)
        assert before is not None and after is not None
        self.assertEqual(((0, 1), (0, 2)), (before.mails, after.mails))
        self.assertIs(after, self.shelf.model(NODE))

    def test_what_is_at_hand_is_given_at_once_and_no_file_is_read_for_it(self) -> None:
        self.teach(NODE, 1)
        with patch.object(models, "_read", side_effect=AssertionError):
            self.assertIsNone(self.shelf.at_hand([NODE, 1]))
            self.assertEqual({7: None}, self.shelf.at_hand([7]))
        kept = {each: self.shelf.model(each) for each in (NODE, 1, 7)}
        with patch.object(models, "_read", side_effect=AssertionError):
            self.assertEqual(kept, self.shelf.at_hand(kept))
            self.clock.advance(LOOK_S)
            self.assertEqual(kept, self.shelf.at_hand(kept))
            self.teach(1, text="other words")
            self.assertEqual(kept, self.shelf.at_hand(kept))
            self.clock.advance(LOOK_S)
            self.assertIsNone(self.shelf.at_hand(kept))
        self.assertEqual((0, 2), self.shelf.model(1).mails)  # type: ignore[union-attr]
        self.assertEqual(3, len(self.shelf.at_hand(kept) or {}))

    def test_while_one_reads_for_the_first_time_nothing_is_at_hand(self) -> None:
        self.teach(NODE)
        self.assertEqual({1: None}, self.shelf.at_hand([1]))
        during: list[object] = []

        def reading(path: Path) -> Model | None:
            during.append(self.shelf.at_hand([1]))
            return None

        with patch.object(models, "_read", reading):
            self.shelf.model(NODE)
        self.assertEqual([None], during)

    def test_lessons_are_not_even_read(self) -> None:
        self.teach(1)
        with patch.object(form, "_lessons", side_effect=AssertionError):
            self.assertEqual({}, self.shelf.model(1).lessons)  # type: ignore[union-attr]

    def test_memory_is_bounded_and_the_last_asked_for_stay(self) -> None:
        self.teach(1, 2, 3)
        self.shelf.most_octets = 2 * (12 << ACCOUNT_BITS) + 1000
        first, second = self.shelf.model(1), self.shelf.model(2)
        self.assertIs(first, self.shelf.model(1))
        self.shelf.model(3)
        self.assertLessEqual(self.shelf._octets, self.shelf.most_octets)
        self.assertIs(first, self.shelf.model(1))
        self.assertIsNot(second, self.shelf.model(2))

    def test_nothing_is_judged_by_a_damaged_one_and_it_stays_where_it_is(self) -> None:
        self.teach(NODE)
        path = self.files.path_of(NODE)
        path.write_bytes(path.read_bytes()[:-1])
        self.assertIsNone(self.shelf.model(NODE))
        self.assertTrue(path.exists())
