"""Mail on its way to other hosts arrives, whatever ends in the middle; twice only with a reason.

300 mails and 6 kills of the node, 50 and 2 of one with two workers, 80 and 2 of the next hop;
RELAY_MAILS=10000 RELAY_KILLS=100 for so many, RELAY_SEED for other moments.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest import SkipTest

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.relaying import (
    Posted,
    Relaying,
    Report,
    Row,
    judge,
    make_relaying_folder,
)
from tests.faults.sink import Arrival, Sink, digest_of
from tests.live.node import copy_folder

MAILS = int(os.environ.get("RELAY_MAILS", "300"))
KILLS = int(os.environ.get("RELAY_KILLS", "6"))
SEED = int(os.environ.get("RELAY_SEED", "1"))
LATE_S = 0.05
DISK_MAILS = 120

pytestmark = pytest.mark.timeout(240 + 10 * KILLS + MAILS // 10)


@cache
def _made() -> tuple[Path, int]:
    """A folder with alice, and where its mail goes; argon2 is asked once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="mailnode-relay-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_relaying_folder(folder)


class JudgeTests(SynchronousTestCase):
    """The judge finds each thing that must not be."""

    one, three = Posted(1, 4), Posted(1, 5)

    def arrivals(self, *mails: Posted) -> list[Arrival]:
        return [
            Arrival(recipient, mail.token, digest_of(mail.body))
            for mail in mails
            for recipient in mail.recipients
        ]

    def rows(self, event: str, *mails: Posted, because: str = "") -> list[Row]:
        return [
            (event, recipient, {"because": because})
            for mail in mails
            for recipient in mail.recipients
        ]

    def judge(self, arrived: list[Arrival], journal: list[Row], *acknowledged: Posted) -> Report:
        report = Report()
        tokens = {mail.token for mail in acknowledged}
        judge(report, [self.one, self.three], tokens, arrived, journal)
        return report

    def test_all_that_was_acknowledged_arrives_once_and_what_was_not_may(self) -> None:
        both = (self.one, self.three)
        report = self.judge(self.arrivals(*both), self.rows("relayed", *both), self.one)
        self.assertEqual(([], 4), (report.faults, report.recipients))
        self.assertEqual([], self.judge([], []).faults)

    def test_a_mail_that_is_missing_is_found(self) -> None:
        self.assertIn("did not arrive", self.judge([], [], self.one).faults[0])
        in_part = self.judge(self.arrivals(self.three)[:2], self.rows("relayed", self.three)[:2])
        self.assertIn("arrived in part", in_part.faults[0])

    def test_a_double_needs_a_reason(self) -> None:
        twice, relayed = self.arrivals(self.one, self.one), self.rows("relayed", self.one)
        self.assertIn("2 times with 0", self.judge(twice, relayed).faults[0])
        killed = self.rows("interrupted", self.one)
        self.assertEqual([], self.judge(twice, relayed + killed).faults)
        lost = self.rows("deferred", self.one, because="the connection was lost behind the dot")
        report = self.judge(twice, relayed + lost)
        self.assertEqual(([], 1, 1), (report.faults, report.doubles, report.lost))
        deferred = self.rows("deferred", self.one)
        self.assertIn("2 times with 0", self.judge(twice, relayed + deferred).faults[0])

    def test_other_octets_and_another_s_mail_are_found(self) -> None:
        (right,) = self.arrivals(self.one)
        torn = Arrival(right.recipient, right.subject, digest_of(self.one.body[:-2]))
        strange = Arrival("x@y.test", right.subject, right.digest)
        relayed = self.rows("relayed", self.one)
        self.assertIn("not the bytes", self.judge([torn], relayed).faults[0])
        self.assertIn("nobody sent", self.judge([right, strange], relayed).faults[0])

    def test_a_journal_that_says_otherwise_is_found(self) -> None:
        arrived = self.arrivals(self.one)
        self.assertIn("journal", self.judge(arrived, []).faults[0])
        bounced = self.rows("relayed", self.one) + self.rows("bounced", self.one)
        self.assertIn("journal", self.judge(arrived, bounced).faults[0])


class RelayTests(SynchronousTestCase):
    def relaying(self, *, lost: float = 0.0, workers: int = 1, **settings: str) -> Relaying:
        made, port = _made()
        folder = copy_folder(made, Path(self.mktemp()).resolve())
        relaying = Relaying(
            folder, Sink(folder, port, LATE_S, lost, SEED), SEED, workers, settings=settings
        )
        self.addCleanup(relaying.sink.kill)
        self.addCleanup(relaying.node.kill)
        return relaying

    def judge(self, report: Report) -> None:
        print(report, file=sys.stderr)
        self.assertEqual([], report.faults[:20])

    def test_all_arrives_though_the_node_is_killed_and_doubles_were_under_way(self) -> None:
        report = self.relaying().kill_nodes(MAILS, KILLS)
        self.judge(report)
        self.assertGreater(report.interrupted, 0, "no attempt was open when it was killed")

    def test_so_it_is_where_a_supervisor_relays_for_two_workers(self) -> None:
        self.judge(self.relaying(workers=2).kill_nodes(max(50, MAILS // 10), max(2, KILLS // 10)))

    def test_all_arrives_though_the_next_hop_is_killed_and_drops_behind_the_dot(self) -> None:
        report = self.relaying(lost=0.05).kill_sink(max(80, MAILS // 10), max(2, KILLS // 10))
        self.judge(report)
        self.assertEqual(0, report.interrupted, "nobody killed the node")
        self.assertGreater(report.lost, 0, "no connection was lost behind the dot")

    def test_on_a_full_disk_what_was_taken_is_never_sent_again(self) -> None:
        relaying, _ = self.fill_disk_while_it_relays("0")
        self.assertIn("the queue can't be written", relaying.node.text())

    def test_a_reserve_lets_the_queue_leave_on_a_full_disk(self) -> None:
        relaying, arrived = self.fill_disk_while_it_relays("4M")
        self.assertIn("The disk is full", relaying.node.text())
        self.assertEqual(relaying.report.recipients, arrived)

    def fill_disk_while_it_relays(self, reserve: str) -> tuple[Relaying, int]:
        """Others take all room at the first arrival; how many arrived before there was some."""
        settings = {"MAILNODE_STORE__RESERVE": reserve, "MAILNODE_STORE__FREE_SPACE": "0"}
        relaying = self.relaying(**settings)
        disk = self.mount_small_disk(relaying.node.data)
        self.addCleanup(relaying.node.kill)
        filler = disk / "filler"

        def fill() -> None:
            free = os.statvfs(disk)
            with filler.open("ab") as file, contextlib.suppress(OSError):
                file.write(bytes(free.f_bavail * free.f_frsize))

        arrived = relaying.fill_disk(DISK_MAILS, fill, filler.unlink, until_all=reserve != "0")
        self.judge(relaying.report)
        self.assertEqual(0, relaying.report.doubles)
        return relaying, arrived

    def mount_small_disk(self, disk: Path) -> Path:
        """In the place of a folder, with what commands have put there."""
        before = disk.rename(disk.with_name("before"))
        disk.mkdir(0o700)
        mount = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "none", str(disk)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode and os.environ.get("CI") != "true":
            raise SkipTest(f"needs the right to mount a file system: {done.stderr.strip()}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.addCleanup(subprocess.run, ["umount", str(disk)], check=True)
        shutil.copytree(before, disk, dirs_exist_ok=True)
        return disk
