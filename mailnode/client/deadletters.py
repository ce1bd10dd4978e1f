"""Dead letters: mail that nobody took and nobody could be told of, in a file that can be read."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mailnode.client.submission import Letter
from mailnode.durable import flush
from mailnode.outbound.replies import printable
from mailnode.outbound.words import Answer

PIECE_OCTETS = 65536
_FROM = re.compile(rb"\A(>*From )")


def bury(paths: Sequence[Path], letter: Letter, refused: Sequence[tuple[str, Answer]]) -> Path:
    """Append a mail to the first of these mailbox files (mbox) that can be written, durably.

    Raises:
        OSError: none can.
    """
    failure: OSError | None = None
    for path in paths:
        try:
            _append(path, letter, refused)
        except OSError as error:
            failure = error
        else:
            return path
    raise failure or FileNotFoundError("there is no place for dead letters")


def _append(path: Path, letter: Letter, refused: Sequence[tuple[str, Answer]]) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    new = not path.exists()
    fd = os.open(path, flags, 0o600)
    with os.fdopen(fd, "r+b", buffering=0) as file:
        _require_ours(fd, path)
        fcntl.flock(fd, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        try:
            with letter.open() as body:
                for piece in _mbox(letter.sender, body, refused):
                    file.write(piece)
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, end)
            raise
    if new:
        flush(path.parent)


def _require_ours(fd: int, path: Path) -> None:
    """Root's mail goes into no file that a user has put where root's home is said to be.

    Raises:
        OSError.
    """
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        raise PermissionError(errno.EPERM, "not a file of our own", str(path))


def _mbox(sender: str, body: BinaryIO, refused: Sequence[tuple[str, Answer]]) -> Iterator[bytes]:
    """LF lines; a line that could begin another mail is quoted."""
    at = time.asctime(time.gmtime())
    yield f"From {sender.replace(' ', '') or 'MAILER-DAEMON'} {at}\n".encode()
    for address, answer in refused:
        told = printable(f"X-Undelivered: {address}: {answer}")  # an address may hold line ends
        yield f"{told}\n".encode("utf-8", "replace")
    begins = True  # a line, or the rest of a long one
    for piece in iter(lambda: body.readline(PIECE_OCTETS), b""):
        line = piece.removesuffix(b"\r\n") + b"\n" if piece.endswith(b"\r\n") else piece
        yield _FROM.sub(rb">\1", line) if begins else line
        begins = piece.endswith(b"\n")
    yield b"\n" if begins else b"\n\n"
