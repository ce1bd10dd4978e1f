"""argon2id in threads: right, bounded, remembered for five minutes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import argon2
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailnode.addresses import Address
from mailnode.cred import hashes, passwords
from mailnode.cred.passwords import DUMMY_HASH, Passwords, hash_password, password_matches
from mailnode.errors import SignInBusy
from mailnode.sealing import Seal

SEAL = Seal(Path("seal.key"), b"k" * 32)
ALICE = Address("alice", "example.test")


class HeldPool:
    """A pool whose work waits until the test lets it run, and which says what was asked."""

    def __init__(self) -> None:
        self.started = False
        self.jobs: list[tuple[Callable[[bool, Any], object], Callable[..., Any], Any]] = []
        self.asked: list[tuple[Any, ...]] = []

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.started = False

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object], func: Callable[..., Any], *args: Any
    ) -> None:
        assert self.started
        self.asked.append(args)
        self.jobs.append((onResult, func, args))

    def run(self) -> None:
        while self.jobs:
            on_result, work, args = self.jobs.pop(0)
            try:
                on_result(True, work(*args))
            except Exception:
                on_result(False, Failure())


class FakeReactor(Clock):
    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> None:
        callable(*args)


class HashTests(SynchronousTestCase):
    def test_a_hash_is_argon2id_with_19_mib_two_passes_and_one_lane(self) -> None:
        facts = argon2.extract_parameters(hash_password("sesame"))
        self.assertEqual(argon2.Type.ID, facts.type)
        self.assertEqual((2, 19456, 1), (facts.time_cost, facts.memory_cost, facts.parallelism))

    def test_the_dummy_costs_what_a_real_one_costs(self) -> None:
        self.assertEqual(
            argon2.extract_parameters(hash_password("sesame")),
            argon2.extract_parameters(DUMMY_HASH),
        )

    def test_the_password_and_no_other_fits_in_either_unicode_form(self) -> None:
        hashed = hash_password("caf\u00e9")
        self.assertTrue(password_matches(hashed, "caf\u00e9"))
        self.assertTrue(password_matches(hashed, "cafe\u0301"))
        self.assertFalse(password_matches(hashed, "Caf\u00e9"))
        self.assertFalse(password_matches(hashed, ""))

    def test_what_is_no_hash_lets_nobody_in_and_costs_the_dummy(self) -> None:
        verified: list[str] = []

        class Hasher:
            def verify(self, password_hash: str, password: str) -> bool:
                verified.append(password_hash)
                raise argon2.exceptions.VerifyMismatchError()

        self.patch(hashes, "_HASHER", Hasher())
        for broken in ("", "sesame", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=1"):
            self.assertFalse(password_matches(broken, "sesame"))
        self.assertEqual([DUMMY_HASH] * 4, verified)

    def test_a_check_that_can_not_be_made_is_temporary(self) -> None:
        cut_short = DUMMY_HASH.replace("v+jAJNwOyytRLeCvCs53yA", "x")
        self.assertRaises(SignInBusy, password_matches, cut_short, "sesame")


class PasswordsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.pool = FakeReactor(), HeldPool()
        self.patch(passwords, "password_matches", lambda hashed, given: hashed == f"<{given}>")
        self.passwords = Passwords(self.clock, SEAL, most_waiting=2, pool=self.pool)

    def verified(self, given: str, whose: int | str | None = 1, hashed: str = "<right>") -> bool:
        result = self.passwords.verify(hashed, given, whose)
        self.pool.run()
        return self.successResultOf(result)


class QueueTests(PasswordsCase):
    def test_one_more_than_the_queue_holds_is_turned_away(self) -> None:
        waiting = [self.passwords.verify("<right>", f"p{n}") for n in range(4)]
        self.failureResultOf(self.passwords.verify("<right>", "p4"), SignInBusy)
        self.failureResultOf(self.passwords.store("new", ALICE), SignInBusy)
        self.assertEqual(2, self.passwords.turned_away)
        self.assertEqual(4, len(self.pool.jobs))
        self.pool.run()
        self.assertEqual([False] * 4, [self.successResultOf(each) for each in waiting])
        self.assertTrue(self.verified("right"))

    def test_one_check_answers_all_who_ask_the_same_at_the_same_time(self) -> None:
        asked = [self.passwords.verify("<right>", "right", 1) for _ in range(20)]
        other = self.passwords.verify("<right>", "wrong", 1)
        self.assertEqual(2, len(self.pool.jobs))
        self.pool.run()
        self.assertEqual([True] * 20, [self.successResultOf(each) for each in asked])
        self.assertFalse(self.successResultOf(other))

    def test_names_without_an_account_wait_as_accounts_do(self) -> None:
        for name in ("carol@example.test", "dave@example.test", "carol@example.test"):
            self.passwords.verify(DUMMY_HASH, "guess", name)
        self.assertEqual(2, len(self.pool.jobs))

    def test_a_check_that_fails_fails_for_all_who_wait_and_is_not_kept(self) -> None:
        def no_memory(hashed: str, given: str) -> bool:
            raise SignInBusy(detail="no memory")

        self.patch(passwords, "password_matches", no_memory)
        asked = [self.passwords.verify("<right>", "right", 1) for _ in range(2)]
        self.pool.run()
        for each in asked:
            self.failureResultOf(each, SignInBusy)
        self.patch(passwords, "password_matches", lambda hashed, given: True)
        self.assertTrue(self.verified("right"))

    def test_somebody_who_waits_no_more_does_not_disturb_the_others(self) -> None:
        first, second = (self.passwords.verify("<right>", "right", 1) for _ in range(2))
        for gone in (first, second):
            gone.addErrback(lambda failure: None)
        second.cancel()
        third = self.passwords.verify("<right>", "right", 1)
        first.cancel()
        self.pool.run()
        self.assertTrue(self.successResultOf(third))


class RememberTests(PasswordsCase):
    def test_a_right_password_is_remembered_for_five_minutes(self) -> None:
        self.assertTrue(self.verified("right"))
        self.clock.advance(299)
        self.assertTrue(self.successResultOf(self.passwords.verify("<right>", "right", 1)))
        self.assertEqual(1, len(self.pool.asked))
        self.clock.advance(1)
        self.assertTrue(self.verified("right"))
        self.assertEqual(2, len(self.pool.asked))

    def test_a_wrong_one_is_not(self) -> None:
        for _ in range(2):
            self.assertFalse(self.verified("wrong"))
        self.assertEqual(2, len(self.pool.asked))

    def test_it_is_remembered_for_that_account_and_that_hash_alone(self) -> None:
        self.verified("right", whose=1)
        self.assertNoResult(self.passwords.verify("<right>", "right", 2))
        self.assertNoResult(self.passwords.verify("<other>", "right", 1))
        self.assertNoResult(self.passwords.verify("<right>", "right", None))
        self.pool.run()

    def test_what_is_forgotten_is_asked_again(self) -> None:
        self.verified("right")
        self.passwords.forget(1)
        self.passwords.forget(99)
        self.assertNoResult(self.passwords.verify("<right>", "right", 1))
        self.pool.run()

    def test_memory_is_bounded(self) -> None:
        self.patch(passwords, "REMEMBERED_ACCOUNTS", 3)
        for account_id in range(1, 5):
            self.verified("right", account_id)
        self.assertEqual([2, 3, 4], list(self.passwords._remembered))
        for number in range(6):
            self.verified(f"p{number}", 4, f"<p{number}>")
        self.assertEqual(4, len(self.passwords._remembered[4]))

    def test_no_password_lies_in_memory_in_clear(self) -> None:
        self.verified("right")
        kept = repr(self.passwords._remembered) + repr(self.passwords)
        self.assertNotIn("right", kept)


class StopTests(PasswordsCase):
    def test_what_is_queued_is_done_and_nothing_more_is_taken(self) -> None:
        waiting = self.passwords.verify("<right>", "right", 1)
        stopped = self.passwords.stop()
        self.assertNoResult(stopped)
        self.failureResultOf(self.passwords.verify("<right>", "p", 1), SignInBusy)
        self.pool.run()
        self.assertTrue(self.successResultOf(waiting))
        self.assertIsNone(self.successResultOf(stopped))
        self.assertFalse(self.pool.started)

    def test_stopping_before_anything_was_asked_is_done_at_once(self) -> None:
        self.assertIsNone(self.successResultOf(self.passwords.stop()))


class ThreadTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.passwords = Passwords(reactor, SEAL)  # type: ignore[arg-type]
        self.addCleanup(self.passwords.stop)

    async def test_hashing_and_checking_run_in_two_threads_and_not_in_the_reactors(self) -> None:
        seen: set[str] = set()
        real = password_matches

        def watched(hashed: str, given: str) -> bool:
            seen.add(threading.current_thread().name)
            return real(hashed, given)

        self.patch(passwords, "password_matches", watched)
        hashed = (await self.passwords.store("sesame", ALICE)).password_hash
        checks = [self.passwords.verify(hashed, given) for given in ("sesame", "a", "b", "c")]
        self.assertEqual([True, False, False, False], [await check for check in checks])
        self.assertNotIn(threading.current_thread().name, seen)
        self.assertLessEqual(len(seen), 2)

    async def test_those_threads_go_behind_the_others(self) -> None:
        def niceness() -> int:
            return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        there = await self.passwords.in_thread(niceness)
        self.assertEqual(min(niceness() + passwords.NICE, 19), there)

    async def test_where_that_is_forbidden_passwords_are_verified_all_the_same(self) -> None:
        def forbidden(_by: int) -> int:
            raise PermissionError("no nice value in this sandbox")

        self.patch(os, "nice", forbidden)
        self.assertFalse(await self.passwords.verify(DUMMY_HASH, "no password"))

    if sys.platform != "linux":
        test_those_threads_go_behind_the_others.skip = "threads have no nice value of their own"
