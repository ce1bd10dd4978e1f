"""The journal searched by anything that somebody knows of a mail, newest first, a piece at a time.

An address leads to its rows by an index, and a time to where its rows begin, however old they are.
`SCANNED_ROWS` rows, of the address or of all, are looked at in one go: who wants older ones asks on
from there, and nobody waits long for a thread that reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from attrs import frozen

from mailnode.domain_stories import events_of_domains
from mailnode.events import Event
from mailnode.store.journal import read_row, read_trace

SCANNED_ROWS = 50_000
PAGE_MAILS = 50
_AT_ONCE = 500

# Of no mail, and no refusal: a list of mails passes them over.
_NO_MAILS = (
    "pop3-session",
    "signed-in",
    "sign-in-failed",
    "code-awaited",
    "factor-added",
    "factor-removed",
    "recovery-codes-made",
)
OUTCOMES = {
    "refused": ("refused", "refused-more"),
    "accepted": ("accepted",),
    "delivered": ("delivered", "imported"),
    "relayed": ("relayed",),
    "deferred": ("deferred", "interrupted"),
    "bounced": ("bounced",),
}


@frozen
class Sought:
    """What is known of the mails; those are meant that fit all of it.

    Attributes:
        words: stand in an address, a mail's id, a client's address, a subject or an answer.
        address: who sent it, whom it was for, or whose mailbox it lies in.
        sender: the reverse-path, "" for `<>`.
        recipient: that was asked for, or the mailbox.
        client: the address of the other end.
        subject: words of it, of mails that are still here.
        outcome: one of `OUTCOMES`, "" for any.
        since, until: UTC epoch seconds.
        domains: whoever asks looks after them alone, and sees what concerns their accounts; None
            for all.
    """

    words: str = ""
    address: str = ""
    sender: str | None = None
    recipient: str = ""
    client: str = ""
    subject: str = ""
    outcome: str = ""
    since: float | None = None
    until: float | None = None
    domains: tuple[str, ...] | None = None


@frozen
class FoundMail:
    """A mail, or one event that belongs to none, and then `mail_id` is "".

    Attributes:
        row_id: of its newest event that fits.
        subject: "" where it is not here any more.
        events: all that happened to it but POP3 sessions, oldest first.
    """

    row_id: int
    mail_id: str
    subject: str
    events: tuple[Event, ...]


@frozen
class FoundPage:
    """A piece of what fits, newest first.

    Attributes:
        before: where the next piece begins; 0 where nothing older is left to look at.
        reached_at: how far back was looked, UTC epoch seconds; None where all was.
    """

    mails: tuple[FoundMail, ...]
    before: int
    reached_at: float | None


# One of the mail's events says it, not necessarily the one that is looked at.
_OF_MAIL = """
    ({0} OR EXISTS (SELECT 1 FROM journal AS other
        WHERE other.mail_id = journal.mail_id AND {1}))
"""
_OF_DOMAIN = """
    (substr(journal.recipient, -length(?)) = ? OR substr(journal.mailbox, -length(?)) = ?
        OR substr(journal.sender, -length(?)) = ? OR instr(journal.detail, ? || '"') > 0)
"""
_SUBJECT_HAS = """
    EXISTS (SELECT 1 FROM message
        WHERE message.mail_id = journal.mail_id AND instr(lower(subject), lower(?)) > 0)
"""


def search_journal(
    connection: sqlite3.Connection,
    sought: Sought,
    *,
    before: int = 0,
    limit: int = PAGE_MAILS,
    scanned_rows: int = SCANNED_ROWS,
) -> FoundPage:
    """The newest mails that fit.

    Args:
        before: a page's `before`; 0 begins with the newest.
    """
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
    ceiling = newest + 1
    if sought.until is not None:
        ceiling = _first_at(connection, sought.until, ceiling)
    top = min(before, ceiling) if before else ceiling
    floor = 0 if sought.since is None else _first_at(connection, sought.since, newest + 1) - 1
    floor = max(floor, _lowest(connection, _keys(sought), top, scanned_rows) - 1)
    where, values = _condition(sought)
    found: list[FoundMail] = []
    seen: set[str] = set()
    reached = floor + 1  # down to this row all was looked at
    for row_id, mail_id in _candidates(connection, sought, where, values, top, floor):
        if mail_id in seen:
            continue
        if len(found) == limit:
            reached = found[-1].row_id
            break
        if mail_id is not None:
            seen.add(mail_id)
            if _was_shown(connection, where, values, mail_id, top, ceiling):
                continue
        mail = _whole(connection, row_id, mail_id, sought.domains)
        if mail is not None:
            found.append(mail)
    older = connection.execute(
        "SELECT at FROM journal WHERE id < ? ORDER BY id DESC LIMIT 1", (reached,)
    ).fetchone()
    is_over = older is None or (sought.since is not None and older[0] < sought.since)
    return FoundPage(tuple(found), 0 if is_over else reached, None if is_over else older[0])


def _keys(sought: Sought) -> list[tuple[str, str]]:
    """Columns that have an index, and what is wanted in them: one of them leads to the mail."""
    if sought.address:
        return [(column, sought.address) for column in ("sender", "recipient", "mailbox")]
    if sought.recipient:
        return [(column, sought.recipient) for column in ("recipient", "mailbox")]
    if sought.sender:  # of the null sender there are too many
        return [("sender", sought.sender)]
    return []


def _lowest(
    connection: sqlite3.Connection, keys: Sequence[tuple[str, str]], top: int, rows: int
) -> int:
    """The lowest id that is looked at: so many of the rows below `top` that the keys lead to."""
    if not keys:
        return top - rows
    lowest = 1
    for column, value in keys:
        row = connection.execute(
            f"SELECT id FROM journal WHERE {column} = ? AND id < ?"
            " ORDER BY id DESC LIMIT 1 OFFSET ?",
            (value, top, rows),
        ).fetchone()
        if row is not None:
            lowest = max(lowest, row[0] + 1)
    return lowest


def _candidates(
    connection: sqlite3.Connection,
    sought: Sought,
    where: str,
    values: Sequence[object],
    top: int,
    floor: int,
) -> Iterator[tuple[int, str | None]]:
    """Row and mail of what fits, newest first, from below `top` to above `floor`."""
    keys = _keys(sought)
    begin, at = f"SELECT id, mail_id FROM journal WHERE {where}", top
    while True:
        if keys:
            ids, lowest = _some_ids(connection, keys, at, floor)
            marks = ", ".join("?" * len(ids))
            query = f"{begin} AND journal.id IN ({marks}) ORDER BY journal.id DESC"
            rows = connection.execute(query, (*values, *ids)).fetchall()
        else:
            query = f"{begin} AND id < ? AND id > ? ORDER BY id DESC LIMIT ?"
            rows = connection.execute(query, (*values, at, floor, _AT_ONCE)).fetchall()
            lowest = rows[-1][0] if len(rows) == _AT_ONCE else 0
        yield from rows
        if not lowest:
            return
        at = lowest


def _some_ids(
    connection: sqlite3.Connection, keys: Sequence[tuple[str, str]], top: int, floor: int
) -> tuple[list[int], int]:
    """Ids that the indexes have, and the lowest one down to which that is all; 0 for the end."""
    found, lowest = set[int](), 0
    for column, value in keys:
        rows = connection.execute(
            f"SELECT id FROM journal WHERE {column} = ? AND id < ? AND id > ?"
            " ORDER BY id DESC LIMIT ?",
            (value, top, floor, _AT_ONCE),
        ).fetchall()
        found.update(row[0] for row in rows)
        if len(rows) == _AT_ONCE:
            lowest = max(lowest, rows[-1][0])
    return [each for each in found if each >= lowest], lowest


def _condition(sought: Sought) -> tuple[str, list[object]]:
    texts, values = list[str](), list[object]()

    def add(text: str, *some: object) -> None:
        texts.append(text)
        values.extend(some)

    def add_of_mail(text: str, *some: object) -> None:
        mine, others = text.replace("{}", "journal"), text.replace("{}", "other")
        add(_OF_MAIL.format(mine, others), *some, *some)

    if keys := _keys(sought):
        led = " OR ".join(f"journal.{column} = ?" for column, _ in keys)
        add(f"({led})", *(value for _, value in keys))
    if sought.words:
        columns = ("sender", "recipient", "mailbox", "client", "mail_id", "detail")
        parts = [f"instr(lower(journal.{each}), lower(?)) > 0" for each in columns]
        add(f"({' OR '.join([*parts, _SUBJECT_HAS])})", *[sought.words] * (len(columns) + 1))
    if sought.sender is not None:
        add_of_mail("{}.sender = ?", sought.sender)
    if sought.recipient:
        add_of_mail("({}.recipient = ? OR {}.mailbox = ?)", sought.recipient, sought.recipient)
    if sought.client:
        add_of_mail("{}.client = ?", sought.client)
    if sought.subject:
        add(_SUBJECT_HAS, sought.subject)
    if sought.outcome:
        names = OUTCOMES[sought.outcome]
        marks = ", ".join("?" * len(names))
        # By one that has no index every row is looked at, so that the row itself says it.
        text = f"{{}}.event IN ({marks})"
        if keys:
            add_of_mail(text, *names)
        else:
            add(text.replace("{}", "journal"), *names)
    if sought.domains is not None:
        # More than they may see: what is found is looked at once more, as a whole.
        said = " OR ".join([_OF_DOMAIN] * len(sought.domains)) or "0"
        add(f"({said})", *(at for each in sought.domains for at in [f"@{each}"] * 7))
    add(f"journal.event NOT IN ({', '.join('?' * len(_NO_MAILS))})", *_NO_MAILS)
    return " AND ".join(texts), values


def _first_at(connection: sqlite3.Connection, at: float, end: int) -> int:
    """The id of the first row that is not older, or `end`: ids ascend with time."""
    low, high = 1, end
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT id, at FROM journal WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if row is not None and row[1] < at:
            low = row[0] + 1
        else:
            high = middle
    return low


def _was_shown(
    connection: sqlite3.Connection,
    where: str,
    values: Sequence[object],
    mail_id: str,
    top: int,
    ceiling: int,
) -> bool:
    """Whether a newer event of it fits as well: it stood on a page before this one."""
    row = connection.execute(
        "SELECT 1 FROM journal WHERE journal.mail_id = ? AND journal.id >= ? AND journal.id < ?"
        f" AND {where} LIMIT 1",
        (mail_id, top, ceiling, *values),
    ).fetchone()
    return row is not None


def _whole(
    connection: sqlite3.Connection,
    row_id: int,
    mail_id: str | None,
    domains: Sequence[str] | None,
) -> FoundMail | None:
    if mail_id is None:
        event = read_row(connection, row_id)
        events = [event] if event is not None else []
    else:
        events = read_trace(connection, mail_id, sessions=False)
    if domains is not None:
        events = events_of_domains(events, domains)
    if not events:
        return None
    if mail_id is None:
        return FoundMail(row_id, "", "", tuple(events))
    subject = read_subject(connection, mail_id)
    return FoundMail(row_id, mail_id, subject, tuple(events))


def read_subject(connection: sqlite3.Connection, mail_id: str) -> str:
    """Of a mail; "" where it is not here any more."""
    row = connection.execute("SELECT subject FROM message WHERE mail_id = ?", (mail_id,)).fetchone()
    return str(row[0]) if row else ""
