"""Lessons out of the journal: a mail that its owner moved into Junk is unwanted, one that he moved
out of it is wanted, unless into Trash.

Each move is a row of the journal, whichever way it was made, in the commit that moved the copy: so
no lesson is lost, whatever is killed behind it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from mailnode.errors import StoreBroken
from mailnode.learning.facts import facts_of
from mailnode.learning.features import MAIL_OCTETS
from mailnode.learning.model import UNWANTED, WANTED
from mailnode.model import DRAFTS, JUNK, PAGE, SENT, TRASH
from mailnode.store.blobs import blob_path
from mailnode.store.journal import detail_of

ROWS_AT_ONCE = 2_000
MOVED, COMMAND = "moved", "command"  # by what a lesson is taught
LESSONS_AT_ONCE = 32  # their mails are in memory, `MAIL_OCTETS` of each


@frozen
class Lying:
    """A mail of the store, as far as learning looks at it.

    Attributes:
        octets: the first of the mail, as it came; None where they lie in the blob.
        facts: what was found when it came.
    """

    octets: bytes | None
    blob_key: str | None
    facts: tuple[str, ...] = ()

    def read(self, data: Path) -> bytes | None:
        """Those octets; None where they are gone. Belongs into a thread."""
        if self.octets is not None or self.blob_key is None:
            return self.octets
        try:
            with blob_path(data, self.blob_key).open("rb") as file:
                return file.read(MAIL_OCTETS)
        except (OSError, StoreBroken):
            return None


@frozen
class Lesson:
    """A mail, and what its owner says of it.

    Attributes:
        account_id: whose copy was moved.
        by: by what it is taught: MOVED, COMMAND, or `model.PAGE`.
    """

    account_id: int
    label: str
    mail: Lying
    by: str = MOVED


@frozen
class Lessons:
    """What a piece of the journal teaches.

    Attributes:
        up_to: the row that it ends with.
        is_last: whether there was nothing behind it.
    """

    lessons: Sequence[Lesson]
    up_to: int
    is_last: bool


def read_lessons(connection: sqlite3.Connection, after: int) -> Lessons:
    """Those of the next rows behind one, the oldest first; of mails that are still there.

    Args:
        after: a row; one that the journal has not reached is of another mail database.
    """
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
    after = after if after <= newest else 0
    (up_to,) = connection.execute(_UP_TO, (after, ROWS_AT_ONCE)).fetchone()
    if up_to is None:
        return Lessons((), after, is_last=True)
    rows = connection.execute(_MOVES, (after, up_to, LESSONS_AT_ONCE)).fetchall()
    if len(rows) == LESSONS_AT_ONCE:
        up_to = rows[-1][0]
    found: list[Lesson] = []
    for _, account_id, moved, octets, blob_key, came in rows:
        detail = detail_of(moved)
        label = label_of(detail)
        if label is not None:
            mail = Lying(octets, blob_key, _facts(came))
            by = PAGE if detail.get("through") == PAGE else MOVED
            found.append(Lesson(account_id, label, mail, by))
    return Lessons(found, up_to, is_last=up_to == newest)


def mails_in_folders(connection: sqlite3.Connection, account_id: int) -> list[tuple[int, str]]:
    """(message's id, label) of an account's mails, the oldest first, by where they lie: those in
    Junk are unwanted, those in the other folders wanted, but for what its owner wrote or threw
    away."""
    return [
        (message_id, UNWANTED if folder == JUNK else WANTED)
        for message_id, folder in connection.execute(_LYING, (account_id, *_NO_LESSONS))
    ]


def lessons_of(
    connection: sqlite3.Connection, account_id: int, mails: Sequence[tuple[int, str]]
) -> list[Lesson]:
    """Those mails, as far as they are still there.

    Args:
        mails: of `mails_in_folders`; `MAIL_OCTETS` of each are in memory then.
    """
    found: list[Lesson] = []
    for message_id, label in mails:
        lying = _lying(connection.execute(_MAIL.format(by="id"), (message_id,)).fetchone())
        if lying is not None:
            found.append(Lesson(account_id, label, lying, COMMAND))
    return found


def find_mail(connection: sqlite3.Connection, mail_id: str) -> Lying | None:
    """The mail of that id; None once it is gone."""
    return _lying(connection.execute(_MAIL.format(by="mail_id"), (mail_id,)).fetchone())


def _lying(row: tuple[bytes | None, str | None, str | None] | None) -> Lying | None:
    if row is None:
        return None
    octets, blob_key, came = row
    return Lying(octets, blob_key, _facts(came))


def label_of(moved: dict[str, object]) -> str | None:
    """What a move says of a mail, by what `model.Moved` has in its detail."""
    before, now = moved.get("from_folder"), moved.get("to_folder")
    if now == JUNK:
        return None if before == JUNK else UNWANTED
    return WANTED if before == JUNK and now != TRASH else None


def _facts(accepted: str | None) -> tuple[str, ...]:
    judged = detail_of(accepted).get("judged")
    return tuple(
        fact
        for each in (judged if isinstance(judged, list) else ())
        for fact in facts_of(
            str(each.get("by")), bool(each.get("unwanted")), each.get("facts") or {}
        )
    )


_NO_LESSONS = (TRASH, DRAFTS, SENT)
_LYING = """
    SELECT d.message_id, f.name FROM folder AS f JOIN delivery AS d ON d.folder_id = f.id
    WHERE f.account_id = ? AND f.name NOT IN (?, ?, ?) ORDER BY d.message_id
"""
_CAME = """
    (SELECT detail FROM journal AS a WHERE a.mail_id = m.mail_id AND a.event = 'accepted'
        ORDER BY a.id LIMIT 1)
"""
_MAIL = (
    f"SELECT substr(m.body, 1, {MAIL_OCTETS}), m.blob_key, {_CAME} FROM message AS m"
    " WHERE m.{by} = ?"
)
_UP_TO = "SELECT max(id) FROM (SELECT id FROM journal WHERE id > ? ORDER BY id LIMIT ?) AS some"
# Most moves have nothing to do with Junk: what is read is little.
_MOVES = f"""
    SELECT j.id, f.account_id, j.detail, substr(m.body, 1, {MAIL_OCTETS}), m.blob_key, {_CAME}
    FROM journal AS j
    JOIN folder AS f ON f.id = j.folder_id
    JOIN message AS m ON m.mail_id = j.mail_id
    WHERE j.id > ? AND j.id <= ? AND j.event = 'moved' AND j.detail LIKE '%"{JUNK}"%'
    ORDER BY j.id LIMIT ?
"""
