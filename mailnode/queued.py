"""Rows of the queue, as the store gives them out and takes them back."""

from __future__ import annotations

import math
from collections.abc import Callable

from attrs import define, field, frozen

from mailnode.events import Event
from mailnode.model import Blob

Key = tuple[str, int]
"""A destination: a domain, and the outside address by whose provider mail leaves, 0 for none."""

NO_TURNS = (-1, -1, -1)
"""Which account had the last turn at a destination, of each priority: none."""


@frozen
class Waiting:
    """What waits for one destination.

    Attributes:
        domain: of the recipients.
        send_as: the outside address by whose provider they leave, 0 for none.
        due_at: of the earliest, UTC epoch seconds.
    """

    domain: str
    send_as: int
    count: int
    due_at: float


@frozen
class Leased:
    """One recipient of one mail, ours to attempt until the lease ends.

    Attributes:
        sender: the reverse-path that it leaves with, "" for `<>`.
        domain: of the recipient, lower-case A-labels, or an address literal.
        alias: the address here that led to it, or None.
        account_id: who submitted it, 0 for nobody of ours.
        send_as: id of the outside address by whose provider it leaves, 0 for none.
        attempts: that have ended.
        queued_at, due_at: UTC epoch seconds.
        noticed_at: when its sender was told of the delay, or None.
        last_reply: what the last attempt came to, or None.
        notify, orcpt, ret, envid: as RFC 3461 has them, "" when not said.
        bounce: why an administrator wants it bounced without another attempt, or None.
    """

    queue_id: int
    message_id: int
    mail_id: str
    sender: str
    recipient: str
    domain: str
    alias: str | None
    account_id: int
    send_as: int
    priority: int
    attempts: int
    queued_at: float
    noticed_at: float | None
    last_reply: str | None
    notify: str
    orcpt: str
    ret: str
    envid: str
    smtputf8: bool
    due_at: float
    bounce: str | None = None


@frozen
class Settled:
    """What an attempt came to for one recipient.

    Attributes:
        action: "done" (it is out of the queue), "retry" at `due_at`, "hold" until an
            administrator releases it, or "capture".
        host: whom it was made to.
        reply: what that said: code, enhanced code, words. Without one it was no attempt.
        noticed_at: when its sender was told of the delay; None when that did not happen now.
        events: its journal rows.
    """

    queue_id: int
    action: str
    due_at: float = 0.0
    host: str = ""
    reply: str = ""
    noticed_at: float | None = None
    events: tuple[Event, ...] = ()


@frozen
class QueuedMail:
    """A mail that rows of the queue name: prefix, then body.

    Attributes:
        sender: the reverse-path that it came with, "" for `<>`.
        body: the raw octets, or where they lie.
        size_octets, digest: of the raw octets.
        dot_lines: lines in them that begin with a dot.
        smtputf8: whether it came with SMTPUTF8.
    """

    mail_id: str
    sender: str
    prefix: bytes
    body: bytes | Blob
    size_octets: int
    digest: bytes
    dot_lines: int
    received_at: float
    smtputf8: bool


@frozen
class Begun:
    """Rows of one mail that were leased in the commit that made them, and the mail itself.

    Attributes:
        until: when the lease ends, UTC epoch seconds.
    """

    rows: tuple[Leased, ...]
    mail: QueuedMail
    until: float

    @property
    def key(self) -> Key:
        return self.rows[0].domain, self.rows[0].send_as

    @property
    def octets(self) -> int:
        return octets_in_memory(self.mail.prefix, self.mail.body, len(self.rows))


def octets_in_memory(prefix: bytes, body: bytes | Blob, rows: int = 1) -> int:
    """What a mail and its recipients hold of memory while they are in hand."""
    return ROW_OCTETS * rows + len(prefix) + (len(body) if isinstance(body, bytes) else 0)


ROW_OCTETS = 4096  # of a recipient, with the longest of addresses and what the mail itself adds


@define(eq=False)
class Claims:
    """Which rows the relay takes as they are made, where nothing waits in front of them.

    The relay says so on the reactor thread; the writer looks, and may be a batch late.

    Attributes:
        by: who leases.
        until: when a lease of now ends.
        octets: what may be in hand so, in memory; None is taken below 0.
        rows: how many of each destination.
    """

    by: str = ""
    until: Callable[[], float] = lambda: math.inf
    octets: int = 0
    rows: dict[Key, int] = field(factory=dict)
