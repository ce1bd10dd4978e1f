"""Mail as files: each as it came, its attachments beside it, compared with what was sent."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from attrs import define, field, frozen

from mailnode.client.reading import files_of, head_of, open_mail
from mailnode.client.trouble import Denied
from mailnode.filenames import enter_folder, make_folder, numbered, open_new, safe_name

UNTITLED = "no subject"
HEAD_OCTETS = 65536
CHUNK_OCTETS = 1 << 20


@frozen
class Saved:
    """What became of one mail.

    Attributes:
        path: of the mail.
        attachments: paths of its files.
        digest: SHA-256 of its octets, which were read back from the disk.
        known: it lay there already, and nothing was written.
    """

    path: Path
    octets: int
    digest: str
    attachments: tuple[Path, ...] = ()
    known: bool = False


@define(eq=False)
class Shelf:
    """A folder for the mail of one address: `FOLDER/<address>/<subject>.eml`.

    Attachments lie in `<subject>/`. Nothing that is there is overwritten, and nothing lies outside.
    """

    root: Path
    address: str
    _fd: int = field(init=False)
    _name: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Raises:
            OSError.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._name = safe_name(self.address, "mail")
            self._fd = enter_folder(root_fd, self._name)
        finally:
            os.close(root_fd)

    def close(self) -> None:
        os.close(self._fd)

    def save(self, retrieve: Callable[[Callable[[bytes], object]], int]) -> Saved:
        """Keep one mail.

        Args:
            retrieve: hands its octets piece by piece to what it is given.

        Raises:
            Denied: what lies on the disk is not what came.
            OSError.
        """
        part_fd, part = open_new(self._fd, ".part")
        try:
            digest = hashlib.sha256()
            with os.fdopen(part_fd, "wb") as file:

                def write(piece: bytes) -> None:
                    digest.update(piece)
                    file.write(piece)

                octets = retrieve(write)
                file.flush()
                os.fsync(file.fileno())
            raw = self._read_back(part, digest.hexdigest())
            wanted = safe_name(head_of(raw[:HEAD_OCTETS]).subject, UNTITLED) + ".eml"
            if (there := self._find(wanted, raw)) is not None:
                os.unlink(part, dir_fd=self._fd)
                path = self.root / self._name / there
                return Saved(path, octets, digest.hexdigest(), known=True)
            name, attachments = self._give_name(part, wanted, raw)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=self._fd)
            raise
        os.fsync(self._fd)
        folder = self.root / self._name
        return Saved(
            folder / name,
            octets,
            digest.hexdigest(),
            tuple(folder / each for each in attachments),
        )

    def _read_back(self, name: str, digest: str) -> bytes:
        read_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        with os.fdopen(read_fd, "rb") as file:
            raw = file.read()
        if hashlib.sha256(raw).hexdigest() != digest:
            raise Denied("the disk gives back other octets than were written: is it damaged?")
        return raw

    def _find(self, wanted: str, raw: bytes) -> str | None:
        """The file of this name, or of one with a number, that holds the same mail already."""
        for name in numbered(wanted):
            try:
                there = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            except FileNotFoundError:
                return None
            if stat.S_ISREG(there.st_mode) and there.st_size == len(raw):
                with suppress(OSError):
                    found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._fd)
                    with os.fdopen(found, "rb") as file:
                        if file.read() == raw:
                            return name
        return None

    def _give_name(self, part: str, wanted: str, raw: bytes) -> tuple[str, list[Path]]:
        """The mail's name, and its files beside it.

        The files come first: a mail that lies there is passed over the next time.
        """
        new_fd, name = open_new(self._fd, wanted)  # so that nobody else has the name
        os.close(new_fd)
        try:
            attachments = self._save_attachments(raw, name.removesuffix(".eml"))
            os.rename(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.unlink(name, dir_fd=self._fd)
            raise
        return name, attachments

    def _save_attachments(self, raw: bytes, stem: str) -> list[Path]:
        found = list(files_of(open_mail(raw)))
        if not found:
            return []
        folder_fd, folder = make_folder(self._fd, stem)
        saved = []
        try:
            for number, each in enumerate(found, 1):
                wanted = safe_name(PurePosixPath(each.name).name, f"attachment {number}")
                file_fd, name = open_new(folder_fd, wanted)
                with os.fdopen(file_fd, "wb") as file:
                    file.write(each.content())
                    file.flush()
                    os.fsync(file.fileno())
                saved.append(Path(folder, name))
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)
        return saved
