"""An account's folders: what lies in them page by page, and what their owner does with it.

Whoever asks says whose folders they are: another's are not there.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from mailnode.errors import BadFolder, NoSuchFolder
from mailnode.model import STANDARD_FOLDERS, TRASH
from mailnode.store.database import Database
from mailnode.store.fetching import StoredMail
from mailnode.store.folder_lists import (
    PAGE_MAILS,
    Copy,
    Folder,
    place_of,
    read_copy,
    read_folders,
    read_mail,
    read_page,
    read_places,
    read_places_of,
    read_uids,
    remove_folder,
    rename_folder,
    require_folder,
)
from mailnode.store.jobs import WriteKind
from mailnode.store.messages import Messages
from mailnode.store.rearranging import (
    Mark,
    Move,
    Moves,
    Rearranged,
    delete_marked,
    mark_copies,
    move_copies,
)
from mailnode.store.removal import Removed
from mailnode.store.use import make_folders

AT_ONCE = 512
NAME_CHARACTERS = 100
KEPT_COUNTS = 10_000
MOST_FOLDERS = 500


@define(eq=False)
class Folders:
    """The folders of all accounts.

    All methods are awaited on the reactor's thread, and may fail with StoreBusy, StoreFull or
    StoreBroken: then nothing was changed.

    Attributes:
        messages: hears what folders hold after a change.
    """

    messages: Messages
    _unread: OrderedDict[int, tuple[int, int]] = field(factory=OrderedDict, init=False)
    _marks: WriteKind[Mark, Any] = field(init=False)
    _moves: WriteKind[Move, Any] = field(init=False)
    _deletes: WriteKind[Move, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._marks = WriteKind("mark", mark_copies, self._changed)
        self._moves = WriteKind("move", move_copies, self._changed)
        self._deletes = WriteKind("delete for good", delete_marked, self._changed, frees=True)

    def _changed(self, note: Rearranged) -> None:
        self.messages.took_part(None, note.removed)
        self.messages.log.committed(note.events)

    # Folders

    async def folders(self, account_id: int) -> list[Folder]:
        """The standard ones in their order, then the account's own by name."""
        found = await self._read(account_id)
        if missing := [name for name in STANDARD_FOLDERS if name not in {f.name for f in found}]:
            await self._database.transact(
                "make folders", lambda connection: make_folders(connection, account_id, missing)
            )
            found = await self._read(account_id)
        return sorted(found, key=place_of)

    async def folder(self, account_id: int, folder_id: int) -> Folder:
        """One of them.

        Raises:
            NoSuchFolder: it isn't the account's.
        """
        for folder in await self._read(account_id):
            if folder.folder_id == folder_id:
                return folder
        raise NoSuchFolder()

    async def named(self, account_id: int, name: str) -> Folder:
        """The one of that name; a standard one is made when it isn't there yet.

        Raises:
            NoSuchFolder: there is none.
        """
        same = _same(name)
        for folder in await self.folders(account_id):
            if _same(folder.name) == same:
                return folder
        raise NoSuchFolder(f'There is no folder "{name[:NAME_CHARACTERS]}"')

    async def _read(self, account_id: int) -> list[Folder]:
        found = await self._database.read(
            lambda connection: read_folders(connection, account_id, self._unread)
        )
        for each in found:
            self._unread[each.folder_id] = (each.modseq, each.unread)
            self._unread.move_to_end(each.folder_id)
        while len(self._unread) > KEPT_COUNTS:
            self._unread.popitem(last=False)
        return found

    async def make(self, account_id: int, name: str) -> Folder:
        """A folder of the account's own.

        Raises:
            BadFolder: it can't be called so, there is one of that name, or there are too many.
        """
        name = _good_name(name)
        there = await self.folders(account_id)
        self._require_new(there, name)
        if len(there) >= MOST_FOLDERS:
            raise BadFolder(f"An account has {MOST_FOLDERS} folders at most: remove one first")
        await self._database.transact(
            "make folder", lambda connection: make_folders(connection, account_id, [name])
        )
        made = await self.named(account_id, name)
        self.messages.tell(account_id, made.folder_id)
        return made

    async def rename(self, account_id: int, folder_id: int, name: str) -> Folder:
        """The folder has another name; its mails and their uids are the same.

        Raises:
            NoSuchFolder, BadFolder: it is a standard one, or can't be called so.
        """
        name = _good_name(name)
        folder = await self._own(account_id, folder_id)
        others = [f for f in await self.folders(account_id) if f.folder_id != folder_id]
        self._require_new(others, name)

        def write(connection: sqlite3.Connection) -> bool:
            return rename_folder(connection, account_id, folder_id, name)

        if not await self._database.transact("rename folder", write):  # somebody was quicker
            self._require_new(await self.folders(account_id), name)
            raise NoSuchFolder()
        self.messages.tell(account_id, folder_id)
        return evolve(folder, name=name, modseq=folder.modseq + 1)

    async def remove(self, account_id: int, folder_id: int, by: str) -> int:
        """The folder is gone, and what lay in it is in Trash; how many mails those were.

        Raises:
            NoSuchFolder, BadFolder: it is a standard one.
        """
        await self._own(account_id, folder_id)
        trash = await self.named(account_id, TRASH)
        moved = 0
        while True:
            page = await self.page(account_id, folder_id, limit=PAGE_MAILS)
            if page:
                uids = [copy.uid for copy in page]
                moved += len(await self.move(account_id, folder_id, uids, trash.folder_id, by))
            gone = await self._database.transact(
                "remove folder", lambda connection: remove_folder(connection, account_id, folder_id)
            )
            if gone:
                self.messages.took_part(None, Removed(folders=[folder_id]))
                return moved

    async def _own(self, account_id: int, folder_id: int) -> Folder:
        folder = await self.folder(account_id, folder_id)
        if folder.standard:
            raise BadFolder(f"{folder.name} is neither renamed nor removed: every account has it")
        return folder

    def _require_new(self, folders: Sequence[Folder], name: str) -> None:
        for folder in folders:
            if _same(folder.name) == _same(name):
                raise BadFolder(f'There is a folder "{folder.name}" already', code=554)

    # Mails

    def page(
        self,
        account_id: int,
        folder_id: int,
        *,
        before: int = 0,
        after: int = 0,
        limit: int = 50,
    ) -> Deferred[list[Copy]]:
        """Copies, the newest first.

        Args:
            before: those with a lower uid than this, the highest of them; 0 begins with the newest.
            after: those with a higher one than this, the lowest of them.
            limit: 1 to `PAGE_MAILS`.

        Errors:
            NoSuchFolder.
        """
        limit = max(1, min(PAGE_MAILS, limit))

        def read(connection: sqlite3.Connection) -> list[Copy]:
            require_folder(connection, account_id, folder_id)
            return read_page(connection, folder_id, before=before, after=after, limit=limit)

        return self._database.read(read)

    def copies(
        self, account_id: int, message_ids: Sequence[int]
    ) -> Deferred[dict[int, list[Copy]]]:
        """Where these messages lie in the account's folders, by message.

        Args:
            message_ids: `PAGE_MAILS` at most.
        """
        wanted = message_ids[:PAGE_MAILS]
        return self._database.read(lambda connection: read_places(connection, account_id, wanted))

    def uids(self, account_id: int, folder_id: int, up_to: int) -> Deferred[list[int]]:
        """Of all mails of the folder up to that one, ascending.

        Errors:
            NoSuchFolder.
        """

        def read(connection: sqlite3.Connection) -> list[int]:
            require_folder(connection, account_id, folder_id)
            return read_uids(connection, folder_id, up_to)

        return self._database.read(read)

    def copies_of(self, account_id: int, mail_id: str) -> Deferred[list[Copy]]:
        """Where a mail lies in the account's folders; nowhere for another's."""
        return self._database.read(
            lambda connection: read_places_of(connection, account_id, mail_id)
        )

    def copy(self, account_id: int, folder_id: int, uid: int) -> Deferred[Copy]:
        """One line.

        Errors:
            NoSuchFolder, NoSuchMail.
        """

        def read(connection: sqlite3.Connection) -> Copy:
            require_folder(connection, account_id, folder_id)
            return read_copy(connection, folder_id, uid)

        return self._database.read(read)

    def mail(self, account_id: int, folder_id: int, uid: int) -> Deferred[tuple[Copy, StoredMail]]:
        """One mail as it is served; a large body is a `model.Blob`, to be opened by its key.

        Errors:
            NoSuchFolder, NoSuchMail.
        """

        def read(connection: sqlite3.Connection) -> tuple[Copy, StoredMail]:
            require_folder(connection, account_id, folder_id)
            return read_mail(connection, folder_id, uid)

        return self._database.read(read)

    async def mark(
        self, account_id: int, folder_id: int, uids: Sequence[int], *, add: int = 0, take: int = 0
    ) -> int:
        """Flags are set and taken; how many mails there were.

        Raises:
            NoSuchFolder.
        """
        changed = 0
        for some in _pieces(uids):
            wanted = Mark(account_id, folder_id, some, add, take)
            changed += await self._database.submit(self._marks, wanted)
        return changed

    async def move(
        self,
        account_id: int,
        folder_id: int,
        uids: Sequence[int],
        target_id: int,
        by: str,
        *,
        through: str = "",
    ) -> Moves:
        """These mails lie in another folder; those that are no longer there are left out.

        Many are moved in pieces, each in a commit.

        Args:
            by: the account's address, for the journal.
            through: as `Move` has it.

        Returns:
            (uid before, uid now) of each.

        Raises:
            NoSuchFolder: one of them isn't the account's.
        """
        moved: Moves = []
        for some in _pieces(uids):
            wanted = Move(account_id, folder_id, some, target_id, by, time.time(), through)
            moved += await self._database.submit(self._moves, wanted)
        return moved

    async def delete(self, account_id: int, folder_id: int, uids: Sequence[int], by: str) -> int:
        """These mails are gone for good; how many there were.

        Raises:
            NoSuchFolder.
        """
        count = 0
        for some in _pieces(uids):
            wanted = Move(account_id, folder_id, some, 0, by, time.time())
            count += len(await self._database.submit(self._deletes, wanted))
        return count

    @property
    def _database(self) -> Database:
        return self.messages.database


def _pieces(uids: Sequence[int]) -> list[list[int]]:
    """Each once, so many at a time."""
    wanted = sorted(set(uids))
    return [wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE)]


def _same(name: str) -> str:
    return name.casefold()


def _good_name(name: str) -> str:
    """What a folder may be called.

    Raises:
        BadFolder: and why it may not.
    """
    name = " ".join(name.split())
    if not name:
        raise BadFolder("A folder needs a name")
    if len(name) > NAME_CHARACTERS:
        raise BadFolder(f"A folder's name has {NAME_CHARACTERS} characters at most")
    if not name.isprintable():
        raise BadFolder("A folder's name can't have control characters")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise BadFolder('Between "/" in a folder\'s name there must be a word')
    return name
