"""An SMTP session in memory, and what may stand behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.realm import Realm
from mailnode.events import Event
from mailnode.intake import Intake
from mailnode.model import Envelope, Filed, Message
from mailnode.smtp.factory import SmtpFactory
from mailnode.smtp.transaction import Counter, Postbox
from mailnode.store.accounts import Account
from mailnode.store.directory import Directory, Domain, LiveDirectory
from tests.unit.test_directory import account

LOOPBACK = "127.0.0.1"
STRANGER = "192.0.2.7"


@implementer(IRealm)
@define(eq=False)
class OneAvatar:
    """A realm as Twisted's documentation has it: one kind of avatar, for everybody."""

    interface: Any
    avatar: Any
    asked: list[tuple[Any, tuple[Any, ...]]] = field(factory=list)
    logged_out: int = 0

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        self.asked.append((avatarId, interfaces))
        if self.interface not in interfaces:
            raise NotImplementedError()
        return self.interface, self.avatar, self._logout

    def _logout(self) -> None:
        self.logged_out += 1


def portal_to(realm: Any, **passwords: str) -> Portal:
    """Twisted's own portal: anonymous clients, and names with their passwords."""
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(
        **{name: password.encode() for name, password in passwords.items()}
    )
    return Portal(realm, [AllowAnonymousAccess(), checker])


@define(eq=False)
class FiledMail:
    """Stands where the store does."""

    filed: list[tuple[Envelope, Message]] = field(factory=list)
    failure: Exception | None = None

    def file_message(self, envelope: Envelope, message: Message) -> Deferred[tuple[Filed, ...]]:
        if self.failure is not None:
            failed: Deferred[tuple[Filed, ...]] = Deferred()
            failed.errback(self.failure)
            return failed
        self.filed.append((envelope, message))
        return succeed(
            tuple(
                Filed(str(each.address), each.mailbox, each.account_id, 1)
                for each in envelope.recipients
            )
        )

    def copies(self) -> list[tuple[str, bytes]]:
        """(mailbox, body) of each copy."""
        return [
            (recipient.mailbox, bytes(message.body))  # type: ignore[arg-type]
            for envelope, message in self.filed
            for recipient in envelope.recipients
        ]


@define(eq=False)
class House:
    """Our delivery over accounts alice and bob of example.test, without a store."""

    accounts: tuple[Account, ...] = (account(1, "alice"), account(2, "bob"))
    store: FiledMail = field(factory=FiledMail)
    has_room: Callable[[Account, int], bool] = lambda account, size: True
    directory: LiveDirectory = field(init=False)
    counter: Counter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory = LiveDirectory(
            Directory.of([Domain(1, "example.test", 0.0)], self.accounts)
        )
        self.counter = Counter(
            hostname="mx.example.test",
            directory=self.directory,
            intake=Intake(self.store),  # type: ignore[arg-type]
            blobs=None,
            room_for=self.has_room,
            disk_has_room=lambda: True,
        )

    def postbox(self, account: Account | None = None) -> Postbox:
        return Postbox(self.counter, account)

    def realm(self, interface: Any, wrap: Callable[[Postbox], Any] = lambda box: box) -> Realm:
        def open_post(account: Account | None) -> tuple[Any, Callable[[], None]]:
            return wrap(self.postbox(account)), lambda: None

        return Realm(self.directory, {interface: open_post})


class SmtpCase(SynchronousTestCase):
    """Talks to a session over a transport in memory."""

    client_host = STRANGER

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[Event] = []

    def factory(self, portal: Any, **more: Any) -> SmtpFactory:
        more.setdefault("challengers", {b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials})
        return SmtpFactory(
            portal, hostname="mx.example.test", tell=self.told.append, clock=self.clock, **more
        )

    def connect(self, factory: Any, greet: bool = True) -> Any:
        session = factory.buildProtocol(None)
        self.talk_to(session)
        if greet:
            self.say("EHLO client.example")
        return session

    def talk_to(self, session: Any) -> None:
        self.session = session
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", self.client_host, 4321))
        session.makeConnection(self.transport)
        self.said()

    def said(self) -> str:
        """What the server said since it was last asked, the last CRLF cut off."""
        text = self.transport.value().decode().removesuffix("\r\n")
        self.transport.clear()
        return text

    def say(self, *lines: str) -> str:
        self.session.dataReceived("".join(f"{line}\r\n" for line in lines).encode())
        return self.said()

    def code(self, *lines: str) -> str:
        """The last reply's codes: "250 2.1.0"."""
        return " ".join(self.say(*lines).split("\r\n")[-1].split(" ")[:2])

    def envelope(self, *recipients: str, sender: str = "sender@elsewhere.example") -> None:
        self.assertEqual("250", self.code(f"MAIL FROM:<{sender}>")[:3])
        for recipient in recipients:
            self.assertEqual("250", self.code(f"RCPT TO:<{recipient}>")[:3], recipient)

    def body(self, *lines: str) -> str:
        """Send DATA and a body; the reply at the dot, "" while it is pending."""
        self.assertEqual("354", self.code("DATA")[:3])
        return self.say(*lines, ".")

    def hang_up(self) -> None:
        self.session.connectionLost(Failure(ConnectionLost()))
