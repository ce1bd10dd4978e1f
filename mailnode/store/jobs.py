"""What the writer thread is given: a job, of a kind of which many run as one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from attrs import define
from twisted.internet.defer import Deferred

P = TypeVar("P")
R = TypeVar("R")


@define(eq=False)
class WriteKind(Generic[P, R]):
    """A sort of write of which many run as one.

    Attributes:
        name: for logs and metrics.
        run: does all of them in the open transaction, in the writer thread: (connection,
            payloads) to (one result a payload, a note). It may run again with one payload
            each, after a rollback, so it changes nothing but the database.
        committed: told the note after the commit, on the reactor thread, before the results
            are given out.
        frees: it makes room, so a full disk does it from the reserve.
        taken: told a payload once its job waits no longer, in the writer thread, which holds
            the queue meanwhile: it must be quick.
    """

    name: str
    run: Callable[[sqlite3.Connection, list[P]], tuple[Sequence[R], Any]]
    committed: Callable[[Any], None] | None = None
    frees: bool = False
    taken: Callable[[P], None] | None = None


@define(eq=False)
class Job:
    kind: WriteKind[Any, Any]
    payload: Any
    size_octets: int
    deferred: Deferred[Any]
    rides: bool  # it waits for a batch that others ask for


@define
class Stats:
    """What the writer did since the start.

    Attributes:
        batches: transactions that were committed.
        jobs: pieces of work in them.
        failed_batches: that were rolled back, and done again job by job.
    """

    batches: int = 0
    jobs: int = 0
    failed_batches: int = 0
    commit_s: float = 0.0
    longest_batch_s: float = 0.0
