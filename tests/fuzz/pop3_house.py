"""Everything behind a POP3 session, in memory, and bad when a script says so.

Settings of a script for POP3, besides l, t, i, a, A, e, o, y, P, S and F of `smtp_house`:

    n   an empty maildrop                      g   one with forty mails
    h   mails without a header, without a blank line, without a last line end, of dots
    b   large mails lie in blobs               x   one of those breaks in the middle
    X   one of those is shorter than it should be
    f   a foreign mailbox, as Twisted's documentation has it; D   and its answers are late;
    U   and it fails on the seventh mail
    u   another session has the maildrop
    c   the factory doesn't know one capability and fails at another; C   each user has its own

The mark `n`: the first mail is gone, or there again.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.mail import pop3

from mailnode.admission import Sessions
from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.events import Event
from mailnode.model import Blob
from mailnode.pop3.factory import Pop3Factory, Pop3Rules
from mailnode.pop3.mailbox import Maildrops
from mailnode.store.fetching import StoredMail
from mailnode.store.snapshots import Snapshot
from tests.fakes_pop3 import HEAD, FakeLocks, ForeignMailbox, LateMailbox, joined
from tests.fuzz.client import IDLE_S, LATE_S, FuzzClock, Planned
from tests.fuzz.smtp_house import DIRECTORY, Checker, Moods

HOSTNAME = "example.test"
FIRST_UID = 11
FAILING = 6
USUAL = [
    b"Subject: one\r\n\r\n1\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nend.\r\n",
    b"Subject: three\r\nTo: a\r\n\r\n3\r\n\r\n333\r\n" + b"long" * 40 + b"\r\n.",
]
ODD = [b"", b"\r\n", b"\r\nbody\r\n\r\n.\r\n", b"A: b\r\n", b"A: b\r\n\r\nhalf", b".\r\n.\r\n.\r\n"]
LARGE = [
    b"Subject: large\r\n\r\n" + b".line of a large mail\r\n" * 40 + b".",
    b"Subject: larger\r\n\r\n" + (b"x" * 61 + b"\r\n.\r\n") * 30,
]
FOREIGN = [b"Subject: one\n\n1\n.\n..\n", b"Subject: two\r\n\r\n2\r", b"Subject: three\n\n\n.3"]


def mails_of(settings: frozenset[str]) -> list[bytes]:
    """What lies in the maildrop."""
    if "n" in settings:
        return []
    if "f" in settings:
        return FOREIGN * 4 if settings & {"g", "U"} else FOREIGN
    mails = ODD if "h" in settings else USUAL
    if "b" in settings:
        mails = [mails[0], *LARGE, *mails[1:]]
    return (mails * 14)[:40] if "g" in settings else mails


@define(eq=False)
class BrokenBlob:
    """A blob's reader, late or broken when it should be."""

    house: Pop3House
    data: bytes
    at: int = 0
    closed: bool = False

    def read(self, count: int) -> Deferred[bytes]:
        house = self.house
        if self.closed:
            return fail(AssertionError("a closed blob is read"))
        if "x" in house.settings and self.at > len(self.data) // 2:
            return fail(Planned("the disk has a fault"))
        step = min(count, 100)
        chunk, self.at = self.data[self.at : self.at + step], self.at + step
        if house.moods.store == "l":
            return deferLater(house.clock, LATE_S, lambda: chunk)
        return succeed(chunk)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.house.open_blobs -= 1


@define(eq=False)
class Pop3House:
    """A server's parts for one session, and `store.messages.Messages` over a list.

    Attributes:
        deleted: uids that were deleted from the store.
        open_blobs: that nobody closed yet.
        first_is_gone: whether the first mail was moved elsewhere meanwhile.
    """

    settings: frozenset[str]
    clock: FuzzClock = field(factory=FuzzClock)
    moods: Moods = field(factory=Moods)
    locks: FakeLocks = field(factory=FakeLocks)
    events: list[Event] = field(factory=list)
    deleted: list[int] = field(factory=list)
    mails: list[bytes] = field(init=False)
    sessions: Sessions = field(init=False)
    foreign: FailingMailbox | None = None
    open_blobs: int = 0
    first_is_gone: bool = False
    logins: int = 0
    logouts: int = 0

    def __attrs_post_init__(self) -> None:
        self.mails = mails_of(self.settings)
        self.sessions = Sessions(self.clock, most=0 if "F" in self.settings else 100)
        if "u" in self.settings:
            self.locks.held.add(1)

    def server(self, errors: int, tls: object) -> Any:
        parts: Any = (self, self, self.locks)
        maildrops = Maildrops(*parts, self.events.append)
        open_drop = self._open_foreign if "f" in self.settings else maildrops.open
        realm = Realm(DIRECTORY, {pop3.IMailbox: self._counted(open_drop)})
        kinds = {"c": SilentFactory, "C": PerUserFactory}
        kind = next((kinds[each] for each in "cC" if each in self.settings), Pop3Factory)
        factory = kind(
            SignInPortal(
                realm, [Checker(self.clock, self.moods)], clock=self.clock, tell=self.events.append
            ),
            hostname=HOSTNAME,
            challengers={}
            if "a" in self.settings
            else {b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials},
            tls=tls,
            rules=Pop3Rules(errors=errors, idle_s=IDLE_S),
            sessions=self.sessions,
            tell=self.events.append,
            clock=self.clock,
        )
        return factory.buildProtocol(None)

    def order(self, mark: str) -> None:
        if mark == "d":
            self.sessions.drain()
        elif mark == "v":
            self.sessions.revoke(lambda account: True)
        elif mark == "n":
            self.first_is_gone = not self.first_is_gone
        else:
            self.moods.hear(mark)

    def _counted(self, opening: Callable[..., Any]) -> Callable[..., Any]:
        async def opened(account: Any) -> Any:
            mailbox, logout = await opening(account)
            self.logins += 1

            def counted() -> None:
                self.logouts += 1
                logout()

            return mailbox, counted

        return lambda account: Deferred.fromCoroutine(opened(account))

    def _open_foreign(self, account: Any) -> Deferred[Any]:
        late = "D" in self.settings
        self.foreign = (LateFailingMailbox if late else FailingMailbox)(*self.mails)
        self.foreign.house = self
        return succeed((self.foreign, lambda: None))

    # `store.messages.Messages`

    def _soon(self, make: Callable[[], Any]) -> Deferred[Any]:
        fault = self.moods.store_fault()
        if fault is not None:
            return fail(fault)
        if self.moods.store == "l":
            return deferLater(self.clock, LATE_S, make)
        return succeed(make())

    def open_inbox(self, account_id: int) -> Deferred[Snapshot]:
        uids = range(FIRST_UID, FIRST_UID + len(self.mails))
        sizes = [len(HEAD) + len(mail) for mail in self.mails]
        return self._soon(
            lambda: Snapshot(7, 1000, array("I", uids), array("Q", uids), array("I", sizes))
        )

    def read_run(
        self, folder_id: int, wanted: Any, sizes: Sequence[int], frame: tuple[str, str, str]
    ) -> Deferred[Any]:
        mails = self.read_mails(folder_id, wanted)
        return mails.addCallback(lambda mails: joined(mails, sizes, frame) or mails)

    def read_mails(
        self, folder_id: int, wanted: Sequence[tuple[int, int]]
    ) -> Deferred[list[StoredMail]]:
        uids = [uid for uid, _ in wanted if not (self.first_is_gone and uid == FIRST_UID)]
        return self._soon(lambda: [self._stored(uid) for uid in uids])

    def _stored(self, uid: int) -> StoredMail:
        mail = self.mails[uid - FIRST_UID]
        body: Any = Blob(str(uid)) if mail in LARGE else mail
        dots = (b"\r\n" + mail).count(b"\r\n.")
        return StoredMail(uid, HEAD, body, len(HEAD) + len(mail), dots)

    def delete_mails(self, folder_id: int, uids: Sequence[int]) -> Deferred[int]:
        def delete() -> int:
            self.deleted.extend(uids)
            return len(uids)

        return self._soon(delete)

    # The blob store

    def open(self, key: str) -> BrokenBlob:
        self.open_blobs += 1
        data = self.mails[int(key) - FIRST_UID]
        return BrokenBlob(self, data[:-70] if "X" in self.settings else data)


class FailingMailbox(ForeignMailbox):
    """A foreign mailbox that fails where the settings say so."""

    house: Pop3House

    def getMessage(self, index: int) -> Any:
        if self._fails(index):
            raise IndexError(index)
        return super().getMessage(index)

    def getUidl(self, index: int) -> Any:
        if self._fails(index):
            raise Planned("the mailbox has a bug")
        return super().getUidl(index)

    def _fails(self, index: int) -> bool:
        return "U" in self.house.settings and index == FAILING


class LateFailingMailbox(LateMailbox, FailingMailbox):
    """The same, and what it does takes time."""

    def _late(self, method: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferLater(self.house.clock, LATE_S, method, *args)

    def sync(self) -> Any:
        fault = self.house.moods.store_fault()
        return fail(fault) if fault else super().sync()


class SilentFactory(Pop3Factory):
    """Somebody's: what it can't tell is left out."""

    def cap_EXPIRE(self) -> Any:
        raise NotImplementedError

    def cap_LOGIN_DELAY(self) -> Any:
        raise Planned("the factory has a bug")


class PerUserFactory(Pop3Factory):
    """Somebody's: each mailbox says it of itself."""

    def perUserExpiration(self) -> bool:
        return True

    def perUserLoginDelay(self) -> bool:
        return True
