"""Room for mail: on the disk, and in a mailbox."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailnode.room import BODIES_OCTETS, Room, body_share
from mailnode.settings import QuotaSettings
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


class MemoryTests(SynchronousTestCase):
    """How much of a body on its way in stays in memory."""

    def test_it_is_what_is_wanted_while_sessions_are_few(self) -> None:
        for sessions in (0, 1, 1024):
            self.assertEqual(256 << 10, body_share(256 << 10, sessions))

    def test_many_sessions_share_what_there_is(self) -> None:
        self.assertEqual(128 << 10, body_share(256 << 10, 2048))
        for sessions in (2_000, 5_000, 16_000):
            self.assertLessEqual(sessions * body_share(256 << 10, sessions), BODIES_OCTETS)

    def test_small_mails_stay_in_memory_whatever_the_crowd(self) -> None:
        self.assertEqual(16 << 10, body_share(256 << 10, 1_000_000))
        self.assertEqual(1 << 10, body_share(1 << 10, 1_000_000))
