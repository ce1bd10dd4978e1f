"""A file of no use but its size: a full disk takes deletions in its place.

It is given up in slices by who makes room, and made whole again as soon as the disk has room
for it. Until then nothing else is written, or new mail would take what deletions need.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

log = Logger()

NAME = "reserve"
SLICES = 16
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@define(eq=False)
class Reserve:
    """The reserve of a data folder. Any thread and process may use it.

    Attributes:
        path: of the file.
        size_octets: of the whole file; 0 for none.
        spent: part of it was given up and is not made again yet.
    """

    path: Path
    size_octets: int
    spent: bool = field(default=False, init=False)

    def look(self) -> None:
        """Take notice of what another process gave up."""
        if self.size_octets and not self.spent:
            self._is_spent(self._left() < self.size_octets)

    def give_up(self) -> bool:
        """A slice of it is free for who makes room; False when nothing is left."""
        left = self._left()
        if not left:
            return False
        self._is_spent(True)
        try:
            os.truncate(self.path, max(0, left - max(1, self.size_octets // SLICES)))
        except OSError as error:
            log.error("The reserve can't be used: {error}", error=str(error))
            return False
        return True

    def restore(self) -> bool:
        """Whether it is whole: made again where the disk has room."""
        left = self._left()
        try:
            if left > self.size_octets:
                os.truncate(self.path, self.size_octets)
            elif left < self.size_octets:
                self._grow(left)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._is_spent(True)
                return False
            log.error("There is no reserve for a full disk: {error}", error=str(error))
            self.size_octets = 0
        self._is_spent(False)
        return True

    def _grow(self, left: int) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                os.posix_fallocate(fd, 0, self.size_octets)
            except OSError:
                os.ftruncate(fd, left)
                raise
        finally:
            os.close(fd)

    def _left(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _is_spent(self, spent: bool) -> None:
        if spent != self.spent:
            self.spent = spent
            if spent:
                log.error("The disk is full: what is left is for deletions, mail waits")
            else:
                log.info("The disk has room again, the reserve for deletions is whole")
