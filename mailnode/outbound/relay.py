"""The relay: begins what is due, each destination beside the others.

What waits for one domain, or for one account's provider, is a line. A line that is due is served
by one task, and by more while it stays long; a line whose hosts don't answer sleeps, and holds up
no other. Where hosts have answered lately and nothing waits, new mail is claimed: its rows are
leased by the commit that makes them, and the mail is handed over in memory.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from mailnode.background import background
from mailnode.errors import MailError
from mailnode.outbound.delivery import Delivery, Unreachable
from mailnode.outbound.leases import Leases
from mailnode.outbound.lines import Line
from mailnode.outbound.outcome import wait_s
from mailnode.queued import Begun, Claims, Key, Leased
from mailnode.routes import Route, SendAs

if TYPE_CHECKING:
    from mailnode.store.queue import Queue

RENEW_S = 300.0
LOOK_S = 30.0
TICK_S = 0.1
FAULT_S = 5.0
BATCH_ROWS = 20
DRAIN_ROWS = 20
DRAIN_PAUSES = 9  # as long as a piece took: a tenth of the time
MOST_TASKS = 200
KEPT_FOR_KNOWN = 50  # of these
MOST_KNOWN = 10_000
MOST_SLEEP_S = 900.0
CLAIMED_ROWS = 100  # of a line
CLAIMED_OCTETS = 8 << 20  # of all lines together

_log = Logger()


@define(eq=False)
class Relay:
    """Delivers the queue.

    Attributes:
        clock: the reactor.
        claims: what it takes as soon as it is committed.
    """

    clock: IReactorTime
    queue: Queue
    leases: Leases
    delivery: Delivery
    claims: Claims = field(init=False)
    _lines: OrderedDict[Key, Line] = field(factory=OrderedDict, init=False)
    _tasks: int = field(default=0, init=False)
    _giving_back: int = field(default=0, init=False)  # commits under way that do
    _timer: IDelayedCall | None = field(default=None, init=False)
    _renewing: LoopingCall | None = field(default=None, init=False)
    _recovered: bool = field(default=False, init=False)
    _looking: bool = field(default=False, init=False)
    _look_again: bool = field(default=False, init=False)
    _looked_at: float = field(default=0.0, init=False)
    _without_room: dict[Key, Line] = field(factory=dict, init=False)  # due, in the order of turns
    _known_without_room: dict[Key, Line] = field(factory=dict, init=False)
    _answered: OrderedDict[Key, None] = field(factory=OrderedDict, init=False)
    _planning_s: float = field(default=0.0, init=False)  # how long the last look took
    _filling: bool = field(default=False, init=False)
    _planning: bool = field(default=False, init=False)
    _plan_again: bool = field(default=False, init=False)
    _stopping: bool = field(default=True, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.claims = Claims(self.leases.name, self.leases.until)

    def now(self) -> float:
        return self.delivery.now()

    # The life of it

    async def start(self) -> None:
        """Take up what an ended process left, and begin."""
        self._stopping = False
        self.claims.octets = CLAIMED_OCTETS
        self._renewing = LoopingCall(self.leases.renew)
        self._renewing.clock = self.clock
        self._renewing.start(RENEW_S, now=False)
        await self._look()

    async def _recover(self) -> None:
        """What an ended process had in hand waits again; what can't be taken up now is later."""
        own = self.leases.name
        try:
            interrupted = await self.queue.recover(self.now(), by_prefix="", own=own)
        except MailError as error:
            _log.warn("leases of before can't be taken up: {error}", error=str(error))
            return
        self._recovered = True
        if interrupted:
            _log.warn(
                "{count} recipients were being attempted when the node ended; they are tried again "
                "and may get the mail twice",
                count=len(interrupted),
            )

    async def stop(self, within_s: float) -> None:
        """Begin nothing; what is under way gets `within_s`, and the rest waits in the queue."""
        self._stopping = self.delivery.stopping = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.claims.rows.clear()
        self.delivery.pool.stop()
        cut_off = self.clock.callLater(within_s, self.delivery.cut_off)
        background(self._unclaim(*self._lines.values()), "putting mail back into the queue")
        await self.when_idle()
        if cut_off.active():
            cut_off.cancel()
        if self._renewing is not None and self._renewing.running:
            self._renewing.stop()
        self.delivery.pool.stop()

    def when_idle(self) -> Deferred[None]:
        """Fires once nothing is under way and nothing is due."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._plan()
        return idle

    # What is due

    def queued(self, keys: Iterable[Key], begun: Sequence[Begun] = ()) -> None:
        """Rows for these destinations were committed, due at once; those begun are ours."""
        now = self.now()
        for key in keys:
            line = self._line(key)
            line.due_at = min(line.due_at, now)
            self._consider(line, now)
        claimed: dict[Key, Line] = {}
        for each in begun:
            self.leases.hold(each)
            self.claims.octets -= each.octets
            line = claimed[each.key] = self._line(each.key)
            line.add_begun(each)
        for line in claimed.values():
            if self._stopping or line.asleep_until > now:
                background(self._unclaim(line), "putting mail back into the queue")
            else:
                self._consider(line, now)

    def look(self) -> None:
        """Rows or routes may have changed: a hint, as from the bell."""
        if self._looking:
            self._look_again = True
        elif not self._stopping:
            background(self._look(), "looking into the queue")

    async def _look(self) -> None:
        self._looking = True
        self._looked_at = self.clock.seconds()
        try:
            if not self._recovered:
                await self._recover()
            for waiting in await self.queue.waiting():
                line = self._line((waiting.domain, waiting.send_as))
                line.due_at = min(line.due_at, waiting.due_at)
        except MailError as error:
            _log.warn("the queue can't be looked into: {error}", error=str(error))
        finally:
            self._looking = False
        self._plan()
        if self._look_again:
            self._look_again = False
            self.look()

    def wake(self) -> None:
        """The clock or a route has changed, or somebody says now: whoever sleeps is asked again."""
        for line in self._lines.values():
            line.asleep_until = 0.0
        self.delivery.pool.wake()
        self.look()

    @property
    def next_at(self) -> float:
        """When the next line wakes; infinity when none will."""
        return min((line.wakes_at for line in self._lines.values()), default=math.inf)

    def _line(self, key: Key) -> Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(*key)
        return line

    def _plan(self) -> None:
        """Begin what is due, the line that was served longest ago first."""
        self._plan_again = True
        if self._planning:  # what was begun has ended already, further down this stack
            return
        self._planning = True
        while self._plan_again:
            self._plan_again = False
            self._begin_due()
        self._planning = False
        self._tell_idle()

    def _begin_due(self) -> None:
        if self._stopping:
            return
        now, next_at, began_s = self.now(), math.inf, time.perf_counter()
        for key, line in list(self._lines.items()):
            wakes_at = line.wakes_at
            if wakes_at <= now:  # one that is served goes on by itself
                self._consider(line, now)
            elif line.is_over(now):
                self._lines.pop(key, None)
            else:
                next_at = min(next_at, wakes_at)
        self._planning_s = time.perf_counter() - began_s
        self._wake_by(next_at)

    def _consider(self, line: Line, now: float) -> None:
        """Begin a task for the line, where it is due and has not enough of them."""
        if line.wakes_at > now:
            self._wake_by(line.wakes_at)
        elif self._tasks >= self._places(line):
            waiting = self._known_without_room if self._is_known(line) else self._without_room
            waiting[line.key] = line
        elif not self._stopping:
            is_long = line.long or line.begun_rows >= BATCH_ROWS
            if line.tasks < (self.delivery.settings.connections if is_long else 1):
                self._lines.move_to_end(line.key)
                self._begin(line)
        self._claim(line, now)

    def _claim(self, line: Line, now: float) -> None:
        """What comes for it is claimed as long as nothing in the queue waits for its turn."""
        asleep = line.failures or line.asleep_until > now  # until a host has answered again
        answers = line.key in self._answered and not asleep
        overtakes = line.long or line.due_at <= now
        rows = CLAIMED_ROWS - line.begun_rows
        if answers and not overtakes and rows > 0 and not self._stopping:
            self.claims.rows[line.key] = rows
        else:
            self.claims.rows.pop(line.key, None)

    async def _unclaim(self, *lines: Line) -> None:
        """What was claimed for them and isn't begun waits in the queue, by one commit."""
        if begun := [each for line in lines for each in line.take_begun()]:
            self._giving_back += 1
            self.claims.octets += sum([each.octets for each in begun])
            try:
                await self.leases.give_back([row for each in begun for row in each.rows])
            finally:
                self._giving_back -= 1
            self.queued({each.key for each in begun})
            self._tell_idle()

    def _is_known(self, line: Line) -> bool:
        """Whether it leads to somebody's provider, or to hosts that have answered lately."""
        return line.send_as > 0 or line.key in self._answered

    def _places(self, line: Line) -> int:
        """Strangers' hosts that take a connection and never greet don't get all of them."""
        return MOST_TASKS if self._is_known(line) else MOST_TASKS - KEPT_FOR_KNOWN

    def _has_answered(self, line: Line) -> None:
        line.failures = 0
        self._answered[line.key] = None
        self._answered.move_to_end(line.key)
        if len(self._answered) > MOST_KNOWN:
            forgotten, _ = self._answered.popitem(last=False)
            self.claims.rows.pop(forgotten, None)

    def _wake_by(self, at: float) -> None:
        """Plan anew then, and now and again: other processes queue, too, and clocks jump."""
        if self._stopping:
            return
        # A long table is looked through no more often than a twentieth of the time allows.
        least_s = max(TICK_S, 20 * self._planning_s)
        delay_s = min(max(at - self.now(), least_s), LOOK_S)
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= self.clock.seconds() + delay_s:
                return
            self._timer.cancel()
        self._timer = self.clock.callLater(delay_s, self._woken)

    def _woken(self) -> None:
        self._timer = None
        if self.clock.seconds() - self._looked_at >= LOOK_S:
            self.look()
        self._plan()

    def _tell_idle(self) -> None:
        if not self._idle or self._tasks or self._looking or self._giving_back:
            return
        if self._stopping or self.next_at > self.now():
            waiting, self._idle = self._idle, []
            for each in waiting:
                each.callback(None)

    def _begin(self, line: Line) -> None:
        line.tasks += 1
        self._tasks += 1
        served = Deferred.fromCoroutine(self._serve(line))
        served.addErrback(self._failed, line)
        served.addBoth(lambda _: self._ended(line))

    def _failed(self, failure: Any, line: Line) -> None:
        """A fault of ours or of the store: the line waits a little, nothing is bounced."""
        if self._stopping and failure.check(CancelledError):
            return  # it was cut off
        line.asleep_until = max(line.asleep_until, self.now() + FAULT_S)
        line.due_at = min(line.due_at, self.now())
        if failure.check(MailError):
            _log.warn("{domain}: {error}", domain=line.domain, error=str(failure.value))
        else:
            _log.failure("delivery to {domain} failed", failure, domain=line.domain)

    def _ended(self, line: Line) -> None:
        line.tasks -= 1
        self._tasks -= 1
        now = self.now()
        if line.is_over(now):
            self._lines.pop(line.key, None)
            self._claim(line, now)
        else:
            self._consider(line, now)
        self._fill_room(now)
        self._tell_idle()

    def _fill_room(self, now: float) -> None:
        """A task has ended: who waits for its place has it."""
        if self._filling:  # what was begun has ended already, further down this stack
            return
        self._filling = True
        for waiting in (self._known_without_room, self._without_room):
            while waiting:
                key, line = next(iter(waiting.items()))
                if self._tasks >= self._places(line):
                    break
                del waiting[key]
                self._consider(line, now)
        self._filling = False

    # A line's task

    async def _serve(self, line: Line) -> None:
        kept, asked = self.leases.kept, False
        while not self._stopping and line.wakes_at <= self.now():
            begun = line.take_begun(BATCH_ROWS)
            if begun:
                rows = [row for each in begun for row in each.rows]
            else:
                asked = True
                rows = await self._take(line, BATCH_ROWS)
                line.long = len(rows) == BATCH_ROWS
                if line.long:
                    line.due_at = min(line.due_at, self.now())
                elif not rows:
                    continue
            self._consider(line, self.now())
            try:
                mails = {each.rows[0].message_id: each.mail for each in begun}
                unreachable = await self.delivery.attempt(line.domain, rows, mails)
            finally:
                self.claims.octets += sum([each.octets for each in begun])
                await self.leases.give_back(rows)
            if unreachable is None:
                self._has_answered(line)
            elif not _is_of_few(unreachable.way):
                asked = True  # it looks for what else is due
                await self._give_up(line, unreachable)
        if asked or self.leases.kept != kept:
            due_at = await self.queue.next_due(line.domain, line.send_as)
            line.due_at = min(line.due_at, due_at)  # something may have been queued meanwhile

    async def _take(self, line: Line, limit: int) -> list[Leased]:
        """What is due, as far as nothing is queued meanwhile: no other task looks in vain."""
        line.due_at = math.inf
        rows = await self.leases.take(line.domain, line.send_as, limit, line.after)
        for row in rows:  # the last one of a priority stays
            line.after[row.priority] = row.account_id
        return rows

    async def _give_up(self, line: Line, unreachable: Unreachable) -> None:
        """No host answers: the line sleeps, and what else is due is told the same meanwhile.

        However long that line is, others don't notice it: one task writes, in small pieces with
        pauses.
        """
        now, delivery = self.now(), self.delivery
        if line.asleep_until > now:
            return
        line.failures += 1
        sleep_s = wait_s(line.failures, delivery.settings, delivery.random)
        line.asleep_until = now + min(sleep_s, MOST_SLEEP_S)  # some rows are due for the last time
        self._claim(line, now)
        await self._unclaim(line)
        while not self._stopping and line.asleep_until > self.now():
            began = self.clock.seconds()
            rows = await self._take(line, DRAIN_ROWS)
            try:
                same = (await delivery.by_way(rows)).get(unreachable.way, [])
                await delivery.answer(same, unreachable.answer, unreachable.way)
            finally:
                await self.leases.give_back(rows)
            if not same or len(same) < len(rows):
                break
            if pause_s := (self.clock.seconds() - began) * DRAIN_PAUSES:
                await deferLater(self.clock, pause_s, lambda: None)


def _is_of_few(way: Route | SendAs) -> bool:
    """Whether it is one address's: of the line's other mail it says nothing."""
    return isinstance(way, Route) and "@" in way.pattern
