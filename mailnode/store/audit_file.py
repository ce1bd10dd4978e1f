"""The audit stream's files: var/audit/2026-11.jsonl, a month each, which are only ever appended to.

All processes of a node and the commands beside it append, one after the other, by a lock. What was
appended would survive a power cut. A line that a crash left without its end was promised to nobody:
it is taken off.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from mailnode.audited import Entry
from mailnode.durable import flush, make_folder, own_as
from mailnode.store.audit_lines import (
    BLOCK_OCTETS,
    FOLDER,
    HEAD,
    Head,
    file_of,
    files,
    hash_of,
    kept_head,
    lines_back,
    read_line,
    write_lines,
)

LOCK = "lock"

_log = Logger(namespace="mailnode")


@define(eq=False)
class AuditFile:
    """The stream of one data folder; calls block, and may come from any thread or process.

    Attributes:
        now: UTC epoch seconds.
        written, lost: entries, since the start.
    """

    data: Path
    now: Callable[[], float] = field(default=time.time, kw_only=True)
    written: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    _untold: int = field(default=0, init=False)  # lost, and the stream does not say so yet

    def keep(self, entries: Sequence[Entry]) -> None:
        """`append`; what can't be written is counted, and the log has it: nothing fails by it."""
        lost = self._untold
        told = [Entry("audit-lost", detail={"entries": lost}, at=self.now())] if lost else []
        try:
            self.append([*told, *entries])
        except OSError as error:
            self.lose(len(entries), str(error))
        else:
            self._untold -= lost

    def lose(self, count: int, why: str) -> None:
        """So many entries are nowhere."""
        self.lost += count
        self._untold += count
        _log.error("{count} entries are not in the audit stream: {why}", count=count, why=why)

    def append(self, entries: Sequence[Entry]) -> Head:
        """They are there, durably, in this order.

        Returns:
            The last line.

        Raises:
            OSError: none of them is.
        """
        with self.locked() as last:
            head = self._append(entries, last)
        self.written += len(entries)
        return head

    @contextmanager
    def locked(self) -> Iterator[Head]:
        """Nobody else appends meanwhile; the last line."""
        folder = self.data / FOLDER
        if not folder.is_dir():
            make_folder(folder)
        lock = folder / LOCK
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            own_as(lock, self.data)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield self._last()
        finally:
            os.close(descriptor)

    def _last(self) -> Head:
        """The last line that is there; one that can't be read counts all the same."""
        behind: list[bytes] = []
        for path in reversed(files(self.data)):
            for raw in lines_back(path):
                try:
                    head = read_line(raw).head
                except ValueError:
                    behind.append(raw)
                    continue
                if not behind:
                    return head
                return Head(head.number + len(behind), hash_of(behind[0]))
        return Head(len(behind), hash_of(behind[0])) if behind else Head()

    def _append(self, entries: Sequence[Entry], last: Head) -> Head:
        path = self._file()
        kept = kept_head(self.data)
        if kept is not None and kept != last and kept.number >= last.number:
            detail = {"was": str(kept), "is": str(last)}
            entries = [Entry("audit-broken", detail=detail, at=self.now()), *entries]
            _log.error("the audit stream is not as it was left: see mailnode audit verify")
        octets, head = write_lines(entries, last)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            own_as(path, self.data)
            size = _end_of_lines(descriptor)
            try:
                _write(descriptor, octets)
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            flush(path.parent)
        self._keep_head(head)
        return head

    def _file(self) -> Path:
        """This month's; never one before the last, though the clock was set back."""
        path, there = file_of(self.data, self.now()), files(self.data)
        return max(path, there[-1]) if there else path

    def _keep_head(self, head: Head) -> None:
        """Not flushed: behind a power cut it is that of an earlier line, never of a later one."""
        path = self.data / FOLDER / HEAD
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                own_as(path, self.data)
                text = f"{head}\n".encode()
                os.pwrite(descriptor, text, 0)
                os.ftruncate(descriptor, len(text))
            finally:
                os.close(descriptor)

    def prune(self, keep_s: float, most_octets: int) -> list[str]:
        """Months that were over so long ago are gone, and the oldest above the size.

        The newest stays. The stream says up to which line it was pruned before it is.

        Returns:
            Their names.
        """
        if not (self.data / FOLDER).is_dir():
            return []
        with self.locked() as last:
            there = files(self.data)
            gone = self._too_old(there, keep_s, most_octets)
            if not gone:
                return []
            names = [path.name for path in gone]
            through = next((_head_of(raw) for raw in lines_back(gone[-1])), None)
            detail = {"files": names, "through": str(through or Head())}
            self._append([Entry("audit-pruned", detail=detail, at=self.now())], last)
            for path in gone:
                path.unlink()
        return names

    def _too_old(self, there: Sequence[Path], keep_s: float, most_octets: int) -> list[Path]:
        limit = file_of(self.data, self.now() - keep_s).name
        octets = sum(path.stat().st_size for path in there)
        gone: list[Path] = []
        for path in there[:-1]:
            if path.name >= limit and octets <= most_octets:
                break
            octets -= path.stat().st_size
            gone.append(path)
        return gone


def _head_of(raw: bytes) -> Head | None:
    try:
        return read_line(raw).head
    except ValueError:
        return None


def _end_of_lines(descriptor: int) -> int:
    """What is behind the last line that was ended is taken off; the size then."""
    size = at = os.fstat(descriptor).st_size
    while at > 0:
        begin = max(0, at - BLOCK_OCTETS)
        end = os.pread(descriptor, at - begin, begin).rfind(b"\n")
        if end >= 0:
            at = begin + end + 1
            break
        at = begin
    if at < size:
        os.ftruncate(descriptor, at)
    return at


def _write(descriptor: int, octets: bytes) -> None:
    while octets:
        octets = octets[os.write(descriptor, octets) :]
