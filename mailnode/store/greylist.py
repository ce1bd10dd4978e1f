"""Who is to come again before his mail is taken (RFC 6647), in a file of its own: var/greylist.db.

It is no part of mail.db: a stranger who is turned away must not cost the accepts a flush, nor grow
what is backed up. All processes of the node share the file, a restart keeps it, and its tables are
bounded. It isn't flushed: a power cut loses the last of it, or all, and costs some senders one more
attempt. Whatever is wrong with it lets everybody through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.addresses import Address
from mailnode.settings import ArrivalSettings
from mailnode.store.beside import MAIL_DATABASE
from mailnode.store.greylist_rows import (
    AT_ONCE,
    MOST_ROWS,
    Asked,
    GreylistRules,
    Look,
    judge,
    note_written,
    seed,
    trim,
    written_key,
)
from mailnode.store.own_file import Kind, OwnFile
from mailnode.store.sqlite import DAMAGED, reading
from mailnode.threads import Threads

NAME = "greylist.db"
GREYLIST = Kind(NAME, synchronous="OFF")
MOST_WAITING = 10_000
TRIM_EVERY = 5_000  # that were asked for
TOLD_EVERY_S = 60.0

_log = Logger(namespace="mailnode")


def rules_of(settings: ArrivalSettings) -> GreylistRules | None:
    """What the settings say; None where it is off."""
    if not settings.greylist:
        return None
    return GreylistRules(settings.greylist_wait, settings.greylist_until, settings.greylist_keep)


@define(eq=False)
class Greylist:
    """The list of one node, seen from one of its processes.

    Attributes:
        now: UTC epoch seconds.
        rules: None while it is off; then no file is made.
    """

    data: Path
    _call_in_reactor: Callable[..., object]
    now: Callable[[], float]
    rules: GreylistRules | None = field(default=None, init=False)
    most_rows: int = field(default=MOST_ROWS, kw_only=True)
    _asked: list[tuple[Asked, Deferred[Look]]] = field(factory=list, init=False)
    _written: set[bytes] = field(factory=set, init=False)
    _busy: bool = field(default=False, init=False)
    _file: OwnFile = field(init=False)  # of the thread
    _since_trim: int = field(default=TRIM_EVERY, init=False)
    _told_at: float = field(default=float("-inf"), init=False)
    _stopping: Deferred[None] | None = field(default=None, init=False)
    _threads: Threads = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._file = OwnFile(GREYLIST, self.data)
        self._threads = Threads(self._call_in_reactor, most_threads=1)

    def look(self, network: str, sender: str, recipient: str) -> Deferred[Look]:
        """Whether a stranger is let through; those who ask together are answered by one look.

        Args:
            network: of his address, "192.0.2.0/24".
            sender: the reverse-path, "" for `<>`.
        """
        if self.rules is None or len(self._asked) >= MOST_WAITING:
            return succeed(Look())
        answer: Deferred[Look] = Deferred()
        self._asked.append((Asked(network, sender, recipient), answer))
        self._go_on()
        return answer

    def wrote_to(self, addresses: Iterable[Address]) -> None:
        """An account has sent to these: they needn't wait when they write back."""
        if self.rules is not None and len(self._written) < MOST_WAITING:
            self._written.update(written_key(str(each)) for each in addresses)
            self._go_on()

    def apply(self, rules: GreylistRules | None) -> None:
        """Take up settings; a list that is switched on learns at once whom accounts wrote to."""
        began, self.rules = self.rules is None, rules
        if rules is None:
            self._let_through()
        elif began:
            self._go_on(at_once=True)

    def stop(self) -> Deferred[None]:
        """Nobody is asked any more; fires once the file is closed."""
        if self._stopping is not None:
            return succeed(None)
        self.rules = None
        self._let_through()
        self._stopping = stopping = Deferred[None]()
        if not self._busy:
            self._file.end(self._threads, stopping)
        return stopping

    def _let_through(self) -> None:
        waiting, self._asked = self._asked, []
        for _, answer in waiting:
            _give(answer, Look())

    def _go_on(self, *, at_once: bool = False) -> None:
        rules = self.rules
        if self._busy or rules is None or not (at_once or self._asked or self._written):
            return
        self._busy = True
        some, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
        written, self._written = self._written, set()
        asked = [each for each, _ in some]
        working = self._threads.run(self._work, asked, written, rules, self.now())
        working.addErrback(self._failed, len(some))
        working.addCallback(self._worked, [answer for _, answer in some])

    def _worked(self, looks: list[Look], answers: list[Deferred[Look]]) -> None:
        for look, answer in zip(looks, answers, strict=True):
            _give(answer, look)
        self._busy = False  # who was answered may have asked again, or have ended it
        if self._stopping is not None:
            self._file.end(self._threads, self._stopping)
        self._go_on()

    def _failed(self, failure: Failure, count: int) -> list[Look]:
        now = self.now()
        if abs(now - self._told_at) >= TOLD_EVERY_S:
            self._told_at = now
            _log.warn("the greylist lets everybody through: {why}", why=failure.getErrorMessage())
        return [Look()] * count

    # In the thread

    def _work(
        self, asked: list[Asked], written: set[bytes], rules: GreylistRules, now: float
    ) -> list[Look]:
        try:
            connection, is_new = self._file.open()
            if is_new:
                note_written(connection, self._written_before(), now)
            if written:
                note_written(connection, written, now)
            looks = judge(connection, asked, rules, now)
            self._since_trim += len(asked)
            if self._since_trim >= TRIM_EVERY:
                more = trim(connection, rules, now, self.most_rows)
                self._since_trim = TRIM_EVERY if more else 0
        except DAMAGED as error:
            self._file.mend(error)
            raise
        return looks

    def _written_before(self) -> list[bytes]:
        """By mail.db; without it the list begins empty."""
        path = self.data / MAIL_DATABASE
        if not path.exists():
            return []
        with reading(path) as connection:
            return [written_key(address) for address in seed(connection)]


def _give(answer: Deferred[Look], look: Look) -> None:
    if not answer.called:  # else who asked waits no more
        answer.callback(look)
