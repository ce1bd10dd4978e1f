"""Mails out of the database, as they are served.

Each row that a statement gives costs two hand-overs of the GIL, which a busy reactor makes long.
So a dozen small mails come as one row, end to end as they are served. Large ones come a row each,
for there the copies that this makes would cost more; so do those that lie in blobs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from mailnode.errors import StoreBroken
from mailnode.model import Blob
from mailnode.store.accept import served_head
from mailnode.store.sqlite import DAMAGED, end_to_end, packed, padded, unpack

READ_AT_ONCE = 512
SMALL_OCTETS = 16 << 10

Wanted = Sequence[tuple[int, int]]
"""(uid, message id) of each copy."""


class StoredMail(NamedTuple):
    """A copy, ready to be served: head, then body. (A tuple, for it is made with the GIL held.)

    Attributes:
        head: Return-Path, Delivered-To and the prefix; nothing where `body` begins with them.
        body: the raw octets, or where they lie.
        size_octets: of both, as the snapshot says.
        dot_lines: lines that begin with a dot; there are none in the head.
    """

    uid: int
    head: bytes
    body: bytes | Blob
    size_octets: int
    dot_lines: int


def read_mails(
    connection: sqlite3.Connection, folder_id: int, wanted: Wanted, octets: int = 0
) -> list[StoredMail]:
    """The copies that are there, in the order asked for; where one is damaged, the first alone.

    Args:
        octets: of all of them, about.
    """
    together = len(wanted) > 1 and octets <= SMALL_OCTETS * len(wanted)
    try:
        return _read(connection, folder_id, wanted, together)
    except (*DAMAGED, StoreBroken):
        if len(wanted) == 1:
            raise
        return _read(connection, folder_id, wanted[:1], False)


def _read(
    connection: sqlite3.Connection, folder_id: int, wanted: Wanted, together: bool
) -> list[StoredMail]:
    found: dict[tuple[int, int], StoredMail] = {}
    for at in range(0, len(wanted), READ_AT_ONCE):
        which, values = _which([uid for uid, _ in wanted[at : at + READ_AT_ONCE]])
        asked = f"d.folder_id = ? AND d.uid {which}", [folder_id, *values]
        mails = _together(connection, *asked) if together else None
        found |= _row_by_row(connection, *asked) if mails is None else mails
    return [found[uid, message_id] for uid, message_id in wanted if (uid, message_id) in found]


def _which(uids: list[int]) -> tuple[str, list[int]]:
    """The condition for a column to be one of these; they mostly follow each other."""
    if uids[-1] - uids[0] == len(uids) - 1 and uids == list(range(uids[0], uids[-1] + 1)):
        return "BETWEEN ? AND ?", [uids[0], uids[-1]]
    marks, values = padded(uids)
    return f"IN ({marks})", values


_JOINED = "FROM delivery AS d JOIN message AS m ON m.id = d.message_id WHERE "
_FACTS = ("d.uid", "d.message_id", "d.recipient", "d.size_octets", "m.sender",
          "m.dot_lines", "m.blob_key")  # fmt: skip
_ROW_BY_ROW = f"SELECT {', '.join(_FACTS)}, m.prefix, m.body {_JOINED}"
# As `served_head` has it; NULL, and so left out, where the body lies in a blob.
_SERVED = (
    "'Return-Path: <' || m.sender || '>' || char(13, 10)"
    " || 'Delivered-To: ' || d.recipient || char(13, 10) || m.prefix || m.body"
)
_LENGTH = (
    f"{len(served_head('', '', b''))} + length(CAST(m.sender AS BLOB))"
    " + length(CAST(d.recipient AS BLOB)) + length(m.prefix) + length(m.body)"
)
_PACKED = [packed(each) for each in ("d.uid", "d.message_id", "m.dot_lines", _LENGTH)]
_TOGETHER = f"SELECT {', '.join(_PACKED)}, {end_to_end(_SERVED)} {_JOINED}"


def _together(
    connection: sqlite3.Connection, where: str, values: Sequence[int]
) -> dict[tuple[int, int], StoredMail] | None:
    """All in one row; None when that doesn't add up: nobody gets another's octets, and one that is
    damaged spoils no other."""
    try:
        *texts, octets = connection.execute(_TOGETHER + where, values).fetchone()
        uids, message_ids, dot_lines, lengths = map(unpack, texts)
    except (*DAMAGED, ValueError):
        return None
    counts = {len(uids), len(message_ids), len(dot_lines), len(lengths)}
    if len(counts) > 1 or sum(lengths) != len(octets or b""):
        return None
    mails, at = {}, 0
    for uid, message_id, dots, length in zip(uids, message_ids, dot_lines, lengths, strict=True):
        whole = octets[at : at + length]
        mails[uid, message_id] = StoredMail(uid, b"", whole, length, dots)
        at += length
    return mails


def _row_by_row(
    connection: sqlite3.Connection, where: str, values: Sequence[int]
) -> dict[tuple[int, int], StoredMail]:
    mails = {}
    for row in connection.execute(_ROW_BY_ROW + where, values):
        uid, message_id, to, size_octets, sender, dot_lines, blob_key, prefix, octets = row
        body = octets if blob_key is None else Blob(blob_key)
        types = map(isinstance, (sender, to, prefix, body), (str, str, bytes, bytes | Blob))
        if not all(types):  # damage makes others of them
            raise StoreBroken(detail=f"message {message_id} is damaged")
        head = served_head(sender, to, prefix)
        mails[uid, message_id] = StoredMail(uid, head, body, size_octets, dot_lines)
    return mails
