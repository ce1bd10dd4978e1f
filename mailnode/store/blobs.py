"""Large bodies as files: `spool/` while they come, `blobs/xx/` once they are kept.

The order is what makes them safe: write, flush the file, rename, flush the folder; only then
may a row name the blob. After a crash at any point there is either the whole blob or one
that no row names, which the sweep deletes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailnode.errors import StoreBroken, StoreFull
from mailnode.interfaces import IBlobs
from mailnode.store.reserve import Reserve
from mailnode.store.sqlite import mail_error
from mailnode.store.trouble import Trouble
from mailnode.store.windows import Windows

log = Logger()

T = TypeVar("T")

PIECE_OCTETS = 512 << 10
THREADS = 2

Elsewhere = Callable[[], Coroutine[Deferred[Any], Any, Collection[str]]]


async def nowhere() -> Collection[str]:
    """This process is the only one that has blobs in hand."""
    return ()


@implementer(IBlobs)
@define(eq=False)
class FileBlobs:
    """Blobs in a data folder.

    Attributes:
        data: the folder; `spool` and `blobs` are made in it.
        call_in_reactor: `reactor.callFromThread`.
        write_trouble, read_trouble: what the disk last failed at.
        reserve: while it is spent, nothing is written.
        piece_octets: so much of a blob is written at once, and twice that is in memory at most.
    """

    data: Path
    call_in_reactor: Callable[..., Any]
    reserve: Reserve | None = None
    _pool: ThreadPoolExecutor = field(
        factory=lambda: ThreadPoolExecutor(THREADS, "store-blobs"), init=False
    )
    write_trouble: Trouble = field(factory=Trouble, init=False)
    read_trouble: Trouble = field(factory=Trouble, init=False)
    piece_octets: int = field(default=PIECE_OCTETS, init=False)
    _in_hand: set[str] = field(factory=set, init=False)
    _folders: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            for folder in (self.data, self.spool, self.kept):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _flush_folder(self.data)
            with suppress(PermissionError):  # whoever let us into it made it
                _flush_folder(self.data.absolute().parent)
        except OSError as error:
            raise mail_error(error) from error

    @property
    def spool(self) -> Path:
        return self.data / "spool"

    @property
    def kept(self) -> Path:
        return self.data / "blobs"

    def create(self) -> BlobWriter:
        """Begin a blob; nothing is touched before the first octets."""
        key = secrets.token_hex(16)
        self._in_hand.add(key)
        return BlobWriter(self, key)

    @property
    def in_hand(self) -> frozenset[str]:
        """Blobs that were begun here, and are neither discarded nor named by a committed row."""
        return frozenset(self._in_hand)

    def settled(self, keys: Iterable[str]) -> None:
        """These are discarded, or named by a committed row."""
        self._in_hand.difference_update(keys)

    def open(self, key: str) -> BlobReader:
        """Read a blob. The file is opened by the first `read`, which fails when it is missing."""
        return BlobReader(self, key)

    def windows(self, key: str, head: bytes) -> Windows:
        """A mail whose body is a blob, to be looked at here and there, in a thread.

        Raises:
            StoreBroken: it is missing or can't be read.
        """
        return Windows.of_file(head, self.path_of(key))

    def delete(self, keys: Collection[str]) -> Deferred[int]:
        """These blobs are gone; how many there were. A missing one is no error."""
        paths = [self.path_of(key) for key in keys]
        return self.in_thread(lambda: _unlink(paths))

    def keys(self) -> Deferred[list[tuple[str, int, float]]]:
        """(key, size in octets, written at) of every blob that is kept."""
        return self.in_thread(lambda: list_blobs(self.kept))

    async def clear_spool(self, elsewhere: Elsewhere = nowhere) -> int:
        """What an ended process left half-written is gone; how many files.

        Args:
            elsewhere: gives the keys that other processes of the node have in hand.
        """
        listed = await self.in_thread(
            lambda: [path for path in self.spool.iterdir() if path.is_file()]
        )
        in_hand = {*await elsewhere(), *self._in_hand}
        left = [path for path in listed if path.name not in in_hand]
        return await self.in_thread(lambda: _unlink(left))

    def close(self) -> None:
        """What was begun is written; the threads end."""
        self._pool.shutdown(wait=True)

    def path_of(self, key: str) -> Path:
        """Where a kept blob lies."""
        return blob_path(self.data, key)

    def in_thread(self, function: Callable[[], T], trouble: Trouble | None = None) -> Deferred[T]:
        """What `function` returns, from the pool; its OSErrors become MailErrors.

        Args:
            trouble: begins or is over with it.
        """
        deferred: Deferred[T] = Deferred()

        def run() -> None:
            try:
                outcome: Any = function()
            except Exception as error:
                told = mail_error(error)
                if isinstance(told, StoreBroken):
                    log.error("A blob can't be read or written: {detail}", detail=told.detail)
                    # A missing file is one mail's fault, not the disk's.
                    if trouble is not None and not isinstance(error, FileNotFoundError):
                        trouble.begins(told.detail)
                self.call_in_reactor(deferred.errback, told)
            else:
                if trouble is not None:
                    trouble.is_over()
                self.call_in_reactor(deferred.callback, outcome)

        try:
            self._pool.submit(run)
        except RuntimeError:
            return fail(StoreBroken(detail="the blobs are closed"))
        return deferred

    def keep(self, key: str, fd: int) -> None:
        """Flush a written file and give it its lasting name; in the pool's thread."""
        os.fsync(fd)
        path = self.path_of(key)
        if path.parent.name not in self._folders:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _flush_folder(self.kept)
            self._folders.add(path.parent.name)
        (self.spool / key).rename(path)
        _flush_folder(path.parent)


@define(eq=False)
class BlobWriter:
    """A blob that comes in pieces. After an error only `discard` is left."""

    blobs: FileBlobs
    key: str
    _pieces: list[bytes] = field(factory=list, init=False)
    _buffered: int = field(default=0, init=False)
    _writing: int = field(default=0, init=False)
    _fd: int = field(default=-1, init=False)
    _error: Failure | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    def write(self, data: bytes) -> Deferred[None] | None:
        """Take octets; a Deferred means: no more until it fires, the disk is behind.

        Errors:
            StoreFull, StoreBroken.
        """
        if self._error is not None:
            return fail(self._error)
        self._pieces.append(data)
        self._buffered += len(data)
        if self._buffered >= self.blobs.piece_octets and not self._writing:
            self._write_piece()
        if self._buffered + self._writing < 2 * self.blobs.piece_octets:
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def commit(self) -> Deferred[str]:
        """Its key, once the bytes would survive a power cut.

        Errors:
            StoreFull, StoreBroken.
        """
        return Deferred.fromCoroutine(self._commit())

    def discard(self) -> Deferred[None]:
        """Nothing of it is left. It may be called after `commit`, too: the blob is deleted."""
        return Deferred.fromCoroutine(self._discard())

    async def _commit(self) -> str:
        await self._until_idle()
        if self._pieces or self._fd < 0:
            self._write_piece()
            await self._until_idle()
        if self._error is not None:
            self._error.raiseException()
        await self.blobs.in_thread(self._keep, self.blobs.write_trouble)
        return self.key

    async def _discard(self) -> None:
        await self._until_idle()
        self._pieces.clear()
        self._buffered = 0
        try:
            await self.blobs.in_thread(self._drop)
        finally:
            self.blobs.settled([self.key])

    def _until_idle(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if self._writing:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def _write_piece(self) -> None:
        piece = b"".join(self._pieces)
        self._pieces.clear()
        self._buffered, self._writing = 0, max(1, len(piece))
        written = self.blobs.in_thread(lambda: self._append(piece), self.blobs.write_trouble)
        written.addCallbacks(self._wrote, self._failed)

    def _wrote(self, _: None) -> None:
        self._writing = 0
        if self._buffered >= self.blobs.piece_octets and not self._idle:
            self._write_piece()
        self._tell()

    def _failed(self, failure: Failure) -> None:
        self._writing, self._error = 0, failure
        self._tell()

    def _tell(self) -> None:
        if not self._writing:
            idle, self._idle = self._idle, []
            for done in idle:
                done.callback(None)
        if self._error is not None or self._buffered + self._writing < 2 * self.blobs.piece_octets:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if self._error is None:
                    each.callback(None)
                else:
                    each.errback(self._error)

    # In the pool's threads, one at a time

    def _append(self, piece: bytes) -> None:
        if self.blobs.reserve is not None and self.blobs.reserve.spent:
            raise StoreFull(detail="what is left is for deletions")
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self.blobs.spool / self.key, flags, 0o600)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _keep(self) -> None:
        self.blobs.keep(self.key, self._fd)
        self._close()

    def _drop(self) -> None:
        self._close()
        _unlink([self.blobs.spool / self.key, self.blobs.path_of(self.key)])

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


@define(eq=False)
class BlobReader:
    """Reads a blob from its beginning."""

    blobs: FileBlobs
    key: str
    _fd: int = field(default=-1, init=False)
    _reading: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    async def _read(self, count: int) -> bytes:
        self._reading = True
        try:
            return await self.blobs.in_thread(
                lambda: self._read_some(count), self.blobs.read_trouble
            )
        finally:
            self._reading = False
            if self._closed:
                self._close_file()

    def read(self, count: int) -> Deferred[bytes]:
        """The next octets, at most `count`; b"" at the end. One at a time.

        Errors:
            StoreBroken: it is missing or can't be read.
        """
        if self._closed or self._reading:
            return fail(ValueError("the blob is closed, or read already"))
        return Deferred.fromCoroutine(self._read(count))

    def close(self) -> None:
        """No more is read."""
        self._closed = True
        if not self._reading:
            self._close_file()

    def _read_some(self, count: int) -> bytes:
        if self._fd < 0:
            self._fd = os.open(self.blobs.path_of(self.key), os.O_RDONLY | os.O_CLOEXEC)
        return os.read(self._fd, count)

    def _close_file(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def blob_path(data: Path, key: str) -> Path:
    """Where a kept blob lies in a data folder.

    Raises:
        StoreBroken: it is no key of ours.
    """
    if not key.isalnum():
        raise StoreBroken(detail=f"not a blob's key: {key!r}")
    return data / "blobs" / key[:2] / key


def list_blobs(kept: Path) -> list[tuple[str, int, float]]:
    """(key, size in octets, written at) of every blob under `kept`.

    What else lies there, such as a file system's lost+found, is passed over.
    """
    found = []
    for folder in kept.iterdir():
        if len(folder.name) != 2 or not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                about = entry.stat()
                if entry.is_file():
                    found.append((entry.name, about.st_size, about.st_mtime))
    return found


def _unlink(paths: Collection[Path]) -> int:
    gone = 0
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
            gone += 1
    return gone


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
