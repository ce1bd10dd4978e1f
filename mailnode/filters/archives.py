"""What is in a zip archive, by its directory alone: nothing is unpacked. Pure."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable

from attrs import define, field, frozen

DIRECTORY_OCTETS = 256 * 1024  # about 3,000 files
_END_OCTETS = 22 + 65_535 + 76  # of the directory, its comment, and what zip64 puts in front

_ENCRYPTED = 0x1


class NoDirectory(Exception):
    """The archive can't be looked into: why, for people."""


@frozen
class Listing:
    """What an archive's directory says.

    Attributes:
        names: of its files, as they stand there.
        encrypted: one of them is.
    """

    names: tuple[str, ...]
    encrypted: bool


def list_zip(pieces: Iterable[bytes]) -> Listing:
    """The files of a zip archive, read once from its beginning to its end.

    Raises:
        NoDirectory: it is damaged, or too large a directory.
    """
    end = _End()
    for piece in pieces:
        end.feed(piece)
    try:
        with zipfile.ZipFile(end) as archive:
            files = [each for each in archive.infolist() if not each.is_dir()]
    except Exception as error:  # what stumbles over a stranger's octets there has many names
        large = " or has too many files" if end.missed else ""
        raise NoDirectory(f"it is damaged{large}") from error
    return Listing(
        tuple(each.filename for each in files),
        any(each.flag_bits & _ENCRYPTED for each in files),
    )


@define(eq=False)
class _End:
    """A file of which only the end is kept: there the directory stands.

    Attributes:
        missed: something was asked for that isn't kept.
    """

    missed: bool = False
    _kept: bytearray = field(factory=bytearray)
    _size: int = 0
    _at: int = 0

    def feed(self, piece: bytes) -> None:
        self._kept += piece
        self._size += len(piece)
        if len(self._kept) > 2 * (DIRECTORY_OCTETS + _END_OCTETS):
            del self._kept[: -(DIRECTORY_OCTETS + _END_OCTETS)]

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise OSError("in front of the beginning")
        self._at = at
        return at

    def read(self, count: int = -1) -> bytes:
        """Nothing of what isn't kept, or is more than a directory may have."""
        at = self._at - (self._size - len(self._kept))
        if at < 0 or count > DIRECTORY_OCTETS:
            self.missed = True
            return b""
        data = bytes(self._kept[at : at + count if count >= 0 else None])
        self._at += len(data)
        return data
