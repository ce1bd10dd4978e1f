"""Backups that were killed are none, those that were finished restore to all that was promised.

8 rounds and 40 power cuts; BACKUP_KILLS=200 and BACKUP_CUTS=500 for so many, BACKUP_SEED for other
moments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults import backing_up, backup_cuts
from tests.faults.backing_up import Report, Rounds
from tests.faults.sigkill import Sent

ROUNDS = int(os.environ.get("BACKUP_KILLS", "8"))
CUTS = int(os.environ.get("BACKUP_CUTS", "40"))
SEED = int(os.environ.get("BACKUP_SEED", "1"))

pytestmark = pytest.mark.timeout(180 + 20 * ROUNDS + CUTS)


class BackupTests(SynchronousTestCase):
    def test_every_finished_backup_restores_to_what_was_acknowledged_before_it(self) -> None:
        report = backing_up.run(Path(self.mktemp()).absolute(), ROUNDS, SEED)
        print(report, file=sys.stderr)
        self.assertEqual(report.faults[:20], [])
        self.assertGreater(report.backups, 0)
        self.assertGreater(report.restored, 0)
        self.assertGreater(sum(report.killed.values()), 0, "nothing was killed at its work")
        self.assertGreater(report.copies, 10 * report.restored, "the load was no load")


class PowerCutTests(SynchronousTestCase):
    timeout = 180 + CUTS

    def test_so_it_is_whenever_the_power_is_cut(self) -> None:
        steps, faults = backup_cuts.run(Path(self.mktemp()).absolute(), SEED, CUTS)
        print(f"{CUTS} power cuts in {steps} steps: {len(faults)} faults", file=sys.stderr)
        self.assertEqual(faults[:20], [])
        self.assertGreater(steps, 300, "the program did next to nothing")


class JudgeTests(SynchronousTestCase):
    """The judge finds what must not be."""

    mail = Sent(1, 1)

    def faults(self, *served: tuple[str, bytes]) -> list[str]:
        work = Rounds(Path(), None, None, Report(1))  # type: ignore[arg-type]
        work.unique_ids["alice", self.mail.token] = "7.1"
        list(work.compare("b", "alice", {self.mail.token: self.mail}, served))
        return work.report.faults

    def test_other_octets_and_another_unique_id_are_found(self) -> None:
        served = b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nReceived: x\r\n" + self.mail.raw()
        self.assertEqual(self.faults(("7.1", served)), [])
        self.assertIn("not as it was sent", self.faults(("7.1", served + b"."))[0])
        self.assertIn("another unique-id", self.faults(("7.2", served))[0])
