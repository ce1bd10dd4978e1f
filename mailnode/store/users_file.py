"""The file users.db, open: one connection that works, and one that only looks.

Who keeps something in it (`accounts.Accounts`, `outside.Outside`) asks it for a look or a change.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

from attrs import define, field

from mailnode.addresses import parse_domain
from mailnode.errors import MailError, NoFolder, NotFound, StoreBroken
from mailnode.store.exchange import KEPT, finish_exchange
from mailnode.store.sqlite import connect, damage_error, schema_scripts
from mailnode.store.upgrade import upgrade


@define(eq=False)
class UsersFile:
    """users.db, shared between threads and by all who keep something in it."""

    path: Path
    _kept: Path
    _connection: sqlite3.Connection
    _watcher: sqlite3.Connection
    _lock: RLock = field(factory=RLock, init=False)
    _file: tuple[int, int] = field(init=False)
    _files_before: int = field(default=0, init=False)
    _seen_version: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._file = _identity(self.path)

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False, data: Path | None = None) -> UsersFile:
        """As `Accounts.open`."""
        path = Path(path)
        kept = (data or path.parent) / KEPT
        finish_exchange(path)
        if create:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except FileExistsError:
                pass
            except (FileNotFoundError, NotADirectoryError):
                raise NoFolder(
                    f"There is no folder {path.parent} for {path.name}: make it first"
                ) from None
            except OSError as error:
                raise StoreBroken(f"Can't make {path}: {error.strerror}") from None
        elif not path.exists():
            raise NotFound(f"there is no {path}; make it with: mailnode init")
        return cls(path, kept, *_connections(path, kept))

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._watcher.close()

    def data_version(self) -> int:
        """A number that changes whenever anyone has written, this object too.

        Takes microseconds and never waits: while somebody is writing, it is the number of
        before.

        Raises:
            StoreBroken: the file can't be read any more.
        """
        self._follow()
        with _answered(self.path), suppress(sqlite3.OperationalError):
            (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
            self._seen_version = (self._files_before << 32) + version
        return self._seen_version

    def _follow(self) -> None:
        """A file that was put in the place of ours (a backup, say) is ours from now on."""
        try:
            file = _identity(self.path)
        except OSError:  # moved away: what is open still counts
            return
        if file != self._file:
            connection, watcher = _connections(self.path, self._kept)
            with self._lock:
                self.close()
                self._connection, self._watcher, self._file = connection, watcher, file
                self._files_before += 1

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """Everything inside sees one state of the file."""
        with self._lock, _answered(self.path), _transaction(self._connection, "BEGIN"):
            yield self._connection

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, durably, or nothing does."""
        with self._lock, _answered(self.path), _transaction(self._connection, "BEGIN IMMEDIATE"):
            yield self._connection


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _connections(path: Path, kept: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """One that works, and one that only looks and never waits."""
    with _answered(path):
        connection = connect(path)
        try:
            _upgrade(connection, path, kept)
            return connection, connect(path, busy_timeout_s=0)
        except BaseException:
            connection.close()
            raise


@contextmanager
def _answered(path: Path) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        answer = damage_error(error)
        if isinstance(answer, MailError):
            answer.detail = f"{path}: {answer.detail}"
        raise answer from error


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _upgrade(connection: sqlite3.Connection, path: Path, kept: Path) -> None:
    """The file has the newest schema; nothing is written when it had that before."""
    scripts = schema_scripts("accounts")
    with _transaction(connection, "BEGIN"):  # one look: somebody may be making it
        foreign = not _version(connection) and one(connection, "SELECT 1 FROM sqlite_master")
    if foreign:
        raise StoreBroken(detail=f"{path} is an SQLite file of something else")
    while (version := _version(connection)) != max(scripts):
        try:
            upgrade(connection, path, scripts, kept)
        except sqlite3.OperationalError:
            if _version(connection) <= version:  # else another process did a step meanwhile
                raise


def _version(connection: sqlite3.Connection) -> int:
    return int(one(connection, "PRAGMA user_version")[0])


def one(sql: sqlite3.Connection, query: str, *values: object) -> Any:
    return sql.execute(query, values).fetchone()


def find_domain(sql: sqlite3.Connection, name: str) -> int:
    """The id of a domain that is ours.

    Raises:
        NotFound: it isn't; the text names the mend.
    """
    row = one(sql, "SELECT id FROM domain WHERE name = ?", parse_domain(name))
    if row is None:
        raise no_domain(name)
    return int(row[0])


def no_domain(name: str) -> NotFound:
    """The error to raise where a domain is asked for that is not served."""
    return NotFound(f"{name} is no domain here; add it with: mailnode domain add {name}")
