"""The node: every part, built by plain constructor calls, in order.

Usable from `twistd`, from a `.tac` and in a test:

    from twisted.internet import reactor
    node = Node(load_config("mailnode.toml"), reactor)
    node.setServiceParent(application)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.mail.interfaces import IMailboxPOP3, IMessageDeliveryFactory

from mailnode.addresses import Address
from mailnode.admission import Sessions
from mailnode.arrival.arrival import Arrival
from mailnode.arrival.paces import Paces
from mailnode.background import background
from mailnode.config import Config
from mailnode.cred.checkers import CheckersInTurn, judge_passwords
from mailnode.cred.mechanisms import mechanisms
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import MailError
from mailnode.failing import Failing
from mailnode.gate import ProxyGate
from mailnode.house import House
from mailnode.listening import WEB_KINDS
from mailnode.machine import ConnectionRoom, connection_room
from mailnode.measures import describe
from mailnode.password_house import PasswordHouse
from mailnode.plugins import find_checkers, find_delivery, find_filters, find_subclass
from mailnode.pop3.factory import Pop3Factory, Pop3Rules
from mailnode.pop3.mailbox import Maildrops
from mailnode.pop3.server import Pop3Server
from mailnode.premises import StartFailed
from mailnode.resolver import Resolver
from mailnode.room import body_share
from mailnode.smtp.allowance import Allowance
from mailnode.smtp.factory import SmtpFactory, SmtpRules
from mailnode.smtp.server import SmtpServer
from mailnode.srs import is_rewritten
from mailnode.store.blobs import PIECE_OCTETS
from mailnode.store.directory import Account
from mailnode.store.locks import MaildropLocks
from mailnode.taking import Taking

if TYPE_CHECKING:
    from mailnode.web_house import WebHouse

__all__ = ["Node", "StartFailed"]

TELL_STOP_S = 1.0
TOKENS_S = 10.0  # until a session notices that its app password has ended, where no bell was heard

_log = Logger(namespace="mailnode")


class Node(House):
    """One mail server.

    Args:
        config: the settings.
        reactor: Twisted's, or a test's.
        checkers: credential checkers (`--auth`); behind those of `[plugins]` they are asked in
            turn. Passwords of users.db count when none of them judges passwords.
        reload_config: reads the settings again, for SIGHUP.
        on_started: called once everything listens.

    Attributes (from `startService` on):
        directory, messages, intake, portal, smtp, submission, pop3, arrival: the parts.
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
        super().__init__(config, reactor, reload_config=reload_config)
        self.checkers = list(checkers)
        self._on_started = on_started
        self.web: WebHouse | None = None
        self._drained: Deferred[Any] | None = None

    # Starting

    def _find_parts(self) -> None:
        plugins = self.config.plugins
        self._filters = find_filters(plugins.filters)
        self._other_checkers = [*find_checkers(plugins.checkers), *self.checkers]
        self._wrap_delivery = find_delivery(plugins.delivery)
        self._smtp_server = find_subclass(plugins.smtp_server, SmtpServer)
        self._pop3_server = find_subclass(plugins.pop3_server, Pop3Server)

    def _build(self) -> None:
        super()._build()
        config, clock = self.config, self.reactor
        self.taking = Taking.of(
            self,
            filters=self._filters,
            wrap=self._wrap_delivery,
            allowance=self._make_allowance(),
        )
        self.intake, self.counter = self.taking.intake, self.taking.counter
        self.password_house = PasswordHouse.of(self)
        self.passwords = self.password_house.passwords
        self.directory.subscribe(self._accounts_changed)
        self.maildrops = Maildrops(
            messages=self.messages,
            blobs=self.blobs,
            locks=MaildropLocks(config.data_path / "locks"),
            tell=self.mail_log.tell,
        )
        self.portal = self._make_portal()
        self.smtp_sessions = self._make_sessions("smtp")
        self.pop3_sessions = self._make_sessions("pop3")
        self.gate = ProxyGate.of(clock, config.listen.proxy_from)
        self.arrival = self._make_arrival()
        self._make_servers()
        if self._serves_web:
            from mailnode.web_house import WebHouse

            self.web = WebHouse.of(
                self,
                portal=self.portal,
                passwords=self.password_house,
                post_office=self.taking.post_office,
                others=self._other_checkers,
                sessions=lambda: {"smtp": self.smtp_sessions, "pop3": self.pop3_sessions},
            )
            self.web.start()
        servers: dict[str, Any] = {"smtp": self.smtp_sessions, "pop3": self.pop3_sessions}
        if self.web is not None:
            servers["http"] = self.web.crowd
        describe(
            self.metrics,
            log=self.mail_log,
            database=self.database,
            journal=self.journal,
            directory=self.directory,
            sessions=servers,
            gate=self.gate,
            queue=self.queue,
            accepts=self.intake.timings,
            now=self.due.now,
            arrival=self.arrival.told,
            arrival_lookups=lambda: self.arrival_resolver.counts,
            judged=lambda: self.intake.judged,
            sign_ins_blocked=lambda: self.guard.guesses.turned_away,
            kept_out=self.guard.counts,
            dmarc_collected=lambda: self.dmarc.told,
        )

    def _make_arrival(self) -> Arrival:
        directory = self.directory
        self.arrival_resolver = Resolver(self.reactor, self.config.outbound.resolvers)
        return Arrival(
            clock=self.reactor,
            resolver=self.arrival_resolver,
            paces=self._make_paces(),
            greylist=self.greylist,
            is_ours=lambda domain: domain == self.hostname or directory.is_local(domain),
            is_there=self._leads_somewhere,
        )

    def _leads_somewhere(self, address: Address) -> bool:
        """By the directory; a delivery of [plugins] and reports have addresses besides."""
        if self.config.plugins.delivery or is_rewritten(address):
            return True
        try:
            return bool(self.directory.expand(address))
        except MailError:
            return False

    def _make_paces(self) -> Paces:
        return Paces()

    @property
    def _serves_web(self) -> bool:
        return any(each.kind in WEB_KINDS for each in self.listeners)

    def _make_sessions(self, server: str) -> Sessions:
        return Sessions(self.reactor)

    def _make_allowance(self) -> Allowance:
        return Allowance(seconds=self.reactor.seconds)

    def _make_portal(self) -> SignInPortal:
        factories: Any = {IMessageDeliveryFactory: self.taking.postbox}
        factories[IMailboxPOP3] = self.maildrops.open
        if self._serves_web:
            # 0.4 s that a node without a web is spared
            from mailnode.sign_in_house import web_guest
            from mailnode.web.guest import IWebGuest

            factories[IWebGuest] = web_guest
        make = self._make_account if self.config.accounts.create_on_sign_in else None
        passwords, others = self.password_house, CheckersInTurn(self._other_checkers)
        judging = (passwords.checker, passwords.proofs, others)
        checkers = [passwords.gate(each) for each in judging]
        return SignInPortal(
            Realm(self.directory, factories, make),
            # Of two that judge one kind of credentials, the portal asks the last.
            [AllowAnonymousAccess(), *checkers],
            clock=self.reactor,
            tell=self.mail_log.tell,
            sign_in_key=self.directory.sign_in_key,
            account_of=self.guard.account_of,
            guesses=self.guard.guesses,
        )

    def _make_account(self, address: Address) -> Deferred[Account]:
        return self.watch.make_account(address)

    def _make_servers(self) -> None:
        proofs_count = not judge_passwords(self._other_checkers)
        shared: dict[str, Any] = {
            "hostname": self.hostname,
            "challengers": mechanisms(
                self.password_house.scram_book if proofs_count else None,
                self.config.accounts.channel_binding,
            ),
            "tls": self.certificate,
            "tell": self.mail_log.tell,
            "clock": self.reactor,
            "turn_away": self.guard.guesses.turn_away,
        }
        smtp = {"sessions": self.smtp_sessions, **shared}
        self.smtp = SmtpFactory(self.portal, **smtp)
        self.submission = SmtpFactory(self.portal, submission=True, **smtp)
        self.smtp.protocol = self.submission.protocol = self._smtp_server
        self.smtp.arrival = self.arrival
        self.pop3 = Pop3Factory(self.portal, sessions=self.pop3_sessions, **shared)
        self.pop3.protocol = self._pop3_server

    def readiness(self) -> dict[str, str]:
        return super().readiness() | self.taking.judges.troubles()

    def _lookups(self) -> list[Failing]:
        judges, arrival = self.taking.judges.lookups, self.arrival_resolver.failing
        return [*super()._lookups(), judges, arrival]

    def _apply_limits(self) -> None:
        super()._apply_limits()
        if self.web is not None:
            self.web.apply(self.config.limits)
        limits, room = self.config.limits, self._connection_room()
        for sessions in (self.smtp_sessions, self.pop3_sessions):
            sessions.most = room.each
            sessions.most_per_address = limits.connections_per_address
            sessions.most_together, sessions.everybody = room.together, self._connections
        self.gate.most = room.each
        self.smtp.rules = self.submission.rules = SmtpRules.of(self.config)
        self.pop3.rules = Pop3Rules.of(self.config)
        self.passwords.most_waiting = limits.sign_in_queue
        self.portal.turns.most_waiting = limits.sign_in_queue
        self.taking.apply(self.config)
        self.maildrops.tag = self.config.judging.subject_tag.encode()
        self.arrival.apply(self.config.arrival)
        self._share_memory()

    def _share_memory(self) -> None:
        """Bodies on their way in: the more sessions, the less of each is in memory."""
        sessions = len(self.smtp_sessions)
        self.counter.blob_over = body_share(self.config.store.blob_over, sessions)
        self.blobs.piece_octets = body_share(PIECE_OCTETS, sessions)

    def _connections(self) -> int:
        return len(self.smtp_sessions) + len(self.pop3_sessions) + len(self.gate.waiting)

    def _connection_room(self) -> ConnectionRoom:
        """As many connections as are wanted, or as there are descriptors for.

        The log hears of a limit that somebody chose; doctor tells of both.
        """
        wanted = self.config.limits.connections
        mail = {
            each.kind.startswith("pop3") for each in self.listeners if each.kind not in WEB_KINDS
        }
        browsers = self.web.crowd.most if self.web is not None else 0
        servers = max(1, len(mail) + bool(self.gate.networks))
        room = connection_room(wanted, servers, others=browsers)
        chosen = self.config.sources.get("limits.connections", "default") != "default"
        if chosen and room.each < wanted:
            _log.warn(
                "limits.connections is {wanted}, and the descriptor limit has room for {each} a "
                "server, {together} together: no more are let in (LimitNOFILE or ulimit -Hn)",
                wanted=wanted,
                each=room.each,
                together=room.together,
            )
        return room

    def _connect_listeners(self) -> None:
        mail: dict[str, Any] = {
            "smtp": self.smtp,
            "submission": self.submission,
            "smtps": self.certificate.around(self.submission),
            "pop3": self.pop3,
            "pop3s": self.certificate.around(self.pop3),
        }
        servers = {kind: self.gate.around(factory) for kind, factory in mail.items()}
        if self.web is not None:
            servers["http"] = self.web.server(self.metrics.text)
            servers["https"] = self.web.server(self.metrics.text, tls=self.certificate)
        for listener in self.listeners:
            listener.door.inner = servers[listener.kind]
            listener.door.inner.doStart()

    def _start_timers(self) -> None:
        self.smtp_sessions.start()
        self.pop3_sessions.start()
        self.guests.on_end.append(self._look_at_tokens)
        self._call_every(TOKENS_S, self._look_at_tokens)
        self._call_every(1.0, self._share_memory)
        super()._start_timers()

    def _greet(self) -> None:
        super()._greet()
        if self._on_started is not None:
            self._on_started(self)

    # Running

    def _accounts_changed(self, account_ids: set[int]) -> None:
        self.password_house.forget(account_ids)

        def changed(name: str) -> bool:
            account = self.directory.find_sign_in(name)
            return account is None or account.id in account_ids

        self.smtp_sessions.revoke(changed)
        self.pop3_sessions.revoke(changed)
        _log.info("{count} accounts have changed", count=len(account_ids))

    def _look_at_tokens(self, _account_ids: Collection[int] | None = None) -> None:
        """Sessions end with the app password that they signed in by."""
        if self.smtp_sessions.tokens() or self.pop3_sessions.tokens():
            background(self._end_tokens(), "looking whether app passwords still count")

    async def _end_tokens(self) -> None:
        used = self.smtp_sessions.tokens() | self.pop3_sessions.tokens()
        gone = used - await self.guests.counting(used)
        self.smtp_sessions.revoke_tokens(gone)
        self.pop3_sessions.revoke_tokens(gone)

    # Stopping

    async def _drain(self) -> None:
        self.gate.stop()
        drained = DeferredList(
            [self.smtp_sessions.drain(), self.pop3_sessions.drain()],
            consumeErrors=True,  # the limit cancels what still waits
        )
        drained.addTimeout(self.config.limits.stop, self.reactor, onTimeoutCancel=_nothing_more)
        self._drained = drained
        told = self.reactor.callLater(TELL_STOP_S, self._tell_who_is_left)
        await drained
        if told.active():
            told.cancel()
        self.smtp_sessions.stop()
        self.pop3_sessions.stop()

    def _tell_who_is_left(self) -> None:
        left = len(self.smtp_sessions) + len(self.pop3_sessions)
        _log.info(
            "stopping: sessions that are still busy: {left}; they get up to {limit:g} s, "
            "and Ctrl-C (SIGINT) cuts them off",
            left=left,
            limit=self.config.limits.stop,
        )

    def cut_off(self) -> None:
        """The stop waits for nobody any more; what was not answered 250 is kept nowhere."""
        super().cut_off()
        if self._drained is not None and not self._drained.called:
            _log.warn("what is still under way is cut off")
            self._drained.cancel()

    async def _stop_parts(self) -> None:
        if self.web is not None:
            self.web.stop()
        await self.password_house.stop()
        await self.arrival_resolver.close()
        await self.taking.stop()


def _nothing_more(result: object, timeout: float) -> None:
    _log.warn("after {timeout} s what is still under way is cut off", timeout=timeout)
