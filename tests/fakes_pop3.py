"""What the POP3 tests put in place of a store, a realm and a client."""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail import pop3
from zope.interface import implementer

from mailnode.events import Event
from mailnode.model import Blob
from mailnode.pop3.mailbox import Maildrops
from mailnode.store.fetching import Frame, Run, StoredMail, run_of
from mailnode.store.snapshots import Snapshot
from tests.dialogs.replay import Wire

HEAD = b"Return-Path: <>\r\nDelivered-To: alice@example.test\r\n"


def joined(
    mails: list[StoredMail], sizes: Sequence[int], frame: tuple[str, str, str]
) -> Run | None:
    """Mails as the store gives those that follow each other; None where each comes alone."""
    if len(mails) != len(sizes) or any(isinstance(mail.body, Blob) for mail in mails):
        return None
    before, after_size, end = (text.encode() for text in frame)
    octets = end.join(
        b"%b%d%b%b%b" % (before, size, after_size, mail.head, mail.body)
        for size, mail in zip(sizes, mails, strict=True)
    )
    return run_of(octets, sizes, [mail.dot_lines for mail in mails], Frame(*frame))


@define(eq=False)
class FakeMessages:
    """`store.messages.Messages` over a list; uids are 11, 12, ...

    Attributes:
        reads: the uids of each `read_mails`, in order.
        fault: what every call fails with.
        held: a Deferred that the next deletion waits for.
    """

    bodies: list[bytes | Blob]
    reads: list[list[int]] = field(factory=list)
    deleted: list[int] = field(factory=list)
    fault: Exception | None = None
    held: Deferred[None] | None = None
    tags: dict[int, int] = field(factory=dict)

    def tagged(self, folder_id: int) -> Deferred[dict[int, int]]:
        return succeed(self.tags)

    def open_inbox(self, account_id: int) -> Deferred[Snapshot]:
        if self.fault:
            return fail(self.fault)
        uids = [uid for uid in range(11, 11 + len(self.bodies)) if uid not in self.deleted]
        sizes = [len(HEAD) + self._size(self.bodies[uid - 11]) for uid in uids]
        ids = [uid * 100 for uid in uids]
        return succeed(Snapshot(7, 1000, array("I", uids), array("Q", ids), array("I", sizes)))

    def _size(self, body: bytes | Blob) -> int:
        return int(body.key) if isinstance(body, Blob) else len(body)

    def read_run(
        self, folder_id: int, wanted: Any, sizes: Sequence[int], frame: tuple[str, str, str]
    ) -> Deferred[Run | list[StoredMail]]:
        mails = self.read_mails(folder_id, wanted)
        return mails.addCallback(lambda mails: joined(mails, sizes, frame) or mails)

    def read_mails(
        self, folder_id: int, wanted: Sequence[tuple[int, int]]
    ) -> Deferred[list[StoredMail]]:
        self.reads.append([uid for uid, _ in wanted])
        if self.fault:
            return fail(self.fault)
        mails = []
        for uid, _ in wanted:
            if uid not in self.deleted:
                body = self.bodies[uid - 11]
                size = self._size(body)
                dots = None if isinstance(body, Blob) else (b"\r\n" + body).count(b"\r\n.")
                mails.append(StoredMail(uid, HEAD, body, len(HEAD) + size, dots or 0))
        return succeed(mails)

    def delete_mails(self, folder_id: int, uids: Sequence[int]) -> Deferred[int]:
        if self.fault:
            return fail(self.fault)

        def delete(_: object) -> int:
            self.deleted.extend(uids)
            return len(uids)

        held, self.held = self.held, None
        return (held or succeed(None)).addCallback(delete)


@define(eq=False)
class FakeBlob:
    """`left` octets of lines of 64; reading fails once `breaks_at` are left.

    Attributes:
        first: comes before them.
    """

    left: int
    breaks_at: int = -1
    first: bytes = b""
    closed: int = 0

    def read(self, count: int) -> Deferred[bytes]:
        if self.left <= self.breaks_at:
            return fail(OSError("/var/blobs/xx: Input/output error"))
        taken = min(count, self.left)
        self.left -= taken
        first, self.first = self.first, b""
        return succeed(first + (b"b" * 62 + b"\r\n") * (taken // 64))

    def close(self) -> None:
        self.closed += 1


@define(eq=False)
class FakeBlobs:
    """A blob's key is its size, less what is lost; with `blank_line` an empty line comes first."""

    breaks_at: int = -1
    blank_line: bool = False
    lost: int = 0
    opened: list[FakeBlob] = field(factory=list)

    def open(self, key: str) -> FakeBlob:
        blank = b"\r\n" * self.blank_line
        self.opened.append(FakeBlob(int(key) - self.lost, self.breaks_at, blank))
        return self.opened[-1]


@define(eq=False)
class FakeLocks:
    held: set[int] = field(factory=set)
    released: list[int] = field(factory=list)

    def acquire(self, account_id: int) -> bool:
        if account_id in self.held:
            return False
        self.held.add(account_id)
        return True

    def release(self, account_id: int) -> None:
        self.held.discard(account_id)
        self.released.append(account_id)


@define
class FakeAccount:
    id: int = 5
    address: str = "alice@example.test"
    tag_subject: bool = False


@define(eq=False)
class House:
    """Alice's mails behind real `Maildrops`."""

    bodies: list[bytes | Blob] = field(factory=list)
    messages: FakeMessages = field(init=False)
    blobs: FakeBlobs = field(factory=FakeBlobs)
    locks: FakeLocks = field(factory=FakeLocks)
    told: list[Event] = field(factory=list)
    asks_for_tag: bool = False

    def __attrs_post_init__(self) -> None:
        self.messages = FakeMessages(self.bodies)

    def maildrops(self) -> Any:
        parts: Any = (self.messages, self.blobs, self.locks)
        return Maildrops(*parts, self.told.append, b"[SPAM]")

    def open(self) -> Deferred[Any]:
        account: Any = FakeAccount(tag_subject=self.asks_for_tag)
        return Deferred.fromCoroutine(_settled(self.maildrops().open(account)))


async def _settled(opening: Deferred[Any]) -> Any:
    return await opening


@define(eq=False)
class FakePortal:
    """Lets everybody in who says `password`, to the mailbox that `make` gives.

    Attributes:
        asked: (user, password, client) of each sign-in.
        held: a Deferred that sign-ins wait for.
        logouts: how often a logout was called.
    """

    make: Callable[[], Any]
    password: bytes = b"secret"
    asked: list[tuple[bytes, bytes, str]] = field(factory=list)
    held: Deferred[None] | None = None
    logouts: int = 0

    def login(self, credentials: Any, mind: object, *interfaces: Any) -> Deferred[Any]:
        client = getattr(credentials, "client", "")  # Twisted's own credentials have none
        self.asked.append((credentials.username, credentials.password, client))
        return Deferred.fromCoroutine(self._login(credentials, interfaces[0]))

    async def _login(self, credentials: Any, interface: Any) -> Any:
        if self.held is not None:
            await self.held
        if credentials.password != self.password:
            raise UnauthorizedLogin("wrong, at /etc/passwd")
        made = self.make()
        mailbox = await made if isinstance(made, Deferred) else made
        logout: Callable[[], None] = lambda: None  # noqa: E731
        if isinstance(mailbox, tuple):
            mailbox, logout = mailbox

        def counted() -> None:
            self.logouts += 1
            logout()

        return interface, mailbox, counted


class BufferedWire(Wire):
    """A transport whose buffer says when it is over 64 KiB, as Twisted's does.

    Attributes:
        writes: what each write had.
        most: the most octets that ever waited.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.writes: list[bytes] = []
        self.waiting = 0
        self.most = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.writes.append(data)
        self.waiting += len(data)
        self.most = max(self.most, self.waiting)
        if self.waiting > 65536 and self.producer is not None:
            self.producer.pauseProducing()

    def read(self) -> None:
        """The client takes all that waits."""
        self.waiting = 0
        if self.producer is not None:
            self.producer.resumeProducing()


class KernelWire(BufferedWire):
    """The same over a socket that takes `room` octets, until the client reads.

    Attributes:
        sent: octets that it took of each `sendmsg`.
    """

    room = 0
    offset = 0
    _tempDataLen = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[int] = []

    @property
    def socket(self) -> KernelWire:
        return self

    @property
    def dataBuffer(self) -> bytes:
        return b"x" * self.waiting

    def send(self, data: bytes) -> int:
        return self.sendmsg([data])

    def sendmsg(self, pieces: Sequence[bytes | memoryview]) -> int:
        fits = b"".join(pieces)[: self.room]
        if not fits:
            raise BlockingIOError
        self.room -= len(fits)
        self.io.write(fits)
        self.sent.append(len(fits))
        return len(fits)


def wire(peer: str = "127.0.0.1", kind: type[BufferedWire] = BufferedWire) -> BufferedWire:
    return kind(peerAddress=IPv4Address("TCP", peer, 50000))


@implementer(pop3.IMailbox)
class ForeignMailbox:
    """An `IMailbox` as Twisted's documentation has it: ints, files with LF lines, ValueError."""

    loginDelay = 0
    messageExpiration = 0

    def __init__(self, *mails: bytes) -> None:
        self.mails = list(mails)
        self.marked: set[int] = set()
        self.synced = 0

    def listMessages(self, i: int | None = None) -> Any:
        sizes = [0 if at in self.marked else len(m) for at, m in enumerate(self.mails)]
        return sizes if i is None else sizes[i]

    def getMessage(self, index: int) -> Any:
        if index in self.marked:
            raise ValueError(index)
        return io.BytesIO(self.mails[index])

    def getUidl(self, index: int) -> Any:
        return b"foreign-%d" % index

    def deleteMessage(self, index: int) -> Any:
        self.marked.add(index)

    def undeleteMessages(self) -> Any:
        self.marked.clear()

    def sync(self) -> Any:
        self.synced += 1


class LateMailbox(ForeignMailbox):
    """The same, with a Deferred wherever the contract lets one stand.

    Attributes:
        waiting: Deferreds that nobody has fired yet.
    """

    def __init__(self, *mails: bytes) -> None:
        super().__init__(*mails)
        self.waiting: list[Deferred[None]] = []

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

    def _late(self, method: Callable[..., Any], *args: Any) -> Deferred[Any]:
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: method(*args))

    def listMessages(self, i: int | None = None) -> Any:
        return self._late(super().listMessages, i)

    def getMessage(self, index: int) -> Any:
        return self._late(super().getMessage, index)

    def deleteMessage(self, index: int) -> Any:
        return self._late(super().deleteMessage, index)

    def undeleteMessages(self) -> Any:
        return self._late(super().undeleteMessages)

    def sync(self) -> Any:
        return self._late(super().sync)
