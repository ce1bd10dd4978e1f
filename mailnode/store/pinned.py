"""The mail database as it is at one moment, read page by page while the node goes on writing.

A read transaction pins the moment: no form of a page that is newer than it is moved from the
write-ahead log into the file, and the log is not begun anew over what is needed. So a page's form
at that moment is the last that the log holds up to that moment's end, else the one in the file.
What may be torn in the file is a page that a checkpoint writes just now, and that one is taken
from the log. Where the whole log stood in the file at that moment, the transaction keeps the file
as it is and the log isn't looked at: it may be begun anew.

Nothing is copied aside, and the writer is kept waiting only while the moment is chosen.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from attrs import define, field, frozen

from mailnode.errors import StoreBroken, StoreBusy
from mailnode.store.beside import writer_waits
from mailnode.store.exchange import next_of
from mailnode.store.sqlite import connect, damage_error

# https://www.sqlite.org/walformat.html: the index's header is there twice, in the byte order of
# the machine; behind both stands how much of the log is in the file. The log is big-endian.
_INDEX_HEADER = struct.Struct("=IIIBBHIIII8sII")
_INDEX_VERSION = 3007000
_IN_FILE = struct.Struct("=I")
_LOG_HEADER_OCTETS, _FRAME_HEADER = 32, struct.Struct(">II8sII")
_PAGE_ONE = struct.Struct(">16sHBB")
TRIES = 100


@frozen
class KeptBlob:
    """What a row says of a blob.

    Attributes:
        digest: of the file's octets, in hexadecimals; "" where the row doesn't tell.
    """

    key: str
    octets: int
    digest: str


@define(eq=False)
class Pinned:
    """A mail database at one moment. `read` may be called in any thread.

    Attributes:
        octets: of all pages.
        schema_version: of it.
    """

    octets: int
    page_octets: int
    schema_version: int
    _connection: sqlite3.Connection
    _file: int
    _log: int = -1
    _frames: dict[int, int] = field(factory=dict)  # page to where its last form is in the log

    def read(self, at: int, count: int) -> bytes | bytearray:
        """The octets of whole pages: both numbers are multiples of a page."""
        count = min(count, self.octets - at)
        data: bytes | bytearray = os.pread(self._file, count, at)
        first, size = at // self.page_octets, self.page_octets
        for index in range(count // size):
            where = self._frames.get(first + index)
            if where is None:
                continue
            if not isinstance(data, bytearray):
                data = bytearray(data)
                data.extend(bytes(count - len(data)))  # the file may end before its last page
            data[index * size : (index + 1) * size] = os.pread(self._log, size, where)
        if len(data) != count:
            raise StoreBroken(detail=f"mail.db ends before octet {at + count}")
        return data

    def blob_octets(self) -> int:
        """Of all blobs that messages name, about."""
        (octets,) = self._connection.execute(
            "SELECT coalesce(sum(size_octets), 0) FROM message WHERE blob_key IS NOT NULL"
        ).fetchone()
        return int(octets)

    def blobs(self) -> Iterator[KeptBlob]:
        """Those that messages name."""
        for key, octets, digest in self._connection.execute(
            "SELECT blob_key, size_octets, CASE WHEN codec = '' AND key_id IS NULL THEN digest"
            " ELSE x'' END FROM message WHERE blob_key IS NOT NULL ORDER BY blob_key"
        ):
            yield KeptBlob(key, octets, bytes(digest).hex())


@contextmanager
def pinned(path: Path) -> Iterator[Pinned]:
    """The mail database as it is now; keep it short, for its log grows meanwhile.

    Raises:
        StoreBusy: another database is about to take its place, or something that isn't mailnode
            writes to it.
        StoreBroken: it can't be read.
    """
    if next_of(path).exists():
        raise StoreBusy(detail=f"{path} is being exchanged; the node finishes that when it starts")
    try:
        with ExitStack() as stack:
            # Closing any descriptor of these files takes this process's locks off them, so they
            # are opened before the connection that has the locks ends, and closed after it.
            files = stack.enter_context(ExitStack())
            connection = stack.enter_context(closing(connect(path, read_only=True)))
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # log and index are
            yield _pin(connection, path, files)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damage_error(error) from error


def _open(path: Path, files: ExitStack) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    files.callback(os.close, fd)
    return fd


def _pin(connection: sqlite3.Connection, path: Path, files: ExitStack) -> Pinned:
    index = _open(Path(f"{path}-shm"), files)
    file, log = _open(path, files), _open(Path(f"{path}-wal"), files)
    with writer_waits(path.parent):
        for _ in range(TRIES):
            before = _index_header(index, path)
            connection.execute("BEGIN")
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (in_file,) = _IN_FILE.unpack(os.pread(index, 4, 2 * _INDEX_HEADER.size))
            if _index_header(index, path) == before:
                break
            connection.execute("COMMIT")  # a foreign program writes, without our lock
        else:
            raise StoreBusy(detail=f"something that isn't mailnode writes to {path}")
    (page_octets,) = connection.execute("PRAGMA page_size").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    frames, salt = before
    pin = Pinned(pages * page_octets, page_octets, version, connection, file, log)
    if in_file < frames:
        pin._frames = _last_forms(log, frames, page_octets, salt)
    _check_page_one(pin, path)
    return pin


def _index_header(index: int, path: Path) -> tuple[int, bytes]:
    """(frames that are committed, the log's salt)."""
    size = _INDEX_HEADER.size
    both = os.pread(index, 2 * size, 0)
    version, _, _, is_made, _, _, frames, _, _, _, salt, _, _ = _INDEX_HEADER.unpack(both[:size])
    if version != _INDEX_VERSION or not is_made or both[:size] != both[size:]:
        raise StoreBusy(detail=f"{path}-shm is not as SQLite writes it; try again")
    return frames, salt


def _last_forms(log: int, frames: int, page_octets: int, salt: bytes) -> dict[int, int]:
    """Where the last form of each page in the log is."""
    found: dict[int, int] = {}
    octets = _FRAME_HEADER.size + page_octets
    for number in range(frames):
        at = _LOG_HEADER_OCTETS + number * octets
        page, _, its_salt, _, _ = _FRAME_HEADER.unpack(os.pread(log, _FRAME_HEADER.size, at))
        if its_salt != salt:
            raise StoreBroken(detail=f"frame {number} of the write-ahead log is of another log")
        found[page - 1] = at + _FRAME_HEADER.size
    return found


def _check_page_one(pin: Pinned, path: Path) -> None:
    magic, page_octets, *_ = _PAGE_ONE.unpack(bytes(pin.read(0, pin.page_octets)[:20]))
    (version,) = struct.unpack_from(">I", pin.read(0, pin.page_octets), 60)
    if magic != b"SQLite format 3\0" or page_octets not in (pin.page_octets, 1):
        raise StoreBroken(detail=f"{path} is no database of ours")
    if version != pin.schema_version:
        raise StoreBroken(detail=f"{path} was read as of another moment than its transaction is of")


def copy_database(source: Path, target: Path) -> int:
    """A database that is written seldom is copied whole, as of one moment; its schema's version.

    Raises:
        MailError: in place of what SQLite says.
    """
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    try:
        with closing(connect(source)) as connection, closing(connect(target)) as made:
            made.execute("PRAGMA synchronous = OFF")
            connection.backup(made)
            made.execute("PRAGMA journal_mode = DELETE")
            (version,) = made.execute("PRAGMA user_version").fetchone()
            return int(version)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damage_error(error) from error


def names_blob(path: Path, key: str) -> bool:
    """Whether a message of the mail database names the blob now."""
    try:
        with closing(connect(path, read_only=True)) as connection:
            return bool(
                connection.execute("SELECT 1 FROM message WHERE blob_key = ?", (key,)).fetchone()
            )
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise damage_error(error) from error
