"""Before a schema changes a copy is kept; it goes after a week, and `rollback` takes it back."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections import namedtuple
from pathlib import Path
from unittest.mock import patch

from mailnode.addresses import parse_address
from mailnode.errors import StoreFull
from mailnode.store import database, sqlite
from mailnode.store.accounts import Accounts
from mailnode.store.exchange import KEPT, finish_exchange, next_of, stamp
from mailnode.store.upgrade import KEEP_S, copies, delete_old_copies
from mailnode.store.verify import verify
from tests.faults.upgrading import newer_version
from tests.stores.support import StoreCase, envelope, message

MAIL, USERS = (max(sqlite.schema_scripts(engine)) for engine in ("sqlite", "accounts"))


class UpgradeTests(StoreCase):
    async def setUp(self) -> None:
        super().setUp()
        self.kept = self.data / KEPT
        self.mail = envelope(1)
        await self.messages.file_message(self.mail, message())

    async def upgrade(self) -> None:
        await self.close_store()
        with newer_version():
            self.open_store()

    def mails_in(self, path: Path) -> list[str]:
        connection = sqlite3.connect(path)
        try:
            return [each for (each,) in connection.execute("SELECT mail_id FROM message")]
        finally:
            connection.close()

    async def test_a_copy_of_before_is_kept_whole_and_says_version_and_time(self) -> None:
        before = stamp(time.time())
        await self.upgrade()
        (copy,) = copies(self.kept)
        self.assertEqual((copy.database, copy.version), ("mail.db", MAIL))
        self.assertTrue(before <= copy.stamp <= stamp(time.time()))
        self.assertEqual(self.mails_in(copy.path), [self.mail.mail_id])
        self.assertEqual([path.name for path in self.kept.iterdir()], [copy.path.name])
        self.assertEqual(os.stat(copy.path).st_mode & 0o777, 0o600)
        self.assertEqual(self.database.schema_version, MAIL + 1)
        self.assertEqual(list(verify(self.data)), [])

    async def test_no_copy_is_made_of_a_new_store_or_of_one_that_is_up_to_date(self) -> None:
        await self.reopen_store()
        self.assertEqual(copies(self.kept), [])

    async def test_a_step_that_fails_leaves_the_store_as_it_was_and_one_copy(self) -> None:
        await self.close_store()
        broken = {**sqlite.schema_scripts(), MAIL + 1: "not SQL"}
        with patch.object(database, "_schema_scripts", lambda: broken):
            for _ in range(3):
                self.assertRaises(sqlite3.OperationalError, self.open_store)
        self.assertEqual(len(copies(self.kept)), 1)
        self.open_store()
        self.assertEqual(self.database.schema_version, MAIL)
        self.assertEqual(self.mails_in(self.data / "mail.db"), [self.mail.mail_id])

    async def test_without_room_for_the_copy_nothing_is_upgraded(self) -> None:
        await self.close_store()
        disk = namedtuple("disk", "f_bavail f_frsize")(1000, 4096)
        with newer_version():
            self.patch(os, "statvfs", lambda path: disk)
            error = self.assertRaises(StoreFull, self.open_store)
        self.assertIn("octets free", error.detail)
        self.assertEqual(list(self.kept.iterdir()), [])
        self.open_store()
        self.assertEqual(self.database.schema_version, MAIL)

    async def test_a_copy_goes_after_a_week_and_what_else_is_kept_stays(self) -> None:
        await self.upgrade()
        (self.kept / "repair-20200101T000000Z").mkdir()
        self.assertEqual(delete_old_copies(self.kept, time.time() + KEEP_S - 60), 0)
        self.assertEqual(delete_old_copies(self.kept, time.time() + KEEP_S + 60), 1)
        self.assertEqual([path.name for path in self.kept.iterdir()], ["repair-20200101T000000Z"])

    def test_users_db_is_copied_into_the_data_folder(self) -> None:
        path = self.data / "users.db"
        accounts = Accounts.open(path, create=True, data=self.data)
        accounts.add_domain("example.test")
        accounts.close()
        with newer_version():
            Accounts.open(path, data=self.data).close()
        (copy,) = copies(self.kept)
        self.assertEqual((copy.database, copy.version), ("users.db", USERS))

    def test_of_two_that_upgrade_at_once_one_keeps_the_copy(self) -> None:
        path = self.data / "users.db"
        Accounts.open(path, create=True, data=self.data).close()
        waits = fcntl.flock

        def another_is_first(fd: int, how: int) -> None:
            self.patch(fcntl, "flock", waits)
            Accounts.open(path, data=self.data).close()
            waits(fd, how)

        with newer_version():
            self.patch(fcntl, "flock", another_is_first)
            Accounts.open(path, data=self.data).close()
        (copy,) = copies(self.kept)
        connection = sqlite3.connect(copy.path)
        self.addCleanup(connection.close)
        self.assertEqual((copy.version,), connection.execute("PRAGMA user_version").fetchone())

    def test_a_users_db_of_the_first_version_keeps_what_it_has_and_mail_stays_here(self) -> None:
        path = self.data / "users.db"
        old = sqlite3.connect(path, isolation_level=None)
        sqlite.migrate(old, {1: sqlite.schema_scripts("accounts")[1]})
        old.execute("INSERT INTO domain VALUES (1, 'example.test', 5.0)")
        old.execute(
            "INSERT INTO account (domain_id, local, key, password_hash, created_at, changed_at)"
            " VALUES (1, 'carol', 'carol@example.test', 'h', 5.0, 7.0)"
        )
        old.execute(
            "INSERT INTO alias VALUES"
            " (1, 1, 'sales', 'sales@example.test', 'carol@example.test', 5.0)"
        )
        old.close()
        accounts = Accounts.open(path, data=self.data)
        self.addCleanup(accounts.close)
        directory = accounts.load_directory()
        (carol,) = directory.accounts()
        self.assertEqual(("h", False, 7.0), (carol.password_hash, carol.admin, carol.changed_at))
        self.assertEqual((7.0, "Junk"), (carol.sign_in_changed_at, carol.junk))
        self.assertEqual(["capture"], [directory.gear])
        self.assertEqual(1, len(directory.expand(parse_address("sales@example.test"))))
        self.assertEqual([1], [copy.version for copy in copies(self.kept)])

    async def test_who_opens_a_store_finishes_an_exchange_that_was_begun(self) -> None:
        path = self.data / "mail.db"
        await self.upgrade()
        await self.close_store()
        (copy,) = copies(self.kept)
        copy.path.rename(next_of(path))
        (self.data / "mail.db-wal").write_bytes(b"of the one before")
        self.assertTrue(finish_exchange(path))
        self.assertFalse(finish_exchange(path))
        self.open_store()
        self.assertEqual(self.database.schema_version, MAIL)
        self.assertEqual(self.mails_in(path), [self.mail.mail_id])
