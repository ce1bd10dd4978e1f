"""Where exported mail goes: an mbox, a Maildir. Each is whole under its name, or not there."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from attrs import define, field

from mailnode.durable import flush
from mailnode.model import ANSWERED, DRAFT, FLAGGED, SEEN, TRASHED
from mailnode.portability.files import flag_letters
from mailnode.portability.mbox import QUOTED_OCTETS


class DepositError(Exception):
    """There can be no file of that name; why and the mend stand in it."""


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
        """
        Raises:
            DepositError.
            OSError.
        """
        self._refuse_taken()
        self.file = open(self._open_part(), "w+b", buffering=1 << 18)
        try:
            self._refuse_others_part()
            self.file.truncate()
        except BaseException:
            self.file.close()
            raise
        return self

    def _open_part(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._part, flags, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            folder = self.path.parent
            raise DepositError(f"there is no folder {folder}: make it, or name another") from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from None

    def _refuse_others_part(self) -> None:
        """What is written is ours alone: another export may be about to give it its name."""
        fd = self.file.fileno()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.fstat(fd), os.lstat(self._part))
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            raise DepositError(f"another export writes {self.path}: wait for its end")
        if os.fstat(fd).st_uid != os.geteuid():  # who owns it could read what comes into it
            raise DepositError(f"{self._part} is somebody else's: delete it, or name another file")
        os.fchmod(fd, 0o600)

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
        if self.path.is_dir():
            raise DepositError(f"{self.path} is a folder: name a file in it")
        if not self.force and (self.path.exists() or self.path.is_symlink()):
            raise DepositError(f"{self.path} is there already; --force replaces what is there")


_TO_QUOTE = re.compile(rb"(?m)^(?=>*From )")
_STATUS_LETTERS = ((ANSWERED, "A"), (FLAGGED, "F"), (DRAFT, "T"), (TRASHED, "D"))


def from_line(sender: str, received_at: float, flags: int = 0) -> bytes:
    """What stands before a mail in an mbox: its From line, and what its owner's programs said."""
    who = sender if re.fullmatch(r"[!-~]+", sender) else "MAILER-DAEMON"
    lines = [f"From {who} {time.asctime(time.gmtime(received_at))}"]
    if flags & SEEN:
        lines.append("Status: RO")
    letters = "".join(letter for bit, letter in _STATUS_LETTERS if flags & bit)
    if letters:
        lines.append(f"X-Status: {letters}")
    return "".join(f"{line}\n" for line in lines).encode()


@define(eq=False)
class MboxBody:
    """Turns a mail with CRLF lines into what stands for it in an mboxrd, in pieces cut anywhere."""

    _held: bytes = b""
    _last: bytes = b"\n"

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece
        line = data.rfind(b"\n") + 1
        if len(data) - line > QUOTED_OCTETS:
            line = len(data) - 1  # its beginning is known, and a CR may wait for its LF
        self._held = data[line:]
        return self._written(data[:line])

    def end(self) -> bytes:
        """The rest, and the blank line behind the mail."""
        rest = self._written(self._held)
        return rest + (b"\n" if self._last == b"\n" else b"\n\n")

    def _written(self, data: bytes) -> bytes:
        if not data:
            return data
        begins = self._last == b"\n"
        data = data.replace(b"\r\n", b"\n")
        self._last = data[-1:]
        if b"From " not in data:
            return data
        if begins:
            return _TO_QUOTE.sub(b">", data)
        first, end, rest = data.partition(b"\n")
        return first + end + _TO_QUOTE.sub(b">", rest)


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
