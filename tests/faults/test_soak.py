"""A few seconds of the soak; and its judges find each thing that must not be.

SOAK_SECONDS for more; `make soak` runs half an hour.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.bench.processes import MIB
from tests.faults import soak
from tests.faults.ledger import Ledger, Mail
from tests.faults.soak import LETTERS, Report, Sample, Soak

SECONDS = float(os.environ.get("SOAK_SECONDS", "3"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
NAMES = ("alice", "bob")
IN_FRONT = b"Return-Path: <a@b>\r\nDelivered-To: c@d\r\nReceived: from x\r\n\tby y; z\r\n"

pytestmark = pytest.mark.timeout(180 + 2 * SECONDS)


class LedgerTests(SynchronousTestCase):
    """Number 4 is for both, number 1 for one of them."""

    def setUp(self) -> None:
        self.ledger = Ledger()
        self.both, self.one = (Mail(1, number, NAMES, (100,)) for number in (4, 1))
        self.ledger.tried = {mail.token: mail for mail in (self.both, self.one)}
        (self.owner,) = self.one.recipients()

    def faults(self, **left: list[bytes]) -> list[str]:
        return self.ledger.judge({"alice": [], "bob": [], **left})

    def copy(self, mail: Mail) -> bytes:
        return IN_FRONT + mail.raw()

    def promise(self, *mails: Mail) -> None:
        self.ledger.acknowledged |= {mail.token for mail in mails}

    def test_what_was_acknowledged_is_there_or_was_taken_away_once(self) -> None:
        self.promise(self.both, self.one)
        self.ledger.gone["alice", self.both.token] = 1
        self.ledger.gone[self.owner, self.one.token] = 1
        self.assertEqual(self.faults(bob=[self.copy(self.both)]), [])

    def test_what_is_missing_is_found(self) -> None:
        self.promise(self.both)
        (fault,) = self.faults(bob=[self.copy(self.both)])
        self.assertIn("acknowledged, and there [0, 1] times", fault)

    def test_what_comes_again_after_it_was_deleted_is_found(self) -> None:
        self.promise(self.one)
        self.ledger.gone[self.owner, self.one.token] = 1
        (fault,) = self.faults(**{self.owner: [self.copy(self.one)]})
        self.assertIn("there [2] times", fault)

    def test_what_was_not_acknowledged_is_absent_or_whole(self) -> None:
        both = [self.copy(self.both)]
        self.assertEqual(self.faults() + self.faults(alice=both, bob=both), [])
        (fault,) = self.faults(alice=both)
        self.assertIn("kept in part", fault)

    def test_a_deletion_without_an_answer_may_have_been_done_or_not(self) -> None:
        self.promise(self.one)
        self.ledger.perhaps[self.owner, self.one.token] = 1
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.faults(**{self.owner: [self.copy(self.one)]}), [])

    def test_other_octets_and_other_people_s_mail_are_found(self) -> None:
        (other,) = set(NAMES) - {self.owner}
        longer = self.copy(self.one) + b"."
        self.assertIn("not the bytes", self.faults(**{self.owner: [longer]})[0])
        self.ledger.faults.clear()
        self.assertIn("whom it was not for", self.faults(**{other: [self.copy(self.one)]})[0])
        self.ledger.faults.clear()
        strange = IN_FRONT + b"Subject: 9-9\r\n\r\n"
        self.assertIn("nobody sent", self.faults(alice=[strange])[0])


class ReportTests(SynchronousTestCase):
    def report(self, *life: tuple[int, int]) -> Report:
        """Of a node that had so many MiB and descriptors, a sample a second."""
        report = Report(float(len(life)), Ledger())
        for at, (mib, descriptors) in enumerate(life, 1):
            report.samples.append(Sample(float(at), 0, mib * MIB, descriptors, 10 * at))
        return report

    def test_what_stays_flat_after_its_beginning_is_no_growth(self) -> None:
        flat = self.report(*[(60, 20)] * 5, *[(90, 40), (88, 30)] * 10)
        self.assertEqual(list(flat.judge_growth()), [])

    def test_memory_and_descriptors_that_grow_are_found(self) -> None:
        grown = self.report(*[(60 + 3 * at, 20 + 2 * at) for at in range(20)])
        memory, descriptors = grown.judge_growth()
        self.assertTrue(memory.startswith("memory grew"))
        self.assertTrue(descriptors.startswith("descriptors grew"))

    def test_the_life_that_counts_is_the_longest(self) -> None:
        report = self.report(*[(80, 30)] * 12)
        report.samples += [Sample(20.0 + at, 1, 10 * MIB, 3, 500) for at in range(3)]
        self.assertEqual({sample.life for sample in report.long_life()}, {0})
        self.assertEqual(len(report.long_life()), 9)

    def test_a_long_run_has_a_long_life_between_its_restarts(self) -> None:
        planned = soak.schedule(1800)
        self.assertEqual({what for _at, what in planned}, set(LETTERS))
        restarts = [0.0, *(at for at, what in planned if what in ("SIGKILL", "SIGTERM")), 1800.0]
        gaps = [later - at for at, later in pairwise(restarts)]
        self.assertGreater(max(gaps), 1400)

    def test_figures_and_chart_go_where_the_page_has_room_for_them(self) -> None:
        docs = Path(self.mktemp())
        docs.mkdir()
        page = docs / "reliability.rst"
        page.write_text("Before\n\n.. begin soak\n\nold\n\n.. end soak\n\nAfter\n")
        report = self.report(*[(80, 30)] * 12)
        report.happened = [(3.0, "SIGHUP")]
        soak.write_page(report, docs)
        text = page.read_text()
        self.assertTrue(text.startswith("Before\n") and text.endswith("\nAfter\n"))
        self.assertNotIn("old", text)
        self.assertIn("80 to 80 MiB", text)
        drawn = ElementTree.fromstring((docs / "reliability" / "soak.svg").read_text())
        words = {each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")}
        self.assertTrue({"H", "open descriptors", "minutes"} <= words)


class SoakTests(SynchronousTestCase):
    def test_a_little_of_it_loses_and_doubles_nothing(self) -> None:
        report = Soak(Path(self.mktemp()).resolve(), SECONDS, SEED).run()
        print(report.figures(), file=sys.stderr)
        self.assertEqual(report.faults[:20], [])
        for what in LETTERS:
            self.assertGreater(report.count(what), 0, what)
        ledger = report.ledger
        self.assertGreater(min(len(ledger.acknowledged), sum(ledger.gone.values())), 10 * SECONDS)
        self.assertGreater(min(report.guests, report.abandoned, ledger.refused), 0)
