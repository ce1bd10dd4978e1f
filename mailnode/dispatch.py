"""Mail for other hosts, on its way: one node's resolver, sessions and relay, put together."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailnode.addresses import parse_address
from mailnode.background import background
from mailnode.due import DueClock
from mailnode.measures import describe_dmarc_reports, describe_relay, describe_resolver
from mailnode.outbound.certificates import Trust
from mailnode.outbound.delivery import Delivery
from mailnode.outbound.https import Https
from mailnode.outbound.leases import Leases
from mailnode.outbound.mta_sts import MtaSts, in_file, read_policies
from mailnode.outbound.outcome import rest_s
from mailnode.outbound.policy import TlsPolicies
from mailnode.outbound.pool import Pool
from mailnode.outbound.relay import Relay
from mailnode.outbound.sender import Sender
from mailnode.outbound.signing import Signer
from mailnode.outbound.tls_reporting import FILE, TlsReporting, read_outcomes, write_outcomes
from mailnode.outbound.ways import Ways
from mailnode.reports.daily import DmarcReporting
from mailnode.resolver import Resolver
from mailnode.sealing import read_password_file
from mailnode.settings import OutboundSettings
from mailnode.threads import Threads

if TYPE_CHECKING:
    from mailnode.house import House
    from mailnode.telemetry import Metrics

_log = Logger(namespace="mailnode")


@define(eq=False)
class Dispatch:
    """The relay of a node, from its start to its stop.

    Attributes:
        due: the clock that due times are read from.
    """

    relay: Relay
    resolver: Resolver
    sts: MtaSts
    tls_reporting: TlsReporting
    dmarc_reporting: DmarcReporting
    due: DueClock
    _threads: Threads
    _in_thread: Callable[..., Deferred[Any]]
    _advancing: bool = field(default=False, init=False)
    _starting: Deferred[None] | None = field(default=None, init=False)

    @classmethod
    def of(cls, house: House, due: DueClock) -> Dispatch:
        """Of a house whose files are open."""
        config, clock = house.config, house.reactor
        settings = config.outbound
        resolver = Resolver(clock, settings.resolvers)
        sender = Sender(clock, house.hostname, Trust(settings.trust))
        kept = config.data_path / "mta-sts.json"
        https = Https(clock, resolver)
        sts = MtaSts(
            resolver,
            https.fetch,
            in_file(kept, house._in_thread),
            due.now,
            policies=read_policies(kept),
        )
        ways = Ways(
            resolver,
            TlsPolicies(resolver, sts),
            house.seal,
            lambda path: house._in_thread(read_password_file, path),
            house.hostname,
            settings.port,
        )
        threads, sums = Threads(clock.callFromThread), config.data_path / FILE
        signer = Signer(house.directory, house.seal, threads)
        reporting = TlsReporting(
            enabled=settings.tls_reports,
            clock=clock,
            now=due.now,
            resolver=resolver,
            reports=house.reports,
            signer=signer,
            file=house.messages.file_message,
            post=https.post,
            keep=lambda told: house._in_thread(write_outcomes, sums, told),
            outcomes=read_outcomes(sums),
        )
        dmarc_reporting = _dmarc_reporting(house, due, resolver, signer)
        sts.failed = reporting.observe_no_policy
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        leases = Leases(clock, house.queue, due.now, name)
        delivery = Delivery(
            leases=leases,
            queue=house.queue,
            directory=house.directory,
            ways=ways,
            pool=Pool(
                sender, clock, due.now, settings.connections, rest_s(settings), reporting.observe
            ),
            reports=house.reports,
            settings=settings,
            now=due.now,
            open_blob=house.blobs.open,
            unobserved=reporting.is_report,
        )
        relay = Relay(clock, house.queue, leases, delivery)
        return cls(relay, resolver, sts, reporting, dmarc_reporting, due, threads, house._in_thread)

    def start(self) -> None:
        """Begin; what can't be read now is tried again with the next look."""
        self._starting = Deferred.fromCoroutine(self._start())
        background(self._starting, "starting the relay")

    async def _start(self) -> None:
        if self.due.is_manual:
            await self._in_thread(self.due.keep)
        await self.relay.start()
        self.tls_reporting.start()
        self.dmarc_reporting.start()
        self.take_up_clock()

    async def stop(self, within_s: float) -> None:
        if self._starting is not None:
            await self._starting
        await self.relay.stop(within_s)
        await self.tls_reporting.stop()
        await self.dmarc_reporting.stop()
        self._threads.stop()
        await self.sts.close()
        await self.resolver.close()

    def apply(self, settings: OutboundSettings) -> None:
        """What can change while the node runs."""
        before = self.relay.delivery.settings
        for name in ("resolvers", "port", "trust"):
            if getattr(before, name) != getattr(settings, name):
                _log.warn("[outbound] {name} changed: it needs a restart", name=name)
        self.relay.delivery.settings = settings
        self.tls_reporting.enabled = settings.tls_reports
        self.relay.delivery.pool.most = max(1, settings.connections)
        self.relay.delivery.pool.rest_s = rest_s(settings)

    def describe(self, metrics: Metrics) -> None:
        """Name what the relay and the resolver measure."""
        delivery = self.relay.delivery
        describe_relay(
            metrics,
            attempts=lambda: delivery.attempts,
            delay_s=lambda: delivery.delay_s,
            connections=lambda: len(delivery.pool),
            connected=lambda: delivery.pool.connections,
        )
        describe_resolver(metrics, self.resolver)
        describe_dmarc_reports(metrics, lambda: self.dmarc_reporting.outcomes)

    # A clock that is moved on

    def take_up_clock(self) -> None:
        """Somebody may want it later than it is."""
        if self.due.is_manual and not self._advancing:
            background(self._advance(), "moving the clock on")

    async def _advance(self) -> None:
        self._advancing = True
        try:
            while (wanted_s := await self._in_thread(self.due.wanted)) > self.due.ahead_s:
                await self._run_until(self.due.wall() + wanted_s)
                self.due.ahead_s = wanted_s
                await self._in_thread(self.due.keep)
        finally:
            self._advancing = False

    async def _run_until(self, target: float) -> None:
        """All that falls due before `target`, each at its time."""
        await self.relay.when_idle()
        daily = self.tls_reporting, self.dmarc_reporting
        while (next_at := min(each.next_at for each in (self.relay, *daily))) < target:
            self.due.move_to(next_at + 0.001)
            for each in daily:
                if each.next_at <= self.due.now():
                    await each.run()
            await self.relay.when_idle()
        self.due.move_to(target)
        await self.relay.when_idle()


def _dmarc_reporting(
    house: House, due: DueClock, resolver: Resolver, signer: Signer
) -> DmarcReporting:
    judging = house.config.judging

    async def was_filed(mail_id: str) -> bool:
        return bool(await house.journal.trace(mail_id))

    return DmarcReporting(
        enabled=judging.dmarc_reports == "send",
        clock=house.reactor,
        now=due.now,
        resolver=resolver,
        reports=house.reports,
        signer=signer,
        counts=house.dmarc,
        file=house.messages.file_message,
        was_filed=was_filed,
        in_thread=house._in_thread,
        address=parse_address(judging.dmarc_reporter) if judging.dmarc_reporter else None,
        organization=judging.dmarc_organization,
    )
