"""Threads for the code of others: what they run may block, and may never end."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from mailnode.errors import MailError

T = TypeVar("T")

MOST_THREADS = 10
MOST_WAITING = 200

_log = Logger()


class TooMuchWaiting(MailError):
    text = "Too much to do at the moment, please try again later"


class _DaemonPool(ThreadPool):
    """Threads that don't keep the process from ending: a call in one may never return."""

    threadFactory = staticmethod(lambda **named: Thread(daemon=True, **named))  # type: ignore[assignment]


@define(eq=False)
class Threads:
    """Runs functions in threads of its own, which start when they are first needed.

    Attributes:
        most_waiting: calls that may wait for a thread; one more is answered `TooMuchWaiting`.
        most_threads: calls that run at a time.
    """

    _call_in_reactor: Callable[..., Any]
    most_waiting: int = MOST_WAITING
    most_threads: int = field(default=MOST_THREADS, kw_only=True)
    _pool: ThreadPool = field()
    _pending: int = field(default=0, init=False)
    _stopped: bool = field(default=False, init=False)

    @_pool.default
    def _make_pool(self) -> ThreadPool:
        return _DaemonPool(0, self.most_threads, "functions")

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """What `function(*args)` returns or raises.

        Raises:
            TooMuchWaiting: it wasn't called.
        """
        if self._stopped or self._pending >= self.most_threads + self.most_waiting:
            return fail(TooMuchWaiting())
        if not self._pool.started:
            self._pool.start()
        self._pending += 1
        done: Deferred[T] = Deferred()
        self._pool.callInThreadWithCallback(
            lambda _ok, result: self._call_in_reactor(self._finish, done, result), function, *args
        )
        return done

    def _finish(self, done: Deferred[T], result: Any) -> None:
        self._pending -= 1
        done.callback(result)  # a Failure makes it fail

    def stop(self) -> None:
        """Take no more. What still runs ends with the process, and is told."""
        self._stopped = True
        if self._pending:
            _log.warn("{count} function calls are cut off", count=self._pending)
        elif self._pool.started:
            self._pool.stop()
