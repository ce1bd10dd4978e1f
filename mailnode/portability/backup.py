"""Files become chunks and a manifest, a few at a time; and back."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from attrs import define, frozen

from mailnode.durable import flush
from mailnode.portability.chunks import CHUNK_OCTETS, BackupFault, ChunkDamaged, Chunks
from mailnode.portability.manifests import Entry, ManifestWriter

THREADS = 8  # so that reading, hashing and flushing go on at the same time
AHEAD = 2 * THREADS  # jobs whose results wait for their turn; each has one piece in memory

T = TypeVar("T")
Told = Callable[[int], object]
"""Hears of octets that are done; in any thread."""
Read = Callable[[int, int], bytes | bytearray]
"""Gives octets of a file: (offset, count)."""


def in_order(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each returns, in their order; a few run at a time, and no more are begun."""
    pool = ThreadPoolExecutor(THREADS, "copying")
    waiting: deque[Future[T]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@frozen
class Whole:
    """A file that is kept as one chunk.

    Attributes:
        name: in the backup.
        octets, digest: what it is known to hold; "" where nobody knows, and it is read then.
        blob_key: of a mail's body that may be deleted meanwhile; "" for another file.
    """

    name: str
    path: Path
    mode: int = 0o600
    octets: int = 0
    digest: str = ""
    blob_key: str = ""


@define(eq=False)
class Copying:
    """Fills a manifest.

    Attributes:
        is_needed: says whether a blob that isn't there should be.
    """

    chunks: Chunks
    manifest: ManifestWriter
    told: Told
    is_needed: Callable[[str], bool]

    def add_pieces(self, name: str, octets: int, read: Read) -> Entry:
        """A file that `read` gives in pieces, (offset, count) each."""

        def keep(at: int) -> str:
            data = read(at, min(CHUNK_OCTETS, octets - at))
            digest = self.chunks.keep(data)
            self.told(len(data))
            return digest

        jobs = (partial(keep, at) for at in range(0, octets, CHUNK_OCTETS))
        entry = Entry(name, 0o600, octets, tuple(in_order(jobs)))
        self.manifest.add(entry)
        return entry

    def add_files(self, files: Iterable[Whole]) -> None:
        """Each as it is; a blob whose mail was deleted meanwhile is told as gone."""
        for file, entry in in_order(partial(self._keep, file) for file in files):
            if entry is not None:
                self.manifest.add(entry)
                if file.digest and entry.chunks != (file.digest,):
                    self._fault(file, "its octets are not the ones that came")
            elif self.is_needed(file.blob_key):
                self._fault(file, "is missing")
            else:
                self.manifest.add_gone(file.blob_key)

    def _keep(self, file: Whole) -> tuple[Whole, Entry | None]:
        known = file.digest
        if known and self.chunks.has(known, file.octets):
            self.told(file.octets)
            return file, Entry(file.name, file.mode, file.octets, (known,))
        try:
            with file.path.open("rb", buffering=0) as opened:
                digest, octets = self.chunks.keep_file(opened)
        except FileNotFoundError:
            if not file.blob_key:
                raise
            self.told(file.octets)
            return file, None
        self.told(octets)
        return file, Entry(file.name, file.mode, octets, (digest,))

    def _fault(self, file: Whole, what: str) -> None:
        self.manifest.faults.append(f"blob {file.blob_key or file.name}: {what}")


def read_again(
    chunks: Chunks, entries: Iterable[Entry], told: Told
) -> Iterator[tuple[Entry, ChunkDamaged]]:
    """(file, what is wrong) for each chunk that isn't as it was."""

    def read(entry: Entry, digest: str) -> tuple[Entry, ChunkDamaged | None]:
        try:
            for data in chunks.read(digest):
                told(len(data))
        except ChunkDamaged as error:
            return entry, error
        return entry, None

    jobs = (partial(read, entry, digest) for entry in entries for digest in entry.chunks)
    for entry, wrong in in_order(jobs):
        if wrong is not None:
            yield entry, wrong


def chunk_reader(chunks: Chunks, entry: Entry, original: Read) -> Callable[[int, int], bytes]:
    """Reads a kept file of several chunks at (offset, count); a chunk is not left by one call.

    A chunk that was there before, and is damaged, is set aside and kept anew from `original`.
    """

    def read(at: int, count: int) -> bytes:
        number, start = divmod(at, CHUNK_OCTETS)
        try:
            data = b"".join(chunks.read(entry.chunks[number]))
        except ChunkDamaged as error:
            first = at - start
            data = bytes(original(first, min(CHUNK_OCTETS, entry.octets - first)))
            chunks.set_aside(error.digest)
            chunks.keep(data)
        return data[start : start + count]

    return read


def restore_files(chunks: Chunks, entries: Iterable[Entry], folder: Path, told: Told) -> None:
    """The files are in `folder`, flushed, and so are the names of all of its folders.

    One that has its name there is whole: a restore that was killed goes on.

    Raises:
        ChunkDamaged, BackupFault: one can't be had.
    """
    for _ in in_order(_jobs(chunks, entries, folder, told)):
        pass
    for path, _, _ in os.walk(folder, topdown=False):
        flush(Path(path))


def _jobs(
    chunks: Chunks, entries: Iterable[Entry], folder: Path, told: Told
) -> Iterator[Callable[[], None]]:
    made: set[Path] = set()
    for entry in entries:
        target = _place(folder, entry)
        if target.parent not in made:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.add(target.parent)
        if len(entry.chunks) == 1:
            yield partial(_restore, chunks, entry, target, told)
        else:
            restore_pieces(chunks, entry, target, told)


def _place(folder: Path, entry: Entry) -> Path:
    target = folder / entry.name
    if not target.resolve().is_relative_to(folder.resolve()) or target == folder:
        raise BackupFault(f"the backup names a file outside of its folder: {entry.name!r}")
    return target


def _restore(chunks: Chunks, entry: Entry, target: Path, told: Told) -> None:
    if not _is_whole(target, entry):
        part = target.with_name(f"{target.name}.part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            for data in chunks.read(entry.chunks[0]):
                file.write(data)
            os.fchmod(fd, entry.mode & 0o744)
            os.fsync(fd)
        part.rename(target)
    told(entry.octets)


def _is_whole(target: Path, entry: Entry) -> bool:
    """Whether an interrupted restore has made it already."""
    with suppress(FileNotFoundError):
        if target.stat().st_size == entry.octets:
            with target.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == entry.chunks[0]
    return False


def restore_pieces(chunks: Chunks, entry: Entry, target: Path, told: Told) -> None:
    """A file of several chunks is there, flushed.

    Raises:
        ChunkDamaged: one of them isn't as it was.
    """
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:

        def write(at: int, digest: str) -> None:
            for data in chunks.read(digest):
                os.pwrite(fd, data, at)
                told(len(data))

        places = enumerate(entry.chunks)
        for _ in in_order(partial(write, n * CHUNK_OCTETS, digest) for n, digest in places):
            pass
        if os.fstat(fd).st_size != entry.octets:
            raise BackupFault(f"{entry.name} has not the {entry.octets} octets that it should have")
        os.fsync(fd)
    finally:
        os.close(fd)
