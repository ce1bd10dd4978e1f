"""A disk that loses power: it keeps what was flushed, and of the rest any part.

It promises no more than POSIX does. A file's octets are safe once the file was flushed, a name
once its folder was. What was not flushed may be there or not, each write and each name for itself,
in any order, and a write may be torn at 512 octets.
"""

from __future__ import annotations

import random
from pathlib import Path

from attrs import define, field

from tests.faults.shim import (
    CREATE,
    FLUSH,
    FLUSH_FOLDER,
    LINK,
    MKDIR,
    RENAME,
    TRUNCATE,
    UNLINK,
    WRITE,
    Step,
)

SECTOR_OCTETS = 512


@define(eq=False)
class File:
    """Octets that are safe, and changes that are not: (offset, octets); (size, None) is a cut."""

    safe: bytearray = field(factory=bytearray)
    unsafe: list[tuple[int, bytes | None]] = field(factory=list)

    def flush(self) -> None:
        for offset, data in self.unsafe:
            _change(self.safe, offset, data)
        self.unsafe.clear()

    def after_the_cut(self, chance: random.Random, kept: float) -> bytes:
        octets = bytearray(self.safe)
        for offset, data in self.unsafe:
            if chance.random() >= kept:
                if data is None or kept == 0 or chance.random() < 0.5:
                    continue
                for at in range(0, len(data), SECTOR_OCTETS):
                    if chance.random() < 0.5:
                        _change(octets, offset + at, data[at : at + SECTOR_OCTETS])
            else:
                _change(octets, offset, data)
        return bytes(octets)


def _change(octets: bytearray, offset: int, data: bytes | None) -> None:
    if len(octets) < offset:
        octets.extend(bytes(offset - len(octets)))
    if data is None:
        del octets[offset:]
    else:
        octets[offset : offset + len(data)] = data


@define(eq=False)
class Name:
    """What a name leads to: as it is safe, and as it became since, one after the other."""

    safe: File | Folder | None = None
    unsafe: list[File | Folder | None] = field(factory=list)

    @property
    def now(self) -> File | Folder | None:
        return self.unsafe[-1] if self.unsafe else self.safe


@define(eq=False)
class Folder:
    names: dict[str, Name] = field(factory=dict)

    def flush(self) -> None:
        for name in self.names.values():
            name.safe = name.now
            name.unsafe.clear()


@define(eq=False)
class Disk:
    """The recorded folder, step by step."""

    root: Folder = field(factory=Folder)
    _files: dict[int, File] = field(factory=dict)

    def take(self, step: Step) -> None:
        if step.op in (WRITE, TRUNCATE, FLUSH):
            file = self._files.setdefault(step.inode, File())
            if step.op == FLUSH:
                file.flush()
            else:
                file.unsafe.append((step.offset, step.data if step.op == WRITE else None))
            return
        if step.op == FLUSH_FOLDER:
            folder = self._find(step.path) if step.path else self.root
            assert isinstance(folder, Folder), step.path
            folder.flush()
            return
        name = self._name(step.path)
        if step.op == CREATE:
            if name.now is None:  # the number of a file that is gone may come again
                made = self._files[step.inode] = File()
                name.unsafe.append(made)
        elif step.op == MKDIR:
            name.unsafe.append(Folder())
        elif step.op == UNLINK:
            name.unsafe.append(None)
        elif step.op in (RENAME, LINK):
            self._name(step.data.decode()).unsafe.append(name.now)
            if step.op == RENAME:
                name.unsafe.append(None)

    def _find(self, path: str) -> File | Folder | None:
        return self._name(path).now

    def _name(self, path: str) -> Name:
        *folders, last = path.split("/")
        where = self.root
        for each in folders:
            found = where.names[each].now
            assert isinstance(found, Folder), path
            where = found
        return where.names.setdefault(last, Name())

    def write_after_the_cut(self, to: Path, chance: random.Random) -> None:
        """What a start after a power cut at this moment finds, one of the many that may be."""
        kept = chance.choice([0.0, 0.0, 0.5, 0.9, 1.0])
        _write(self.root, to, chance, kept)


def _write(folder: Folder, to: Path, chance: random.Random, kept: float) -> None:
    to.mkdir()
    for text, name in folder.names.items():
        found = name.safe
        for later in name.unsafe:
            if chance.random() < kept:
                found = later
        if isinstance(found, Folder):
            _write(found, to / text, chance, kept)
        elif found is not None:
            (to / text).write_bytes(found.after_the_cut(chance, kept))
