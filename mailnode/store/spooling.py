"""Large bodies written by a program beside the node: whole and flushed before a row names them.

The same order as in `blobs`, which the node's own threads follow. `locks.writing_blobs` keeps the
sweep off what is in hand; what a killed program left is swept at the node's next start.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from attrs import define, field

from mailnode.durable import flush, make_folder, own_as
from mailnode.errors import StoreFull
from mailnode.store.blobs import blob_path
from mailnode.store.sqlite import mail_error

LOOK_OCTETS = 16 << 20


def require_room(data: Path, least_free_octets: int) -> None:
    """Nothing, where the disk has that much to spare.

    Raises:
        StoreFull: it has not.
        StoreBroken: nobody can tell.
    """
    try:
        disk = os.statvfs(data)
    except OSError as error:
        raise mail_error(error) from error
    free = disk.f_bavail * disk.f_frsize
    if free < least_free_octets:
        raise StoreFull(
            "The disk is nearly full",
            detail=f"{free >> 20} MiB are free at {data}, and store.free_space keeps"
            f" {least_free_octets >> 20} MiB for mail that comes",
        )


@define(eq=False)
class SpooledBlob:
    """A blob that comes in pieces; nothing is touched before the first.

    Attributes:
        key: its name in the store.
        least_free_octets: of the disk that stay free.
    """

    data: Path
    least_free_octets: int = 0
    key: str = field(factory=lambda: secrets.token_hex(16), init=False)
    _fd: int = field(default=-1, init=False)
    _unlooked: int = field(default=LOOK_OCTETS, init=False)

    @property
    def _spooled(self) -> Path:
        return self.data / "spool" / self.key

    def write(self, octets: bytes) -> None:
        """Take the next octets.

        Raises:
            StoreFull, StoreBroken.
        """
        self._unlooked += len(octets)
        try:
            if self._unlooked >= LOOK_OCTETS:
                require_room(self.data, self.least_free_octets)
                self._unlooked = 0
            if self._fd < 0:
                for folder in ("spool", "blobs"):
                    make_folder(self.data / folder)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._fd = os.open(self._spooled, flags, 0o600)
            rest = memoryview(octets)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise mail_error(error) from error

    def keep(self) -> None:
        """It has its lasting name, and its bytes would survive a power cut: a row may name it.

        Raises:
            StoreFull, StoreBroken.
        """
        path = blob_path(self.data, self.key)
        try:
            os.fsync(self._fd)
            make_folder(path.parent)
            own_as(self._spooled, self.data)
            self._spooled.rename(path)
            flush(path.parent)
        except OSError as error:
            raise mail_error(error) from error
        self._close()

    def discard(self) -> None:
        """Nothing of it is left, not even what was kept: no row names it.

        Raises:
            StoreBroken.
        """
        self._close()
        for path in (self._spooled, blob_path(self.data, self.key)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise mail_error(error) from error

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
