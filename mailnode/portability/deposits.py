"""Where exported mail goes: an mbox, a Maildir. Each is whole under its name, or not there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from attrs import define, field

from mailnode.durable import flush
from mailnode.portability.files import flag_letters
from mailnode.portability.mbox import MboxBody, from_line


class Taken(Exception):
    """There is something of that name already, or somebody writes it; which stands in it."""


@define(eq=False)
class FileInMaking:
    """A file that gets its name once it is whole; what it was before stays until then.

    Attributes:
        force: it may take the place of another.
    """

    path: Path
    force: bool = False
    file: IO[bytes] = field(init=False)

    @property
    def _part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    def __enter__(self) -> FileInMaking:
        self._refuse_taken()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._part, flags, 0o600)
        self.file = open(fd, "w+b", buffering=1 << 18)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise Taken(f"another export writes {self.path}") from None
        self.file.truncate()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
                self._refuse_taken()
                self._part.rename(self.path)
                flush(self.path.parent)
            else:
                with suppress(FileNotFoundError):
                    self._part.unlink()
        finally:
            self.file.close()

    def _refuse_taken(self) -> None:
        if not self.force and (self.path.exists() or self.path.is_symlink()):
            raise Taken(f"{self.path} is there already")


def write_mbox_mail(
    file: IO[bytes], sender: str, received_at: float, flags: int, pieces: Iterable[bytes]
) -> None:
    """One mail more at the end of an mboxrd."""
    file.write(from_line(sender, received_at, flags))
    body = MboxBody()
    for piece in pieces:
        file.write(body.feed(piece))
    file.write(body.end())


@define(eq=False)
class MaildirWriter:
    """Adds mails to a Maildir, each once: the names of those that it has are in memory.

    Lines end in LF there, as they do in every Maildir.
    """

    path: Path
    _have: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        for part in ("tmp", "new", "cur"):
            (self.path / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in ("new", "cur"):
            self._have.update(
                entry.name.partition(":2,")[0] for entry in os.scandir(self.path / part)
            )

    def add(self, name: str, received_at: float, flags: int, pieces: Iterable[bytes]) -> bool:
        """Whether it was not there before.

        Args:
            name: which no other mail ever has; the time is put in front.
        """
        base = f"{int(received_at)}.{name}.mailnode"
        if base in self._have:
            return False
        waiting = self.path / "tmp" / base
        flags_open = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(waiting, flags_open, 0o600), "wb") as file:
            held = b""
            for piece in pieces:
                octets = held + piece
                held = b"\r" if octets.endswith(b"\r") else b""
                file.write(octets[: len(octets) - len(held)].replace(b"\r\n", b"\n"))
            file.write(held)
            file.flush()
            os.utime(file.fileno(), (received_at, received_at))
        if flags:
            waiting.rename(self.path / "cur" / f"{base}:2,{flag_letters(flags)}")
        else:
            waiting.rename(self.path / "new" / base)
        self._have.add(base)
        return True
