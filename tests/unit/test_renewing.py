"""What is kept of a password in an older form is renewed once its owner has said it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred.hashes import DUMMY_HASH
from mailnode.cred.renewing import A_COMMIT, PAUSE_S, Renewing
from mailnode.cred.stored import ScramKeys, StoredPassword
from mailnode.errors import SignInBusy, StoreBusy
from mailnode.sealing import Seal
from mailnode.store.directory import Account, Directory, Domain, LiveDirectory
from mailnode.store.sign_in import KeptKeys
from tests.unit.test_directory import account

SEAL = Seal(Path("seal.key"), b"k" * 32)
KEYS = StoredPassword("h", ScramKeys(b"s" * 16, 4096, b"s" * 32, b"v" * 32), SEAL)


class Threads:
    """Stands where `Passwords` does: makes hashes at once, or when the test says so."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.busy = False
        self.held: Deferred[None] | None = None

    def in_thread(self, work: Callable[..., Any], password: str, *more: Any) -> Deferred[Any]:
        if self.busy:
            return fail(SignInBusy())
        self.made.append(password)
        done: Deferred[Any] = Deferred()
        answer = StoredPassword(f"new hash of {password}", KEYS.scram, SEAL)
        if self.held is None:
            done.callback(answer)
        else:
            self.held.addCallback(lambda _: done.callback(answer))
        return done


class RenewingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.threads = Clock(), Threads()
        self.kept: list[list[tuple[str, str]]] = []
        self.fault: Exception | None = None
        self.people = [
            evolve(account(number, f"u{number}"), password_hash=DUMMY_HASH)
            for number in range(1, 40)
        ]
        self.live = LiveDirectory()
        self.show(*self.people)
        self.renewing = Renewing(
            self.live,
            self.threads,  # type: ignore[arg-type]
            SEAL,
            self.clock,
            self.keep,
        )

    def show(self, *accounts: Account, having: tuple[int, ...] = ()) -> None:
        keys = {
            number: KeptKeys(b"s" * 16, 4096, KEYS.kept_keys(number, is_published=False))
            for number in having
        }
        self.live.replace(Directory.of([Domain(1, "example.test", 0.0)], accounts, scram_keys=keys))

    def keep(self, made: list[tuple[Account, StoredPassword]]) -> Deferred[None]:
        return maybeDeferred(self._keep, made)

    def _keep(self, made: list[tuple[Account, StoredPassword]]) -> None:
        if self.fault is not None:
            raise self.fault
        self.kept.append([(each.key, password.password_hash) for each, password in made])

    def test_without_keys_they_are_made_once_the_password_was_right(self) -> None:
        self.renewing.saw(self.people[0], "sesame")
        self.assertEqual([[("u1@example.test", "new hash of sesame")]], self.kept)

    def test_what_is_as_it_should_be_is_left_alone(self) -> None:
        self.show(*self.people, having=(1,))
        self.renewing.saw(self.people[0], "sesame")
        self.assertEqual([], self.threads.made)

    def test_a_hash_of_another_system_and_one_that_costs_less_are_renewed(self) -> None:
        self.show(*self.people, having=(1, 2))
        weaker = DUMMY_HASH.replace("t=2", "t=1")
        for was, password_hash in zip(self.people, ("$2y$10$" + "a" * 53, weaker), strict=False):
            self.renewing.saw(evolve(was, password_hash=password_hash), "sesame")
            self.clock.advance(PAUSE_S)
        self.assertEqual(2, len(self.threads.made))

    def test_keys_under_a_seal_that_is_lost_are_made_anew(self) -> None:
        self.show(*self.people, having=(1,))
        stolen = evolve(self.people[0], id=2)  # what is sealed about one opens for no other
        self.live.replace(
            evolve(self.live.current, scram_keys={2: self.live.current.scram_keys[1]})
        )
        self.renewing.saw(stolen, "sesame")
        self.assertEqual(1, len(self.kept))

    def test_a_demo_account_stays_as_its_file_has_it(self) -> None:
        self.renewing.saw(evolve(self.people[0], demo=True), "sesame")
        self.assertEqual([], self.threads.made)

    def test_who_signs_in_again_meanwhile_is_renewed_once(self) -> None:
        self.threads.held = Deferred()
        for _ in range(5):
            self.renewing.saw(self.people[0], "sesame")
        self.threads.held.callback(None)
        self.assertEqual(["sesame"], self.threads.made)
        self.assertEqual(1, len(self.kept))

    def test_many_are_renewed_a_few_in_a_commit_with_pauses(self) -> None:
        self.threads.held = Deferred()
        for each in self.people:
            self.renewing.saw(each, "sesame")
        held, self.threads.held = self.threads.held, None
        held.callback(None)
        self.assertEqual([A_COMMIT], [len(each) for each in self.kept])
        self.clock.advance(PAUSE_S)
        self.clock.advance(PAUSE_S)
        self.assertEqual([A_COMMIT, A_COMMIT, 39 - 2 * A_COMMIT], [len(e) for e in self.kept])

    def test_what_fails_is_told_and_tried_at_the_next_sign_in(self) -> None:
        for break_it in ("busy", "full"):
            self.threads.busy = break_it == "busy"
            self.fault = StoreBusy() if break_it == "full" else None
            self.renewing.saw(self.people[0], "sesame")
            self.clock.advance(PAUSE_S)
            self.assertEqual([], self.kept)
        self.threads.busy, self.fault = False, None
        self.renewing.saw(self.people[0], "sesame")
        self.assertEqual(1, len(self.kept))

    def test_a_stop_waits_for_what_is_under_way_and_begins_no_more(self) -> None:
        self.threads.held = Deferred()
        for each in self.people[:2]:
            self.renewing.saw(each, "sesame")
        stopped = Deferred.fromCoroutine(self.renewing.stop())
        self.assertNoResult(stopped)
        self.threads.held.callback(None)
        self.successResultOf(stopped)
        self.assertEqual([1], [len(each) for each in self.kept])
        self.renewing.saw(self.people[2], "sesame")
        self.assertEqual(["sesame"], self.threads.made)

    def test_a_stop_waits_for_no_pause(self) -> None:
        self.threads.held = Deferred()
        for each in self.people:
            self.renewing.saw(each, "sesame")
        self.threads.held.callback(None)
        self.successResultOf(Deferred.fromCoroutine(self.renewing.stop()))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_stop_with_nothing_to_do_is_done_at_once(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.renewing.stop()))
