"""What the relay has in hand: rows of the queue, leased for the time of an attempt.

A lease is committed before an attempt begins. One that outlives its process is the sign that the
attempt was open when it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailnode.background import background
from mailnode.errors import MailError
from mailnode.outbound.outcome import unreported
from mailnode.queued import NO_TURNS, Begun, Leased, Settled

if TYPE_CHECKING:
    from mailnode.store.queue import Queue

LEASE_S = 1800.0
AGAIN_S = 1.0
AGAIN_MOST_S = 60.0
MOST_FAULTS = 5

_log = Logger()


@define(eq=False)
class Leases:
    """Rows that this process attempts.

    Attributes:
        now: UTC epoch seconds: what the queue's times mean.
        name: who leases, unlike any other process, before or now.
        kept: settlements so far after which a row stays in the queue.
    """

    clock: IReactorTime
    queue: Queue
    now: Callable[[], float]
    name: str
    kept: int = field(default=0, init=False)
    _held: dict[int, float] = field(factory=dict, init=False)
    _unwritten: list[tuple[Sequence[Settled], Deferred[None]]] = field(factory=list, init=False)
    _writing: bool = field(default=False, init=False)

    async def take(
        self, domain: str, send_as: int, limit: int, after: Sequence[int] = NO_TURNS
    ) -> list[Leased]:
        """Due rows of one destination, ours once this returns; `after` as `Queue.lease` has it.

        Raises:
            StoreBusy, StoreFull, StoreBroken.
        """
        now, until = self.now(), self.until()
        rows: list[Leased] = await self.queue.lease(
            domain, send_as, now=now, until=until, limit=limit, by=self.name, after=after
        )
        self._held.update((row.queue_id, until) for row in rows)
        return rows

    def until(self) -> float:
        """When a lease of now ends, UTC epoch seconds."""
        return self.now() + LEASE_S

    def hold(self, begun: Begun) -> None:
        """These are ours already, by the commit that made them."""
        self._held.update((row.queue_id, begun.until) for row in begun.rows)

    def left(self, rows: Sequence[Leased]) -> list[Leased]:
        """Those that nothing was written of yet."""
        return [row for row in rows if row.queue_id in self._held]

    def are_ours(self, rows: Sequence[Leased]) -> bool:
        """Whether no other process can have taken them: asked before the last dot."""
        now = self.now()
        return all(self._held.get(row.queue_id, 0.0) > now for row in rows)

    async def give_back(self, rows: Sequence[Leased]) -> None:
        """Those that were not attempted wait again, as they did."""
        back = [
            Settled(queue_id=row.queue_id, action="retry", due_at=row.due_at)
            for row in self.left(rows)
        ]
        if back:
            await self.settle(back)

    def renew(self) -> Deferred[None] | None:
        """What is in hand stays ours for another while."""
        if not self._held:
            return None
        until = self.until()
        ids = list(self._held)
        renewed = self.queue.renew(ids, until, self.name)
        return renewed.addCallbacks(
            lambda lost: self._renewed(ids, until, lost),
            lambda failure: _log.failure("leases were not renewed", failure),
        )

    def _renewed(self, ids: Sequence[int], until: float, lost: Set[int]) -> None:
        for each in ids:
            if each in self._held:
                self._held[each] = 0.0 if each in lost else until

    async def settle(self, settled: Sequence[Settled], reports: Sequence[Any] = ()) -> None:
        """Write it, however often that takes: what a remote has taken must not be sent again."""
        if reports:  # filed when these rows are ours, whatever became of others
            self._keeps(settled)
            await self._insist(settled, reports)
        else:
            await self.written(settled)

    def written(self, settled: Sequence[Settled]) -> Deferred[None]:
        """Fires once it is written; what comes while the queue is being written is so together
        afterwards."""
        self._keeps(settled)
        written: Deferred[None] = Deferred()
        self._unwritten.append((settled, written))
        if not self._writing:
            background(self._write(), "settling the queue")
        return written

    def _keeps(self, settled: Sequence[Settled]) -> None:
        self.kept += any([each.action != "done" for each in settled])

    async def _write(self) -> None:
        self._writing = True
        while self._unwritten:
            together, self._unwritten = self._unwritten, []
            everything = [each for settled, _ in together for each in settled]
            try:
                await self.queue.settle(everything, by=self.name, at=self.now())
            except Exception:  # one of them may be the cause: told, and tried again, of each
                for settled, written in together:
                    Deferred.fromCoroutine(self._insist(settled)).chainDeferred(written)
                continue
            self._let_go(everything)
            for _, written in together:
                written.callback(None)
        self._writing = False

    async def _insist(self, settled: Sequence[Settled], reports: Sequence[Any] = ()) -> None:
        again_s, faults = AGAIN_S, 0
        while True:
            try:
                await self.queue.settle(settled, reports, by=self.name, at=self.now())
                break
            except MailError as error:
                _log.warn("the queue can't be written: {error}", error=str(error))
            except Exception:
                _log.failure("the queue could not be written")
                faults += 1
                if faults == MOST_FAULTS and reports:  # what became of the mail counts more
                    settled, reports = [unreported(each) for each in settled], ()
            await deferLater(self.clock, again_s, lambda: None)
            again_s = min(2 * again_s, AGAIN_MOST_S)
        self._let_go(settled)

    def _let_go(self, settled: Sequence[Settled]) -> None:
        for each in settled:
            self._held.pop(each.queue_id, None)
