"""Everything behind an SMTP session, in memory, and bad when a script says so.

Settings of a script for SMTP:

    l   the client is on this machine          t   STARTTLS is offered
    i   the port is inside TLS                 u   it is a submission port
    a   no mechanism to sign in                A   the client has signed in as alice
    e   3 errors end a session                 m   300 octets a mail, 2 recipients, 2 mails
    b   bodies over 48 octets go to a blob     d   the dialog is kept
    f   a foreign delivery, as Twisted's documentation has it
    p   some addresses are Python functions
    o   small buffers: the client is soon behind
    y   the transport takes octets at once     P   it hands on octets though it was paused
    S   a slow machine: other sessions get their turn
    F   the node has as many sessions as it takes
    L   avatars come late                      N   nobody is served without a sign-in
    W   accounts may send under addresses of others; alice has an outside address in any case
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.mail.smtp import SMTPBadRcpt, SMTPServerError
from zope.interface import implementer

from mailnode.admission import Sessions
from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import Refused, SignInBusy, StoreBusy, StoreFull
from mailnode.events import Event
from mailnode.intake import Intake
from mailnode.interfaces import IBlobs
from mailnode.mailauth.canonical import BodyHash
from mailnode.model import Blob, Envelope, Message
from mailnode.routes import SendAs
from mailnode.smtp.allowance import Allowance
from mailnode.smtp.factory import SmtpFactory, SmtpRules
from mailnode.smtp.functions import FunctionMailboxes
from mailnode.smtp.transaction import Counter, Postbox
from mailnode.store.directory import LiveDirectory
from mailnode.store.elsewhere import Elsewhere
from tests.fakes import PASSWORD, small_directory
from tests.fuzz.client import IDLE_S, LATE_S, FuzzClock, Planned

HOSTNAME = "mx.example.test"
BODY_S = 90.0
OUTSIDE = SendAs(
    id=9,
    account_id=1,
    address="alice@outside.example",
    host="smtp.outside.example",
    port=587,
    implicit_tls=False,
    user="alice",
    sealed_password=b"",
)
DIRECTORY = LiveDirectory(evolve(small_directory(), elsewhere=Elsewhere.of(send_as=[OUTSIDE])))
LARGE = SmtpRules(message_octets=30_000, idle_s=IDLE_S, body_s=BODY_S)
SMALL = SmtpRules(message_octets=300, recipients=2, mails=2, idle_s=IDLE_S, body_s=BODY_S)


@define(eq=False)
class Moods:
    """How the parts behind a session feel: letters of `script`."""

    store: str = "k"
    checker: str = "K"
    disk_has_room: bool = True

    def hear(self, mark: str) -> None:
        if mark in "klbfg":
            self.store = mark
        elif mark in "KLBG":
            self.checker = mark
        elif mark == "n":
            self.disk_has_room = not self.disk_has_room

    def store_fault(self) -> Exception | None:
        match self.store:
            case "b":
                return StoreBusy()
            case "f":
                return StoreFull()
            case "g":
                return Planned("the store has a bug")
        return None


@define(eq=False)
class Checker:
    """Lets in whoever says `PASSWORD`, when it feels like it."""

    clock: FuzzClock
    moods: Moods
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        match self.moods.checker:
            case "L":
                return deferLater(self.clock, LATE_S, self._judge, credentials)
            case "B":
                return fail(SignInBusy())
            case "G":
                raise Planned("the checker has a bug")
        return succeed(self._judge(credentials))

    def _judge(self, credentials: Any) -> bytes:
        if credentials.password != PASSWORD.encode():
            raise UnauthorizedLogin()
        return bytes(credentials.username)


class Anybody(AllowAnonymousAccess):  # type: ignore[misc]
    """Lets in whoever is nobody, and isn't Twisted's own."""


@implementer(IBlobs)
@define(eq=False)
class Blobs:
    """Blobs in memory.

    Attributes:
        open_ones: begun, and neither kept nor thrown away.
    """

    clock: FuzzClock
    moods: Moods
    kept: dict[str, bytes] = field(factory=dict)
    open_ones: int = 0

    def create(self) -> BlobWriter:
        self.open_ones += 1
        return BlobWriter(self)

    def open(self, key: str) -> Any:
        raise NotImplementedError("nobody reads it here")


@define(eq=False)
class BlobWriter:
    blobs: Blobs
    data: bytes = b""
    key: str = ""
    ended: bool = False

    def write(self, data: bytes) -> Deferred[None] | None:
        fault = self.blobs.moods.store_fault()
        if fault is not None:
            return fail(fault)
        self.data += data
        if self.blobs.moods.store == "l":
            return deferLater(self.blobs.clock, LATE_S)
        return None

    async def commit(self) -> str:
        if self.blobs.moods.store == "l":
            await deferLater(self.blobs.clock, LATE_S)
        self._end()
        self.key = f"blob{len(self.blobs.kept)}"
        self.blobs.kept[self.key] = self.data
        return self.key

    async def discard(self) -> None:
        self._end()
        self.blobs.kept.pop(self.key, None)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.blobs.open_ones -= 1


@define(eq=False)
class Store:
    """Takes mails, when it feels like it.

    Attributes:
        filed: (envelope, message, its octets) of each.
    """

    clock: FuzzClock
    moods: Moods
    blobs: Blobs
    filed: list[tuple[Envelope, Message, bytes]] = field(factory=list)

    def file_message(self, envelope: Envelope, message: Message) -> Deferred[Any]:
        fault = self.moods.store_fault()
        if isinstance(fault, Planned):
            return deferLater(self.clock, LATE_S).addCallback(lambda _: fail(fault))
        if fault is not None:
            return fail(fault)
        if self.moods.store == "l":
            return deferLater(self.clock, LATE_S, self._file, envelope, message)
        return succeed(self._file(envelope, message))

    def _file(self, envelope: Envelope, message: Message) -> tuple[()]:
        body = message.body
        octets = self.blobs.kept.pop(body.key) if isinstance(body, Blob) else body
        self.filed.append((envelope, message, octets))
        return ()


@define(eq=False)
class LateSigner:
    """Signs for every domain, when it feels like it."""

    clock: FuzzClock
    moods: Moods

    def body_hash(self, domain: str) -> BodyHash:
        return BodyHash()

    async def sign(self, domain: str, header: bytes, body_hash: bytes, at: int) -> bytes:
        if self.moods.store == "l":
            await deferLater(self.clock, LATE_S)
        return b"DKIM-Signature: v=1; d=%b\r\n" % domain.encode()


@implementer(IMessageSMTP)
@define(eq=False)
class ForeignMessage:
    """An `IMessage` that takes lines; `ended` once its end was told, `lost` when it was not."""

    house: ForeignDelivery
    lines: list[bytes] = field(factory=list)
    ended: bool = False
    lost: bool = False

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Any:
        moods = self.house.moods
        fault = moods.store_fault()
        if isinstance(fault, StoreFull):
            raise SMTPServerError(452, b"4.3.1 Full")
        if fault is not None:
            raise fault
        self.ended = True
        if moods.store == "l":
            return deferLater(self.house.clock, LATE_S)
        return None

    def connectionLost(self) -> None:
        self.lost = True
        if len(self.lines) > 1 and self.house.moods.store == "g":
            raise Planned("the message has a bug")


@implementer(IMessageDelivery)
@define(eq=False)
class ForeignDelivery:
    """Late for bob, never for dave, and broken for carol; alice and team share a message."""

    clock: FuzzClock
    moods: Moods
    made: list[ForeignMessage] = field(factory=list)
    _shared: ForeignMessage | None = None

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: by nobody"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        self._shared = None
        if origin.local == b"late":
            return deferLater(self.clock, LATE_S, lambda: origin)
        if origin.local == b"never":
            raise SMTPServerError(553, b"5.1.8 Never")
        return origin

    def validateTo(self, user: Any) -> Any:
        match user.dest.local.lower():
            case b"bob":
                return deferLater(self.clock, LATE_S, lambda: self._message)
            case b"dave":
                return deferLater(self.clock, LATE_S, self._refuse, user)
            case b"carol":
                raise Planned("the delivery has a bug")
            case b"some":
                raise SMTPBadRcpt(user)
            case b"loop":
                return self._broken
        return self._together

    def _refuse(self, user: Any) -> Any:
        raise SMTPBadRcpt(user, 450, b"4.2.1 Later")

    def _broken(self) -> Any:
        raise SMTPServerError(451, b"4.3.0 No message can be made")

    def _message(self) -> ForeignMessage:
        self.made.append(ForeignMessage(self))
        return self.made[-1]

    def _together(self) -> ForeignMessage:
        if self._shared is None:
            self._shared = self._message()
        return self._shared


@define(eq=False)
class SmtpHouse:
    """A server's parts for one session.

    Attributes:
        logins, logouts: avatars that were made and ended.
        functions: (name, recipients, octets) of each call of a function mailbox.
    """

    settings: frozenset[str]
    clock: FuzzClock = field(factory=FuzzClock)
    moods: Moods = field(factory=Moods)
    events: list[Event] = field(factory=list)
    functions: list[tuple[str, tuple[str, ...], bytes]] = field(factory=list)
    logins: int = 0
    logouts: int = 0
    sessions: Sessions = field(init=False)
    blobs: Blobs = field(init=False)
    store: Store = field(init=False)
    foreign: ForeignDelivery | None = None
    _counter: Counter = field(init=False)
    _mailboxes: FunctionMailboxes | None = None

    def __attrs_post_init__(self) -> None:
        clock, moods, has = self.clock, self.moods, self.settings.__contains__
        self.sessions = Sessions(clock, most=0 if has("F") else 100)
        self.blobs = Blobs(clock, moods)
        self.store = Store(clock, moods, self.blobs)
        self._counter = Counter(
            hostname=HOSTNAME,
            directory=DIRECTORY,
            intake=Intake(self.store),  # type: ignore[arg-type]
            blobs=self.blobs,
            room_for=lambda account, size: account.quota_mails != 1,
            disk_has_room=lambda: moods.disk_has_room,
            blob_over=48 if has("b") else 40_000,
            most_mailboxes=3,
            allowance=Allowance(burst=5, seconds=clock.seconds),
            signer=LateSigner(clock, moods),  # type: ignore[arg-type]
            any_sender=has("W"),
        )
        if has("f"):
            self.foreign = ForeignDelivery(clock, moods)
        if has("p"):
            self._mailboxes = self._python_mailboxes()

    def server(self, rules: SmtpRules, challengers: bool, tls: object) -> Any:
        makes: Any = IMessageDelivery if self.foreign else IMessageDeliveryFactory
        realm = Realm(DIRECTORY, {makes: self._avatar})
        checkers: list[Any] = [Checker(self.clock, self.moods)]
        if "N" not in self.settings:
            checkers.append(Anybody() if "L" in self.settings else AllowAnonymousAccess())
        factory = SmtpFactory(
            SignInPortal(realm, checkers, clock=self.clock, tell=self.events.append),
            hostname=HOSTNAME,
            challengers={b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials}
            if challengers
            else {},
            tls=tls,
            rules=rules,
            sessions=self.sessions,
            submission="u" in self.settings,
            tell=self.events.append,
            clock=self.clock,
        )
        return factory.buildProtocol(None)

    def order(self, mark: str) -> None:
        if mark == "d":
            self.sessions.drain()
        elif mark == "v":
            self.sessions.revoke(lambda account: True)
        else:
            self.moods.hear(mark)

    def _avatar(self, account: Any) -> Any:
        if "L" in self.settings:
            return deferLater(self.clock, LATE_S, self._avatar_now, account)
        return self._avatar_now(account)

    def _avatar_now(self, account: Any) -> tuple[Any, Callable[[], None]]:
        self.logins += 1
        if self.foreign is not None:
            return self.foreign, self._logged_out
        postbox = Postbox(self._counter, account)
        return (self._mailboxes(postbox) if self._mailboxes else postbox), self._logged_out

    def _logged_out(self) -> None:
        self.logouts += 1

    def _python_mailboxes(self) -> FunctionMailboxes:
        mailboxes = FunctionMailboxes(most_octets=200)

        @mailboxes.at("plain@example.test", "*@functions.test")
        def plain(mail: Any, envelope: Envelope) -> None:
            self._called("plain", mail, envelope)

        @mailboxes.at("late@example.test")
        async def late(mail: Any, envelope: Envelope) -> None:
            await deferLater(self.clock, LATE_S)
            self._called("late", mail, envelope)

        @mailboxes.at("never@example.test")
        def never(mail: Any, envelope: Envelope) -> None:
            raise Refused("No, thank you")

        @mailboxes.at("broken@example.test")
        def broken(mail: Any, envelope: Envelope) -> None:
            raise Planned("the function has a bug")

        return mailboxes

    def _called(self, name: str, mail: Any, envelope: Envelope) -> None:
        asked = tuple(str(each.address) for each in envelope.recipients)
        self.functions.append((name, asked, mail.as_bytes()))
