"""The way in: who guesses waits, who is anonymous doesn't, and it is told."""

from __future__ import annotations

from collections.abc import Callable

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import Anonymous, IAnonymous, UsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from mailnode.cred import guessing
from mailnode.cred.checkers import SignInDenied
from mailnode.cred.credentials import PasswordCredentials
from mailnode.cred.guessing import Asked, Failures, Unanswered
from mailnode.cred.portal import SignInPortal
from mailnode.errors import MaildropInUse, SignInBusy, SignInRefused
from mailnode.events import Event, SignedIn, SignInFailed
from mailnode.machine import address_key


class IPost(Interface):
    pass


class FakeRealm:
    """Gives each its name as avatar, or what the test wants."""

    def __init__(self) -> None:
        self.logouts: list[object] = []
        self.answer: Callable[[object], object] = self.avatar

    def avatar(self, name: object) -> tuple[object, object, Callable[[], None]]:
        return IPost, name, lambda: self.logouts.append(name)

    def requestAvatar(self, avatarId: object, mind: object, *interfaces: object) -> object:
        return self.answer(avatarId)


class PortalCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.realm, self.told = Clock(), FakeRealm(), list[Event]()
        self.checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame", bob=b"bobs")
        self.portal = SignInPortal(
            self.realm,  # type: ignore[arg-type]
            [AllowAnonymousAccess(), self.checker],
            clock=self.clock,
            tell=self.told.append,
            sign_in_key=lambda name: name.partition("@")[0].lower() or None,
        )

    def login(
        self, name: bytes = b"alice", password: bytes = b"sesame", client: str = "192.0.2.1"
    ) -> Deferred[tuple[object, object, Callable[[], None]]]:
        return self.portal.login(PasswordCredentials(name, password, client), None, IPost)

    def wait_of(self, result: Deferred[object], error: type[Exception] | None = None) -> float:
        """Seconds until there is a result, in steps of 1/16."""
        waited = 0.0
        while not result.called:
            self.clock.advance(1 / 16)
            waited += 1 / 16
        if error is not None:
            self.failureResultOf(result, error)
        else:
            self.successResultOf(result)
        return waited

    def assert_about(self, meant_s: float, waited_s: float) -> None:
        """Steps are a sixteenth, and failures fade a little while the clock goes on."""
        self.assertTrue(0.9 * meant_s <= waited_s <= meant_s + 1 / 16, (meant_s, waited_s))

    def failed(self, name: bytes = b"alice", client: str = "192.0.2.1") -> float:
        return self.wait_of(self.login(name, b"guess", client), SignInDenied)


class AppPasswordTests(PortalCase):
    def test_by_which_one_somebody_is_signed_in_is_told(self) -> None:
        credentials = UsernamePassword(b"alice", b"sesame")
        credentials.token_name = "phone"
        self.successResultOf(self.portal.login(credentials, None, IPost))
        (event,) = self.told
        self.assertEqual("phone", event.detail["token"])


class HalfTests(PortalCase):
    """On the web a right password may be half of a sign-in."""

    def test_half_of_a_sign_in_is_no_sign_in(self) -> None:
        credentials = UsernamePassword(b"alice", b"sesame")
        credentials.awaits_code = True
        self.successResultOf(self.portal.login(credentials, None, IPost))
        self.assertEqual([], self.told)
        self.portal.code_fitted("192.0.2.1", "alice@example.test", "totp")
        (event,) = self.told
        self.assertEqual(SignedIn.name, event.name)
        self.assertEqual(
            {"account": "alice@example.test", "service": "web", "factor": "totp"}, event.detail
        )

    def test_a_wrong_code_is_told_and_as_slow_as_a_wrong_password(self) -> None:
        for delay_s in (0.5, 1.0, 2.0):
            waiting = Deferred.fromCoroutine(
                self.portal.code_failed("192.0.2.1", "alice", "wrong code")
            )
            self.assertNoResult(waiting)
            self.clock.advance(delay_s)
            self.successResultOf(waiting)
        self.assertEqual(["sign-in-failed"] * 3, [each.name for each in self.told])
        self.assertEqual("wrong code", self.told[0].detail["reason"])


class AnonymousTests(PortalCase):
    def test_the_anonymous_pass_at_once_and_nothing_is_told(self) -> None:
        self.failed()
        self.told.clear()
        interface, avatar, logout = self.successResultOf(
            self.portal.login(Anonymous(), None, IPost)
        )
        self.assertEqual((IPost, ()), (interface, avatar))
        logout()
        self.assertEqual([()], self.realm.logouts)
        self.assertEqual([], self.told)

    def test_what_the_realm_raises_or_defers_comes_through(self) -> None:
        def refuse(name: object) -> object:
            raise UnauthorizedLogin()

        self.realm.answer = refuse
        self.failureResultOf(self.portal.login(Anonymous(), None, IPost), UnauthorizedLogin)
        later: Deferred[object] = Deferred()
        self.realm.answer = lambda name: later
        self.assertIs(later, self.portal.login(Anonymous(), None, IPost))

    def test_without_a_checker_for_them_they_do_not_pass(self) -> None:
        portal = SignInPortal(self.realm, clock=self.clock)  # type: ignore[arg-type]
        self.failureResultOf(portal.login(Anonymous(), None, IPost), UnhandledCredentials)

    def test_anybodys_checker_for_them_is_asked(self) -> None:
        class Nobody:
            credentialInterfaces = (IAnonymous,)

            def requestAvatarId(self, credentials: object) -> Deferred[bytes]:
                return fail(UnauthorizedLogin())

        self.portal.registerChecker(Nobody())  # type: ignore[arg-type]
        self.failureResultOf(self.portal.login(Anonymous(), None, IPost), UnauthorizedLogin)


class SignInTests(PortalCase):
    def test_it_is_a_portal_to_twisted(self) -> None:
        self.assertIsInstance(self.portal, Portal)
        self.assertEqual(3, len(self.portal.listCredentialsInterfaces()))

    def test_the_right_password_is_let_in_at_once_and_told(self) -> None:
        avatar = self.successResultOf(self.login())
        self.assertEqual((IPost, b"alice"), avatar[:2])
        (event,) = self.told
        self.assertIsInstance(event, SignedIn)
        self.assertEqual(("192.0.2.1", {"account": "alice"}), (event.client, event.detail))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_wrong_one_is_told_at_once_without_it_and_answered_later(self) -> None:
        result = self.login(b"alice", b"hunter2")
        self.assertNoResult(result)
        (event,) = self.told
        self.assertIsInstance(event, SignInFailed)
        self.assertEqual("alice", event.detail["name"])
        self.assertEqual(0.5, event.detail["delay_s"])
        self.assertNotIn("hunter2", repr(event))
        self.clock.advance(0.5)
        self.failureResultOf(result, SignInDenied)

    def test_a_refusal_has_our_answer_whatever_the_checker_raised(self) -> None:
        for error in (UnauthorizedLogin("no"), SignInRefused(detail="no"), SignInDenied()):
            self.patch(
                self.checker, "requestAvatarId", lambda credentials, error=error: fail(error)
            )
            result = self.login()
            self.clock.advance(10)
            refusal = self.failureResultOf(result, SignInDenied).value
            self.assertEqual((535, "5.7.8"), (refusal.smtp_code, refusal.enhanced))
            self.assertEqual("AUTH", refusal.pop3_code)

    def test_names_in_an_event_are_short_and_printable(self) -> None:
        self.login(b"\x1b[2J\r\n\xff" + b"x" * 5000)
        name = self.told[0].detail["name"]
        assert isinstance(name, str)
        self.assertTrue(name.isprintable() or "\ufffd" in name)
        self.assertLessEqual(len(name), 320)
        self.assertNotIn("\x1b", name)

    def test_no_checker_is_asked_about_an_empty_name_or_password(self) -> None:
        self.patch(self.checker, "requestAvatarId", lambda credentials: succeed(b"alice"))
        for name, password in ((b"", b"sesame"), (b"alice", b""), (b"", b"")):
            self.wait_of(self.login(name, password), SignInDenied)
        self.assertEqual([SignInFailed] * 3, [type(event) for event in self.told])

    def test_credentials_that_nobody_judges_are_twisteds_error(self) -> None:
        @implementer(Interface)
        class Strange:
            pass

        self.failureResultOf(self.portal.login(Strange(), None, IPost), UnhandledCredentials)  # type: ignore[arg-type]

    def test_twisteds_own_credentials_are_taken(self) -> None:
        result = self.portal.login(UsernamePassword(b"bob", b"bobs"), None, IPost)
        self.assertEqual(b"bob", self.successResultOf(result)[1])

    def test_busy_is_told_but_neither_slowed_nor_counted(self) -> None:
        self.patch(
            self.checker, "requestAvatarId", lambda credentials: fail(SignInBusy(detail="q"))
        )
        self.failureResultOf(self.login(), SignInBusy)
        self.assertEqual({"name": "alice", "reason": "q"}, self.told[0].detail)
        self.assertEqual(0, len(self.portal.guesses.addresses))

    def test_what_goes_wrong_behind_the_password_is_no_failed_sign_in(self) -> None:
        def in_use(name: object) -> object:
            raise MaildropInUse()

        self.realm.answer = in_use
        self.failureResultOf(self.login(), MaildropInUse)
        self.assertEqual([], self.told)


class SlowTests(PortalCase):
    def test_each_failure_doubles_the_wait_up_to_ten_seconds(self) -> None:
        waits = [self.failed() for _ in range(7)]
        for wait, meant in zip(waits, (0.5, 1, 2, 4, 8, 10, 10), strict=True):
            self.assert_about(meant, wait)

    def test_an_address_is_slow_for_every_name_and_a_name_for_every_address(self) -> None:
        for number in range(4):
            self.failed(b"user%d" % number, "198.51.100.7")
            self.failed(b"bob", f"203.0.113.{number}")
        self.assertGreater(self.failed(b"carol", "198.51.100.7"), 6)
        self.assertGreater(self.failed(b"Bob@example.test", "192.0.2.99"), 6)
        self.assertEqual(0.5, self.failed(b"dave", "192.0.2.100"))

    def test_loopback_is_slowed_too(self) -> None:
        self.failed(client="127.0.0.1")
        self.assertGreater(self.failed(client="127.0.0.1"), 0.9)

    def test_a_right_password_does_not_wait_for_failures_that_were_answered(self) -> None:
        for name in (b"carol", b"alice", b"alice", b"alice"):
            self.failed(name, "198.51.100.7")
        self.assertEqual(0, self.wait_of(self.login(client="198.51.100.7")))
        self.assertEqual({"account": "alice"}, self.told[-1].detail)
        self.assertGreater(self.failed(b"alice", "198.51.100.7"), 6)

    def test_a_right_password_waits_until_the_guesses_before_it_are_answered(self) -> None:
        """Or a guesser would not wait for a no: without a yes at once it is one."""
        for _ in range(3):
            self.failed(client="198.51.100.7")
        guess = self.login(password=b"guess", client="198.51.100.7")
        self.clock.advance(1)
        right = self.login(client="198.51.100.7")
        self.assertEqual(0, self.wait_of(self.login(b"bob", b"bobs", "198.51.100.7")))
        self.assert_about(3, self.wait_of(right))
        self.assert_about(3, self.told[-1].detail["delay_s"])
        self.failureResultOf(guess, SignInDenied)

    def test_a_guesser_of_many_names_learns_of_ten_at_once_and_waits_for_the_others(self) -> None:
        guesses = [
            self.login(b"user%d" % number, b"guess", "198.51.100.7")
            for number in range(guessing.MOST_UNANSWERED - 1)
        ]
        self.assertEqual(0, self.wait_of(self.login(client="198.51.100.7")))
        guesses.append(self.login(b"carol", b"guess", "198.51.100.7"))
        self.assertEqual(0, self.wait_of(self.login(b"bob", b"bobs", "192.0.2.1")))
        # The first of them, after half a second, leaves room; the tenth is what is waited for.
        self.assert_about(10, self.wait_of(self.login(client="198.51.100.7")))
        self.assertTrue(all(guess.called for guess in guesses))
        for guess in guesses:
            self.failureResultOf(guess, SignInDenied)

    def test_a_right_password_of_this_machine_waits_two_seconds_at_most(self) -> None:
        for _ in range(5):
            self.failed(client="::1")
        guess = self.login(password=b"guess", client="::1")
        self.assert_about(2, self.wait_of(self.login(client="::1")))
        self.assertGreater(self.wait_of(guess, SignInDenied), 6)

    def test_an_unknown_name_waits_as_a_wrong_password_does_whoever_waits_before_it(self) -> None:
        waits = []
        for name, client in ((b"alice", "198.51.100.7"), (b"nobody", "198.51.100.8")):
            results = [self.login(name, b"guess", client) for _ in range(3)]
            waits.append([self.wait_of(each, SignInDenied) for each in results])
        self.assertEqual(*waits)

    def test_a_password_that_changes_during_the_wait_lets_nobody_in(self) -> None:
        guess = self.login(password=b"guess", client="198.51.100.7")
        result = self.login(client="198.51.100.7")
        self.assertNoResult(result)
        self.checker.users[b"alice"] = b"another"
        self.wait_of(result, SignInDenied)
        self.failureResultOf(guess, SignInDenied)

    def test_what_failed_at_another_process_makes_a_right_password_wait_here(self) -> None:
        self.portal.guesses.take_failed(Asked("198.51.100.7", "alice"))
        self.assert_about(0.5, self.wait_of(self.login(client="198.51.100.7")))

    def test_an_owner_elsewhere_does_not_wait_for_those_who_guess_the_name(self) -> None:
        for number in range(8):
            self.failed(b"alice", f"198.51.100.{number}")
        self.assertEqual(0, self.wait_of(self.login(client="192.0.2.1")))

    def test_failures_fade_within_15_minutes(self) -> None:
        for _ in range(8):
            self.failed()
        self.clock.advance(450)
        self.assert_about(4, self.failed())
        self.clock.advance(900)
        self.assertEqual(0, self.wait_of(self.login()))
        self.assertEqual(0.5, self.failed())

    def test_a_name_the_realm_does_not_know_waits_as_a_wrong_password_does(self) -> None:
        def unknown(name: object) -> object:
            raise UnauthorizedLogin()

        self.failed(b"carol")
        self.realm.answer = unknown
        self.assert_about(1, self.wait_of(self.login(), SignInDenied))


class CancelTests(PortalCase):
    def test_nothing_is_made_for_one_who_leaves_during_the_wait(self) -> None:
        guess = self.login(password=b"guess")
        result = self.login()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.clock.advance(60)
        self.failureResultOf(guess, SignInDenied)
        self.assertEqual([], self.realm.logouts)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_an_avatar_that_comes_too_late_is_logged_out_once(self) -> None:
        later: Deferred[object] = Deferred()
        self.realm.answer = lambda name: later
        result = self.login()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        later.callback(self.realm.avatar(b"alice"))
        self.assertEqual([b"alice"], self.realm.logouts)
        self.assertEqual([], self.told)

    def test_a_logout_that_fails_then_is_logged(self) -> None:
        later: Deferred[object] = Deferred()
        self.realm.answer = lambda name: later
        result = self.login()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        later.callback((IPost, b"alice", lambda: 1 / 0))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_an_avatar_that_is_waited_for_is_not_logged_out(self) -> None:
        later: Deferred[object] = Deferred()
        self.realm.answer = lambda name: later
        result = self.login()
        later.callback(self.realm.avatar(b"alice"))
        self.assertEqual(b"alice", self.successResultOf(result)[1])
        self.assertEqual([], self.realm.logouts)


class FailuresTests(SynchronousTestCase):
    def test_what_waits_for_an_answer_is_bounded_by_key_and_in_keys(self) -> None:
        self.patch(guessing, "MOST_KEYS", 2)
        clock = Clock()
        unanswered = Unanswered(clock, 2)
        for delay_s in (1, 2, 4):
            unanswered.add("a", delay_s)
        self.assertEqual(4, unanswered.wait_s("a"))
        clock.advance(2)
        self.assertEqual(0, unanswered.wait_s("a"))  # one alone is left
        unanswered.add("b", 9)
        unanswered.add("a", 9)
        unanswered.add("c", 9)
        unanswered.add("b", 9)
        self.assertEqual((0, 0), (unanswered.wait_s("a"), unanswered.wait_s("b")))

    def test_the_table_is_bounded_and_the_oldest_go(self) -> None:
        self.patch(guessing, "MOST_KEYS", 3)
        failures = Failures(Clock())
        for key in (b"a", b"b", b"a", b"c", b"d"):
            failures.add(key)
        self.assertEqual(3, len(failures))
        self.assertEqual((0, 2), (failures.recent(b"b"), failures.recent(b"a")))

    def test_an_ipv6_guesser_counts_by_its_64_network(self) -> None:
        self.assertEqual(address_key("2001:db8::1"), address_key("2001:db8::ffff:2"))
        self.assertNotEqual(address_key("2001:db8::1"), address_key("2001:db8:0:1::1"))
        self.assertEqual("192.0.2.1", address_key("::ffff:192.0.2.1"))
        self.assertEqual(address_key("fe80::1"), address_key("fe80::1%eth0"))
        self.assertEqual(["", "/run/x"], [address_key(""), address_key("/run/x")])
