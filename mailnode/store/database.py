"""The mail database: one writer thread that commits in groups, and two that read.

Every write of the node is a job. All jobs that queued up during the last flush are one
transaction, so a slow disk makes batches larger instead of senders slower. A result
reaches the reactor only after the commit: its bytes outlive a power cut.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailnode.errors import MailError, StoreBroken, StoreBusy
from mailnode.store.batches import Batches
from mailnode.store.beside import WRITER_LOCK
from mailnode.store.checkpoint import LARGE_OCTETS, Checkpointer
from mailnode.store.exchange import KEPT, finish_exchange, refuse_to_begin_anew
from mailnode.store.jobs import Job, Stats, WriteKind
from mailnode.store.pace import Pace
from mailnode.store.reads import READERS, Reads
from mailnode.store.reserve import NAME as RESERVE
from mailnode.store.reserve import Reserve
from mailnode.store.sqlite import (
    BUSY_TIMEOUT_S,
    connect,
    damage_error,
    prepare,
)
from mailnode.store.sqlite import schema_scripts as _schema_scripts
from mailnode.store.trouble import Trouble
from mailnode.store.upgrade import upgrade

log = Logger()

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

BATCH_JOBS = 256
BUSY_JOBS = 8  # from so many in a batch on, the next one is not begun at once
BATCH_OCTETS = 16 << 20
QUEUE_OCTETS = 128 << 20
QUEUE_JOBS = 20_000
WRITER_CACHE_OCTETS = 16 << 20
BATCH_WAL_OCTETS = 48 << 10  # what a batch puts into the write-ahead log, about,
JOB_WAL_OCTETS = 1536  # and each of its jobs beside its own octets

CallInReactor = Callable[..., Any]


def _run_transactions(
    connection: sqlite3.Connection, functions: list[Callable[[sqlite3.Connection], Any]]
) -> tuple[list[Any], None]:
    return [function(connection) for function in functions], None


@define(eq=False)
class Database:
    """Open with `Database.open`.

    Attributes:
        schema_version: of the file.
        waiting_octets: of the jobs that are not done yet.
        read_trouble: what the disk last failed at when it was read.
    """

    path: Path
    schema_version: int
    _batches: Batches
    _lock_fd: int
    _call_in_reactor: CallInReactor
    _on_fatal: Callable[[BaseException], None]
    _queue: deque[Job] = field(factory=deque, init=False)
    _asking: int = field(default=0, init=False)
    _wake: threading.Condition = field(factory=threading.Condition, init=False)
    _closing: bool = field(default=False, init=False)
    _pace: Pace | None = field(default=None, init=False)
    _held: bool = field(default=False, init=False)  # the writer waits for the pace
    _enough: int = field(default=BATCH_JOBS, init=False)  # jobs for which it waits no longer
    waiting_octets: int = field(default=0, init=False)
    read_trouble: Trouble = field(factory=Trouble, init=False)
    _reads: Reads = field(init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)
    _readers: list[threading.Thread] = field(factory=list, init=False)
    _closed: Deferred[None] | None = field(default=None, init=False)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        call_in_reactor: CallInReactor,
        on_fatal: Callable[[BaseException], None],
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        reserve_octets: int = 0,
        clock: IReactorTime | None = None,
    ) -> Database:
        """The database, made or brought to the newest schema; its threads run.

        Args:
            path: of the file; `writer.lock` stands beside it.
            call_in_reactor: `reactor.callFromThread`.
            on_fatal: called on the reactor thread when a flush failed: the process must say
                so and end, for nobody knows what is on the disk. No job is done any more.
            reserve_octets: of the file beside it that a full disk has for deletions.
            clock: the reactor's, to gather fuller batches by while many write (`pace`).

        Raises:
            StoreTooNew: a newer version wrote it.
            StoreBroken, StoreFull, StoreBusy: it can't be opened.
        """
        lock_fd = -1
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = os.open(
                path.parent / WRITER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            finish_exchange(path)
            refuse_to_begin_anew(path)
            prepare(path)
            connection = connect(
                path, cache_octets=WRITER_CACHE_OCTETS, busy_timeout_s=busy_timeout_s
            )
            try:
                version = upgrade(connection, path, _schema_scripts(), path.parent / KEPT)
            except BaseException:
                connection.close()
                raise
            fcntl.flock(lock_fd, fcntl.LOCK_UN)
        except BaseException as error:
            if lock_fd >= 0:
                os.close(lock_fd)
            told = damage_error(error)
            if isinstance(told, MailError) and not isinstance(error, OSError):  # that names its own
                told.detail = f"{path}: {told.detail}"
            if told is error:
                raise
            raise told from error
        checkpointer = Checkpointer(path, lambda error: database._end(error))
        reserve = Reserve(path.parent / RESERVE, reserve_octets)
        batches = Batches(
            connection, checkpointer, reserve, Stats(), lambda error: database._end(error)
        )
        database = cls(path, version, batches, lock_fd, call_in_reactor, on_fatal)
        if clock is not None:
            database._pace = Pace(clock, database._queue.__len__, database._release)
        database._start()
        return database

    def _start(self) -> None:
        self._reads = Reads(self.path, self._call_in_reactor, self.read_trouble)
        self._batches.checkpointer.start()
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        self._batches.restore_reserve()  # first: who found none would take the disk for full
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        names = [("store-writer", self._write_forever)]
        names += [(f"store-reader-{number}", self._reads.serve) for number in range(READERS)]
        for name, target in names:
            thread = threading.Thread(None, self._run_thread, name, (target,), daemon=True)
            self._threads.append(thread)
        self._readers = self._threads[1:]
        for thread in self._readers + self._threads[:1]:
            thread.start()

    def read_now(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What `function` reads, at once and on this thread: for the start and for tools.

        Raises:
            MailError: in place of what SQLite says.
        """
        try:
            connection = connect(self.path, read_only=True)
            try:
                return function(connection)
            finally:
                connection.close()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise damage_error(error) from error

    @property
    def stats(self) -> Stats:
        """Of the writer."""
        return self._batches.stats

    @property
    def reserve(self) -> Reserve:
        """What a full disk still has for jobs that make room."""
        return self._batches.reserve

    @property
    def fault(self) -> StoreBroken | None:
        """Why no job is done any more; None while all is well."""
        return self._batches.fault

    @property
    def write_trouble(self) -> Trouble:
        """What the disk last failed at when it was written."""
        return self._batches.trouble

    # Called on the reactor thread

    @property
    def queue_depth(self) -> int:
        """Jobs that wait for the next batch."""
        return len(self._queue)

    def submit(
        self, kind: WriteKind[P, R], payload: P, size_octets: int = 0, *, rides: bool = False
    ) -> Deferred[R]:
        """The result of one write, once it is committed.

        Args:
            size_octets: of what it stores, about.
            rides: it may wait for a batch that another job asks for, or for `flush`.

        Errors:
            StoreBusy, StoreFull, StoreBroken: it was not written.
            Any other that `kind.run` raised.
        """
        full = len(self._queue) >= QUEUE_JOBS or self.waiting_octets > QUEUE_OCTETS
        if self.fault or self._closing or full:
            return fail(self.fault or StoreBusy(detail="closed, or too many writes wait"))
        self.waiting_octets += size_octets
        job = Job(kind, payload, size_octets, Deferred(), rides)
        if rides:
            self._queue.append(job)
        else:
            with self._wake:
                self._queue.append(job)
                self._asking += 1
                if not self._held:
                    self._wake.notify()
            if self._held and self._pace is not None and len(self._queue) >= self._enough:
                self._pace.let_go()
        return job.deferred

    def _release(self) -> None:
        with self._wake:
            self._held = False
            self._wake.notify()

    def flush(self) -> None:
        """What rides is written now."""
        with self._wake:
            self._asking += 1
            self._wake.notify()

    def transact(
        self, name: str, function: Callable[[sqlite3.Connection], T], *, frees: bool = False
    ) -> Deferred[T]:
        """What `function` returns, once what it wrote is committed, with others in one batch.

        `function` runs in the writer thread inside the transaction. It may run twice: a batch
        that fails is rolled back and done again job by job.

        Args:
            frees: it makes room, so a full disk does it from the reserve.
        """
        kind: WriteKind[Callable[[sqlite3.Connection], T], T] = WriteKind(
            name, _run_transactions, frees=frees
        )
        return self.submit(kind, function)

    def look_at_reserve(self) -> None:
        """Take notice of what others gave up, and have it made again where there is room."""
        self.reserve.look()
        if self.reserve.spent and not self.fault:
            self.transact("reserve", lambda connection: None, frees=True).addErrback(lambda _: None)

    def read(self, function: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """What `function` returns, from a thread that reads; it must fetch all that it needs.

        Errors:
            StoreBusy: too many wait already.
            StoreBroken: the database can't be read.
        """
        return self._reads.ask(function)

    def close(self) -> Deferred[None]:
        """What was queued is written, the threads have ended, the files are closed."""
        if self._closed is None:
            self._closed = Deferred()
            if self._pace is not None:
                self._pace.end()
            with self._wake:
                self._closing, self._held = True, False
                self._wake.notify()
            self._reads.end()
            self._threads_ended()
        return self._closed

    def _thread_ended(self, thread: threading.Thread) -> None:
        thread.join()
        self._threads.remove(thread)
        self._threads_ended()

    def _threads_ended(self) -> None:
        if self._closed is not None and not self._threads:
            os.close(self._lock_fd)
            self._closed.callback(None)

    def _settle(self, outcomes: list[tuple[Job, Any]], notes: list[tuple[Any, Any]]) -> None:
        for committed, note in notes:
            try:
                committed(note)
            except Exception:
                log.failure("A commit could not be told")
        for job, outcome in outcomes:
            self.waiting_octets -= job.size_octets
            if isinstance(outcome, BaseException):
                job.deferred.errback(outcome)
            else:
                job.deferred.callback(outcome)
        if self._held and self._pace is not None and not self._closing:
            self._pace.hold()

    # Called in the threads

    def _run_thread(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            log.failure("A thread of the store ended")
            self._end(error)
        self._call_in_reactor(self._thread_ended, threading.current_thread())

    def _end(self, error: BaseException) -> None:
        """No job is done any more, and the process hears that it must end."""
        if self.fault is None:
            self._batches.fault = StoreBroken(detail=f"the store ended: {error}")
            log.critical("The mail database failed, the node ends: {error}", error=error)
            self._call_in_reactor(self._on_fatal, error)

    def _write_forever(self) -> None:
        try:
            while jobs := self._next_batch():
                self._write_batch(jobs)
        finally:
            self._batches.checkpointer.close()
            if self._closing:
                for reader in self._readers:
                    reader.join()
            self._batches.connection.close()  # the last to close empties the log into the database

    def _next_batch(self) -> list[Job]:
        """The jobs that wait, when one of them asks; nothing once the store is closed."""
        jobs: list[Job] = []
        with self._wake:
            while not jobs:
                while (self._held or not self._asking) and not self._closing:
                    self._wake.wait()
                self._take(jobs)
                if not self._queue and self._closing:
                    break
        return jobs

    def _take(self, jobs: list[Job]) -> None:
        """What waits joins `jobs`, as far as a batch goes; whoever calls has `_wake`."""
        octets = sum([job.size_octets for job in jobs])
        while self._queue and len(jobs) < BATCH_JOBS and octets < BATCH_OCTETS:
            job = self._queue.popleft()
            octets += job.size_octets
            jobs.append(job)
            self._asking -= not job.rides
            if job.kind.taken is not None:
                job.kind.taken(job.payload)
        if not self._queue:
            self._asking = 0

    def _write_batch(self, jobs: list[Job]) -> None:
        batches = self._batches
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        if self._queue:  # what came while another process had the lock is of this batch, too
            with self._wake:
                self._take(jobs)
        try:
            outcomes, notes = batches.run(jobs)
            if self._pace is not None and len(jobs) >= BUSY_JOBS and not self._closing:
                self._held, self._enough = True, len(jobs)
            self._call_in_reactor(self._settle, outcomes, notes)
            octets = sum([job.size_octets for job in jobs])
            written = BATCH_WAL_OCTETS + octets + JOB_WAL_OCTETS * len(jobs)
            large = octets > LARGE_OCTETS * len(jobs)
            batches.checkpointer.wrote(written, batches.connection, large=large)
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
