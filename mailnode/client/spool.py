"""Mail that could not be handed over yet, in a folder of its sender's.

A mail is two files: `ID.eml`, its octets, and `ID.json`, the slip that says whom it is for. It is
there once its slip is, which comes last and goes first, flushed each time. Whoever works on a mail
has locked its octets, and the kernel frees a killed process's lock at once: no mail is sent by two,
and one that was sent is sent again only if the process dies between the server's 250 and the
removal of the slip.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import attrs
from attrs import define, field, frozen

from mailnode.client.submission import Letter
from mailnode.durable import flush, write_durably
from mailnode.errors import MailError

LEFTOVER_S = 3600.0
COPY_OCTETS = 1 << 18
_FORM = 1


class BadSpool(MailError):
    """The folder can't keep mail, or a slip in it can't be read."""

    exit_code = 75


@frozen
class Slip:
    """What stands beside a mail.

    Attributes:
        sender: the reverse-path, "" for `<>`.
        recipients: those that still wait for it.
        at: when it was written, UTC epoch seconds.
        notify, ret, envid: what the sender asked of reports (RFC 3461); "" for nothing.
        why: what the last attempt came to.
    """

    sender: str
    recipients: tuple[str, ...]
    at: float
    eight_bit: bool = False
    notify: str = ""
    ret: str = ""
    envid: str = ""
    why: str = ""

    @property
    def smtputf8(self) -> bool:
        return not all(map(str.isascii, (self.sender, *self.recipients)))

    def to_json(self) -> bytes:
        return json.dumps({"form": _FORM, **attrs.asdict(self)}).encode()

    @classmethod
    def of_json(cls, data: bytes) -> Slip:
        """
        Raises:
            ValueError: it is none.
        """
        told = json.loads(data)
        if not isinstance(told, dict) or told.pop("form", None) != _FORM:
            raise ValueError("no slip")
        try:
            slip = cls(**told)
            return attrs.evolve(slip, recipients=tuple(map(str, slip.recipients)))
        except TypeError as error:
            raise ValueError(str(error)) from None


@define(eq=False)
class Kept:
    """A mail in the spool that is ours to work on, until `let_go`."""

    folder: Path
    name: str
    slip: Slip
    _fd: int = field(repr=False)

    @property
    def size_octets(self) -> int:
        return os.fstat(self._fd).st_size

    def open(self) -> BinaryIO:
        """Its octets, from the first; a reader of its own."""
        return io.BufferedReader(_Octets(self._fd))

    def letter(self) -> Letter:
        slip = self.slip
        return Letter(
            sender=slip.sender,
            recipients=slip.recipients,
            size_octets=self.size_octets,
            open=self.open,
            smtputf8=slip.smtputf8,
            eight_bit=slip.eight_bit,
            notify=slip.notify,
            ret=slip.ret,
            envid=slip.envid,
        )

    def settle(self, recipients: tuple[str, ...], why: str = "") -> None:
        """From here these wait for it; none: it is gone. Either outlives a power cut.

        Raises:
            BadSpool: it still waits for whom it did, since the disk takes no other slip.
        """
        slip = attrs.evolve(self.slip, recipients=recipients, why=why)
        try:
            if not recipients:
                self._slip_path.unlink(missing_ok=True)
                flush(self.folder)
                self._path.unlink(missing_ok=True)
            elif slip != self.slip:
                write_durably(self._slip_path, slip.to_json())
        except OSError as error:
            if recipients != self.slip.recipients:
                raise BadSpool(f"{self._slip_path}: {error.strerror}") from None
        else:
            self.slip = slip

    def tried(self) -> None:
        """Others come first at the next round."""
        os.utime(self._path)

    def let_go(self) -> None:
        os.close(self._fd)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.name}.eml"

    @property
    def _slip_path(self) -> Path:
        return self.folder / f"{self.name}.json"


class _Octets(io.RawIOBase):
    """Reads a descriptor that stays open, from its first octet, without moving its place."""

    def __init__(self, fd: int) -> None:
        self._fd, self._at = fd, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = os.pread(self._fd, len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@define(eq=False)
class Spool:
    """The folder; nobody else enters it."""

    folder: Path

    @classmethod
    def open(cls, folder: Path, *, make: bool = True) -> Spool:
        """
        Args:
            make: whether it is made where it is missing.

        Raises:
            BadSpool: it is somebody else's, or can't be made.
        """
        try:
            if make and not folder.is_dir():
                _make(folder)
            found = folder.lstat()
        except FileNotFoundError:
            return cls(folder)
        except OSError as error:
            raise BadSpool(f"{folder}: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode):
            raise BadSpool(f"{folder} is no folder")
        if found.st_uid != os.geteuid():
            raise BadSpool(f"{folder} belongs to somebody else")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        return cls(folder)

    def keep(self, slip: Slip, octets: IO[bytes]) -> Kept:
        """The mail is here, and outlives a power cut; it is locked.

        Raises:
            BadSpool: there is no room, or the disk fails; nothing of it is left.
        """
        name = f"{time.time_ns():x}-{secrets.token_hex(4)}"
        path = self.folder / f"{name}.eml"
        fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept = Kept(self.folder, name, slip, fd)
            while piece := octets.read(COPY_OCTETS):
                _write_all(fd, piece)
            os.fsync(fd)
            write_durably(kept._slip_path, slip.to_json())
        except BaseException as error:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            if fd >= 0:
                os.close(fd)
            if isinstance(error, OSError):
                raise BadSpool(f"{self.folder}: {error.strerror}") from None
            raise
        return kept

    def names(self) -> list[str]:
        """The mails that wait, the one first that was not tried for longest."""
        found = []
        for path in self._files(".json"):
            try:
                found.append((path.with_suffix(".eml").stat().st_mtime_ns, path.stem))
            except OSError:
                continue  # it has just gone
        return [name for _, name in sorted(found)]

    def take(self, name: str) -> Kept | None:
        """A mail, locked; None when somebody works on it, or it is gone.

        Raises:
            BadSpool: it or its slip can't be read; it stays.
        """
        path = self.folder / f"{name}.eml"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadSpool(f"{path} can't be read: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            slip = self.slip(name)
        except BlockingIOError:
            slip = None
        except BaseException:
            os.close(fd)
            raise
        if slip is None:
            os.close(fd)
            return None
        return Kept(self.folder, name, slip, fd)

    def slip(self, name: str) -> Slip | None:
        """Without a lock: what it says just now; None when it is gone."""
        path = self.folder / f"{name}.json"
        try:
            return Slip.of_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BadSpool(f"{path} can't be read: {error}") from None

    def octets_of(self, name: str) -> int:
        try:
            return (self.folder / f"{name}.eml").stat().st_size
        except FileNotFoundError:
            return 0

    def sweep(self) -> None:
        """What killed processes have left unfinished is gone, an hour later."""
        for path in (*self._files(".eml"), *self._files(".new")):
            try:
                if time.time() - path.stat().st_mtime > LEFTOVER_S:
                    self._sweep(path)
            except OSError:
                continue

    def _sweep(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.with_suffix(".json").exists():
                path.unlink()
        finally:
            os.close(fd)

    def _files(self, ending: str) -> Iterator[Path]:
        try:
            return iter(sorted(self.folder.glob(f"*{ending}")))
        except OSError:
            return iter(())


def _make(folder: Path) -> None:
    """It is there after a power cut, too."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing:
        flush(each.parent)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
