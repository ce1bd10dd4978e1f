"""Mails that came, as they came: who sent them to whom, by which client, what was said of them.

For what is done with mail that is here already, beside a running node: no transaction stays open
between two mails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress
from mailnode.machine import is_loopback
from mailnode.model import (
    Blob,
    Client,
    Envelope,
    Judgement,
    Message,
    Recipient,
    Remote,
    new_mail_id,
)
from mailnode.store.journal import detail_of

PAGE_MAILS = 500
LATE_S = 86_400.0  # between the begin of a mail, when its id is made, and its end

# The fields in front of a mail that are the node's own; filters have added the others.
_OWN_FIELDS = frozenset(
    (b"received", b"date", b"message-id", b"from", b"sender", b"dkim-signature", b"x-stray-lines")
)


@frozen
class Arrived:
    """A mail that came by the door.

    Attributes:
        envelope: as far as the journal tells; its recipients here are those of then.
        message: as the filters were given it, without what they had to say.
        fields: all that was put in front of it, what filters added included.
        said: what they said then, in their order.
        kept: accounts that have a copy of it still.
    """

    envelope: Envelope
    message: Message
    fields: bytes
    said: tuple[Judgement, ...]
    kept: frozenset[int]


@frozen
class Opening:
    """How a mail of the store is opened.

    Attributes:
        account_id_of: of who signed in by that name.
        open_blob: gives a reader of a blob, by its key.
    """

    account_id_of: Callable[[str], int]
    open_blob: Callable[[str], Any]


def count_between(connection: sqlite3.Connection, since: float, until: float) -> int:
    """How many mails there are that came within a span of time."""
    (count,) = connection.execute(_COUNT, (_id_at(since), since, until)).fetchone()
    return int(count)


def ids_between(connection: sqlite3.Connection, since: float, until: float) -> Iterator[int]:
    """Their rows' ids, in the order in which they began to come."""
    mail_id = _id_at(since)
    while rows := connection.execute(_PAGE, (mail_id, since, until, PAGE_MAILS)).fetchall():
        for message_id, mail_id in rows:  # noqa: B007 (the next page begins behind the last)
            yield message_id


def read_arrived(
    connection: sqlite3.Connection, message_id: int, opening: Opening
) -> Arrived | None:
    """A mail; None where the journal doesn't tell how it came, or it is gone meanwhile."""
    row = connection.execute(_MESSAGE, (message_id,)).fetchone()
    if row is None:
        return None
    mail_id, sender, subject, size, dot_lines, digest, received_at, blob_key, prefix, body = row
    came = connection.execute(_ACCEPTED, (mail_id,)).fetchone()
    if came is None:
        return None
    client, detail = came[0] or "", detail_of(came[1])
    account = str(detail.get("account") or "")
    deliveries = connection.execute(_DELIVERED, (mail_id,)).fetchall()
    recipients: dict[int, Recipient] = {}
    own: dict[int, tuple[Judgement, ...]] = {}
    for recipient, mailbox, account_id, text in deliveries:
        address = _address(recipient)
        if address is not None and account_id not in recipients:
            recipients[account_id] = Recipient(address, account_id, mailbox or recipient)
            own[account_id] = _judgements(detail_of(text))
    envelope = Envelope(
        mail_id,
        _address(sender),
        tuple(recipients.values()),
        Client(
            client,
            0,
            str(detail.get("helo") or ""),
            str(detail.get("protocol") or ""),
            str(detail.get("tls") or ""),
            account,
            bool(client) and is_loopback(client),
        ),
        received_at=received_at,
        remotes=tuple(_remotes(connection, mail_id)),
        account_id=opening.account_id_of(account) if account else 0,
    )
    lies = body
    if blob_key is not None:
        lies = Blob(blob_key, lambda: opening.open_blob(blob_key))
    message = Message(_own_fields(prefix), lies, size, digest, dot_lines, subject)
    kept = connection.execute(_KEPT, (message_id,)).fetchall()
    return Arrived(
        envelope,
        message,
        prefix,
        _with_copies(_judgements(detail), own),
        frozenset(account_id for (account_id,) in kept),
    )


def _remotes(connection: sqlite3.Connection, mail_id: str) -> Iterator[Remote]:
    for (recipient,) in connection.execute(_QUEUED, (mail_id,)).fetchall():
        address = _address(recipient)
        if address is not None:
            yield Remote(address)


def _address(text: str | None) -> Address | None:
    try:
        return parse_address(text) if text else None
    except BadAddress:
        return None


def _own_fields(prefix: bytes) -> bytes:
    kept, is_own = list[bytes](), False
    for line in prefix.splitlines(keepends=True):
        if line[:1] not in (b" ", b"\t"):
            is_own = line.partition(b":")[0].strip().lower() in _OWN_FIELDS
        if is_own:
            kept.append(line)
    return b"".join(kept)


def _judgements(detail: Mapping[str, Any]) -> tuple[Judgement, ...]:
    """What `accept` wrote of them."""
    judged = detail.get("judged")
    return tuple(
        Judgement(
            str(each.get("by")),
            bool(each.get("unwanted")),
            tuple(map(str, each.get("reasons") or ())),
            {str(name): str(said) for name, said in (each.get("facts") or {}).items()},
            wanted=bool(each.get("wanted")),
        )
        for each in (judged if isinstance(judged, list) else ())
        if isinstance(each, dict)
    )


def _with_copies(
    of_all: Sequence[Judgement], own: Mapping[int, Sequence[Judgement]]
) -> tuple[Judgement, ...]:
    found = {each.by: each for each in of_all}
    for account_id, judgements in own.items():
        for each in judgements:
            before = found.get(each.by, Judgement(each.by))
            found[each.by] = evolve(before, of_copies={**before.of_copies, account_id: each})
    return tuple(found.values())


def _id_at(since: float) -> str:
    """No mail that ended then, or later, has a smaller id."""
    return new_mail_id(max(0.0, since - LATE_S))[:10]


_SPAN = "FROM message WHERE mail_id > ? AND received_at >= ? AND received_at < ?"
_COUNT = f"SELECT count(*) {_SPAN}"
_PAGE = f"SELECT id, mail_id {_SPAN} ORDER BY mail_id LIMIT ?"
_MESSAGE = """
    SELECT mail_id, sender, subject, size_octets, dot_lines, digest, received_at, blob_key, prefix,
        body
    FROM message WHERE id = ?
"""
_ACCEPTED = """
    SELECT client, detail FROM journal WHERE mail_id = ? AND event = 'accepted' ORDER BY id LIMIT 1
"""
_DELIVERED = """
    SELECT j.recipient, j.mailbox, f.account_id, j.detail
    FROM journal AS j JOIN folder AS f ON f.id = j.folder_id
    WHERE j.mail_id = ? AND j.event = 'delivered' ORDER BY j.id
"""
_QUEUED = "SELECT recipient FROM journal WHERE mail_id = ? AND event = 'queued' ORDER BY id"
_KEPT = """
    SELECT DISTINCT f.account_id FROM delivery AS d JOIN folder AS f ON f.id = d.folder_id
    WHERE d.message_id = ?
"""
