"""When a batch begins while many write."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.store.database import BATCH_JOBS, BUSY_JOBS
from mailnode.store.jobs import WriteKind
from mailnode.store.pace import LONGEST_S, TICK_S, Pace
from tests.stores.support import StoreCase

COUNT: WriteKind[None, int] = WriteKind(
    "count", lambda _connection, some: ([len(some)] * len(some), None)
)


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting = 0
        self.released = 0
        self.cpu = 0.0
        self.pace = Pace(self.clock, lambda: self.waiting, self.release, lambda: self.cpu)

    def release(self) -> None:
        self.released += 1

    def pass_time(self, seconds: float, *, share: float) -> None:
        """Let it pass in ticks, of which the thread works for that share."""
        for _ in range(round(seconds / TICK_S)):
            self.cpu += TICK_S * share
            self.clock.advance(TICK_S)

    def test_while_the_reactor_works_the_batch_is_held_for_10_ms_at_most(self) -> None:
        self.waiting = 5
        self.pace.hold()
        self.pass_time(LONGEST_S - TICK_S, share=1.0)
        self.assertEqual(0, self.released)
        self.pass_time(2 * TICK_S, share=1.0)
        self.assertEqual(1, self.released)

    def test_a_reactor_that_has_time_lets_it_go(self) -> None:
        self.waiting = 5
        self.pace.hold()
        self.pass_time(3 * TICK_S, share=1.0)
        self.pass_time(TICK_S, share=0.3)
        self.assertEqual(1, self.released)

    def test_nothing_goes_before_a_job_waits(self) -> None:
        self.pace.hold()
        self.pass_time(5 * TICK_S, share=0.0)
        self.assertEqual(0, self.released)
        self.waiting = 1
        self.pass_time(TICK_S, share=0.0)
        self.assertEqual(1, self.released)

    def test_when_nobody_writes_any_more_the_next_job_is_not_held(self) -> None:
        self.pace.hold()
        self.pass_time(LONGEST_S + TICK_S, share=0.0)
        self.assertEqual(1, self.released)

    def test_it_is_released_once_for_each_hold(self) -> None:
        self.waiting = 5
        self.pace.hold()
        self.pace.let_go()
        self.pace.hold()
        self.pace.hold()
        self.pass_time(2 * LONGEST_S, share=1.0)
        self.assertEqual(2, self.released)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_after_its_end_nothing_is_released(self) -> None:
        self.pace.hold()
        self.pace.end()
        self.pass_time(2 * LONGEST_S, share=0.0)
        self.assertEqual(0, self.released)


class PacedWriterTests(StoreCase):
    """A store with a pace whose time only the test lets pass."""

    def open_store(self) -> None:
        self.clock = Clock()
        super().open_store()

    def database_options(self) -> dict[str, object]:
        return {"clock": self.clock}

    def write(self, count: int) -> list[Deferred[int]]:
        """So many jobs; what each gives is how many were in its batch."""
        return [self.database.submit(COUNT, None) for _ in range(count)]

    async def write_many_at_once(self, count: int = BUSY_JOBS) -> None:
        held = await self.hold_writer()
        jobs = self.write(count)
        held.release()
        self.assertEqual([count] * count, await gatherResults(jobs))

    async def test_after_a_full_batch_the_next_one_gathers(self) -> None:
        await self.write_many_at_once()
        first = self.write(1)
        await self.database.read(lambda connection: None)  # the writer had its time
        self.assertFalse(first[0].called)
        both = first + self.write(1)
        self.clock.advance(LONGEST_S + TICK_S)
        self.assertEqual([2, 2], await gatherResults(both))

    async def test_after_a_small_batch_the_next_one_is_not_held(self) -> None:
        self.assertEqual([1], await gatherResults(self.write(1)))
        self.assertEqual([1], await gatherResults(self.write(1)))
        self.assertEqual([], self.clock.getDelayedCalls())

    async def test_a_batch_of_as_many_as_the_last_one_is_not_held(self) -> None:
        await self.write_many_at_once()
        jobs = self.write(BUSY_JOBS)
        self.assertEqual([BUSY_JOBS] * BUSY_JOBS, await gatherResults(jobs))

    async def test_a_batch_that_is_full_is_not_held(self) -> None:
        await self.write_many_at_once(BATCH_JOBS)
        jobs = self.write(BATCH_JOBS)
        self.assertEqual([BATCH_JOBS] * BATCH_JOBS, await gatherResults(jobs))

    async def test_a_store_that_closes_writes_what_was_held(self) -> None:
        await self.write_many_at_once()
        jobs = self.write(3)
        await self.database.close()
        self.assertEqual([3, 3, 3], await gatherResults(jobs))
        self.assertEqual([], self.clock.getDelayedCalls())
