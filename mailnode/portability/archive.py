"""A zip of .eml files, read and written a piece at a time."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from attrs import define, field

from mailnode.portability.files import EML, READ_OCTETS
from mailnode.portability.letter import Gathering, Letter, Lost, Spool

_FAULTS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


@define(eq=False)
class ZipReader:
    """Reads the .eml files of a zip.

    Attributes:
        count: of them.
        done: of those that were read.
    """

    path: Path
    make_spool: Callable[[], Spool]
    count: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    unit: str = field(default="mails", init=False)

    def measure(self) -> None:
        """Count them."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                self.count = len(_mails(archive))
        except _FAULTS:
            self.count = 0

    def __iter__(self) -> Iterator[Letter | Lost]:
        try:
            archive = zipfile.ZipFile(self.path)
        except _FAULTS as error:
            yield Lost(self.path.name, f"it can't be read as a zip: {error}")
            return
        with archive:
            for info in _mails(archive):
                yield self._read(archive, info)
                self.done += 1

    def _read(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Letter | Lost:
        gathering = Gathering(self.make_spool)
        try:
            try:
                file = archive.open(info)
            except _FAULTS as error:
                return Lost(info.filename, str(error))
            with file:
                while piece := _piece(file):
                    if isinstance(piece, Lost):
                        gathering.discard()
                        return Lost(info.filename, piece.why)
                    gathering.feed(piece)
        except BaseException:
            gathering.discard()
            raise
        letter = gathering.end(info.filename)
        if isinstance(letter, Letter) and letter.received_at is None:
            try:
                letter.received_at = time.mktime((*info.date_time, 0, 0, -1))
            except (ValueError, OverflowError):
                letter.received_at = None
        return letter


def _piece(file: IO[bytes]) -> bytes | Lost:
    try:
        return file.read(READ_OCTETS)
    except _FAULTS as error:
        return Lost("", str(error))
    except Exception as error:  # zlib's own
        return Lost("", f"damaged: {error}")


def _mails(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    found = [info for info in archive.infolist() if info.filename.lower().endswith(EML)]
    return sorted(found, key=lambda info: info.filename)


@define(eq=False)
class ZipWriter:
    """Writes mails into a zip; `close` finishes it."""

    file: IO[bytes]
    _archive: zipfile.ZipFile = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._archive = zipfile.ZipFile(self.file, "w", zipfile.ZIP_DEFLATED, compresslevel=3)

    def add(self, name: str, received_at: float, pieces: Iterable[bytes]) -> None:
        when = time.localtime(min(max(received_at, 315619200), 4354819198))  # what a zip can say
        info = zipfile.ZipInfo(name, when[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._archive.open(info, "w", force_zip64=True) as entry:
            for piece in pieces:
                entry.write(piece)

    def close(self) -> None:
        self._archive.close()
