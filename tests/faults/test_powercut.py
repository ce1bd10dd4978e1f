"""What was promised outlives a power cut at any moment.

40 cuts; POWERCUTS=1000 for more, POWERCUT_SEED for other moments and another run.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.faults import powercut
from tests.faults.disk import Disk
from tests.faults.powercut import Promises
from tests.faults.shim import CREATE, FLUSH, FLUSH_FOLDER, RENAME, WRITE, Step

CUTS = int(os.environ.get("POWERCUTS", "40"))
SEED = int(os.environ.get("POWERCUT_SEED", "1"))

pytestmark = pytest.mark.timeout(120 + CUTS)


class DiskTests(SynchronousTestCase):
    """The disk loses what was not flushed, and keeps what was."""

    def found(self, *steps: Step) -> list[dict[str, bytes]]:
        disk, folder = Disk(), Path(self.mktemp())
        folder.mkdir()
        for step in steps:
            disk.take(step)
        outcomes = []
        for number in range(300):
            to = folder / str(number)
            disk.write_after_the_cut(to, random.Random(number))
            outcomes.append({path.name: path.read_bytes() for path in to.iterdir()})
        return outcomes

    written = (Step(CREATE, "a", 7, 0, b""), Step(WRITE, "a", 7, 0, b"x" * 1024))
    flushed = (Step(FLUSH, "a", 7, 0, b""), Step(FLUSH_FOLDER, "", 0, 0, b""))

    def test_what_was_flushed_is_there_whole_under_its_name(self) -> None:
        for outcome in self.found(*self.written, *self.flushed):
            self.assertEqual(outcome, {"a": b"x" * 1024})

    def test_what_was_not_may_be_absent_torn_or_whole(self) -> None:
        outcomes = self.found(*self.written, self.flushed[1])
        self.assertEqual(
            {outcome["a"] for outcome in outcomes},
            {b"", b"x" * 512, bytes(512) + b"x" * 512, b"x" * 1024},
        )

    def test_a_file_whose_folder_was_not_flushed_may_have_no_name(self) -> None:
        outcomes = self.found(*self.written, self.flushed[0])
        self.assertEqual({len(outcome) for outcome in outcomes}, {0, 1})

    def test_a_rename_may_not_have_happened(self) -> None:
        moved = Step(RENAME, "a", 0, 0, b"b")
        outcomes = self.found(*self.written, *self.flushed, moved)
        self.assertIn({"a"}, [set(outcome) for outcome in outcomes])
        self.assertIn({"b"}, [set(outcome) for outcome in outcomes])


class JudgeTests(SynchronousTestCase):
    """The judge finds each thing that must not be."""

    token = next(f"t-{n}" for n in range(99) if len(powercut.owners_of(f"t-{n}")) == 2)

    def faults(self, *owners: int, **heard: str) -> list[str]:
        promises = Promises()
        promises.hear(heard)
        return powercut._judge_mail(self.token, sorted(owners), promises)

    def test_what_was_filed_is_there_once_with_each(self) -> None:
        both = powercut.owners_of(self.token)
        self.assertEqual(self.faults(*both, filed=self.token), [])
        for wrong in ([], both[:1], [*both, both[0]]):
            self.assertNotEqual(self.faults(*wrong, filed=self.token), [])

    def test_what_was_not_is_absent_or_with_all(self) -> None:
        both = powercut.owners_of(self.token)
        self.assertEqual(self.faults() + self.faults(*both), [])
        self.assertNotEqual(self.faults(both[0]), [])

    def test_what_was_deleted_does_not_come_back(self) -> None:
        self.assertNotEqual(self.faults(1, filed=self.token, deleted=self.token), [])


class PowerCutTests(TestCase):
    timeout = 120 + CUTS

    async def test_nothing_promised_is_lost_or_doubled_and_the_databases_open_clean(self) -> None:
        steps, faults = await powercut.run(Path(self.mktemp()), SEED, CUTS, reactor)
        print(f"{CUTS} power cuts in {steps} steps: {len(faults)} faults", file=sys.stderr)
        self.assertEqual(faults[:20], [])
        self.assertGreater(steps, 1000, "the program did next to nothing")
