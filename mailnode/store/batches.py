"""One batch of writes: a transaction of all its jobs, or, when that fails, each job alone.

All of it runs in the writer thread, and while that has the lock beside the database.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field

from mailnode.errors import StoreBroken, StoreBusy, StoreFull
from mailnode.store.checkpoint import Checkpointer
from mailnode.store.jobs import Job, Stats
from mailnode.store.reserve import Reserve
from mailnode.store.sqlite import FlushFailed, error_code, mail_error
from mailnode.store.trouble import Trouble, told_of

Outcomes = list[tuple[Job, Any]]
"""Each job with its result, or with the error that it failed by."""
Notes = list[tuple[Callable[[Any], None], Any]]
"""What is to be told of a commit, and whom."""


@define(eq=False)
class Batches:
    """Does batches of jobs.

    Attributes:
        connection: the writer's.
        reserve: what a full disk still has for jobs that make room.
        end: told a failed flush: no job is done any more.
        fault: why no job is done any more; None while all is well.
        trouble: what the disk last failed at.
    """

    connection: sqlite3.Connection
    checkpointer: Checkpointer
    reserve: Reserve
    stats: Stats
    end: Callable[[BaseException], None]
    fault: StoreBroken | None = field(default=None, init=False)
    trouble: Trouble = field(factory=Trouble, init=False)
    _log_is_large: bool = field(default=True, init=False)

    def run(self, jobs: list[Job]) -> tuple[Outcomes, Notes]:
        """Do these jobs; what came of each, and what is to be told of the commit."""
        started = time.monotonic()
        refused = self._refused_for_room(jobs) if self.reserve.spent else []
        try:
            outcomes, notes = self._run_together(jobs) if jobs else ([], [])
        except Exception as error:
            outcomes, notes = self._run_singly(jobs, error)
        outcomes += refused
        stats = self.stats
        stats.jobs += sum(not isinstance(outcome, BaseException) for _, outcome in outcomes)
        stats.longest_batch_s = max(stats.longest_batch_s, time.monotonic() - started)
        return outcomes, notes

    def restore_reserve(self) -> bool:
        """Whether it is whole again, where that can be."""
        if self.reserve.restore():
            return True
        if self._log_is_large:  # with what was taken from the reserve, maybe
            self._log_is_large = not self.checkpointer.give_back(self.connection)
        return self.reserve.restore()

    def _refused_for_room(self, jobs: list[Job]) -> Outcomes:
        """While the reserve is spent: what would eat it leaves `jobs`, each with its refusal."""
        if self.restore_reserve():
            return []
        refused = [job for job in jobs if not job.kind.frees]
        jobs[:] = [job for job in jobs if job.kind.frees]
        return [(job, StoreFull(detail="what is left is for deletions")) for job in refused]

    def _run_together(self, jobs: list[Job]) -> tuple[Outcomes, Notes]:
        """Do them all in one transaction."""
        if self.fault:
            raise self.fault
        groups: dict[int, list[Job]] = {}
        for job in jobs:
            groups.setdefault(id(job.kind), []).append(job)
        outcomes: Outcomes = []
        notes: Notes = []
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for group in groups.values():
                kind = group[0].kind
                results, note = kind.run(connection, [job.payload for job in group])
                outcomes += zip(group, results, strict=True)
                if kind.committed is not None:
                    notes.append((kind.committed, note))
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        return outcomes, notes

    def _commit(self) -> None:
        started = time.monotonic()
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            # What could not even be written has no end in the log: it never was.
            written = getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_IOERR_WRITE
            if written and error_code(error) == sqlite3.SQLITE_IOERR:
                self.end(error)
                raise FlushFailed(str(error)) from error
            raise
        self.trouble.is_over()
        self.stats.batches += 1
        self.stats.commit_s += time.monotonic() - started

    def _roll_back(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.end(error)

    def _run_singly(self, jobs: list[Job], error: Exception) -> tuple[Outcomes, Notes]:
        """After a failed batch: each job alone, so that only the bad ones fail."""
        self.stats.failed_batches += 1
        outcomes: Outcomes = []
        notes: Notes = []
        if full := isinstance(mail_error(error), StoreFull):
            self.checkpointer.make_room(self.connection)
            jobs = sorted(jobs, key=lambda job: job.kind.frees)  # none but these gets the reserve
        for job in jobs:
            if (full or len(jobs) > 1) and not self._strikes_all(error):
                try:
                    done, told = self._run_alone(job)
                except Exception as single:
                    error = single
                else:
                    outcomes += done
                    notes += told
                    continue
            outcomes.append((job, told_of(error, job.kind.name, self.trouble)))
        return outcomes, notes

    def _run_alone(self, job: Job) -> tuple[Outcomes, Notes]:
        """As `_run_together`; what makes room takes from the reserve what it needs for that."""
        while True:
            try:
                return self._run_together([job])
            except Exception as error:
                full = job.kind.frees and isinstance(mail_error(error), StoreFull)
                if not (full and self.reserve.give_up()):
                    raise
                # What the log holds may need the room first: cut, it gives back as much.
                self._log_is_large = not self.checkpointer.give_back(self.connection)

    def _strikes_all(self, error: BaseException) -> bool:
        """Whether no other job of the batch could fare better, or would only wait as long."""
        busy = isinstance(error, sqlite3.Error) and isinstance(mail_error(error), StoreBusy)
        return busy or self.fault is not None
