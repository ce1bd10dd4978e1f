"""`mailnode.background`: work that nobody waits for, and work that many wait for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from mailnode.background import Together, background


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


class TogetherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.together, self.gate, self.runs = Together(), Deferred[int](), 0

    async def work(self) -> int:
        self.runs += 1
        return await self.gate

    def test_those_who_ask_meanwhile_get_what_the_first_one_gets(self) -> None:
        asked = [self.together.run("a", self.work) for _ in range(3)]
        self.gate.callback(7)
        self.assertEqual([7, 7, 7], [self.successResultOf(each) for each in asked])
        self.assertEqual(1, self.runs)

    def test_another_key_is_other_work_and_so_is_the_same_one_later(self) -> None:
        self.together.run("a", self.work)
        self.together.run("b", self.work)
        self.gate.callback(7)
        self.together.run("a", self.work)
        self.assertEqual(3, self.runs)

    def test_a_failure_is_everybody_s(self) -> None:
        asked = [self.together.run("a", self.work) for _ in range(2)]
        self.gate.errback(ValueError("no good"))
        for each in asked:
            self.failureResultOf(each, ValueError)

    def test_one_who_no_longer_waits_stops_nobody(self) -> None:
        first, second = self.together.run("a", self.work), self.together.run("a", self.work)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.gate.callback(7)
        self.assertEqual(7, self.successResultOf(second))

    def test_a_close_cancels_what_is_under_way_and_waits_for_its_end(self) -> None:
        ending: Deferred[None] = Deferred()

        async def work() -> None:
            try:
                await self.gate
            finally:
                await ending

        asked = self.together.run("a", work)
        closed = Deferred.fromCoroutine(self.together.close())
        self.assertNoResult(closed)
        ending.callback(None)
        self.successResultOf(closed)
        self.failureResultOf(asked, CancelledError)
