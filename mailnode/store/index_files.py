"""The index files of the accounts: opened when they are needed, a few at a time, made anew when
they can't be used.

An index holds nothing that isn't in mail.db and the bodies, so whatever is wrong with one is mended
by beginning it anew; `index_filling` fills it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from mailnode.durable import own_as
from mailnode.errors import StoreBusy
from mailnode.store.beside import MAIL_DATABASE
from mailnode.store.exchange import BESIDE
from mailnode.store.sqlite import DAMAGED, connect, error_code, prepare, schema_scripts

INDEX_FOLDER = "index"
MAKING_LOCK = "making.lock"
CACHE_OCTETS = 2 << 20
CHECKPOINT_PAGES = 500
COMPARED_MAILS = 20

log = Logger()

_OF_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}


class BegunAnew(StoreBusy):
    """It was damaged, and another one is there for who asks again."""

    text = "The index of this mailbox is made anew"


def is_damage(error: BaseException) -> bool:
    """Whether beginning anew mends it; a query that can't be read is no damage."""
    if isinstance(error, UnicodeDecodeError):
        return True
    return error_code(error) in _OF_DAMAGE and not str(error).startswith("fts5:")


def index_path(data: Path, account_id: int) -> Path:
    return data / INDEX_FOLDER / f"{account_id}.db"


@define(eq=False)
class IndexFile:
    """One account's, open; mail.db is attached to it as `node`, read-only.

    One thread at a time has it, by `lock`.
    """

    path: Path
    connection: sqlite3.Connection
    file: tuple[int, int]
    lock: threading.Lock = field(factory=threading.Lock)
    closed: bool = False
    retired: bool = False

    @classmethod
    def open(cls, data: Path, account_id: int, cache_octets: int) -> IndexFile:
        """It is there, of this version, and of this mail.db: else it is empty now.

        Raises:
            sqlite3.Error, OSError: it can't be opened or made.
        """
        path = index_path(data, account_id)
        with _making(data):
            try:
                return cls._open(data, path, cache_octets)
            except DAMAGED as error:
                if not is_damage(error):
                    raise
                _delete(path)
                log.warn("{path} is damaged, it is made anew: {error}", path=path, error=str(error))
                return cls._open(data, path, cache_octets)

    @classmethod
    def _open(cls, data: Path, path: Path, cache_octets: int) -> IndexFile:
        if not path.exists():
            prepare(path)
            for each in (path, *(Path(f"{path}{suffix}") for suffix in BESIDE)):
                if each.exists():
                    own_as(each, data)
        connection = connect(path, cache_octets=cache_octets)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            node = (data / MAIL_DATABASE).absolute().as_uri()
            connection.execute("ATTACH ? AS node", (f"{node}?mode=ro",))
            if _version(connection) != max(schema_scripts("index")) or not _is_of(connection):
                empty(connection)
            about = path.stat()
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, (about.st_dev, about.st_ino))

    @property
    def is_gone(self) -> bool:
        """Whether another file has its name, or none."""
        try:
            about = self.path.stat()
        except OSError:
            return True
        return (about.st_dev, about.st_ino) != self.file

    def release(self) -> None:
        """Another thread may have it."""
        self.lock.release()
        if self.retired:
            self.retire()

    def retire(self) -> None:
        """It is closed once nobody uses it."""
        self.retired = True
        if self.lock.acquire(blocking=False):
            try:
                self.closed = True
                with suppress(sqlite3.Error):
                    self.connection.close()
            finally:
                self.lock.release()


@contextmanager
def _making(data: Path) -> Iterator[None]:
    """No other process of the node makes an index, or begins one anew, meanwhile."""
    lock = data / INDEX_FOLDER / MAKING_LOCK
    if not lock.parent.exists():
        lock.parent.mkdir(mode=0o700, exist_ok=True)
        own_as(lock.parent, data)
    lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        own_as(lock, data)
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock_fd)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA main.user_version").fetchone()
    return int(version)


def _is_of(connection: sqlite3.Connection) -> bool:
    """Whether its mails are those of mail.db: one that was restored gives ids a second time."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM main.shown").fetchone()
    (beyond,) = connection.execute(
        "SELECT next FROM node.counter WHERE name = 'message'"
    ).fetchone()
    others = connection.execute(
        "SELECT count(*) FROM (SELECT id, mail_id FROM main.shown ORDER BY id DESC LIMIT ?) AS some"
        " JOIN node.message AS m ON m.id = some.id WHERE m.mail_id <> some.mail_id",
        (COMPARED_MAILS,),
    ).fetchone()
    return int(newest) < int(beyond) and not others[0]


def empty(connection: sqlite3.Connection) -> None:
    """The index is of this version, and nothing is in it; whoever has it open sees that.

    Raises:
        sqlite3.Error.
    """
    scripts = schema_scripts("index")
    newest = max(scripts)
    connection.execute("BEGIN IMMEDIATE")
    try:
        tables = connection.execute(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'words_%'"
        ).fetchall()
        for (name,) in tables:
            connection.execute(f'DROP TABLE main."{name}"')
        for statement in _statements(scripts[newest]):
            connection.execute(statement)
        connection.execute(f"PRAGMA main.user_version = {newest}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would commit before it begins."""
    lines = (line.partition("--")[0] for line in script.splitlines())
    yield from filter(None, (text.strip() for text in "\n".join(lines).split(";")))


def delete_index(data: Path, account_id: int) -> None:
    """Its files are gone, if there were any: all of one index, and none of another's beginning."""
    path = index_path(data, account_id)
    if path.parent.is_dir():
        with _making(data):
            _delete(path)


def _delete(path: Path) -> None:
    for each in (path, *(Path(f"{path}{suffix}") for suffix in BESIDE)):
        each.unlink(missing_ok=True)


def indexed_accounts(data: Path) -> list[int]:
    """Accounts that have a file."""
    folder = data / INDEX_FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(path.stem) for path in folder.glob("*.db") if path.stem.isdecimal())


@define(eq=False)
class IndexFiles:
    """So many at a time; the one that was used longest ago is closed for another."""

    data: Path
    most: int
    cache_octets: int = CACHE_OCTETS
    _open: OrderedDict[int, IndexFile] = field(factory=OrderedDict, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _closed: bool = field(default=False, init=False)

    @contextmanager
    def use(self, account_id: int) -> Iterator[IndexFile]:
        """The file, for this thread alone while it uses it.

        Raises:
            BegunAnew: it was damaged.
            StoreBusy: no more is opened.
            sqlite3.Error, OSError.
        """
        file = self._take(account_id)
        try:
            try:
                yield file
            finally:
                file.release()
        except DAMAGED as error:
            if not is_damage(error):
                raise
            log.warn(
                "{path} is damaged, it is made anew: {error}", path=file.path, error=str(error)
            )
            self.forget(account_id)
            delete_index(self.data, account_id)
            raise BegunAnew(detail=str(error)) from error

    def _take(self, account_id: int) -> IndexFile:
        """The file, locked."""
        while True:
            file = self._find(account_id)
            file.lock.acquire()
            if not file.closed:
                return file
            file.release()  # it was closed for another one meanwhile

    def _find(self, account_id: int) -> IndexFile:
        with self._lock:
            if self._closed:
                raise StoreBusy(detail="the index is closed")
            file = self._open.pop(account_id, None)
            if file is not None and file.is_gone:
                file.retire()
                file = None
            if file is None:
                file = IndexFile.open(self.data, account_id, self.cache_octets)
            self._open[account_id] = file
            closing = []
            while len(self._open) > self.most:
                closing.append(self._open.popitem(last=False)[1])
        for each in closing:
            each.retire()
        return file

    def forget(self, account_id: int) -> None:
        """It is closed, if it was open."""
        with self._lock:
            file = self._open.pop(account_id, None)
        if file is not None:
            file.retire()

    def close(self) -> None:
        """All of them are closed, and none is opened any more."""
        with self._lock:
            self._closed = True
            files = list(self._open.values())
            self._open.clear()
        for file in files:
            file.retire()


def size_octets(data: Path, account_id: int) -> int:
    """Of the files of one index."""
    path = index_path(data, account_id)
    total = 0
    for each in (path, *(Path(f"{path}{suffix}") for suffix in BESIDE)):
        with suppress(OSError):
            total += each.stat().st_size
    return total
