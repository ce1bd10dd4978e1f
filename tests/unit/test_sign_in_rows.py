"""What users.db keeps of sign-ins: keys, passwords of before, and what goes with the account."""

from __future__ import annotations

import sqlite3
from itertools import combinations
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.cred.stored import ScramKeys, StoredPassword, read_kept, store_password
from mailnode.sealing import Seal
from mailnode.store.accounts import Account, Accounts
from mailnode.store.salvage import _TYPES, Table, _tables
from mailnode.store.sign_in import MOST_FORMER, TABLES, KeptKeys, Renewal, forget_what_may_be_old
from mailnode.store.sqlite import migrate, schema_scripts

ALICE, BOB = parse_address("alice@example.test"), parse_address("bob@example.test")
SEAL = Seal(Path("seal.key"), b"k" * 32)


def stored(password: str, password_hash: str = "h") -> StoredPassword:
    return StoredPassword(password_hash, ScramKeys.of(password, b"s" * 16, 4096), SEAL)


class SignInCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.accounts = Accounts.open(self.path, create=True)
        self.addCleanup(self.accounts.close)
        self.accounts.add_domain("example.test")

    def kept(self, name: str = "alice") -> KeptKeys | None:
        return self.accounts.load_directory().scram_keys.get(self.accounts.account(name).id)

    def rows(self, table: str) -> int:
        with self.accounts.file.look() as sql:
            (count,) = sql.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


class PasswordTests(SignInCase):
    def keys(self, account: Account) -> ScramKeys | None:
        return read_kept(account, self.kept(), SEAL)

    def test_an_account_has_the_keys_of_its_password_sealed_about_it(self) -> None:
        alice = self.accounts.add_account(ALICE, stored("sesame"))
        self.assertEqual(ScramKeys.of("sesame", b"s" * 16, 4096), self.keys(alice))
        self.assertIsNone(self.keys(evolve(alice, id=alice.id + 1)))
        self.accounts.set_password("alice", stored("open it"))
        self.assertEqual(ScramKeys.of("open it", b"s" * 16, 4096), self.keys(alice))

    def test_of_a_hash_alone_there_are_none_and_those_of_before_are_gone(self) -> None:
        self.accounts.add_account(ALICE, stored("sesame"))
        self.accounts.set_password("alice", "$2y$...")
        self.assertIsNone(self.kept())
        self.assertEqual("$2y$...", self.accounts.account("alice").password_hash)

    def test_a_demo_accounts_keys_are_open_until_it_is_one_no_more(self) -> None:
        alice = self.accounts.add_account(ALICE, store_password("demo", ALICE, None), demo=True)
        other = Seal(Path("seal.key"), b"o" * 32)
        self.assertIsNotNone(read_kept(alice, self.kept(), other))
        self.accounts.set_password("alice", stored("sesame"))
        alice = self.accounts.account("alice")
        self.assertIsNone(read_kept(alice, self.kept(), other))
        self.assertIsNotNone(read_kept(alice, self.kept(), SEAL))

    def test_the_last_five_passwords_are_known_the_latest_first(self) -> None:
        alice = self.accounts.add_account(ALICE, "h0")
        for number in range(1, 8):
            self.accounts.set_password("alice", f"h{number}")
        former = self.accounts.sign_in.former_passwords(alice.id)
        self.assertEqual(["h6", "h5", "h4", "h3", "h2"], former)
        self.assertEqual(MOST_FORMER, len(former))

    def test_the_keys_of_a_password_of_before_stay_beside_its_hash_the_latest_first(self) -> None:
        alice = self.accounts.add_account(ALICE, stored("word 0"))
        for number in range(1, 8):
            self.accounts.set_password("alice", stored(f"word {number}"))
        former = self.accounts.sign_in.former_keys(alice.id)
        alice = self.accounts.account("alice")
        self.assertEqual(
            [ScramKeys.of(f"word {number}", b"s" * 16, 4096) for number in (6, 5, 4, 3, 2)],
            [read_kept(alice, each, SEAL) for each in former],
        )
        self.assertIsNone(read_kept(evolve(alice, id=alice.id + 1), former[0], SEAL))

    def test_of_a_former_password_that_was_a_hash_alone_no_keys_are_known(self) -> None:
        alice = self.accounts.add_account(ALICE, "h0")
        self.accounts.set_password("alice", stored("sesame"))
        self.accounts.set_password("alice", "h2")
        self.accounts.set_password("alice", "h3")
        (kept,) = self.accounts.sign_in.former_keys(alice.id)
        self.assertEqual(
            ScramKeys.of("sesame", b"s" * 16, 4096),
            read_kept(self.accounts.account("alice"), kept, SEAL),
        )
        self.assertEqual(3, len(self.accounts.sign_in.former_passwords(alice.id)))

    def test_keys_of_a_published_password_count_as_unknown_once_it_is_one_of_before(self) -> None:
        alice = self.accounts.add_account(ALICE, store_password("demo", ALICE, None), demo=True)
        self.accounts.set_password("alice", stored("sesame"))
        self.assertEqual([], self.accounts.sign_in.former_keys(alice.id))
        self.assertEqual(1, len(self.accounts.sign_in.former_passwords(alice.id)))

    def test_an_account_without_a_password_had_none(self) -> None:
        alice = self.accounts.add_account(ALICE, "")
        self.accounts.set_password("alice", "h1")
        self.assertEqual([], self.accounts.sign_in.former_passwords(alice.id))

    def test_nothing_of_an_account_outlives_it(self) -> None:
        alice = self.accounts.add_account(ALICE, stored("sesame"))
        self.accounts.set_password("alice", stored("open it"))
        with self.accounts.file.change() as sql:
            sql.execute(
                "INSERT INTO factor (account_id, kind, name, target, sealed_secret, created_at)"
                " VALUES (?, 'totp', 'phone', '', x'00', 1.0)",
                (alice.id,),
            )
            sql.execute(
                "INSERT INTO recovery_code (account_id, key_hash, created_at)"
                " VALUES (?, x'01', 1.0)",
                (alice.id,),
            )
            sql.execute(
                "INSERT INTO domain_admin (account_id, domain_id, created_at)"
                " SELECT ?, id, 1.0 FROM domain",
                (alice.id,),
            )
        self.assertEqual([1] * 5, [self.rows(table) for table in TABLES])
        self.accounts.delete_account("alice")
        self.assertEqual([0] * 5, [self.rows(table) for table in TABLES])


class RenewalTests(SignInCase):
    def test_a_renewed_hash_is_of_the_same_password_and_nobody_is_signed_out(self) -> None:
        alice = self.accounts.add_account(ALICE, "old")
        before = self.accounts.load_directory()
        self.accounts.sign_in.renew([Renewal(alice, stored("sesame", "new"))])
        now = self.accounts.account("alice")
        self.assertEqual("new", now.password_hash)
        self.assertIsNotNone(self.kept())
        for name in ("sign_in_changed_at", "password_changed_at"):
            self.assertEqual(getattr(alice, name), getattr(now, name))
        self.assertEqual(set(), self.accounts.load_directory().changed_since(before))
        self.assertEqual([], self.accounts.sign_in.former_passwords(alice.id))

    def test_a_password_that_changed_meanwhile_stays(self) -> None:
        alice = self.accounts.add_account(ALICE, "old")
        bob = self.accounts.add_account(BOB, "old")
        self.accounts.set_password("alice", "changed")
        self.accounts.delete_account("bob")
        self.accounts.sign_in.renew(
            [Renewal(alice, stored("sesame", "new")), Renewal(bob, stored("sesame", "new"))]
        )
        self.assertEqual("changed", self.accounts.account("alice").password_hash)
        self.assertEqual(0, self.rows("scram_key"))


class OlderFileTests(SynchronousTestCase):
    def test_a_row_of_before_has_all_columns_and_no_keys_are_known(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        scripts = schema_scripts("accounts")
        migrate(connection, {version: scripts[version] for version in range(1, 7)})
        connection.executescript(
            """
            INSERT INTO domain VALUES (1, 'example.test', 1.0);
            INSERT INTO account (id, domain_id, local, key, password_hash, created_at, changed_at)
                VALUES (1, 1, 'a', 'a@example.test', 'h', 1.0, 1.0);
            INSERT INTO former_password VALUES (1, 1, 'h', 1.0);
            """
        )
        migrate(connection, scripts)
        rows = connection.execute("SELECT * FROM former_password").fetchall()
        self.assertEqual([(1, 1, "h", 1.0, None, None, None)], rows)


class ShapeTests(SynchronousTestCase):
    """`repair` puts a row whose table is unknown where its shape fits."""

    def test_no_row_of_a_table_of_users_db_fits_another(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        migrate(connection, schema_scripts("accounts"))
        tables = _tables(connection).values()
        self.assertLessEqual(set(TABLES), {table.name for table in tables})
        for one, other in combinations(tables, 2):
            self.assertFalse(_may_be_taken_for(one, other), (one.name, other.name))

    def test_what_may_be_of_a_right_that_was_withdrawn_is_emptied(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        migrate(connection, schema_scripts("accounts"))
        connection.executescript(
            """
            INSERT INTO domain VALUES (1, 'example.test', 1.0);
            INSERT INTO account (id, domain_id, local, key, password_hash, created_at, changed_at)
                VALUES (1, 1, 'a', 'a@example.test', 'h', 1.0, 1.0);
            INSERT INTO scram_key VALUES (1, x'00', 4096, x'01');
            INSERT INTO domain_admin VALUES (1, 1, 1, 1.0);
            INSERT INTO factor VALUES (1, 1, 'totp', 'phone', '', x'00', 1.0);
            INSERT INTO former_password
                VALUES (1, 1, 'h', 1.0, x'00', 4096, x'01'), (2, 7, 'h', 1.0, NULL, NULL, NULL);
            """
        )
        emptied = forget_what_may_be_old(connection)
        self.assertEqual([("scram_key", 1), ("domain_admin", 1)], emptied)
        (factors,) = connection.execute("SELECT count(*) FROM factor").fetchone()
        (former,) = connection.execute("SELECT count(*) FROM former_password").fetchone()
        self.assertEqual((1, 1), (factors, former))


def _may_be_taken_for(one: Table, other: Table) -> bool:
    if (one.rowid_at < 0) != (other.rowid_at < 0) or len(one.columns) != len(other.columns):
        return False
    kinds = dict(_TYPES) | {"TEXT": (str, bytes), "BLOB": (str, bytes)}  # one bit parts these
    for at, (mine, theirs) in enumerate(zip(one.columns, other.columns, strict=True)):
        rowid = at == one.rowid_at, at == other.rowid_at
        if rowid[0] != rowid[1]:
            return False
        both_null = mine[2] and theirs[2]
        if not rowid[0] and not both_null and not set(kinds[mine[1]]) & set(kinds[theirs[1]]):
            return False
    return True
