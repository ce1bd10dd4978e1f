"""A running node's accounts follow users.db, whatever happens to the file meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import StoreBusy
from mailnode.store.accounts import Accounts
from mailnode.store.watch import AccountsWatch

ALICE = parse_address("alice@example.test")


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        hear = lambda event: self.lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        self.path = Path(self.mktemp())
        self.admin = Accounts.open(self.path, create=True)  # another process's
        self.addCleanup(self.admin.close)
        self.admin.add_domain("example.test")
        self.admin.add_account(ALICE, "hash")
        self.accounts = Accounts.open(self.path)
        self.addCleanup(self.accounts.close)
        self.broken: Exception | None = None
        self.watch = AccountsWatch(self.accounts, "+", self.in_thread)
        self.watch.read_now()

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        def run() -> Any:
            if self.broken is not None:
                raise self.broken
            return function(*args)

        return maybeDeferred(run)

    def disabled(self) -> bool:
        found = self.watch.directory.find(ALICE)
        assert found is not None
        return found.disabled

    def test_what_another_process_changed_is_known_at_the_next_look(self) -> None:
        self.admin.set_disabled("alice", True)
        self.assertFalse(self.disabled())
        self.watch.look()
        self.assertTrue(self.disabled())

    def test_what_this_process_changed_is_read_once_and_the_others_are_told(self) -> None:
        read, told = [], []
        in_thread = self.watch.in_thread

        def counted(function: Any, *args: Any) -> Deferred[Any]:
            read.append(function)
            return in_thread(function, *args)

        self.watch.in_thread = counted
        self.watch.told = lambda: told.append(self.disabled())
        self.accounts.set_disabled("alice", True)
        self.successResultOf(Deferred.fromCoroutine(self.watch.changed()))
        self.watch.look()
        self.assertEqual((1, [True]), (len(read), told))
        self.admin.set_disabled("alice", False)
        self.watch.look()
        self.assertFalse(self.disabled())

    def test_a_change_that_could_not_be_read_is_read_at_a_later_look(self) -> None:
        self.admin.set_disabled("alice", True)
        self.broken = StoreBusy(detail="somebody writes")
        for _ in range(3):
            self.watch.look()
        self.assertFalse(self.disabled())
        self.assertEqual(1, len(self.lines), self.lines)
        self.broken = None
        self.watch.look()
        self.assertTrue(self.disabled())

    def test_a_change_between_the_first_reading_and_the_first_look_is_not_missed(self) -> None:
        load = self.accounts.load_directory
        watch = AccountsWatch(self.accounts, "+", self.in_thread)

        class Slow:
            data_version = self.accounts.data_version

            @staticmethod
            def load_directory(subaddress: str) -> Any:
                found = load(subaddress)
                self.admin.set_disabled("alice", True)
                return found

        watch.accounts = Slow()  # type: ignore[assignment]
        watch.read_now()
        watch.accounts = self.accounts
        watch.look()
        found = watch.directory.find(ALICE)
        assert found is not None
        self.assertTrue(found.disabled)

    def test_a_file_that_is_no_database_any_more_is_told_once_and_what_was_known_stays(
        self,
    ) -> None:
        octets = self.path.read_bytes()
        self.path.write_bytes(b"garbage " * 1024)
        for _ in range(3):
            self.watch.look()
        self.assertFalse(self.disabled())
        self.assertEqual(1, len(self.lines), self.lines)
        self.path.write_bytes(octets)
        self.admin.set_disabled("alice", True)
        self.watch.look()
        self.assertTrue(self.disabled())

    def test_an_account_that_it_makes_is_known_when_that_is_told(self) -> None:
        bob = parse_address("bob@example.test")
        made = self.successResultOf(self.watch.make_account(bob))
        self.assertEqual(made, self.watch.directory.find(bob))
