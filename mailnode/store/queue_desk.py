"""The queue as its administrator sees it: found, held, released, retried, bounced, dropped.

Plain synchronous functions on a connection, for the command line beside a running node. A row
that is leased is never changed: whoever attempts it would not know.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import attrs
from attrs import Factory, define, frozen

from mailnode.events import QueueChanged
from mailnode.store.journal import insert_events
from mailnode.store.leases import delete_rows
from mailnode.store.removal import Removed
from mailnode.store.sqlite import packed_rows, padded, unpack_rows

CHANGE_AT_ONCE = 500
BOUNCING = "bouncing"  # no state of a row: it waits for the relay to bounce it
LEAVING = "leaving"  # no state of a row: any but captured
STATES_SHOWN = ("waiting", BOUNCING, "leased", "held", "captured")

T = TypeVar("T")


@frozen
class QueueRow:
    """One recipient elsewhere.

    Attributes:
        state: one of `queue.STATES`, or "bouncing" for what waits to be bounced.
        due_at: of the next attempt; every time is in UTC epoch seconds.
        bounce: why an administrator wants it bounced, or None.
        sender: the reverse-path, "" for `<>`.
        size_octets: of the raw octets.
    """

    id: int
    mail_id: str
    state: str
    sender: str
    recipient: str
    domain: str
    alias: str | None
    account_id: int
    send_as: int
    priority: int
    queued_at: float
    due_at: float
    attempts: int
    last_at: float | None
    last_host: str | None
    last_reply: str | None
    noticed_at: float | None
    leased_by: str | None
    leased_until: float | None
    bounce: str | None
    subject: str
    size_octets: int


@frozen
class QueueFilter:
    """Which rows are meant: those that fit all that is given.

    Attributes:
        ids, mail_ids: those of these rows and of these mails.
        sender: the reverse-path, "" for `<>`.
        before, after: they were queued, UTC epoch seconds.
        reply: stands in the last reply, in capitals or not.
        state: as `QueueRow` has it, or "leaving" for all that was not captured.
        up_to: the highest id; what came later is none of them.
    """

    ids: tuple[int, ...] = ()
    mail_ids: tuple[str, ...] = ()
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    before: float | None = None
    after: float | None = None
    reply: str | None = None
    state: str | None = None
    up_to: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every row fits."""
        return self == QueueFilter()

    def where(self) -> tuple[str, list[object]]:
        """The condition of a WHERE, and its values."""
        texts, values = ["1 = 1"], list[object]()
        if self.ids or self.mail_ids:
            named = []
            for text, some in (
                ("queue.id IN ({})", self.ids),
                ("message_id IN (SELECT id FROM message WHERE mail_id IN ({}))", self.mail_ids),
            ):
                if some:
                    marks, padding = padded(list[object](some))
                    named.append(text.format(marks))
                    values += padding
            texts.append(f"({' OR '.join(named)})")
        for text, value in (
            ("queue.sender = ?", self.sender),
            ("recipient = ?", self.recipient),
            ("domain = ?", self.domain),
            ("queued_at < ?", self.before),
            ("queued_at >= ?", self.after),
            ("instr(lower(last_reply), lower(?)) > 0", self.reply),
            ("queue.id <= ?", self.up_to),
        ):
            if value is not None:
                texts.append(text)
                values.append(value)
        if self.state == BOUNCING:
            texts.append("state = 'waiting' AND bounce IS NOT NULL")
        elif self.state == "waiting":
            texts.append("state = 'waiting' AND bounce IS NULL")
        elif self.state == LEAVING:
            texts.append("state <> 'captured'")
        elif self.state is not None:
            texts.append("state = ?")
            values.append(self.state)
        return " AND ".join(texts), values


_STATE = f"CASE WHEN state = 'waiting' AND bounce IS NOT NULL THEN '{BOUNCING}' ELSE state END"
_JOINED = {
    "id": "queue.id",
    "mail_id": "queue.mail_id",
    "state": _STATE,
    "sender": "queue.sender",
    "subject": "message.subject",
    "size_octets": "message.size_octets",
}
_ROW_COLUMNS = ", ".join(_JOINED.get(each.name, each.name) for each in attrs.fields(QueueRow))


def list_rows(
    connection: sqlite3.Connection, wanted: QueueFilter, limit: int, after: int = 0
) -> list[QueueRow]:
    """The first `limit` rows that fit, the longest queued first; 0 for all.

    Args:
        after: behind the row of this id.
    """
    where, values = wanted.where()
    rows = connection.execute(
        f"SELECT {_ROW_COLUMNS} FROM queue JOIN message ON message.id = queue.message_id"
        f" WHERE {where} AND queue.id > ? ORDER BY queue.id LIMIT ?",
        (*values, after, limit or -1),
    )
    return [QueueRow(*row) for row in rows]


def count_rows(connection: sqlite3.Connection, wanted: QueueFilter) -> int:
    where, values = wanted.where()
    (count,) = connection.execute(f"SELECT count(*) FROM queue WHERE {where}", values).fetchone()
    return int(count)


@frozen
class Destination:
    """What is in the queue for one domain.

    Attributes:
        due: of the waiting, those whose time has come.
        oldest_at: when the first of them was queued.
        last_reply: of one of them that had an attempt, or None.
    """

    domain: str
    recipients: int
    due: int
    leased: int
    held: int
    oldest_at: float
    last_reply: str | None


_DESTINATIONS = """
    SELECT domain, count(*), sum(state = 'waiting' AND due_at <= ?), sum(state = 'leased'),
        sum(state = 'held'), min(queued_at), max(last_reply)
    FROM queue WHERE state <> 'captured' GROUP BY domain ORDER BY count(*) DESC, domain LIMIT ?
"""


def list_destinations(connection: sqlite3.Connection, now: float, limit: int) -> list[Destination]:
    """Domains with the most recipients in the queue; what was captured has none."""
    return [Destination(*row) for row in connection.execute(_DESTINATIONS, (now, limit))]


# Changing


@frozen
class Action:
    """What can be done to rows.

    Attributes:
        done: the word for the journal.
        states: of the rows that it changes.
        settings: of the UPDATE, with the times and reasons by name; "" deletes them.
    """

    done: str
    states: tuple[str, ...]
    settings: str


# Captured mail never leaves, so it can only be dropped.
ACTIONS = {
    "retry": Action("retried", ("waiting",), "due_at = :now, bounce = NULL"),
    "hold": Action("held", ("waiting",), "state = 'held', bounce = NULL"),
    "release": Action("released", ("held",), "state = 'waiting', due_at = :now"),
    "bounce": Action(
        "given up", ("waiting", "held"), "state = 'waiting', due_at = :now, bounce = :reason"
    ),
    "drop": Action("dropped", ("waiting", "held", "captured"), ""),
}


@define
class Changed:
    """What a change came to.

    Attributes:
        ids: of the rows that were changed.
        left: how many were not, by the state that they are in.
        blob_keys: of messages that are gone; their blobs may be deleted.
    """

    ids: list[int] = Factory(list)
    left: Counter[str] = Factory(Counter)
    blob_keys: list[str] = Factory(list)


Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]


def change_rows(
    transaction: Transaction,
    wanted: QueueFilter,
    name: str,
    *,
    now: float,
    by: str,
    reason: str = "",
) -> Changed:
    """Do what `ACTIONS` names to the rows that fit, each with a journal row.

    Many are done in several transactions, so that nobody waits long; what is queued meanwhile
    is left alone.

    Args:
        transaction: begins one that others who write wait for, and commits it.
        by: who it is, for the journal.
        reason: of a bounce, for its sender.
    """
    changed = Changed()
    action = ACTIONS[name]
    after, last = 0, None
    while True:
        with transaction() as connection:
            if last is None:
                (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM queue").fetchone()
            rows = _some(connection, wanted, after, last)
            if not rows:
                return changed
            fit = [row for row in rows if row[-1] in action.states]
            changed.left.update(row[-1] for row in rows if row[-1] not in action.states)
            if fit:
                _change(connection, action, fit, now, reason, changed)
                insert_events(connection, _told(action, fit, now, by, reason))
            after = rows[-1][0]


_Row = tuple[int, int, str, str, str]


def _some(connection: sqlite3.Connection, wanted: QueueFilter, after: int, last: int) -> list[_Row]:
    where, values = wanted.where()
    columns = packed_rows("id", "message_id", "mail_id", "recipient", "state")
    (text,) = connection.execute(
        f"SELECT {columns} FROM (SELECT id, message_id, mail_id, recipient, state FROM queue"
        f" WHERE {where} AND id > ? AND id <= ? ORDER BY id LIMIT ?) AS some",
        (*values, after, last, CHANGE_AT_ONCE),
    ).fetchone()
    return sorted((*row,) for row in unpack_rows(text))


def _change(
    connection: sqlite3.Connection,
    action: Action,
    rows: list[_Row],
    now: float,
    reason: str,
    changed: Changed,
) -> None:
    ids = [row[0] for row in rows]
    changed.ids += ids
    if not action.settings:
        removed = Removed()
        delete_rows(connection, {row[0]: row[1] for row in rows}, removed)
        changed.blob_keys += removed.blob_keys
        return
    names = ", ".join(f":id{number}" for number in range(len(ids)))
    values = {"now": now, "reason": reason} | {f"id{at}": each for at, each in enumerate(ids)}
    connection.execute(f"UPDATE queue SET {action.settings} WHERE id IN ({names})", values)


def _told(
    action: Action, rows: list[_Row], now: float, by: str, reason: str
) -> Iterator[QueueChanged]:
    detail: dict[str, object] = {"action": action.done, "by": by}
    if reason:
        detail["reason"] = reason
    for _, _, mail_id, recipient, _ in rows:
        yield QueueChanged(at=now, mail_id=mail_id, recipient=recipient, detail=detail)
