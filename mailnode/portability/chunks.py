"""A folder of chunks, each named by the digest of its octets, so that none is kept twice.

A chunk is written under another name, flushed, read back and renamed: one that has its name is
whole, whatever was killed or cut off. One that a disk has changed since is set aside once it is
found, so that the next backup writes it anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from attrs import define, field

from mailnode.durable import flush, make_folder

CHUNK_OCTETS = 1 << 20  # of a database: a page that changed costs so much in the next backup
CHUNKS, BACKUPS, UNFINISHED, LOCK = "chunks", "backups", "unfinished", "lock"
DAMAGED = "damaged"
FROM_DISK = 8  # one chunk in so many is read back from the disk: all would cost a third of the rate
_DIGEST = re.compile("[0-9a-f]{64}")
_PREFIXES = tuple(f"{number:02x}" for number in range(256))


class BackupFault(Exception):
    """A backup can't be made or used; the words say why."""

    exit_code = 65


class NoBackup(BackupFault):
    """There is none."""

    exit_code = 66


class BackupBusy(BackupFault):
    """Not now."""

    exit_code = 75


class ChunkDamaged(BackupFault):
    """A chunk is missing, or its octets are others than they were."""

    def __init__(self, digest: str, why: str) -> None:
        super().__init__(f"chunk {digest} {why}")
        self.digest = digest


@define(eq=False)
class Chunks:
    """The chunks in a folder of backups. `keep` and `read` may be called in any thread.

    Attributes:
        least_free_octets: what writing leaves free on the disk.
        new, new_octets: what was not there before.
    """

    folder: Path
    least_free_octets: int = 0
    new: int = field(default=0, init=False)
    new_octets: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    def path_of(self, digest: str) -> Path:
        """Where a chunk lies, or would.

        Raises:
            BackupFault: it is no digest: what a manifest says must not lead elsewhere.
        """
        if not _DIGEST.fullmatch(digest):
            raise BackupFault(f"the backup names a chunk that can't be one: {digest!r}")
        return self.folder / CHUNKS / digest[:2] / digest

    def has(self, digest: str, octets: int) -> bool:
        """Whether it is there with that length; `read` alone looks at its octets."""
        try:
            return self.path_of(digest).stat().st_size == octets
        except FileNotFoundError:
            return False

    def keep(self, data: bytes | bytearray) -> str:
        """The digest of a chunk that is there now, flushed but for the name of its file."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.has(digest, len(data)):
            with self._unfinished() as (path, fd):
                _write_all(fd, data)
                self._finish(path, fd, digest, len(data), data)
        return digest

    def keep_file(self, file: BinaryIO) -> tuple[str, int]:
        """(digest, octets) of the rest of a file, kept as one chunk."""
        data = file.read(CHUNK_OCTETS)
        if len(data) < CHUNK_OCTETS:
            return self.keep(data), len(data)
        hashed, octets = hashlib.sha256(), 0
        with self._unfinished() as (path, fd):
            while data:
                hashed.update(data)
                octets += len(data)
                _write_all(fd, data)
                data = file.read(CHUNK_OCTETS)
            digest = hashed.hexdigest()
            if not self.has(digest, octets):
                self._finish(path, fd, digest, octets)
        return digest, octets

    def read(self, digest: str) -> Iterator[bytes]:
        """The octets of a chunk, piece by piece; behind the last they are known to be the right.

        Raises:
            ChunkDamaged: they are not, or it is missing or can't be read.
        """
        try:
            hashed = hashlib.sha256()
            with self.path_of(digest).open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # the disk is asked
                while data := file.read(CHUNK_OCTETS):
                    hashed.update(data)
                    yield data
        except FileNotFoundError:
            is_aside = (self.folder / DAMAGED / digest).exists()
            raise ChunkDamaged(
                digest, "is damaged, and set aside" if is_aside else "is missing"
            ) from None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise ChunkDamaged(digest, f"can't be read: {error.strerror}") from None
        if hashed.hexdigest() != digest:
            raise ChunkDamaged(digest, "is damaged: its octets are others than they were")

    def set_aside(self, digest: str) -> bool:
        """Whether nothing has the name of a damaged chunk now, durably: a backup writes it anew.

        It is read once more before, for memory may have erred, and a whole one stays. Whoever calls
        it has the folder's lock, be it with others: nobody could use what goes, and nobody writes
        a chunk of that name before all of them are done.
        """
        with suppress(ChunkDamaged):
            for _ in self.read(digest):
                pass
            return False
        place = make_folder(self.folder / DAMAGED)
        path = self.path_of(digest)
        with suppress(FileNotFoundError):  # it is missing, or somebody else was sooner
            path.rename(place / digest)
            flush(place)
            flush(path.parent)
        return True

    def make_folders(self) -> None:
        """All folders are there, their owner's alone; what an ended process left is gone."""
        make_folder(self.folder)
        for name in (CHUNKS, BACKUPS, UNFINISHED):
            make_folder(self.folder / name)
        for prefix in _PREFIXES:
            (self.folder / CHUNKS / prefix).mkdir(mode=0o700, exist_ok=True)
        self.clear_unfinished()

    def clear_unfinished(self) -> None:
        """What an ended process left half-made is gone. Whoever calls it has the folder's lock."""
        for path, folders, files in os.walk(self.folder / UNFINISHED, topdown=False):
            for name in files:
                (Path(path) / name).unlink()
            for name in folders:
                inner = Path(path) / name
                inner.unlink() if inner.is_symlink() else inner.rmdir()

    def flush_names(self) -> None:
        """The name of each chunk outlives a power cut; those of an ended process, too."""
        for prefix in _PREFIXES:
            flush(self.folder / CHUNKS / prefix)
        flush(self.folder / CHUNKS)

    def unnamed(self, names: Iterator[str], part: int, parts: int) -> Iterator[Path]:
        """Chunks that are not among `names`, of one part of all: no more are in memory.

        Of those that were set aside also the ones that were written anew.
        """
        prefixes = _PREFIXES[part::parts]
        named = {name for name in names if name[:2] in prefixes}
        for prefix in prefixes:
            with suppress(FileNotFoundError):
                for entry in os.scandir(self.folder / CHUNKS / prefix):
                    if entry.name not in named:
                        yield Path(entry.path)
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.folder / DAMAGED):
                is_needed = entry.name in named and not self.path_of(entry.name).exists()
                if entry.name[:2] in prefixes and not is_needed:
                    yield Path(entry.path)

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in (self.folder / CHUNKS).glob("??/*"))

    @contextmanager
    def _unfinished(self) -> Iterator[tuple[Path, int]]:
        self._leave_room()
        path = self.folder / UNFINISHED / f"chunk-{next(self._numbers)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield path, fd
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _leave_room(self) -> None:
        if self.least_free_octets:
            disk = os.statvfs(self.folder)
            if disk.f_bavail * disk.f_frsize < self.least_free_octets:
                raise BackupBusy(
                    f"{self.folder} lies on the node's own disk, and less than store.free_space "
                    "is left there: make room, or back up to another disk; what is there is kept"
                )

    def _finish(
        self, path: Path, fd: int, digest: str, octets: int, data: bytes | bytearray | None = None
    ) -> None:
        """What was written is flushed and read back, and has its name.

        Args:
            data: the octets, where they are in memory: they are sooner compared than hashed.
        """
        os.fdatasync(fd)
        if self.new % FROM_DISK == 0:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if data is not None:
            is_right = os.pread(fd, octets + 1, 0) == data
        else:
            hashed, at = hashlib.sha256(), 0
            while piece := os.pread(fd, CHUNK_OCTETS, at):
                hashed.update(piece)
                at += len(piece)
            is_right = hashed.hexdigest() == digest
        if not is_right:
            raise BackupFault(
                f"{self.folder}: what was written there is read back otherwise: don't use that disk"
            )
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # the node's own files stay in memory
        path.rename(self.path_of(digest))
        with self._lock:
            self.new += 1
            self.new_octets += octets


def _write_all(fd: int, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def require_backups(folder: Path) -> None:
    """Nothing, but where no backup was ever made.

    Raises:
        NoBackup: it says so.
    """
    if not folder.is_dir():
        raise NoBackup(f"there is no folder {folder}; name the one that holds the backups")
    if not (folder / BACKUPS).is_dir():
        raise NoBackup(
            f"there is no backup in {folder}; `mailnode backup {folder}` makes one beside the node"
        )


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[bool]:
    """Nobody changes what is in the folder meanwhile; the lock goes with the process.

    Gives whether there is a lock: a medium that can't be written has none.

    Args:
        alone: it is changed here; else others may read it, too.

    Raises:
        BackupBusy: somebody else does.
    """
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if alone or error.errno not in (errno.EACCES, errno.EROFS):
            raise
        yield False  # by us at least it can't be written
        return
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        raise BackupBusy(
            f"another mailnode works on the backups in {folder}: try again when it is done"
        ) from None
    finally:
        os.close(fd)
