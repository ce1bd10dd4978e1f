"""Before a schema changes, a copy of the database is kept for a week; `mailnode rollback` takes it.

A copy is made under another name and renamed when it is whole and flushed, so one that has its
name can be used.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from mailnode.durable import flush, own_as
from mailnode.errors import StoreFull
from mailnode.store.exchange import make_kept_folder, stamp
from mailnode.store.sqlite import connect, migrate

KEEP_S = 7 * 86400.0
SPARE_OCTETS = 32 << 20  # beside the copy, for the change itself

_NAME = re.compile(r"(?P<database>.+)-schema-(?P<version>\d+)-(?P<stamp>\d{8}T\d{6}Z)")


@frozen
class Copy:
    """A database as it was before an upgrade.

    Attributes:
        database: the file's name, such as "mail.db".
        version: of its schema.
        stamp: when it was made, as `exchange.stamp` writes it.
    """

    path: Path
    database: str
    version: int
    stamp: str


def copies(kept: Path) -> list[Copy]:
    """What is kept, the newest last."""
    found = []
    if kept.is_dir():
        for path in kept.iterdir():
            if named := _NAME.fullmatch(path.name):
                found.append(Copy(path, named["database"], int(named["version"]), named["stamp"]))
    return sorted(found, key=lambda copy: (copy.stamp, copy.version))


def upgrade(connection: sqlite3.Connection, path: Path, scripts: dict[int, str], kept: Path) -> int:
    """As `migrate`; a database of an older version is copied into `kept` before it changes.

    Raises:
        StoreTooNew: the file is beyond the newest script.
        StoreFull: there is no room for the copy; nothing was changed.
    """
    if not _is_older(connection, scripts):
        return migrate(connection, scripts)
    make_kept_folder(kept)
    lock = os.open(kept, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if version := _is_older(connection, scripts):  # else another process was first
            keep_copy(connection, path, version, kept)
        return migrate(connection, scripts)
    finally:
        os.close(lock)


def _is_older(connection: sqlite3.Connection, scripts: dict[int, str]) -> int:
    """The version of a database that is there and has an older schema; else 0."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version if 0 < version < max(scripts) else 0


def keep_copy(
    connection: sqlite3.Connection,
    path: Path,
    version: int,
    kept: Path,
    now: Callable[[], float] = time.time,
) -> Path:
    """A durable copy of what the connection sees; one of the same version goes when it is there.

    Raises:
        StoreFull: there is no room for it.
    """
    make_kept_folder(kept)
    _clear_parts(kept)  # whoever makes one has the lock
    before = [
        each for each in copies(kept) if (each.database, each.version) == (path.name, version)
    ]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_octets,) = connection.execute("PRAGMA page_size").fetchone()
    disk = os.statvfs(kept)
    wanted = pages * page_octets + SPARE_OCTETS
    if disk.f_bavail * disk.f_frsize < wanted:
        raise StoreFull(
            detail=f"{path} has an older schema, and the copy that is kept before an upgrade"
            f" needs {wanted} octets free in {kept}"
        )
    copy = kept / f"{path.name}-schema-{version}-{stamp(now())}"
    part = copy.with_name(f"{copy.name}.part")
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    own_as(part, path)
    made = connect(part)
    try:
        made.execute("PRAGMA synchronous = OFF")
        connection.backup(made)
        made.execute("PRAGMA journal_mode = DELETE")  # whole in one file, whatever it was before
    finally:
        made.close()
    flush(part)
    part.rename(copy)
    flush(kept)
    for each in before:
        if each.path != copy:
            each.path.unlink(missing_ok=True)
    return copy


def delete_old_copies(kept: Path, now: float) -> int:
    """Copies of more than a week ago are gone; how many."""
    oldest, gone = stamp(now - KEEP_S), 0
    for copy in copies(kept):
        if copy.stamp < oldest:
            copy.path.unlink(missing_ok=True)
            gone += 1
    return gone


def _clear_parts(kept: Path) -> None:
    for part in kept.glob("*-schema-*.part*"):
        part.unlink(missing_ok=True)
