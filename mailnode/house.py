"""What every process of a node has on its ports and files: the store's parts, timers, the bell.

It starts whole or not at all, takes up changes, and stops in order. `service.Node` puts the mail
servers into it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.addresses import Address
from mailnode.audited import Entry
from mailnode.background import background
from mailnode.bell import SOCKET_NAME, Bell, listen_for_others
from mailnode.config import Config, ConfigError
from mailnode.dispatch import Dispatch
from mailnode.errors import MailError
from mailnode.failing import Failing
from mailnode.forwarding import Forwarding
from mailnode.greeting import greet
from mailnode.guarding import Guard
from mailnode.listening import LISTENING, write_listening
from mailnode.measures import describe_audit, describe_lessons
from mailnode.notices.notices import Notices
from mailnode.outbound.reporting import Reports
from mailnode.premises import EX_CONFIG, EX_NOPERM, Premises
from mailnode.room import Room
from mailnode.store.audit import Audit
from mailnode.store.blobs import FileBlobs
from mailnode.store.correspondents import has_written
from mailnode.store.dmarc_file import DmarcFile
from mailnode.store.greylist import Greylist, rules_of
from mailnode.store.guests import Guests
from mailnode.store.index import Indexes
from mailnode.store.journal import Journal
from mailnode.store.models import ModelFiles, ModelShelf
from mailnode.store.queue import Queue
from mailnode.store.seen import Seen
from mailnode.store.shared import SharedMessages
from mailnode.store.sweep import Sweep
from mailnode.teaching import LOOK_S as LESSONS_S
from mailnode.teaching import Teacher
from mailnode.telemetry import MailLog, Metrics
from mailnode.tls import RENEWAL_LOOK_S, TlsError

POLL_S = 0.25
QUEUE_COUNT_S = 5.0
PRUNE_AUDIT_S = 3600.0
FOLLOW_S = 1.0
TELL_S = 0.1
FOLDERS_S = 300.0
SEVERAL = 5  # look-ups that fail in a row: one domain's own servers may be gone
PROGRAMS = ("clamd", "rspamd", "spamd", "milter")
NEED_A_RESTART = (
    "node",
    "listen",
    "tls",
    "accounts",
    "second_factor",
    "web",
    "log",
    "plugins",
    "judging",
    "learning",
    "harmful",
    *PROGRAMS,
)

_log = Logger(namespace="mailnode")


class House(Premises):
    """A process of a node, without a server.

    Args:
        config: the settings.
        reactor: Twisted's, or a test's.
        reload_config: reads the settings again, for SIGHUP.

    Attributes (from `startService` on):
        messages, queue, blobs, journal, indexes, sweep, greylist, guests, guard, models, dmarc,
            audit, seen: the parts, beside those of `Premises`.
        dispatch, teacher, notices: the relay, who learns and who tells accounts, in the one
            process of the node that has them.
        started: True once everything listens.
        owns_folder: whether this process does what one does for the whole node.
    """

    owns_folder = True

    def __init__(
        self,
        config: Config,
        reactor: Any,
        *,
        reload_config: Callable[[], Config] | None = None,
    ) -> None:
        super().__init__(config, reactor)
        self.who = ""  # in front of what one of several processes logs
        self.started = False
        self.bell = self._make_bell()
        self.metrics = Metrics()
        self.dispatch: Dispatch | None = None
        self.teacher: Teacher | None = None
        self.notices: Notices | None = None
        self._reload_config = reload_config
        self._timers: list[LoopingCall] = []
        self._bell_port: Any = None
        self._told_listening: Any = None
        self._standing = False

    def _make_bell(self) -> Bell:
        return Bell()

    # Starting

    def startService(self) -> None:
        """Open the store, build the parts, let clients in."""
        if not self.listeners:
            self._bind()
        try:
            self._find_parts()
            self._open()
            self._build()
        except MailError as error:
            self._fail(error.exit_code, f"{error.detail or error.text} (see: mailnode doctor)")
        except (TlsError, ConfigError) as error:
            self._fail(EX_CONFIG, str(error))
        except OSError as error:
            self._fail(EX_NOPERM, f"{error.filename}: {error.strerror}")
        self._apply_limits()
        self._connect_listeners()
        self._start_timers()
        self._keep_house()
        super().startService()
        self._standing = True
        self._open_doors()

    def _find_parts(self) -> None:
        """What the settings name; found before any file is opened."""

    def _build(self) -> None:
        config, clock = self.config, self.reactor
        data = config.data_path
        self.journal = Journal(self.database, clock)
        self.audit = Audit(self.audit_file, clock.callFromThread, clock)
        self.seen = Seen(data, clock.callFromThread, time.time)
        describe_audit(self.metrics, self.audit_file)
        self.mail_log = MailLog(clock, self.journal.append, audit=self.audit.hear)
        reserve = self.database.reserve
        self.blobs = FileBlobs(data, call_in_reactor=clock.callFromThread, reserve=reserve)
        self.messages = SharedMessages(self.database, self.blobs, self.mail_log)
        self.models = ModelShelf(ModelFiles(data), clock.seconds)
        self.indexes = Indexes(data, clock.callFromThread, lambda: self.messages.writes)
        self.queue = Queue(self.database, self.messages)
        self.forwarding = Forwarding(self.directory, self.seal.secret_for(b"srs"), self.due.now)
        self.reports = Reports(self.directory, self.hostname, self.forwarding.reverse)
        self.greylist = Greylist(data, clock.callFromThread, self.due.now)
        self.guests = Guests(self.database, time.time, self.directory.find_by_id)
        self.guests.told = partial(self.bell.ring, "guests")
        self.guard = Guard.of(self, owns=self.owns_folder)
        self.dmarc = DmarcFile(data, clock.callFromThread, self.due.now)
        self.room = Room(data, self.messages.usage)
        self.sweep = Sweep(
            self.messages, self.blobs, self.journal, self.directory, config.journal, clock
        )

    def _apply_limits(self) -> None:
        """Hand the settings that can change while we run to who keeps them."""
        self.sweep.settings = self.config.journal
        self.room.quota = self.config.quota
        self.room.least_free_octets = self.config.store.free_space
        self.greylist.apply(rules_of(self.config.arrival))
        self.guard.guesses.apply(self.config.guessing)
        if self.dispatch is not None:
            self.dispatch.apply(self.config.outbound)

    def _connect_listeners(self) -> None:
        """Put a server behind each door."""

    def _start_timers(self) -> None:
        for call, every_s in (
            (self.watch.look, POLL_S),
            (self.room.look, 1.0),
            (self.database.look_at_reserve, 1.0),
            (self.mail_log.each_second, 1.0),
            (self.audit.each_second, 1.0),
            (self.guard.each_second, 1.0),
            (self._tell_changed, TELL_S),
            (self._catch_up, TELL_S),
        ):
            self._call_every(every_s, call)
        self._call_every(FOLDERS_S, self._folders_changed, now=False)
        self.bell.on("guests", self.guests.forget)
        self.bell.on("mail", self._folders_changed)
        self.watch.told = partial(self.bell.ring, "accounts")
        self.bell.on("accounts", self.watch.look)
        self.bell.on("journal", self._complete_journal)

    def _folders_changed(self) -> None:
        """Somebody beside the node filed mail, or may have and was not heard."""
        self.messages.changed_elsewhere(None)
        self.indexes.look()

    def _tell_changed(self) -> None:
        """One process has nobody to tell which folders it changed."""
        self.messages.tell_changed()

    def _catch_up(self) -> None:
        if self.messages.behind:
            background(self.messages.catch_up(), "reading what mailboxes hold")

    def _complete_journal(self) -> None:
        """Somebody wants to read it."""
        self.mail_log.tell_late()
        self.journal.flush()
        self.audit.flush()

    def _call_every(self, every_s: float, call: Callable[[], object], *, now: bool = True) -> None:
        """Until the stop."""
        timer = LoopingCall(call)
        timer.clock = self.reactor
        timer.start(every_s, now=now)
        self._timers.append(timer)

    def _keep_house(self) -> None:
        """What one process does for the whole node: it sweeps, hears the bell and signals."""
        self.sweep.start()
        self.messages.on_changed.append(lambda account_id, _: self.indexes.changed(account_id))
        self.indexes.start()
        self._begin_dispatch()
        self._begin_teaching()
        self._call_every(QUEUE_COUNT_S, self._count_queue)
        self._call_every(PRUNE_AUDIT_S, lambda: self.audit.prune(self.config.audit))
        self._begin_notices()
        self._call_every(RENEWAL_LOOK_S, self._renew_certificate, now=False)
        self._bell_port = listen_for_others(self.bell, self.reactor, self.config.data_path)
        if hasattr(signal, "SIGHUP") and self._reload_config is not None:
            signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload))

    def _begin_dispatch(self) -> None:
        """One process of the node relays, for all of them."""
        self.dispatch = dispatch = Dispatch.of(self, self.due)
        self.queue.on_queued = dispatch.relay.queued
        self.queue.claim(dispatch.relay.claims)
        self.bell.on("queue", dispatch.relay.look)
        self.bell.on("attempt", dispatch.relay.wake)
        self.bell.on("accounts", dispatch.relay.wake)
        self.bell.on("clock", dispatch.take_up_clock)
        dispatch.describe(self.metrics)
        dispatch.start()

    def _begin_teaching(self) -> None:
        """One process of the node changes what was learned; all judge by it."""
        files = self.models.files
        describe_lessons(
            self.metrics,
            lessons=lambda: files.counted().lessons,
            last_at=lambda: files.counted().last_at,
            known=files.node_lessons,
            octets=files.node_octets,
        )
        if self.config.learning.enabled:
            data, in_thread = self.config.data_path, self._in_thread
            self.teacher = Teacher(data, self.database, self.directory, in_thread)
            self._call_every(LESSONS_S, self.teacher.look)

    def _open_doors(self) -> None:
        """Everything listens: scripts and people are told where."""
        self.started = True
        # Written once the reactor runs: who reads it may send signals, and they are caught then.
        self._told_listening = self.reactor.callLater(
            0,
            write_listening,
            self.config.data_path,
            self.hostname,
            self.listeners,
            self.certificate.cert,
            self.certificate.key,
            self.config.path,
        )
        self._greet()

    def _renew_certificate(self) -> Deferred[None]:
        return self._in_thread(self.certificate.renew, self.hostname)

    def _begin_notices(self) -> None:
        """One process of the node follows the audit stream."""
        self.notices = Notices.of(self)
        self._call_every(FOLLOW_S, self.notices.look)

    def _count_queue(self) -> Deferred[None]:
        """What can't be counted now is counted at the next look."""
        counted = Deferred.fromCoroutine(self.queue.count())
        return counted.addErrback(_unless_mail_error)

    def _greet(self) -> None:
        greet(self)

    # Running

    def reload(self) -> None:
        """SIGHUP: settings that can change, accounts and certificate are read again."""
        if not self._standing:
            return  # what would take them up is stopping
        if self._reload_config is not None:
            try:
                config = self._reload_config()
            except Exception as error:
                _log.error("the settings before stay in use: {error}", error=str(error))
            else:
                kept = {section: getattr(self.config, section) for section in NEED_A_RESTART}
                for section in NEED_A_RESTART:
                    if getattr(config, section) != kept[section]:
                        _log.warn("[{section}] changed: it needs a restart", section=section)
                self.config = evolve(config, **kept)
                self._apply_limits()
        self.certificate.refresh()
        self.audit.tell(Entry("settings-taken-up"))
        self.bell.ring("accounts")
        _log.info("reloaded")

    def has_written(self, account_id: int, mailbox: str, address: Address) -> Deferred[bool]:
        """Whether an account has written to that address.

        Errors:
            StoreBusy, StoreBroken.
        """
        look = partial(has_written, account_id=account_id, mailbox=mailbox, address=address)
        return self.database.read(look)

    def readiness(self) -> dict[str, str]:
        """What keeps the node from taking mail, by part; empty when all is well."""
        faults: dict[str, str] = {}
        if not self.started:
            faults["node"] = "not started, or stopping"
        if not self.room.on_disk:
            faults["disk"] = "less free than store.free_space: mail is answered 452"
        elif self.database.reserve.spent:
            faults["disk"] = "full: what store.reserve had is for deletions, mail is answered 452"
        if self.database.fault is not None:
            faults["store"] = str(self.database.fault)
        for part, trouble in (
            ("store", self.database.write_trouble),
            ("store read", self.database.read_trouble),
            ("blobs", self.blobs.write_trouble),
            ("blobs read", self.blobs.read_trouble),
        ):
            if trouble.text:
                faults.setdefault(part, trouble.text)
        return faults

    def warnings(self) -> dict[str, str]:
        """What is wrong though mail is taken, by part; empty when all is well."""
        for failing in self._lookups():
            if told := failing.told(SEVERAL):
                return {"dns": f"No name can be looked up, {told}: {failing.why}"}
        return {}

    def _lookups(self) -> list[Failing]:
        """Of names in the DNS, by whoever looks them up in this process."""
        return [] if self.dispatch is None else [self.dispatch.resolver.failing]

    # Stopping

    def stopService(self) -> Deferred[None]:
        """No new connections; what is under way gets `limits.stop` seconds; then the files."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if not self._standing:
            await DeferredList([each for one in self.listeners for each in one.close()])
            return
        self._standing = self.started = False
        _log.info("{who}stopping", who=self.who)
        if self._told_listening is not None and self._told_listening.active():
            self._told_listening.cancel()
        await DeferredList([each for one in self.listeners for each in one.close()])
        await DeferredList(
            [Deferred.fromCoroutine(self._drain()), Deferred.fromCoroutine(self._end_dispatch())]
        )
        for timer in self._timers:
            timer.stop()
        if self._bell_port is not None:
            await maybeDeferred(self._bell_port.stopListening)
        self.mail_log.flush()
        self.sweep.stop()
        await self._stop_parts()
        if self.teacher is not None:
            await self.teacher.stop()
        await self.indexes.stop()
        await self.greylist.stop()
        await self.guard.stop()
        await self.dmarc.stop()
        if self.notices is not None:
            await self.notices.stop()
        await self.seen.stop()
        await self.audit.stop()
        await self.database.close()
        self.blobs.close()
        await maybeDeferred(super().stopService)
        self._leave_house()
        self._release_folder()
        _log.info("{who}stopped", who=self.who)

    async def _drain(self) -> None:
        """Who is served is told that it ends."""

    async def _end_dispatch(self) -> None:
        """What is on its way to other hosts is ended, or waits in the queue."""
        if self.dispatch is not None:
            await self.dispatch.stop(self.config.limits.stop)

    def cut_off(self) -> None:
        """The stop waits for nobody any more."""
        if self.dispatch is not None:
            self.dispatch.relay.delivery.cut_off()

    async def _stop_parts(self) -> None:
        """What was built beside the store ends before it."""

    def _leave_house(self) -> None:
        """Nobody finds us any more."""
        (self.config.data_path / LISTENING).unlink(missing_ok=True)
        (self.config.data_path / SOCKET_NAME).unlink(missing_ok=True)

    def _fail(self, code: int, why: str) -> NoReturn:
        if hasattr(self, "blobs"):
            self.blobs.close()
        super()._fail(code, why)

    def _end_after_failed_flush(self, error: BaseException) -> None:
        try:
            self.mail_log.tell_late()
        finally:
            super()._end_after_failed_flush(error)


def _unless_mail_error(failure: Failure) -> None:
    failure.trap(MailError)
