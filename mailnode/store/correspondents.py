"""Whom an account has written to, and who has written to it, out of its newest mails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from attrs import frozen
from twisted.internet.defer import Deferred

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress
from mailnode.model import DRAFTS, JUNK, SENT, TRASH
from mailnode.reading.fields import addresses_of, read_fields
from mailnode.store.database import Database
from mailnode.wire import header_of

NEWEST = 400  # mails that are looked at, of a folder
MOST_FOLDERS = 10
HEAD_OCTETS = 6 << 10
MOST_PEOPLE = 1_000
_UNASKED = frozenset((DRAFTS, JUNK, TRASH))


@frozen
class Correspondent:
    """Somebody that mail went to or came from.

    Attributes:
        name: as the newest mail that had one says it, "" for none.
        times: mails of them; those to them count four times.
    """

    address: str
    name: str
    times: int


Heads = list[tuple[str, str, bytes]]
"""(folder's name, reverse-path, beginning of the mail, b"" where it lies in a blob)."""


def read_heads(database: Database, account_id: int) -> Deferred[Heads]:
    """What `correspondents_of` reads, the newest of each folder first.

    Errors:
        StoreBusy, StoreBroken.
    """

    def read(connection: sqlite3.Connection) -> Heads:
        found: Heads = []
        folders = connection.execute(_FOLDERS, (account_id,)).fetchall()
        for folder_id, name in [each for each in folders if each[1] not in _UNASKED][:MOST_FOLDERS]:
            for sender, head in connection.execute(_HEADS, (HEAD_OCTETS, folder_id, NEWEST)):
                found.append((name, sender, head or b""))
        return found

    return database.read(read)


def correspondents_of(heads: Iterable[tuple[str, str, bytes]]) -> list[Correspondent]:
    """Each once, those with the most mails first; belongs into a thread."""
    names: dict[str, str] = {}
    spelt: dict[str, str] = {}
    times: dict[str, int] = {}
    for folder, sender, head in heads:
        fields = read_fields(header_of(head))
        if folder == SENT:
            people = addresses_of([*fields.get("to", ()), *fields.get("cc", ())])
        else:
            people = addresses_of(fields.get("from", [])[:1]) or [("", sender)]
        for name, address in people:
            if not _is_one(address):
                continue
            key = address.lower()
            spelt.setdefault(key, address)
            times[key] = times.get(key, 0) + (4 if folder == SENT else 1)
            if name and name.lower() != key:
                names.setdefault(key, name)
    found = sorted(times, key=lambda key: -times[key])[:MOST_PEOPLE]
    return [Correspondent(spelt[key], names.get(key, ""), times[key]) for key in found]


def has_written(
    connection: sqlite3.Connection, account_id: int, mailbox: str, address: Address
) -> bool:
    """Whether an account has written to somebody, by the journal and by what lies in its Sent.

    Not where an alias led there, nor where the mail was captured.

    Args:
        mailbox: the account's address.
    """
    spelt = str(address)
    row = connection.execute(_SENT_TO, (spelt, spelt.lower(), NEWEST, mailbox)).fetchone()
    if row is not None:
        return True
    sent = connection.execute(
        _SENT_HEADS, (HEAD_OCTETS, account_id, SENT, NEWEST, spelt.lower())
    ).fetchall()
    return any(address.key in _keys_of(head) for (head,) in sent)


def _keys_of(head: bytes) -> Iterator[str]:
    """Whom a mail is addressed to."""
    fields = read_fields(header_of(head))
    for _name, address in addresses_of([*fields.get("to", ()), *fields.get("cc", ())]):
        try:
            yield parse_address(address).key
        except BadAddress:
            continue


def _is_one(address: str) -> bool:
    local, at, domain = address.rpartition("@")
    return bool(local and at and domain) and len(address) <= 320 and " " not in address


_FOLDERS = "SELECT id, name FROM folder WHERE account_id = ? ORDER BY name <> 'Sent', id"
_HEADS = """
    SELECT m.sender, substr(m.body, 1, ?) FROM delivery AS d JOIN message AS m
    ON m.id = d.message_id WHERE d.folder_id = ? ORDER BY d.uid DESC LIMIT ?
"""
_SENT_TO = """
    SELECT 1 FROM (
        SELECT mail_id, detail FROM journal
        WHERE recipient IN (?, ?) AND event IN ('queued', 'delivered') ORDER BY id DESC LIMIT ?
    ) AS q
    WHERE json_extract(q.detail, '$.captured') IS NULL AND json_extract(q.detail, '$.alias') IS NULL
        AND EXISTS (
            SELECT 1 FROM journal AS a WHERE a.mail_id = q.mail_id AND a.event = 'accepted'
                AND json_extract(a.detail, '$.account') = ?
        )
    LIMIT 1
"""
# Of a few hundred heads SQLite finds those that may have it; only these are read as fields.
_SENT_HEADS = """
    SELECT head FROM (
        SELECT substr(m.body, 1, ?) AS head
        FROM folder AS f JOIN delivery AS d ON d.folder_id = f.id
        JOIN message AS m ON m.id = d.message_id
        WHERE f.account_id = ? AND f.name = ? ORDER BY d.uid DESC LIMIT ?
    ) AS newest
    WHERE instr(lower(CAST(head AS TEXT)), ?) > 0
"""
