"""Avatars for those who were let in, and for nobody."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.verify import verifyObject

from mailnode.addresses import Address
from mailnode.cred.checkers import SignInDenied
from mailnode.cred.realm import Factory, Realm
from mailnode.errors import AlreadyThere
from mailnode.store.directory import Account, Directory, Domain, LiveDirectory
from tests.unit.test_directory import account


class IPost(Interface):
    pass


class IDrop(Interface):
    pass


class IOther(Interface):
    pass


ALICE, BOB = account(1, "Alice"), account(2, "bob", disabled=True)


def logout() -> None:
    pass


def people(*accounts: Account) -> Directory:
    return Directory.of([Domain(1, "example.test", 0.0)], accounts)


class RealmCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = LiveDirectory(people(ALICE, BOB))
        self.made: list[tuple[str, Account | None]] = []
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def realm(self, create_account: Callable[[Address], Deferred[Account]] | None = None) -> Realm:
        factories: dict[type[Interface], Factory] = {IPost: self.post, IDrop: self.drop}
        return Realm(self.directory, factories, create_account)

    def post(self, account: Account | None) -> tuple[object, Callable[[], None]]:
        self.made.append(("post", account))
        return "the post", logout

    def drop(self, account: Account | None) -> tuple[object, Callable[[], None]]:
        if account is None:
            raise UnauthorizedLogin()
        self.made.append(("drop", account))
        return "the drop", logout

    def mends(self) -> list[str]:
        return [
            event["log_format"].format(**event)
            for event in self.logged
            if event["log_level"].name == "warn"
        ]


class AvatarTests(RealmCase):
    def test_it_is_a_realm_to_twisted(self) -> None:
        verifyObject(IRealm, self.realm())

    def test_the_first_interface_that_somebody_makes_is_made_for_the_account(self) -> None:
        realm = self.realm()
        for name in (b"Alice@example.test", "alice@example.test", b"alice"):
            avatar = realm.requestAvatar(name, None, IOther, IDrop, IPost)
            self.assertEqual((IDrop, "the drop", logout), avatar)
        self.assertEqual([("drop", ALICE)] * 3, self.made)

    def test_anonymous_clients_get_what_a_factory_has_for_nobody(self) -> None:
        realm = self.realm()
        avatar = realm.requestAvatar(ANONYMOUS, None, IPost)
        self.assertEqual((IPost, "the post", logout), avatar)
        self.assertEqual([("post", None)], self.made)
        self.assertRaises(UnauthorizedLogin, realm.requestAvatar, ANONYMOUS, None, IDrop)

    def test_an_empty_name_is_not_anonymous(self) -> None:
        self.assertRaises(SignInDenied, self.realm().requestAvatar, b"", None, IPost)

    def test_a_factory_may_take_its_time(self) -> None:
        later: Deferred[tuple[object, Callable[[], None]]] = Deferred()
        realm = Realm(self.directory, {IPost: lambda account: later})
        avatar = realm.requestAvatar(b"alice", None, IPost)
        assert isinstance(avatar, Deferred)
        self.assertNoResult(avatar)
        later.callback(("slow", logout))
        self.assertEqual((IPost, "slow", logout), self.successResultOf(avatar))

    def test_an_interface_that_nobody_makes_is_twisteds_error(self) -> None:
        self.assertRaises(NotImplementedError, self.realm().requestAvatar, b"alice", None, IOther)

    def test_a_disabled_account_is_refused_whichever_checker_let_it_in(self) -> None:
        self.assertRaises(SignInDenied, self.realm().requestAvatar, b"bob", None, IPost)
        self.assertEqual([], self.made)


class UnknownTests(RealmCase):
    def test_a_name_without_an_account_is_refused_and_the_log_names_the_mend(self) -> None:
        error = self.assertRaises(SignInDenied, self.realm().requestAvatar, b"carol", None, IPost)
        self.assertIsInstance(error, UnauthorizedLogin)
        (line,) = self.mends()
        self.assertIn("mailnode user add carol", line)

    def test_a_name_of_another_domain_is_refused_even_when_accounts_are_made(self) -> None:
        realm = self.realm(lambda address: succeed(account(9, str(address))))
        for name in (b"carol@elsewhere.test", b"not @n address", b"\xff\xfe"):
            self.assertRaises(SignInDenied, realm.requestAvatar, name, None, IPost)
        self.assertIn("mailnode domain", self.mends()[0])
        self.assertEqual([], self.made)

    def test_an_account_is_made_when_the_node_makes_them(self) -> None:
        asked: list[Address] = []
        done: list[Deferred[Account]] = []

        def create(address: Address) -> Deferred[Account]:
            asked.append(address)
            done.append(Deferred())
            return done[-1]

        realm = self.realm(create)
        first = realm.requestAvatar(b"Carol", None, IPost)
        second = realm.requestAvatar(b"carol@example.test", None, IDrop)
        assert isinstance(first, Deferred) and isinstance(second, Deferred)
        self.assertEqual([Address("carol", "example.test")], asked)
        carol = account(3, "carol")
        self.directory.replace(people(ALICE, BOB, carol))
        done[0].callback(carol)
        self.assertEqual((IPost, "the post", logout), self.successResultOf(first))
        self.assertEqual((IDrop, "the drop", logout), self.successResultOf(second))
        self.assertCountEqual([("post", carol), ("drop", carol)], self.made)
        self.assertEqual(1, len(asked))

    def test_an_account_that_can_not_be_made_is_a_refusal_and_the_log_says_why(self) -> None:
        def create(address: Address) -> Deferred[Account]:
            raise AlreadyThere(f"{address} is an alias here already")

        avatar = self.realm(create).requestAvatar(b"team", None, IPost)
        assert isinstance(avatar, Deferred)
        self.failureResultOf(avatar, SignInDenied)
        self.assertIn("alias", self.mends()[0])

    def test_an_account_disabled_while_it_was_made_is_refused(self) -> None:
        gone = evolve(account(3, "carol"), disabled=True)
        avatar = self.realm(lambda address: succeed(gone)).requestAvatar(b"carol", None, IPost)
        assert isinstance(avatar, Deferred)
        self.failureResultOf(avatar, SignInDenied)
