"""What was acknowledged outlives a kill -9 at any moment, once, and whole.

20 kills of one process, 5 of two workers and 5 of one of them; SIGKILLS=1000 for so many of each,
SIGKILL_SEED for other moments.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults import sigkill
from tests.faults.sigkill import Report, Sent, judge
from tests.live.node import make_folder

KILLS = int(os.environ.get("SIGKILLS", "20"))
WORKER_KILLS = int(os.environ.get("SIGKILLS", "5"))
SEED = int(os.environ.get("SIGKILL_SEED", "1"))

pytestmark = pytest.mark.timeout(120 + 10 * KILLS)

IN_FRONT = b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nReceived: from x\r\n\tby y; z\r\n"


class JudgeTests(SynchronousTestCase):
    """The judge of the kills finds each thing that must not be."""

    both, alice_s = Sent(1, 3), Sent(1, 4)

    def faults(self, acknowledged: set[str], **found: list[bytes]) -> list[str]:
        report = Report()
        judge(report, [self.both, self.alice_s], acknowledged, {"alice": [], "bob": [], **found})
        return report.faults

    def copy(self, mail: Sent) -> bytes:
        return IN_FRONT + mail.raw()

    def test_all_that_was_acknowledged_is_there_once_and_what_was_not_may_be_absent(self) -> None:
        alice, bob = [self.copy(self.both)], [self.copy(self.both)]
        self.assertEqual(self.faults({self.both.token}, alice=alice, bob=bob), [])
        self.assertEqual(self.faults(set(), alice=alice, bob=bob), [])

    def test_a_missing_copy_is_found(self) -> None:
        alice = [self.copy(self.both)]
        self.assertIn("[1, 0] times", self.faults({self.both.token}, alice=alice)[0])
        self.assertIn("kept in part", self.faults(set(), alice=alice)[0])

    def test_a_second_copy_is_found(self) -> None:
        twice = [self.copy(self.alice_s)] * 2
        self.assertIn("[2] times", self.faults({self.alice_s.token}, alice=twice)[0])
        self.assertIn("kept in part, [2]", self.faults(set(), alice=twice)[0])

    def test_a_torn_copy_is_found(self) -> None:
        torn = [self.copy(self.alice_s) + b"."]
        self.assertIn("not the bytes", self.faults({self.alice_s.token}, alice=torn)[0])

    def test_a_copy_for_the_wrong_person_is_found(self) -> None:
        wrong = [self.copy(self.alice_s)]
        self.assertIn("not for", self.faults(set(), bob=wrong)[0])


class SigkillTests(SynchronousTestCase):
    def test_nothing_acknowledged_is_missing_or_doubled_and_nothing_is_torn(self) -> None:
        report = sigkill.run(make_folder(Path(self.mktemp())), KILLS, SEED)
        self.judge(report)
        self.assertLess(report.recovery_s, report.bare_start_s + 2.0)

    def test_so_it_is_with_two_workers_killed_all_or_by_the_death_of_their_supervisor(self) -> None:
        report = sigkill.run(make_folder(Path(self.mktemp())), WORKER_KILLS, SEED, workers=2)
        self.judge(report)
        self.assertLess(report.recovery_s, report.bare_start_s + 2.0)

    def test_so_it_is_with_one_of_two_workers_killed_while_the_other_serves_on(self) -> None:
        self.judge(sigkill.run_workers(make_folder(Path(self.mktemp())), WORKER_KILLS, SEED))

    def judge(self, report: Report) -> None:
        print(report, file=sys.stderr)
        self.assertEqual(report.faults[:20], [])
        self.assertGreater(report.acknowledged, 10 * report.rounds, "the load was no load")
