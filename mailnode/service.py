"""The node: every part, built by plain constructor calls, in order; it starts and it stops.

Usable from `twistd`, from a `.tac` and in a test:

    from twisted.internet import reactor
    node = Node(load_config("mailnode.toml"), reactor)
    node.setServiceParent(application)
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from twisted.application.service import MultiService
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3, IMessageDeliveryFactory

from mailnode.admission import Sessions
from mailnode.background import background
from mailnode.bell import SOCKET_NAME, Bell, listen_for_others
from mailnode.config import Config, ConfigError
from mailnode.cred.checkers import AccountChecker, CheckersInTurn
from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.passwords import Passwords
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import MailError
from mailnode.gate import ProxyGate
from mailnode.intake import Intake
from mailnode.listening import (
    LISTENING,
    BadEndpoint,
    CannotBind,
    Listener,
    bind_all,
    write_listening,
)
from mailnode.machine import find_hostname, raise_descriptor_limit
from mailnode.measures import describe
from mailnode.plugins import find_checkers, find_delivery, find_filters, find_subclass
from mailnode.pop3.factory import Pop3Factory, Pop3Rules
from mailnode.pop3.mailbox import Maildrops
from mailnode.pop3.server import Pop3Server
from mailnode.room import Room
from mailnode.smtp.factory import SmtpFactory, SmtpRules
from mailnode.smtp.server import SmtpServer
from mailnode.smtp.transaction import Counter, Postbox
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.directory import Account
from mailnode.store.journal import Journal
from mailnode.store.locks import MaildropLocks, lock_folder
from mailnode.store.messages import Messages
from mailnode.store.sweep import Sweep
from mailnode.store.watch import AccountsWatch
from mailnode.telemetry import MailLog, Metrics
from mailnode.threads import Threads
from mailnode.tls import TlsError, open_certificate
from mailnode.web.site import make_site

EX_USAGE, EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 69, 74, 75, 77, 78
POLL_S = 0.25

T = TypeVar("T")

_log = Logger(namespace="mailnode")


class StartFailed(SystemExit):
    """The node can't start: one line on standard error, and a sysexits code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code)
        self.why = why


class Node(MultiService):
    """One mail server.

    Args:
        config: the settings.
        reactor: Twisted's, or a test's.
        checkers: credential checkers (`--auth`); behind those of `[plugins]` they are asked in
            turn. Passwords of users.db count when none of them judges passwords.
        reload_config: reads the settings again, for SIGHUP.
        on_started: called once everything listens.

    Attributes (from `startService` on):
        directory, messages, intake, portal, smtp, submission, pop3: the parts.
        started: True once everything listens.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        *,
        checkers: Sequence[Any] = (),
        reload_config: Callable[[], Config] | None = None,
        on_started: Callable[[Node], None] | None = None,
    ) -> None:
        super().__init__()
        self.setName("mailnode")
        self.config = config
        self.reactor = reactor
        self.checkers = list(checkers)
        self.hostname = config.node.hostname or find_hostname()
        self.listeners: list[Listener] = []
        self.started = False
        self.bell = Bell()
        self.metrics = Metrics()
        self._reload_config = reload_config
        self._on_started = on_started
        self._node_lock = -1
        self._timers: list[LoopingCall] = []
        self._bell_port: Any = None

    # Starting

    def privilegedStartService(self) -> None:
        """Bind every port, still as root where the node was started so."""
        super().privilegedStartService()
        raise_descriptor_limit()
        self._bind()

    def _bind(self) -> None:
        try:
            self.listeners = bind_all(self.reactor, self.config.listen)
        except BadEndpoint as error:
            self._fail(EX_USAGE, str(error))
        except CannotBind as error:
            self._fail(EX_UNAVAILABLE, str(error))

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
        self._connect_listeners()
        self._start_timers()
        # Written once the reactor runs: who reads it may send signals, and they are caught then.
        self._told_listening = self.reactor.callLater(
            0, write_listening, self.config.data_path, self.hostname, self.listeners
        )
        super().startService()
        self.started = True
        self._greet()

    def _find_parts(self) -> None:
        """What the settings name; found before any file is opened."""
        plugins = self.config.plugins
        self._filters = find_filters(plugins.filters)
        self._other_checkers = [*find_checkers(plugins.checkers), *self.checkers]
        self._wrap_delivery = find_delivery(plugins.delivery)
        self._smtp_server = find_subclass(plugins.smtp_server, SmtpServer)
        self._pop3_server = find_subclass(plugins.pop3_server, Pop3Server)

    def _open(self) -> None:
        """The files: the folder's lock, accounts, mail, certificate."""
        data, users = self.config.data_path, self.config.users_path
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._node_lock = lock_folder(data)
        self.accounts = Accounts.open(users, create=True)
        subaddress = self.config.accounts.subaddress
        self.watch = AccountsWatch(self.accounts, subaddress, self._in_thread)
        self.watch.read_now()
        self.directory = self.watch.directory
        self._refuse_demo_beyond_loopback()
        self.certificate = open_certificate(
            self.config.tls, data / "tls", self.hostname, self.reactor.seconds
        )
        self.database = Database.open(
            data / "mail.db",
            call_in_reactor=self.reactor.callFromThread,
            on_fatal=_end_after_failed_flush,
        )

    def _in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *args)

    def _refuse_demo_beyond_loopback(self) -> None:
        open_ports = [each for each in self.listeners if each.beyond_loopback]
        if self.directory.demo_accounts and open_ports:
            names = " ".join(account.key for account in self.directory.demo_accounts)
            self._fail(
                EX_CONFIG,
                f"{open_ports[0].where} listens beyond this machine, and the demo accounts have "
                f"published passwords; first: mailnode user delete {names}",
            )

    def _build(self) -> None:
        config, clock = self.config, self.reactor
        data = config.data_path
        self.journal = Journal(self.database, clock)
        self.mail_log = MailLog(clock, self.journal.append)
        self.blobs = FileBlobs(data, call_in_reactor=clock.callFromThread)
        self.messages = Messages(self.database, self.blobs, self.mail_log)
        self.intake = Intake(self.messages, self._filters)
        self.threads = Threads(clock.callFromThread)
        self.passwords = Passwords(clock, most_waiting=config.limits.sign_in_queue)
        self.directory.subscribe(self._accounts_changed)
        self.maildrops = Maildrops(
            messages=self.messages,
            blobs=self.blobs,
            locks=MaildropLocks(data / "locks"),
            tell=self.mail_log.tell,
        )
        self.room = Room(data, self.messages.usage)
        self.counter = Counter(
            hostname=self.hostname,
            directory=self.directory,
            intake=self.intake,
            blobs=self.blobs,
            room_for=self.room.in_mailbox,
            disk_has_room=lambda: self.room.on_disk,
            in_thread=self.threads.run,
        )
        self.portal = self._make_portal()
        self.smtp_sessions = Sessions(clock)
        self.pop3_sessions = Sessions(clock)
        self.gate = ProxyGate.of(clock, config.listen.proxy_from)
        self._make_servers()
        self.sweep = Sweep(
            self.messages, self.blobs, self.journal, self.directory, config.journal, clock
        )
        self._apply_limits()
        describe(
            self.metrics,
            log=self.mail_log,
            database=self.database,
            journal=self.journal,
            directory=self.directory,
            sessions={"smtp": self.smtp_sessions, "pop3": self.pop3_sessions},
            gate=self.gate,
        )

    def _make_portal(self) -> SignInPortal:
        factories: Any = {IMessageDeliveryFactory: self._postbox}
        factories[IMailboxPOP3] = self.maildrops.open
        make = self.watch.make_account if self.config.accounts.create_on_sign_in else None
        own = AccountChecker(self.directory, self.passwords)
        others = CheckersInTurn(self._other_checkers)
        return SignInPortal(
            Realm(self.directory, factories, make),
            # Of two that judge one kind of credentials, the portal asks the last.
            [AllowAnonymousAccess(), own, others],
            clock=self.reactor,
            tell=self.mail_log.tell,
            sign_in_key=self.directory.sign_in_key,
        )

    def _postbox(self, account: Account | None) -> tuple[Any, Callable[[], None]]:
        return self._wrap_delivery(Postbox(self.counter, account)), _nothing

    def _make_servers(self) -> None:
        shared: dict[str, Any] = {
            "hostname": self.hostname,
            "challengers": {b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials},
            "tls": self.certificate,
            "tell": self.mail_log.tell,
            "clock": self.reactor,
        }
        smtp = {"sessions": self.smtp_sessions, **shared}
        self.smtp = SmtpFactory(self.portal, **smtp)
        self.submission = SmtpFactory(self.portal, submission=True, **smtp)
        self.smtp.protocol = self.submission.protocol = self._smtp_server
        self.pop3 = Pop3Factory(self.portal, sessions=self.pop3_sessions, **shared)
        self.pop3.protocol = self._pop3_server

    def _apply_limits(self) -> None:
        """Hand the settings that can change while we run to who keeps them."""
        limits = self.config.limits
        for sessions in (self.smtp_sessions, self.pop3_sessions):
            sessions.most = limits.connections
            sessions.most_per_address = limits.connections_per_address
        self.gate.most = limits.connections
        self.smtp.rules = self.submission.rules = SmtpRules.of(self.config)
        self.pop3.rules = Pop3Rules.of(self.config)
        self.passwords.most_waiting = limits.sign_in_queue
        self.sweep.settings = self.config.journal
        self.room.quota = self.config.quota
        self.room.least_free_octets = self.config.store.free_space
        self.counter.blob_over = self.config.store.blob_over
        self.counter.most_mailboxes = limits.mailboxes
        self.counter.most_received = limits.received_headers

    def _connect_listeners(self) -> None:
        mail: dict[str, Any] = {
            "smtp": self.smtp,
            "submission": self.submission,
            "smtps": self.certificate.around(self.submission),
            "pop3": self.pop3,
            "pop3s": self.certificate.around(self.pop3),
        }
        servers = {kind: self.gate.around(factory) for kind, factory in mail.items()}
        servers["http"] = make_site(self.readiness, self.metrics.text, self.reactor)
        for listener in self.listeners:
            listener.door.inner = servers[listener.kind]
            listener.door.inner.doStart()

    def _start_timers(self) -> None:
        self.smtp_sessions.start()
        self.pop3_sessions.start()
        self.sweep.start()
        for call, every_s in (
            (self.watch.look, POLL_S),
            (self.room.look, 1.0),
            (self.mail_log.each_second, 1.0),
        ):
            timer = LoopingCall(call)
            timer.clock = self.reactor
            timer.start(every_s)
            self._timers.append(timer)
        self.bell.on("accounts", self.watch.look)
        self._bell_port = listen_for_others(self.bell, self.reactor, self.config.data_path)
        if hasattr(signal, "SIGHUP") and self._reload_config is not None:
            signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload))

    def _greet(self) -> None:
        for listener in self.listeners:
            for address in listener.addresses():
                _log.info("{kind} on {address}", kind=listener.kind, address=address)
        if self.certificate.self_signed:
            _log.info("TLS with a self-signed certificate for {name}", name=self.hostname)
        if self.directory.demo_accounts:
            _log.warn("demo accounts with published passwords are here: this machine only")
        if not self.directory.accounts():
            _log.warn("there is no account yet; first: mailnode init --user you@your.domain")
        if self._on_started is not None:
            self._on_started(self)

    def _fail(self, code: int, why: str) -> NoReturn:
        for listener in self.listeners:
            listener.close()
        if hasattr(self, "database"):
            background(self.database.close(), "closing the store")
        if hasattr(self, "blobs"):
            self.blobs.close()
        if self._node_lock >= 0:
            self._release_folder()
        self.start_failed(why)
        raise StartFailed(code, why)

    def start_failed(self, why: str) -> None:
        """Say why; `SystemExit` alone would end a `.tac` without a word."""
        _log.critical("the node can't start: {why}", why=why)

    # Running

    def reload(self) -> None:
        """SIGHUP: settings that can change, accounts and certificate are read again."""
        if self._reload_config is not None:
            try:
                config = self._reload_config()
            except Exception as error:
                _log.error("the settings before stay in use: {error}", error=str(error))
            else:
                for section in ("node", "listen", "tls", "accounts", "log", "plugins"):
                    if getattr(config, section) != getattr(self.config, section):
                        _log.warn("[{section}] changed: it needs a restart", section=section)
                self.config = config
                self._apply_limits()
        self.certificate.refresh()
        self.bell.ring("accounts")
        _log.info("reloaded")

    def _accounts_changed(self, account_ids: set[int]) -> None:
        for account_id in account_ids:
            self.passwords.forget(account_id)

        def changed(name: str) -> bool:
            account = self.directory.find_sign_in(name)
            return account is None or account.id in account_ids

        self.smtp_sessions.revoke(changed)
        self.pop3_sessions.revoke(changed)
        _log.info("{count} accounts have changed", count=len(account_ids))

    def readiness(self) -> dict[str, str]:
        """What keeps the node from taking mail, by part; empty when all is well."""
        faults: dict[str, str] = {}
        if not self.started:
            faults["node"] = "not started, or stopping"
        if not self.room.on_disk:
            faults["disk"] = "less free than store.free_space: mail is answered 452"
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

    # Stopping

    def stopService(self) -> Deferred[None]:
        """No new connections; what is under way gets `limits.stop` seconds; then the files."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if not self.started:
            await DeferredList([each for one in self.listeners for each in one.close()])
            return
        self.started = False
        _log.info("stopping")
        if self._told_listening.active():
            self._told_listening.cancel()
        await DeferredList([each for one in self.listeners for each in one.close()])
        self.gate.stop()
        drained = DeferredList(
            [self.smtp_sessions.drain(), self.pop3_sessions.drain()],
            consumeErrors=True,  # the limit cancels what still waits
        )
        drained.addTimeout(self.config.limits.stop, self.reactor, onTimeoutCancel=_nothing_more)
        await drained
        self.smtp_sessions.stop()
        self.pop3_sessions.stop()
        for timer in self._timers:
            timer.stop()
        if self._bell_port is not None:
            await maybeDeferred(self._bell_port.stopListening)
        self.mail_log.flush()
        self.sweep.stop()
        await self.passwords.stop()
        self.threads.stop()
        await self.database.close()
        self.blobs.close()
        await maybeDeferred(super().stopService)
        (self.config.data_path / LISTENING).unlink(missing_ok=True)
        (self.config.data_path / SOCKET_NAME).unlink(missing_ok=True)
        self._release_folder()
        _log.info("stopped")

    def _release_folder(self) -> None:
        """Another node may have it now."""
        if hasattr(self, "accounts"):
            self.accounts.close()
        os.close(self._node_lock)
        self._node_lock = -1


def _nothing() -> None:
    """A delivery has nothing to log out of."""


def _nothing_more(result: object, timeout: float) -> None:
    _log.warn("after {timeout} s what is still under way is cut off", timeout=timeout)


def _end_after_failed_flush(error: BaseException) -> None:
    """Nobody knows what is on the disk: say so and end; a supervisor starts us again."""
    _log.critical(
        "a flush failed, nothing more is taken and the process ends: {error}", error=str(error)
    )
    os._exit(EX_IOERR)
