"""App passwords and the gate that asks for them: whom they let in, and what is told of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.cred.app_passwords import AppPasswords, FactorGate, Proofs
from mailnode.cred.checkers import SignInDenied
from mailnode.cred.credentials import PasswordCredentials
from mailnode.cred.scram import ScramBook, ScramCredentials
from mailnode.errors import SignInRefused
from mailnode.sealing import Seal
from mailnode.store.directory import Directory, Domain, LiveDirectory
from mailnode.store.factors import Factor
from mailnode.store.tokens import (
    APP_LETTERS,
    Token,
    app_password_of,
    hash_secret,
    make_secret,
)
from tests.scram_client import ScramClient
from tests.unit.test_directory import account

ALICE, BOB, GONE = account(1, "alice"), account(2, "bob"), account(3, "gone", disabled=True)
SEAL = Seal(Path("seal.key"), b"k" * 32)
PASSWORD = "correct horse 7"


class FakeTokens:
    """Those that there are, and which were used."""

    def __init__(self) -> None:
        self.tokens: dict[bytes, Token] = {}
        self.used: list[tuple[int, str]] = []
        self.asked: list[int] = []

    async def find_token(self, secret: str) -> Token | None:
        return self.tokens.get(hash_secret(secret))

    async def provable_tokens(self, account_id: int) -> list[Token]:
        self.asked.append(account_id)
        return [each for each in self.tokens.values() if each.account_id == account_id]

    def note_token(self, token: Token, client: str) -> None:
        self.used.append((token.id, client))


class FakeChecker:
    """alice's password is right."""

    credentialInterfaces = ("passwords",)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        self.asked.append(credentials)
        said = getattr(credentials, "password", b"")
        if said == PASSWORD.encode():
            return succeed(credentials.username)
        return fail(SignInDenied(detail="wrong password"))


class GateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.factors: dict[int, tuple[Factor, ...]] = {}
        self.directory = LiveDirectory()
        self.take_up()
        self.book = ScramBook(self.directory, SEAL)
        self.proofs, self.tokens = Proofs(self.book, SEAL), FakeTokens()
        self.app = AppPasswords(
            self.directory, self.tokens, self.book, self.proofs, app_password_of
        )
        self.inner = FakeChecker()
        self.gate = FactorGate(
            self.inner, self.app, self.directory, lambda each: bool(self.directory.factors(each))
        )

    def take_up(self) -> None:
        domains = [Domain(1, "example.test", 0.0)]
        self.directory.replace(
            Directory.of(domains, [ALICE, BOB, GONE], factors=dict(self.factors))
        )

    def add_factor(self, account_id: int = 1) -> None:
        self.factors[account_id] = (Factor(1, account_id, "totp", "phone", "", b"x", 0.0),)
        self.take_up()

    def make(self, *scopes: str, of: int = 1) -> str:
        owner = self.directory.find_by_id(of)
        assert owner is not None
        secret, number = make_secret(scopes), len(self.tokens.tokens) + 1
        key, keys = hash_secret(secret), self.proofs.make(owner, secret)
        self.tokens.tokens[key] = Token(
            number, key, of, "phone", scopes, 0.0, None, None, None, keys
        )
        return secret

    def asks(
        self, secret: str | bytes, service: str = "pop3", name: str = "alice"
    ) -> tuple[Any, PasswordCredentials]:
        """What is answered: whose it is, or why not."""
        said = secret if isinstance(secret, bytes) else secret.encode()
        credentials = PasswordCredentials(name.encode(), said, "192.0.2.7", service)
        answer = self.gate.requestAvatarId(credentials)
        return self.told(answer), credentials

    def told(self, answer: Deferred[Any]) -> Any:
        results: list[Any] = []
        answer.addBoth(results.append)
        (result,) = results
        if isinstance(result, bytes):
            return result.decode()
        self.assertEqual(SignInRefused.text, result.value.text)
        return result.value.detail

    def proves(self, secret: str, service: str = "pop3", name: str = "alice") -> Any:
        credentials = ScramCredentials(self.book.keys_for, service=service)
        client = ScramClient(name, secret)
        credentials.setResponse(client.first())
        credentials.setResponse(client.final(credentials.getChallenge()))
        told = self.told(self.gate.requestAvatarId(credentials))
        if told == f"{name}@example.test":
            self.assertTrue(client.is_the_server(credentials.last_words or b""))
        return told


class FormTests(SynchronousTestCase):
    def test_it_has_a_hundred_random_bits_in_groups_that_are_easy_to_type(self) -> None:
        made = {make_secret(["smtp"]) for _ in range(50)}
        self.assertEqual(50, len(made))
        for each in made:
            self.assertRegex(each, r"\A([a-z2-9]{4}-){4}[a-z2-9]{4}\Z")
        self.assertEqual((32, 32), (len(APP_LETTERS), len(set(APP_LETTERS))))
        self.assertFalse(set(APP_LETTERS) & set("lo01"))

    def test_it_is_the_same_however_its_groups_are_parted(self) -> None:
        secret = make_secret(["pop3"])
        for typed in (
            secret.replace("-", ""),
            secret.replace("-", " "),
            secret.upper(),
            f" {secret} ",
        ):
            self.assertEqual(secret, app_password_of(typed))

    def test_what_is_none_is_told_by_its_form(self) -> None:
        secret = make_secret(["pop3"])
        for typed in (
            "",
            PASSWORD,
            secret[:-1],
            secret + "a",
            secret[:-1] + "0",
            "é" * 20,
            "-" * 99,
        ):
            self.assertIsNone(app_password_of(typed), typed)

    def test_a_token_of_programs_keeps_its_form(self) -> None:
        self.assertTrue(make_secret(["read", "send"]).startswith("mailnode_"))


class GateTests(GateCase):
    def test_it_is_a_checker_to_twisted(self) -> None:
        verifyObject(ICredentialsChecker, self.gate)
        self.assertEqual(("passwords",), self.gate.credentialInterfaces)

    def test_one_lets_its_account_in_and_no_password_is_verified(self) -> None:
        secret = self.make("pop3")
        whose, credentials = self.asks(secret.replace("-", "").upper())
        self.assertEqual("alice@example.test", whose)
        self.assertEqual((1, "phone"), (credentials.token_id, credentials.token_name))
        self.assertEqual([(1, "192.0.2.7")], self.tokens.used)
        self.assertEqual([], self.inner.asked)

    def test_outside_its_scope_it_is_refused_like_a_wrong_password_and_not_used(self) -> None:
        secret = self.make("pop3")
        for service in ("smtp", "web", ""):
            told, credentials = self.asks(secret, service)
            wanted = f"an app password that is not for {service}" if service == "smtp" else None
            self.assertEqual(wanted or "wrong password", told)
            self.assertIsNone(credentials.token_id)
        self.assertEqual([], self.tokens.used)
        self.assertEqual(3, len(self.inner.asked))  # each cost what a wrong password costs

    def test_after_its_end_it_is_refused_like_a_wrong_password(self) -> None:
        secret = self.make("pop3")
        self.tokens.tokens.clear()
        self.assertEqual("wrong password", self.asks(secret)[0])
        self.assertEqual(1, len(self.inner.asked))

    def test_another_accounts_and_a_disabled_ones_let_nobody_in(self) -> None:
        bobs, gones = self.make("pop3", of=2), self.make("pop3", of=3)
        for secret, name in ((bobs, "alice"), (bobs, "nobody"), (gones, "gone"), (bobs, "\0")):
            self.assertEqual("wrong password", self.asks(secret, name=name)[0])
        self.assertEqual(4, len(self.inner.asked))
        self.assertEqual("bob@example.test", self.asks(bobs, name="bob")[0])

    def test_octets_that_are_no_text_are_no_app_password(self) -> None:
        self.assertEqual("wrong password", self.asks(b"\xff" * 20)[0])

    def test_a_password_goes_on_to_count_where_there_is_no_second_factor(self) -> None:
        for service in ("smtp", "pop3", "web", ""):
            self.assertEqual("alice", self.asks(PASSWORD, service)[0])
        self.add_factor(2)
        self.assertEqual("alice", self.asks(PASSWORD)[0])

    def test_with_a_second_factor_the_right_password_is_refused_and_only_the_log_says_why(
        self,
    ) -> None:
        self.add_factor()
        for service in ("smtp", "pop3", ""):
            self.assertEqual("needs an app password", self.asks(PASSWORD, service)[0])
        self.assertEqual("wrong password", self.asks("another")[0])
        self.assertEqual("alice@example.test", self.asks(self.make("pop3"))[0])

    def test_on_the_web_it_is_half_of_a_sign_in(self) -> None:
        credentials = HalfCredentials(b"alice", PASSWORD.encode(), "192.0.2.7", "web")
        self.assertEqual("alice", self.told(self.gate.requestAvatarId(credentials)))
        self.assertFalse(credentials.awaits_code)
        self.add_factor()
        self.assertEqual("alice", self.told(self.gate.requestAvatarId(credentials)))
        self.assertTrue(credentials.awaits_code)


class HalfCredentials(PasswordCredentials):
    """Those of the web."""

    awaits_code = False


class ProofTests(GateCase):
    def test_one_is_proved_by_scram_beside_others(self) -> None:
        self.make("pop3")
        secret = self.make("pop3", "smtp")
        self.make("smtp")
        self.assertEqual("alice@example.test", self.proves(secret))
        self.assertEqual([2], [number for number, _ in self.tokens.used])
        self.assertEqual([], self.inner.asked)

    def test_a_proof_outside_its_scope_or_of_another_account_counts_nothing(self) -> None:
        secret = self.make("pop3")
        self.assertEqual("an app password that is not for smtp", self.proves(secret, "smtp"))
        self.assertEqual("wrong password", self.proves(secret, name="bob"))
        self.assertEqual("wrong password", self.proves(PASSWORD))

    def test_for_a_name_without_an_account_as_many_are_looked_for(self) -> None:
        self.proves(PASSWORD, name="nobody")
        self.proves(PASSWORD, name="gone")
        self.assertEqual(2, len(self.tokens.asked))

    def test_keys_under_another_seal_or_salt_prove_nothing(self) -> None:
        secret = self.make("pop3")
        (token,) = self.tokens.tokens.values()
        shown = self.book.keys_for("alice")
        self.assertIsNotNone(self.proofs.read(token, shown))
        other = Seal(Path("seal.key"), b"o" * 32)
        self.assertIsNone(Proofs(self.book, other).read(token, shown))
        self.assertIsNone(self.proofs.read(token, self.book.keys_for("bob")))
        self.assertNotIn(secret.encode(), token.proof_keys or b"")
