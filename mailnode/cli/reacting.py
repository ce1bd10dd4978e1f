"""Work that waits for the network, in a command: a reactor runs for it alone."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import click
from twisted.internet.defer import Deferred


def run_in(
    reactor: Any, work: Coroutine[Deferred[Any], Any, Any], patience_s: float | None = None
) -> Any:
    """What `work` comes to.

    Args:
        patience_s: it is given up then; None for never.

    Raises:
        click.Abort: somebody ended it (Ctrl-C).
        twisted.internet.defer.TimeoutError: it was given up.
    """
    ended: list[Any] = []

    def begin() -> None:
        waited = Deferred.fromCoroutine(work)
        if patience_s is not None:
            waited.addTimeout(patience_s, reactor)
        waited.addBoth(ended.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ended:
        raise click.Abort()
    (outcome,) = ended
    if hasattr(outcome, "raiseException"):
        outcome.raiseException()
    return outcome
