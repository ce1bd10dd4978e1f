"""The way in while somebody guesses: who waits, who is turned away, who is asked first."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cred import guessing, turns
from mailnode.cred.checkers import AccountChecker, SignInDenied
from mailnode.cred.credentials import PasswordCredentials
from mailnode.cred.guessing import Guesses
from mailnode.cred.portal import SignInPortal
from mailnode.cred.scram import IScramProof, ScramCredentials
from mailnode.errors import PasswordTooOld, SignInBlocked, SignInBusy
from mailnode.events import Event, SignedIn, SignInFailed
from mailnode.settings import GuessingSettings
from mailnode.store.directory import Directory, Domain, LiveDirectory
from tests.unit.test_checkers import FakePasswords
from tests.unit.test_directory import account
from tests.unit.test_portal import FakeRealm, IPost
from tests.unit.test_scram import keys_of

ACCOUNTS = {"alice": 1, "bob": 2}
HOME, THERE = "192.0.2.1", "198.51.100.7"


class SlowChecker:
    """Each check waits until the test answers it."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Deferred[bytes]]] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        self.asked.append((credentials, Deferred()))
        return self.asked[-1][1]

    def answer_all(self) -> None:
        asked, self.asked = self.asked, []
        for credentials, answer in asked:
            if credentials.password == b"sesame":
                answer.callback(credentials.username)
            else:
                answer.errback(UnauthorizedLogin("wrong password"))


class RememberingChecker(SlowChecker):
    """Knows all passwords but one, and says so at once."""

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        if credentials.password == b"slow":
            return super().requestAvatarId(credentials)
        return succeed(credentials.username)


class GuessedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.checker, self.told = Clock(), SlowChecker(), list[Event]()
        self.guesses = Guesses(self.clock, lambda: 1e9 + self.clock.seconds(), b"secret")
        self.guesses.apply(GuessingSettings(failures=5))
        self.portal = self.make(self.checker)

    def make(self, checker: Any) -> SignInPortal:
        return SignInPortal(
            FakeRealm(),  # type: ignore[arg-type]
            [checker],
            clock=self.clock,
            tell=self.told.append,
            account_of=ACCOUNTS.get,
            guesses=self.guesses,
        )

    def login(
        self, client: str = THERE, name: str = "alice", password: str = "sesame"
    ) -> Deferred[Any]:
        asked = PasswordCredentials(name.encode(), password.encode(), client)
        return self.portal.login(asked, None, IPost)

    def sign_in(self, client: str = HOME, name: str = "alice") -> None:
        result = self.login(client, name)
        self.checker.answer_all()
        self.successResultOf(result)

    def guess(self, count: int, client: str = THERE, name: str = "alice") -> list[Deferred[Any]]:
        results = []
        for number in range(count):
            results.append(self.login(client, name, f"guess{number}"))
            self.checker.answer_all()
        return results

    def guess_from_everywhere(self) -> list[Deferred[Any]]:
        return [each for n in range(100) for each in self.guess(4, f"203.0.113.{n}")]

    def end(self, results: list[Deferred[Any]], error: type[Exception] = SignInDenied) -> None:
        self.clock.advance(10)
        for each in results:
            self.failureResultOf(each, error)


class TimeTests(GuessedCase):
    def test_how_long_a_check_took_is_not_seen_in_when_it_is_answered(self) -> None:
        for number, took_s in enumerate((0.0, 0.3)):
            result = self.login(f"203.0.113.{number}", f"user{number}", "guess")
            self.clock.advance(took_s)
            self.checker.answer_all()
            self.clock.advance(0.49 - took_s)
            self.assertNoResult(result)
            self.clock.advance(0.02)
            self.failureResultOf(result, SignInDenied)

    def test_no_account_a_wrong_password_and_a_shut_account_go_the_same_way(self) -> None:
        """As many checks, as many timers, and answers at the same moment."""
        shut = evolve(account(2, "bob"), disabled=True)
        people = Directory.of([Domain(1, "example.test", 0.0)], [account(1, "alice"), shut])  # type: ignore[list-item]
        ways = []
        for number, name in enumerate(("alice", "bob", "nobody")):
            passwords = FakePasswords()
            self.portal = self.make(AccountChecker(LiveDirectory(people), passwords))  # type: ignore[arg-type]
            result = self.login(f"203.0.113.{number}", name, "guess")
            checks = len(passwords.asked)
            passwords.answers[0].callback(False)
            due = [round(each.getTime() - self.clock.seconds(), 6)
                   for each in self.clock.getDelayedCalls()]  # fmt: skip
            self.clock.advance(0.5)
            refused = self.failureResultOf(result, SignInDenied).value
            ways.append((checks, len(passwords.asked), due, refused.text, refused.smtp_code))
        self.assertEqual((1, 1, [0.5]), ways[0][:3])
        self.assertEqual([ways[0]] * 3, ways)


class BlockedTests(GuessedCase):
    def test_who_guessed_too_often_is_turned_away_at_once_whatever_he_says(self) -> None:
        self.end(self.guess(5))
        for name, password in (("alice", "sesame"), ("alice", "x"), ("nobody", "x")):
            self.failureResultOf(self.login(THERE, name, password), SignInBlocked)
        self.assertEqual([], self.checker.asked)
        self.assertEqual("blocked", self.told[-1].detail["reason"])
        self.assertEqual(3, self.guesses.turned_away)
        self.sign_in("203.0.113.1", "bob")

    def test_it_does_not_make_the_block_longer_to_go_on(self) -> None:
        self.end(self.guess(5))
        before = self.guesses.closed_s(THERE)
        for _ in range(100):
            self.failureResultOf(self.login(password="more"), SignInBlocked)
        self.assertEqual(before, self.guesses.closed_s(THERE))

    def test_an_owner_who_is_known_there_comes_in_and_others_hear_what_guessers_hear(self) -> None:
        self.sign_in(HOME, "alice")
        self.end(self.guess(5, HOME, "bob"))
        self.sign_in(HOME, "alice")
        wrong, right_of_bob = self.login(HOME, "alice", "x"), self.login(HOME, "bob")
        self.checker.answer_all()
        self.assertNoResult(wrong)
        self.assertNoResult(right_of_bob)
        self.end([wrong, right_of_bob], SignInBlocked)

    def test_a_right_password_that_is_too_old_tells_a_guesser_nothing(self) -> None:
        self.sign_in(HOME, "alice")
        self.end(self.guess(5, HOME, "bob"))
        old = self.login(HOME, "bob")
        self.checker.asked.pop()[1].errback(PasswordTooOld())
        self.assertNoResult(old)
        self.end([old], SignInBlocked)
        of_alice = self.login(HOME, "alice")
        self.checker.asked.pop()[1].errback(PasswordTooOld())
        self.failureResultOf(of_alice, PasswordTooOld)

    def test_not_more_than_ten_at_a_time_are_asked_about_there(self) -> None:
        self.sign_in(HOME, "alice")
        self.end(self.guess(5, HOME, "bob"))
        waiting = self.guess(guessing.MOST_UNANSWERED, HOME, "bob")
        self.failureResultOf(self.login(HOME, "alice"), SignInBlocked)
        self.assertEqual([], self.checker.asked)
        self.end(waiting, SignInBlocked)


class ProofChecker:
    """Judges proofs, of which no two are alike."""

    credentialInterfaces = (IScramProof,)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        raise SignInDenied(detail="a former password" if credentials.former_key else "no")


class ProofTests(GuessedCase):
    """What a program does that proves a password that its owner has changed."""

    def setUp(self) -> None:
        super().setUp()
        self.proving = self.make(ProofChecker())

    def prove(self, former: bytes, times: int = 1, name: str = "alice") -> None:
        for _ in range(times):
            asked = ScramCredentials(lambda _: keys_of("pencil"))
            asked.username, asked.client, asked.former_key = name.encode(), THERE, former
            result = self.proving.login(asked, None, IPost)
            self.clock.advance(10)
            self.failureResultOf(result, SignInDenied)

    def test_a_former_password_is_one_guess_however_often_it_is_proved(self) -> None:
        self.sign_in(THERE)
        self.prove(b"stored key", 30)
        self.sign_in(THERE)
        self.sign_in(THERE, "bob")

    def test_it_is_one_where_the_owner_has_not_signed_in_too(self) -> None:
        self.prove(b"stored key", 30)
        self.sign_in(THERE)

    def test_each_former_password_of_each_account_is_another_guess(self) -> None:
        for former, name in ((b"1", "alice"), (b"2", "alice"), (b"3", "alice"), (b"1", "bob")):
            self.prove(former, 5, name)
        self.assertFalse(self.guesses.closed_s(THERE))
        self.prove(b"2", 1, "bob")
        self.assertTrue(self.guesses.closed_s(THERE))

    def test_a_proof_that_fits_none_is_another_guess_each_time(self) -> None:
        self.prove(b"", 5)
        self.assertTrue(self.guesses.closed_s(THERE))

    def test_it_is_answered_as_late_as_any_other(self) -> None:
        self.prove(b"stored key")
        self.prove(b"")
        self.prove(b"stored key")
        delays = [each.detail["delay_s"] for each in self.told if isinstance(each, SignInFailed)]
        self.assertEqual([0.5, 1.0, 2.0], delays)


class OwnerTests(GuessedCase):
    def test_an_owner_signs_in_at_once_where_he_is_known_while_a_hundred_guess(self) -> None:
        self.sign_in(HOME)
        guesses = self.guess_from_everywhere()
        result = self.login("192.0.2.77")
        self.checker.answer_all()
        self.assertEqual(b"alice", self.successResultOf(result)[1])
        self.assertNotIn("delay_s", self.told[-1].detail)
        self.end(guesses)

    def test_elsewhere_he_waits_for_ten_seconds_at_most_and_comes_in(self) -> None:
        guesses = self.guess_from_everywhere()
        result = self.login("10.0.0.1")
        self.checker.answer_all()
        self.assertNoResult(result)
        self.clock.advance(10)
        self.checker.answer_all()
        self.successResultOf(result)
        self.assertIsInstance(self.told[-1], SignedIn)
        self.end(guesses)


class TurnTests(GuessedCase):
    def test_strangers_stand_in_line_and_an_owner_who_is_known_does_not(self) -> None:
        self.sign_in(HOME)
        line = [self.login(f"203.0.113.{number}", f"user{number}", "x") for number in range(20)]
        self.assertEqual(turns.AT_ONCE, len(self.checker.asked))
        owner = self.login(HOME)
        self.assertEqual(b"alice", self.checker.asked[-1][0].username)
        self.checker.answer_all()
        self.successResultOf(owner)
        self.assertEqual(turns.AT_ONCE, len(self.checker.asked))
        while self.checker.asked:
            self.checker.answer_all()
        self.end(line)

    def test_one_too_many_in_the_line_is_told_to_come_again(self) -> None:
        self.portal.turns.most_waiting = 2
        line = [
            self.login(f"203.0.113.{number}", f"user{number}")
            for number in range(turns.AT_ONCE + 3)
        ]
        self.failureResultOf(line.pop(), SignInBusy)
        self.assertIsInstance(self.told[-1], SignInFailed)
        while self.checker.asked:
            self.checker.answer_all()
        for each in line:
            self.successResultOf(each)

    def test_who_failed_lately_hears_late_that_too_many_ask(self) -> None:
        self.end(self.guess(1))
        self.portal.turns.most_waiting = 0
        line = [self.login(f"203.0.113.{n}", f"user{n}") for n in range(turns.AT_ONCE)]
        self.failureResultOf(self.login("203.0.113.99", "carol"), SignInBusy)
        guess = self.login(password="another")
        self.clock.advance(0.9)
        self.assertNoResult(guess)
        self.clock.advance(0.1)
        self.failureResultOf(guess, SignInBusy)
        self.checker.answer_all()
        for each in line:
            self.successResultOf(each)

    def test_a_long_line_of_those_who_are_answered_at_once_moves_on_to_its_end(self) -> None:
        self.checker = RememberingChecker()
        self.portal = self.make(self.checker)
        self.portal.turns.most_waiting = 1000
        slow = [self.login(f"203.0.113.{n}", f"user{n}", "slow") for n in range(turns.AT_ONCE)]
        line = [self.login(f"198.51.100.{n % 250}", f"user{n}") for n in range(1000)]
        self.checker.asked.pop()[1].callback(b"user")
        for each in (slow.pop(), *line):
            self.successResultOf(each)
        self.checker.answer_all()
        self.end(slow)
        self.assertEqual(0, self.portal.turns._under_way)

    def test_whoever_leaves_gives_the_place_to_the_next(self) -> None:
        line = [self.login(f"203.0.113.{number}", f"user{number}") for number in range(6)]
        for each in (line[4], line[0]):  # one that waits, and one that is asked about
            each.cancel()
            self.failureResultOf(each, CancelledError)
        while self.checker.asked:
            asked, self.checker.asked = self.checker.asked, []
            for credentials, answer in asked:
                if not answer.called:
                    answer.callback(credentials.username)
        for number in (1, 2, 3, 5):
            self.successResultOf(line[number])
        self.assertEqual(0, self.portal.turns._under_way)
