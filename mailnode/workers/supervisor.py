"""The supervisor: starts the workers, does once what is for all of them, and replaces the dead.

It binds every port and accepts nobody: the workers inherit the sockets. It has the lock of the
data folder, sweeps the store, hears the bell and signals, and serves the web, health and metrics.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
from twisted.cred.strcred import makeChecker
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.logger import Logger

from mailnode import __version__
from mailnode.background import background
from mailnode.bell import Bell
from mailnode.config import Config
from mailnode.cred.checkers import mended
from mailnode.cred.portal import SignInPortal
from mailnode.errors import StoreBusy
from mailnode.failing import Failing
from mailnode.gate import ProxyGate
from mailnode.guarding import pack_asked, unpack_asked
from mailnode.house import House
from mailnode.listening import WEB_KINDS
from mailnode.measures import add_up, describe, describe_workers
from mailnode.password_house import PasswordHouse
from mailnode.plugins import find_checkers, find_delivery, find_filters
from mailnode.premises import EX_NOPERM, EX_TEMPFAIL
from mailnode.taking import Taking
from mailnode.timings import Timings
from mailnode.workers.counts import Counts, make_memory
from mailnode.workers.deaths import Deaths
from mailnode.workers.process import WorkerProcess, terminal_held_back
from mailnode.workers.sharing import PassedBell, SharedAllowance
from mailnode.workers.words import (
    COUNTS,
    FROM_SUPERVISOR,
    TO_LOG,
    TO_SUPERVISOR,
    Task,
    pack_config,
)

if TYPE_CHECKING:
    from mailnode.web_house import WebHouse

ANSWER_S = 1.0
IN_HAND_S = 30.0
LATE_STOP_S = 10.0
UNHEARD_S = 30

_log = Logger(namespace="mailnode")


class Supervisor(House):
    """A node of several processes.

    Args:
        config: the settings; `node.workers` says how many.
        reactor: Twisted's, or a test's.
        auth: descriptions of credential checkers (`--auth`): each worker makes its own.
        reload_config: reads the settings again, for SIGHUP.
        on_started: called once all workers serve.
        as_json: the form of the workers' log.
        write_log: writes lines that workers logged.
    """

    bell: PassedBell

    def __init__(
        self,
        config: Config,
        reactor: Any,
        *,
        auth: Sequence[str] = (),
        reload_config: Callable[[], Config] | None = None,
        on_started: Callable[[House], None] | None = None,
        as_json: bool = True,
        write_log: Callable[[str], object] = sys.stdout.write,
    ) -> None:
        super().__init__(config, reactor, reload_config=reload_config)
        self.auth = list(auth)
        self.as_json, self.write_log = as_json, write_log
        self.workers: dict[int, WorkerProcess] = {}
        self.web: WebHouse | None = None
        self.taking: Taking | None = None
        self.portal: SignInPortal | None = None
        self.passwords: PasswordHouse | None = None
        self.replaced = 0
        self._on_started = on_started
        self._past: dict[str, Any] = {}
        self._deaths = Deaths()
        self._all_gone: Deferred[None] | None = None

    # Starting

    def _make_bell(self) -> Bell:
        return PassedBell(pass_on=lambda topic: self._hint_others(None, "ring", topic))

    def _build(self) -> None:
        super()._build()
        self.sweep.elsewhere = self._in_hand
        guesses = self.guard.guesses
        guesses.on_failed = lambda asked: self._hint_others(None, "failed", [pack_asked(asked)])
        guesses.on_known = lambda known: self._hint_others(None, "owners", [known])
        self.guard.on_blocked = lambda it: self._hint_others(None, "blocked", attrs.astuple(it))
        self.secret = secrets.token_bytes(32)
        workers = self.config.node.workers
        self.counts = Counts(make_memory(workers), workers, self.secret)
        if any(each.kind in WEB_KINDS for each in self.listeners):
            self._build_web()
        servers: dict[str, Any] = {"http": self.web.crowd} if self.web is not None else {}
        describe(
            self.metrics,
            log=self.mail_log,
            database=self.database,
            journal=self.journal,
            directory=self.directory,
            sessions=servers,
            gate=ProxyGate(self.reactor),
            queue=self.queue,
            accepts=self.taking.intake.timings if self.taking is not None else Timings(),
            now=self.due.now,
            judged=lambda: self.taking.intake.judged if self.taking is not None else {},
            sign_ins_blocked=lambda: self.guard.guesses.turned_away,
            kept_out=self.guard.counts,
        )
        describe_workers(self.metrics, serving=self._serving, replaced=lambda: self.replaced)

    def _build_web(self) -> None:
        """The web is served here, for a page may show what any of the workers did."""
        from mailnode.sign_in_house import web_portal  # 0.4 s that others are spared
        from mailnode.web_house import WebHouse

        checkers = find_checkers(self.config.plugins.checkers)
        checkers += [mended(makeChecker(each)) for each in self.auth]
        passwords = PasswordHouse.of(self)
        portal = web_portal(self, passwords, checkers)
        self.directory.subscribe(self._forget_passwords)
        self.passwords, self.portal = passwords, portal
        plugins = self.config.plugins
        self.taking = Taking.of(
            self,
            filters=find_filters(plugins.filters),
            wrap=find_delivery(plugins.delivery),
            allowance=SharedAllowance(seconds=self.reactor.seconds, counts=self.counts),
        )
        self.web = WebHouse.of(
            self,
            portal=portal,
            passwords=passwords,
            post_office=self.taking.post_office,
            others=checkers,
            values=self.values,
        )
        self.web.start()

    def _forget_passwords(self, account_ids: set[int]) -> None:
        if self.passwords is not None:
            self.passwords.forget(account_ids)

    def _connect_listeners(self) -> None:
        """Those of mail are for the workers."""
        self._ports: list[tuple[str, str, list[int]]] = []
        for listener in self.listeners:
            if listener.kind in WEB_KINDS:
                assert self.web is not None
                tls = self.certificate if listener.kind == "https" else None
                site = self.web.server(self.metrics_text, self.refresh, tls)
                listener.door.inner = site
                site.doStart()
            else:
                self._ports.append((listener.kind, listener.where, listener.hand_over()))

    def _start_timers(self) -> None:
        super()._start_timers()
        self._call_every(1.0, self._kill_hanging)

    def _open_doors(self) -> None:
        """They open once all workers serve."""
        for number in range(self.config.node.workers):
            try:
                self._start(number)
            except OSError as error:
                background(self._give_up(*_no_process(error)), "stopping the node")
                return

    def _start(self, number: int) -> None:
        """A worker runs, and serves soon."""
        worker = WorkerProcess(number, self.reactor, self)
        descriptors: dict[int, Any] = {FROM_SUPERVISOR: "w", TO_SUPERVISOR: "r"}
        descriptors |= dict.fromkeys(TO_LOG, "r")
        descriptors[COUNTS] = self.counts.memory
        ports: list[tuple[str, str, list[int]]] = []
        for kind, where, sockets in self._ports:
            first = max(descriptors) + 1
            descriptors |= dict(enumerate(sockets, first))
            ports.append((kind, where, list(range(first, first + len(sockets)))))
        program = [sys.executable, "-P", "-m", "mailnode.workers"]
        with terminal_held_back():
            self.reactor.spawnProcess(
                worker,
                program[0],
                [*program, str(number + 1), os.fspath(self.config.data_path)],
                # Its modules are ours, and what it logs is UTF-8, whatever the terminal takes.
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
                childFDs=descriptors,
            )
        self.workers[number] = worker
        task = Task(
            number=number,
            version=__version__,
            hostname=self.hostname,
            config=pack_config(self.config),
            auth=self.auth,
            as_json=self.as_json,
            ports=ports,
            workers=self.config.node.workers,
            secret=self.secret.hex(),
            guard=self.guard.told(),
        )
        worker.say(attrs.asdict(task))

    # What workers say

    def logged(self, lines: bytes) -> None:
        self.write_log(lines.decode("utf-8", "replace"))

    def serves(self, worker: WorkerProcess) -> None:
        pid = worker.transport.pid
        _log.info("{worker} serves: process {pid}", worker=worker.name, pid=pid)
        if self._standing and not self.started and self._serving() == self.config.node.workers:
            super()._open_doors()
            if self._on_started is not None:
                self._on_started(self)

    def failed(self, worker: WorkerProcess, failed: list[list[Any]]) -> None:
        for each in failed:
            self.guard.guesses.take_failed(unpack_asked(each))
        self._hint_others(worker, "failed", failed)

    def knew(self, worker: WorkerProcess, known: list[tuple[int, str]]) -> None:
        for account_id, client in known:
            self.guard.guesses.take_known(account_id, client)
        self._hint_others(worker, "owners", known)

    def changed(self, worker: WorkerProcess, folder_ids: list[int] | None) -> None:
        """Who looks at these folders here is told, and the index has what came."""
        self.messages.changed_elsewhere(folder_ids)
        self._hint_others(worker, "changed", folder_ids)

    def made_account(self, worker: WorkerProcess) -> None:
        """Tell it once all others have read users.db, or are late."""
        self.watch.look()
        known = self._ask("accounts", ANSWER_S, but=worker)
        known.addCallback(lambda _: worker.say("known"))

    def rang(self, worker: WorkerProcess, topic: str) -> None:
        self.bell.ring_here(topic)
        self._hint_others(worker, "ring", topic)

    def _hint_others(self, worker: WorkerProcess | None, *words: object) -> None:
        for other in self.workers.values():
            if other is not worker:
                other.hint(*words)

    def _tell_changed(self) -> None:
        """Workers must know of folders that the sweep emptied."""
        if self.messages.changed:
            self._hint_others(None, "changed", self.messages.tell_changed())

    # Deaths

    def _kill_hanging(self) -> None:
        """One that hangs in a commit holds the lock that the others need, and keeps all waiting.

        Seconds are counted as they are seen: a supervisor that was held up itself accuses nobody.
        """
        for worker in list(self.workers.values()) if self._standing else ():
            worker.unheard_s += worker.serves
            if worker.unheard_s >= UNHEARD_S:
                worker.unheard_s = 0
                _log.error(
                    "{worker} has said nothing for {s} s: it is killed",
                    worker=worker.name,
                    s=UNHEARD_S,
                )
                self._kill(worker)

    def ended(self, worker: WorkerProcess) -> None:
        """It is replaced, unless the node stops, or must."""
        del self.workers[worker.number]
        self.counts.clear(worker.number)
        self._past = add_up([self._past, worker.values], counters_only=True)
        if not self._standing:
            if not self.workers and self._all_gone is not None:
                self._all_gone.callback(None)
            return
        now = self.reactor.seconds()
        fault = self._deaths.why_not_again(worker, now, started=self.started)
        if fault is None:
            _log.error("{worker} ended {how}: another begins", worker=worker.name, how=worker.how)
            try:
                self._start(worker.number)
            except OSError as error:
                fault = _no_process(error)
        if fault is not None:
            background(self._give_up(*fault), "stopping the node")
            return
        self.replaced += 1
        self.changed(self.workers[worker.number], None)  # it may not have told all

    async def _give_up(self, code: int, why: str) -> None:
        _log.critical("the node stops: {why}", why=why)
        await self.stopService()
        self.end_process(code, why)

    def end_process(self, code: int, why: str) -> None:
        """Everything has stopped; whoever started the node learns the code."""
        print(f"mailnode: {why}", file=sys.__stderr__)
        os._exit(code)

    # Running

    def _apply_limits(self) -> None:
        super()._apply_limits()
        if self.web is not None and self.passwords is not None:
            self.web.apply(self.config.limits)
            if self.taking is not None:
                self.taking.apply(self.config)
            self.passwords.passwords.most_waiting = self.config.limits.sign_in_queue
            if self.portal is not None:
                self.portal.turns.most_waiting = self.config.limits.sign_in_queue
        for worker in self.workers.values():
            worker.say("settings", pack_config(self.config))

    def refresh(self) -> Deferred[None]:
        """What workers last told is of now, but for those that don't answer."""
        return self._ask("report", ANSWER_S).addCallback(lambda _: None)

    def _ask(
        self, word: str, timeout_s: float, but: WorkerProcess | None = None
    ) -> Deferred[list[tuple[bool, Any]]]:
        asked = [each.ask(word) for each in self.workers.values() if each is not but]
        return DeferredList(asked, consumeErrors=True).addTimeout(timeout_s, self.reactor)

    async def _in_hand(self) -> Collection[str]:
        """Blobs that workers have in hand.

        Raises:
            StoreBusy: not all of them say.
        """
        answers = await self._ask("in_hand", IN_HAND_S)
        if not all(answered for answered, _ in answers):
            raise StoreBusy(detail="a worker does not say which blobs it writes")
        return {key for _, keys in answers for key in keys or ()}

    def readiness(self) -> dict[str, str]:
        """What keeps the node, or any of its workers, from taking mail."""
        faults = super().readiness()
        for number in range(self.config.node.workers):
            worker = self.workers.get(number)
            name = f"worker {number + 1}"
            if worker is None or not worker.serves:
                faults[name] = "not started, or stopping"
            elif worker.silent:
                faults[name] = "it does not answer"
            else:
                for part, fault in worker.faults.items():
                    if faults.get(part) != fault:
                        faults[f"{name}, {part}"] = fault
        return faults

    def _lookups(self) -> list[Failing]:
        own = super()._lookups()
        return own if self.taking is None else [*own, self.taking.judges.lookups]

    def warnings(self) -> dict[str, str]:
        """Of all processes; what several say of the same thing is told once."""
        found: dict[str, str] = {}
        for worker in self.workers.values():
            if worker.serves and not worker.silent:
                found |= worker.warnings
        return found | super().warnings()

    def values(self) -> dict[str, Any]:
        """The metrics of all processes, those that have ended included; of workers as last told."""
        own = self.metrics.values()
        told = [worker.values for worker in self.workers.values()]
        return add_up([own, self._past, *told])

    def metrics_text(self) -> str:
        """The same as a page."""
        return self.metrics.text(self.values())

    def _serving(self) -> int:
        return sum(worker.serves for worker in self.workers.values())

    # Stopping

    async def _drain(self) -> None:
        """Workers serve to the end what is under way, and end."""
        if not self.workers:
            return
        self._all_gone = Deferred()
        for worker in self.workers.values():
            worker.say("stop")
        late = self.reactor.callLater(self.config.limits.stop + LATE_STOP_S, self._kill_all)
        await self._all_gone
        if late.active():
            late.cancel()

    def _kill_all(self) -> None:
        for worker in list(self.workers.values()):
            _log.error("{worker} does not stop: it is killed", worker=worker.name)
            self._kill(worker)

    def _kill(self, worker: WorkerProcess) -> None:
        with suppress(ProcessExitedAlready):
            worker.transport.signalProcess("KILL")

    def cut_off(self) -> None:
        super().cut_off()
        for worker in self.workers.values():
            worker.say("cut_off")

    async def _stop_parts(self) -> None:
        if self.web is not None and self.passwords is not None:
            self.web.stop()
            if self.taking is not None:
                await self.taking.stop()
            await self.passwords.stop()
        self.counts.close()


def _no_process(error: OSError) -> tuple[int, str]:
    """(exit code, why) of a node whose worker can't even begin."""
    code = EX_NOPERM if isinstance(error, PermissionError) else EX_TEMPFAIL
    return code, f"no worker can be started: {error}"
