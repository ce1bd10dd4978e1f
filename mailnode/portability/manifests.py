"""What a backup consists of: a file of JSON lines, written in a go and read in a go.

The first line says of which node and when, each of the next names a file and its chunks, and the
last one sums up and holds the digest of all lines before it. A backup is there once its manifest
has its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field, frozen

from mailnode.durable import flush
from mailnode.portability.chunks import BACKUPS, UNFINISHED, BackupFault, Chunks

FORMAT = 1
_ENDING = ".jsonl"
_TAIL_OCTETS = 64 << 10
MOST_FAULTS = 20  # that are told
_MEND = "; take it out of there, and the other backups are as they were"


@frozen
class Entry:
    """A file of a backup.

    Attributes:
        name: of the file in the folder of a restored node, such as "var/mail.db".
        chunks: digests, in order; of several all but the last have `CHUNK_OCTETS`.
    """

    name: str
    mode: int
    octets: int
    chunks: tuple[str, ...]


@frozen
class Manifest:
    """One backup.

    Attributes:
        id: the name that people call it by: UTC, sorted by time.
        at: when it began, UTC epoch seconds: all that was acknowledged before is in it.
        schemas: database to the version of its schema.
        gone: mails whose bodies were deleted while it was made.
        faults: of the node's own store, that were seen.
    """

    path: Path
    id: str
    at: float
    hostname: str
    mailnode: str
    schemas: Mapping[str, int]
    files: int
    octets: int
    gone: int
    faults: tuple[str, ...]

    def entries(self) -> Iterator[Entry]:
        """Its files, in the order in which they were kept."""
        for line in self._lines("file"):
            yield Entry(line["file"], line["mode"], line["octets"], tuple(line["chunks"]))

    def gone_blobs(self) -> Iterator[str]:
        """Keys of the blobs that belonged to the mails that are `gone`."""
        for line in self._lines("gone"):
            yield line["gone"]

    def chunk_names(self) -> Iterator[str]:
        for entry in self.entries():
            yield from entry.chunks

    def _lines(self, kind: str) -> Iterator[Mapping[str, Any]]:
        start = b'{"%b":' % kind.encode()
        with self.path.open("rb") as file:
            for line in file:
                if line.startswith(start):
                    yield json.loads(line)

    def check(self) -> None:
        """Nothing, when it is as it was written.

        Raises:
            BackupFault: it is not.
        """
        hashed, before = hashlib.sha256(), b""
        with self.path.open("rb") as file:
            for line in file:
                hashed.update(before)
                before = line
        if json.loads(before).get("sha256") != hashed.hexdigest():
            raise BackupFault(f"{self.path} is damaged: its lines are others than they were{_MEND}")


def find_manifests(folder: Path) -> list[Manifest]:
    """The backups in a folder, the newest last.

    Raises:
        BackupFault: one can't be read.
    """
    return [_open(folder / BACKUPS / f"{name}{_ENDING}") for name in _ids(folder)]


def _ids(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(_ENDING) for path in (folder / BACKUPS).iterdir())


def find_manifest(folder: Path, wanted: str | None) -> Manifest:
    """The backup of that name, or the newest one.

    Raises:
        BackupFault: there is none such, or it is damaged.
    """
    there = _ids(folder)
    if not there:
        raise BackupFault(f"no backup in {folder} was ever finished")
    if wanted is not None and wanted not in there:
        raise BackupFault(f"there is no backup {wanted} in {folder}; the newest is {there[-1]}")
    manifest = _open(folder / BACKUPS / f"{wanted or there[-1]}{_ENDING}")
    manifest.check()
    return manifest


def _open(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline())
            file.seek(max(0, path.stat().st_size - _TAIL_OCTETS))
            tail = json.loads(file.read().splitlines()[-1])
        if head["format"] != FORMAT:
            raise BackupFault(f"{path} was written by a newer mailnode: use that one")
        return Manifest(
            path=path,
            id=path.name.removesuffix(_ENDING),
            at=head["at"],
            hostname=head["hostname"],
            mailnode=head["mailnode"],
            schemas=head["schemas"],
            files=tail["files"],
            octets=tail["octets"],
            gone=tail["gone"],
            faults=tuple(tail["faults"]),
        )
    except (ValueError, KeyError, TypeError, IndexError):
        raise BackupFault(f"{path} is damaged: it is no manifest of a backup{_MEND}") from None


@define(eq=False)
class ManifestWriter:
    """Writes one; the backup is not there before `finish`."""

    chunks: Chunks
    _file: BinaryIO
    at: float
    files: int = 0
    octets: int = 0
    gone: int = 0
    faults: list[str] = field(factory=list)
    _hashed: Any = field(factory=hashlib.sha256)

    @classmethod
    def begin(
        cls, chunks: Chunks, *, hostname: str, mailnode: str, schemas: Mapping[str, int], at: float
    ) -> ManifestWriter:
        writer = cls(chunks, _unfinished(chunks).open("wb"), at)
        head = {"format": FORMAT, "at": at, "hostname": hostname, "mailnode": mailnode}
        writer._write(head | {"schemas": schemas})
        return writer

    def add(self, entry: Entry) -> None:
        self.files += 1
        self.octets += entry.octets
        self._write(
            {
                "file": entry.name,
                "mode": entry.mode,
                "octets": entry.octets,
                "chunks": entry.chunks,
            }
        )

    def add_gone(self, blob_key: str) -> None:
        """A mail was deleted while the backup was made, and its blob with it."""
        self.gone += 1
        self._write({"gone": blob_key})

    def finish(self) -> str:
        """Its name: the backup is there, and outlives a power cut."""
        self._write(
            {
                "files": self.files,
                "octets": self.octets,
                "gone": self.gone,
                "faults": self.faults[:MOST_FAULTS],
                "sha256": self._hashed.hexdigest(),
            }
        )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.chunks.flush_names()
        name = _next_id(_ids(self.chunks.folder), self.at)
        _unfinished(self.chunks).rename(self.chunks.folder / BACKUPS / f"{name}{_ENDING}")
        flush(self.chunks.folder / BACKUPS)
        return name

    def close(self) -> None:
        """What was not finished is no backup."""
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        written = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._hashed.update(written)
        self._file.write(written)


def _unfinished(chunks: Chunks) -> Path:
    return chunks.folder / UNFINISHED / "manifest"


def _next_id(there: list[str], at: float) -> str:
    """A name behind all that are there, though the wall's clock was set back."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    if not there or there[-1] < stamp:
        return stamp
    newest, _, number = there[-1].partition("-")
    return f"{newest}-{int(number or 1) + 1:03}"


@frozen
class Pruned:
    """What a prune took out."""

    backups: tuple[str, ...]
    chunks: int
    octets: int


PART_CHUNKS = 250_000


def prune(chunks: Chunks, keep: int, *, dry_run: bool = False) -> Pruned:
    """The newest `keep` backups stay, and of the chunks those that they name.

    A manifest is gone durably before any chunk that it names: a kill leaves chunks at most that
    the next prune takes out. Whoever calls it has the folder's lock.

    Args:
        dry_run: nothing is deleted; what would be is said.
    """
    there = find_manifests(chunks.folder)
    left = there[max(0, len(there) - keep) :]
    for manifest in left:
        manifest.check()
    if not dry_run:
        chunks.clear_unfinished()
    old = there[: len(there) - len(left)]
    if not dry_run:
        for manifest in old:
            manifest.path.unlink()
        flush(chunks.folder / BACKUPS)
    count = octets = 0
    parts = chunks.count() // PART_CHUNKS + 1
    for part in range(parts):
        for path in chunks.unnamed(_names(left), part, parts):
            octets += path.stat().st_size
            count += 1
            if not dry_run:
                path.unlink()
    return Pruned(tuple(manifest.id for manifest in old), count, octets)


def _names(manifests: Iterable[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        yield from manifest.chunk_names()
