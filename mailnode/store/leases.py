"""What is done to the queue's rows inside a transaction: leased, renewed, settled, recovered.

These run in the writer thread, many calls in one batch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import evolve, fields, frozen

from mailnode.events import Event, Interrupted
from mailnode.model import Envelope, Message
from mailnode.queued import Leased, Settled
from mailnode.store.accept import AcceptNote, accept_mails
from mailnode.store.enqueue import LAST_PRIORITY
from mailnode.store.journal import insert_events
from mailnode.store.removal import Removed, delete_unheld_messages
from mailnode.store.sqlite import (
    execute_rows,
    packed,
    packed_rows,
    padded,
    unpack,
    unpack_rows,
)

AT_ONCE = 512
SINCE_SCHEMA = 2
STATES = ("waiting", "leased", "held", "captured")


_COLUMNS = ("id", *(each.name for each in fields(Leased)[1:]))
_SMTPUTF8 = _COLUMNS.index("smtputf8")


def _leased(row: list[Any]) -> Leased:
    row[_SMTPUTF8] = bool(row[_SMTPUTF8])
    return Leased(*row)


@frozen
class Lease:
    """Attributes:
    after: of each priority, the account that had its turn last, -1 for none.
    """

    domain: str
    send_as: int
    now: float
    until: float
    limit: int
    by: str
    after: Sequence[int]


@frozen
class Settlement:
    settled: Sequence[Settled]
    reports: Sequence[tuple[Envelope, Message]]
    by: str
    at: float


@frozen
class SettledNote:
    """What the reactor is told of settlements that were committed."""

    events: list[Event]
    removed: Removed
    accepted: AcceptNote | None


def has_queue(connection: sqlite3.Connection) -> bool:
    """Whether the mail database is of a version that has one; a start of the node upgrades it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version) >= SINCE_SCHEMA


WAITING = "state = 'waiting' AND domain = :domain AND send_as = :send_as AND priority = :priority"
# The accounts that have something there: a look into the index for each, however much they have.
TURNS = f"""
    WITH RECURSIVE turn (account_id) AS (
        SELECT min(account_id) FROM queue WHERE {WAITING} AND account_id > :after
        UNION ALL
        SELECT (SELECT min(account_id) FROM queue WHERE {WAITING} AND account_id > turn.account_id)
        FROM turn WHERE turn.account_id IS NOT NULL
    )
"""
_TURNS = f"""
    {TURNS} SELECT {packed("account_id")} FROM (
        SELECT account_id FROM turn WHERE account_id IS NOT NULL AND EXISTS (
            SELECT 1 FROM queue
            WHERE {WAITING} AND account_id = turn.account_id AND due_at <= :now)
        LIMIT :limit) AS next_ones
"""
_DUE = f"""
    SELECT {packed("id")} FROM (
        SELECT id FROM queue WHERE {WAITING} AND account_id = :account_id AND due_at <= :now
        ORDER BY due_at LIMIT :limit OFFSET :offset) AS due
"""
_ROWS = f"SELECT {packed_rows(*_COLUMNS)} FROM queue WHERE id IN ({{marks}})"


def lease_all(
    connection: sqlite3.Connection, leases: list[Lease]
) -> tuple[list[list[Leased]], None]:
    return [_lease(connection, lease) for lease in leases], None


def _lease(connection: sqlite3.Connection, lease: Lease) -> list[Leased]:
    wanted = {"domain": lease.domain, "send_as": lease.send_as, "now": lease.now}
    next_ids: list[int] = []
    for priority in range(LAST_PRIORITY + 1):
        if (room := lease.limit - len(next_ids)) > 0:
            after = lease.after[priority]
            next_ids += _due(connection, wanted | {"priority": priority}, after, room)
    if not next_ids:
        return []
    marks, ids = padded(next_ids)
    (text,) = connection.execute(_ROWS.format(marks=marks), ids).fetchone()
    connection.execute(
        f"UPDATE queue SET state = 'leased', leased_by = ?, leased_until = ? WHERE id IN ({marks})",
        (lease.by, lease.until, *ids),
    )
    found = {row[0]: _leased(row) for row in unpack_rows(text)}
    return [found[each] for each in next_ids]


def _due(
    connection: sqlite3.Connection, wanted: dict[str, Any], after: int, room: int
) -> list[int]:
    """Up to `room` ids of one priority: as many of each account, the longest due ones."""
    turns = _turns(connection, wanted | {"after": after, "limit": room})
    if after >= 0 and len(turns) < room:
        again = _turns(connection, wanted | {"after": -1, "limit": room - len(turns)})
        turns += [each for each in again if each <= after]
    found: list[int] = []
    offsets = dict.fromkeys(turns, 0)
    while offsets and len(found) < room:
        for at, (account_id, offset) in enumerate(list(offsets.items())):
            share = -(-(room - len(found)) // (len(offsets) - at))
            more = {"account_id": account_id, "limit": share, "offset": offset}
            ids = unpack(connection.execute(_DUE, wanted | more).fetchone()[0])
            found += ids
            offsets[account_id] = offset + share if len(ids) == share else -1
        offsets = {account_id: offset for account_id, offset in offsets.items() if offset > 0}
    return found


def _turns(connection: sqlite3.Connection, wanted: dict[str, Any]) -> list[int]:
    return unpack(connection.execute(_TURNS, wanted).fetchone()[0])


def renew(connection: sqlite3.Connection, ids: list[int], until: float, by: str) -> set[int]:
    own: set[int] = set()
    for at in range(0, len(ids), AT_ONCE):
        some = {
            queue_id
            for queue_id, (leased_by, _) in _leases_of(connection, ids[at : at + AT_ONCE]).items()
            if leased_by == by
        }
        if some:
            marks, values = padded(list(some))
            connection.execute(
                f"UPDATE queue SET leased_until = ? WHERE id IN ({marks})", (until, *values)
            )
        own |= some
    return set(ids) - own


def _leases_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Who leases each of these, and its message's id; those that nobody does are left out."""
    found: dict[int, tuple[str, int]] = {}
    for at in range(0, len(ids), AT_ONCE):
        marks, values = padded(ids[at : at + AT_ONCE])
        (text,) = connection.execute(
            f"SELECT {packed_rows('id', 'leased_by', 'message_id')} FROM queue"
            f" WHERE id IN ({marks}) AND state = 'leased'",
            values,
        ).fetchone()
        found |= {queue_id: (by, message_id) for queue_id, by, message_id in unpack_rows(text)}
    return found


_SETTLE = """
    UPDATE queue SET state = settled.column2, due_at = coalesce(settled.column3, due_at),
        leased_by = NULL, leased_until = NULL, attempts = attempts + settled.column4,
        last_at = coalesce(settled.column5, last_at),
        last_host = coalesce(settled.column6, last_host),
        last_reply = coalesce(settled.column7, last_reply),
        noticed_at = coalesce(settled.column8, noticed_at)
    FROM (VALUES {rows}) AS settled WHERE queue.id = settled.column1
"""


def settle_all(
    connection: sqlite3.Connection, settlements: list[Settlement]
) -> tuple[list[set[int]], SettledNote]:
    leases = _leases_of(connection, [each.queue_id for one in settlements for each in one.settled])
    lost: list[set[int]] = []
    done: dict[int, int] = {}
    kept: list[object] = []
    events: list[Event] = []
    reports: list[tuple[Envelope, Message]] = []
    for settlement in settlements:
        not_ours = set()
        for each in settlement.settled:
            by, message_id = leases.get(each.queue_id, ("", 0))
            if by != settlement.by:
                not_ours.add(each.queue_id)
                continue
            del leases[each.queue_id]
            events += each.events
            if each.action == "done":
                done[each.queue_id] = message_id
            else:
                kept += _kept_values(each, settlement.at)
        lost.append(not_ours)
        if len(not_ours) < len(settlement.settled) or not settlement.settled:
            reports += settlement.reports
    execute_rows(connection, _SETTLE, 8, kept)
    removed = Removed()
    delete_rows(connection, done, removed)
    insert_events(connection, events)
    accepted = accept_mails(connection, reports)[1] if reports else None
    return lost, SettledNote(events, removed, accepted)


def _kept_values(each: Settled, at: float) -> tuple[object, ...]:
    """Of a row that stays, for `_SETTLE`."""
    states = {"retry": "waiting", "hold": "held", "capture": "captured"}
    due_at = each.due_at if each.action == "retry" else None
    ended_at = at if each.reply else None
    return (
        each.queue_id,
        states[each.action],
        due_at,
        int(bool(each.reply)),
        ended_at,
        (each.host or None) if each.reply else None,
        each.reply or None,
        each.noticed_at,
    )


def delete_rows(connection: sqlite3.Connection, rows: dict[int, int], removed: Removed) -> None:
    """Rows (id to message id) leave the queue, and their messages when nothing holds them."""
    ids = list(rows)
    for at in range(0, len(ids), AT_ONCE):
        marks, values = padded(ids[at : at + AT_ONCE])
        connection.execute(f"DELETE FROM queue WHERE id IN ({marks})", values)
    delete_unheld_messages(connection, sorted(set(rows.values())), removed)


_OVER = f"""
    SELECT {packed_rows(*_COLUMNS, "leased_by")} FROM queue WHERE state = 'leased'
        AND (leased_until <= :now OR substr(leased_by, 1, length(:gone)) = :gone)
        AND leased_by <> :own
"""


def recover(
    connection: sqlite3.Connection, now: float, by_prefix: str | None, own: str = ""
) -> tuple[list[Leased], list[Event]]:
    wanted = {"now": now, "gone": by_prefix, "own": own}
    (text,) = connection.execute(_OVER, wanted).fetchone()
    found: list[Leased] = []
    events: list[Event] = []
    for *row, by in unpack_rows(text):
        over = _leased(row)
        found.append(evolve(over, due_at=now, attempts=over.attempts + 1))
        events.append(
            Interrupted(
                at=now, mail_id=over.mail_id, recipient=over.recipient, detail={"process": by}
            )
        )
    ids = [each.queue_id for each in found]
    for at in range(0, len(ids), AT_ONCE):
        marks, values = padded(ids[at : at + AT_ONCE])
        connection.execute(
            "UPDATE queue SET state = 'waiting', due_at = ?, leased_by = NULL,"
            " leased_until = NULL, attempts = attempts + 1, last_at = ?"
            f" WHERE id IN ({marks})",
            (now, now, *values),
        )
    insert_events(connection, events)
    return found, events
