"""The node: every part, built by plain constructor calls, in order; it starts and it stops.

Usable from `twistd`, from a `.tac` and in a test:

    from twisted.internet import reactor
    node = Node(load_config("mailnode.toml"), reactor)
    node.setServiceParent(application)
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import MultiService
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3, IMessageDeliveryFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailnode.addresses import Address
from mailnode.admission import Sessions
from mailnode.background import background
from mailnode.bell import SOCKET_NAME, Bell, BellListener
from mailnode.config import Config, ConfigError
from mailnode.cred.checkers import AccountChecker, CheckersInTurn
from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.cred.passwords import Passwords
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import MailError, NodeRunning
from mailnode.intake import Intake
from mailnode.listening import BadEndpoint, CannotBind, Listener
from mailnode.machine import find_hostname
from mailnode.measures import describe
from mailnode.plugins import find_checkers, find_delivery, find_filters, find_subclass
from mailnode.pop3.mailbox import Maildrops
from mailnode.pop3.server import Pop3Factory, Pop3Rules, Pop3Server
from mailnode.smtp.factory import SmtpFactory, SmtpRules
from mailnode.smtp.server import SmtpServer
from mailnode.smtp.transaction import Counter, Postbox
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.directory import Account, LiveDirectory
from mailnode.store.journal import Journal
from mailnode.store.locks import MaildropLocks
from mailnode.store.messages import Messages
from mailnode.store.sweep import Sweep
from mailnode.telemetry import MailLog, Metrics
from mailnode.threads import Threads
from mailnode.tls import Certificate, TlsError, make_self_signed
from mailnode.web.site import make_site

EX_USAGE, EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 69, 74, 75, 77, 78
KINDS = ("smtp", "submission", "smtps", "pop3", "pop3s", "http")
POLL_S = 0.25

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
        self._data_version = 0
        self._reading_accounts = DeferredLock()
        self._disk_has_room = True

    # Starting

    def privilegedStartService(self) -> None:
        """Bind every port, still as root where the node was started so."""
        super().privilegedStartService()
        _raise_descriptor_limit()
        self._bind()

    def _bind(self) -> None:
        settings = self.config.listen
        try:
            for kind in KINDS:
                for where in getattr(settings, kind):
                    listener = Listener(kind, where)
                    self.listeners.append(listener)
                    listener.bind(self.reactor, settings.backlog)
        except BadEndpoint as error:
            self._fail(EX_USAGE, f"--{kind}: {error}")
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
        self._told_listening = self.reactor.callLater(0, self._write_listening)
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
        self._node_lock = _lock_folder(data)
        self.accounts = Accounts.open(users, create=True)
        self.directory = LiveDirectory(self._load_directory())
        self._data_version = self.accounts.data_version()
        self._refuse_demo_beyond_loopback()
        tls = self.config.tls
        pair = (Path(tls.cert), Path(tls.key)) if tls.cert else None
        self.self_signed = pair is None
        cert, key = pair or make_self_signed(data / "tls", self.hostname)
        self.certificate = Certificate(cert, key, self.reactor.seconds)
        self.certificate.load()
        self.database = Database.open(
            data / "mail.db",
            call_in_reactor=self.reactor.callFromThread,
            on_fatal=_end_after_failed_flush,
        )

    def _load_directory(self) -> Any:
        return self.accounts.load_directory(self.config.accounts.subaddress)

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
        self.counter = Counter(
            hostname=self.hostname,
            directory=self.directory,
            intake=self.intake,
            blobs=self.blobs,
            room_for=self._room_for,
            disk_has_room=lambda: self._disk_has_room,
            in_thread=self.threads.run,
        )
        self.portal = self._make_portal()
        self.smtp_sessions = Sessions(clock)
        self.pop3_sessions = Sessions(clock)
        self.smtp = self._make_smtp(submission=False)
        self.submission = self._make_smtp(submission=True)
        self.pop3 = self._make_pop3()
        self.sweep = Sweep(
            self.messages, self.blobs, self.journal, self.directory, config.journal, clock
        )
        self._apply_limits()
        describe(self, self.metrics)

    def _make_portal(self) -> SignInPortal:
        realm = Realm(
            self.directory,
            {IMessageDeliveryFactory: self._postbox, IMailboxPOP3: self._maildrop},
            create_account=(
                self._create_account if self.config.accounts.create_on_sign_in else None
            ),
        )
        own = AccountChecker(self.directory, self.passwords)
        others = CheckersInTurn(self._other_checkers)
        return SignInPortal(
            realm,
            # Of two that judge one kind of credentials, the portal asks the last.
            [AllowAnonymousAccess(), own, others],
            clock=self.reactor,
            tell=self.mail_log.tell,
            sign_in_key=self.directory.sign_in_key,
        )

    def _create_account(self, address: Address) -> Deferred[Account]:
        """For an id that only `--auth` knows: an account without a password of its own."""
        made = deferToThreadPool(
            self.reactor, self.reactor.getThreadPool(), self.accounts.add_account, address, ""
        )

        async def known(account: Account) -> Account:
            await self._take_up_accounts()
            return account

        return made.addCallback(lambda account: Deferred.fromCoroutine(known(account)))

    def _postbox(self, account: Account | None) -> tuple[Any, Callable[[], None]]:
        return self._wrap_delivery(Postbox(self.counter, account)), _nothing

    def _maildrop(self, account: Account | None) -> Deferred[Any]:
        return self.maildrops.open(account)

    def _make_smtp(self, *, submission: bool) -> SmtpFactory:
        factory = SmtpFactory(
            self.portal,
            hostname=self.hostname,
            challengers={b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials},
            tls=self.certificate,
            sessions=self.smtp_sessions,
            submission=submission,
            tell=self.mail_log.tell,
            clock=self.reactor,
        )
        factory.protocol = self._smtp_server
        return factory

    def _make_pop3(self) -> Pop3Factory:
        factory = Pop3Factory(
            self.portal,
            hostname=self.hostname,
            challengers={b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials},
            tls=self.certificate,
            sessions=self.pop3_sessions,
            tell=self.mail_log.tell,
            clock=self.reactor,
        )
        factory.protocol = self._pop3_server
        return factory

    def _apply_limits(self) -> None:
        """Hand the settings that can change while we run to who keeps them."""
        limits = self.config.limits
        for sessions in (self.smtp_sessions, self.pop3_sessions):
            sessions.most = limits.connections
            sessions.most_per_address = limits.connections_per_address
        self.smtp.rules = self.submission.rules = SmtpRules(
            message_octets=limits.message_size,
            recipients=limits.recipients,
            mails=limits.mails_per_connection,
            errors=limits.errors,
            sign_in_failures=limits.sign_in_failures,
            idle_s=limits.smtp_idle,
            body_octets_a_second=limits.body_rate,
            body_s=limits.body_time,
            keep_dialog=self.config.journal.dialog,
        )
        self.pop3.rules = Pop3Rules(
            errors=limits.errors,
            sign_in_failures=limits.sign_in_failures,
            idle_s=limits.pop3_idle,
        )
        self.passwords.most_waiting = limits.sign_in_queue
        self.sweep.settings = self.config.journal
        self.counter.blob_over = self.config.store.blob_over
        self.counter.most_mailboxes = limits.mailboxes
        self.counter.most_received = limits.received_headers

    def _connect_listeners(self) -> None:
        servers: dict[str, Any] = {
            "smtp": self.smtp,
            "submission": self.submission,
            "smtps": self._in_tls(self.submission),
            "pop3": self.pop3,
            "pop3s": self._in_tls(self.pop3),
            "http": make_site(self.readiness, self.metrics.text),
        }
        for listener in self.listeners:
            listener.door.inner = servers[listener.kind]
            listener.door.inner.doStart()

    def _in_tls(self, factory: Any) -> Any:
        wrapped = TLSMemoryBIOFactory(self.certificate, False, factory)
        wrapped.noisy = False
        return wrapped

    def _start_timers(self) -> None:
        self.smtp_sessions.start()
        self.pop3_sessions.start()
        self.sweep.start()
        self._look_at_disk()
        for call, every_s in ((self._look_at_accounts, POLL_S), (self._each_second, 1.0)):
            timer = LoopingCall(call)
            timer.clock = self.reactor
            timer.start(every_s, now=False)
            self._timers.append(timer)
        self.bell.on("accounts", self._look_at_accounts)
        path = self.config.data_path / SOCKET_NAME
        path.unlink(missing_ok=True)
        try:
            self._bell_port = self.reactor.listenUNIXDatagram(
                os.fspath(path), BellListener(self.bell), mode=0o600
            )
        except Exception as error:  # too long a path, say: the poll sees changes all the same
            _log.info("no bell at {path}: {error}", path=str(path), error=str(error))
        if hasattr(signal, "SIGHUP") and self._reload_config is not None:
            signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload))

    def _greet(self) -> None:
        for listener in self.listeners:
            for address in listener.addresses():
                _log.info("{kind} on {address}", kind=listener.kind, address=address)
        if self.self_signed:
            _log.info("TLS with a self-signed certificate for {name}", name=self.hostname)
        if self.directory.demo_accounts:
            _log.warn("demo accounts with published passwords are here: this machine only")
        if not self.directory.accounts():
            _log.warn("there is no account yet; first: mailnode init --user you@your.domain")
        if self._on_started is not None:
            self._on_started(self)

    def _write_listening(self) -> None:
        """`listening.json`: which ports the node has, for scripts that asked for port 0."""
        told: dict[str, Any] = {"pid": os.getpid(), "hostname": self.hostname}
        for kind in KINDS:
            told[kind] = [
                address
                for listener in self.listeners
                if listener.kind == kind
                for address in listener.addresses()
            ]
        path = self.config.data_path / "listening.json"
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(told, indent=1) + "\n")
        unfinished.chmod(0o600)
        unfinished.rename(path)

    def _fail(self, code: int, why: str) -> NoReturn:
        for listener in self.listeners:
            listener.close()
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
        self.bell.ring("reload")
        _log.info("reloaded")

    def _look_at_accounts(self) -> None:
        """Take up what another process changed in users.db."""
        try:
            version = self.accounts.data_version()
        except MailError as error:
            _log.error("users.db can't be read, what was known stays: {error}", error=str(error))
            return
        if version != self._data_version:
            self._data_version = version
            background(self._take_up_accounts(), "reading users.db")

    async def _take_up_accounts(self) -> None:
        """Read users.db in a thread; the look-ups go on with what was known until then."""
        async with self._reading_accounts:
            pool = self.reactor.getThreadPool()
            self.directory.replace(
                await deferToThreadPool(self.reactor, pool, self._load_directory)
            )

    def _accounts_changed(self, account_ids: set[int]) -> None:
        for account_id in account_ids:
            self.passwords.forget(account_id)

        def changed(name: str) -> bool:
            account = self.directory.find_sign_in(name)
            return account is None or account.id in account_ids

        self.smtp_sessions.revoke(changed)
        self.pop3_sessions.revoke(changed)
        _log.info("accounts were read again")

    def _each_second(self) -> None:
        self._look_at_disk()

    def _look_at_disk(self) -> None:
        try:
            space = os.statvfs(self.config.data_path)
        except OSError as error:
            self._disk_has_room = False
            _log.error("the data folder can't be looked at: {error}", error=str(error))
            return
        self._disk_has_room = space.f_bavail * space.f_frsize >= self.config.store.free_space

    def _room_for(self, account: Account, size_octets: int) -> bool:
        quota = self.config.quota
        octets = quota.octets if account.quota_octets is None else account.quota_octets
        mails = quota.mails if account.quota_mails is None else account.quota_mails
        if not octets and not mails:
            return True
        used_octets, used_mails = self.messages.usage(account.id)
        if octets and used_octets + max(size_octets, 1) > octets:
            return False
        return not (mails and used_mails >= mails)

    def readiness(self) -> dict[str, str]:
        """What keeps the node from taking mail, by part; empty when all is well."""
        faults: dict[str, str] = {}
        if not self.started:
            faults["node"] = "not started, or stopping"
        if not self._disk_has_room:
            faults["disk"] = "less free than store.free_space: mail is answered 452"
        if self.database.fault is not None:
            faults["store"] = str(self.database.fault)
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
            await _maybe(self._bell_port.stopListening())
        self.mail_log.flush()
        self.sweep.stop()
        await _maybe(self.passwords.stop())
        self.threads.stop()
        await self.database.close()
        self.blobs.close()
        await _maybe(super().stopService())
        (self.config.data_path / "listening.json").unlink(missing_ok=True)
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


async def _maybe(result: Any) -> None:
    if isinstance(result, Deferred):
        await result


def _lock_folder(data: Path) -> int:
    """One node a data folder: an exclusive lock that goes with the process.

    Raises:
        NodeRunning: another process has it.
    """
    lock = os.open(data / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise NodeRunning(detail=f"another node runs on the data folder {data}") from None
    return lock


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            _log.info("the descriptor limit stays at {soft}: {error}", soft=soft, error=str(error))


def _end_after_failed_flush(error: BaseException) -> None:
    """Nobody knows what is on the disk: say so and end; a supervisor starts us again."""
    _log.critical(
        "a flush failed, nothing more is taken and the process ends: {error}", error=str(error)
    )
    os._exit(EX_IOERR)
