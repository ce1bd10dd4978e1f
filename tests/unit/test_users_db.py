"""The repository's users.db: the demo domain, so that a fresh clone works at once.

It is made again, in an empty folder, with

    mailnode init --domain example.test
    echo alice-demo | mailnode user add --demo --admin alice@example.test
    echo bob-demo | mailnode user add --demo bob@example.test
    mailnode gear set capture
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred.passwords import password_matches
from mailnode.store.accounts import Accounts
from mailnode.store.elsewhere import Elsewhere

USERS_DB = Path(__file__).parents[2] / "users.db"


class UsersDbTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.path = folder / "users.db"
        shutil.copyfile(USERS_DB, self.path)
        self.accounts = Accounts.open(self.path, create=True)
        self.addCleanup(self.accounts.close)

    def test_it_holds_the_demo_domain_alice_and_bob_and_nothing_else(self) -> None:
        directory = self.accounts.load_directory()
        self.assertEqual(["example.test"], [domain.name for domain in self.accounts.domains()])
        self.assertEqual(
            ["alice@example.test", "bob@example.test"],
            [account.key for account in directory.demo_accounts],
        )
        self.assertEqual(directory.demo_accounts, directory.accounts())
        self.assertEqual([True, False], [account.admin for account in directory.accounts()])
        self.assertEqual([], self.accounts.aliases())
        self.assertEqual(Elsewhere.of(), directory.elsewhere)

    def test_it_captures_what_is_for_elsewhere_and_says_so(self) -> None:
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        settings = connection.execute("SELECT name, value FROM setting").fetchall()
        self.assertEqual([("gear", "capture")], settings)

    def test_their_passwords_are_the_published_ones(self) -> None:
        for account in self.accounts.accounts():
            password = f"{account.address.local}-demo"
            self.assertTrue(password_matches(account.password_hash, password), password)

    def test_its_schema_is_the_newest_so_that_running_leaves_it_unchanged(self) -> None:
        self.accounts.load_directory()
        self.assertEqual(USERS_DB.read_bytes(), self.path.read_bytes())
