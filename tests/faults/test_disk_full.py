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
from mailnode.store.verify import verify
from tests.stores.support import StoreCase, envelope, message

RESTS = int(os.environ.get("DISKFULLS", "40"))
SEED = int(os.environ.get("DISKFULL_SEED", "1"))

pytestmark = pytest.mark.timeout(120 + RESTS)


class DiskFullTests(StoreCase):
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
        self.accounts = Accounts.open(self.disk / "users.db", create=True)
        self.addCleanup(self.accounts.close)
        self.accounts.add_domain("example.test")
        self.accounts.add_account(parse_address("a@example.test"), "before")
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
