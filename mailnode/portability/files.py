"""Files that a mail each lies in, and trees of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field

from mailnode.model import ANSWERED, DRAFT, FLAGGED, PASSED, SEEN, TRASHED
from mailnode.portability.letter import Gathering, Letter, Lost, Spool

READ_OCTETS = 256 << 10
EML = ".eml"
MAILDIR_PARTS = ("cur", "new", "tmp")
_LETTERS = {
    "S": SEEN, "R": ANSWERED, "F": FLAGGED, "D": DRAFT, "T": TRASHED, "P": PASSED,
}  # fmt: skip


def read_file(
    path: Path, where: str, make_spool: Callable[[], Spool], *, mtime: bool = False, **facts: Any
) -> Letter | Lost:
    """The mail in a file, or why it can't be had.

    Args:
        mtime: the file's time says when it came; else only where the mail itself doesn't.

    Raises:
        FileNotFoundError: it is gone.
        MailError: the spool can't be written.
    """
    gathering = Gathering(make_spool)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                return Lost(where, "it is no file")
            while piece := os.read(fd, READ_OCTETS):
                gathering.feed(piece)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        gathering.discard()
        return Lost(where, error.strerror or str(error))
    except BaseException:
        gathering.discard()
        raise
    if mtime:
        facts["received_at"] = about.st_mtime
    letter = gathering.end(where, **facts)
    if isinstance(letter, Letter) and letter.received_at is None:
        letter.received_at = about.st_mtime
    return letter


# Trees of .eml


@define(eq=False)
class EmlReader:
    """Reads an .eml file, or all in a folder and those below it, in the order of their names.

    What a name begins with a dot is passed over, and so is all that is no .eml.

    Attributes:
        count: of the files.
        done: of those that were read.
        faults: folders that can't be read.
    """

    path: Path
    make_spool: Callable[[], Spool]
    count: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    unit: str = field(default="mails", init=False)

    def measure(self) -> None:
        """Count them."""
        self.count = sum(isinstance(each, Path) for each in self._files(self.path))

    def __iter__(self) -> Iterator[Letter | Lost]:
        for each in self._files(self.path):
            if isinstance(each, Lost):
                yield each
                continue
            where = self._where(each)
            try:
                yield read_file(each, where, self.make_spool)
            except FileNotFoundError:
                yield Lost(where, "it vanished")
            self.done += 1

    def _where(self, path: Path) -> str:
        return path.name if path == self.path else str(path.relative_to(self.path))

    def _files(self, path: Path) -> Iterator[Path | Lost]:
        if not path.is_dir():
            yield path
            return
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            yield Lost(self._where(path), error.strerror or str(error))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._files(path / entry.name)
            elif entry.name.lower().endswith(EML) and entry.is_file():
                yield path / entry.name


# Maildir


def is_maildir(path: Path) -> bool:
    return (path / "cur").is_dir() and (path / "new").is_dir()


@define(eq=False)
class MaildirReader:
    """Reads a Maildir and its subfolders: Maildir++'s `.Sent`, and folders in it that are Maildirs.

    The names of one folder's mails are in memory, some 150 octets each. What is being delivered
    (tmp) is left alone.

    Attributes:
        count: of the mails.
        done: of those that were read.
    """

    path: Path
    make_spool: Callable[[], Spool]
    count: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    unit: str = field(default="mails", init=False)

    def measure(self) -> None:
        """Count them."""
        for folder, _name in self._folders():
            for part in ("new", "cur"):
                try:
                    self.count += sum(not e.name.startswith(".") for e in os.scandir(folder / part))
                except OSError:
                    continue

    def __iter__(self) -> Iterator[Letter | Lost]:
        for folder, name in self._folders():
            yield from self._folder(folder, name)

    def _folders(self) -> Iterator[tuple[Path, str]]:
        """(folder, its name) of each Maildir, the inbox first."""
        yield self.path, ""
        yield from self._below(self.path, "")

    def _below(self, path: Path, name: str) -> Iterator[tuple[Path, str]]:
        try:
            entries = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
        except OSError:
            return
        for entry in entries:
            below = path / entry
            if entry in MAILDIR_PARTS or below.is_symlink() or not is_maildir(below):
                continue
            own = entry.removeprefix(".")
            full = f"{name}.{own}" if name else own
            yield below, full
            yield from self._below(below, full)

    def _folder(self, folder: Path, name: str) -> Iterator[Letter | Lost]:
        try:
            found = sorted(
                (
                    (_delivered_at(entry.name), entry.name, part)
                    for part in ("new", "cur")
                    for entry in os.scandir(folder / part)
                    if not entry.name.startswith(".")
                ),
            )
        except OSError as error:
            yield Lost(name or self.path.name, error.strerror or str(error))
            return
        moved: dict[str, Path] | None = None
        for _at, file, part in found:
            path = folder / part / file
            where = f"{name}/{part}/{file}" if name else f"{part}/{file}"
            try:
                yield self._read(path, where, name)
            except FileNotFoundError:  # a mail program has given it other flags meanwhile
                if moved is None:
                    moved = {_base(each): each for each in _all_of(folder)}
                try:
                    yield self._read(moved.get(_base(path), path), where, name)
                except FileNotFoundError:
                    yield Lost(where, "it vanished")
            self.done += 1

    def _read(self, path: Path, where: str, name: str) -> Letter | Lost:
        flags = flags_of(path.name) if path.parent.name == "cur" else 0
        return read_file(path, where, self.make_spool, mtime=True, flags=flags, folder=name)


def _all_of(folder: Path) -> Iterator[Path]:
    for part in ("new", "cur"):
        for entry in os.scandir(folder / part):
            yield folder / part / entry.name


def _base(path: Path) -> str:
    return path.name.partition(":2,")[0]


def _delivered_at(name: str) -> int:
    begin = name.partition(".")[0]
    return int(begin) if begin.isdecimal() and len(begin) < 12 else 0


def flags_of(name: str) -> int:
    """The bits that a Maildir's file name tells."""
    for mark in (":2,", ";2,", "!2,", "-2,"):
        base, found, letters = name.rpartition(mark)
        if found and base:
            return sum({_LETTERS.get(letter, 0) for letter in letters})
    return 0


def flag_letters(flags: int) -> str:
    """For a Maildir's file name, in the order that it wants."""
    return "".join(sorted(letter for letter, bit in _LETTERS.items() if flags & bit))
