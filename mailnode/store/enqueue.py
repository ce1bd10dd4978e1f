"""The queue's rows of an accept batch: one for each recipient elsewhere, by one statement.

A row waits for its turn, or it is leased from the start, where the relay claims it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter

from attrs import define, field

from mailnode.events import Event, Queued
from mailnode.model import Blob, Envelope, Message, Remote
from mailnode.queued import ROW_OCTETS, Begun, Claims, Key, Leased, QueuedMail, octets_in_memory
from mailnode.store.sqlite import execute_rows, reserve_ids

LAST_PRIORITY = 2

Leaving = tuple[int, Envelope, Message]
"""A message's id and the message, with recipients elsewhere."""

_QUEUE_COLUMNS = (
    "id, message_id, mail_id, sender, recipient, domain, alias, account_id, send_as, priority,"
    " state, due_at, notify, orcpt, ret, envid, smtputf8, queued_at, leased_by, leased_until"
)
_INSERT_QUEUE = f"INSERT INTO queue ({_QUEUE_COLUMNS}) VALUES {{rows}}"


def enqueue(
    connection: sqlite3.Connection,
    leaving: list[Leaving],
    events: list[Event],
    now: float,
    claims: Claims,
) -> tuple[set[Key], list[Begun]]:
    """A row of the queue for each recipient elsewhere of (message id, envelope, message).

    Args:
        events: gets a `Queued` for each.

    Returns:
        (domain, send_as) of those that wait, and those that the relay has already.
    """
    queue_id = reserve_ids(connection, "queue", sum([len(each.remotes) for _, each, _ in leaving]))
    rows: list[object] = []
    waiting, begun = set[Key](), list[Begun]()
    taking = _Taking(claims, claims.until())
    for message_id, envelope, message in leaving:
        mail_id, received_at = envelope.mail_id, envelope.received_at
        ours: dict[Key, list[Leased]] = {}
        for to in envelope.remotes:
            row = _new_row(queue_id, message_id, envelope, to)
            key = row.domain, row.send_as
            detail: dict[str, object] = {}
            if row.alias is not None:
                detail["alias"] = row.alias
            if to.sender is not None and row.sender != _reverse_path(envelope):
                detail["reverse_path"] = row.sender
            state, by, until = "waiting", None, None
            if to.captured:
                state = "captured"
                detail["captured"] = True
            elif taking.takes(key, message, another=key in ours):
                state, by, until = "leased", claims.by, taking.until
                ours.setdefault(key, []).append(row)
            else:
                waiting.add(key)
            rows += (
                queue_id,
                message_id,
                mail_id,
                row.sender,
                row.recipient,
                row.domain,
                row.alias,
                row.account_id,
                row.send_as,
                row.priority,
                state,
                received_at,
                row.notify,
                row.orcpt,
                row.ret,
                row.envid,
                row.smtputf8,
                received_at,
                by,
                until,
            )
            events.append(Queued(at=now, mail_id=mail_id, recipient=row.recipient, detail=detail))
            queue_id += 1
        if ours:
            mail = _queued_mail(envelope, message)
            begun += [Begun(tuple(some), mail, taking.until) for some in ours.values()]
    execute_rows(connection, _INSERT_QUEUE, 20, rows)
    return waiting, begun


def _reverse_path(envelope: Envelope) -> str:
    return "" if envelope.sender is None else str(envelope.sender)


def _new_row(queue_id: int, message_id: int, envelope: Envelope, to: Remote) -> Leased:
    """What the queue keeps of a recipient, as whoever leases it gets it."""
    parameters, at = envelope.parameters, envelope.received_at
    return Leased(
        queue_id,
        message_id,
        envelope.mail_id,
        _reverse_path(envelope) if to.sender is None else to.sender,
        str(to.address),
        to.address.domain,
        None if to.alias is None else str(to.alias),
        envelope.account_id,
        to.send_as,
        min(max(0, envelope.priority), LAST_PRIORITY),
        attempts=0,
        queued_at=at,
        noticed_at=None,
        last_reply=None,
        notify=to.notify,
        orcpt=to.orcpt,
        ret=parameters.ret,
        envid=parameters.envid,
        smtputf8=parameters.smtputf8,
        due_at=at,
    )


def _queued_mail(envelope: Envelope, message: Message) -> QueuedMail:
    body = message.body
    return QueuedMail(
        envelope.mail_id,
        _reverse_path(envelope),
        message.prefix,
        Blob(body.key) if isinstance(body, Blob) else body,
        message.size_octets,
        message.digest,
        message.dot_lines,
        envelope.received_at,
        envelope.parameters.smtputf8,
    )


@define
class _Taking:
    """What of a batch the relay gets at once; it changes nothing, for a batch may run again."""

    claims: Claims
    until: float
    octets: int = 0
    rows: Counter[Key] = field(factory=Counter)

    def takes(self, key: Key, message: Message, *, another: bool) -> bool:
        """Whether it is the relay's; `another` recipient of a mail that is holds but itself."""
        octets = ROW_OCTETS if another else octets_in_memory(message.prefix, message.body)
        if self.rows[key] >= self.claims.rows.get(key, 0):
            return False
        if self.octets + octets > self.claims.octets:
            return False
        self.rows[key] += 1
        self.octets += octets
        return True
