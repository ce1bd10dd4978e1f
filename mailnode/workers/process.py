"""A worker as its supervisor sees it: a process with pipes, and the last that it told."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ProcessDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from mailnode.errors import StoreBusy
from mailnode.workers.words import (
    FROM_SUPERVISOR,
    OF_TERMINALS,
    TO_SUPERVISOR,
    Lines,
    call,
    pack,
)

SILENT_S = 5.0
LAST_WORDS_S = 1.0


class Boss(Protocol):
    """What a worker's process is for its supervisor."""

    def serves(self, worker: WorkerProcess) -> None: ...
    def failed(self, worker: WorkerProcess, failed: list[tuple[str, str]]) -> None: ...
    def changed(self, worker: WorkerProcess, folder_ids: list[int]) -> None: ...
    def made_account(self, worker: WorkerProcess) -> None: ...
    def rang(self, worker: WorkerProcess, topic: str) -> None: ...
    def logged(self, lines: bytes) -> None: ...
    def ended(self, worker: WorkerProcess) -> None: ...


@define(eq=False)
class WorkerProcess(ProcessProtocol):
    """One process.

    Attributes:
        number: its column of the counts; its replacement has the same.
        began_at: on the clock.
        serves: True once it takes mail.
        values: its measures when it last told.
        faults: what kept it from taking mail then.
        warnings: what else was wrong.
        cannot_start: (exit code, why), when it said so.
        how: the way it ended, in words.
        exit_code: None for a signal.
        unheard_s: seconds that its supervisor has seen pass without a word from it.
    """

    number: int
    clock: IReactorTime
    boss: Boss
    transport: Any = field(default=None, init=False)
    began_at: float = field(init=False)
    heard_at: float = field(init=False)
    serves: bool = field(default=False, init=False)
    values: Mapping[str, Any] = field(factory=dict, init=False)
    faults: Mapping[str, str] = field(factory=dict, init=False)
    warnings: Mapping[str, str] = field(factory=dict, init=False)
    cannot_start: tuple[int, str] | None = field(default=None, init=False)
    how: str = field(default="", init=False)
    exit_code: int | None = field(default=None, init=False)
    _lines: Lines = field(factory=Lines, init=False)
    _log_rest: dict[int, bytes] = field(factory=dict, init=False)
    _asked: dict[str, deque[Deferred[Any]]] = field(factory=dict, init=False)
    unheard_s: int = field(default=0, init=False)
    _missed: bool = field(default=False, init=False)
    _last_words: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.began_at = self.heard_at = self.clock.seconds()

    @property
    def name(self) -> str:
        return f"worker {self.number + 1}"

    @property
    def silent(self) -> bool:
        """Whether it should have told something long ago."""
        return self.clock.seconds() - self.heard_at > SILENT_S

    def say(self, *words: object) -> None:
        """It hears this, after all that was said before; nobody does once it has ended."""
        with suppress(KeyError):  # its pipe is closed, and the news of its end is on the way
            if not self.how:
                self.transport.writeToChild(FROM_SUPERVISOR, pack(*words))

    def hint(self, *words: object) -> None:
        """`say`, unless it does not listen: what it missed must not fill our memory."""
        if self.silent:
            self._missed = True
        else:
            self.say(*words)

    def ask(self, word: str) -> Deferred[Any]:
        """What it answers to a word; None when it ends instead.

        Errors:
            StoreBusy: it has long said nothing, and is not asked: that would fill our memory, too.
        """
        if self.silent:
            return fail(StoreBusy(detail=f"{self.name} does not answer"))
        answer: Deferred[Any] = Deferred()
        self._asked.setdefault(word, deque()).append(answer)
        self.say(word)
        return answer

    def _answer(self, word: str, what: Any) -> None:
        if self._asked.get(word):
            self._asked[word].popleft().callback(what)

    # What it says

    def hear_serves(self) -> None:
        self.serves = True
        self.boss.serves(self)

    def hear_cannot_start(self, code: int, why: str) -> None:
        self.cannot_start = code, why

    def hear_report(
        self, values: dict[str, Any], faults: dict[str, str], warnings: dict[str, str]
    ) -> None:
        self.values, self.faults, self.warnings = values, faults, warnings
        self._answer("report", True)

    def hear_in_hand(self, keys: list[str]) -> None:
        self._answer("in_hand", keys)

    def hear_accounts(self) -> None:
        self._answer("accounts", True)

    def hear_made_account(self) -> None:
        self.boss.made_account(self)

    def hear_failed(self, failed: list[tuple[str, str]]) -> None:
        self.boss.failed(self, failed)

    def hear_changed(self, folder_ids: list[int]) -> None:
        self.boss.changed(self, folder_ids)

    def hear_ring(self, topic: str) -> None:
        self.boss.rang(self, topic)

    # What Twisted calls

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != TO_SUPERVISOR:
            lines, end, rest = (self._log_rest.get(childFD, b"") + data).rpartition(b"\n")
            self._log_rest[childFD] = rest
            if end:
                self.boss.logged(lines + end)
            return
        self.heard_at, self.unheard_s = self.clock.seconds(), 0
        if self._missed:
            self._missed = False
            self.say("changed", None)
        for message in self._lines.feed(data):
            call(self, message)

    def processExited(self, reason: Failure) -> None:
        """A program that it started may hold its pipes open for ever: nobody waits for that."""
        self._last_words = self.clock.callLater(LAST_WORDS_S, self._close_pipes)

    def _close_pipes(self) -> None:
        # `loseConnection` of a pipe that is read waits until it could be written to: for ever.
        for pipe in list(self.transport.pipes.values()):
            pipe.connectionLost(Failure(ConnectionDone()))

    def processEnded(self, reason: Failure) -> None:
        self.serves = False
        if self._last_words is not None and self._last_words.active():
            self._last_words.cancel()
        for rest in self._log_rest.values():
            if rest:
                self.boss.logged(rest + b"\n")
        ended: Any = reason.value
        self.exit_code = 0 if isinstance(ended, ProcessDone) else ended.exitCode
        signal = getattr(ended, "signal", None)
        self.how = f"by signal {signal}" if signal else f"with exit code {self.exit_code}"
        for word, waiting in self._asked.items():
            while waiting:
                self._answer(word, None)
        self.boss.ended(self)


@contextmanager
def terminal_held_back() -> Iterator[None]:
    """What is started here has the mask; it takes the signals once it knows what to do of them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_TERMINALS)
