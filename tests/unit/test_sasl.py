"""The SASL dialog on both servers: which mechanisms there are, and last words before a success."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.mail.interfaces import IMailboxPOP3, IMessageDeliveryFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from mailnode.admission import Sessions
from mailnode.cred.ageing import Ageing
from mailnode.cred.credentials import PlainCredentials
from mailnode.cred.mechanisms import mechanisms
from mailnode.cred.portal import SignInPortal
from mailnode.cred.scram import ScramBook, ScramChecker
from mailnode.cred.stored import ScramKeys, StoredPassword
from mailnode.events import Event
from mailnode.pop3.factory import Pop3Factory
from mailnode.settings import PasswordSettings
from mailnode.smtp.factory import SmtpFactory
from mailnode.store.directory import Account, Directory, Domain
from mailnode.store.sign_in import KeptKeys
from tests.fakes_pop3 import House as Maildrop
from tests.scram_client import ScramClient
from tests.unit.smtp_case import House, OneAvatar
from tests.unit.test_directory import account
from tests.unit.test_scram import BOUND, SALT, SEAL, Channel
from tests.unit.test_session import PEER, Transport

SERVERS = ("SMTP", "POP3")
YES = {"SMTP": b"235 2.7.0", "POP3": b"+OK 0 messages"}
NO = {"SMTP": b"535 5.7.8", "POP3": b"-ERR [AUTH]"}
CANCELLED = {"SMTP": b"501 5.7.0", "POP3": b"-ERR Authentication cancelled"}
MALFORMED = {"SMTP": b"501 5.5.2", "POP3": b"-ERR Malformed"}
UNKNOWN = {"SMTP": b"504 5.5.4", "POP3": b"-ERR Unknown mechanism"}


class Handle:
    """What a session asks a TLS connection."""

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"


async def had_none(_account_id: int) -> list[KeptKeys]:
    """Nobody had another password before."""
    return []


class DialogCase(SynchronousTestCase):
    """alice has keys; both servers ask one portal."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[Event] = []
        self.logouts = 0
        self.house = House()
        self.directory = self.house.directory
        stored = StoredPassword("h", ScramKeys.of("pencil", SALT), SEAL)
        kept = KeptKeys(SALT, 100_000, stored.kept_keys(1, is_published=False))
        self.directory.replace(
            Directory.of(
                [Domain(1, "example.test", 0.0)], [account(1, "alice")], scram_keys={1: kept}
            )
        )
        self.book = ScramBook(self.directory, SEAL)
        ageing = Ageing(PasswordSettings, self.clock.seconds)
        realm = self.house.realm(IMessageDeliveryFactory)
        realm.factories = {  # type: ignore[misc]
            IMessageDeliveryFactory: lambda account: (self.house.postbox(account), self.logged_out),
            IMailboxPOP3: self.open_drop,
        }
        self.portal = SignInPortal(
            realm,
            [AllowAnonymousAccess(), ScramChecker(self.directory, self.book, ageing, had_none)],
            clock=self.clock,
            tell=self.told.append,
        )
        self.sessions = Sessions(self.clock)
        parts: dict[str, Any] = {
            "hostname": "mx.example.test",
            "challengers": mechanisms(self.book),
            "sessions": self.sessions,
            "clock": self.clock,
        }
        self.factories = {
            "SMTP": SmtpFactory(self.portal, **parts),
            "POP3": Pop3Factory(self.portal, **parts),
        }

    def open_drop(self, account: Account | None) -> Deferred[Any]:
        opened = Maildrop([]).open()
        return opened.addCallback(lambda made: (made[0], self.logged_out))

    def logged_out(self) -> None:
        self.logouts += 1

    def connect(self, server: str, *, tls: bool = True) -> None:
        self.session: Any = self.factories[server].buildProtocol(None)
        self.wire = Transport(peerAddress=PEER)
        if tls:
            alsoProvides(self.wire, ISSLTransport)
            self.wire.getHandle = Handle  # type: ignore[attr-defined]
        self.session.makeConnection(self.wire)
        self.session.channel = Channel if tls else lambda: None
        self.session.loopback = True
        if server == "SMTP":
            self.say(b"EHLO client.example")

    def say(self, line: bytes) -> bytes:
        self.wire.clear()
        self.session.dataReceived(line + b"\r\n")
        return bytes(self.wire.value())

    def challenge(self, line: bytes) -> bytes:
        """What the server asks next, out of base64."""
        said = self.say(line)
        self.assertRegex(said, rb"^(334|\+) [^\r]*\r\n$")
        return b64decode(said.split(b" ", 1)[1])

    def prove(self, client: ScramClient, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
        """All but the last: what the server says to the proof."""
        first = self.challenge(b"AUTH " + mechanism + b" " + b64encode(client.first()))
        return self.say(b64encode(client.final(first)))


class ScramTests(DialogCase):
    def test_by_a_proof_somebody_signs_in_on_both_servers(self) -> None:
        for server in SERVERS:
            for mechanism, flag in (
                (b"SCRAM-SHA-256", "n"),
                (b"scram-sha-256-plus", "p=tls-exporter"),
            ):
                self.connect(server)
                client = ScramClient("alice", "pencil", flag, BOUND.get(flag[2:], b""))
                said = self.prove(client, mechanism)
                self.assertTrue(client.is_the_server(b64decode(said.split(b" ", 1)[1])), said)
                self.assertEqual(YES[server], self.say(b"")[: len(YES[server])])
                self.assertEqual("alice@example.test", self.session.account)
        self.assertEqual(["SignedIn"] * 4, [type(each).__name__ for each in self.told])

    def test_the_dialog_may_begin_without_a_first_message(self) -> None:
        for server in SERVERS:
            self.connect(server)
            client = ScramClient("alice", "pencil")
            self.assertEqual(b"", self.challenge(b"AUTH SCRAM-SHA-256"))
            first = self.challenge(b64encode(client.first()))
            last = self.challenge(b64encode(client.final(first)))
            self.assertTrue(client.is_the_server(last))
            self.assertIn(YES[server], self.say(b"="))

    def test_a_wrong_proof_is_answered_as_late_as_a_wrong_password(self) -> None:
        for server in SERVERS:
            for name, password in (("alice", "guess"), ("dora", "pencil")):
                self.connect(server)
                self.assertEqual(b"", self.prove(ScramClient(name, password)))
                self.clock.advance(20)
                self.assertEqual(NO[server], self.wire.value()[: len(NO[server])])

    def test_so_is_what_tells_of_somebody_in_between(self) -> None:
        for server in SERVERS:
            self.connect(server)
            downgraded = ScramClient("alice", "pencil", "y")
            said = self.say(b"AUTH SCRAM-SHA-256 " + b64encode(downgraded.first()))
            self.assertEqual(b"", said)
            self.clock.advance(20)
            self.assertEqual(NO[server], self.wire.value()[: len(NO[server])])
            self.assertIn("took SCRAM-SHA-256-PLUS", str(self.told[-1].detail["reason"]))

    def test_a_cancelled_dialog_leaves_the_session_as_it_was(self) -> None:
        for server in SERVERS:
            self.connect(server)
            client = ScramClient("alice", "pencil")
            self.challenge(b"AUTH SCRAM-SHA-256 " + b64encode(client.first()))
            self.assertIn(CANCELLED[server], self.say(b"*"))
            self.assertEqual("", self.session.account)
            self.prove(client)
            self.assertIn(YES[server], self.say(b""))


class OfferTests(DialogCase):
    def offered(self, server: str) -> bytes:
        return self.say(b"EHLO client.example" if server == "SMTP" else b"CAPA")

    def test_plus_is_offered_inside_tls_alone(self) -> None:
        for server in SERVERS:
            for tls, names in (
                (True, b" LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n"),
                (False, b" LOGIN PLAIN SCRAM-SHA-256\r\n"),
            ):
                self.connect(server, tls=tls)
                self.assertIn(names, self.offered(server))
            self.assertIn(UNKNOWN[server], self.say(b"AUTH SCRAM-SHA-256-PLUS biws"))

    def test_a_client_may_say_that_it_could_bind_where_nothing_is_offered(self) -> None:
        for server in SERVERS:
            self.connect(server, tls=False)
            self.prove(ScramClient("alice", "pencil", "y"))
            self.assertIn(YES[server], self.say(b""))


class LastWordsTests(DialogCase):
    """The proof was right; what the client says then decides."""

    def hear_last_words(self, server: str) -> None:
        self.connect(server)
        self.assertIn(b" dj", self.prove(ScramClient("alice", "pencil")))

    def assert_out(self, server: str) -> None:
        """Nobody is signed in, and the avatar has ended."""
        self.assertEqual("", self.session.account)
        self.assertEqual(1, self.logouts)
        self.logouts = 0

    def test_who_takes_them_back_is_not_signed_in(self) -> None:
        for server in SERVERS:
            self.hear_last_words(server)
            self.assertIn(CANCELLED[server], self.say(b"*"))
            self.assert_out(server)
            after = self.say(b"MAIL FROM:<alice@example.test>" if server == "SMTP" else b"STAT")
            self.assertFalse(self.session.authenticated if server == "SMTP" else False)
            self.assertNotIn(b"+OK", after)

    def test_any_other_answer_is_none(self) -> None:
        for server in SERVERS:
            for said in (b"biws", b"STAT", b"QUIT", b" "):
                self.hear_last_words(server)
                self.assertIn(MALFORMED[server], self.say(said))
                self.assert_out(server)

    def test_a_line_that_is_too_long_is_none(self) -> None:
        for server in SERVERS:
            self.hear_last_words(server)
            self.say(b"A" * 20000)
            self.assert_out(server)

    def test_who_leaves_then_leaves_nothing_over(self) -> None:
        for server in SERVERS:
            self.hear_last_words(server)
            self.session.connectionLost()
            self.assertEqual(1, self.logouts)
            self.logouts = 0

    def test_an_account_that_changes_then_is_signed_out(self) -> None:
        for server in SERVERS:
            self.hear_last_words(server)
            self.sessions.revoke(lambda name: name == "alice@example.test")
            self.assertTrue(self.wire.disconnecting)
            self.session.connectionLost()
            self.assertEqual(1, self.logouts)
            self.logouts = 0

    def test_a_mechanism_without_any_is_answered_at_once(self) -> None:
        class Checker:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: Any) -> bytes:
                if credentials.checkPassword(b"pencil") and credentials.service == "smtp":
                    return bytes(credentials.username)
                raise UnauthorizedLogin()

        factory = self.factories["SMTP"]
        factory.portal = Portal(
            OneAvatar(IMessageDeliveryFactory, self.house.postbox()),
            [Checker()],  # type: ignore[list-item]
        )
        factory.challengers = {b"PLAIN": PlainCredentials}
        self.connect("SMTP")
        self.assertIn(b"235", self.say(b"AUTH PLAIN " + b64encode(b"\0alice\0pencil")))
