"""Mails out of the database, as they are served.

Each row that a statement gives costs two hand-overs of the GIL, which a busy reactor makes long,
and each mail that Python looks at some of its time. So mails that follow each other come as one
row, end to end as they are sent. What lies in a blob comes alone.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, repeat
from typing import NamedTuple

from attrs import define

from mailnode.errors import StoreBroken
from mailnode.model import Blob
from mailnode.store.accept import served_head
from mailnode.store.sqlite import DAMAGED, end_to_end, packed, padded, unpack

READ_AT_ONCE = 512

Wanted = Sequence[tuple[int, int]]
"""(uid, message id) of each copy."""


class StoredMail(NamedTuple):
    """A copy, ready to be served: head, then body. (A tuple, for it is made with the GIL held.)

    Attributes:
        head: Return-Path, Delivered-To and the prefix.
        body: the raw octets, or where they lie.
        size_octets: of both, as the snapshot says.
        dot_lines: lines that begin with a dot; there are none in the head.
    """

    uid: int
    head: bytes
    body: bytes | Blob
    size_octets: int
    dot_lines: int


class Frame(NamedTuple):
    """What stands around each mail where it is sent: two texts with the size in octets between
    them, and the end."""

    before: str
    after_size: str
    end: str


@define(eq=False)
class Run:
    """Mails that follow each other, end to end, each in its frame: as they are sent.

    Attributes:
        octets: of all of them; the last one's end is left out.
        bounds: where each one's frame begins in it, and where the last mail ends.
        leads: how much of its frame stands before each.
        dot_lines: of each, as `StoredMail` has them.
    """

    octets: memoryview
    bounds: list[int]
    leads: list[int]
    dot_lines: list[int]
    end: bytes

    def __len__(self) -> int:
        return len(self.leads)

    def __getitem__(self, at: int) -> tuple[bytes, bytes, int]:
        """Head, body and lines that begin with a dot, of one."""
        start, stop = self.bounds[at] + self.leads[at], self.bounds[at + 1]
        if at + 1 < len(self):
            stop -= len(self.end)
        return b"", bytes(self.octets[start:stop]), self.dot_lines[at]

    def framed(self, start: int, stop: int, skip: int = 0) -> tuple[memoryview | bytes, ...]:
        """Those mails as they are sent, but for so many octets that were."""
        begin, end = self.bounds[start] + skip, self.bounds[stop]
        if stop < len(self):
            return (self.octets[begin:end],)
        return self.octets[begin:end], self.end[max(0, begin - end) :]

    def fitting(self, start: int, octets: int) -> int:
        """Where the mails from `start` on end that fit so many octets; one mail at least."""
        return max(start + 1, bisect_right(self.bounds, self.bounds[start] + octets) - 1)

    def begun(self, start: int, octets: int) -> int:
        """Where the mails end that have begun once so many octets from `start` on are sent."""
        return min(len(self), bisect_left(self.bounds, self.bounds[start] + octets))


def read_run(
    connection: sqlite3.Connection,
    folder_id: int,
    wanted: Wanted,
    sizes: Sequence[int],
    frame: Frame,
) -> Run | None:
    """These copies, all of them; None when that doesn't add up: nobody gets another's octets, and
    one that is damaged spoils no other.

    Args:
        sizes: octets of each, as they are served.
    """
    which, values = _which([uid for uid, _ in wanted])
    try:
        *texts, octets = connection.execute(_RUN + which, (*frame, folder_id, *values)).fetchone()
        uids, message_ids, dot_lines = map(unpack, texts)
    except (*DAMAGED, ValueError):
        return None
    if list(zip(uids, message_ids, strict=False)) != wanted or len(dot_lines) != len(wanted):
        return None
    return run_of(octets or b"", sizes, dot_lines, frame)


def run_of(octets: bytes, sizes: Sequence[int], dot_lines: list[int], frame: Frame) -> Run | None:
    """Framed mails of these sizes; None when they don't lie there, each ending in a whole line."""
    before, after_size, end = (text.encode() for text in frame)
    leads = [b"%b%d%b" % (before, size, after_size) for size in sizes]
    bounds = [
        0,
        *accumulate(len(lead) + size + len(end) for lead, size in zip(leads, sizes, strict=True)),
    ]
    bounds[-1] -= len(end)
    if bounds[-1] != len(octets) or not all(map(octets.startswith, leads, bounds)):
        return None
    line_and_end = b"\r\n" + end
    ends = [bound - len(line_and_end) for bound in bounds[1:-1]]
    if not all(map(octets.startswith, repeat(line_and_end), ends)) or octets[-2:] != b"\r\n":
        return None
    return Run(memoryview(octets), bounds, [len(lead) for lead in leads], dot_lines, end)


def read_mails(connection: sqlite3.Connection, folder_id: int, wanted: Wanted) -> list[StoredMail]:
    """The copies that are there, in the order asked for; where one is damaged, the first alone."""
    try:
        return _read(connection, folder_id, wanted)
    except (*DAMAGED, StoreBroken):
        if len(wanted) == 1:
            raise
        return _read(connection, folder_id, wanted[:1])


def _read(connection: sqlite3.Connection, folder_id: int, wanted: Wanted) -> list[StoredMail]:
    found: dict[tuple[int, int], StoredMail] = {}
    for at in range(0, len(wanted), READ_AT_ONCE):
        which, values = _which([uid for uid, _ in wanted[at : at + READ_AT_ONCE]])
        found |= _row_by_row(connection, which, [folder_id, *values])
    return [found[uid, message_id] for uid, message_id in wanted if (uid, message_id) in found]


def _which(uids: list[int]) -> tuple[str, list[int]]:
    """The condition for a column to be one of these; they mostly follow each other."""
    if uids[-1] - uids[0] == len(uids) - 1 and uids == list(range(uids[0], uids[-1] + 1)):
        return "BETWEEN ? AND ?", [uids[0], uids[-1]]
    marks, values = padded(uids)
    return f"IN ({marks})", values


_JOINED = (
    "FROM delivery AS d JOIN message AS m ON m.id = d.message_id WHERE d.folder_id = ? AND d.uid "
)
_FACTS = ("d.uid", "d.message_id", "d.recipient", "d.size_octets", "m.sender",
          "m.dot_lines", "m.blob_key")  # fmt: skip
_ROW_BY_ROW = f"SELECT {', '.join(_FACTS)}, m.prefix, m.body {_JOINED}"
# As `served_head` has it; NULL, and so left out, where the body lies in a blob.
_SERVED = (
    "? || d.size_octets || ? || CASE d.recipient WHEN '' THEN '' ELSE 'Return-Path: <' || m.sender"
    " || '>' || char(13, 10) || 'Delivered-To: ' || d.recipient || char(13, 10) END"
    " || m.prefix || m.body"
)
_PACKED = ", ".join(packed(each) for each in ("d.uid", "d.message_id", "m.dot_lines"))
_RUN = f"SELECT {_PACKED}, {end_to_end(_SERVED, '?')} {_JOINED}"


def _row_by_row(
    connection: sqlite3.Connection, which: str, values: Sequence[int]
) -> dict[tuple[int, int], StoredMail]:
    mails = {}
    for row in connection.execute(_ROW_BY_ROW + which, values):
        uid, message_id, to, size_octets, sender, dot_lines, blob_key, prefix, octets = row
        body = octets if blob_key is None else Blob(blob_key)
        types = map(isinstance, (sender, to, prefix, body), (str, str, bytes, bytes | Blob))
        if not all(types):  # damage makes others of them
            raise StoreBroken(detail=f"message {message_id} is damaged")
        head = served_head(sender, to, prefix)
        mails[uid, message_id] = StoredMail(uid, head, body, size_octets, dot_lines)
    return mails
