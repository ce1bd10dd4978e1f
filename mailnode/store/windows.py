"""A large mail looked at where it lies: some blocks of its file are in memory at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock

from attrs import define, field

from mailnode.errors import StoreBroken
from mailnode.store.sqlite import mail_error

BLOCK_OCTETS = 128 << 10
KEPT_BLOCKS = 32  # parts stand in each other as deep, and each is looked for from its own place


@define(eq=False)
class Windows:
    """A mail's head, and its body in a file: `mailnode.reading.octets.Octets` for a thread.

    A read fails with StoreBroken where the file does. (A mapped file would end the process then.)

    Args:
        head: what stands in front of the body.
        fd: of the body's file; it is closed by `close`.
    """

    head: bytes
    _fd: int
    _size: int = field(init=False)
    _blocks: OrderedDict[int, bytes] = field(factory=OrderedDict, init=False)
    _lock: Lock = field(factory=Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._size = len(self.head) + os.fstat(self._fd).st_size

    @classmethod
    def of_file(cls, head: bytes, path: os.PathLike[str]) -> Windows:
        """
        Raises:
            StoreBroken: there is no such file, or it can't be read.
        """
        try:
            return cls(head, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise mail_error(error) from error

    def close(self) -> None:
        """Whoever reads on gets StoreBroken. May wait for a read: belongs into a thread."""
        with self._lock:
            fd, self._fd = self._fd, -1
            self._blocks.clear()
            if fd >= 0:
                os.close(fd)

    def forget(self) -> None:
        """Nothing is kept in memory: what follows is read once, from its beginning to its end."""
        with self._lock:
            self._blocks.clear()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        start, end, _ = place.indices(self._size)
        if end - start >= BLOCK_OCTETS // 2:
            return self._read(start, max(0, end - start))
        return b"".join(piece for _, piece in self._pieces(start, end))

    def find(self, wanted: bytes, start: int = 0, end: int = 1 << 62, /) -> int:
        before, end = b"", min(end, self._size)
        for at, piece in self._pieces(start, end):
            found = (before + piece).find(wanted) if before else piece.find(wanted)
            if found >= 0:
                return at - len(before) + found
            before = (before + piece)[1 - len(wanted) :] if len(wanted) > 1 else b""
        return -1

    def startswith(
        self, prefix: bytes | tuple[bytes, ...], start: int = 0, end: int = 1 << 62, /
    ) -> bool:
        longest = max(map(len, prefix)) if isinstance(prefix, tuple) else len(prefix)
        return self[start : min(end, start + longest)].startswith(prefix)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """What lies there, block by block, and where each piece begins."""
        while start < end:
            number, skip = divmod(start, BLOCK_OCTETS)
            piece = self._block(number)[skip : skip + end - start]
            yield start, piece
            start += len(piece)

    def _block(self, number: int) -> bytes:
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                self._blocks.move_to_end(number)
                return block
        start = number * BLOCK_OCTETS
        block = self._read(start, min(BLOCK_OCTETS, self._size - start))
        with self._lock:
            self._blocks[number] = block
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _read(self, start: int, count: int) -> bytes:
        head = self.head[start : start + count]
        wanted, at = count - len(head), max(0, start - len(self.head))
        pieces = [head] if head else []
        while wanted > 0:
            piece = self._pread(wanted, at)
            pieces.append(piece)
            wanted, at = wanted - len(piece), at + len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pread(self, count: int, at: int) -> bytes:
        with self._lock:
            if self._fd < 0:
                raise StoreBroken(detail="the mail is closed")
            try:
                piece = os.pread(self._fd, count, at)
            except OSError as error:
                raise mail_error(error) from error
        if not piece:
            raise StoreBroken(detail="a blob is shorter than it was")
        return piece
