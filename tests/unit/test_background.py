"""`mailnode.background`: work that nobody waits for goes on, and its failure is told."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from mailnode.background import background


class BackgroundTests(SynchronousTestCase):
    def test_a_coroutine_is_run_to_its_end(self) -> None:
        gate: Deferred[int] = Deferred()
        done: list[int] = []

        async def work() -> None:
            done.append(await gate)

        background(work(), "counting")
        gate.callback(7)
        self.assertEqual([7], done)

    def test_the_failure_of_a_coroutine_or_a_deferred_is_logged(self) -> None:
        async def work() -> None:
            raise ValueError("no good")

        background(work(), "counting")
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        background(fail(KeyError("none")), "counting")
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
