"""What aggregate reports will say, in a file of its own: var/dmarc.db.

It is no part of mail.db: what is counted of strangers' mail must not cost the accepts a flush.
Mails are counted behind their examination by a thread, those together that came while it was at
work; nobody waits for it. All processes of the node count in the one file, and a restart keeps it.
A kill loses what the thread had in hand, a power cut the last seconds or minutes; a file that is
damaged is begun anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.mailauth.dmarc_seen import Published, Seen
from mailnode.store.dmarc_rows import (
    AT_ONCE,
    Bounds,
    Collected,
    Kind,
    count_mails,
    read_open,
    read_report,
    settle,
)
from mailnode.store.own_file import Kind as FileKind
from mailnode.store.own_file import OwnFile
from mailnode.store.sqlite import DAMAGED
from mailnode.threads import Threads

NAME = "dmarc.db"
DMARC = FileKind(NAME, synchronous="NORMAL")
MOST_WAITING = 10_000  # kinds of mails
TOLD_EVERY_S = 3600.0

T = TypeVar("T")

_log = Logger(namespace="mailnode")


@define(eq=False)
class DmarcFile:
    """The counts of one node, seen from one of its processes; no file is made before the first.

    Attributes:
        now: UTC epoch seconds.
        counted, left_out: mails, since this process began.
    """

    data: Path
    _call_in_reactor: Callable[..., object]
    now: Callable[[], float]
    bounds: Bounds = field(factory=Bounds, kw_only=True)
    counted: int = field(default=0, init=False)
    left_out: int = field(default=0, init=False)
    _waiting: Counter[Kind] = field(factory=Counter, init=False)
    _busy: bool = field(default=False, init=False)
    _told_at: float = field(default=float("-inf"), init=False)
    _stopping: Deferred[None] | None = field(default=None, init=False)
    _file: OwnFile = field(init=False)  # of the thread
    _threads: Threads = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._file = OwnFile(DMARC, self.data)
        self._threads = Threads(self._call_in_reactor, most_threads=1)

    @property
    def told(self) -> dict[str, int]:
        """Mails by what became of them, those that did."""
        told = {"counted": self.counted, "left-out": self.left_out}
        return {result: mails for result, mails in told.items() if mails}

    def count(self, day: str, published: Published, seen: Seen) -> None:
        """A mail more; nobody waits until it is kept."""
        kind = day, published, seen
        if self._stopping is not None or (
            kind not in self._waiting and len(self._waiting) >= MOST_WAITING
        ):
            self._leave_out(1, "more came than could be kept")
            return
        self._waiting[kind] += 1
        self._go_on()

    def waiting_before(self, day: str) -> Deferred[list[tuple[int, str, str]]]:
        """See `read_open`; nothing where nothing was ever counted."""
        if not (self.data / NAME).exists():
            return succeed([])
        return self._run(read_open, day)

    def read(self, report_id: int) -> Deferred[tuple[Collected, list[tuple[Seen, int]]] | None]:
        """See `read_report`."""
        return self._run(read_report, report_id)

    def settle(self, report_id: int, state: str, note: str) -> Deferred[None]:
        """See `dmarc_rows.settle`."""
        return self._run(settle, report_id, state, self.now(), note)

    def stop(self) -> Deferred[None]:
        """Fires once all is kept that was counted, and the file is closed."""
        if self._stopping is None:
            self._stopping = Deferred()
            if not self._busy:
                self._file.end(self._threads, self._stopping)
            return self._stopping
        return succeed(None)

    def _go_on(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        some = dict(islice(self._waiting.items(), AT_ONCE))
        for kind in some:
            del self._waiting[kind]
        mails = sum(some.values())
        working = self._run(count_mails, some, self.bounds)
        working.addCallbacks(
            self._counted, self._failed, callbackArgs=(mails,), errbackArgs=(mails,)
        )
        working.addCallback(lambda _: self._worked())

    def _counted(self, left_out: int, mails: int) -> None:
        self.counted += mails - left_out
        if left_out:
            self._leave_out(left_out, "the day has as many kinds of mail as are kept")

    def _failed(self, failure: Failure, mails: int) -> None:
        self._leave_out(mails, failure.getErrorMessage())

    def _worked(self) -> None:
        self._busy = False
        self._go_on()
        if self._stopping is not None and not self._busy:
            self._file.end(self._threads, self._stopping)

    def _leave_out(self, mails: int, why: str) -> None:
        self.left_out += mails
        now = self.now()
        if abs(now - self._told_at) >= TOLD_EVERY_S:
            self._told_at = now
            _log.warn("DMARC reports will leave mails out: {why}", why=why)

    # In the thread

    def _run(self, work: Callable[..., T], *args: object) -> Deferred[T]:
        return self._threads.run(partial(self._work, work, *args))

    def _work(self, work: Callable[..., T], *args: object) -> T:
        try:
            connection, _ = self._file.open()
            return work(connection, *args)
        except DAMAGED as error:
            self._file.mend(error)
            raise
