"""SCRAM-SHA-256: what proves a password, and what a client tries in its place."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import scramp
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import ICredentialsChecker
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.cred.ageing import Ageing
from mailnode.cred.checkers import SignInDenied
from mailnode.cred.credentials import BadResponse
from mailnode.cred.mechanisms import mechanisms
from mailnode.cred.saslprep import saslprep
from mailnode.cred.scram import (
    MOST_OCTETS,
    IScramProof,
    ScramBook,
    ScramChecker,
    ScramCredentials,
    ScramMechanism,
)
from mailnode.cred.stored import ScramKeys, StoredPassword, store_password
from mailnode.errors import MailError, PasswordTooOld
from mailnode.sealing import Seal
from mailnode.settings import PasswordSettings
from mailnode.store.directory import Account, Directory, Domain, LiveDirectory
from mailnode.store.sign_in import KeptKeys
from tests.scram_client import ScramClient
from tests.unit.test_directory import account

SEAL = Seal(Path("seal.key"), b"k" * 32)
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
BOUND = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"p" * 32}


class Channel:
    """TLS with all that can be bound to."""

    def binding(self, kind: str) -> bytes | None:
        return BOUND.get(kind)


def keys_of(password: str, iterations: int = 4096) -> ScramKeys:
    return ScramKeys.of(password, SALT, iterations)


class VectorTests(SynchronousTestCase):
    def test_the_example_of_rfc_7677_is_answered_octet_by_octet(self) -> None:
        keys = keys_of("pencil")
        server = ScramCredentials(lambda name: keys, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
        server.setResponse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        self.assertEqual(
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            server.getChallenge(),
        )
        self.assertTrue(server.moreChallenges())
        server.setResponse(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        )
        self.assertFalse(server.moreChallenges())
        self.assertIsNone(server.last_words)
        self.assertTrue(server.proves(keys))
        self.assertEqual(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", server.last_words)
        self.assertEqual(b"user", server.username)

    def test_a_client_that_others_wrote_signs_in(self) -> None:
        for mechanism, binding in (
            ("SCRAM-SHA-256", None),
            ("SCRAM-SHA-256-PLUS", ("tls-server-end-point", BOUND["tls-server-end-point"])),
        ):
            for password in ("pencil", "I\u00adX \u2168 \u00aa", "gr\u00fc\u00df dich"):
                keys = keys_of(password)
                client = scramp.ScramClient(
                    [mechanism], "alice@example.test", password, channel_binding=binding
                )
                plus = binding is not None
                server = ScramCredentials(lambda name, keys=keys: keys, plus)
                server.channel = Channel() if plus else None
                server.setResponse(client.get_client_first().encode())
                client.set_server_first(server.getChallenge().decode())
                server.setResponse(client.get_client_final().encode())
                self.assertTrue(server.proves(keys), password)
                assert server.last_words is not None
                client.set_server_final(server.last_words.decode())


class SaslprepTests(SynchronousTestCase):
    def test_the_examples_of_rfc_4013(self) -> None:
        self.assertEqual("IX", saslprep("I\u00adX"))
        self.assertEqual("user", saslprep("user"))
        self.assertEqual("USER", saslprep("USER"))
        self.assertEqual("a", saslprep("\u00aa"))
        self.assertEqual("IX", saslprep("\u2168"))

    def test_what_the_profile_has_no_form_for_stays_as_it_was_typed(self) -> None:
        for text in ("a\u0007", "\u0627\u0031", "\u00ad", ""):
            self.assertEqual(text, saslprep(text))
        self.assertEqual("owl \U0001f989", saslprep("owl\u00a0\U0001f989"))


class ScramCase(SynchronousTestCase):
    """alice has keys, bob is disabled, carol has none yet."""

    def setUp(self) -> None:
        self.alice, self.bob = account(1, "alice"), account(2, "bob", disabled=True)
        self.carol = account(3, "carol")
        self.settings, self.now = PasswordSettings(), 0.0
        self.live = LiveDirectory(self.people(self.alice, self.bob, self.carol))
        self.book = ScramBook(self.live, SEAL)
        ageing = Ageing(lambda: self.settings, lambda: self.now)
        self.former: dict[int, list[KeptKeys]] = {}
        self.looked_for: list[int] = []
        self.checker = ScramChecker(self.live, self.book, ageing, self.look_for_former)

    async def look_for_former(self, account_id: int) -> list[KeptKeys]:
        self.looked_for.append(account_id)
        return self.former.get(account_id, [])

    def people(self, *accounts: Account, password: str = "pencil") -> Directory:
        stored = StoredPassword("h", ScramKeys.of(password, SALT), SEAL)
        kept = {
            each.id: KeptKeys(SALT, 100_000, stored.kept_keys(each.id, is_published=each.demo))
            for each in accounts
            if each.id != 3
        }
        return Directory.of([Domain(1, "example.test", 0.0)], accounts, scram_keys=kept)

    def begin(self, *, plus: bool = False, tls: bool = False) -> ScramCredentials:
        made = ScramMechanism(self.book, plus)()
        made.channel = Channel() if tls or plus else None
        made.service = "smtp"
        return made

    def refusal(self, client: ScramClient, server: ScramCredentials, **lies: Any) -> str:
        """What the log says of it; the client hears no word of the server's."""
        server.setResponse(client.first())
        if server.moreChallenges():
            server.setResponse(client.final(server.getChallenge(), **lies))
        self.assertFalse(server.moreChallenges())
        failure = self.failureResultOf(self.checker.requestAvatarId(server), SignInDenied)
        self.assertIsNone(server.last_words)
        return str(failure.value.detail)


class SignInTests(ScramCase):
    def test_who_knows_the_password_is_let_in_and_hears_that_the_server_does(self) -> None:
        verifyObject(ICredentialsChecker, self.checker)
        for name in ("alice", "ALICE@Example.Test"):
            for plus, flag in (
                (False, "n"),
                (True, "p=tls-exporter"),
                (True, "p=tls-server-end-point"),
            ):
                client = ScramClient(name, "pencil", flag, BOUND.get(flag[2:], b""))
                server = self.begin(plus=plus)
                self.assertTrue(IScramProof.providedBy(server))
                server.setResponse(client.first())
                server.setResponse(client.final(server.getChallenge()))
                judged = self.checker.requestAvatarId(server)
                self.assertEqual(b"alice@example.test", self.successResultOf(judged))
                assert server.last_words is not None
                self.assertTrue(client.is_the_server(server.last_words))

    def test_a_proof_for_oneself_is_taken_and_for_another_refused(self) -> None:
        self.assertEqual(
            "would act for another",
            self.refusal(ScramClient("alice", "pencil", authzid="bob"), self.begin()),
        )
        client, server = ScramClient("alice", "pencil", authzid="alice"), self.begin()
        server.setResponse(client.first())
        server.setResponse(client.final(server.getChallenge()))
        self.successResultOf(self.checker.requestAvatarId(server))

    def test_a_name_with_comma_and_equals_sign_is_escaped(self) -> None:
        server = self.begin()
        server.setResponse(b"n,,n=a=2Cb=3Dc,r=x")
        self.assertEqual(b"a,b=c", server.username)
        for name in (b"a=2cb", b"a=", b"a=2", b"a=41"):
            self.assertRaises(BadResponse, self.begin().setResponse, b"n,,n=%b,r=x" % name)

    def test_each_refusal_tells_only_the_log_why(self) -> None:
        for name, password, why in (
            ("alice", "guess", "wrong password"),
            ("bob", "pencil", "the account is disabled"),
            ("carol", "pencil", "no SCRAM keys yet: it signs in by its password once"),
            ("dora", "pencil", "no such account"),
        ):
            self.assertEqual(why, self.refusal(ScramClient(name, password), self.begin()))

    def test_a_password_past_its_age_is_told_of_after_the_proof(self) -> None:
        self.settings, self.now = PasswordSettings(max_age=1.0, grace=1.0), 9.0
        self.assertEqual(
            "wrong password", self.refusal(ScramClient("alice", "guess"), self.begin())
        )
        client, server = ScramClient("alice", "pencil"), self.begin()
        server.setResponse(client.first())
        server.setResponse(client.final(server.getChallenge()))
        self.failureResultOf(self.checker.requestAvatarId(server), PasswordTooOld)

    def test_keys_under_another_seal_or_about_another_account_count_for_nobody(self) -> None:
        other = ScramBook(self.live, Seal(Path("seal.key"), b"o" * 32))
        self.assertIsNone(other.keys_of(self.alice))
        stolen = self.live.current.scram_keys[1]
        self.live.replace(evolve(self.live.current, scram_keys={3: stolen}))
        self.assertIsNone(self.book.keys_of(self.carol))

    def test_a_demo_accounts_keys_are_open_and_nobody_elses_count_so(self) -> None:
        self.live.replace(self.people(evolve(self.alice, demo=True)))
        other = ScramBook(self.live, Seal(Path("seal.key"), b"o" * 32))
        demo = self.live.find_by_id(1)
        self.assertEqual(ScramKeys.of("pencil", SALT), other.keys_of(demo))
        self.assertIsNone(other.keys_of(self.alice))


class AttackTests(ScramCase):
    def test_nobody_learns_by_what_is_asked_which_names_have_accounts(self) -> None:
        for name in ("alice", "bob", "carol", "dora", "x@elsewhere.example", "not @n address"):
            asked = []
            for spelled in (name, name, name.upper()):
                server = self.begin()
                server.setResponse(ScramClient(spelled, "guess").first())
                nonce, salt, iterations = server.getChallenge().decode().split(",")
                self.assertEqual(24, len(salt.removeprefix("s=")))
                self.assertEqual("i=100000", iterations)
                self.assertEqual(20 + 24, len(nonce.removeprefix("r=")))
                asked.append((salt, nonce))
            self.assertEqual(asked[0][0], asked[1][0], "the salt of a name stays")
            if "x@" not in name and " " not in name:
                self.assertEqual(asked[0][0], asked[2][0], "in any spelling")
            self.assertEqual(3, len({nonce for _, nonce in asked}))
        salts = {self.book.keys_for(name).salt for name in ("carol", "dora", "emil")}
        self.assertEqual(3, len(salts), "each name has its own")

    def test_the_salt_of_a_name_stays_when_it_gets_an_account_or_password_or_is_shut(self) -> None:
        def take_up(*accounts: Account, **keys: Any) -> bytes:
            domains = [Domain(1, "example.test", 0.0)]
            self.live.replace(Directory.of(domains, accounts, **keys))
            return self.book.keys_for("Alice@Example.Test").salt

        salts = {take_up()}
        for password in ("pencil", "another pencil"):
            stored = store_password(password, self.alice.address, SEAL)
            assert stored.scram is not None
            kept = KeptKeys(stored.scram.salt, 100_000, stored.kept_keys(1, is_published=False))
            salts.add(take_up(self.alice, scram_keys={1: kept}))
            self.assertEqual(stored.scram, self.book.keys_of(self.alice))
            salts.add(take_up(evolve(self.alice, disabled=True), scram_keys={1: kept}))
        self.assertEqual(1, len(salts))

    def test_nothing_fits_the_keys_for_show(self) -> None:
        server, client = self.begin(), ScramClient("dora", "pencil")
        server.setResponse(client.first())
        server.setResponse(client.final(server.getChallenge()))
        self.assertFalse(server.proves(self.book.keys_for("dora")))

    def test_a_proof_that_was_seen_proves_nothing_again(self) -> None:
        seen, client = self.begin(), ScramClient("alice", "pencil")
        seen.setResponse(client.first())
        final = client.final(seen.getChallenge())
        seen.setResponse(final)
        self.successResultOf(self.checker.requestAvatarId(seen))
        again = self.begin()
        again.setResponse(client.first())
        self.assertNotEqual(seen.getChallenge(), again.getChallenge())
        again.setResponse(final)
        failure = self.failureResultOf(self.checker.requestAvatarId(again), SignInDenied)
        self.assertEqual("another sign-in's nonce", failure.value.detail)
        as_new = self.begin()
        as_new.setResponse(client.first())
        nonce, seen_nonce = (each.getChallenge().partition(b",")[0] for each in (as_new, seen))
        as_new.setResponse(final.replace(seen_nonce, nonce))
        failure = self.failureResultOf(self.checker.requestAvatarId(as_new), SignInDenied)
        self.assertEqual("wrong password", failure.value.detail)

    def test_the_clients_own_nonce_alone_is_none(self) -> None:
        client = ScramClient("alice", "pencil")
        self.assertEqual(
            "another sign-in's nonce", self.refusal(client, self.begin(), nonce=client.nonce)
        )

    def test_a_proof_for_another_connection_is_refused(self) -> None:
        for kind, bound in BOUND.items():
            between = ScramClient("alice", "pencil", f"p={kind}", b"of the one in between")
            self.assertEqual(
                "bound to another connection", self.refusal(between, self.begin(plus=True))
            )
            client = ScramClient("alice", "pencil", f"p={kind}", bound)
            for channel in (b"n,,", b"p=tls-unique,," + bound, client.gs2.encode()):
                self.assertEqual(
                    "bound to another connection",
                    self.refusal(client, self.begin(plus=True), channel=channel),
                )

    def test_a_header_that_changed_on_its_way_is_noticed(self) -> None:
        self.assertEqual(
            "bound to another connection",
            self.refusal(ScramClient("alice", "pencil"), self.begin(tls=True), channel=b"y,,"),
        )
        client, server = ScramClient("alice", "pencil", "y"), self.begin(tls=True)
        server.setResponse(client.first().replace(b"y,,", b"n,,"))
        final = client.final(server.getChallenge())
        server.setResponse(final.replace(b"c=eSws", b"c=biws"))  # what the client says of it, too
        failure = self.failureResultOf(self.checker.requestAvatarId(server), SignInDenied)
        self.assertEqual("wrong password", failure.value.detail)

    def test_plus_that_was_taken_out_of_the_offer_is_noticed(self) -> None:
        downgraded = ScramClient("alice", "pencil", "y")
        self.assertIn("took", self.refusal(downgraded, self.begin(tls=True)))
        in_clear = self.begin()
        in_clear.setResponse(downgraded.first())
        in_clear.setResponse(downgraded.final(in_clear.getChallenge()))
        self.successResultOf(self.checker.requestAvatarId(in_clear))

    def test_where_plus_is_offered_to_nobody_a_client_may_say_so(self) -> None:
        offered = mechanisms(self.book, channel_binding=False)
        self.assertEqual({b"PLAIN", b"LOGIN", b"SCRAM-SHA-256"}, set(offered))
        server = offered[b"SCRAM-SHA-256"]()
        server.channel = self.begin(tls=True).channel
        client = ScramClient("alice", "pencil", "y")
        server.setResponse(client.first())
        server.setResponse(client.final(server.getChallenge()))
        self.successResultOf(self.checker.requestAvatarId(server))

    def test_plus_without_a_binding_and_a_binding_without_plus_are_refused(self) -> None:
        for flag in ("n", "y"):
            said = self.refusal(ScramClient("alice", "pencil", flag), self.begin(plus=True))
            self.assertEqual("a channel binding is missing", said)
        bound = ScramClient("alice", "pencil", "p=tls-exporter", BOUND["tls-exporter"])
        said = self.refusal(bound, self.begin(tls=True))
        self.assertEqual("a channel binding where none is used", said)

    def test_a_binding_that_this_connection_has_not_is_refused(self) -> None:
        for kind in ("tls-unique", "tls-nothing"):
            client = ScramClient("alice", "pencil", f"p={kind}", b"")
            self.assertIn("no channel binding", self.refusal(client, self.begin(plus=True)))

    def test_what_is_cut_short_too_long_or_no_such_message_is_malformed(self) -> None:
        whole = ScramClient("alice", "pencil").first()
        firsts = [whole[:at] for at in range(len(whole) - len("rOprNGfwEbeRWgbNEkqO") + 1)]
        firsts += [
            b"n,,m=ext,n=alice,r=x",
            b"n,,n=alice,r=x,",
            b"n,,n=al\0ice,r=x",
            b"n,,n=al\xffice,r=x",
            b"n,,n=alice,r=x y",
            b"n,,n=alice,r=\xc3\xbc",
            b"q,,n=alice,r=x",
            b"p=,,n=alice,r=x",
            b"n,b=bob,n=alice,r=x",
            b"n,,r=x,n=alice",
            b"n,,n=alice,r=" + b"x" * 257,
            b"n,,n=" + b"x" * MOST_OCTETS + b",r=x",
            b"n,,n=alice,r=x," + b"e=," * 500,
            b"n,,n=alice,r=x,x=" + b"y" * MOST_OCTETS,
        ]
        for first in firsts:
            server = self.begin()
            self.assertRaises(BadResponse, server.setResponse, first)
        client = ScramClient("alice", "pencil")
        server = self.begin()
        server.setResponse(client.first())
        final = client.final(server.getChallenge())
        for broken in (
            *(final[:at] for at in range(0, len(final), 7)),
            final[:-1],
            final + b"=",
            final.replace(b",p=", b",p=AA"),
            final.replace(b"c=biws", b"c=biw"),
            final.replace(b"c=biws", b"c=!!!!"),
            final + b",x=" + b"y" * MOST_OCTETS,
        ):
            another = ScramCredentials(self.book.keys_for)
            another.setResponse(client.first())
            self.assertRaises(MailError, another.setResponse, broken)
            self.failureResultOf(self.checker.requestAvatarId(another), SignInDenied)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(max_size=120), min_size=1, max_size=3), st.booleans())
    def test_whatever_is_said_nobody_is_let_in_and_nothing_breaks(
        self, said: list[bytes], begun: bool
    ) -> None:
        server = self.begin(tls=begun)
        try:
            if begun:
                server.setResponse(ScramClient("alice", "pencil").first())
            for each in said:
                if server.moreChallenges():
                    server.setResponse(each)
        except MailError:
            return
        self.failureResultOf(self.checker.requestAvatarId(server), SignInDenied)
