"""The journal answers "what happened to that mail?".

Events of an accept are rows of its own batch. All others are handed to `Journal.append`: they
ride in the next batch and never ask for a flush of their own sooner than a second.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.events import Event, Fetched
from mailnode.model import in_ranges
from mailnode.store.database import Database
from mailnode.store.jobs import WriteKind
from mailnode.store.sqlite import execute_rows, padded

log = Logger()

BUFFER_EVENTS = 10_000
GATHERED_EVENTS = 500
FLUSH_AFTER_S = 1.0
PRUNE_ROWS = 1_000

_COLUMNS = "at, event, mail_id, sender, recipient, mailbox, folder_id, uid, client, detail"
_INSERT = f"INSERT INTO journal ({_COLUMNS}) VALUES {{rows}}"
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def insert_events(connection: sqlite3.Connection, events: Iterable[Event]) -> None:
    """A row for each event."""
    values: list[object] = []
    for event in events:
        detail, mailbox = event.detail, None
        if "mailbox" in detail:
            detail = dict(detail)
            mailbox = detail.pop("mailbox")
        values += (
            event.at,
            event.name,
            event.mail_id or None,
            event.sender,
            event.recipient,
            mailbox,
            event.folder_id,
            event.uid,
            event.client or None,
            _to_json(detail) if detail else "{}",
        )
    execute_rows(connection, _INSERT, 10, values)


# Reading; the command line calls these on a connection of its own


def read_trace(
    connection: sqlite3.Connection, mail_id: str, *, sessions: bool = True
) -> list[Event]:
    """All that happened to one mail, oldest first.

    Args:
        sessions: those of POP3 that met a copy, too; of an old mail in a busy mailbox many rows are
            looked at for them.
    """
    rows = connection.execute(
        f"SELECT id, {_COLUMNS} FROM journal WHERE mail_id = ? ORDER BY id", (mail_id,)
    ).fetchall()
    found = {row[0]: _event(row[1:]) for row in rows}
    for event in list(found.values()) if sessions else ():
        if event.folder_id is not None and event.uid is not None:
            found |= _sessions_of(connection, event, min(found))
    return [found[row_id] for row_id in sorted(found)]


def _sessions_of(
    connection: sqlite3.Connection, delivered: Event, after_id: int
) -> dict[int, Event]:
    mailbox = delivered.detail.get("mailbox", delivered.recipient)
    rows = connection.execute(
        f"SELECT id, {_COLUMNS} FROM journal"
        " WHERE recipient = ? AND event = ? AND folder_id = ? AND id > ? ORDER BY id",
        (mailbox, Fetched.name, delivered.folder_id, after_id),
    )
    sessions = {row[0]: _event(row[1:]) for row in rows}
    uid = delivered.uid
    assert uid is not None
    return {
        row_id: session
        for row_id, session in sessions.items()
        if any(in_ranges(uid, str(session.detail.get(key, ""))) for key in ("read", "deleted"))
    }


def newest_row(connection: sqlite3.Connection) -> int:
    """The id of the newest row, 0 for none: where `read_since` begins."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
    return int(newest)


def read_since(
    connection: sqlite3.Connection, row_id: int, names: Sequence[str], limit: int = 1000
) -> tuple[int, list[Event]]:
    """Events of these names behind a row, oldest first; and the row up to which that is all."""
    marks, values = padded(list(names))
    rows = connection.execute(
        f"SELECT id, {_COLUMNS} FROM journal WHERE id > ? AND event IN ({marks})"
        " ORDER BY id LIMIT ?",
        (row_id, *values, limit),
    ).fetchall()
    newest = rows[-1][0] if len(rows) == limit else max(row_id, newest_row(connection))
    return newest, [_event(row[1:]) for row in rows]


def read_row(connection: sqlite3.Connection, row_id: int) -> Event | None:
    """The event of one row; None when there is none, or none any more."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM journal WHERE id = ?", (row_id,)).fetchone()
    return None if row is None else _event(row)


LAST_CHARACTER = chr(0x10FFFF)


def read_events(
    connection: sqlite3.Connection,
    *,
    to: str = "",
    sender: str | None = None,
    subaddress: str = "",
    limit: int = 100,
) -> list[Event]:
    """The newest `limit` events, oldest first, that match all that is given.

    Args:
        to: an address that was asked for, or a mailbox.
        sender: the reverse-path; "" is `<>`.
        subaddress: what parts `alice` from `alice+detail`: mail to such fits, too, whoever took
            it; "" for an exact `to` alone.
    """
    where, values = ["1 = 1"], list[object]()
    if to:
        where.append(
            "id IN (SELECT id FROM journal WHERE recipient = ?"
            " UNION SELECT id FROM journal WHERE mailbox = ?"
            " UNION SELECT id FROM journal WHERE recipient >= ? AND recipient < ?"
            " AND substr(recipient, -length(?)) = ?)"
        )
        local, at, domain = to.rpartition("@")
        begin = local + (subaddress or at)
        values += (to, to, begin, begin + LAST_CHARACTER, at + domain, at + domain)
    if sender is not None:
        where.append(
            "(sender = ? OR mail_id IN"
            " (SELECT mail_id FROM journal WHERE sender = ? AND mail_id IS NOT NULL))"
        )
        values += (sender, sender)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM journal WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",
        (*values, limit),
    ).fetchall()
    return [_event(row) for row in reversed(rows)]


def read_mails(
    connection: sqlite3.Connection, wanted: Mapping[str, Any], limit: int
) -> list[tuple[str, list[Event]]]:
    """The newest `limit` mails that fit what `read_events` is asked, the oldest of them first.

    Each with its id and all that happened to it; what was refused before it had an id stands for
    itself, with "".
    """
    asked = 4 * limit
    while True:
        found = read_events(connection, **wanted, limit=asked)
        mails = _by_mail(found)[-limit:]
        if len(mails) == limit or len(found) < asked:
            break
        asked *= 4
    return [
        (mail_id, read_trace(connection, mail_id) if mail_id else [event])
        for mail_id, event in mails
    ]


def _by_mail(events: Sequence[Event]) -> list[tuple[str, Event]]:
    """Each mail by its newest event.

    POP3 sessions and sign-ins are no mails: a session is told with the mails that it touched.
    """
    newest: dict[object, tuple[str, Event]] = {}
    for number, event in enumerate(events):
        if event.mail_id or event.name == "refused":
            key = event.mail_id or number
            newest.pop(key, None)
            newest[key] = (event.mail_id, event)
    return list(newest.values())


def _event(row: Sequence[Any]) -> Event:
    at, name, mail_id, sender, recipient, mailbox, folder_id, uid, client, text = row
    detail = json.loads(str(text))
    if mailbox is not None:
        detail["mailbox"] = mailbox
    kinds = {kind.name: kind for kind in Event.__subclasses__()}
    if name not in kinds:
        detail["event"] = name
    return kinds.get(str(name), Event)(
        at=at,
        mail_id=mail_id or "",
        sender=sender,
        recipient=recipient,
        folder_id=folder_id,
        uid=uid,
        client=client or "",
        detail=detail,
    )


def detail_of(text: object) -> dict[str, Any]:
    """What a row's detail says; nothing where the disk has changed it."""
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@define(eq=False)
class Gathered:
    """Events that become rows together: more join until a batch takes them.

    Attributes:
        events: nobody adds to them once their job waits no longer.
    """

    events: list[Event]
    _closed: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def add(self, events: Sequence[Event]) -> bool:
        """Whether they joined; in the reactor's thread."""
        with self._lock:
            if self._closed or len(self.events) >= GATHERED_EVENTS:
                return False
            self.events += events
            return True

    def close(self) -> None:
        """Nobody joins any more; in any thread."""
        with self._lock:
            self._closed = True


def _insert_gathered(
    connection: sqlite3.Connection, jobs: list[Gathered]
) -> tuple[list[None], None]:
    insert_events(connection, [event for gathered in jobs for event in gathered.events])
    return [None] * len(jobs), None


@define(eq=False)
class Journal:
    """Keeps events without a commit of their own, and reads all.

    Attributes:
        clock: times the flush.
        waiting: events in memory.
        dropped: events that were lost, for the buffer was full or the store had a fault.
    """

    database: Database
    clock: IReactorTime
    buffer_events: int = BUFFER_EVENTS
    waiting: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)
    _due: IDelayedCall | None = field(default=None, init=False)
    _open: Gathered = field(factory=lambda: Gathered([]), init=False)
    _kind: WriteKind[Gathered, None] = field(
        factory=lambda: WriteKind("journal", _insert_gathered, taken=Gathered.close), init=False
    )

    def __attrs_post_init__(self) -> None:
        self._open.close()  # nobody waits for these

    def append(self, events: Sequence[Event]) -> None:
        """They will be rows within a second or so; what doesn't fit the buffer is counted."""
        fit = events[: max(0, self.buffer_events - self.waiting)]
        self.dropped += len(events) - len(fit)
        if not fit:
            return
        self.waiting += len(fit)
        if not self._open.add(fit):
            self._open = gathered = Gathered(list(fit))
            done = self.database.submit(self._kind, gathered, rides=True)
            done.addCallbacks(
                lambda _: self._written(gathered), lambda failure: self._lost(failure, gathered)
            )
        if self._due is None and self.waiting:
            self._due = self.clock.callLater(FLUSH_AFTER_S, self._flush)

    def _flush(self) -> None:
        self._due = None
        self.flush()

    def flush(self) -> None:
        """What waits becomes rows now: somebody wants to read them."""
        if self.waiting:
            self.database.flush()

    def _written(self, gathered: Gathered) -> None:
        gathered.close()  # one that was refused at once was never taken
        self.waiting -= len(gathered.events)
        if not self.waiting and self._due is not None:
            self._due.cancel()
            self._due = None

    def _lost(self, failure: Failure, gathered: Gathered) -> None:
        self._written(gathered)
        count = len(gathered.events)
        self.dropped += count
        log.warn("{count} events are not in the journal: {error}", count=count, error=failure.value)

    def trace(self, mail_id: str) -> Deferred[list[Event]]:
        """See `read_trace`."""
        return self.database.read(lambda connection: read_trace(connection, mail_id))

    def find(
        self, *, to: str = "", sender: str | None = None, limit: int = 100
    ) -> Deferred[list[Event]]:
        """See `read_events`."""
        return self.database.read(
            lambda connection: read_events(connection, to=to, sender=sender, limit=limit)
        )

    async def prune(self, keep_s: float, size_octets: int) -> int:
        """Rows older than `keep_s`, and the oldest above `size_octets`, are gone; how many.

        The size is reckoned from the newest rows, indexes included.
        """
        beyond = await self.database.read(lambda connection: _rows_over(connection, size_octets))
        cutoff = time.time() - keep_s
        total = 0
        while gone := await self.database.transact(
            "prune journal", lambda connection: _prune(connection, beyond, cutoff), frees=True
        ):
            total += gone
        return total


_OLDEST = f"SELECT id FROM journal ORDER BY id LIMIT {PRUNE_ROWS}"


def _prune(connection: sqlite3.Connection, up_to_id: int, cutoff: float) -> int:
    """Delete among the oldest rows only: a batch that others wait for stays short."""
    return connection.execute(
        f"DELETE FROM journal WHERE id IN ({_OLDEST}) AND (id <= ? OR at < ?)", (up_to_id, cutoff)
    ).rowcount


_MEAN_ROW = """
    SELECT avg(length(detail) + 120 + 2 * (coalesce(length(mail_id), 0)
        + coalesce(length(sender), 0) + coalesce(length(recipient), 0)))
    FROM (SELECT detail, mail_id, sender, recipient FROM journal ORDER BY id DESC LIMIT 2000)
        AS newest
"""


def _rows_over(connection: sqlite3.Connection, size_octets: int) -> int:
    """The id up to which rows must go so that about `size_octets` stay."""
    (mean,) = connection.execute(_MEAN_ROW).fetchone()
    (newest,) = connection.execute("SELECT max(id) FROM journal").fetchone()
    return int(newest - size_octets / mean) if mean else 0
