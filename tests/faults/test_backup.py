"""Backups that were killed are none, those that were finished restore to all that was promised.

8 rounds; BACKUP_KILLS=200 for so many, BACKUP_SEED for other moments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults import backing_up
from tests.faults.backing_up import Report, Rounds
from tests.faults.sigkill import Sent

ROUNDS = int(os.environ.get("BACKUP_KILLS", "8"))
SEED = int(os.environ.get("BACKUP_SEED", "1"))

pytestmark = pytest.mark.timeout(180 + 20 * ROUNDS)


class BackupTests(SynchronousTestCase):
    def test_every_finished_backup_restores_to_what_was_acknowledged_before_it(self) -> None:
        report = backing_up.run(Path(self.mktemp()).absolute(), ROUNDS, SEED)
        print(report, file=sys.stderr)
        self.assertEqual(report.faults[:20], [])
        self.assertGreater(report.backups, 0)
        self.assertGreater(report.restored, 0)
        self.assertGreater(sum(report.killed.values()), 0, "nothing was killed at its work")
        self.assertGreater(report.copies, 10 * report.restored, "the load was no load")


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
