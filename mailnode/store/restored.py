"""What is done to a mail database that a backup was restored to, before a node serves it.

What came after the backup is not in it, but mail programs and other hosts have seen it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from attrs import define

from mailnode.errors import StoreBroken
from mailnode.store.exchange import BESIDE
from mailnode.store.guests import has_guests
from mailnode.store.leases import has_queue
from mailnode.store.sqlite import PAGE_OCTETS, connect, damage_error, raise_sequences

UIDS_LEFT_OUT = 1_000_000  # more mails than came into one mailbox between backup and restore
IDS_LEFT_OUT = 1_000_000
_TOLD = (("draft", 0), ("token", 0))  # a browser that keeps a draft knows its number
_INNER = 5  # https://www.sqlite.org/fileformat.html: an inner page of a table's tree
LAST_UID = 4_000_000_000  # of 32 bits; a folder that comes so far is left where it is


@define
class Settled:
    """What was done.

    Attributes:
        deleted: mails that their owners deleted while the backup was made.
        held: recipients in the queue that wait for an administrator now.
    """

    deleted: int = 0
    held: int = 0


def settle(path: Path, gone_blobs: Iterable[str], *, in_use: bool = True) -> Settled:
    """The database is as it may be served: whole, and without what would do harm.

    Mails whose blobs were deleted while the backup was made are deleted. No new mail gets a uid
    that a mail had which came after the backup: mail programs would take it for one that they
    have. Drafts and tokens get none either. What was in the queue is held, for it may have been
    sent since. Web sessions end.

    Args:
        in_use: False for the first alone, to look at it.

    Raises:
        StoreBroken: it is damaged.
    """
    done = Settled()
    try:
        with closing(connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for key in gone_blobs:
                done.deleted += _delete_message(connection, key)
            if in_use:
                connection.execute(
                    "UPDATE folder SET uid_next = min(uid_next + ?, max(uid_next, ?))",
                    (UIDS_LEFT_OUT, LAST_UID),
                )
                if has_queue(connection):
                    done.held = connection.execute(_HOLD).rowcount
                if has_guests(connection):  # who signed out since is not signed in again
                    connection.execute("DELETE FROM web_session")
                raise_sequences(connection, _TOLD, ahead=IDS_LEFT_OUT)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if in_use:
                for (line,) in connection.execute("PRAGMA integrity_check(1)").fetchall():
                    if line != "ok":
                        raise StoreBroken(detail=f"{path.name}: {line}")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damage_error(error) from error
    return done


_HOLD = """
    UPDATE queue SET state = 'held', leased_by = NULL, leased_until = NULL
    WHERE state IN ('waiting', 'leased')
"""
_UNCOUNT = """
    UPDATE folder SET modseq = modseq + 1, (octets, mails) = (
        SELECT folder.octets - sum(size_octets), folder.mails - count(*) FROM delivery
        WHERE folder_id = folder.id AND message_id = :message)
    WHERE id IN (SELECT folder_id FROM delivery WHERE message_id = :message)
"""


def _delete_message(connection: sqlite3.Connection, blob_key: str) -> int:
    """How many; of a schema that may be older than the statements that a node deletes by."""
    row = connection.execute("SELECT id FROM message WHERE blob_key = ?", (blob_key,)).fetchone()
    if row is None:
        return 0
    message = {"message": row[0]}
    connection.execute(_UNCOUNT, message)
    connection.execute("DELETE FROM delivery WHERE message_id = :message", message)
    if has_queue(connection):
        connection.execute("DELETE FROM queue WHERE message_id = :message", message)
    connection.execute("DELETE FROM message WHERE id = :message", message)
    return 1


def open_sparsely(read: Callable[[int, int], bytes], octets: int, path: Path) -> int:
    """The schema's version of a database of which `read` gives the pages, opened from a file
    that holds no others than those of its schema; `path` is made for that.

    Raises:
        StoreBroken: what the pages make up is no database of ours.
    """
    beginning = read(0, PAGE_OCTETS)
    size = int.from_bytes(beginning[16:18], "big")
    size = 65536 if size == 1 else size
    if beginning[:16] != b"SQLite format 3\0" or size < 512:
        raise StoreBroken(detail="what was kept of mail.db is no database")
    try:
        with path.open("wb") as file:
            file.truncate(octets)
            for number, page in _schema_pages(lambda number: read((number - 1) * size, size), size):
                file.seek((number - 1) * size)
                file.write(page)
        with closing(connect(path)) as connection:
            connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return int(version)
    except IndexError:
        raise StoreBroken(detail="a page of the schema is damaged") from None
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damage_error(error) from error
    finally:
        for suffix in ("", *BESIDE):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _schema_pages(read: Callable[[int], bytes], size: int) -> Iterator[tuple[int, bytes]]:
    """(number, octets) of the pages of the table that begins at page 1, with what flows over.

    Raises:
        StoreBroken: they are damaged.
    """
    wanted, seen = [(1, True)], set[int]()
    while wanted:
        number, in_tree = wanted.pop()
        page = read(number)
        if len(page) != size or number in seen:
            raise StoreBroken(detail="pages of the schema lead nowhere")
        seen.add(number)
        yield number, page
        if not in_tree:
            following = int.from_bytes(page[:4], "big")
            wanted += [(following, False)] * bool(following)
            continue
        head = 100 if number == 1 else 0
        is_inner = page[head] == _INNER
        cells = int.from_bytes(page[head + 3 : head + 5], "big")
        first = head + (12 if is_inner else 8)
        for at in range(first, first + 2 * cells, 2):
            cell = int.from_bytes(page[at : at + 2], "big")
            if is_inner:
                wanted.append((int.from_bytes(page[cell : cell + 4], "big"), True))
            elif over := _overflow_page(page, cell, size):
                wanted.append((over, False))
        if is_inner:
            wanted.append((int.from_bytes(page[head + 8 : head + 12], "big"), True))


def _overflow_page(page: bytes, cell: int, size: int) -> int:
    """Where a row goes on that one page doesn't hold; 0 for none. size: no octets are reserved."""
    payload, at = _varint(page, cell)
    _, at = _varint(page, at)
    most, least = size - 35, (size - 12) * 32 // 255 - 23
    if payload <= most:
        return 0
    local = least + (payload - least) % (size - 4)
    local = local if local <= most else least
    return int.from_bytes(page[at + local : at + local + 4], "big")


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        octet = page[at + index]
        if index == 8:
            return value << 8 | octet, at + 9
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            return value, at + index + 1
    raise AssertionError
