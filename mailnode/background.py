"""Work that nobody waits for, and whose failure is told all the same."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

_log = Logger()


def background(work: Coroutine[Deferred[Any], Any, Any] | Deferred[Any], what: str) -> None:
    """Let `work` run; a failure is logged as `what`."""
    running = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    running.addErrback(lambda failure: _log.failure("{what} failed", failure, what=what))
