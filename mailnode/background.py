"""Work that nobody waits for, whose failure is told all the same; and work that many wait for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

_log = Logger()


def background(work: Coroutine[Deferred[Any], Any, Any] | Deferred[Any], what: str) -> None:
    """Let `work` run; a failure is logged as `what`."""
    running = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    running.addErrback(lambda failure: _log.failure("{what} failed", failure, what=what))


@define(eq=False)
class Together:
    """One run for all who ask for the same thing while it is under way."""

    _waiting: dict[Hashable, list[Deferred[Any]]] = field(factory=dict, init=False)
    _running: dict[Hashable, Deferred[Any]] = field(factory=dict, init=False)

    def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Any]]) -> Deferred[Any]:
        """What `work()` gives or raises, or what another's under the same key does.

        Who cancels the Deferred no longer waits; the work goes on for the others.
        """
        waiter: Deferred[Any] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(waiter)
            return waiter
        self._waiting[key] = [waiter]
        running = Deferred.fromCoroutine(work())
        self._running[key] = running
        running.addBoth(self._finish, key)
        return waiter

    def _finish(self, result: Any, key: Hashable) -> None:
        del self._running[key]
        for waiter in self._waiting.pop(key):
            waiter.callback(result)  # a Failure makes it fail

    async def close(self) -> None:
        """All that is under way is cancelled, and has ended."""
        running = list(self._running.values())
        for each in running:
            each.cancel()
        await DeferredList(running)
