"""One database takes the place of another, whole, whatever is killed or cut off meanwhile.

The new one is finished under the name of the old with `.next` behind it; that name decides. Who
opens the database finishes what was begun: a write-ahead log or journal of the old one must
never be applied to the new one.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from mailnode.durable import flush, make_folder, own_as
from mailnode.errors import StoreBroken

KEPT = "kept"
PIECE_OCTETS = 1 << 20
BESIDE = ("-wal", "-shm", "-journal")


def stamp(at: float) -> str:
    """A moment in the name of a file: UTC, sorted by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))


def make_kept_folder(folder: Path) -> Path:
    """A folder for what is kept aside, its owner's alone, and durably there."""
    make_folder(folder.parent)
    return make_folder(folder)


def fresh_folder(kept: Path, what: str) -> Path:
    """A name for a folder that isn't there yet, of what was done and when."""
    folder = kept / f"{what}-{stamp(time.time())}"
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{what}-{stamp(time.time())}-{number}")
    return folder


def copy_file(source: Path, target: Path) -> None:
    """The same octets under another name, its owner's alone, flushed."""
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as to, source.open("rb") as file:
        shutil.copyfileobj(file, to, PIECE_OCTETS)
        own_as(target, source)
        to.flush()
        os.fsync(fd)


def keep(path: Path, folder: Path) -> Path:
    """A database as it is, with what belongs to it, has a second name in `folder`."""
    make_kept_folder(folder)
    for suffix in ("", *BESIDE):
        source = Path(f"{path}{suffix}")
        if source.exists() and suffix != "-shm":
            _link(source, folder / source.name)
    flush(folder)
    return folder / path.name


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        copy_file(source, target)


def next_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def part_of(path: Path) -> Path:
    """Where the next database is made; what an ended process left there is gone."""
    part = path.with_name(f"{path.name}.part")
    for suffix in ("", *BESIDE):
        Path(f"{part}{suffix}").unlink(missing_ok=True)
    return part


def put_in_place(part: Path, path: Path) -> None:
    """A finished database takes the place of `path`; `keep` that before."""
    if path.exists():
        own_as(part, path)
    flush(part)
    part.rename(next_of(path))
    finish_exchange(path)


def finish_exchange(path: Path) -> bool:
    """Whether a database that was decided on took its place only now.

    Nobody may have the old one open.
    """
    if not next_of(path).exists():
        return False
    folder = path.absolute().parent
    flush(folder)  # the name decides only once it would outlive what follows
    for suffix in BESIDE:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").unlink()
    flush(folder)
    next_of(path).rename(path)
    flush(folder)
    return True


def refuse_to_begin_anew(path: Path) -> None:
    """Nothing, but where a mail database is gone.

    Raises:
        StoreBroken: a new one would name none of the blobs, and the sweep would delete them.
    """
    empty = not path.exists() or not path.stat().st_size
    if empty and any((path.parent / "blobs").glob("??/*")):
        raise StoreBroken(
            detail="it is missing or empty, and blobs of mail are here: mailnode repair keeps them"
        )
