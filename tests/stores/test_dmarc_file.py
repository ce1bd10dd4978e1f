"""What aggregate reports will say, in a file of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from mailnode.mailauth.dmarc_seen import Published, Seen
from mailnode.store import dmarc_file
from mailnode.store.dmarc_file import NAME, DmarcFile
from mailnode.store.dmarc_rows import (
    KEPT_DAYS,
    OPEN,
    SENT,
    Bounds,
    Collected,
    read_left_out,
    read_report,
    read_reports,
)
from mailnode.store.sqlite import connect
from tests.stores.support import Logged
from tests.unit.reports_case import DAY, DOMAIN, NOON, PUBLISHED, seen


class DmarcFileCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()
        self.logged = Logged()
        globalLogPublisher.addObserver(self.logged)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged)
        self.file = self.open()

    def open(self, **bounds: int) -> DmarcFile:
        opened = DmarcFile(self.data, reactor.callFromThread, lambda: NOON, bounds=Bounds(**bounds))
        self.addCleanup(opened.stop)
        return opened

    async def counted(self, file: DmarcFile | None = None) -> None:
        """All that was counted is in the file."""
        file = file or self.file
        while file._busy or file._waiting:
            waited: Deferred[None] = Deferred()
            reactor.callLater(0.001, waited.callback, None)
            await waited

    def reading(self, work: Any, *args: Any, **more: Any) -> Any:
        connection = connect(self.data / NAME, read_only=True)
        try:
            return work(connection, *args, **more)
        finally:
            connection.close()

    def reports(self, **of: str) -> list[Collected]:
        return self.reading(read_reports, **of)

    def rows(self, report_id: int = 1) -> list[tuple[Seen, int]]:
        return self.reading(read_report, report_id)[1]


class CountingTests(DmarcFileCase):
    async def test_mails_that_are_alike_are_one_row_and_others_are_others(self):
        other = seen(disposition="reject", dkim="fail", signatures=(("x.test", "a\0b", "fail"),))
        for each in (seen(), other, seen(), seen()):
            self.file.count(DAY, PUBLISHED, each)
        await self.counted()
        self.assertEqual([(seen(), 3), (other, 1)], self.rows())
        (report,) = self.reports()
        self.assertEqual(
            (DAY, DOMAIN, 2, 4, 0, OPEN, 0),
            (report.day, report.domain, report.rows, report.mails, report.left_out, report.state,
             report.number),
        )  # fmt: skip
        self.assertEqual({"counted": 4}, self.file.told)

    async def test_each_day_domain_and_policy_is_a_report_of_its_own(self):
        changed = evolve(PUBLISHED, record="v=DMARC1; p=none; rua=mailto:a@remote.test")
        self.file.count(DAY, PUBLISHED, seen())
        self.file.count(DAY, changed, seen())
        self.file.count(DAY, evolve(PUBLISHED, domain="a.test"), seen())
        self.file.count("2025-01-02", PUBLISHED, seen())
        await self.counted()
        found = [(each.day, each.domain, each.number, each.mails) for each in self.reports()]
        self.assertEqual(
            [
                (DAY, "a.test", 0, 1),
                (DAY, DOMAIN, 0, 1),
                (DAY, DOMAIN, 1, 1),
                ("2025-01-02", DOMAIN, 0, 1),
            ],
            found,
        )
        self.assertEqual(1, len(self.reports(day=DAY, domain="a.test")))

    async def test_several_processes_count_in_one_file_and_a_restart_goes_on(self):
        another = self.open()
        for file in (self.file, another, self.file):
            for _ in range(50):
                file.count(DAY, PUBLISHED, seen())
        await self.counted()
        await self.counted(another)
        await self.file.stop()
        again = self.open()
        again.count(DAY, PUBLISHED, seen())
        await self.counted(again)
        self.assertEqual([(seen(), 151)], self.rows())

    async def test_a_stop_keeps_what_was_counted_before(self):
        for number in range(1000):
            self.file.count(DAY, PUBLISHED, seen(source=f"192.0.2.{number % 250}"))
        await self.file.stop()
        self.file.count(DAY, PUBLISHED, seen())
        self.assertEqual({"counted": 1000, "left-out": 1}, self.file.told)
        self.assertEqual(1000, sum(mails for _, mails in self.rows()))

    async def test_without_a_mail_there_is_no_file(self):
        self.assertEqual([], await self.file.waiting_before("2026-01-01"))
        await self.file.stop()
        self.assertEqual([], list(self.data.iterdir()))

    async def test_it_is_its_owners_alone(self):
        self.file.count(DAY, PUBLISHED, seen())
        await self.counted()
        self.assertEqual(0o600, (self.data / NAME).stat().st_mode & 0o777)


class BoundTests(DmarcFileCase):
    """What strangers can cause is little, and what finds no room is told and counted."""

    async def fill(self, file: DmarcFile, kinds: int, published: Published = PUBLISHED) -> None:
        for number in range(kinds):
            file.count(DAY, published, seen(signatures=((f"d{number}.test", "s", "fail"),)))
        await self.counted(file)

    async def test_a_report_has_so_many_rows_and_known_ones_count_on(self):
        file = self.open(rows_each=3)
        await self.fill(file, 5)
        await self.fill(file, 1)
        (report,) = self.reports()
        self.assertEqual((3, 4, 2), (report.rows, report.mails, report.left_out))
        self.assertEqual({"counted": 4, "left-out": 2}, file.told)
        self.assertIn("DMARC reports will leave mails out", self.logged.text())

    async def test_a_day_has_so_many_rows_and_octets_of_all_domains(self):
        file = self.open(rows=4)
        for domain in ("a.test", "b.test"):
            await self.fill(file, 3, evolve(PUBLISHED, domain=domain))
        self.assertEqual([3, 1], [each.rows for each in self.reports()])
        self.assertEqual({DAY: 2}, self.reading(read_left_out))
        tight = self.open(octets=sum(len(row.as_text()) for row, _ in self.rows(1) + self.rows(2)))
        await self.fill(tight, 1, evolve(PUBLISHED, domain="c.test"))
        self.assertEqual({"left-out": 1}, tight.told)

    async def test_a_day_has_so_many_reports(self):
        file = self.open(reports=2)
        for domain in ("a.test", "b.test", "c.test"):
            await self.fill(file, 1, evolve(PUBLISHED, domain=domain))
        self.assertEqual(["a.test", "b.test"], [each.domain for each in self.reports()])
        self.assertEqual({"counted": 2, "left-out": 1}, file.told)

    async def test_a_domain_that_changes_its_policy_all_day_is_told_under_its_last_ones(self):
        file = self.open(policies=2)
        for number in range(5):
            await self.fill(file, 1, evolve(PUBLISHED, record=f"v=DMARC1; p=none; x={number}"))
        self.assertEqual([1, 4], [each.mails for each in self.reports()])

    async def test_more_kinds_than_wait_are_left_out_at_once(self):
        self.patch(dmarc_file, "MOST_WAITING", 3)
        await self.fill(self.file, 10)
        self.assertEqual(10, sum(self.file.told.values()))
        self.assertGreaterEqual(self.file.left_out, 6)

    async def test_days_are_kept_for_a_week(self):
        for day in range(1, KEPT_DAYS + 3):
            self.file.count(f"2025-01-{day:02}", PUBLISHED, seen())
            await self.counted()
        days = [each.day for each in self.reports()]
        self.assertEqual([f"2025-01-{day:02}" for day in range(3, KEPT_DAYS + 3)], days)
        kept = self.reading(lambda each: each.execute("SELECT count(*) FROM seen").fetchone())
        self.assertEqual((KEPT_DAYS,), kept)


class SettlingTests(DmarcFileCase):
    async def test_what_waits_is_of_days_that_are_over_and_not_settled(self):
        for day in (DAY, "2025-01-02"):
            self.file.count(day, PUBLISHED, seen())
        await self.counted()
        self.assertEqual([], await self.file.waiting_before(DAY))
        self.assertEqual([(1, DAY, DOMAIN)], await self.file.waiting_before("2025-01-02"))
        await self.file.settle(1, SENT, "to somebody")
        self.assertEqual([], await self.file.waiting_before("2025-01-02"))
        report, rows = await self.file.read(1)
        self.assertEqual(
            (SENT, NOON, "to somebody", [(seen(), 1)]),
            (report.state, report.settled_at, report.note, rows),
        )
        self.assertIsNone(await self.file.read(9))

    async def test_what_comes_behind_its_report_is_left_out(self):
        self.file.count(DAY, PUBLISHED, seen())
        await self.counted()
        await self.file.settle(1, SENT, "")
        self.file.count(DAY, PUBLISHED, seen())
        await self.counted()
        self.assertEqual([(seen(), 1)], self.rows())
        self.assertEqual({"counted": 1, "left-out": 1}, self.file.told)


class TroubleTests(DmarcFileCase):
    async def test_a_damaged_file_is_begun_anew(self):
        self.file.count(DAY, PUBLISHED, seen())
        await self.file.stop()
        (self.data / NAME).write_bytes(b"no database" * 1000)
        again = self.open()
        again.count(DAY, PUBLISHED, seen())
        await self.counted(again)
        again.count(DAY, PUBLISHED, seen())
        await self.counted(again)
        self.assertEqual([(seen(), 1)], self.rows())
        self.assertEqual({"counted": 1, "left-out": 1}, again.told)

    async def test_a_file_that_is_held_fails_nobody_and_is_told_once_an_hour(self):
        self.file.count(DAY, PUBLISHED, seen())
        await self.counted()
        holding = connect(self.data / NAME)
        self.addCleanup(holding.close)
        holding.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            self.file.count(DAY, PUBLISHED, seen())
            await self.counted()
        holding.execute("ROLLBACK")
        self.file.count(DAY, PUBLISHED, seen())
        await self.counted()
        self.assertEqual([(seen(), 2)], self.rows())
        self.assertEqual({"counted": 2, "left-out": 2}, self.file.told)
        self.assertEqual(1, self.logged.text().count("DMARC reports will leave mails out"))

    async def test_a_file_of_a_newer_version_is_left_alone(self):
        self.file.count(DAY, PUBLISHED, seen())
        await self.file.stop()
        connection = sqlite3.connect(self.data / NAME)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        again = self.open()
        again.count(DAY, PUBLISHED, seen())
        await self.counted(again)
        self.assertEqual({"left-out": 1}, again.told)
        self.assertEqual([(seen(), 1)], self.rows())
