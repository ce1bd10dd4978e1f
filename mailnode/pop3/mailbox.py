"""A maildrop: an account's INBOX as it was at sign-in, locked for one session (P17).

Our own server reads it through `IMaildrop`; Twisted's `pop3.POP3` and anybody else's can
serve it through `IMailbox`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailnode.errors import MaildropInUse, MailGone
from mailnode.events import Event, Fetched
from mailnode.interfaces import IMaildrop
from mailnode.model import Blob, ranges_of
from mailnode.pop3.body import CHUNK_OCTETS, FRAME, Mail, WholeBody, read_chunk, readable
from mailnode.pop3.tags import Tags

if TYPE_CHECKING:
    from array import array

    from mailnode.store.blobs import FileBlobs
    from mailnode.store.directory import Account
    from mailnode.store.fetching import Run
    from mailnode.store.locks import MaildropLocks
    from mailnode.store.messages import Messages
    from mailnode.store.snapshots import Snapshot


@implementer(IMaildrop)
@define(eq=False)
class Maildrop:
    """One session's view of one mailbox; indices are 0-based, in the order of arrival.

    Attributes:
        address: the mailbox, as the journal names it.
        snapshot: what lay in it when it was opened; mail that comes later is not in it.
        client: address of the other end in text, "" when nobody said it.
        tls: version and cipher, "" in clear.
    """

    address: str
    snapshot: Snapshot
    client: str = ""
    tls: str = ""
    loginDelay: int = 0
    messageExpiration: int | None = None
    _messages: Messages = field(kw_only=True)
    _blobs: FileBlobs = field(kw_only=True)
    _tags: Tags = field(factory=Tags, kw_only=True)
    _marked: set[int] = field(factory=set, init=False)
    _gone: set[int] = field(factory=set, init=False)
    _read: set[int] = field(factory=set, init=False)

    @property
    def octets(self) -> int:
        """Of all mails, as they were at the sign-in."""
        return self.snapshot.octets

    # IMailbox

    def listMessages(self, i: int | None = None) -> int | Sequence[int]:  # type: ignore[override]
        """Octets of one mail, or of each: as they are served, 0 for a deleted one."""
        if i is not None:
            self._check(i)
            return 0 if i in self._marked or i in self._gone else self.snapshot.sizes[i]
        if not (self._marked or self._gone):
            return self.snapshot.sizes
        sizes: array[int] = self.snapshot.sizes[:]
        for index in self._marked | self._gone:
            sizes[index] = 0
        return sizes

    def getMessage(self, index: int) -> Deferred[io.BytesIO]:
        """A file of the mail with LF line ends, whole in memory.

        Twisted's server makes CRLF of each LF that it reads; our own doesn't come here.
        """
        return Deferred.fromCoroutine(self._file_of(index))

    async def _file_of(self, index: int) -> io.BytesIO:
        self._check(index)
        head, body, _ = (await self.fetch([index]))[0]
        source, parts = readable(body), [head]
        try:
            while chunk := await read_chunk(source, CHUNK_OCTETS):
                parts.append(chunk)
        finally:
            source.close()
        self.mark_read(index)
        return io.BytesIO(b"".join(parts).replace(b"\r\n", b"\n"))

    def getUidl(self, index: int) -> bytes:
        """The same for this mail for ever, and for no other (P18)."""
        self._check(index)
        return b"%d.%d" % (self.snapshot.uidvalidity, self.snapshot.uids[index])

    def deleteMessage(self, index: int) -> None:
        self._check(index)
        self._marked.add(index)

    def undeleteMessages(self) -> None:
        self._marked.clear()

    def sync(self) -> Deferred[None]:
        """What was marked is gone, durably and all at once.

        Errors:
            StoreBusy, StoreFull, StoreBroken: nothing was deleted.
        """
        return Deferred.fromCoroutine(self._delete_marked()) if self._marked else succeed(None)

    async def _delete_marked(self) -> None:
        doomed = sorted(self._marked)
        uids = [self.snapshot.uids[index] for index in doomed]
        await self._messages.delete_mails(self.snapshot.folder_id, uids)
        self._gone.update(doomed)
        self._marked.difference_update(doomed)

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self.snapshot.uids):
            raise ValueError("no such message")

    # IMaildrop

    def fetch(self, indices: Sequence[int]) -> Deferred[Run | list[Mail]]:
        """Read several mails in one hop to a thread; a blob is opened only as the first.

        Mails that follow each other come as a `Run` where that can be.
        """
        return Deferred.fromCoroutine(self._fetch(indices))

    async def _fetch(self, indices: Sequence[int]) -> Run | list[Mail]:
        snapshot, first, count = self.snapshot, indices[0], len(indices)
        uids, ids = snapshot.uids, snapshot.message_ids
        sizes = snapshot.sizes[first : first + count]
        in_a_row = count > 1 and indices[-1] == first + count - 1 and max(sizes) <= CHUNK_OCTETS
        if in_a_row and not self._tags.on_any(uids[first : first + count]):
            wanted = list(zip(uids[first : first + count], ids[first : first + count], strict=True))
            run = await self._messages.read_run(snapshot.folder_id, wanted, sizes, FRAME)
            if not isinstance(run, list):
                return run
            stored = run
        else:
            wanted = [(uids[index], ids[index]) for index in indices]
            stored = await self._messages.read_mails(snapshot.folder_id, wanted)
        mails: list[Mail] = []
        for index, mail in zip(indices, stored, strict=False):
            body: Any = mail.body
            if mail.uid != uids[index] or (mails and isinstance(body, Blob)):
                break
            if isinstance(body, Blob):
                body = WholeBody(self._blobs.open(body.key), mail.size_octets - len(mail.head))
            mails.append(self._tags.put(mail.uid, (mail.head, body, mail.dot_lines)))
        if not mails:
            raise MailGone()
        return mails

    def mark_read(self, *indices: int) -> None:
        self._read.update(indices)

    # The session's end

    def told(self) -> Event:
        """What the session read and deleted."""
        uids = self.snapshot.uids
        return Fetched(
            recipient=self.address,
            folder_id=self.snapshot.folder_id,
            client=self.client,
            detail={
                "read": ranges_of([uids[index] for index in self._read]),
                "deleted": ranges_of([uids[index] for index in self._gone]),
                **({"tls": self.tls} if self.tls else {}),
            },
        )


@define(eq=False)
class Maildrops:
    """Opens maildrops: the realm's factory for `IMailbox`.

    Attributes:
        tell: is given one `Fetched` at the end of each session.
        tag: for the Subject of unwanted mail, of accounts that asked for it.
    """

    messages: Messages
    blobs: FileBlobs
    locks: MaildropLocks
    tell: Callable[[Event], object]
    tag: bytes = b""

    def open(self, account: Account | None) -> Deferred[tuple[Maildrop, Callable[[], None]]]:
        """Lock an account's maildrop and take its snapshot: (maildrop, logout).

        `logout` frees the lock and tells the session; called again it does nothing.

        Errors:
            UnauthorizedLogin: nobody signed in.
            MaildropInUse: another session has it.
            StoreBusy, StoreFull, StoreBroken: and it is free again.
        """
        return Deferred.fromCoroutine(self._open(account))

    async def _open(self, account: Account | None) -> tuple[Maildrop, Callable[[], None]]:
        if account is None:
            raise UnauthorizedLogin("a maildrop is somebody's")
        if not self.locks.acquire(account.id):
            raise MaildropInUse()
        try:
            snapshot = await self.messages.open_inbox(account.id)
            tags = Tags()
            if self.tag and account.tag_subject:
                tags = Tags(self.tag, await self.messages.tagged(snapshot.folder_id))
        except BaseException:
            self.locks.release(account.id)
            raise
        maildrop = Maildrop(
            str(account.address),
            tags.counted(snapshot),
            messages=self.messages,
            blobs=self.blobs,
            tags=tags,
        )
        return maildrop, self._logout_of(account.id, maildrop)

    def _logout_of(self, account_id: int, maildrop: Maildrop) -> Callable[[], None]:
        open_drops = [maildrop]

        def logout() -> None:
            if open_drops:
                ended = open_drops.pop()
                self.locks.release(account_id)
                self.tell(ended.told())

        return logout
