"""Rows of the queue, as the store gives them out and takes them back."""

from __future__ import annotations

from attrs import frozen

from mailnode.model import Blob, Event


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


@frozen(kw_only=True)
class Leased:
    """One recipient of one mail, ours to attempt until the lease ends.

    Attributes:
        sender: the reverse-path that it leaves with, "" for `<>`.
        alias: the address here that led to it, "" for none.
        attempts: that have ended.
        noticed_at: when the sender was told of the delay; None: not yet.
        last_reply: what the last attempt was answered, "" before the first.
        notify, orcpt, ret, envid: as RFC 3461 has them, "" when not said.
        bounce: why an administrator has it returned, "" when nobody has.
    """

    queue_id: int
    message_id: int
    mail_id: str
    sender: str
    recipient: str
    domain: str
    alias: str
    account_id: int
    send_as: int
    priority: int
    attempts: int
    due_at: float
    queued_at: float
    noticed_at: float | None
    last_reply: str
    notify: str
    orcpt: str
    ret: str
    envid: str
    smtputf8: bool
    bounce: str = ""


@frozen(kw_only=True)
class Settled:
    """What became of a leased row.

    Attributes:
        action: "done" (the row goes), "retry" (it waits until `due_at`), "hold" or "capture".
        host: whom the attempt was made to; "" when there was none.
        reply: what was answered; "" keeps the one before.
        attempted: whether this counts as an attempt.
        noticed_at: when its sender was told of the delay, None when not now.
        events: become rows of the journal in the same commit.
    """

    queue_id: int
    action: str
    due_at: float = 0.0
    host: str = ""
    reply: str = ""
    attempted: bool = True
    noticed_at: float | None = None
    events: tuple[Event, ...] = ()


@frozen(kw_only=True)
class QueuedMail:
    """A mail that rows of the queue name.

    Attributes:
        prefix: header fields that we put in front.
        body: the raw octets, or where they lie.
        size_octets: of the raw octets.
        dot_lines: lines of them that begin with a dot.
    """

    message_id: int
    prefix: bytes
    body: bytes | Blob
    size_octets: int
    dot_lines: int
    received_at: float
