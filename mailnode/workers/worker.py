"""A worker: a node that serves mail beside others, on ports and a store that they share.

The supervisor does for all what one process must do: it binds the ports, has the folder's lock,
sweeps, hears the bell and signals, answers health and metrics. Each worker commits its own mail.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.cred.strcred import makeChecker
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode import __version__
from mailnode.addresses import Address
from mailnode.admission import Sessions
from mailnode.arrival.paces import Paces
from mailnode.bell import Bell
from mailnode.cred.checkers import mended
from mailnode.listening import Listener
from mailnode.premises import EX_TEMPFAIL, EX_UNAVAILABLE
from mailnode.service import Node
from mailnode.smtp.allowance import Allowance
from mailnode.store.directory import Account
from mailnode.store.locks import join_folder
from mailnode.workers.counts import Counts
from mailnode.workers.sharing import PassedBell, SharedAllowance, SharedSessions
from mailnode.workers.words import COUNTS, Lines, Task, call, pack, unpack_config

REPORT_S = 1.0
MOST_UNTOLD = 1_000

_log = Logger(namespace="mailnode")


class Worker(Node):
    """One of the processes that serve.

    Args:
        task: what the supervisor wants of it.
        say: sends words to the supervisor.
        ended: called when it has stopped.
    """

    bell: PassedBell
    smtp_sessions: SharedSessions
    pop3_sessions: SharedSessions

    def __init__(
        self, task: Task, reactor: Any, say: Callable[..., object], ended: Callable[[], object]
    ) -> None:
        self._task, self._say, self._ended = task, say, ended
        self._counts = Counts(COUNTS, task.workers, bytes.fromhex(task.secret))
        self._failed: list[tuple[str, str]] = []
        self._unknown: list[Deferred[None]] = []
        self._stopping: Deferred[None] | None = None
        checkers = [mended(makeChecker(each)) for each in task.auth]
        super().__init__(unpack_config(task.config), reactor, checkers=checkers)
        self.hostname = task.hostname
        self.who = f"worker {task.number + 1}: "

    def _make_bell(self) -> Bell:
        return PassedBell(pass_on=lambda topic: self._say("ring", topic))

    # Starting

    def _bind(self) -> None:
        if self._task.version != __version__:
            self._fail(
                EX_TEMPFAIL,
                f"version {self._task.version} runs and {__version__} is installed: restart it",
            )
        for kind, where, descriptors in self._task.ports:
            listener = Listener(kind, where)
            listener.adopt(self.reactor, descriptors, self.config.listen.backlog)
            self.listeners.append(listener)

    def _lock_folder(self) -> int:
        return join_folder(self.config.data_path)

    def _make_sessions(self, server: str) -> Sessions:
        return SharedSessions(
            self.reactor, counts=self._counts, worker=self._task.number, server=server
        )

    def _make_allowance(self) -> Allowance:
        return SharedAllowance(seconds=self.reactor.seconds, counts=self._counts)

    def _make_paces(self) -> Paces:
        counts, secret = self._counts, bytes.fromhex(self._task.secret)
        return Paces(counts.paces, counts.locked_paces, secret)

    def _build(self) -> None:
        super()._build()
        self.portal.failed_here = self._note_failed
        self.portal.take_failures(*self._task.failures)

    def _apply_limits(self) -> None:
        super()._apply_limits()
        for sessions in (self.smtp_sessions, self.pop3_sessions):
            sessions.most_of_all = self.config.limits.connections
        self.gate.most = max(1, self.gate.most // self._task.workers)

    def _keep_house(self) -> None:
        self.queue.on_queued = lambda *_: self.bell.ring("queue")
        self._call_every(REPORT_S, self.hear_report)

    def _open_doors(self) -> None:
        self.started = True
        self._say("serves")

    def start_failed(self, why: str) -> None:
        """The supervisor says it."""

    def _make_account(self, address: Address) -> Deferred[Account]:
        """All workers know it before who made it is answered."""
        return Deferred.fromCoroutine(self._make_known(address))

    async def _make_known(self, address: Address) -> Account:
        account = await self.watch.make_account(address)
        known: Deferred[None] = Deferred()
        self._unknown.append(known)
        self._say("made_account")
        await known
        return account

    # Telling and hearing

    def hear_known(self) -> None:
        """What this worker told first of the accounts that it made, all know now."""
        self._unknown.pop(0).callback(None)

    def hear_accounts(self) -> None:
        taken = Deferred.fromCoroutine(self.watch.take_up())
        taken.addBoth(lambda _: self._say("accounts"))

    def _note_failed(self, address: str, name: str) -> None:
        if len(self._failed) < MOST_UNTOLD:
            self._failed.append((address, name))

    def _tell_changed(self) -> None:
        """What the others must know of; they hear it together, a few times a second."""
        if self.messages.changed:
            self._say("changed", self.messages.tell_changed())
        if self._failed:
            failed, self._failed = self._failed, []
            self._say("failed", failed)

    def hear_report(self) -> None:
        self._say("report", self.metrics.values(), self.readiness(), self.warnings())

    def hear_in_hand(self) -> None:
        self._say("in_hand", sorted(self.blobs.in_hand))

    def hear_ring(self, topic: str) -> None:
        self.bell.ring_here(topic)

    def hear_failed(self, failed: list[tuple[str, str]]) -> None:
        for address, name in failed:
            self.portal.note_failure(address, name)

    def hear_changed(self, folder_ids: list[int] | None) -> None:
        self.messages.changed_elsewhere(folder_ids)

    def hear_settings(self, config: dict[str, Any]) -> None:
        self.config = unpack_config(config)
        self._apply_limits()
        self.certificate.refresh()

    def hear_stop(self) -> None:
        """Serve to the end what is under way, and end."""
        if self._stopping is None:
            self._stopping = self.stopService()
            self._stopping.addErrback(lambda failure: _log.failure("the stop failed", failure))
            self._stopping.addBoth(lambda _: self._ended())

    def hear_cut_off(self) -> None:
        self.cut_off()

    def _leave_house(self) -> None:
        """The supervisor does."""


class Pipe(Protocol):
    """A worker's end of what joins it to its supervisor; the process goes when that is gone."""

    transport: Any

    def __init__(self, heard_before: bytes) -> None:
        self._heard_before = heard_before
        self._lines = Lines()
        self.worker: Worker | None = None
        self.over = False

    def say(self, *words: object) -> None:
        self.transport.write(pack(*words))

    def listen(self) -> None:
        """The worker is there: what was said meanwhile is heard."""
        self.dataReceived(self._heard_before)

    def dataReceived(self, data: bytes) -> None:
        for message in self._lines.feed(data):
            call(self.worker, message)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.over:
            os._exit(EX_UNAVAILABLE)
