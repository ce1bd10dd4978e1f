"""A folder of .eml files that is kept up to date: `<address>/<subject>.eml`, and their state.

The state says up to which mail each mailbox was written, and which names are being written: these
stand there before the files do. So who goes on after a kill finds each file that was finished, and
writes no mail twice. Files are opened beneath folders that were opened before, never through a
link, and come to their names whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailnode.filenames import enter_folder, safe_name
from mailnode.portability.files import EML

STATE = ".mailnode-export.json"
PART = ".mailnode-part"
VERSION = 1
COUNTED_NAMES = 10_000
MOST_ITEMS = 64
READ_OCTETS = 256 << 10
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def name_of(subject: str) -> str:
    """The name of a mail's file, without its ending."""
    return safe_name(subject, "no subject")


def numbered(name: str, number: int) -> str:
    """The name of the `number`th file that would have it."""
    return f"{name}{EML}" if number == 1 else f"{name} ({number}){EML}"


class ShelfError(Exception):
    """The folder can't be used; why and the mend stand in it."""


@frozen
class Item:
    """A mail to put there.

    Attributes:
        mailbox: which counts by uids of its own; `generation` is another where they begin anew.
        folders: below the shelf's own, one in the other.
        pieces: gives its octets, as often as it is called.
    """

    mailbox: str
    generation: int
    uid: int
    folders: tuple[str, ...]
    subject: str
    received_at: float
    pieces: Callable[[], Iterable[bytes]]


@define(eq=False)
class Shelf:
    """Open it with `Shelf.open`, which nobody else may meanwhile."""

    path: Path
    _fd: int
    _done: dict[str, list[int]] = field(factory=dict, init=False)
    _meant: dict[tuple[str, int], str] = field(factory=dict, init=False)
    _unsure: bool = field(default=False, init=False)
    _adopted: set[tuple[tuple[str, ...], str]] = field(factory=set, init=False)
    _folders: dict[tuple[str, ...], int] = field(factory=dict, init=False)
    _numbers: dict[tuple[tuple[str, ...], str], int] = field(factory=dict, init=False)

    @classmethod
    def open(cls, path: Path) -> Shelf:
        """The shelf, made where there is none.

        Raises:
            ShelfError: it is none of ours, or another program writes there.
            OSError.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        shelf = cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            try:
                fcntl.flock(shelf._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ShelfError(f"another export writes into {path}") from None
            shelf._read_state()
        except BaseException:
            shelf.close()
            raise
        return shelf

    def close(self) -> None:
        for fd in (*self._folders.values(), self._fd):
            os.close(fd)

    def done(self, mailbox: str, generation: int) -> int:
        """The uid up to which this mailbox is there."""
        known, uid = self._done.get(mailbox, (generation, 0))
        if known == generation:
            return uid
        self._unsure = True  # what lies there may be the same mails under other uids
        return 0

    def put(self, items: Sequence[Item]) -> int:
        """These mails lie there, durably; how many were not there before.

        What fails in the midst of it is gone on with by who opens the shelf again.

        Args:
            items: ascending by uid in each mailbox, `MOST_ITEMS` at most.
        """
        names, to_make = list[str](), list[int]()
        taken = set[tuple[tuple[str, ...], str]]()
        for at, item in enumerate(items):
            name = self._finished(item) or self._same_content(item)
            if not name:
                to_make.append(at)
                name = self._free_name(item, taken)
            names.append(name)
            taken.add((item.folders, name))
        self._write_state(items, names)
        self._write([items[at] for at in to_make])
        for number, at in enumerate(to_make):
            folder = self._folder(items[at].folders)
            while not _give_name(folder, f"{PART}-{number}", names[at]):
                names[at] = self._free_name(items[at], taken)  # somebody made one of that name
                self._write_state(items, names)
        for folders in {items[at].folders for at in to_make}:
            os.fsync(self._folder(folders))
        for item in items:
            self._done[item.mailbox] = [item.generation, item.uid]
        self._meant.clear()
        return len(to_make)

    def passed(self, mailbox: str, generation: int, uid: int) -> None:
        """Up to here there was nothing to put there, or what can't be."""
        if self._done.get(mailbox, [generation, 0])[1] < uid:
            self._done[mailbox] = [generation, uid]

    def settle(self) -> None:
        """The state says all that was done."""
        self._write_state((), ())

    # The state

    def _read_state(self) -> None:
        try:
            fd = os.open(STATE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        except FileNotFoundError:
            self._unsure = any(name != STATE for name in os.listdir(self._fd))  # noqa: PTH208
            return
        with open(fd, "rb") as file:
            try:
                told = json.loads(file.read())
                version = told["version"]
                done, meant = _done_of(told), _meant_of(told)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ShelfError(
                    f"{self.path / STATE} is damaged; delete it, and what lies there is compared"
                ) from None
        if version != VERSION:
            raise ShelfError(f"{self.path / STATE} is of another version of mailnode")
        self._done, self._meant = done, meant

    def _write_state(self, items: Sequence[Item], names: Sequence[str]) -> None:
        meant = [[item.mailbox, item.uid, name] for item, name in zip(items, names, strict=True)]
        octets = json.dumps({"version": VERSION, "done": self._done, "writing": meant}).encode()
        part = f"{STATE}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o600, dir_fd=self._fd), "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, STATE, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        os.fsync(self._fd)

    # Names

    def _finished(self, item: Item) -> str:
        """The file that was written for it before a kill; "" where none was finished."""
        name = self._meant.get((item.mailbox, item.uid), "")
        return name if name and self._holds(item, name) else ""

    def _same_content(self, item: Item) -> str:
        """A file that holds it already, where nobody knows what was written; "" for none."""
        if not self._unsure:
            return ""
        base = name_of(item.subject)
        for number in range(1, COUNTED_NAMES):
            name = numbered(base, number)
            if not self._is_there(item.folders, name):
                return ""
            if (item.folders, name) not in self._adopted and self._holds(item, name):
                self._adopted.add((item.folders, name))
                return name
        return ""

    def _free_name(self, item: Item, taken: set[tuple[tuple[str, ...], str]]) -> str:
        base = name_of(item.subject)
        key = item.folders, base

        def is_taken(number: int) -> bool:
            name = numbered(base, number)
            return (item.folders, name) in taken or self._is_there(item.folders, name)

        number = self._numbers.get(key, 0) + 1
        if is_taken(number):  # some before it are taken, too: find the end in a few looks
            step = 1
            while is_taken(number + step):
                number += step
                step *= 2
            while step > 1:
                step //= 2
                number += step * is_taken(number + step)
            number += 1
        if len(self._numbers) >= COUNTED_NAMES:
            self._numbers.clear()
        self._numbers[key] = number
        return numbered(base, number)

    def _is_there(self, folders: tuple[str, ...], name: str) -> bool:
        try:
            os.lstat(name, dir_fd=self._folder(folders))
        except FileNotFoundError:
            return False
        return True

    def _holds(self, item: Item, name: str) -> bool:
        """Whether the file of that name has this mail's octets."""
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(name, flags, dir_fd=self._folder(item.folders))
        except OSError:
            return False
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return False
            seen, wanted = hashlib.sha256(), hashlib.sha256()
            while piece := file.read(READ_OCTETS):
                seen.update(piece)
            for piece in item.pieces():
                wanted.update(piece)
        return seen.digest() == wanted.digest()

    # Files

    def _folder(self, folders: tuple[str, ...]) -> int:
        """A descriptor of the folder, which is made where there is none."""
        if not folders:
            return self._fd
        known = self._folders.get(folders)
        if known is not None:
            return known
        above = self._folder(folders[:-1])
        try:
            fd = enter_folder(above, folders[-1])
        except OSError as error:
            where = self.path.joinpath(*folders)
            raise ShelfError(f"{where} is no folder, or a link ({error.strerror})") from None
        os.fsync(above)
        for number in range(MOST_ITEMS):  # a kill left them
            with suppress(FileNotFoundError):
                os.unlink(f"{PART}-{number}", dir_fd=fd)
        self._folders[folders] = fd
        return fd

    def _write(self, items: Sequence[Item]) -> None:
        """Their files are on the disk, and have no names of their own yet."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with ExitStack() as opened:
            parts = list[int]()
            for number, item in enumerate(items):
                folder = self._folder(item.folders)
                fd = os.open(f"{PART}-{number}", flags, 0o600, dir_fd=folder)
                opened.callback(os.close, fd)
                parts.append(fd)
                with open(fd, "wb", closefd=False) as file:
                    for piece in item.pieces():
                        file.write(piece)
                os.utime(fd, (item.received_at, item.received_at))
            for fd in parts:
                os.fsync(fd)  # of those that were written together, the first flush costs the most


def _give_name(folder: int, part: str, name: str) -> bool:
    """Whether the file has it; False: another one has."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            return True
        return False
    os.unlink(part, dir_fd=folder)
    return True


def _done_of(told: dict[str, Any]) -> dict[str, list[int]]:
    return {str(box): [int(gen), int(uid)] for box, (gen, uid) in told["done"].items()}


def _meant_of(told: dict[str, Any]) -> dict[tuple[str, int], str]:
    return {(str(box), int(uid)): str(name) for box, uid, name in told["writing"]}
