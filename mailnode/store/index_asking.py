"""What an index is asked: what mails are like, where words stand, which mails are of one thread.

Where a copy lies and how it is marked, mail.db says in the same statement: an index that is behind
shows nothing that is gone, and marks as they are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, frozen

from mailnode.model import FLAGGED, SEEN
from mailnode.reading.query import BadQuery, Query, Words
from mailnode.reading.summary import Summary
from mailnode.store.index_filling import ROW, Row
from mailnode.store.index_unread import Unindexed
from mailnode.store.sqlite import packed_rows, padded, unpack_rows

PAGE_MAILS = 200
THREAD_MAILS = 500


@frozen
class Place:
    """Where a copy lies."""

    folder_id: int
    uid: int
    flags: int


@frozen
class Hit:
    """A mail that was found.

    Attributes:
        copies: of the mail in the account's folders, at least one.
    """

    message_id: int
    mail_id: str
    received_at: float
    size_octets: int
    summary: Summary
    copies: tuple[Place, ...]


@frozen
class Progress:
    """How much of an account's mail is in its index.

    Attributes:
        is_done: all of it is.
    """

    indexed: int = 0
    mails: int = 0
    is_done: bool = False


@frozen
class Hits:
    """Mails that were found, newest first.

    Attributes:
        before: where the next page begins; None where there is none.
        progress: while the index is behind, there may be more.
    """

    mails: tuple[Hit, ...] = ()
    before: int | None = None
    progress: Progress = field(factory=Progress)


def progress_of(connection: sqlite3.Connection, account_id: int) -> Progress:
    """By what mail.db says of the folders now."""
    total, known, behind = connection.execute(
        "SELECT coalesce(sum(f.mails), 0), coalesce(sum(i.mails), 0), count(CASE WHEN"
        " f.uid_next - 1 > coalesce(CASE WHEN i.uidvalidity = f.uidvalidity THEN i.uid END, 0)"
        " THEN 1 END)"
        " FROM node.folder AS f LEFT JOIN main.folder AS i ON i.id = f.id WHERE f.account_id = ?",
        (account_id,),
    ).fetchone()
    return Progress(min(known, total), total, not behind)


def folder_names(connection: sqlite3.Connection, account_id: int) -> dict[int, str]:
    """The account's folders by their ids."""
    rows = connection.execute(
        "SELECT id, name FROM node.folder WHERE account_id = ?", (account_id,)
    )
    return dict(rows.fetchall())


def _named(folders: dict[int, str], names: Iterable[str]) -> list[int]:
    """The folders of these names, whatever their case.

    Raises:
        BadQuery: there is none of a name.
    """
    found = []
    for name in names:
        ids = [number for number, each in folders.items() if each.casefold() == name.casefold()]
        if not ids:
            there = ", ".join(sorted(folders.values())[:20])
            raise BadQuery(f"There is no folder {name}; there are {there}")
        found += ids
    return found


# What is found


def search(
    connection: sqlite3.Connection,
    account_id: int,
    query: Query,
    folder_ids: Sequence[int] | None,
    before: int | None,
    limit: int,
) -> Hits:
    """The newest mails that a query fits, in front of `before`.

    Args:
        folder_ids: in one of which they must lie; None for any.

    Raises:
        BadQuery: it names a folder that isn't there.
        sqlite3.Error.
    """
    folders = folder_names(connection, account_id)
    progress = progress_of(connection, account_id)
    wanted = set(folders)
    if query.folders:
        wanted &= set(_named(folders, query.folders))
    if folder_ids is not None:
        wanted &= set(folder_ids)
    wanted -= set(_named(folders, query.not_in))
    if not wanted:
        return Hits(progress=progress)
    text, values = _statement(query, sorted(wanted), len(wanted) == len(folders), before)
    rows = connection.execute(text, (*values, limit + 1)).fetchall()
    more = len(rows) > limit
    ids = [message_id for _, message_id in rows[:limit]]
    found = _hits(connection, ids, folders)
    mails = tuple(found[each] for each in ids if each in found)
    return Hits(mails, rows[limit - 1][0] if more else None, progress)


def _statement(
    query: Query, folders: list[int], all_folders: bool, before: int | None
) -> tuple[str, list[Any]]:
    with_, without = _match(query)
    where: list[str] = []
    values: list[Any] = []
    if with_:
        table, place = "main.words JOIN main.mail AS m ON m.place = words.rowid", "words.rowid"
        where.append("words MATCH ?")
        values.append(f"({with_}) NOT ({without})" if without else with_)
    else:
        table, place = "main.mail AS m", "m.place"
        if without:
            where.append("m.place NOT IN (SELECT rowid FROM main.words WHERE words MATCH ?)")
            values.append(without)
    if before is not None:
        where.append(f"{place} < ?")
        values.append(before)
    for condition, value in (
        ("m.received_at >= ?", query.since),
        ("m.received_at < ?", query.before),
        ("m.size_octets > ?", query.larger),
        ("m.size_octets < ?", query.smaller),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    if query.has_attachment is not None:
        where.append("m.files > 0" if query.has_attachment else "m.files = 0")
    where.append(_lies_in(folders, all_folders, _flags(query)))
    return (
        f"SELECT {place}, m.id FROM {table} WHERE {' AND '.join(where)}"
        f" ORDER BY {place} DESC LIMIT ?",
        values,
    )


def _flags(query: Query) -> str:
    """The condition for a copy's flags; "" for none."""
    conditions = ""
    for bit, is_set in (
        (SEEN, None if query.unread is None else not query.unread),
        (FLAGGED, query.flagged),
    ):
        if is_set is not None:
            conditions += f" AND d.flags & {bit} {'<>' if is_set else '='} 0"
    return conditions


def _lies_in(folders: list[int], all_folders: bool, flags: str) -> str:
    """The condition that a copy lies in one of these folders, with these flags.

    Where few may do so, those are gathered first; else each that is found is looked up.
    """
    ids = ",".join(map(str, folders))
    if all_folders and not flags:
        return (
            "EXISTS (SELECT 1 FROM node.delivery AS d"
            f" WHERE d.message_id = m.id AND +d.folder_id IN ({ids}))"
        )
    return (
        f"m.id IN (SELECT d.message_id FROM node.delivery AS d WHERE d.folder_id IN ({ids}){flags})"
    )


_COLUMNS = {"from": "sender", "to": "recipients", "subject": "subject", "file": "files"}


def _match(query: Query) -> tuple[str, str]:
    """What FTS5 is to find, and to leave out. Every word stands between quotation marks, and none
    has one in it."""
    with_ = [_phrase(each) for each in query.words if not each.without]
    without = [_phrase(each) for each in query.words if each.without]
    return " AND ".join(with_), " OR ".join(without)


def _phrase(words: Words) -> str:
    text = words.text.replace('"', " ").replace("\0", " ")
    where = f"{{{_COLUMNS[words.where]}}} : " if words.where else ""
    return f'({where}"{text}"{" *" if words.prefix else ""})'


# What is shown

# In one row each: between two rows the interpreter would go to another thread and come back.
_SHOWN_ROWS = packed_rows("s.id", "s.mail_id", "m.received_at", "m.size_octets", "s.sender_name",
                          "s.sender_address", "s.recipients", "s.subject", "s.snippet", "s.files",
                          "s.message_id", "s.reply_to", "s.sent_at")  # fmt: skip
_SHOWN = (
    f"SELECT {_SHOWN_ROWS} FROM main.shown AS s JOIN main.mail AS m ON m.id = s.id"
    " WHERE s.id IN ({})"
)
_PLACES = packed_rows("message_id", "folder_id", "uid", "flags")


def _hits(
    connection: sqlite3.Connection, ids: Sequence[int], folders: Iterable[int]
) -> dict[int, Hit]:
    if not ids:
        return {}
    copies = _copies(connection, ids, folders)
    marks, values = padded(ids)
    found = {}
    (rows,) = connection.execute(_SHOWN.format(marks), values).fetchone()
    for row in unpack_rows(rows):
        message_id, mail_id, received_at, size, *shown = row
        if message_id in copies:
            places = tuple(copies[message_id])
            found[message_id] = Hit(message_id, mail_id, received_at, size, _summary(shown), places)
    return found


def _summary(shown: Sequence[Any]) -> Summary:
    name, address, to, subject, snippet, files, message_id, references, sent_at = shown
    return Summary(
        sender_name=name,
        sender_address=address,
        to=to,
        subject=subject,
        sent_at=sent_at,
        snippet=snippet,
        attachments=tuple(json.loads(files)),
        message_id=message_id,
        references=tuple(json.loads(references)),
    )


def _copies(
    connection: sqlite3.Connection, ids: Sequence[int], folders: Iterable[int]
) -> dict[int, list[Place]]:
    marks, values = padded(ids)
    own = ",".join(map(str, folders)) or "-1"
    copies: dict[int, list[Place]] = {}
    (rows,) = connection.execute(
        f"SELECT {_PLACES} FROM node.delivery"
        f" WHERE message_id IN ({marks}) AND +folder_id IN ({own})",
        values,
    ).fetchone()
    for message_id, *place in unpack_rows(rows):
        copies.setdefault(message_id, []).append(Place(*place))
    return copies


def summaries(
    connection: sqlite3.Connection, unindexed: Unindexed, account_id: int, ids: Sequence[int]
) -> dict[int, Summary]:
    """Of the account's own mails alone; those that are not indexed yet are read, the newest first.

    Raises:
        sqlite3.Error.
    """
    if not ids:
        return {}
    folders = folder_names(connection, account_id)
    copies = _copies(connection, ids, folders)
    found = {each: hit.summary for each, hit in _hits(connection, ids, folders).items()}
    for message_id in sorted(copies.keys() - found.keys(), reverse=True):
        place = copies[message_id][0]
        summary = unindexed.summary(message_id, lambda: _row(connection, place))  # noqa: B023
        if summary is not None:
            found[message_id] = summary
    return found


def _row(connection: sqlite3.Connection, place: Place) -> Row | None:
    row = connection.execute(
        f"SELECT d.uid, {ROW} FROM node.delivery AS d JOIN node.message AS m"
        " ON m.id = d.message_id WHERE d.folder_id = ? AND d.uid = ?",
        (place.folder_id, place.uid),
    ).fetchone()
    return None if row is None else Row(*row)


def thread(connection: sqlite3.Connection, account_id: int, message_id: int) -> list[int]:
    """The account's mails of one thread, the oldest first; the mail alone where it is not indexed.

    Of a thread of over 500 the newest are told.
    """
    folders = folder_names(connection, account_id)
    rows = connection.execute(
        "SELECT id FROM main.mail WHERE thread ="
        " (SELECT thread FROM main.mail WHERE id = ?) ORDER BY place DESC LIMIT ?",
        (message_id, THREAD_MAILS),
    ).fetchall()
    ids = [each for (each,) in reversed(rows)] or [message_id]
    there = _copies(connection, ids, folders)
    return [each for each in ids if each in there]
