"""Once a day who asks for it is told, each report once, whatever becomes of the node meanwhile.

The mail that brings a report has an id that is made of the report, and is looked for in the
journal of mail.db before it is filed: a node that was killed, or lost power, behind the commit that
filed it files no second one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailnode.addresses import Address
from mailnode.background import Together, background
from mailnode.errors import MailError
from mailnode.mailauth.dmarc_record import is_record, read_uris
from mailnode.model import Envelope, Message
from mailnode.outbound.reporting import Reports, message_of
from mailnode.outbound.signing import Signer
from mailnode.outbound.tls_outcomes import DAY_S, begin_of, day_of
from mailnode.reports.mails import Reporter, mail_id_for, make_mail
from mailnode.reports.places import Found, find_places
from mailnode.store.dmarc_file import DmarcFile
from mailnode.store.dmarc_rows import SENT, UNSENT

if TYPE_CHECKING:
    from mailnode.interfaces import IResolver

LOOK_S = 60.0
FIRST_S = 300.0  # behind midnight: all processes have counted the day's last mails
SPREAD_S = 4 * 3600.0  # not all domains at once, and not all the world at midnight
AGAIN_S = 3600.0  # behind an attempt that failed
GIVE_UP_S = DAY_S  # behind the end of the day that a report is about
AT_ONCE = 10  # domains that are told

Waiting = tuple[int, str, str]
"""A report's id, its day and its domain."""

_log = Logger(namespace="mailnode")


class NotNow(MailError):
    text = "The report can't be sent now"


@define(eq=False, kw_only=True)
class DmarcReporting:
    """Sends the reports of a day when it is over.

    Attributes:
        enabled: nothing is sent without.
        now: UTC epoch seconds.
        file: takes a mail of ours, durably.
        was_filed: whether a mail of that id ever was.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        address: which reports come from; None for the node's postmaster.
        organization: whose they are; "" for the node's name.
        outcomes: "sent", "unsent" (nobody takes it, or not in time), "put-off".
    """

    enabled: bool
    clock: IReactorTime
    now: Callable[[], float]
    resolver: IResolver
    reports: Reports
    signer: Signer
    counts: DmarcFile
    file: Callable[[Envelope, Message], Deferred[Any]]
    was_filed: Callable[[str], Awaitable[bool]]
    in_thread: Callable[..., Deferred[Any]]
    address: Address | None = None
    organization: str = ""
    outcomes: Counter[str] = field(factory=Counter, init=False)
    _next_at: float = field(default=0.0, init=False)
    _again: dict[int, float] = field(factory=dict, init=False)  # by report, when it is tried again
    _one: Together = field(factory=Together, init=False)
    _stopping: bool = field(default=False, init=False)
    _looking: LoopingCall | None = field(default=None, init=False)

    def start(self) -> None:
        self._looking = LoopingCall(self._look)
        self._looking.clock = self.clock
        self._looking.start(LOOK_S, now=False)

    async def stop(self) -> None:
        """Nobody waits for a nameserver that is being asked; what is cut off is sent later."""
        self._stopping = True
        if self._looking is not None and self._looking.running:
            self._looking.stop()
        await self._one.close()

    def _look(self) -> None:
        wait_s = self.next_at - self.now()
        if wait_s <= 0 or 2 * DAY_S < wait_s < float("inf"):  # the clock was set back
            background(self.run(), "sending DMARC reports")

    @property
    def next_at(self) -> float:
        """When there may be something to send; infinity while it is off."""
        return self._next_at if self.enabled and not self._stopping else float("inf")

    def run(self) -> Deferred[None]:
        """All is sent whose time has come; who asks while that is under way waits for it."""
        return self._one.run("", self._run)

    async def _run(self) -> None:
        now = self.now()
        self._next_at = now + LOOK_S  # unless all goes well
        try:
            await self._send_due(now)
        except CancelledError:
            if not self._stopping:
                raise

    async def _send_due(self, now: float) -> None:
        today = day_of(now)
        waiting = await self.counts.waiting_before(today)
        due = iter([each for each in waiting if self._due_at(each) <= now])
        await DeferredList([Deferred.fromCoroutine(self._send_each(due)) for _ in range(AT_ONCE)])
        waiting = await self.counts.waiting_before(today)
        self._again = {each[0]: self._again[each[0]] for each in waiting if each[0] in self._again}
        dues = [*map(self._due_at, waiting), begin_of(today) + DAY_S + FIRST_S]
        self._next_at = max(min(dues), now + 1)

    def _due_at(self, waiting: Waiting) -> float:
        """Each domain has its own moment behind midnight, the same after a restart."""
        report_id, day, domain = waiting
        chance = blake2b(f"{self.reports.hostname} {domain} {day}".encode(), digest_size=4).digest()
        share = int.from_bytes(chance, "big") / (1 << 32)
        due_at = begin_of(day) + DAY_S + FIRST_S + share * SPREAD_S
        return max(due_at, self._again.get(report_id, 0.0))

    async def _send_each(self, due: Iterator[Waiting]) -> None:
        """Some at a time: a domain whose nameservers are slow holds up few others."""
        for report_id, day, domain in due:
            if self._stopping:
                return
            over_at = begin_of(day) + DAY_S + GIVE_UP_S
            why = ""
            try:
                if self.now() < over_at:
                    last = self.now() + AGAIN_S >= over_at
                    state, note = await self._send(report_id, last)
                    await self._settle(report_id, state, note, day, domain)
                    continue
                why = "not in time"
            except MailError as error:
                why = str(error)
            except Exception:
                if self._stopping:  # it was cut off
                    return
                _log.failure("no DMARC report to {domain} could be made", domain=domain)
                why = "it could not be made; the log says why"
            await self._put_off(report_id, why, day, domain, over_at)

    async def _put_off(
        self, report_id: int, why: str, day: str, domain: str, over_at: float
    ) -> None:
        if self.now() + AGAIN_S < over_at:
            self.outcomes["put-off"] += 1
            self._again[report_id] = self.now() + AGAIN_S
            _log.info("no DMARC report to {domain} yet: {why}", domain=domain, why=why)
        else:
            await self._settle(report_id, UNSENT, why, day, domain)

    async def _settle(self, report_id: int, state: str, note: str, day: str, domain: str) -> None:
        _log.info(
            "DMARC report about {domain} of {day} is {state}: {note}",
            domain=domain,
            day=day,
            state=state,
            note=note,
        )
        try:
            await self.counts.settle(report_id, state, note)
        except Exception as error:  # the next attempt finds its mail
            self._again[report_id] = self.now() + AGAIN_S
            _log.warn("that is not kept: {error}", error=str(error))
        else:
            self.outcomes[state] += 1

    async def _send(self, report_id: int, last: bool) -> tuple[str, str]:
        """What it came to, and to whom or why not.

        Args:
            last: it is not tried again; who could not be asked gets nothing.

        Raises:
            MailError: not now.
        """
        read = await self.counts.read(report_id)
        reporter = self.reporter()
        if reporter is None:
            raise NotNow(detail="no domain is served, so nobody reports")
        if read is None or not read[1]:
            return UNSENT, "nothing is in it"
        report, rows = read
        mail_id = mail_id_for(report, self.reports.hostname)
        if await self.was_filed(mail_id):
            return SENT, f"by mail {mail_id}, before this start"
        uris = read_uris(report.record) if is_record(report.record) else ()
        found = await find_places(report.domain, uris, self._texts)
        if found.unsure and not last:
            raise NotNow(detail=f"nobody can say whether {_names(found.unsure)} takes it")
        at, to = self.now(), [each.address for each in found.places]
        mail = await self.in_thread(make_mail, report, rows, reporter, to, at)
        taking = [each.address for each in found.places if each.takes(len(mail))]
        envelope = self.reports.daily(mail_id, reporter.address, taking, at)
        if envelope is None:
            return UNSENT, _why_nobody(found, taking)
        if taking != to:
            mail = await self.in_thread(make_mail, report, rows, reporter, taking, at)
        prefix = await self.signer.sign_mail(reporter.address.domain, mail, int(at))
        await self.file(envelope, evolve(message_of(mail), prefix=prefix))
        return SENT, f"by mail {mail_id} to {_names(taking)}"

    def reporter(self) -> Reporter | None:
        """None where no domain is served."""
        address = self.address or self.reports.postmaster()
        if address is None:
            return None
        hostname = self.reports.hostname
        return Reporter(self.organization or hostname, address, hostname)

    async def _texts(self, name: str) -> Sequence[str]:
        texts: Sequence[str] = (await self.resolver.look_up(name, "TXT")).values
        return texts


def _names(addresses: Sequence[Address]) -> str:
    return ", ".join(map(str, addresses))


def _why_nobody(found: Found, taking: Sequence[Address]) -> str:
    if taking:
        return f"it may not leave to {_names(taking)}"
    if found.places:
        return f"it is too large for {_names([each.address for each in found.places])}"
    if found.unwilling:
        return f"the domain of {_names(found.unwilling)} does not say that it takes it"
    if found.unsure:
        return f"nobody could say whether {_names(found.unsure)} takes it"
    return "the domain names nobody whom a mail reaches"
