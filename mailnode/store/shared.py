"""Messages whose folders other processes fill and empty, too: workers, imports beside the node."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

from attrs import define, field

from mailnode.store.accept import AcceptNote
from mailnode.store.messages import Messages, read_uses
from mailnode.store.removal import Removed
from mailnode.store.sqlite import padded
from mailnode.store.use import FolderUse

AT_ONCE = 512


@define(eq=False)
class SharedMessages(Messages):
    """Knows what mailboxes hold, whoever filled them.

    Attributes:
        changed: folders that this process changed; others are to be told of them.
    """

    changed: set[int] = field(factory=set, init=False)
    _reading: bool = field(default=False, init=False)
    _meanwhile: set[int] = field(factory=set, init=False)
    _again: set[int] = field(factory=set, init=False)
    _all_again: bool = field(default=False, init=False)
    _elsewhere: int = field(default=0, init=False)

    @property
    def writes(self) -> int:
        """How much was written so far: by jobs of this process, and by others as it is read."""
        return self.database.stats.jobs + self._elsewhere

    def _accepted(self, note: AcceptNote) -> None:
        super()._accepted(note)
        self._changes(use.folder_id for use in note.uses)

    def _removed(self, removed: Removed) -> None:
        super()._removed(removed)
        self._changes(removed.folders)
        self._changes(use.folder_id for use in removed.uses)

    def _changes(self, folder_ids: Iterable[int]) -> None:
        for folder_id in folder_ids:
            self.changed.add(folder_id)
            self._meanwhile.add(folder_id)

    def tell_changed(self) -> list[int]:
        """`changed`, which is empty now."""
        told = list(self.changed)
        self.changed.clear()
        return told

    def changed_elsewhere(self, folder_ids: Iterable[int] | None) -> None:
        """What these folders hold is to be read again; None: what all hold."""
        if folder_ids is None:
            self._all_again = True
        else:
            self._again.update(folder_ids)

    @property
    def behind(self) -> bool:
        """Whether there is something to catch up with."""
        return bool(self._again or self._all_again) and not self._reading

    async def catch_up(self) -> None:
        """Read what changed elsewhere; what changes here meanwhile is read at the next call.

        There may be many folders, and few that changed: they are compared in the reader's thread.

        Raises:
            StoreBusy, StoreBroken: it is read at the next call.
        """
        if not self.behind:
            return
        wanted = None if self._all_again else self._again
        self._again, self._all_again = set(), False
        self._meanwhile.clear()
        self._reading = True
        try:
            changed, gone = await self.database.read(_changes_of(wanted, self._folders))
        except BaseException:
            self._again |= wanted or set()
            self._all_again = self._all_again or wanted is None
            raise
        finally:
            self._reading = False
        for use in changed:
            if not self._is_late(use.folder_id):
                before = self._folders.get(use.folder_id)
                self._elsewhere += max(abs(use.mails - (before.mails if before else 0)), 1)
                self._set_use(use)
        for folder_id in gone:
            if not self._is_late(folder_id):
                self._forget_folder(folder_id)

    def _is_late(self, folder_id: int) -> bool:
        """Whether it changed here meanwhile: which of the two is newer nobody knows."""
        if folder_id in self._meanwhile:
            self._again.add(folder_id)
            return True
        return False


def _changes_of(
    folder_ids: set[int] | None, known: Mapping[int, FolderUse]
) -> Callable[[sqlite3.Connection], tuple[list[FolderUse], list[int]]]:
    """Reads what these folders hold now: (those that changed, those that are gone).

    Args:
        folder_ids: each of which somebody changed, though it may hold as much as before; None
            looks for those of all that hold something else.
        known: what they held; the reactor's thread goes on changing it.
    """
    read = _uses_of(folder_ids)

    def compare(connection: sqlite3.Connection) -> tuple[list[FolderUse], list[int]]:
        there = list(known) if folder_ids is None else [*folder_ids]  # a list is made in one go
        uses = read(connection)
        found = {use.folder_id for use in uses}
        return (
            uses if folder_ids else [use for use in uses if known.get(use.folder_id) != use],
            [folder_id for folder_id in there if folder_id not in found],
        )

    return compare


def _uses_of(folder_ids: set[int] | None) -> Callable[[sqlite3.Connection], list[FolderUse]]:
    columns = "SELECT id, account_id, octets, mails FROM folder"

    def read(connection: sqlite3.Connection) -> list[FolderUse]:
        if folder_ids is None:
            return read_uses(connection)
        wanted, found = list(folder_ids), list[FolderUse]()
        for at in range(0, len(wanted), AT_ONCE):
            marks, values = padded(wanted[at : at + AT_ONCE])
            rows = connection.execute(f"{columns} WHERE id IN ({marks})", values)
            found += [FolderUse(*row) for row in rows]
        return found

    return read
