"""The accept batch: many mails filed into folders, and queued, by a handful of statements.

It runs in the writer thread inside the batch's transaction; `Messages.file_message` hands it over.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence, Set

from attrs import define, frozen

from mailnode.errors import MailError
from mailnode.events import Accepted, Delivered, Event
from mailnode.model import INBOX, Blob, Envelope, Filed, Judgement, Message
from mailnode.queued import Begun, Claims, Key
from mailnode.store.answers import AnsweredBefore, keep_answers
from mailnode.store.enqueue import Leaving, enqueue
from mailnode.store.journal import insert_events
from mailnode.store.keeping import KeptMail, keep_copies
from mailnode.store.sqlite import execute_rows, packed, padded, reserve_ids, unpack
from mailnode.store.use import FolderUse

_INSERT_MESSAGES = """
    INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,
        received_at, blob_key, prefix, body)
    VALUES {rows}
"""
_INSERT_DELIVERIES = """
    INSERT INTO delivery (folder_id, uid, message_id, recipient, flags, modseq, size_octets,
        received_at)
    VALUES {rows}
"""
_INSERT_FOLDERS = "INSERT INTO folder (account_id, name, uidvalidity) VALUES {rows}"


@frozen
class AcceptNote:
    """What the reactor is told of a committed batch.

    Attributes:
        queued: (domain, send_as) of the queue's new rows that wait.
        begun: its new rows that the relay has already.
    """

    events: list[Event]
    uses: list[FolderUse]
    blob_keys: list[str]
    queued: Set[Key] = frozenset()
    begun: Sequence[Begun] = ()


@define
class Filling:
    """A folder while a batch fills it."""

    account_id: int
    folder_id: int
    uid_next: int
    modseq: int
    octets: int
    mails: int
    new_octets: int = 0
    new_mails: int = 0


def served_head(sender: str, recipient: str, prefix: bytes) -> bytes:
    """What stands before the raw octets of a copy when it is read, and counts in its size.

    Args:
        sender: reverse-path without brackets, "" for `<>`.
        recipient: the address that was asked for; "" for mail that came to rest here without being
            delivered: its own fields say how it came, and nothing is put in front.
    """
    if not recipient:
        return prefix
    return b"Return-Path: <%b>\r\nDelivered-To: %b\r\n%b" % (
        sender.encode(),
        recipient.encode(),
        prefix,
    )


def accept_mails(
    connection: sqlite3.Connection,
    mails: list[tuple[Envelope, Message]],
    claims: Claims | None = None,
) -> tuple[list[tuple[Filed, ...] | MailError], AcceptNote]:
    """File every mail into a folder of each recipient; missing ones are made.

    Its recipients elsewhere get rows in the queue, leased where the relay claims them. One whose
    key was answered already is filed nowhere (AnsweredBefore), and the others of its batch are.
    """
    now = time.time()
    answered = [envelope for envelope, _ in mails if envelope.once is not None]
    late = keep_answers(connection, answered, now) if answered else ()
    message_id = reserve_ids(connection, "message", len(mails))
    folders = open_folders(
        connection,
        {(to.account_id, to.folder) for envelope, _ in mails for to in envelope.recipients},
        now,
    )
    results: list[tuple[Filed, ...] | MailError] = []
    events: list[Event] = []
    messages: list[object] = []
    deliveries: list[object] = []
    blob_keys: list[str] = []
    leaving: list[Leaving] = []
    keeping: list[KeptMail] = []
    for envelope, message in mails:
        mail_id, received_at = envelope.mail_id, envelope.received_at
        if mail_id in late:
            results.append(AnsweredBefore())
            continue
        sender = "" if envelope.sender is None else str(envelope.sender)
        body = message.body
        blob_key = body.key if isinstance(body, Blob) else None
        if blob_key is not None:
            blob_keys.append(blob_key)
        messages += (
            message_id,
            mail_id,
            sender,
            message.subject,
            message.size_octets,
            message.dot_lines,
            message.digest,
            received_at,
            blob_key,
            message.prefix,
            body if blob_key is None else None,
        )
        detail = _accepted_detail(envelope, message)
        host = envelope.client.host
        events.append(Accepted(at=now, mail_id=mail_id, sender=sender, client=host, detail=detail))
        copies = []
        own_octets = _head_octets(sender, message.prefix) + message.size_octets
        for to in envelope.recipients:
            filling = folders[to.account_id, to.folder]
            folder_id, uid = filling.folder_id, filling.uid_next + filling.new_mails
            recipient = str(to.address)
            size = own_octets + len(recipient.encode())
            filling.new_mails += 1
            filling.new_octets += size
            deliveries += (
                folder_id,
                uid,
                message_id,
                recipient,
                to.flags,
                filling.modseq + 1,
                size,
                received_at,
            )
            copies.append(Filed(recipient, to.mailbox, folder_id, uid))
            detail = {} if recipient == to.mailbox else {"mailbox": to.mailbox}
            if to.folder != INBOX:
                detail["folder"] = to.folder
            if to.judgements:
                detail["judged"] = list(map(_judged, to.judgements))
            events.append(
                Delivered(
                    at=now,
                    mail_id=mail_id,
                    recipient=recipient,
                    folder_id=folder_id,
                    uid=uid,
                    detail=detail,
                )
            )
        if envelope.remotes:
            leaving.append((message_id, envelope, message))
        if envelope.kept is not None:
            keeping.append(KeptMail(message_id, envelope.kept, envelope, message))
        results.append(tuple(copies))
        message_id += 1
    execute_rows(connection, _INSERT_MESSAGES, 11, messages)
    uses = _count(connection, folders.values())
    execute_rows(connection, _INSERT_DELIVERIES, 8, deliveries)
    if keeping:
        uses += keep_copies(connection, keeping, events, now)
    queued, begun = set[Key](), list[Begun]()
    if leaving:
        queued, begun = enqueue(connection, leaving, events, now, claims or Claims())
    insert_events(connection, events)
    return results, AcceptNote(events, uses, blob_keys, queued, begun)


def _head_octets(sender: str, prefix: bytes) -> int:
    """Of `served_head`, without the recipient's own."""
    return len(served_head(sender, "?", prefix)) - 1


def _accepted_detail(envelope: Envelope, message: Message) -> dict[str, object]:
    client = envelope.client
    detail: dict[str, object] = {"size_octets": message.size_octets}
    if client.protocol:
        detail["protocol"] = client.protocol
    if client.helo:
        detail["helo"] = client.helo
    if client.tls:
        detail["tls"] = client.tls
    if client.account:
        detail["account"] = client.account
    if message.mended_lf:
        detail["mended_lf"] = True
    if judged := [_judged(each) for each in message.judgements if each.says_something]:
        detail["judged"] = judged
    if message.dialog:
        detail["dialog"] = message.dialog
    return detail


def _judged(judgement: Judgement) -> dict[str, object]:
    told: dict[str, object] = {"by": judgement.by}
    if judgement.unwanted:
        told["unwanted"] = True
    if judgement.wanted:
        told["wanted"] = True
    if judgement.reasons:
        told["reasons"] = list(judgement.reasons)
    if judgement.facts:
        told["facts"] = dict(judgement.facts)
    return told


Place = tuple[int, str]
"""An account and the name of one of its folders."""


def open_folders(
    connection: sqlite3.Connection, places: Collection[Place], now: float
) -> dict[Place, Filling]:
    """Each folder as it is now; a missing one is made."""
    found = _find_folders(connection, places)
    missing = [place for place in places if place not in found]
    if missing:
        values: list[object] = []
        for account_id, name in sorted(missing):
            values += (account_id, name, int(now))
        execute_rows(connection, _INSERT_FOLDERS, 3, values)
        found |= _find_folders(connection, missing)
    return found


_FOLDERS_AT_ONCE = 512


def _find_folders(
    connection: sqlite3.Connection, places: Collection[Place]
) -> dict[Place, Filling]:
    names = ("account_id", "id", "uid_next", "modseq", "octets", "mails")
    columns = ", ".join(packed(name) for name in names)
    found: dict[Place, Filling] = {}
    for folder in {name for _account_id, name in places}:
        account_ids = [account_id for account_id, name in places if name == folder]
        for at in range(0, len(account_ids), _FOLDERS_AT_ONCE):
            marks, values = padded(account_ids[at : at + _FOLDERS_AT_ONCE])
            row = connection.execute(
                f"SELECT {columns} FROM folder WHERE account_id IN ({marks}) AND name = ?",
                (*values, folder),
            ).fetchone()
            for numbers in zip(*map(unpack, row), strict=True):
                found[numbers[0], folder] = Filling(*numbers)
    return found


_COUNT = """
    UPDATE folder SET uid_next = uid_next + filed.column2, modseq = modseq + 1,
        mails = mails + filed.column2, octets = octets + filed.column3
    FROM (VALUES {rows}) AS filed WHERE folder.id = filed.column1
"""


def _count(connection: sqlite3.Connection, folders: Iterable[Filling]) -> list[FolderUse]:
    """Count what the batch put into each folder; that gives out the uids, too."""
    values: list[object] = []
    uses = []
    for each in folders:
        values += (each.folder_id, each.new_mails, each.new_octets)
        octets, mails = each.octets + each.new_octets, each.mails + each.new_mails
        uses.append(FolderUse(each.folder_id, each.account_id, octets, mails))
    execute_rows(connection, _COUNT, 3, values)
    return uses
