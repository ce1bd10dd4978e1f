"""What lies in a folder, as arrays; those that were read last are kept and brought up to date.

A client that looks for new mail every few minutes costs the rows that are new to it, and not
the whole mailbox each time.
"""

from __future__ import annotations

import sqlite3
import threading
from array import array
from collections import OrderedDict

from attrs import define, field, frozen

from mailnode.store.sqlite import packed, unpack

KEPT_MAILS = 500_000  # 16 octets each
FOLDER_MAILS = 32  # what is kept of a folder beside its mails counts as so many


@frozen(eq=False)
class Snapshot:
    """What lies in a folder, ascending by uid; the arrays have one length, and nobody changes them.

    Attributes:
        uids: array of 'I'.
        message_ids: array of 'Q'.
        sizes: array of 'I', octets as served.
        octets: of all of them.
    """

    folder_id: int
    uidvalidity: int
    uids: array[int]
    message_ids: array[int]
    sizes: array[int]
    octets: int = field(init=False)

    @octets.default
    def _sum(self) -> int:
        return sum(self.sizes)


@define(eq=False)
class Snapshots:
    """Reads them, in any thread that has a connection.

    Attributes:
        most_mails: in all that are kept; an empty folder has its part, too.
    """

    most_mails: int = KEPT_MAILS
    _kept: OrderedDict[int, tuple[int, Snapshot]] = field(factory=OrderedDict, init=False)
    _mails: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def kept(self, folder_id: int, uidvalidity: int, modseq: int) -> Snapshot | None:
        """The folder at that moment, if it is the one that was read last."""
        with self._lock:
            known, snapshot = self._kept.get(folder_id, (-1, None))
            if snapshot is None or (known, snapshot.uidvalidity) != (modseq, uidvalidity):
                return None
            self._kept.move_to_end(folder_id)
            return snapshot

    def read(self, connection: sqlite3.Connection, folder_id: int) -> Snapshot:
        """The folder as it is now. Each change of a folder counts its `modseq` up."""
        with self._lock:
            modseq, kept = self._kept.get(folder_id, (-1, None))
        connection.execute("BEGIN")  # the folder's row and its copies are of one moment
        try:
            modseq_now, now = _update(connection, folder_id, modseq, kept)
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")
        self._keep(modseq_now, now)
        return now

    def _keep(self, modseq: int, snapshot: Snapshot) -> None:
        folder_id = snapshot.folder_id
        with self._lock:
            before = self._kept.pop(folder_id, None)
            if before is not None:
                self._mails -= _weight(before[1])
                if before[0] > modseq:  # another thread read later
                    modseq, snapshot = before
            self._kept[folder_id] = modseq, snapshot
            self._mails += _weight(snapshot)
            while self._mails > self.most_mails:
                _folder_id, (_modseq, oldest) = self._kept.popitem(last=False)
                self._mails -= _weight(oldest)


def _weight(snapshot: Snapshot) -> int:
    return len(snapshot.uids) + FOLDER_MAILS


def _update(
    connection: sqlite3.Connection, folder_id: int, modseq: int, kept: Snapshot | None
) -> tuple[int, Snapshot]:
    """(modseq, what lies there) now, given what lay there at `modseq`."""
    uidvalidity, modseq_now, mails = connection.execute(
        "SELECT uidvalidity, modseq, mails FROM folder WHERE id = ?", (folder_id,)
    ).fetchone() or (0, 0, 0)
    if kept is not None and kept.uidvalidity == uidvalidity:
        if modseq == modseq_now:
            return modseq, kept
        now = _read(connection, folder_id, uidvalidity, kept)
        if len(now.uids) == mails:
            return modseq_now, now
    # Never read yet, or some of them are gone.
    return modseq_now, _read(connection, folder_id, uidvalidity, None)


def _read(
    connection: sqlite3.Connection, folder_id: int, uidvalidity: int, known: Snapshot | None
) -> Snapshot:
    """The copies; with `known`, those that came after it behind what it has."""
    last_uid = known.uids[-1] if known is not None and known.uids else 0
    columns = ", ".join(packed(name) for name in ("uid", "message_id", "size_octets"))
    row = connection.execute(
        f"SELECT {columns} FROM (SELECT uid, message_id, size_octets FROM delivery"
        " WHERE folder_id = ? AND uid > ? ORDER BY uid) AS copies",
        (folder_id, last_uid),
    ).fetchone()
    uids, message_ids, sizes = (
        array(code, unpack(text)) for code, text in zip("IQI", row, strict=True)
    )
    if known is not None:
        uids, message_ids = known.uids + uids, known.message_ids + message_ids
        sizes = known.sizes + sizes
    return Snapshot(folder_id, uidvalidity, uids, message_ids, sizes)
