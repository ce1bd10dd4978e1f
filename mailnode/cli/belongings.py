"""What a node has beside its mail, and needs on a clean machine: keys, certificate, small state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from mailnode.config import Config
from mailnode.listening import LISTENING
from mailnode.store.beside import WRITER_LOCK
from mailnode.store.drafts import UPLOADS_FOLDER
from mailnode.store.exchange import KEPT
from mailnode.store.index_files import INDEX_FOLDER
from mailnode.store.lists import MAIL_DATABASE
from mailnode.store.reserve import NAME as RESERVE

USERS, DATA, SETTINGS = "users.db", "var", "mailnode.toml"
# Bodies go by the rows that name them, and indexes are made anew from them. Files that wait for a
# draft come and go all the time: as belongings they would have to stand still.
_FOLDERS = {"blobs", "spool", "locks", INDEX_FOLDER, KEPT, UPLOADS_FOLDER}
_FILES = {LISTENING, RESERVE, WRITER_LOCK}
_ENDINGS = (".lock", ".log", ".pid", ".new", ".part", ".next", "-wal", "-shm", "-journal")
_DATABASE = b"SQLite format 3\0"
TRIES = 5


@frozen
class Belonging:
    """A file of the data folder.

    Attributes:
        name: under which a backup has it.
        is_database: it is copied as SQLite copies it.
    """

    name: str
    path: Path
    mode: int
    is_database: bool
    stamp: tuple[int, ...]  # another one once it was written; () for a database, which may be


def belongings(config: Config) -> list[Belonging]:
    """All but mail, accounts, locks, sockets, logs, what is half-made, and what a start makes."""
    found = list(_files_of(config.data_path, config.users_path.absolute()))
    if config.path is not None:
        found.append(_belonging(SETTINGS, config.path))
    return sorted(found, key=lambda each: each.name)


def _files_of(data: Path, users: Path) -> Iterator[Belonging]:
    for folder, inner, names in os.walk(data):
        if folder == str(data):
            inner[:] = [name for name in inner if name not in _FOLDERS]
        for name in names:
            path = Path(folder) / name
            of_mail = folder == str(data) and name.startswith(MAIL_DATABASE)
            left_out = of_mail or name in _FILES or name.endswith(_ENDINGS) or ".log." in name
            if not left_out and path.is_file() and path.absolute() != users:
                yield _belonging(f"{DATA}/{path.relative_to(data).as_posix()}", path)


def _belonging(name: str, path: Path) -> Belonging:
    about = path.stat()
    with path.open("rb") as file:
        is_database = file.read(len(_DATABASE)) == _DATABASE
    stamp = () if is_database else (about.st_ino, about.st_mtime_ns, about.st_size)
    return Belonging(name, path, about.st_mode & 0o777, is_database, stamp)
