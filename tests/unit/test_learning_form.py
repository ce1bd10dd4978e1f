"""A model's file gives the model back, or is set aside."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import zlib
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from mailnode.learning import features, form
from mailnode.learning.form import (
    MOST_OCTETS,
    STEP_LESSONS,
    STEP_OCTETS,
    Damaged,
    pack,
    pack_pieces,
    read_model,
    unpack,
    write_model,
)
from mailnode.learning.judging import judge
from mailnode.learning.model import (
    ACCOUNT_BITS,
    NODE_BITS,
    UNWANTED,
    WANTED,
    Model,
    pack_lesson,
)
from tests.unit.learning_case import some, taught


def sealed(octets: bytes) -> bytes:
    """With a checksum that is right."""
    return octets + hashlib.sha256(octets).digest()


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "node.model"

    def test_give_back_what_was_written(self) -> None:
        node = taught()
        self.assertEqual(write_model(self.path, node), self.path.stat().st_size)
        opened = read_model(self.path, NODE_BITS)
        self.assertIsNone(opened.set_aside)
        for name in ("counts", "weights"):
            for each in ("wanted", "unwanted", "weights", "squares", "bias"):
                here = getattr(getattr(node, name), each, None)
                self.assertEqual(getattr(getattr(opened.model, name), each, None), here)
        self.assertEqual(opened.model.lessons, node.lessons)
        self.assertEqual(opened.model.mails, node.mails)
        one = some(UNWANTED, 1, seed=2)[0]
        self.assertEqual(judge(one, opened.model), judge(one, node))

    def test_lessons_can_be_taken_back_after_a_restart(self) -> None:
        write_model(self.path, taught())
        node = read_model(self.path, NODE_BITS).model
        self.assertTrue(node.forget(some(WANTED, 1)[0]))
        self.assertEqual(node.mails, (39, 40))

    def test_no_step_of_writing_it_is_large(self) -> None:
        """What one step does, the reactor's thread waits for."""
        node = taught()
        chance = random.Random(1)
        for slot in range(len(node.weights.weights)):
            node.weights.weights[slot] = chance.random()  # such are hardly compressed
        node.lessons |= {key: bytes(250) for key in range(2 * STEP_LESSONS)}
        largest = max(map(len, pack_pieces(node)))
        self.assertLess(largest, 2 * STEP_OCTETS)
        self.assertEqual(node.weights.weights, unpack(pack(node), to_judge=True).weights.weights)

    def test_none_is_an_empty_model(self) -> None:
        opened = read_model(self.path, ACCOUNT_BITS)
        self.assertEqual((opened.model.mails, opened.model.bits), ((0, 0), ACCOUNT_BITS))
        self.assertIsNone(opened.set_aside)
        self.assertFalse(self.path.exists())

    def test_damaged_ones_are_set_aside_and_a_model_is_begun(self) -> None:
        good = pack(taught())
        for at in (0, 17, 20, 30, 60, len(good) // 2, len(good) - 1):
            bad = bytearray(good)
            bad[at] ^= 1
            self.path.write_bytes(bad)
            opened = read_model(self.path, ACCOUNT_BITS)
            self.assertEqual(opened.model.mails, (0, 0))
            self.assertTrue(opened.why)
            assert opened.set_aside is not None
            self.assertEqual(opened.set_aside.read_bytes(), bad)
            self.assertFalse(self.path.exists())

    def test_cut_ones_are_damaged_wherever_they_end(self) -> None:
        good = pack(taught(5))
        for end in (*range(0, 120, 7), *range(120, len(good) - 1, 997)):
            with self.assertRaises(Damaged):
                unpack(good[:end])
            with self.assertRaises(Damaged):
                unpack(sealed(good[:end]))

    def test_one_that_is_too_large_is_not_read(self) -> None:
        with self.path.open("wb") as file:
            file.truncate(MOST_OCTETS + 1)
        with mock.patch.object(Path, "read_bytes", side_effect=AssertionError):
            self.assertIn("octets", read_model(self.path, ACCOUNT_BITS).why)

    def test_sections_that_would_burst_are_not_unpacked(self) -> None:
        good = pack(taught(5))
        begin = form._HEAD.size
        bomb = zlib.compress(bytes(1 << 28), 9)
        for said in (1 << 28, 1 << 15):
            section = form._SECTION.pack(said, len(bomb)) + bomb
            octets = sealed(good[:begin] + section + good[begin:-32])
            tracemalloc.start()
            with self.assertRaises(Damaged):
                unpack(octets)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(peak, 8 << 20)

    def test_lessons_that_have_no_end_are_damage(self) -> None:
        node = taught(5)
        node.lessons[1] = pack_lesson(True, [0.5], [])[:-1]
        with self.assertRaises(Damaged):
            unpack(pack(node))

    def test_of_other_features_is_not_taken_for_one_of_these(self) -> None:
        octets = pack(taught(5))
        self.patch(features, "VERSION", features.VERSION + 1)
        with self.assertRaisesRegex(Damaged, "version"):
            unpack(octets)

    def test_a_disk_that_is_full_leaves_the_old_one(self) -> None:
        write_model(self.path, taught(5))
        before = self.path.read_bytes()
        with mock.patch("os.fsync", side_effect=OSError(28, "full")), self.assertRaises(OSError):
            write_model(self.path, taught(6))
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["node.model"])

    def test_hold_no_word_of_a_mail(self) -> None:
        octets = pack(taught())
        self.assertNotIn(b"viagra", octets)
        self.assertNotIn(b"viagra", b"".join(taught().lessons.values()))

    def test_the_fullest_is_small_enough(self) -> None:
        self.assertLess(
            (12 << NODE_BITS) + form.MOST_LESSONS * form._LESSON_OCTETS + 4096, MOST_OCTETS
        )

    def test_an_accounts_first_lessons_are_small(self) -> None:
        own = Model.empty(ACCOUNT_BITS)
        for kind in (WANTED, UNWANTED):
            for each in some(kind, 50):
                own.train(each, kind)
        self.assertLess(len(pack(own)), 100 << 10)
