"""Writes to the mail database by a program beside the node, which waits for it as for a worker."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from mailnode.durable import own_as
from mailnode.errors import StoreBroken, StoreBusy, StoreTooNew
from mailnode.store.exchange import BESIDE, finish_exchange, next_of, refuse_to_begin_anew
from mailnode.store.sqlite import (
    connect,
    damage_error,
    mail_error,
    migrate,
    prepare,
    schema_scripts,
)

WRITER_LOCK = "writer.lock"
MAIL_DATABASE = "mail.db"


@define(eq=False)
class Writer:
    """One program's way to write; opened by `writing_beside`."""

    _connection: sqlite3.Connection
    _lock_fd: int

    def checkpoint(self) -> None:
        """The log's mail is in the database itself, and the next batch begins the log anew.

        For who writes much: a node that runs empties the log by what it writes itself. Nobody waits
        long: the first step is done beside all others, the second finds little left.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise mail_error(error) from error
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside is committed at its end, or none of it; keep it short.

        Raises:
            MailError: in place of what SQLite says.
        """
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        except OSError as error:
            raise mail_error(error) from error
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise mail_error(error) from error
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)


@contextmanager
def writing_beside(path: Path) -> Iterator[Writer]:
    """A way to write to the mail database, whether its node runs or not.

    Raises:
        StoreTooNew: a newer version wrote it.
        StoreBusy: an older version did, and a node of this one has not run on it yet; or another
            database is about to take its place.
        StoreBroken: it can't be opened.
    """
    if next_of(path).exists():
        raise StoreBusy(detail=f"{path} is being exchanged; the node finishes that when it starts")
    lock = path.with_name(WRITER_LOCK)
    lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        own_as(lock, path)
        try:
            connection = connect(path)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise damage_error(error) from error
        try:
            _check_schema(connection, path)
            yield Writer(connection, lock_fd)
        finally:
            connection.close()
    finally:
        os.close(lock_fd)


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StoreBroken(detail=f"{path}: {error}") from error
    newest = max(schema_scripts())
    if version > newest:
        raise StoreTooNew(detail=f"{path} has schema {version}")
    if version < newest:
        raise StoreBusy(f"{path} is of an older version: the node's next start upgrades it")


@contextmanager
def writer_waits(data: Path) -> Iterator[None]:
    """No batch is committed meanwhile in a data folder."""
    lock = data / WRITER_LOCK
    lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        own_as(lock, data)
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock_fd)


def make_mail_database(data: Path) -> None:
    """A node's data folder has a mail database, though no node ever ran on it.

    Raises:
        StoreBroken: it is gone, and blobs of its mail are here.
        MailError: in place of what SQLite or the disk says.
    """
    path = data / MAIL_DATABASE
    try:
        if not data.is_dir():
            data.mkdir(mode=0o700, parents=True)
            own_as(data, data.parent)
        with writer_waits(data):
            finish_exchange(path)
            if path.exists() and path.stat().st_size:
                return
            refuse_to_begin_anew(path)
            prepare(path)
            connection = connect(path)
            try:
                migrate(connection, schema_scripts())
                for each in (path, *(Path(f"{path}{suffix}") for suffix in BESIDE)):
                    if each.exists():
                        own_as(each, data)
            finally:
                connection.close()
    except (OSError, sqlite3.Error) as error:
        raise mail_error(error) from error
