"""How long the reactor is held while mails are judged, lessons learned and full models written.

`Watch` is a filter of [plugins]: inside a node that takes mail it notes how long each thing takes
that the reactor does, the waits for other threads of the node among it. Meanwhile it teaches the
node's model as a moved mail does, and writes it, again and again; `Learned` reads each new file.
The node has a real-time priority, so that other programs of the machine don't hold it.
"""

from __future__ import annotations

import json
import os
import random
import time
from array import array
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.threads import deferToThread
from twisted.python import log
from zope.interface import implementer

from mailnode.background import background
from mailnode.interfaces import IContentFilter
from mailnode.learning.features import MOST_FACTS, Likeness, likeness_of
from mailnode.learning.fisher import Counts
from mailnode.learning.form import write_model
from mailnode.learning.logistic import MOST_STEPS, Weights
from mailnode.learning.model import MOST_LESSONS, NODE_BITS, UNWANTED, WANTED, Model, pack_lesson
from mailnode.model import Envelope, Message
from mailnode.store.models import NODE, ModelFiles

START_S = 5.0
LEAST_S = 0.001
MOST_TOLD = 20
LESSONS = 5  # at a time
PAUSE_S = 0.3
TOLD, MAILS, DATA = "BENCH_HELD", "BENCH_HELD_MAILS", "BENCH_HELD_DATA"


def write_full_model(path: Path) -> None:
    """One that has learned all that it can: no slot is empty, and all lessons are long."""
    chance = random.Random(1)
    slots = 1 << NODE_BITS
    counts = [array("H", (chance.randrange(400) for _ in range(slots))) for _ in range(2)]
    weights = [array("f", (chance.random() for _ in range(slots))) for _ in range(2)]
    lessons = {
        chance.getrandbits(64): pack_lesson(
            bool(number & 1),
            [chance.random() for _ in range(MOST_STEPS)],
            [chance.getrandbits(32) for _ in range(MOST_FACTS)],
        )
        for number in range(MOST_LESSONS)
    }
    model = Model(NODE_BITS, Counts(*counts, 30_000, 30_000), Weights(*weights), lessons)
    write_model(path, model)


@define(eq=False)
class Held:
    """What is noted of one reactor.

    Attributes:
        times: how often it did anything.
        seconds: how long it was held, the times of more than a millisecond.
    """

    times: int = 0
    seconds: list[float] = field(factory=list)

    def watch(self, reactor: Any) -> None:
        """From now on each event, each call that is due, and each call from a thread is timed."""
        call_later = reactor.callLater
        reactor.callLater = lambda delay_s, call, *args, **named: call_later(
            delay_s, self._timed, call, *args, **named
        )
        reactor.threadCallQueue = _Queue(self._timed)
        call_event = log.callWithLogger
        log.callWithLogger = lambda *args, **named: self._timed(call_event, *args, **named)

    def _timed(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args, **named)
        finally:
            took_s = time.perf_counter() - began
            self.times += 1
            if took_s > LEAST_S:
                self.seconds.append(took_s)


class _Queue(list[Any]):
    """Calls from threads, each timed."""

    def __init__(self, timed: Callable[..., Any]) -> None:
        super().__init__()
        self.timed = timed

    def append(self, entry: tuple[Callable[..., Any], Any, Any]) -> None:
        call, args, named = entry
        super().append((self.timed, (call, *args), named))


@implementer(IContentFilter)
class Watch:
    """Says nothing of any mail."""

    name = "watch"

    def __init__(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.told = Path(os.environ[TOLD])
        self.files = ModelFiles(Path(os.environ[DATA]))
        texts = sorted(Path(os.environ[MAILS]).iterdir())[:500]
        self.likenesses = [likeness_of(each.read_bytes()) for each in texts]
        self.written = 0
        self.held = Held()
        self.reactor.callLater(START_S, self.begin)

    def judge(self, envelope: Envelope, message: Message) -> None:
        return None

    def begin(self) -> None:
        self.held.watch(self.reactor)
        self.tell()
        background(self.learn(), "learning")

    def tell(self) -> None:
        self.reactor.callLater(1, self.tell)
        for thread in map(int, os.listdir("/proc/self/task")):
            priority = 1 + (thread == os.getpid())  # two that work must not keep the reactor's away
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
        longest = sorted(self.held.seconds, reverse=True)[:MOST_TOLD]
        found = {"times": self.held.times, "longest": longest, "written": self.written}
        self.told.write_text(json.dumps(found))

    async def learn(self) -> None:
        for turn in count():
            at = turn * LESSONS % len(self.likenesses)
            some = self.likenesses[at : at + LESSONS]
            await deferToThread(self.teach, some, UNWANTED if turn & 1 else WANTED)
            self.written += 1
            await deferToThread(time.sleep, PAUSE_S)

    def teach(self, some: list[Likeness], label: str) -> None:
        with self.files.changing() as changing:
            assert changing is not None
            for each in some:
                changing.teach(NODE, each, label)
            changing.write(NODE)
