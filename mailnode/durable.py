"""Small files and folders that outlive a power cut and belong to whom the node runs as."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def flush(path: Path) -> None:
    """What was written to a file, or which names a folder has, outlives a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def own_as(path: Path, like: Path) -> None:
    """What root makes belongs to whom `like` does: the node could not open it else."""
    if os.geteuid() == 0:
        owner = like.stat()
        with suppress(PermissionError):  # a root that may not: it is as it was made
            os.chown(path, owner.st_uid, owner.st_gid)


def make_folder(folder: Path) -> Path:
    """A folder that is its owner's alone is there, durably."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own_as(folder, folder.parent)
    flush(folder.parent)
    return folder


def write_durably(path: Path, *pieces: bytes) -> None:
    """The file holds these, its owner's alone; a power cut leaves the old one or the new one."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    flush(path.parent)
