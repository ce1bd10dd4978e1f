"""Mail in the store: filed by batches, listed as arrays, read many at a time, deleted."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence, Set
from functools import partial
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mailnode.background import background
from mailnode.errors import MailError, StoreBroken
from mailnode.events import Event
from mailnode.model import INBOX, MARKS, Envelope, Filed, Message
from mailnode.queued import Begun, Claims, Key
from mailnode.store.accept import AcceptNote, accept_mails, open_folders
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.fetching import READ_AT_ONCE, Frame, Run, StoredMail, read_mails, read_run
from mailnode.store.jobs import WriteKind
from mailnode.store.removal import (
    HELD_BY_NOTHING,
    Removed,
    delete_copies,
    delete_unheld_messages,
    drop_some,
    owners,
)
from mailnode.store.snapshots import Snapshot, Snapshots
from mailnode.store.sqlite import packed, unpack
from mailnode.store.use import FolderUse

log = Logger()


def _nobody_waits(queued: Set[Key], begun: Sequence[Begun]) -> None:
    """Rows of the queue are found by whoever looks for them."""


class Committed(Protocol):
    """Where events are told after their commit: `telemetry.MailLog`."""

    def committed(self, events: Sequence[Event], /) -> object: ...


@frozen
class FolderInfo:
    """A folder as it was when it was read."""

    folder_id: int
    account_id: int
    name: str
    uidvalidity: int
    octets: int
    mails: int
    modseq: int


@define(eq=False)
class Messages:
    """The mail of all mailboxes.

    Attributes:
        log: hears what was committed, on the reactor thread.
        on_queued: hears which (domain, send_as) have new rows in the queue that wait, and which
            rows were leased at once.
        claims: which are.
        on_changed: those who hear (account, folder) of each folder that changed, after the commit.
    """

    database: Database
    blobs: FileBlobs
    log: Committed
    on_queued: Callable[[Set[Key], Sequence[Begun]], object] = field(
        default=_nobody_waits, init=False
    )
    claims: Claims = field(factory=Claims, init=False)
    on_changed: list[Callable[[int, int], object]] = field(factory=list, init=False)
    _folders: dict[int, FolderUse] = field(factory=dict, init=False)
    _usage: dict[int, tuple[int, int]] = field(factory=dict, init=False)
    _snapshots: Snapshots = field(factory=Snapshots, init=False)
    _accepts: WriteKind[tuple[Envelope, Message], Any] = field(init=False)
    _deletes: WriteKind[tuple[int, Sequence[int]], int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._accepts = WriteKind("accept", self._accept_mails, self._accepted)
        self._deletes = WriteKind("delete", delete_copies, self._removed, frees=True)
        try:
            uses = self.database.read_now(read_uses)
        except StoreBroken as error:  # others' mail is served all the same
            log.error("A folder is damaged, quotas count anew: {error}", error=str(error))
            uses = []
        for use in uses:
            self._set_use(use)

    # Filing

    def file_message(self, envelope: Envelope, message: Message) -> Deferred[tuple[Filed, ...]]:
        """File one mail into a folder of every recipient, durably, or nowhere.

        Those elsewhere are in the queue then.

        Args:
            message: a blob must be committed before. Whoever made it discards it when this fails.

        Returns:
            A `Filed` a recipient here, in their order. The bytes outlive power loss: 250 may be
            sent.

        Errors:
            StoreBusy, StoreFull, StoreBroken: nothing was filed.
        """
        size = len(message.prefix)
        if isinstance(message.body, bytes):
            size += len(message.body)
        return self.database.submit(self._accepts, (envelope, message), size)

    def _accept_mails(
        self, connection: sqlite3.Connection, mails: list[tuple[Envelope, Message]]
    ) -> tuple[list[tuple[Filed, ...] | MailError], AcceptNote]:
        return accept_mails(connection, mails, self.claims)

    def _accepted(self, note: AcceptNote) -> None:
        try:
            for use in note.uses:
                self._set_use(use)
            self.blobs.settled(note.blob_keys)
            self.log.committed(note.events)
        finally:  # a row that was leased at once is found by nobody who looks
            if note.queued or note.begun:
                self.on_queued(note.queued, note.begun)

    def took_part(self, accepted: AcceptNote | None, removed: Removed) -> None:
        """A commit of another kind filed mail, and deleted some."""
        if accepted is not None:
            self._accepted(accepted)
        self._removed(removed)

    # Usage

    def usage(self, account_id: int) -> tuple[int, int]:
        """Octets and mails that an account has, from memory."""
        return self._usage.get(account_id, (0, 0))

    def _set_use(self, use: FolderUse) -> None:
        octets, mails = self._usage.get(use.account_id, (0, 0))
        before = self._folders.get(use.folder_id)
        if before is not None:
            octets, mails = octets - before.octets, mails - before.mails
        self._folders[use.folder_id] = use
        self._usage[use.account_id] = (octets + use.octets, mails + use.mails)
        self.tell(use.account_id, use.folder_id)

    def tell(self, account_id: int, folder_id: int) -> None:
        """Whoever listens hears that this folder changed."""
        for hear in self.on_changed:
            hear(account_id, folder_id)

    def _forget_folder(self, folder_id: int) -> None:
        use = self._folders.get(folder_id)
        if use is not None:
            self._set_use(FolderUse(folder_id, use.account_id, 0, 0))
            del self._folders[folder_id]

    # Reading

    async def inbox(self, account_id: int) -> FolderInfo:
        """The account's INBOX; it is made when nothing was ever filed there.

        Raises:
            StoreBusy, StoreFull, StoreBroken.
        """
        found = await self.database.read(lambda connection: _read_inbox(connection, account_id))
        if found is None:
            found = await self.database.transact(
                "make inbox", lambda connection: _make_inbox(connection, account_id)
            )
        return found

    async def open_inbox(self, account_id: int) -> Snapshot:
        """What lies in the account's INBOX now, in one hop to a thread; a missing one is made.

        Raises:
            StoreBusy, StoreFull, StoreBroken.
        """

        def read(connection: sqlite3.Connection) -> Snapshot | None:
            found = _read_inbox(connection, account_id)
            if found is None:
                return None
            now = found.folder_id, found.uidvalidity, found.modseq
            return self._snapshots.kept(*now) or self._snapshots.read(connection, found.folder_id)

        return await self.database.read(read) or await self.snapshot(
            (await self.inbox(account_id)).folder_id
        )

    def snapshot(self, folder_id: int) -> Deferred[Snapshot]:
        """What lies in the folder now, copied: no read transaction stays open.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(partial(self._snapshots.read, folder_id=folder_id))

    def tagged(self, folder_id: int) -> Deferred[dict[int, int]]:
        """Of each copy that is served under a tagged Subject, by its uid: how (`model`).

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(partial(_read_tagged, folder_id=folder_id))

    def read_mails(
        self, folder_id: int, wanted: Sequence[tuple[int, int]]
    ) -> Deferred[list[StoredMail]]:
        """These copies, each (uid, message id), in the order asked for.

        The caller bounds how much it asks for: all bodies in rows are in memory at once.
        Copies that were deleted or moved are left out.

        Errors:
            StoreBusy, StoreBroken.
        """
        if not wanted:
            return succeed([])
        return self.database.read(lambda connection: read_mails(connection, folder_id, wanted))

    def read_run(
        self,
        folder_id: int,
        wanted: Sequence[tuple[int, int]],
        sizes: Sequence[int],
        frame: tuple[str, str, str],
    ) -> Deferred[Run | list[StoredMail]]:
        """The same as one run of octets where that can be, each in `frame` (`fetching.Frame`).

        Args:
            wanted: ascending, 512 at most.
            sizes: octets of each, as its folder says.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(
            lambda connection: (
                read_run(connection, folder_id, wanted, sizes, Frame(*frame))
                or read_mails(connection, folder_id, wanted)
            )
        )

    # Deletion

    def delete_mails(self, folder_id: int, uids: Sequence[int]) -> Deferred[int]:
        """These copies are gone, all at once; how many there were.

        A message goes with the last that holds it, and after the commit its blob.

        Errors:
            StoreBusy, StoreFull, StoreBroken: none was deleted.
        """
        if not uids:
            return succeed(0)
        return self.database.submit(self._deletes, (folder_id, uids))

    def _removed(self, removed: Removed) -> None:
        for use in removed.uses:
            self._set_use(use)
        for folder_id in removed.folders:
            self._forget_folder(folder_id)
        if removed.blob_keys:
            background(self.blobs.delete(removed.blob_keys), "deleting blobs")

    async def account_ids(self) -> list[int]:
        """Accounts that own a folder, or anything else."""
        return await self.database.read(owners)

    async def drop_accounts(self, gone_ids: Collection[int]) -> int:
        """All that accounts had which no longer exist is gone; how many copies that were.

        Each copy leaves a `Dropped` row in the journal.
        """
        total = 0
        for account_id in gone_ids:
            while True:
                removed = await self.database.transact(
                    "drop account", partial(drop_some, account_id=account_id), frees=True
                )
                self._removed(removed)
                total += removed.copies
                if not removed.copies and not removed.folders:
                    break
        return total

    async def delete_unfiled(self) -> int:
        """Messages that nothing holds are gone; how many. There are none unless a fault was."""
        ids = await self.database.read(
            lambda connection: unpack(connection.execute(_UNFILED).fetchone()[0])
        )
        removed = Removed()
        total = 0
        for at in range(0, len(ids), READ_AT_ONCE):
            some = ids[at : at + READ_AT_ONCE]
            total += await self.database.transact(
                "delete unfiled",
                partial(delete_unheld_messages, message_ids=some, removed=removed),
                frees=True,
            )
        self._removed(removed)
        return total


# What runs in the threads


_USES = ("id", "account_id", "octets", "mails")


def read_uses(connection: sqlite3.Connection) -> list[FolderUse]:
    """Of all folders, in one row: there may be many."""
    columns = ", ".join(packed(name) for name in _USES)
    row = connection.execute(f"SELECT {columns} FROM folder").fetchone()
    return [FolderUse(*numbers) for numbers in zip(*map(unpack, row), strict=True)]


def _read_tagged(connection: sqlite3.Connection, folder_id: int) -> dict[int, int]:
    columns = ", ".join(packed(name) for name in ("uid", "flags"))
    row = connection.execute(
        f"SELECT {columns} FROM delivery WHERE folder_id = ? AND flags > {MARKS}", (folder_id,)
    ).fetchone()
    uids, flags = map(unpack, row)
    return {uid: each & ~MARKS for uid, each in zip(uids, flags, strict=True)}


def _read_inbox(connection: sqlite3.Connection, account_id: int) -> FolderInfo | None:
    row = connection.execute(
        "SELECT id, account_id, name, uidvalidity, octets, mails, modseq FROM folder"
        " WHERE account_id = ? AND name = ?",
        (account_id, INBOX),
    ).fetchone()
    return FolderInfo(*row) if row else None


def _make_inbox(connection: sqlite3.Connection, account_id: int) -> FolderInfo:
    open_folders(connection, [(account_id, INBOX)], time.time())
    made = _read_inbox(connection, account_id)
    assert made is not None
    return made


_UNFILED = f"SELECT {packed('id')} FROM message WHERE {HELD_BY_NOTHING}"
