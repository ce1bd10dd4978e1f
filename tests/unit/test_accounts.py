"""users.db: what an administrator sets, and every way it is refused."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import (
    AccountError,
    AlreadyThere,
    BadAddress,
    NoFolder,
    NotFound,
    StoreBroken,
    StoreBusy,
    StoreTooNew,
)
from mailnode.store.accounts import Accounts
from tests.damaged import damage_schema

ALICE = parse_address("Alice@example.test")
BOB = parse_address("bob@example.test")


class AccountsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "users.db"
        self.accounts = self.open(create=True)
        self.accounts.add_domain("example.test")

    def open(self, *, create: bool = False) -> Accounts:
        accounts = Accounts.open(self.path, create=create)
        self.addCleanup(accounts.close)
        return accounts


class OpenTests(AccountsCase):
    def test_a_new_file_is_readable_by_its_owner_only(self) -> None:
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))

    def test_a_missing_file_is_not_made_unless_asked_and_the_mend_is_named(self) -> None:
        with self.assertRaisesRegex(NotFound, "mailnode init"):
            Accounts.open(self.path.with_name("none.db"))
        self.assertFalse(self.path.with_name("none.db").exists())

    def test_a_missing_folder_is_named(self) -> None:
        with self.assertRaisesRegex(NoFolder, "no folder"):
            Accounts.open(self.path / "below" / "users.db", create=True)

    def test_opening_and_reading_leave_the_file_unchanged(self) -> None:
        self.accounts.add_account(ALICE, "h")
        before, written_at = self.path.read_bytes(), self.path.stat().st_mtime_ns
        other = self.open(create=True)
        other.load_directory()
        other.data_version()
        self.assertEqual(before, self.path.read_bytes())
        self.assertEqual(written_at, self.path.stat().st_mtime_ns)

    def test_it_stays_in_rollback_journal_mode(self) -> None:
        self.assertEqual([1, 1], list(self.path.read_bytes()[18:20]))
        self.assertFalse(self.path.with_name(self.path.name + "-wal").exists())

    def test_a_file_of_a_newer_version_is_refused(self) -> None:
        with sqlite3.connect(self.path) as raw:
            raw.execute("PRAGMA user_version = 9999")
        raw.close()
        self.assertRaises(StoreTooNew, self.open)

    def test_an_sqlite_file_of_something_else_is_left_alone(self) -> None:
        other = self.folder / "other.db"
        with sqlite3.connect(other) as raw:
            raw.execute("CREATE TABLE recipe (name TEXT)")
        raw.close()
        before = other.read_bytes()
        self.assertRaises(StoreBroken, Accounts.open, other, create=True)
        self.assertEqual(before, other.read_bytes())

    def test_what_is_no_database_is_a_fault_of_the_store(self) -> None:
        other = self.folder / "other.db"
        other.write_bytes(b"alice:alice\n" * 100)
        self.assertRaises(StoreBroken, Accounts.open, other)

    def test_so_is_a_damage_that_sqlite_quotes_in_words_that_are_no_utf_8(self) -> None:
        self.accounts.close()
        damage_schema(self.path, "account")
        with self.assertRaises(StoreBroken) as raised:
            Accounts.open(self.path)
        self.assertIn("damaged", raised.exception.detail)

    def test_many_may_make_the_same_file_at_once(self) -> None:
        path, failures = self.folder / "other.db", []

        def make() -> None:
            try:
                Accounts.open(path, create=True).close()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failures)
        Accounts.open(path).close()


class DomainTests(AccountsCase):
    def test_domains_are_kept_as_lower_case_a_labels_in_order(self) -> None:
        self.accounts.add_domain("BÜCHER.test")
        names = [domain.name for domain in self.accounts.domains()]
        self.assertEqual(["example.test", "xn--bcher-kva.test"], names)

    def test_a_domain_is_there_once(self) -> None:
        self.assertRaises(AlreadyThere, self.accounts.add_domain, "EXAMPLE.test")

    def test_what_is_no_domain_is_refused(self) -> None:
        self.assertRaises(BadAddress, self.accounts.add_domain, "not a domain")

    def test_a_domain_with_accounts_or_aliases_stays(self) -> None:
        self.accounts.add_account(ALICE, "h")
        with self.assertRaisesRegex(AccountError, r"accounts \(1\)"):
            self.accounts.delete_domain("example.test")
        self.accounts.add_domain("other.test")
        self.accounts.add_alias("a@other.test", "alice@example.test")
        with self.assertRaisesRegex(AccountError, r"aliases \(1\)"):
            self.accounts.delete_domain("other.test")

    def test_its_keys_go_with_it(self) -> None:
        self.accounts.outside.add_key("example.test", "s1", "rsa-sha256", b"sealed", "public")
        self.accounts.delete_domain("example.test")
        self.assertEqual([], self.accounts.outside.keys())
        self.accounts.add_domain("example.test")
        self.assertEqual([], self.accounts.outside.keys("example.test"))

    def test_an_empty_domain_can_be_deleted(self) -> None:
        self.accounts.delete_domain("Example.TEST")
        self.assertEqual([], self.accounts.domains())

    def test_deleting_an_unknown_domain_names_the_mend(self) -> None:
        with self.assertRaisesRegex(NotFound, "mailnode domain add other.test"):
            self.accounts.delete_domain("other.test")


class AccountTests(AccountsCase):
    def test_an_account_comes_back_as_it_was_added(self) -> None:
        made = self.accounts.add_account(ALICE, "h", demo=True, quota_octets=5, quota_mails=7)
        self.assertEqual(made, self.accounts.account("alice@EXAMPLE.test"))
        self.assertEqual("Alice@example.test", str(made.address))
        self.assertEqual(("alice@example.test", "h"), (made.key, made.password_hash))
        self.assertEqual((True, False), (made.demo, made.disabled))
        self.assertEqual((5, 7), (made.quota_octets, made.quota_mails))
        self.assertEqual(made.created_at, made.changed_at)

    def test_a_demo_account_with_a_new_password_is_one_no_more(self) -> None:
        self.accounts.add_account(ALICE, "published", demo=True)
        self.accounts.set_password("alice", "secret")
        self.assertFalse(self.accounts.account("alice").demo)
        self.assertEqual((), self.accounts.load_directory().demo_accounts)

    def test_a_bare_name_means_the_first_domain(self) -> None:
        self.accounts.add_domain("other.test")
        self.accounts.add_account(parse_address("alice@other.test"), "h")
        self.assertRaises(NotFound, self.accounts.account, "alice")
        made = self.accounts.add_account(ALICE, "h")
        self.assertEqual(made, self.accounts.account("ALICE"))

    def test_an_unknown_name_names_the_mend(self) -> None:
        with self.assertRaisesRegex(NotFound, "carol@example.test; see: mailnode user list"):
            self.accounts.account("carol")
        self.assertRaises(NotFound, self.accounts.account, "not an address@")

    def test_a_bare_name_without_any_domain_names_that_mend(self) -> None:
        self.accounts.delete_domain("example.test")
        with self.assertRaisesRegex(NotFound, "mailnode domain add"):
            self.accounts.account("alice")

    def test_two_spellings_are_one_account(self) -> None:
        self.accounts.add_account(ALICE, "h")
        with self.assertRaises(AlreadyThere):
            self.accounts.add_account(parse_address("aLICE@example.test"), "h")

    def test_an_alias_keeps_its_address(self) -> None:
        self.accounts.add_account(ALICE, "h")
        self.accounts.add_alias("bob@example.test", "alice@example.test")
        self.assertRaises(AlreadyThere, self.accounts.add_account, BOB, "h")

    def test_a_foreign_domain_is_refused(self) -> None:
        with self.assertRaisesRegex(NotFound, "mailnode domain add other.test"):
            self.accounts.add_account(parse_address("a@other.test"), "h")

    def test_the_catch_all_is_no_account(self) -> None:
        with self.assertRaises(AccountError):
            self.accounts.add_account(parse_address("*@example.test"), "h")

    def test_a_users_db_made_anew_gives_no_id_of_the_one_before(self) -> None:
        anew = Accounts.open(self.mktemp(), create=True)
        self.addCleanup(anew.close)
        anew.add_domain("example.test")
        ids = [each.add_account(ALICE, "h").id for each in (self.accounts, anew)]
        self.assertNotEqual(*ids)
        self.assertTrue(all(0 < each < 1 << 53 for each in ids), "JSON keeps them whole")

    def test_an_id_is_never_used_again(self) -> None:
        first = self.accounts.add_account(ALICE, "h")
        self.accounts.delete_account("alice")
        self.assertGreater(self.accounts.add_account(ALICE, "h").id, first.id)

    def test_accounts_of_one_domain_are_listed_alone(self) -> None:
        self.accounts.add_domain("other.test")
        alice = self.accounts.add_account(ALICE, "h")
        other = self.accounts.add_account(parse_address("a@other.test"), "h")
        self.assertEqual([alice, other], self.accounts.accounts())
        self.assertEqual([other], self.accounts.accounts("Other.test"))
        self.assertRaises(NotFound, self.accounts.accounts, "third.test")

    def test_password_quota_and_disabling_are_set(self) -> None:
        made = self.accounts.add_account(ALICE, "h")
        self.accounts.set_password("alice", "new")
        self.accounts.set_disabled("alice", True)
        self.accounts.set_quota("alice", octets=0, mails=None)
        now = self.accounts.account("alice")
        self.assertEqual(
            ("new", True, 0, None),
            (now.password_hash, now.disabled, now.quota_octets, now.quota_mails),
        )
        self.assertGreater(now.changed_at, made.changed_at)
        self.assertRaises(NotFound, self.accounts.set_password, "carol", "h")

    def test_an_account_that_aliases_lead_to_is_deleted_only_by_force(self) -> None:
        self.accounts.add_account(ALICE, "h")
        self.accounts.add_account(BOB, "h")
        self.accounts.add_alias("team@example.test", "alice@example.test")
        self.accounts.add_alias("team@example.test", "bob@example.test")
        self.accounts.add_alias("lists@example.test", "alice+lists@example.test")
        with self.assertRaisesRegex(AccountError, "team@example.test, lists@example.test"):
            self.accounts.delete_account("alice")
        self.accounts.delete_account("alice", force=True)
        self.assertEqual(["bob@example.test"], [a.target for a in self.accounts.aliases()])
        self.assertRaises(NotFound, self.accounts.account, "alice")

    def test_an_account_whose_name_reads_as_a_subaddress_has_aliases_of_its_own(self) -> None:
        self.accounts.add_account(ALICE, "h")
        self.accounts.add_account(parse_address("alice+lists@example.test"), "h")
        self.accounts.add_alias("lists@example.test", "alice+lists@example.test")
        with self.assertRaisesRegex(AccountError, "lists@example.test"):
            self.accounts.delete_account("alice+lists")
        self.accounts.delete_account("alice")
        self.assertEqual(1, len(self.accounts.aliases()))


class AliasTests(AccountsCase):
    def setUp(self) -> None:
        super().setUp()
        self.accounts.add_account(ALICE, "h")
        self.accounts.add_account(BOB, "h")

    def test_an_alias_has_several_targets_each_once(self) -> None:
        first = self.accounts.add_alias("Team@example.test", "ALICE@example.test")
        second = self.accounts.add_alias("team@EXAMPLE.test", "bob@example.test")
        self.assertEqual(("Team@example.test", "alice@example.test"), (first.source, first.target))
        self.assertEqual([first, second], self.accounts.aliases())
        with self.assertRaises(AlreadyThere):
            self.accounts.add_alias("team@example.test", "Bob@example.test")

    def test_an_alias_may_lead_to_an_alias_or_a_subaddress(self) -> None:
        self.accounts.add_alias("team@example.test", "alice+team@example.test")
        self.accounts.add_alias("*@example.test", "team@example.test")
        self.assertEqual(
            ["alice+team@example.test", "team@example.test"],
            [alias.target for alias in self.accounts.aliases("example.test")],
        )

    def test_an_alias_may_lead_elsewhere(self) -> None:
        made = self.accounts.add_alias("team@example.test", "Carol@Other.test")
        self.assertEqual("carol@other.test", made.target)
        self.assertEqual([made], self.accounts.aliases())
        self.accounts.delete_account("alice")
        self.assertEqual([made], self.accounts.aliases())

    def test_an_unknown_target_is_an_error(self) -> None:
        with self.assertRaisesRegex(NotFound, "mailnode user add carol@example.test"):
            self.accounts.add_alias("team@example.test", "carol@example.test")
        self.assertEqual([], self.accounts.aliases())

    def test_an_alias_does_not_lead_to_itself(self) -> None:
        self.accounts.add_alias("team@example.test", "alice@example.test")
        for target in ("Team@example.test", "team+x@example.test"):
            with self.assertRaisesRegex(AccountError, "itself"):
                self.accounts.add_alias("team@example.test", target)

    def test_an_account_is_no_alias(self) -> None:
        with self.assertRaises(AlreadyThere):
            self.accounts.add_alias("ALICE@example.test", "bob@example.test")

    def test_one_target_or_all_of_them_are_deleted(self) -> None:
        for target in ("alice", "bob"):
            self.accounts.add_alias("team@example.test", f"{target}@example.test")
        self.accounts.delete_alias("TEAM@example.test", "Alice@example.test")
        self.assertEqual(["bob@example.test"], [a.target for a in self.accounts.aliases()])
        with self.assertRaisesRegex(NotFound, "to alice@example.test"):
            self.accounts.delete_alias("team@example.test", "alice@example.test")
        self.accounts.add_alias("team@example.test", "alice@example.test")
        self.accounts.delete_alias("team@example.test")
        self.assertEqual([], self.accounts.aliases())
        self.assertRaises(NotFound, self.accounts.delete_alias, "team@example.test")

    def test_aliases_of_one_domain_are_listed_alone(self) -> None:
        self.accounts.add_domain("other.test")
        self.accounts.add_alias("a@other.test", "alice@example.test")
        self.accounts.add_alias("a@example.test", "alice@example.test")
        self.assertEqual(["a@other.test"], [a.source for a in self.accounts.aliases("other.test")])


class SharingTests(AccountsCase):
    def test_the_version_changes_when_anyone_wrote(self) -> None:
        other = self.open()
        before = self.accounts.data_version(), other.data_version()
        self.assertEqual(before, (self.accounts.data_version(), other.data_version()))
        other.add_account(ALICE, "h")
        self.assertNotEqual(before[0], self.accounts.data_version())
        self.assertNotEqual(before[1], other.data_version())

    def test_the_version_is_told_at_once_while_somebody_writes(self) -> None:
        before = self.accounts.data_version()
        with sqlite3.connect(self.path, isolation_level=None) as raw:
            raw.execute("BEGIN EXCLUSIVE")
            self.assertEqual(before, self.accounts.data_version())
            raw.execute("ROLLBACK")
        raw.close()

    def test_a_file_that_stays_locked_is_busy_and_nothing_is_left_open(self) -> None:
        self.accounts.file._connection.execute("PRAGMA busy_timeout = 1")
        with sqlite3.connect(self.path, isolation_level=None) as raw:
            raw.execute("BEGIN EXCLUSIVE")
            self.assertRaises(StoreBusy, self.accounts.add_domain, "other.test")
            self.assertRaises(StoreBusy, self.accounts.domains)
            raw.execute("ROLLBACK")
        raw.close()
        self.assertEqual("other.test", self.accounts.add_domain("other.test").name)

    def test_threads_share_one_object(self) -> None:
        failures = []

        def add(start: int) -> None:
            try:
                for number in range(start, start + 10):
                    address = parse_address(f"u{number}@example.test")
                    self.accounts.add_account(address, "h")
                    self.accounts.load_directory()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=add, args=(start,)) for start in (0, 10, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failures)
        self.assertEqual(30, len(self.accounts.accounts()))

    def test_the_directory_holds_what_was_set(self) -> None:
        alice = self.accounts.add_account(ALICE, "h", demo=True)
        self.accounts.add_alias('"team x"@example.test', "alice@example.test")
        self.accounts.add_alias("*@example.test", "alice@example.test")
        directory = self.accounts.load_directory("-")
        self.assertEqual("example.test", directory.first_domain)
        self.assertEqual((alice,), directory.demo_accounts)
        for local in ("ALICE", "alice-x", "team x", "nobody"):
            address = ALICE.with_local(local)
            self.assertEqual([alice.id], [r.account_id for r in directory.expand(address)])


class ReplacedTests(AccountsCase):
    def test_a_file_put_in_the_place_of_ours_is_ours_from_then_on(self) -> None:
        before = self.accounts.data_version()
        other = self.folder / "other.db"
        with_more = Accounts.open(other, create=True)
        with_more.add_domain("elsewhere.test")
        with_more.close()
        other.rename(self.accounts.path)
        self.assertNotEqual(before, self.accounts.data_version())
        self.assertEqual(["elsewhere.test"], [each.name for each in self.accounts.domains()])
        self.assertEqual(self.accounts.data_version(), self.accounts.data_version())
