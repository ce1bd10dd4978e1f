"""Mail at rest comes into a folder: many mails in one commit, none of them twice.

What does this is a program beside the node (`beside.writing_beside`), or without one. There is no
policy here but quota: whoever moves mail in owns the node.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from mailnode.errors import StoreBusy, StoreFull
from mailnode.events import Event, Imported
from mailnode.model import INBOX, new_mail_id
from mailnode.store.beside import Writer
from mailnode.store.digests import OCTETS, Digests
from mailnode.store.journal import insert_events
from mailnode.store.spooling import SpooledBlob, require_room
from mailnode.store.sqlite import execute_rows, reserve_ids

if TYPE_CHECKING:
    from mailnode.portability.letter import Letter

BATCH_MAILS = 256
BATCH_OCTETS = 4 << 20
BATCH_S = 1.0
CHECKPOINT_OCTETS = 32 << 20
DIGESTS_AT_ONCE = 2000
ROW_OCTETS = 1024  # what a mail costs in the log beside its own octets, about

_INSERT_MESSAGES = """
    INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,
        received_at, blob_key, prefix, body)
    VALUES {rows}
"""
_INSERT_COPIES = """
    INSERT INTO delivery (folder_id, uid, message_id, recipient, flags, modseq, size_octets,
        received_at)
    VALUES {rows}
"""


@frozen
class Target:
    """The folder that mail goes to, and what its owner may keep (0: no limit)."""

    account_id: int
    mailbox: str
    folder: str = INBOX
    most_octets: int = 0
    most_mails: int = 0


@define
class Tally:
    """What became of mails so far.

    Attributes:
        filed: and committed.
        known: lay in the folder already.
        over_quota: those that there was no room for.
    """

    filed: int = 0
    octets: int = 0
    known: int = 0
    over_quota: list[Letter] = field(factory=list)


@define(eq=False)
class Filing:
    """Fills one folder, a batch at a time; who takes a mail gives it up.

    Attributes:
        writer: None for who only asks what it knows.
        tally: what is committed; what waits for its batch is not in it.
    """

    writer: Writer | None
    data: Path
    target: Target
    least_free_octets: int = 0
    tally: Tally = field(factory=Tally, init=False)
    _known: Digests = field(factory=Digests, init=False)
    _known_below: int = field(default=0, init=False)  # uids whose digests are in it
    _waiting: list[Letter] = field(factory=list, init=False)
    _waiting_octets: int = field(default=0, init=False)
    _began_at: float = field(factory=time.monotonic, init=False)
    _logged: int = field(default=0, init=False)

    def learn(self, connection: sqlite3.Connection) -> None:
        """What lies in the folder now is known; in reads that hold up nobody."""
        row = _find(connection, self.target)
        if row is not None:
            self._learn(connection, row[0], row[1])

    def _learn(self, connection: sqlite3.Connection, folder_id: int, below: int) -> None:
        for digest in _digests(connection, folder_id, self._known_below, below):
            self._known.add(digest)
        self._known_below = below

    def knows(self, letter: Letter) -> bool:
        """Whether its content is in the folder, or on its way there."""
        return any(digest in self._known for digest in letter.digests)

    def learn_digest(self, digest: bytes) -> None:
        """A mail of that content is as good as there."""
        self._known.add(digest)

    def take(self, letter: Letter) -> None:
        """File it with the next batch, which is written when it is large or old enough.

        Raises:
            StoreBusy, StoreFull, StoreBroken: none of those that wait was filed.
        """
        if self.knows(letter):
            self.tally.known += 1
            letter.discard()
            return
        self._known.add(letter.digest)
        self._waiting.append(letter)
        self._waiting_octets += letter.size_octets if letter.octets is not None else ROW_OCTETS
        if (
            len(self._waiting) >= BATCH_MAILS
            or self._waiting_octets >= BATCH_OCTETS
            or time.monotonic() - self._began_at >= BATCH_S
        ):
            self.flush()

    def drop_waiting(self) -> None:
        """What was not committed is given up."""
        waiting, self._waiting, self._waiting_octets = self._waiting, [], 0
        for letter in waiting:
            letter.discard()

    def flush(self) -> None:
        """What waits is filed, durably.

        Raises:
            StoreBusy, StoreFull, StoreBroken: none of it was.
        """
        letters, writer = self._waiting, self.writer
        self._began_at = time.monotonic()
        if not letters or writer is None:
            return
        self._logged += self._waiting_octets + ROW_OCTETS * len(letters)
        self._waiting, self._waiting_octets = [], 0
        try:
            require_room(self.data, self.least_free_octets)
            for letter in letters:
                if isinstance(letter.spool, SpooledBlob):
                    letter.spool.keep()
            with writer.transaction() as connection:
                fit, known, over = self._sort(connection, letters)
                _insert(connection, self.target, fit)
        except (StoreBusy, StoreFull):
            for letter in letters:  # after any other fault nobody knows whether rows name them
                letter.discard()
            raise
        self._known_below += len(fit)
        for letter in (*known, *over):
            letter.discard()
        self.tally.filed += len(fit)
        self.tally.octets += sum(letter.size_octets for letter in fit)
        self.tally.known += len(known)
        self.tally.over_quota += over
        if self._logged >= CHECKPOINT_OCTETS:
            self._logged = 0
            writer.checkpoint()

    def _sort(
        self, connection: sqlite3.Connection, letters: Sequence[Letter]
    ) -> tuple[list[Letter], list[Letter], list[Letter]]:
        """Those that go in, those that came by another way meanwhile, those that are too many."""
        target = self.target
        folder_id, uid_next = _find(connection, target) or _make(connection, target)
        known: list[Letter] = []
        if uid_next != self._known_below:
            new = Digests()
            for digest in _digests(connection, folder_id, self._known_below, uid_next):
                new.add(digest)
                self._known.add(digest)
            self._known_below = uid_next
            known = [each for each in letters if any(digest in new for digest in each.digests)]
        octets, mails = connection.execute(
            "SELECT coalesce(sum(octets), 0), coalesce(sum(mails), 0) FROM folder"
            " WHERE account_id = ?",
            (target.account_id,),
        ).fetchone()
        fit: list[Letter] = []
        over: list[Letter] = []
        left_out = set(map(id, known))
        for letter in letters:
            if id(letter) in left_out:
                continue
            too_many = target.most_mails and mails >= target.most_mails
            too_large = target.most_octets and octets + letter.size_octets > target.most_octets
            if over or too_many or too_large:
                over.append(letter)
                continue
            fit.append(letter)
            mails += 1
            octets += letter.size_octets
        return fit, known, over


def _find(connection: sqlite3.Connection, target: Target) -> tuple[int, int] | None:
    """(id, next uid) of the folder."""
    row = connection.execute(
        "SELECT id, uid_next FROM folder WHERE account_id = ? AND name = ?",
        (target.account_id, target.folder),
    ).fetchone()
    return (row[0], row[1]) if row else None


def _make(connection: sqlite3.Connection, target: Target) -> tuple[int, int]:
    connection.execute(
        "INSERT INTO folder (account_id, name, uidvalidity) VALUES (?, ?, ?)",
        (target.account_id, target.folder, int(time.time())),
    )
    made = _find(connection, target)
    assert made is not None
    return made


_DIGESTS = f"""
    SELECT count(*), max(uid), group_concat(hex(substr(digest, 1, {OCTETS})), '') FROM (
        SELECT delivery.uid AS uid, message.digest AS digest FROM delivery
        JOIN message ON message.id = delivery.message_id
        WHERE delivery.folder_id = ? AND delivery.uid >= ? AND delivery.uid < ?
        ORDER BY delivery.uid LIMIT {DIGESTS_AT_ONCE}) AS some
"""


def _digests(
    connection: sqlite3.Connection, folder_id: int, from_uid: int, below: int
) -> Iterator[bytes]:
    """The beginnings of the digests of those copies, read so many at a time."""
    while from_uid < below:
        count, last, digests = connection.execute(_DIGESTS, (folder_id, from_uid, below)).fetchone()
        found = bytes.fromhex(digests or "")
        for at in range(0, len(found), OCTETS):
            yield found[at : at + OCTETS]
        if count < DIGESTS_AT_ONCE:
            return
        from_uid = last + 1


def _insert(connection: sqlite3.Connection, target: Target, letters: Sequence[Letter]) -> None:
    if not letters:
        return
    now = time.time()
    message_id = reserve_ids(connection, "message", len(letters))
    octets = sum(letter.size_octets for letter in letters)
    folder_id, uid, modseq = connection.execute(
        "UPDATE folder SET uid_next = uid_next + ?, modseq = modseq + 1, mails = mails + ?,"
        " octets = octets + ? WHERE account_id = ? AND name = ? RETURNING id, uid_next, modseq",
        (len(letters), len(letters), octets, target.account_id, target.folder),
    ).fetchone()
    uid -= len(letters)
    messages: list[object] = []
    copies: list[object] = []
    events: list[Event] = []
    for letter in letters:
        mail_id, size = new_mail_id(now), letter.size_octets
        blob_key = letter.spool.key if isinstance(letter.spool, SpooledBlob) else None
        sender = letter.sender or ""
        received_at = now if letter.received_at is None else letter.received_at
        messages += (message_id, mail_id, sender, letter.subject, size, letter.dot_lines)
        messages += (letter.digest, received_at, blob_key, b"", letter.octets)
        copies += (folder_id, uid, message_id, "", letter.flags, modseq, size, received_at)
        detail: dict[str, object] = {"source": letter.where, "size_octets": size}
        if target.folder != INBOX:
            detail["folder"] = target.folder
        events.append(
            Imported(
                at=now,
                mail_id=mail_id,
                sender=sender,
                recipient=target.mailbox,
                folder_id=folder_id,
                uid=uid,
                detail=detail,
            )
        )
        message_id, uid = message_id + 1, uid + 1
    execute_rows(connection, _INSERT_MESSAGES, 11, messages)
    execute_rows(connection, _INSERT_COPIES, 8, copies)
    insert_events(connection, events)
