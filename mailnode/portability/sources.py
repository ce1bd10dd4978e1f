"""What mail is moved in from: which form a file or folder has, and who reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from attrs import define, field

from mailnode.portability.archive import ZipReader
from mailnode.portability.files import EML, EmlReader, MaildirReader, is_maildir
from mailnode.portability.letter import Letter, Lost, Spool
from mailnode.portability.mbox import DIALECTS, LINE_OCTETS, MboxReader, looks_like_mbox
from mailnode.portability.plaintext import USERINFO, is_userinfo

FORMATS = (*DIALECTS, "maildir", "eml", "zip", "userinfo")
MBOX = ".mbox"
LOOKED_AT = 10_000  # entries of a folder, to find out what it holds


class Source(Protocol):
    """Mails one after the other, from wherever.

    Attributes:
        count: how much there is, once it was measured; 0 where nobody knows.
        done: how much of it was read.
        unit: "octets" or "mails", of both.
    """

    @property
    def count(self) -> int: ...
    @property
    def done(self) -> int: ...
    @property
    def unit(self) -> str: ...

    def measure(self) -> None:
        """Look how much there is."""

    def __iter__(self) -> Iterator[Letter | Lost]:
        """Read it from its beginning.

        Raises:
            OSError: it can't be read on.
            MailError: a spool can't be written.
        """


class Unknown(Exception):
    """Nobody can tell what it is; why stands in it."""


def guess_format(path: Path) -> str:
    """One of `FORMATS`.

    Raises:
        Unknown: none of them.
        OSError: it can't be looked at.
    """
    if path.is_dir():
        return _guess_folder(path)
    with path.open("rb") as file:
        begin = file.read(4 * LINE_OCTETS)
    if begin.startswith(b"PK\x03\x04") or begin.startswith(b"PK\x05\x06"):
        return "zip"
    if _is_mbox(path, begin):
        return "mbox"
    if path.name.lower().endswith(EML):
        return "eml"
    if not begin:
        raise Unknown("it is empty")
    if path.name == USERINFO:
        raise Unknown(f"name the folder that {USERINFO} lies in: {path.absolute().parent}")
    raise Unknown("it begins with no From line, so it is no mbox, and its name ends with no .eml")


def _guess_folder(path: Path) -> str:
    if is_userinfo(path):
        return "userinfo"
    if is_maildir(path):
        return "maildir"
    looked_at = 0
    for _folder, _folders, files in os.walk(path):
        for name in files:
            looked_at += 1
            if name.lower().endswith(EML):
                return "eml"
        if looked_at > LOOKED_AT:
            break
    if any(True for _ in _boxes(path)):
        return "mbox"
    raise Unknown(f"there is no cur and new, no {EML}, no mbox and no {USERINFO} in it")


def open_source(path: Path, form: str, make_spool: Callable[[], Spool]) -> Source:
    """Who reads it as one of `FORMATS`; not a whole system (`plaintext.read_users`)."""
    if form == "maildir":
        return MaildirReader(path, make_spool)
    if form == "eml":
        return EmlReader(path, make_spool)
    if form == "zip":
        return ZipReader(path, make_spool)
    if not path.is_dir():
        return MboxReader(path, make_spool, form)
    return Boxes(
        [
            MboxReader(box, make_spool, form, box.name, "" if _is_inbox(box) else _folder_of(box))
            for box in _boxes(path)
        ]
    )


def _boxes(path: Path) -> Iterator[Path]:
    """The files of a folder that are mboxes."""
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_file() and not entry.name.startswith("."):
            box = path / entry.name
            with box.open("rb") as file:
                if _is_mbox(box, file.read(4 * LINE_OCTETS)):
                    yield box


def _is_mbox(path: Path, begin: bytes) -> bool:
    """Its begin tells; of an empty one, its name."""
    return looks_like_mbox(begin) or (not begin and path.suffix.lower() == MBOX)


def _is_inbox(path: Path) -> bool:
    return _folder_of(path).lower() in ("inbox", "mbox")


def _folder_of(path: Path) -> str:
    return path.name.removesuffix(MBOX)


@define(eq=False)
class Boxes:
    """Several mboxes, each a folder."""

    boxes: list[MboxReader]
    unit: str = field(default="octets", init=False)

    @property
    def count(self) -> int:
        return sum(box.count for box in self.boxes)

    @property
    def done(self) -> int:
        return sum(box.done for box in self.boxes)

    def measure(self) -> None:
        """Look how large they are."""
        for box in self.boxes:
            box.measure()

    def __iter__(self) -> Iterator[Letter | Lost]:
        for box in self.boxes:
            try:
                yield from box
            except OSError as error:
                yield Lost(box.name, error.strerror or str(error))
