"""Room for mail: on the disk, and in a mailbox."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailnode.config import QuotaSettings
from mailnode.room import Room
from tests.unit.test_directory import account

TOO_MUCH = 1 << 62


class Disk(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        hear = lambda event: self.lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.room = Room(folder, lambda account_id: (0, 0))

    def test_a_disk_that_gets_full_is_told_once_and_so_is_one_that_has_room_again(self) -> None:
        for least in (1, TOO_MUCH, TOO_MUCH, 1, 1):
            self.room.least_free_octets = least
            self.room.look()
            self.assertEqual(least == 1, self.room.on_disk)
        self.assertEqual(2, len(self.lines), self.lines)
        self.assertIn("MAIL is answered 452", self.lines[0])
        self.assertIn("has room again", self.lines[1])

    def test_a_folder_that_is_gone_has_no_room(self) -> None:
        os.rmdir(self.room.data)
        self.room.look()
        self.assertFalse(self.room.on_disk)
        self.assertIn("can't be looked at", self.lines[0])


class Quota(SynchronousTestCase):
    def fits(self, size_octets: int, used: tuple[int, int], quota: QuotaSettings) -> bool:
        return Room(Path(), lambda account_id: used, quota).in_mailbox(self.owner, size_octets)

    owner = account(1, "alice")

    def test_without_a_quota_everything_fits(self) -> None:
        self.assertTrue(self.fits(TOO_MUCH, (TOO_MUCH, 10**9), QuotaSettings()))

    def test_a_mail_fits_to_the_last_octet_and_no_further(self) -> None:
        quota = QuotaSettings(octets=100)
        self.assertTrue(self.fits(40, (60, 1), quota))
        self.assertFalse(self.fits(41, (60, 1), quota))

    def test_a_full_mailbox_takes_no_mail_whose_size_nobody_told(self) -> None:
        self.assertFalse(self.fits(0, (100, 1), QuotaSettings(octets=100)))
        self.assertTrue(self.fits(0, (99, 1), QuotaSettings(octets=100)))

    def test_mails_are_counted_too(self) -> None:
        self.assertTrue(self.fits(0, (0, 1), QuotaSettings(mails=2)))
        self.assertFalse(self.fits(0, (0, 2), QuotaSettings(mails=2)))

    def test_an_account_of_its_own_quota_is_judged_by_that(self) -> None:
        self.owner = account(1, "alice", quota_octets=0, quota_mails=3)
        self.assertTrue(self.fits(TOO_MUCH, (0, 2), QuotaSettings(octets=1, mails=1)))
        self.assertFalse(self.fits(1, (0, 3), QuotaSettings(octets=1, mails=9)))
