"""A full disk refuses for now and damages nothing; with room again all works, without a restart.

On a file system of 32 MiB that the test mounts, filled up to a random rest before each step: 40
rests; DISKFULLS=400 for more, DISKFULL_SEED for others.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from unittest import SkipTest

import pytest
from twisted.internet import reactor

from mailnode.addresses import parse_address
from mailnode.errors import StoreFull
from mailnode.model import Blob
from mailnode.store.accounts import Accounts
from mailnode.store.database import Database
from mailnode.store.reserve import Reserve
from mailnode.store.verify import verify
from tests.live.node import command
from tests.stores.support import StoreCase, envelope, message

RESTS = int(os.environ.get("DISKFULLS", "40"))
SEED = int(os.environ.get("DISKFULL_SEED", "1"))

pytestmark = pytest.mark.timeout(120 + RESTS)


class SmallDiskCase(StoreCase):
    """A data folder on a disk of 32 MiB."""

    timeout = 120 + RESTS

    def setUp(self) -> None:
        self.disk = Path(self.mktemp()).resolve()
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(self.disk)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode and os.environ.get("CI") != "true":
            raise SkipTest(f"needs the right to mount a file system: {done.stderr.strip()}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.addCleanup(subprocess.run, ["umount", str(self.disk)], check=True)
        self.patch(self, "mktemp", lambda: str(self.disk / "var"))
        super().setUp()
        self.filler = self.disk / "filler"

    def fill(self, rest_octets: int) -> None:
        """All but that much of the disk is taken."""
        self.make_room()
        about = os.statvfs(self.disk)
        taken = max(0, about.f_bavail * about.f_frsize - rest_octets)
        with self.filler.open("wb") as file:
            file.write(bytes(taken))

    def make_room(self) -> None:
        self.filler.unlink(missing_ok=True)

    async def tried(self, what) -> bool:
        """Whether it was done; False when the disk was full, and no other way out."""
        try:
            await what
        except StoreFull:
            return False
        return True

    async def file_blob(self, raw: bytes) -> None:
        writer = self.blobs.create()
        try:
            writer.write(raw)
            body = Blob(await writer.commit())
            await self.messages.file_message(envelope(1), message(raw, body=body))
        except StoreFull:
            await writer.discard()
            raise


class DiskFullTests(SmallDiskCase):
    def setUp(self) -> None:
        super().setUp()
        self.accounts = Accounts.open(self.disk / "users.db", create=True)
        self.addCleanup(self.accounts.close)
        self.accounts.add_domain("example.test")
        self.accounts.add_account(parse_address("a@example.test"), "before")

    async def change_account(self, password: str) -> None:
        self.accounts.set_password("a@example.test", password)

    async def empty(self) -> None:
        """All mail is deleted, as POP3 does it."""
        folder = await self.messages.inbox(1)
        uids = [uid for (uid,) in self.rows("SELECT uid FROM delivery")]
        self.assertEqual(await self.messages.delete_mails(folder.folder_id, uids), len(uids))
        await self.until_no_blob_is_left()

    async def check(self, mails: int, password: str) -> None:
        self.assertEqual([str(fault) for fault in verify(self.data)], [])
        self.assertEqual(self.messages.usage(1)[1], mails)
        self.assertEqual(self.rows("SELECT count(*) FROM delivery"), [(mails,)])
        self.assertEqual(self.accounts.account("a@example.test").password_hash, password)

    async def test_at_any_rest_each_step_is_done_or_refused_for_now(self) -> None:
        chance, refused = random.Random(SEED), 0
        mails, password = 0, "before"
        for number in range(RESTS):
            self.fill(chance.choice([0, 0, 4096, 8192, 20_000, 60_000]))
            raw = chance.randbytes(chance.choice([10, 9_000])).hex().encode() + b"\r\n"
            filed = await self.tried(self.messages.file_message(envelope(1), message(raw)))
            kept = await self.tried(self.file_blob(chance.randbytes(30_000).hex().encode()))
            mails += filed + kept
            changed = await self.tried(self.change_account(f"{number}"))
            password = f"{number}" if changed else password
            folder = await self.messages.inbox(1) if mails else None
            deleted = True
            if folder is not None:
                uids = self.rows("SELECT max(uid) FROM delivery")[0]
                deleted = await self.tried(self.messages.delete_mails(folder.folder_id, uids))
                mails -= deleted and uids != (None,)
            refused += 4 - filed - kept - changed - deleted
            await self.check(mails, password)
            self.make_room()
            await self.messages.file_message(envelope(1), message())
            await self.change_account("again")
            await self.empty()
            mails, password = 0, "again"
        await self.check(mails, password)
        self.assertGreater(refused, RESTS // 4, "the disk was never full")

    async def test_a_store_that_has_no_room_for_its_schema_opens_once_there_is_some(self) -> None:
        path = self.disk / "other" / "mail.db"
        path.parent.mkdir()
        for rest in range(0, 16):
            self.fill(rest * 4096)
            try:
                database = Database.open(
                    path, call_in_reactor=reactor.callFromThread, on_fatal=self.fatal.append
                )
            except StoreFull:
                continue
            await database.close()
            self.assertGreater(rest, 0, "the disk was never full")
        self.make_room()
        database = Database.open(
            path, call_in_reactor=reactor.callFromThread, on_fatal=self.fatal.append
        )
        await database.close()
        self.assertEqual(list(verify(path.parent)), [])
        self.assertEqual(self.fatal, [])


RESERVE = 8 << 20  # more than the log of these tests adds to the database


class ReserveTests(SmallDiskCase):
    """With a reserve a full disk takes deletions, and nothing else."""

    reserve_octets = RESERVE

    def reserve(self) -> int:
        return (self.data / "reserve").stat().st_size

    async def mails(self, count: int) -> list[int]:
        for number in range(count):
            await self.messages.file_message(envelope(1), message(b"%d\r\n" % number * 3000))
        return [uid for (uid,) in self.rows("SELECT uid FROM delivery ORDER BY uid")]

    async def fill_so_that_nothing_can_be_written(self) -> None:
        """Also not into what the log and the database already have."""
        self.fill(0)
        while await self.tried(self.messages.file_message(envelope(2), message(bytes(9000)))):
            pass

    async def test_deletions_are_done_until_the_maildrop_is_empty_and_mail_waits(self) -> None:
        uids = await self.mails(300)
        folder = await self.messages.inbox(1)
        await self.fill_so_that_nothing_can_be_written()
        others = 3  # who take what the deletions gave back
        for uid in uids[:-1]:
            self.assertEqual(await self.messages.delete_mails(folder.folder_id, [uid]), 1)
            if self.database.reserve.spent and others:
                others -= 1
                self.fill(0)
                left = self.reserve()
                with self.assertRaises(StoreFull):
                    await self.messages.file_message(envelope(1), message())
                with self.assertRaises(StoreFull):
                    await self.file_blob(bytes(30_000))
                self.assertEqual(self.reserve(), left)
        self.assertEqual((self.messages.usage(1)[1], others), (1, 0))
        self.make_room()
        await self.messages.file_message(envelope(1), message())
        await self.file_blob(bytes(30_000))
        self.assertFalse(self.database.reserve.spent)
        self.assertEqual(self.reserve(), RESERVE)
        self.assertEqual([str(fault) for fault in verify(self.data)], [])

    async def test_at_any_rest_a_deletion_is_done(self) -> None:
        chance, used = random.Random(SEED), 0
        for _ in range(max(4, RESTS // 4)):
            uids = await self.mails(20)
            folder = await self.messages.inbox(1)
            self.fill(chance.choice([0, 0, 0, 4096, 8192, 20_000]))
            chance.shuffle(uids)
            while uids:
                some = [uids.pop() for _ in range(min(len(uids), chance.choice([1, 3, 20])))]
                deleted = await self.messages.delete_mails(folder.folder_id, some)
                self.assertEqual(deleted, len(some))
                used += self.database.reserve.spent
            self.assertEqual([str(fault) for fault in verify(self.data)], [])
            self.make_room()
        self.assertGreater(used, 0, "the reserve was never used")

    async def test_what_another_process_gave_up_is_noticed_and_made_good(self) -> None:
        await self.mails(1)
        self.fill(0)
        self.assertTrue(Reserve(self.data / "reserve", RESERVE).give_up())
        self.fill(0)
        self.database.look_at_reserve()
        self.assertTrue(self.database.reserve.spent)
        with self.assertRaises(StoreFull):
            await self.messages.file_message(envelope(1), message())
        self.make_room()
        self.database.look_at_reserve()
        await self.database.transact("wait", lambda connection: None, frees=True)
        self.assertEqual((self.database.reserve.spent, self.reserve()), (False, RESERVE))

    async def test_an_account_is_changed_by_the_command(self) -> None:
        await self.mails(1)
        accounts = Accounts.open(self.disk / "users.db", create=True)
        self.addCleanup(accounts.close)
        accounts.add_domain("example.test")
        accounts.add_account(parse_address("a@example.test"), "")
        self.fill(0)
        settings = {"MAILNODE_STORE__RESERVE": str(RESERVE)}
        command(self.disk, "user", "disable", "a@example.test", settings=settings)
        self.assertTrue(accounts.account("a@example.test").disabled)
        self.assertLess(self.reserve(), RESERVE)

    async def test_a_reserve_that_finds_no_room_at_the_start_is_made_once_there_is(self) -> None:
        await self.mails(1)
        await self.close_store()
        (self.data / "reserve").unlink()
        self.fill(RESERVE // 2)
        self.open_store()
        with self.assertRaises(StoreFull):
            await self.messages.file_message(envelope(1), message())
        self.make_room()
        await self.messages.file_message(envelope(1), message())
        self.assertEqual(self.reserve(), RESERVE)
