"""Who may sign in, and that nobody learns why not."""

from __future__ import annotations

from attrs import evolve
from twisted.cred.checkers import (
    AllowAnonymousAccess,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import (
    IAnonymous,
    IUsernameHashedPassword,
    IUsernamePassword,
    UsernamePassword,
)
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.cred.ageing import Ageing
from mailnode.cred.checkers import AccountChecker, CheckersInTurn, SignInDenied
from mailnode.cred.credentials import PasswordCredentials
from mailnode.cred.passwords import DUMMY_HASH
from mailnode.errors import PasswordTooOld, SignInBusy, SignInRefused
from mailnode.settings import PasswordSettings
from mailnode.store.directory import Account, Directory, Domain, LiveDirectory
from mailnode.store.factors import Factor
from tests.unit.test_directory import account

ALICE, BOB = account(1, "Alice"), account(2, "bob", disabled=True)
Asked = tuple[str, str, "int | str | None"]


class FakePasswords:
    """Notes what it is asked; the test answers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Deferred[bool]] = []

    def verify(
        self, password_hash: str, password: str, whose: int | str | None = None
    ) -> Deferred[bool]:
        self.asked.append((password_hash, password, whose))
        self.answers.append(Deferred())
        return self.answers[-1]


class FakeRenewing:
    """Notes which passwords were right."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def saw(self, account: Account, password: str) -> None:
        self.seen.append((account.id, password))


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = LiveDirectory(self.people(ALICE, BOB))
        self.passwords, self.renewing = FakePasswords(), FakeRenewing()
        self.settings, self.now = PasswordSettings(), 0.0
        self.checker = AccountChecker(
            self.directory,
            self.passwords,  # type: ignore[arg-type]
            Ageing(lambda: self.settings, lambda: self.now),
            self.renewing,  # type: ignore[arg-type]
        )

    def people(self, *accounts: object) -> Directory:
        return Directory.of([Domain(1, "example.test", 0.0)], accounts)  # type: ignore[arg-type]

    def judged(self, name: bytes, password: bytes = b"sesame") -> Deferred[bytes | tuple[()]]:
        return self.checker.requestAvatarId(UsernamePassword(name, password))

    def refusal(self, name: bytes, password: bytes = b"sesame", fits: bool = False) -> str:
        result = self.judged(name, password)
        self.assertNoResult(result)
        self.passwords.answers[-1].callback(fits)
        failure = self.failureResultOf(result, SignInDenied)
        self.assertEqual(SignInRefused.text, failure.value.text)
        return str(failure.value.detail)

    def test_it_is_a_checker_to_twisted(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)

    def test_the_right_password_gives_the_canonical_address(self) -> None:
        for name in (b"alice", b"ALICE@Example.Test"):
            result = self.judged(name)
            self.passwords.answers[-1].callback(True)
            self.assertEqual(b"Alice@example.test", self.successResultOf(result))
        self.assertEqual(("hash-1", "sesame", 1), self.passwords.asked[0])
        self.assertEqual([(1, "sesame"), (1, "sesame")], self.renewing.seen)

    def test_a_right_password_that_lets_nobody_in_is_not_remembered(self) -> None:
        """A quick no would say that it is the right one."""
        factor = Factor(1, 1, "totp", "phone", "", b"", 0.0)
        domains = [Domain(1, "example.test", 0.0)]
        self.directory.replace(Directory.of(domains, [ALICE], factors={1: (factor,)}))
        for service, whose in (("smtp", "alice"), ("pop3", "alice"), ("", "alice"), ("web", 1)):
            asked = PasswordCredentials(b"alice", b"sesame", service=service)
            self.checker.requestAvatarId(asked)
            self.assertEqual(whose, self.passwords.asked[-1][2], service)

    def test_a_password_past_its_age_and_grace_counts_for_mail_programs_no_more(self) -> None:
        self.settings = PasswordSettings(max_age=100.0, grace=50.0)
        for self.now, service, goes in (
            (99.0, "smtp", True),
            (149.0, "pop3", True),
            (150.0, "smtp", False),
            (150.0, "pop3", False),
            (150.0, "", True),
        ):
            asked = PasswordCredentials(b"alice", b"sesame", service=service)
            result = self.checker.requestAvatarId(asked)
            self.passwords.answers[-1].callback(True)
            if goes:
                self.assertEqual(b"Alice@example.test", self.successResultOf(result))
            else:
                told = self.failureResultOf(result, PasswordTooOld).value.text
                self.assertIn("choose another", told)

    def test_of_a_wrong_password_nobody_hears_that_it_is_too_old(self) -> None:
        self.settings, self.now = PasswordSettings(max_age=1.0, grace=1.0), 9.0
        result = self.checker.requestAvatarId(
            PasswordCredentials(b"alice", b"guess", service="smtp")
        )
        self.passwords.answers[-1].callback(False)
        self.assertEqual("wrong password", self.failureResultOf(result, SignInDenied).value.detail)
        self.assertEqual([], self.renewing.seen)

    def test_a_hash_that_is_renewed_meanwhile_is_of_the_same_password(self) -> None:
        result = self.judged(b"alice")
        self.directory.replace(self.people(evolve(ALICE, password_hash="renewed")))
        self.passwords.answers[-1].callback(True)
        self.assertEqual(b"Alice@example.test", self.successResultOf(result))

    def test_every_refusal_costs_one_check_and_only_the_log_knows_why(self) -> None:
        self.assertEqual("wrong password", self.refusal(b"alice"))
        self.assertEqual("no such account", self.refusal(b"Carol"))
        self.assertEqual("the account is disabled", self.refusal(b"bob"))
        self.assertEqual("no such account", self.refusal(b"not @n address"))
        self.assertEqual("no such account", self.refusal(b"\xff"))
        self.assertEqual("wrong password", self.refusal(b"alice", b"\xff"))
        self.assertEqual(
            [
                ("hash-1", "sesame", 1),
                (DUMMY_HASH, "sesame", "carol@example.test"),
                (DUMMY_HASH, "sesame", "bob@example.test"),
                (DUMMY_HASH, "sesame", "not @n address"),
                (DUMMY_HASH, "sesame", None),
                (DUMMY_HASH, "", "alice@example.test"),
            ],
            self.passwords.asked,
        )

    def test_nobody_gets_in_by_the_dummy_whatever_it_answers(self) -> None:
        for name in (b"carol", b"bob", b"\xff"):
            self.refusal(name, fits=True)
        self.refusal(b"alice", b"\xff", fits=True)

    def test_an_account_that_changes_during_the_check_is_refused(self) -> None:
        for now in (
            self.people(evolve(ALICE, disabled=True)),
            self.people(evolve(ALICE, password_hash="new", sign_in_changed_at=7.0)),
            self.people(),
        ):
            self.directory.replace(self.people(ALICE))
            result = self.judged(b"alice")
            self.directory.replace(now)
            self.passwords.answers[-1].callback(True)
            self.failureResultOf(result, SignInDenied)

    def test_a_refusal_is_twisteds_too(self) -> None:
        result = self.judged(b"alice")
        self.passwords.answers[-1].callback(False)
        self.failureResultOf(result, UnauthorizedLogin)

    def test_a_full_queue_is_no_refusal(self) -> None:
        self.passwords.verify = lambda *asked: fail(SignInBusy())  # type: ignore[method-assign,assignment]
        for name in (b"alice", b"carol"):
            self.failureResultOf(self.judged(name), SignInBusy)


class InTurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.first = InMemoryUsernamePasswordDatabaseDontUse(alice=b"one")
        self.second = InMemoryUsernamePasswordDatabaseDontUse(alice=b"two", bob=b"two")
        self.checker = CheckersInTurn([self.first, self.second])

    def judged(self, name: bytes, password: bytes) -> Deferred[object]:
        return self.checker.requestAvatarId(UsernamePassword(name, password))

    def test_whom_the_first_refuses_the_next_may_let_in(self) -> None:
        for name, password in ((b"alice", b"one"), (b"alice", b"two"), (b"bob", b"two")):
            self.assertEqual(name, self.successResultOf(self.judged(name, password)))

    def test_whom_none_lets_in_is_refused(self) -> None:
        self.failureResultOf(self.judged(b"alice", b"three"), UnauthorizedLogin)
        self.failureResultOf(CheckersInTurn([]).requestAvatarId(None), UnauthorizedLogin)

    def test_a_broken_one_is_no_refusal(self) -> None:
        self.first.requestAvatarId = lambda credentials: 1 / 0
        self.failureResultOf(self.judged(b"bob", b"two"), ZeroDivisionError)

    def test_it_judges_what_any_of_them_judges(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)
        self.assertEqual((), CheckersInTurn([]).credentialInterfaces)
        anonymous = CheckersInTurn([AllowAnonymousAccess(), self.first])
        self.assertEqual(
            {IAnonymous, IUsernamePassword, IUsernameHashedPassword},
            set(anonymous.credentialInterfaces),
        )
        self.assertEqual(
            b"alice",
            self.successResultOf(anonymous.requestAvatarId(UsernamePassword(b"alice", b"one"))),
        )
