"""How long the reactor is held while mails are judged, lessons learned and full models written.

`Watch` is a filter of [plugins]: inside a node that takes mail it notes how long each thing takes
that the reactor does. Meanwhile it teaches the node's model as a moved mail does, and writes it,
again and again; `Learned` reads each new file.

What counts is the node's own: from the beginning to the end of a call, its waits for other threads
of the node and for the disk among it, less the time for which its thread could have run and other
programs had the processors (`schedstat`). The node goes before those besides, so that its other
threads are hardly kept from running while the reactor's waits for one. What that waits for between
two calls is in no hold: it shows in how long a mail takes.
"""

from __future__ import annotations

import gc
import json
import os
import random
import time
from array import array
from collections.abc import Callable
from heapq import heappush, heapreplace
from itertools import count
from pathlib import Path
from typing import Any

from attrs import asdict, define, field, frozen
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


@frozen(order=True)
class Hold:
    """One time.

    Attributes:
        own_s: how long it was held by the node itself.
        cpu_s: for how much of that its thread ran; for the rest it waited for other threads, or
            for the disk.
        delayed_s: for how long others had the processors besides.
        garbage_s: what the collection of garbage took.
        what: was called, with what kinds of things.
    """

    own_s: float
    cpu_s: float
    delayed_s: float
    garbage_s: float
    what: str


@define(eq=False)
class Held:
    """What is noted of one reactor.

    Attributes:
        times: how often it did anything.
        holds: the longest times, a heap: the shortest of them first.
        longest_s: by the whole clock, whoever had the processors.
    """

    times: int = 0
    holds: list[Hold] = field(factory=list)
    longest_s: float = 0.0
    _collected_s: float = 0.0
    _collecting_since: float = 0.0
    _schedstat: int = -1

    def watch(self, reactor: Any) -> None:
        """From now on each event, each call that is due, and each call from a thread is timed.

        It is called on the reactor's thread.
        """
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        gc.callbacks.append(self._collect)
        call_later = reactor.callLater
        reactor.callLater = lambda delay_s, call, *args, **named: call_later(
            delay_s, self._timed, call, *args, **named
        )
        waiting, reactor.threadCallQueue = reactor.threadCallQueue, _Queue(self._timed)
        for entry in waiting:
            reactor.threadCallQueue.append(entry)
        call_event = log.callWithLogger
        log.callWithLogger = lambda *args, **named: self._timed(call_event, *args, **named)

    def _timed(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        collected_s, delayed_s = self._collected_s, self._delayed_s()
        cpu_s, began = time.thread_time(), time.perf_counter()
        try:
            return call(*args, **named)
        finally:
            took_s, cpu_s = time.perf_counter() - began, time.thread_time() - cpu_s
            delayed_s = self._delayed_s() - delayed_s
            self.times += 1
            self.longest_s = max(self.longest_s, took_s)
            own_s = took_s - delayed_s
            if own_s > LEAST_S and (len(self.holds) < MOST_TOLD or own_s > self.holds[0].own_s):
                garbage_s = self._collected_s - collected_s
                what = ", ".join(map(_name_of, (call, *args)))
                hold = Hold(own_s, cpu_s, delayed_s, garbage_s, what)
                (heappush if len(self.holds) < MOST_TOLD else heapreplace)(self.holds, hold)

    def _delayed_s(self) -> float:
        """For how long this thread could have run so far, and didn't."""
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    def _collect(self, phase: str, _about: object) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self._collected_s += time.perf_counter() - self._collecting_since


def _name_of(thing: Any) -> str:
    """Of a function or a kind: to show what that is bound to, all of a node, would take seconds."""
    name: str = getattr(thing, "__qualname__", "") or type(thing).__name__
    return name


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
        background(self.learn(), "learning")

    async def learn(self) -> None:
        await deferToThread(self.tell)
        for turn in count():
            at = turn * LESSONS % len(self.likenesses)
            some = self.likenesses[at : at + LESSONS]
            await deferToThread(self.teach, some, UNWANTED if turn & 1 else WANTED)
            self.written += 1
            await deferToThread(self.tell)
            await deferToThread(time.sleep, PAUSE_S)

    def teach(self, some: list[Likeness], label: str) -> None:
        with self.files.changing() as changing:
            assert changing is not None
            for each in some:
                changing.teach(NODE, each, label)
            changing.write(NODE)

    def tell(self) -> None:
        """In a thread: it takes long itself."""
        longest = [asdict(each) for each in sorted(list(self.held.holds), reverse=True)]
        found = {
            "times": self.held.times,
            "longest": longest,
            "longest_s": self.held.longest_s,
            "written": self.written,
        }
        self.told.write_text(json.dumps(found))
