"""Small databases of their own, beside mail.db, which lose nothing that is mail.

All processes of a node share such a file. Whatever is wrong with it is mended by beginning it anew;
each thread that uses it opens it again then.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from mailnode.durable import own_as
from mailnode.store.exchange import BESIDE
from mailnode.store.index_files import is_damage
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts
from mailnode.threads import Threads

BUSY_S = 1.0
CACHE_OCTETS = 1 << 20
CHECKPOINT_PAGES = 1_000


@frozen
class Kind:
    """Which database.

    Attributes:
        name: of the file, in the data folder; its schema has the same, without `.db`.
        synchronous: SQLite's word: OFF writes without flushes, NORMAL flushes at times, so that a
            power cut costs the last of it and never the file.
    """

    name: str
    synchronous: str

    @property
    def engine(self) -> str:
        return self.name.removesuffix(".db")

    def files(self, data: Path) -> list[Path]:
        return [data / self.name, *(data / f"{self.name}{suffix}" for suffix in BESIDE)]

    @contextmanager
    def making(self, data: Path) -> Iterator[None]:
        """No other process of the node makes the file, or begins it anew, meanwhile."""
        lock = data / f"{self.engine}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            own_as(lock, data)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@define(eq=False)
class _Opened:
    connection: sqlite3.Connection
    number: tuple[int, int]


@define(eq=False)
class OwnFile:
    """One thread's way to it; all of it blocks but `end`."""

    kind: Kind
    data: Path
    _opened: _Opened | None = field(default=None, init=False)

    def open(self) -> tuple[sqlite3.Connection, bool]:
        """A connection to the file that has the name now, and whether that was just made."""
        opened = self._opened
        if opened is not None and _number(self.data / self.kind.name) == opened.number:
            return opened.connection, False
        self.close()
        with self.kind.making(self.data):
            opened, is_new = self._connect()
        self._opened = opened
        return opened.connection, is_new

    def _connect(self) -> tuple[_Opened, bool]:
        path = self.data / self.kind.name
        is_new = not path.exists()
        if is_new:
            prepare(path)
            for each in self.kind.files(self.data):
                if each.exists():
                    own_as(each, self.data)
        connection = connect(path, cache_octets=CACHE_OCTETS, busy_timeout_s=BUSY_S)
        try:
            connection.execute(f"PRAGMA synchronous = {self.kind.synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            migrate(connection, schema_scripts(self.kind.engine))
            about = path.stat()
        except BaseException:
            connection.close()
            raise
        return _Opened(connection, (about.st_dev, about.st_ino)), is_new

    def mend(self, error: BaseException) -> None:
        """What failed had begun is undone; a file that is damaged is begun anew."""
        number = self._opened.number if self._opened is not None else None
        self.close()
        if not is_damage(error):
            return
        with self.kind.making(self.data):
            # Another may have done it already.
            if number is None or _number(self.data / self.kind.name) == number:
                for path in self.kind.files(self.data):
                    path.unlink(missing_ok=True)

    def end(self, threads: Threads, ended: Deferred[None]) -> None:
        """It is closed by its thread, and that ends, too; then `ended` fires."""
        if self._opened is None:  # no thread has it
            threads.stop()
            ended.callback(None)
            return
        closing = threads.run(self.close)
        closing.addBoth(lambda _: threads.stop())
        closing.chainDeferred(ended)

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.connection.close()


def _number(path: Path) -> tuple[int, int] | None:
    """None where it has that name no more: another process may have begun anew."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
