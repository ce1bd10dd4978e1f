"""SQLite as the stores use it: connections, schema versions, errors, many-row statements.

In CPython every `sqlite3_step` gives the GIL away and takes it back, once for each row of
a result. Beside a busy reactor each taking may wait a whole switch interval, so the hot
paths insert many rows with one statement and read many rows as one: `packed`.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from mailnode.errors import MailError, StoreBroken, StoreBusy, StoreFull, StoreTooNew

PAGE_OCTETS = 4096
BUSY_TIMEOUT_S = 5.0
T = TypeVar("T")
MOST_ROWS = 64
STATEMENTS = 512
# What reading a damaged database raises: Python reads SQLite's words as UTF-8, and damaged names
# stand in them.
DAMAGED = (sqlite3.DatabaseError, UnicodeDecodeError)


def connect(
    path: Path,
    *,
    read_only: bool = False,
    cache_octets: int = 4 << 20,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> sqlite3.Connection:
    """A connection in autocommit mode that any one thread may use.

    Raises:
        sqlite3.Error: the file can't be opened, or is no database.
    """
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS,
        timeout=busy_timeout_s,
    )
    try:
        # FULL does not flush the folder that a rollback journal leaves: a power cut soon after
        # brings the journal back, and it undoes what was committed. In WAL mode they are alike.
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA cache_size = {-cache_octets // 1024}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection for a program that isn't the node (the command line).

    Raises:
        MailError: in place of what SQLite says.
    """
    try:
        connection = connect(path, read_only=True)
        try:
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damage_error(error) from error


def prepare(path: Path) -> None:
    """The database is there, readable by its owner only, in WAL mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Closing any descriptor of a database takes this process's locks off it, so one that is
    # there is left to SQLite.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = connect(path)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def schema_scripts(engine: str = "sqlite") -> dict[int, str]:
    """The numbered scripts of schema/`engine`: version to text, ascending."""
    folder = resources.files("mailnode.store") / "schema" / engine
    found = {
        int(file.name[:4]): file.read_text("utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }
    return dict(sorted(found.items()))


def migrate(connection: sqlite3.Connection, scripts: dict[int, str]) -> int:
    """Bring the schema to the newest version, all or nothing; return that version.

    A process that is killed meanwhile leaves no version between, with which others couldn't work.
    Nobody else may migrate the same file meanwhile.

    Raises:
        StoreTooNew: the file is beyond the newest script.
    """
    newest = max(scripts)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise StoreTooNew(detail=f"schema version {version}, this program knows {newest}")
    if version == newest:
        return newest
    steps = "\n".join(f"{scripts[number]};" for number in range(version + 1, newest + 1))
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{steps}\nPRAGMA user_version = {newest};\nCOMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return newest


def raise_sequences(
    connection: sqlite3.Connection, last_ids: Iterable[tuple[str, int]], *, ahead: int = 0
) -> None:
    """No id up to these is given any more; inside a transaction.

    Args:
        last_ids: (table, id); a table that isn't there is passed over.
        ahead: so many are left out beyond what was given.
    """
    for table, last_id in last_ids:
        there = connection.execute(
            "SELECT (SELECT max(seq) FROM sqlite_sequence WHERE name = ?1)"
            " FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            (table,),
        ).fetchone()
        if there is not None:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            connection.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
                (table, max(there[0] or 0, last_id) + ahead),
            )


# Errors

_FULL = {sqlite3.SQLITE_FULL}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BROKEN = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}


def error_code(error: BaseException) -> int:
    """The primary result code of an SQLite error, 0 for none."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


class FlushFailed(Exception):
    """A COMMIT could not be flushed; nobody knows what is on the disk."""


def mail_error(error: BaseException) -> BaseException:
    """What the caller of the store gets for `error`; itself when it is no fault of the store."""
    if isinstance(error, sqlite3.Error):
        code, detail = error_code(error), _detail(error)
        # The index of the write-ahead log finds no room: no fault of the disk.
        grows = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE
        if code in _FULL or grows:
            return StoreFull(detail=detail)
        if code in _BUSY:
            return StoreBusy(detail=detail)
        if code in _BROKEN or "Could not decode to UTF-8" in detail:
            return StoreBroken(detail=detail)
    elif isinstance(error, OSError):
        return _file_error(error)
    elif isinstance(error, FlushFailed):
        return StoreBroken(detail=str(error))
    return error


def damage_error(error: BaseException) -> BaseException:
    """The same for what a database is asked outside of the node's own jobs, where words that
    are no UTF-8 are no fault of ours: SQLite quotes what is damaged."""
    if isinstance(error, UnicodeDecodeError):
        return StoreBroken(detail=f"damaged: {error}")
    return mail_error(error)


def _detail(error: sqlite3.Error) -> str:
    return f"{getattr(error, 'sqlite_errorname', None) or type(error).__name__}: {error}"


def _file_error(error: OSError) -> MailError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(detail=str(error))
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR):
        return StoreBusy(detail=str(error))
    return StoreBroken(detail=str(error))


# Many rows, few statements


def execute_rows(
    connection: sqlite3.Connection, text: str, columns: int, values: Sequence[object]
) -> None:
    """Execute `text` for the rows whose values stand flat in `values`.

    `{rows}` in the text becomes (?,...),(?,...): as few statements as possible, for each
    hands the GIL over twice. Their shapes are few enough for the statement cache.
    """
    at, left = 0, len(values) // columns
    while left:
        rows = min(left, MOST_ROWS)
        end = at + rows * columns
        connection.execute(_rows_text(text, columns, rows), values[at:end])
        at, left = end, left - rows


@lru_cache(maxsize=STATEMENTS)
def _rows_text(text: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return text.replace("{rows}", ",".join([row] * rows))


def padded(values: Sequence[T]) -> tuple[str, list[T]]:
    """Placeholders for an IN list, and its values: a power of two, the last one repeated.

    So that a handful of texts serve every length and the statement cache works.
    """
    count = 1 << max(0, len(values) - 1).bit_length()
    return _placeholders(count), [*values, *[values[-1]] * (count - len(values))]


@lru_cache(maxsize=64)
def _placeholders(count: int) -> str:
    return ",".join("?" * count)


def packed(column: str) -> str:
    """An aggregate that gives a column of whole numbers as one text; `unpack` reads it.

    The only DML of the store that PostgreSQL spells differently (string_agg).
    """
    return f"group_concat({column})"


def unpack(text: str | None) -> list[int]:
    return list(map(int, text.split(","))) if text else []


def packed_rows(*columns: str) -> str:
    """An aggregate that gives rows of numbers and texts as one text; `unpack_rows` reads it.

    Times keep 10 microseconds. PostgreSQL spells it json_agg(json_build_array(...)).
    """
    return f"json_group_array(json_array({', '.join(columns)}))"


def end_to_end(column: str, between: str = "''") -> str:
    """An aggregate that gives the octets of a column one behind the other, in the order of
    `packed_rows`, with the text `between` between them; NULL for none.

    SQLite takes them for text on the way, and keeps each as it is: no text of the database's own
    encoding is converted, and lengths are counted, not looked for. Who splits them compares the
    lengths all the same. PostgreSQL spells it string_agg.
    """
    return f"CAST(group_concat({column}, {between}) AS BLOB)"


def unpack_rows(text: str) -> list[list[Any]]:
    rows: list[list[Any]] = json.loads(text)
    return rows


def reserve_ids(connection: sqlite3.Connection, name: str, count: int) -> int:
    """The first of `count` ids in a row that nobody else gets, of what the counter is named by."""
    (beyond,) = connection.execute(
        "UPDATE counter SET next = next + ? WHERE name = ? RETURNING next", (count, name)
    ).fetchone()
    return int(beyond) - count
