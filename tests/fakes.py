"""Hand-written stand-ins for what lies outside a unit: transport, store, checker, directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ISSLTransport, ITLSTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.interfaces import IMessageDeliveryFactory
from zope.interface import alsoProvides, implementer

from mailnode.addresses import parse_address
from mailnode.admission import Sessions
from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import NoSuchName
from mailnode.events import Event
from mailnode.intake import Intake
from mailnode.interfaces import IResolver
from mailnode.model import Envelope, Filed, Message
from mailnode.records import Records
from mailnode.smtp.factory import SmtpFactory, SmtpRules
from mailnode.smtp.transaction import Counter, Postbox
from mailnode.store.directory import Account, Alias, Directory, Domain, LiveDirectory

PASSWORD = "secret"


class _Handle:
    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def get_peer_cert_chain(self) -> None:
        return None


@implementer(ITLSTransport)
class FakeTransport(StringTransport):
    """A transport in memory: TLS starts by a word, and everything that is asked is noted."""

    def __init__(self, host: str = "127.0.0.1", tls: bool = False) -> None:
        super().__init__(IPv4Address("TCP", "127.0.0.1", 25), IPv4Address("TCP", host, 40000))
        self.aborted = self.paused = False
        self.writes: list[bytes] = []
        if tls:
            alsoProvides(self, ISSLTransport)

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)

    def startTLS(self, context: object) -> None:
        alsoProvides(self, ISSLTransport)

    def getHandle(self) -> _Handle:
        return _Handle()

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class FakeMessages:
    """A store that keeps what it is given, answers when told to, and fails when told to."""

    def __init__(self) -> None:
        self.filed: list[tuple[Envelope, Message]] = []
        self.waiting: list[Deferred[Any]] | None = None
        self.failure: Exception | None = None

    def file_message(self, envelope: Envelope, message: Message) -> Deferred[Any]:
        if self.failure is not None:
            raise self.failure
        self.filed.append((envelope, message))
        if self.waiting is not None:
            held: Deferred[Any] = Deferred()
            self.waiting.append(held)
            return held
        return succeed((Filed("a@example.test", "a@example.test", 1, 1),))


class FakeBlob:
    def __init__(self, blobs: FakeBlobs) -> None:
        self.blobs, self.data, self.discarded = blobs, b"", False

    def write(self, data: bytes) -> Deferred[None] | None:
        self.data += data
        if self.blobs.behind:
            self.blobs.wait = Deferred()
            return self.blobs.wait
        return None

    async def commit(self) -> str:
        self.blobs.kept["blob1"] = self.data
        return "blob1"

    async def discard(self) -> None:
        self.discarded = True
        self.blobs.kept.pop("blob1", None)


class FakeReader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, count: int) -> Deferred[bytes]:
        piece, self.data = self.data[:count], self.data[count:]
        return succeed(piece)

    def close(self) -> None:
        pass


class FakeBlobs:
    """Blobs in memory; `behind` makes a write wait until `wait` fires."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.made: list[FakeBlob] = []
        self.behind = False
        self.wait: Deferred[None] | None = None

    def __conform__(self, interface: object) -> FakeBlobs:
        return self

    def open(self, key: str) -> FakeReader:
        return FakeReader(self.kept[key])

    def create(self) -> FakeBlob:
        self.made.append(FakeBlob(self))
        return self.made[-1]


class FakeChecker:
    """Lets in whoever says `PASSWORD`; `waiting` holds the answers back."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] | None = None

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        if self.waiting is not None:
            held: Deferred[Any] = Deferred()
            self.waiting.append(held)
            return held
        if credentials.password != PASSWORD.encode():
            raise UnauthorizedLogin()
        return succeed(credentials.username)


def small_directory() -> Directory:
    """alice, bob, carol (disabled), dave (full), and the aliases team and loop."""
    names = {"alice": 1, "bob": 2, "carol": 3, "dave": 4}
    accounts = [
        Account(
            id=number,
            address=parse_address(f"{name}@example.test"),
            key=f"{name}@example.test",
            password_hash="",
            disabled=name == "carol",
            quota_mails=1 if name == "dave" else None,
        )
        for name, number in names.items()
    ]
    aliases = [
        Alias(1, "team@example.test", "alice@example.test"),
        Alias(2, "team@example.test", "bob@example.test"),
        Alias(3, "loop@example.test", "loop2@example.test"),
        Alias(4, "loop2@example.test", "loop@example.test"),
        Alias(5, "some@example.test", "dave@example.test"),
        Alias(6, "some@example.test", "bob@example.test"),
    ]
    return Directory.of([Domain(1, "example.test", 0.0)], accounts, aliases)


class SmtpHouse:
    """Everything an SMTP session needs, in memory.

    Attributes:
        told: events without a commit of their own.
        disk_has_room: what the counter is told of the disk.
    """

    def __init__(self, rules: SmtpRules | None = None, **factory: Any) -> None:
        self.clock = Clock()
        self.told: list[Event] = []
        self.disk_has_room = True
        self.messages = FakeMessages()
        self.blobs = FakeBlobs()
        self.checker = FakeChecker()
        self.intake = Intake(self.messages)  # type: ignore[arg-type]
        self.directory = LiveDirectory(small_directory())
        self.logouts = 0
        self.counter = Counter(
            hostname="mx.example.test",
            directory=self.directory,
            intake=self.intake,
            blobs=self.blobs,
            room_for=lambda account, size: account.quota_mails != 1,
            disk_has_room=lambda: self.disk_has_room,
        )
        realm = Realm(self.directory, {IMessageDeliveryFactory: self._postbox})
        self.portal = SignInPortal(
            realm, [AllowAnonymousAccess(), self.checker], clock=self.clock, tell=self.told.append
        )
        self.sessions = Sessions(self.clock)
        self.sessions.start()
        self.factory = SmtpFactory(
            self.portal,
            hostname="mx.example.test",
            challengers={b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials},
            tls=factory.pop("tls", object()),
            rules=rules,
            sessions=self.sessions,
            tell=self.told.append,
            clock=self.clock,
            **factory,
        )

    def _postbox(self, account: Account | None) -> tuple[Postbox, Callable[[], None]]:
        return Postbox(self.counter, account), self._logged_out

    def _logged_out(self) -> None:
        self.logouts += 1

    def connect(self, host: str = "127.0.0.1", tls: bool = False) -> Talk:
        return Talk(self.factory.buildProtocol(None), FakeTransport(host, tls))


class Talk:
    """One client's side of a session."""

    def __init__(self, server: Any, transport: FakeTransport) -> None:
        self.server, self.transport = server, transport
        server.makeConnection(transport)

    def read(self) -> str:
        """What the server wrote since the last look."""
        said = self.transport.value().decode()
        self.transport.clear()
        return said

    def send(self, data: bytes | str) -> str:
        """Send raw octets; the replies."""
        self.server.dataReceived(data.encode() if isinstance(data, str) else data)
        return self.read()

    def say(self, *lines: str) -> list[str]:
        """Send each line by itself; each one's whole reply, without its last CRLF."""
        return [self.send(line.encode() + b"\r\n").removesuffix("\r\n") for line in lines]

    def lose(self) -> None:
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.server.connectionLost(Failure(ConnectionDone()))


@implementer(IResolver)
class FakeResolver:
    """The DNS in a dict: (name, kind) to values, `Records`, or the error to raise.

    `asked` notes every question; a name of which nothing is told isn't there.
    """

    def __init__(self, zone: dict[tuple[str, str], Any], authenticated: bool = False) -> None:
        self.zone, self.authenticated = zone, authenticated
        self.asked: list[tuple[str, str]] = []

    async def look_up(self, name: str, kind: str) -> Records:
        name = name.rstrip(".").lower()
        self.asked.append((name, kind))
        told = self.zone.get((name, kind))
        if told is None:
            if not any(f".{each}".endswith(f".{name}") for each, _ in self.zone):
                raise NoSuchName()
            told = ()
        if isinstance(told, Exception):
            raise told
        if isinstance(told, Records):
            return told
        return Records(tuple(told), self.authenticated, 300.0, name)
