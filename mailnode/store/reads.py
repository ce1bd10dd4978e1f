"""What is read of the mail database, in threads that have a connection of their own each."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail

from mailnode.errors import StoreBusy
from mailnode.store.sqlite import connect
from mailnode.store.trouble import Trouble, told_of

READERS = 2
QUEUE_READS = 2_000
READER_CACHE_OCTETS = 4 << 20

T = TypeVar("T")


@define(eq=False)
class Reads:
    """The reads that wait, and the loop of a thread that does them.

    Attributes:
        trouble: what the disk last failed at.
    """

    path: Path
    call_in_reactor: Callable[..., Any]
    trouble: Trouble
    _asked: queue.SimpleQueue[Any] = field(factory=queue.SimpleQueue, init=False)
    _waiting: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)

    # Called on the reactor thread

    def ask(self, function: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """What `function` returns, as `Database.read` says it."""
        if self._ended or self._waiting >= QUEUE_READS:
            return fail(StoreBusy(detail="closed, or too many reads wait"))
        deferred: Deferred[T] = Deferred()
        self._waiting += 1
        self._asked.put((function, deferred))
        return deferred

    def end(self) -> None:
        """The threads end once they have done what was asked."""
        self._ended = True
        for _ in range(READERS):
            self._asked.put(None)

    def _settle(self, deferred: Deferred[Any], outcome: Any) -> None:
        self._waiting -= 1
        if isinstance(outcome, BaseException):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)

    # Called in the threads

    def serve(self) -> None:
        """Do what is asked, until the end."""
        connection = connect(self.path, read_only=True, cache_octets=READER_CACHE_OCTETS)
        try:
            while (item := self._asked.get()) is not None:
                function, deferred = item
                try:
                    outcome: Any = function(connection)
                except Exception as error:
                    outcome = told_of(error, "read", self.trouble)
                else:
                    self.trouble.is_over()
                self.call_in_reactor(self._settle, deferred, outcome)
                del item, function, deferred, outcome
        finally:
            connection.close()
