"""A relay in memory: a queue in a list, hosts that follow a script, a clock that is moved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from mailnode.addresses import Address
from mailnode.errors import StoreBroken
from mailnode.events import Event
from mailnode.model import Envelope, Message, Recipient, Remote
from mailnode.outbound.delivery import Delivery
from mailnode.outbound.leases import Leases
from mailnode.outbound.outcome import rest_s
from mailnode.outbound.pool import Pool, Way
from mailnode.outbound.relay import Relay
from mailnode.outbound.reporting import Reports
from mailnode.outbound.words import Answer, CannotSend, Hop, Login, Outgoing, TlsPolicy
from mailnode.queued import Begun, Key, Leased, QueuedMail, Settled, Waiting
from mailnode.routes import BY_MX, Route, SendAs
from mailnode.settings import OutboundSettings

BEGAN = 1_000_000.0
RAW = b"From: alice@example.test\r\nSubject: hello\r\n\r\n.Hi\r\n"
OK = Answer(250, "2.0.0", "taken", "dot")
LATER = Answer(451, "4.3.0", "not now", "RCPT")
NEVER = Answer(550, "5.1.1", "no such user", "RCPT")
SILENT = Answer(0, "4.4.1", "connection refused", "connect")


def row(number: int = 1, **more: Any) -> Leased:
    values: dict[str, Any] = {
        "queue_id": number,
        "message_id": number,
        "mail_id": f"MAIL{number}",
        "sender": "alice@example.test",
        "recipient": f"r{number}@remote.test",
        "domain": "remote.test",
        "alias": None,
        "account_id": 1,
        "send_as": 0,
        "priority": 1,
        "attempts": 0,
        "due_at": BEGAN,
        "queued_at": BEGAN,
        "noticed_at": None,
        "last_reply": None,
        "notify": "",
        "orcpt": "",
        "ret": "",
        "envid": "",
        "smtputf8": False,
    }
    return Leased(**{**values, **more})


@define(eq=False)
class ListQueue:
    """A queue that keeps its rows in a list, and settles as the store does.

    Attributes:
        held, captured: rows that were put aside.
        events: that would be rows of the journal.
        reports: that were filed.
        leases: (time, ids) of each lease.
        reads: message ids of each look into the store.
        read_at_most: messages that one of them gives.
        settlements: how many rows each commit settled.
        hold: a write waits for this before it is done.
        write: called by every write, as the disk takes its time.
        faults, recover_faults: what the next writes fail with.
    """

    rows: list[Leased] = field(factory=list)
    leased: dict[int, tuple[str, float]] = field(factory=dict)
    held: list[int] = field(factory=list)
    captured: list[int] = field(factory=list)
    events: list[Event] = field(factory=list)
    reports: list[tuple[Envelope, Message]] = field(factory=list)
    leases: list[tuple[float, list[int]]] = field(factory=list)
    faults: list[Exception] = field(factory=list)
    recover_faults: list[Exception] = field(factory=list)
    gone: set[int] = field(factory=set)
    damaged: set[int] = field(factory=set)
    reads: list[list[int]] = field(factory=list)
    read_at_most: int = 20
    settlements: list[int] = field(factory=list)
    hold: Deferred[None] | None = None
    write: Callable[[], object] = lambda: None

    def _waits(self, row: Leased) -> bool:
        return row.queue_id not in self.leased and row.queue_id not in {*self.held, *self.captured}

    def waiting(self) -> Deferred[list[Waiting]]:
        found: dict[tuple[str, int], list[float]] = {}
        for each in filter(self._waits, self.rows):
            found.setdefault((each.domain, each.send_as), []).append(each.due_at)
        return succeed([Waiting(*key, len(due), min(due)) for key, due in found.items()])

    def next_due(self, domain: str, send_as: int) -> Deferred[float]:
        due = [
            each.due_at
            for each in filter(self._waits, self.rows)
            if (each.domain, each.send_as) == (domain, send_as)
        ]
        return succeed(min(due, default=math.inf))

    def lease(
        self,
        domain: str,
        send_as: int,
        *,
        now: float,
        until: float,
        limit: int,
        by: str,
        after: Sequence[int] = (),
    ) -> Deferred[list[Leased]]:
        due = [
            each
            for each in filter(self._waits, self.rows)
            if (each.domain, each.send_as) == (domain, send_as) and each.due_at <= now
        ]
        due.sort(key=lambda each: (each.priority, each.due_at))
        for each in due[:limit]:
            self.leased[each.queue_id] = by, until
        self.leases.append((now, [each.queue_id for each in due[:limit]]))
        return succeed(due[:limit])

    def renew(self, ids: Sequence[int], until: float, by: str) -> Deferred[set[int]]:
        self.leased.update((each, (by, until)) for each in ids)
        return succeed(set())

    def settle(
        self,
        settled: Sequence[Settled],
        reports: Sequence[Any] = (),
        *,
        by: str,
        at: float,
    ) -> Deferred[set[int]]:
        self.write()
        if self.faults:
            raise self.faults.pop(0)
        self.reports += reports
        self.settlements.append(len(settled))
        for each in settled:
            assert self.leased.pop(each.queue_id)[0] == by
            self.events += each.events
            at = next(i for i, row in enumerate(self.rows) if row.queue_id == each.queue_id)
            if each.action == "done":
                del self.rows[at]
            elif each.action == "retry":
                was = self.rows[at]
                self.rows[at] = evolve(
                    was,
                    due_at=each.due_at,
                    attempts=was.attempts + bool(each.reply),
                    noticed_at=each.noticed_at or was.noticed_at,
                    last_reply=each.reply or was.last_reply,
                )
            else:
                (self.held if each.action == "hold" else self.captured).append(each.queue_id)
        hold, self.hold = self.hold, None
        return succeed(set()) if hold is None else hold.addCallback(lambda _: set())

    async def recover(
        self, now: float, by_prefix: str | None = None, *, own: str = ""
    ) -> list[Leased]:
        if self.recover_faults:
            raise self.recover_faults.pop(0)
        gone = [number for number, (by, _) in self.leased.items() if by != own]
        for number in gone:
            del self.leased[number]
        return [each for each in self.rows if each.queue_id in gone]

    def read(self, message_id: int) -> Deferred[QueuedMail | None]:
        return succeed(self.mail(message_id))

    def read_ahead(
        self, message_ids: Sequence[int], most_octets: int
    ) -> Deferred[dict[int, QueuedMail]]:
        self.reads.append(list(message_ids))
        if message_ids[0] in self.damaged:
            return fail(StoreBroken(detail="message is damaged"))
        whole = list(takewhile(lambda each: each not in self.damaged, message_ids))
        found = {each: self.mail(each) for each in whole[: self.read_at_most]}
        return succeed({each: mail for each, mail in found.items() if mail is not None})

    def mail(self, message_id: int) -> QueuedMail | None:
        if message_id in self.gone:
            return None
        return QueuedMail(
            mail_id=f"MAIL{message_id}",
            sender="alice@example.test",
            prefix=b"Received: here\r\n",
            body=RAW,
            size_octets=len(RAW),
            digest=b"",
            dot_lines=1,
            received_at=BEGAN,
            smtputf8=False,
        )

    def names(self) -> list[str]:
        return [event.name for event in self.events]


@define(eq=False)
class People:
    """example.test is ours, and alice lives there."""

    routes: dict[str, Route] = field(factory=dict)
    providers: dict[int, SendAs] = field(factory=dict)
    stays: set[str] = field(factory=set)
    first_domain: str | None = "example.test"

    def is_local(self, domain: str) -> bool:
        return domain == "example.test"

    def expand(self, address: Address, limit: int = 1000) -> tuple[Recipient | Remote, ...]:
        return (Recipient(address, 1, str(address)),)

    def may_leave(self, address: Address) -> bool:
        return address.domain not in self.stays

    def route_for(self, address: Address) -> Route:
        return self.routes.get(str(address)) or self.routes.get(address.domain) or BY_MX

    def send_as_by_id(self, number: int) -> SendAs | None:
        return self.providers.get(number)


@define(eq=False)
class ScriptedSession:
    """One connection to a host of the script."""

    hop: Hop
    outside: Outside
    usable: bool = True
    tls: str = "TLSv1.3 X"
    tls_note: str = ""
    dsn: bool = False
    aborted: bool = False
    quits: int = 0

    @property
    def host(self) -> str:
        return self.hop.host

    @property
    def address(self) -> str:
        return self.hop.address

    async def send(self, outgoing: Outgoing, still_ours: Callable[[], bool]) -> list[Answer]:
        self.outside.sent.append((self, outgoing))
        hold = self.outside.hold
        if hold is not None:
            await hold
        answers = [self.outside.answer_to(self, each.address) for each in outgoing.targets]
        if any(answer.code in (0, 421) for answer in answers):
            self.usable = False
        return answers

    async def quit(self) -> None:
        self.quits += 1
        self.usable = False

    def abort(self) -> None:
        self.aborted, self.usable = True, False


@define(eq=False)
class Outside:
    """All other hosts.

    Attributes:
        answers: by recipient, the answers of its attempts in order; the last one stays. OK unless
            it is named.
        down: addresses where nobody answers.
        hold: mails wait for this before they are answered.
        greeting: connections wait for this before they are greeted.
    """

    answers: dict[str, list[Answer]] = field(factory=dict)
    down: dict[str, Answer] = field(factory=dict)
    sent: list[tuple[ScriptedSession, Outgoing]] = field(factory=list)
    connects: list[tuple[Hop, TlsPolicy, Login | None]] = field(factory=list)
    sessions: list[ScriptedSession] = field(factory=list)
    hold: Deferred[None] | None = None
    greeting: Deferred[None] | None = None

    async def connect(
        self, hop: Hop, policy: TlsPolicy, login: Login | None = None
    ) -> ScriptedSession:
        self.connects.append((hop, policy, login))
        if self.greeting is not None:
            await self.greeting
        if hop.address in self.down:
            raise CannotSend(self.down[hop.address])
        session = ScriptedSession(hop, self)
        self.sessions.append(session)
        return session

    def answer_to(self, session: ScriptedSession, address: str) -> Answer:
        answers = self.answers.get(address, [OK])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @property
    def reached(self) -> list[str]:
        return [target.address for _, outgoing in self.sent for target in outgoing.targets]


@define(eq=False)
class FewWays:
    """Each domain's hosts, by name; two addresses each unless said."""

    hosts: dict[str, list[str]] = field(factory=dict)
    faults: dict[str, Exception] = field(factory=dict)

    async def by_route(self, route: Route, domain: str) -> list[Way]:
        if domain in self.faults:
            raise self.faults[domain]
        if route.kind != "mx":
            return [Way(Hop(route.host, route.host, route.port), TlsPolicy(source="route"))]
        return [
            Way(Hop(f"mx.{domain}", address, 25), TlsPolicy())
            for address in self.hosts.get(domain, [f"mx.{domain}"])
        ]

    async def by_provider(self, send_as: SendAs) -> list[Way]:
        login = Login(send_as.user, "secret")
        return [Way(Hop(send_as.host, send_as.host, send_as.port), TlsPolicy("verify"), login)]


class RelayHouse:
    """A relay and all around it, at `BEGAN`."""

    def __init__(self, settings: OutboundSettings | None = None) -> None:
        self.clock = Clock()
        self.queue, self.people, self.outside = ListQueue(), People(), Outside()
        self.ways = FewWays()
        self.settings = settings or OutboundSettings()
        leases: Any = Leases(self.clock, self.queue, self.now, "here")  # type: ignore[arg-type]
        self.pool = Pool(
            self.outside,  # type: ignore[arg-type]
            self.clock,
            self.now,
            self.settings.connections,
            rest_s(self.settings),
        )
        self.delivery = Delivery(
            leases=leases,
            queue=self.queue,  # type: ignore[arg-type]
            directory=self.people,  # type: ignore[arg-type]
            ways=self.ways,  # type: ignore[arg-type]
            pool=self.pool,
            reports=Reports(self.people, "mx.example.test"),
            settings=self.settings,
            now=self.now,
            open_blob=lambda key: None,
            random=lambda: 0.5,
        )
        self.relay = Relay(self.clock, self.queue, leases, self.delivery)  # type: ignore[arg-type]

    def now(self) -> float:
        return BEGAN + self.clock.seconds()

    def start(self, *rows: Leased) -> None:
        self.queue.rows += rows
        started = Deferred.fromCoroutine(self.relay.start())
        assert started.called and started.result is None, started

    def add(self, *rows: Leased) -> None:
        """Commit rows while it runs, each a mail; what the relay claims it has at once."""
        self.queue.rows += rows
        waiting, begun = set[Key](), list[Begun]()
        claims, taken = self.relay.claims, Counter[Key]()
        for each in rows:
            key = each.domain, each.send_as
            mail = self.queue.mail(each.message_id)
            if mail is not None and taken[key] < claims.rows.get(key, 0):
                taken[key] += 1
                self.queue.leased[each.queue_id] = claims.by, claims.until()
                begun.append(Begun((each,), mail, claims.until()))
            else:
                waiting.add(key)
        self.relay.queued(waiting, begun)

    def pass_s(self, seconds: float, step_s: float = 10.0) -> None:
        for _ in range(math.ceil(seconds / step_s)):
            self.clock.advance(step_s)
