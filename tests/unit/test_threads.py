"""Code of others in threads: bounded, and no reason for the process to stay."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailnode.threads import MOST_THREADS, Threads, TooMuchWaiting, _DaemonPool


class HeldPool:
    """Runs nothing before `run` is called."""

    def __init__(self) -> None:
        self.started = False
        self.stopped = False
        self.calls: list[Callable[[], None]] = []

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True

    def callInThreadWithCallback(self, onResult: Any, function: Any, *args: Any) -> None:
        def call() -> None:
            try:
                result = function(*args)
            except Exception:
                onResult(False, Failure())
            else:
                onResult(True, result)

        self.calls.append(call)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class ThreadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = HeldPool()
        self.threads = Threads(lambda call, *args: call(*args), 2, self.pool)  # type: ignore[arg-type]

    def test_what_a_function_returns_or_raises_comes_back(self) -> None:
        self.assertFalse(self.pool.started)
        returned = self.threads.run(int, "7")
        raised = self.threads.run(int, "seven")
        self.assertNoResult(returned)
        self.pool.run()
        self.assertEqual(7, self.successResultOf(returned))
        self.failureResultOf(raised, ValueError)

    def test_no_more_than_so_many_wait(self) -> None:
        waiting: list[Deferred[int]] = [self.threads.run(int, "7") for _ in range(MOST_THREADS + 2)]
        refused = self.failureResultOf(self.threads.run(int, "7"), TooMuchWaiting)
        self.assertEqual((451, True), (refused.value.smtp_code, refused.value.temporary))
        self.pool.run()
        self.assertEqual([7] * len(waiting), [self.successResultOf(each) for each in waiting])
        self.assertNoResult(self.threads.run(int, "7"))

    def test_a_stop_takes_no_more_and_does_not_wait_for_what_may_never_end(self) -> None:
        endless = self.threads.run(int, "7")
        self.threads.stop()
        self.assertFalse(self.pool.stopped)
        self.assertNoResult(endless)
        self.failureResultOf(self.threads.run(int, "7"), TooMuchWaiting)

    def test_a_stop_ends_threads_that_do_nothing(self) -> None:
        self.threads.run(int, "7")
        self.pool.run()
        self.threads.stop()
        self.assertTrue(self.pool.stopped)

    def test_a_thread_is_a_daemon(self) -> None:
        pool, seen, done = _DaemonPool(0, 1), [], threading.Event()

        def look() -> None:
            seen.append(threading.current_thread().daemon)
            done.set()

        pool.start()
        self.addCleanup(pool.stop)
        pool.callInThread(look)
        self.assertTrue(done.wait(10))
        self.assertEqual([True], seen)
