"""One attempt: rows that are due go the way that their route says; what came of it is written."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from mailnode.addresses import parse_address
from mailnode.errors import MailError, StoreBroken
from mailnode.events import QueueChanged, Relayed
from mailnode.outbound.leases import Leases
from mailnode.outbound.octets import MailReader, head_and_whole
from mailnode.outbound.outcome import Attempt, Judged, judge, unreported
from mailnode.outbound.pool import Pool, Way
from mailnode.outbound.reporting import Reports
from mailnode.outbound.sender import Session
from mailnode.outbound.ways import Ways
from mailnode.outbound.words import Answer, CannotSend, Outgoing, Target
from mailnode.queued import Leased, QueuedMail, Settled
from mailnode.routes import Route, SendAs
from mailnode.settings import OutboundSettings

if TYPE_CHECKING:
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.queue import Queue

MOST_TARGETS = 100
WHOLE_OCTETS = 65536
AHEAD_OCTETS = 98304
NOT_HERE = Answer(451, "4.3.0", "The mail is not in the store", "route")
UNREADABLE = Answer(451, "4.3.0", "The mail can't be read here", "route")

_NONE: Mapping[int, QueuedMail] = MappingProxyType({})

T = TypeVar("T")

_log = Logger()


@frozen
class Unreachable:
    """No host on this way answers, and with what."""

    way: Route | SendAs
    answer: Answer


@define(eq=False, kw_only=True)
class Delivery:
    """Hands mail over.

    Attributes:
        now: UTC epoch seconds: what the queue's times mean.
        open_blob: opens a body by its key.
        attempts: recipients by what became of them, since the start.
        unobserved: whether a session for this mail is not to be told of.
        delay_s: sum of the times that relayed recipients waited.
        stopping: nothing more is begun.
    """

    leases: Leases
    queue: Queue
    directory: LiveDirectory
    ways: Ways
    pool: Pool
    reports: Reports
    settings: OutboundSettings
    now: Callable[[], float]
    open_blob: Callable[[str], Any]
    random: Callable[[], float] = random.random
    unobserved: Callable[[Leased], bool] = lambda row: False
    attempts: Counter[str] = field(factory=Counter, init=False)
    delay_s: float = field(default=0.0, init=False)
    stopping: bool = field(default=False, init=False)
    _sessions: set[Session] = field(factory=set, init=False)
    _seeking: set[Deferred[Any]] = field(factory=set, init=False)  # ways and sessions
    _used: WeakSet[Session] = field(factory=WeakSet, init=False)  # that have sent a mail

    async def attempt(
        self, domain: str, rows: Sequence[Leased], mails: Mapping[int, QueuedMail] = _NONE
    ) -> Unreachable | None:
        """Hand these over as their routes say; what was written is no longer in hand.

        Args:
            mails: theirs, by message id, as far as they are in memory.

        Returns:
            The way whose hosts don't answer, of several the last.
        """
        unreachable: Unreachable | None = None
        for way, group in (await self.by_way(rows)).items():
            if not self.stopping:
                unreachable = await self._go(domain, way, group, mails) or unreachable
        return unreachable

    def cut_off(self) -> None:
        """What is under way ends now."""
        for seeking in list(self._seeking):
            seeking.cancel()
        for session in list(self._sessions):
            session.abort()

    async def _seek(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` finds outside, unless it is cut off before."""
        seeking: Deferred[T] = Deferred.fromCoroutine(work)
        self._seeking.add(seeking)
        try:
            return await seeking
        finally:
            self._seeking.discard(seeking)

    async def by_way(self, rows: Sequence[Leased]) -> dict[Route | SendAs, list[Leased]]:
        """Rows that are to be sent, by where to; what can be said of the others is written."""
        groups: dict[Route | SendAs, list[Leased]] = {}
        captured = []
        for row in rows:
            try:
                address = parse_address(row.recipient)
            except MailError as error:  # nothing of ours wrote it: it holds up no other
                why = f"held: {row.recipient!r} is no address ({error.text})"
                await self.leases.settle([_kept(row, "hold", why, self.now())])
                continue
            provider = self.directory.send_as_by_id(row.send_as) if row.send_as else None
            if row.bounce:
                await self.answer([row], Answer(550, "5.0.0", row.bounce, "route"))
            elif not self.directory.may_leave(address):
                captured.append(_kept(row, "capture", "captured", self.now()))
            elif provider is not None and provider.account_id == row.account_id:
                groups.setdefault(provider, []).append(row)
            elif row.send_as:
                gone = Answer(550, "5.7.1", "The outside address was removed here", "route")
                await self.answer([row], gone)
            else:
                groups.setdefault(self.directory.route_for(address), []).append(row)
        if captured:
            await self.leases.settle(captured)
        return groups

    async def _go(
        self,
        domain: str,
        way: Route | SendAs,
        rows: list[Leased],
        in_memory: Mapping[int, QueuedMail],
    ) -> Unreachable | None:
        if isinstance(way, Route) and way.kind in _WITHOUT_HOST:
            await self._end_here(way, rows)
            return None
        try:
            if isinstance(way, SendAs):
                hops = await self._seek(self.ways.by_provider(way))
            else:
                hops = await self._seek(self.ways.by_route(way, domain))
        except MailError as error:
            answer = Answer(error.smtp_code, error.enhanced, error.text, "route")
            if error.detail:
                _log.warn("{domain}: {error}", domain=domain, error=str(error))
            await self.answer(rows, answer)
            return None if answer.permanent else Unreachable(way, answer)
        return await self._send_all(way, hops, rows, in_memory)

    async def _end_here(self, route: Route, rows: list[Leased]) -> None:
        """A route that leads to no host."""
        now = self.now()
        if route.kind == "refuse":
            await self.answer(rows, Answer(550, "5.7.1", "A route here refuses it", "route"))
        elif route.kind == "hold":
            await self.leases.settle([_kept(row, "hold", "held by its route", now) for row in rows])
        else:
            await self.leases.settle([_discarded(row, now) for row in rows])

    async def _send_all(
        self,
        way: Route | SendAs,
        hops: Sequence[Way],
        rows: list[Leased],
        in_memory: Mapping[int, QueuedMail],
    ) -> Unreachable | None:
        """Each mail to its recipients, over one session while it lasts."""
        writing: list[Deferred[None]] = []
        taken: tuple[Way, Session] | None = None
        try:
            mails, ahead = list(_mails(rows)), in_memory
            for at, mail_rows in enumerate(mails):
                if self.stopping:
                    break
                message_id = mail_rows[0].message_id
                if message_id not in ahead:
                    wanted = [each[0].message_id for each in mails[at:]]
                    try:
                        ahead = await self.queue.read_ahead(wanted, AHEAD_OCTETS)
                    except StoreBroken as error:  # this one holds up no other
                        _log.error("{id}: {error}", id=mail_rows[0].mail_id, error=str(error))
                        await self.answer(mail_rows, UNREADABLE, way)
                        continue
                mail = ahead.get(message_id)
                if mail is None:
                    await self.answer(mail_rows, NOT_HERE, way)
                    continue
                while True:
                    if taken is not None and not taken[1].usable:
                        self._give_back(*taken)
                        taken = None
                    if taken is None:
                        observed = not self.unobserved(mail_rows[0])
                        taken = await self._seek(self.pool.take(hops, observed=observed))
                        self._sessions.add(taken[1])
                    attempt, answers = await self._send(taken[1], mail, mail_rows)
                    if self.stopping or not (taken[1] in self._used and _had_died(answers)):
                        break
                self._used.add(taken[1])
                writing.append(
                    maybeDeferred(self._answer_each, mail_rows, answers, attempt, mail, way)
                )
        except CannotSend as refusal:
            await _all(writing)
            await self.answer(self.leases.left(rows), refusal.answer, way)
            return Unreachable(way, refusal.answer)
        finally:
            if taken is not None:
                self._give_back(*taken)
            await _all(writing)  # or what is sent and not written yet would be given back
        return None

    def _give_back(self, way: Way, session: Session) -> None:
        self._sessions.discard(session)
        self.pool.give_back(way, session)

    async def _send(
        self, session: Session, mail: QueuedMail, rows: Sequence[Leased]
    ) -> tuple[Attempt, list[Answer]]:
        first = rows[0]
        # By this an alias knows what it has forwarded before.
        front = f"Delivered-To: {first.alias}\r\n".encode() if first.alias else b""
        outgoing = Outgoing(
            sender=first.sender,
            targets=tuple(Target(row.recipient, row.notify, row.orcpt) for row in rows),
            size_octets=len(front) + len(mail.prefix) + mail.size_octets,
            open=lambda: MailReader(mail, self.open_blob, front),
            smtputf8=first.smtputf8,
            ret=first.ret,
            envid=first.envid,
        )
        try:
            answers = await session.send(outgoing, lambda: self.leases.are_ours(rows))
        except MailError as error:  # of ours: the body can't be read
            _log.error("{mail_id}: {error}", mail_id=first.mail_id, error=str(error))
            answers = [Answer(451, error.enhanced, "The mail can't be read here", "MAIL")] * len(
                rows
            )
        attempt = Attempt(
            at=self.now(),
            host=session.host,
            address=session.address,
            tls=session.tls,
            note=session.tls_note,
            dsn=session.dsn,
        )
        return attempt, answers

    # What became of it

    async def answer(
        self, rows: Sequence[Leased], answer: Answer, way: Route | SendAs | None = None
    ) -> None:
        """The same answer for all of them, from where no host was reached."""
        attempt = Attempt(at=self.now())
        await _all(
            [
                maybeDeferred(
                    self._answer_each, mail_rows, [answer] * len(mail_rows), attempt, None, way
                )
                for mail_rows in _mails(rows)
            ]
        )

    def _answer_each(
        self,
        rows: Sequence[Leased],
        answers: Sequence[Answer],
        attempt: Attempt,
        mail: QueuedMail | None,
        way: Route | SendAs | None,
    ) -> Deferred[None]:
        """Write what became of one mail's recipients, and the reports about it, in one commit."""
        judged = []
        chance = self.random()  # one for all, so that they stay together
        for row, answer in zip(rows, answers, strict=True):
            of_owner = isinstance(way, SendAs) and answer.stage == "AUTH"
            if of_owner and answer.permanent:  # the mail is not at fault
                answer = Answer(454, "4.7.8", answer.text, answer.stage)
            judged.append(
                judge(row, answer, attempt, self.settings, lambda: chance, owner_told=of_owner)
            )
        if any(each.told is not None for each in judged):
            return Deferred.fromCoroutine(self._report(rows, judged, attempt.at, mail))
        written = self.leases.written([each.settled for each in judged])
        return written.addCallback(lambda _: self._count(rows, judged, attempt.at))

    async def _report(
        self, rows: Sequence[Leased], judged: list[Judged], at: float, mail: QueuedMail | None
    ) -> None:
        try:
            reports = await self._reports(rows, judged, at, mail)
        except Exception:
            _log.failure("a report about {mail_id} could not be made", mail_id=rows[0].mail_id)
            judged = [Judged(unreported(each.settled)) for each in judged]
            reports = []
        await self.leases.settle([each.settled for each in judged], reports)
        self._count(rows, judged, at)

    def _count(self, rows: Sequence[Leased], judged: Sequence[Judged], at: float) -> None:
        for row, each in zip(rows, judged, strict=True):
            for event in each.settled.events:
                self.attempts[event.name] += 1
                if event.name == Relayed.name:
                    self.delay_s += at - row.queued_at

    async def _reports(
        self, rows: Sequence[Leased], judged: Sequence[Judged], at: float, mail: QueuedMail | None
    ) -> list[Any]:
        told: dict[str, list[Any]] = {}
        for each in judged:
            if each.told is not None:
                told.setdefault(each.told.action, []).append(each.told)
        mail = mail or await self.queue.read(rows[0].message_id)
        if mail is None:
            return []
        head, whole = await head_and_whole(mail, self.open_blob, WHOLE_OCTETS)
        size = len(mail.prefix) + mail.size_octets
        made = [
            self.reports.make(rows[0], each, head=head, whole=whole, size_octets=size, at=at)
            for each in told.values()
        ]
        return [each for each in made if each is not None]


_WITHOUT_HOST = ("refuse", "hold", "discard")


def _mails(rows: Iterable[Leased]) -> Iterable[list[Leased]]:
    """Rows of one mail that can go in one transaction, at most 100 together."""
    mails: dict[tuple[object, ...], list[Leased]] = {}
    for row in rows:
        key = row.message_id, row.sender, row.alias, row.ret, row.envid, row.smtputf8
        mails.setdefault(key, []).append(row)
    for mail in mails.values():
        for at in range(0, len(mail), MOST_TARGETS):
            yield mail[at : at + MOST_TARGETS]


def _had_died(answers: Sequence[Answer]) -> bool:
    """Whether a kept connection was found closed: that is no answer to a mail."""
    return all(not answer.code and answer.stage == "MAIL" for answer in answers)


def _kept(row: Leased, action: str, why: str, at: float) -> Settled:
    event = QueueChanged(
        at=at, mail_id=row.mail_id, recipient=row.recipient, detail={"action": why}
    )
    return Settled(queue_id=row.queue_id, action=action, events=(event,))


def _discarded(row: Leased, at: float) -> Settled:
    event = Relayed(
        at=at, mail_id=row.mail_id, recipient=row.recipient, detail={"discarded": "by its route"}
    )
    return Settled(queue_id=row.queue_id, action="done", events=(event,))


async def _all(writing: list[Deferred[None]]) -> None:
    outcomes: Any = await DeferredList(writing, consumeErrors=True)
    for success, result in outcomes:
        if not success:
            result.raiseException()
