"""Reports about TLS (RFC 8460): sessions are counted, and once a day who asks for it is told.

The sums are in memory and kept in a file of the data folder once an hour and at a stop. They stand
in no table: nothing that a report says is worth a row in the commit of each attempt, and what a
crash may lose is an hour of counts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailnode.addresses import Address
from mailnode.background import background
from mailnode.durable import write_durably
from mailnode.errors import MailError, NoSuchName
from mailnode.model import Envelope, Message, new_mail_id
from mailnode.outbound.https import NoPage
from mailnode.outbound.pool import Way
from mailnode.outbound.reporting import Reports, message_of
from mailnode.outbound.sender import Session
from mailnode.outbound.signing import Signer
from mailnode.outbound.tls_outcomes import (
    DAY_S,
    MOST_DOMAINS,
    Failure,
    Outcomes,
    PolicyKey,
    Sums,
    begin_of,
    failure_of,
    failure_of_answer,
)
from mailnode.outbound.tls_report import (
    MEDIA_TYPE,
    WebPlace,
    make_mail,
    pack,
    read_places,
    report_facts,
)
from mailnode.outbound.words import Answer, TlsPolicy
from mailnode.queued import Leased

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver

FILE = "tls-report.json"
LOOK_S = 60.0
KEEP_S = 3600.0
AGAIN_S = 3600.0  # behind a look-up that failed
GIVE_UP_S = DAY_S  # behind the end of the day that a report is about
MOST_DELAY_S = 4 * 3600.0  # not all the world at midnight (section 4.1)
AT_ONCE = 10  # domains that are told

_STS = TlsPolicy(source="MTA-STS")

_log = Logger()


class NotTaken(MailError):
    """A web server has not taken a report: it is brought again."""

    smtp_code, enhanced = 451, "4.4.0"
    text = "The report was not taken"


@define(eq=False, kw_only=True)
class TlsReporting:
    """Counts TLS sessions, and reports them when their day is over.

    Attributes:
        enabled: by the settings; nothing is counted and nothing sent without.
        now: UTC epoch seconds.
        file: takes a mail of ours, durably.
        post: brings a page to a web server: (host, path, page, media type), as `Https.post`.
        keep: keeps the sums for the next start.
    """

    enabled: bool
    clock: IReactorTime
    now: Callable[[], float]
    resolver: IResolver
    reports: Reports
    signer: Signer
    file: Callable[[Envelope, Message], Deferred[Any]]
    post: Callable[[str, str, bytes, str], Awaitable[Any]]
    keep: Callable[[Mapping[str, Any]], Awaitable[Any]]
    outcomes: Outcomes
    random: Callable[[], float] = random.random
    _delay_s: float = field(init=False)
    _again_at: float = field(default=0.0, init=False)
    _kept_at: float = field(default=0.0, init=False)
    _told: set[tuple[str, str, str]] = field(factory=set, init=False)  # day, domain, place
    _no_policy: dict[str, Failure] = field(factory=dict, init=False)  # by domain, not counted yet
    _one: DeferredLock = field(factory=DeferredLock, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _looking: LoopingCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._delay_s = 1 + self.random() * (MOST_DELAY_S - 1)

    # Counting

    def observe(self, way: Way, outcome: Session | Answer) -> None:
        """A connection was made, or could not be."""
        if not self.enabled or not way.domain or way.domain.startswith("["):
            return
        host, address = way.hop.host, way.hop.address
        if isinstance(outcome, Answer):
            failure = failure_of_answer(host, address, outcome)
            if failure is None:
                return
        else:
            failure = failure_of(
                way.policy,
                host,
                address,
                tls=outcome.tls,
                note=outcome.tls_note,
                doubt=outcome.doubt,
            )
        self.outcomes.count(self.now(), way.domain, way.policy, failure)
        if (no_policy := self._no_policy.pop(way.domain, None)) is not None:
            self.outcomes.count(self.now(), way.domain, _STS, no_policy)

    def observe_no_policy(self, domain: str, result: str, reason: str) -> None:
        """A domain announces an MTA-STS policy that can't be had: a failure of its own, counted
        with the next session that counts; the sessions go on without a policy."""
        if self.enabled and (domain in self._no_policy or len(self._no_policy) < MOST_DOMAINS):
            self._no_policy[domain] = Failure(result, "", "", reason)

    def is_report(self, row: Leased) -> bool:
        """Whether a mail is one of ours; a session for it counts for nothing, or a report about
        reports would follow each day for ever."""
        return row.notify == "NEVER" and row.sender == str(self.reports.postmaster())

    # Once a day

    def start(self) -> None:
        self._kept_at = self.clock.seconds()
        self._looking = LoopingCall(self._look)
        self._looking.clock = self.clock
        self._looking.start(LOOK_S, now=False)

    async def stop(self) -> None:
        """What was counted is kept; nobody waits for a host that is being told."""
        if self._looking is not None and self._looking.running:
            self._looking.stop()
        self._stopping = True
        if self._running is not None:
            self._running.cancel()
        await self._one.run(lambda: Deferred.fromCoroutine(self._keep()))

    def _look(self) -> None:
        if self.now() >= self.next_at:
            background(self.run(), "reporting TLS")
        elif self.outcomes.changed and self.clock.seconds() - self._kept_at >= KEEP_S:
            background(
                self._one.run(lambda: Deferred.fromCoroutine(self._keep())), "keeping TLS outcomes"
            )

    @property
    def next_at(self) -> float:
        """When reports are due next; infinity while there is nothing to tell."""
        if not self.enabled or not self.outcomes.days:
            return float("inf")
        return max(self._due_at(min(self.outcomes.days)), self._again_at)

    def _due_at(self, day: str) -> float:
        return begin_of(day) + DAY_S + self._delay_s

    async def run(self) -> None:
        """Report on every day whose time has come; one that is under way goes on alone."""
        if self._running is not None or self._stopping:
            return
        self._running = self._one.run(lambda: Deferred.fromCoroutine(self._report_days()))
        try:
            await self._running
        finally:
            self._running = None

    async def _report_days(self) -> None:
        for day in sorted(self.outcomes.days):
            if self.now() >= self._due_at(day):
                await self._report_day(day)
        await self._keep()

    async def _report_day(self, day: str) -> None:
        """Some domains at a time: one whose host is slow holds up few others."""
        domains = self.outcomes.days[day]
        waiting = iter(list(domains.items()))
        some = [Deferred.fromCoroutine(self._report_each(day, waiting)) for _ in range(AT_ONCE)]
        await DeferredList(some)
        if not domains:
            self.outcomes.days.pop(day, None)
            self._told = {each for each in self._told if each[0] in self.outcomes.days}

    async def _report_each(
        self, day: str, waiting: Iterator[tuple[str, Mapping[PolicyKey, Sums]]]
    ) -> None:
        for domain, policies in waiting:
            done = await self._report_domain(day, domain, policies)
            if self._stopping:
                return
            if done or self.now() >= begin_of(day) + DAY_S + GIVE_UP_S:
                self.outcomes.days[day].pop(domain, None)
                self.outcomes.changed = True
            else:
                self._again_at = self.now() + AGAIN_S

    async def _report_domain(
        self, day: str, domain: str, policies: Mapping[PolicyKey, Sums]
    ) -> bool:
        """Whether all are told who want to be."""
        try:
            await self._report(day, domain, policies)
        except MailError as error:
            _log.info("no TLS report to {domain} yet: {error}", domain=domain, error=str(error))
        except Exception:
            if not self._stopping:  # else it was cut off
                _log.failure("no TLS report to {domain} could be made", domain=domain)
        else:
            return True
        return False

    async def _report(self, day: str, domain: str, policies: Mapping[PolicyKey, Sums]) -> None:
        """Tell those whom the domain names, if any.

        Raises:
            MailError: not now.
        """
        try:
            texts = (await self.resolver.look_up(f"_smtp._tls.{domain}", "TXT")).values
        except NoSuchName:
            return
        places, sender = read_places(texts), self.reports.postmaster()
        if sender is None or not places:
            return
        report_id = new_mail_id(self.now())
        facts = report_facts(
            day,
            domain,
            policies,
            organization=sender.domain,
            contact=str(sender),
            report_id=report_id,
        )
        failed: list[NoPage] = []
        sites = [each for each in places if isinstance(each, WebPlace)]
        for place in sites if self.reports.may_tell(domain) else []:
            told = day, domain, str(place)
            if told not in self._told and not self._stopping:
                try:
                    await self.post(place.host, place.path, pack(facts), MEDIA_TYPE)
                    self._told.add(told)
                except NoPage as error:
                    failed.append(error)
        if self._stopping:
            raise NotTaken(detail="the node stops")
        if (day, domain, "") not in self._told:
            await self._mail(day, domain, facts, sender, places)
            self._told.add((day, domain, ""))
        if failed:
            raise NotTaken(detail="; ".join(map(str, failed)))

    async def _mail(
        self,
        day: str,
        domain: str,
        facts: Mapping[str, Any],
        sender: Address,
        places: Sequence[Address | WebPlace],
    ) -> None:
        """The report to all addresses of the places, if there are any."""
        to = [place for place in places if isinstance(place, Address)]
        at = self.now()
        envelope = self.reports.daily(facts["report-id"], sender, to, at)
        if envelope is None:
            return
        mail = make_mail(
            facts, day, domain, sender=sender, to=to, hostname=self.reports.hostname, at=at
        )
        prefix = await self.signer.sign_mail(sender.domain, mail, int(at))
        await self.file(envelope, evolve(message_of(mail), prefix=prefix))

    async def _keep(self) -> None:
        self._kept_at = self.clock.seconds()
        if not self.outcomes.changed:
            return
        self.outcomes.changed = False
        try:
            await self.keep(self.outcomes.as_json())
        except OSError as error:
            self.outcomes.changed = True
            _log.warn("TLS outcomes can't be kept: {error}", error=str(error))


def read_outcomes(path: Path) -> Outcomes:
    """What `write_outcomes` kept; nothing where there is no such file, or one that is broken."""
    try:
        return Outcomes.of_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Outcomes()


def write_outcomes(path: Path, told: Mapping[str, Any]) -> None:
    """They outlive the process; it blocks."""
    write_durably(path, json.dumps(told).encode())
