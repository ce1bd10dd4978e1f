"""Second factors in users.db, and in the directory that the node has of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import AccountError, AlreadyThere, NotFound
from mailnode.store.accounts import Accounts
from mailnode.store.directory import LiveDirectory
from mailnode.store.factors import MOST_FACTORS, CodesLeft


class FactorRowsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.accounts = Accounts.open(self.path, create=True)
        self.addCleanup(self.accounts.close)
        self.accounts.add_domain("example.test")
        self.alice, self.bob = (
            self.accounts.add_account(parse_address(f"{name}@example.test"), "hash")
            for name in ("alice", "bob")
        )
        self.rows = self.accounts.factors

    def test_one_has_a_name_of_its_own(self) -> None:
        self.rows.add(self.alice.id, "totp", "  my   phone ", "", b"s")
        self.assertEqual(["my phone"], [each.name for each in self.rows.factors(self.alice.id)])
        with self.assertRaises(AlreadyThere):
            self.rows.add(self.alice.id, "mail", "my phone", "a@elsewhere.example")
        self.rows.add(self.bob.id, "totp", "my phone", "", b"s")
        for name in ("", " ", "x" * 81, "a\x1bb"):
            with self.assertRaises(AccountError):
                self.rows.add(self.alice.id, "totp", name, "", b"s")

    def test_they_are_few_and_of_an_account_that_is_there(self) -> None:
        for number in range(MOST_FACTORS):
            self.rows.add(self.alice.id, "totp", f"phone {number}", "", b"s")
        with self.assertRaises(AccountError):
            self.rows.add(self.alice.id, "totp", "one more", "", b"s")
        with self.assertRaises(NotFound):
            self.rows.add(1, "totp", "phone", "", b"s")

    def test_nobody_takes_off_another_accounts(self) -> None:
        factor = self.rows.add(self.alice.id, "totp", "phone", "", b"s")
        self.assertEqual([], self.rows.remove(self.bob.id, [factor.id]))
        self.assertEqual([factor], self.rows.remove(self.alice.id, [factor.id]))
        self.assertEqual([], self.rows.remove(self.alice.id, [factor.id]))

    def test_a_recovery_code_counts_once_and_for_its_account(self) -> None:
        self.rows.add(self.alice.id, "totp", "phone", "", b"s")
        self.rows.set_recovery_codes(self.alice.id, [b"1", b"2"])
        self.assertFalse(self.rows.use_recovery_code(self.bob.id, b"1"))
        self.assertTrue(self.rows.use_recovery_code(self.alice.id, b"1"))
        with closing(Accounts.open(self.path)) as other:
            self.assertFalse(other.factors.use_recovery_code(self.alice.id, b"1"))
            self.assertTrue(other.factors.use_recovery_code(self.alice.id, b"2"))
        self.assertFalse(self.rows.use_recovery_code(self.alice.id, b"2"))
        self.assertEqual(CodesLeft(0, 2), self.rows.recovery_codes(self.alice.id))
        self.rows.set_recovery_codes(self.alice.id, [b"3"])
        self.assertEqual(CodesLeft(1, 1), self.rows.recovery_codes(self.alice.id))

    def test_the_last_factor_takes_the_codes_along_and_an_account_takes_all(self) -> None:
        one, other = (self.rows.add(self.alice.id, "totp", name, "", b"s") for name in "ab")
        self.rows.set_recovery_codes(self.alice.id, [b"1"])
        self.rows.remove(self.alice.id, [one.id])
        self.assertEqual(CodesLeft(1, 1), self.rows.recovery_codes(self.alice.id))
        self.rows.remove(self.alice.id, [other.id])
        self.assertEqual(CodesLeft(0, 0), self.rows.recovery_codes(self.alice.id))
        self.rows.add(self.alice.id, "totp", "c", "", b"s")
        self.rows.set_recovery_codes(self.alice.id, [b"1"])
        self.accounts.delete_account("alice@example.test")
        with closing(sqlite3.connect(self.path)) as sql:
            for table in ("factor", "recovery_code"):
                self.assertEqual([], sql.execute(f"SELECT * FROM {table}").fetchall())

    def test_the_directory_knows_them_and_a_first_one_ends_what_was_signed_in_before(self) -> None:
        live, changed = LiveDirectory(), list[set[int]]()
        live.replace(self.accounts.load_directory())
        live.subscribe(changed.append)
        self.assertEqual((), live.factors(self.alice.id))
        first = self.rows.add(self.alice.id, "totp", "phone", "", b"s")
        live.replace(self.accounts.load_directory())
        self.assertEqual((first,), live.factors(self.alice.id))
        self.rows.add(self.alice.id, "totp", "other", "", b"s")
        live.replace(self.accounts.load_directory())
        self.rows.remove(self.alice.id, [each.id for each in self.rows.factors(self.alice.id)])
        live.replace(self.accounts.load_directory())
        self.assertEqual([{self.alice.id}], changed)
        self.assertNotIn("s'", repr(first))
