"""The audit stream as a process of the node writes it: what is told within a second is one append.

No stranger can fill a disk through it: past ten failures a minute from an address, or thirty in
all, the rest of the minute is one line. Neither can a mail program that looks every minute: that an
account signed in is told once an hour for each address and way, and then how often it did again.
Nor can somebody who has an account: its sign-ins past sixty an hour, wherever from, are one line.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.audited import AGAIN, Actor, Entry
from mailnode.events import Banned, Event, SignedIn, SignInFailed
from mailnode.machine import address_key
from mailnode.settings import AuditSettings
from mailnode.store.audit_file import AuditFile
from mailnode.store.audit_lines import stamp
from mailnode.threads import Threads

MOST_WAITING = 10_000
FAILURES_OF_ADDRESS = 10  # a minute
FAILURES_OF_ALL = 30
MOST_ADDRESSES = 1_000
MOST_NAMED = 5
SUMMED_S = 3600.0
SIGN_INS_OF_ACCOUNT = 60  # within SUMMED_S
MOST_SUMMED = 10_000
WEB = "web"

_log = Logger(namespace="mailnode")


def entry_of(event: Event) -> Entry:
    """What the stream says of an event that is audited."""
    detail = dict(event.detail)
    if isinstance(event, Banned):  # by the node itself, for guessing
        detail.pop("by", None)
        return Entry(event.name, detail={"network": event.client} | detail, at=event.at)
    account = str(detail.pop("account", "") or detail.pop("name", ""))
    way = str(detail.pop("service", ""))
    if "token" in detail:
        way = f"{way} by {detail.pop('token')}".strip()
    by = str(detail.pop("by", ""))
    if not by and not isinstance(event, SignInFailed):  # whom it is about did it, in a browser
        by, way = account, way or (WEB if account else "")
    return Entry(event.name, account, Actor(by, way, event.client), detail, event.at)


@define(eq=False)
class _Failed:
    """Failures of a minute past those that are told."""

    entries: int = 0
    addresses: Counter[str] = field(factory=Counter)

    def add(self, address: str) -> None:
        self.entries += 1
        if address in self.addresses or len(self.addresses) < MOST_ADDRESSES:
            self.addresses[address] += 1

    def entry(self, at: float) -> Entry:
        most = [address for address, _count in self.addresses.most_common(MOST_NAMED)]
        count = len(self.addresses)
        detail = {"failures": self.entries, "addresses": count, "most_from": most}
        return Entry("sign-ins-failed", detail=detail, at=at)


@define(eq=False)
class _Again:
    """Sign-ins like one that was told."""

    since: float
    last: Entry
    times: int = 0


@define(eq=False)
class Audit:
    """What one process tells.

    Attributes:
        file: the stream; who changes something in a thread appends by itself.
    """

    file: AuditFile
    _call_in_reactor: Callable[..., object]
    clock: IReactorTime
    _waiting: list[Entry] = field(factory=list, init=False)
    _told: Counter[str] = field(factory=Counter, init=False)
    _failed: _Failed = field(factory=_Failed, init=False)
    _minute: int = field(default=0, init=False)
    _again: OrderedDict[tuple[str, str, str], _Again] = field(factory=OrderedDict, init=False)
    _sign_ins: Counter[str] = field(factory=Counter, init=False)
    _hour: int = field(default=0, init=False)
    _threads: Threads = field(init=False)
    _writing: Deferred[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._threads = Threads(self._call_in_reactor, most_threads=1)

    def hear(self, event: Event) -> None:
        """An event that is audited."""
        if isinstance(event, SignInFailed) or "failures" in event.detail:  # who guessed is blocked
            self._hear_failure(event)
        elif isinstance(event, SignedIn):
            self._hear_sign_in(entry_of(event))
        else:
            self.tell(entry_of(event))

    def tell(self, entry: Entry) -> None:
        """It is in the stream within a second or so."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(entry)
        else:
            self.file.lose(1, "too many wait")

    def _hear_failure(self, event: Event) -> None:
        self._look_at_minute()
        address = address_key(event.client)
        told = self._told
        if (
            sum(told.values()) < FAILURES_OF_ALL
            and told[address] < FAILURES_OF_ADDRESS
            and len(told) < MOST_ADDRESSES
        ):
            told[address] += 1
            self.tell(entry_of(event))
        else:
            self._failed.add(address)

    def _hear_sign_in(self, entry: Entry) -> None:
        key = entry.account, entry.actor.way, entry.actor.client
        if key not in self._again and not self._has_line_left(entry.account):
            key = entry.account, "", ""
        elif entry.actor.way == WEB:
            self.tell(entry)
            return
        again = self._again.get(key)
        if again is not None and 0 <= entry.at - again.since < SUMMED_S:
            again.last, again.times = entry, again.times + 1
            return
        if again is not None:
            self._sum_up(key)
        elif len(self._again) >= MOST_SUMMED:
            self._sum_up(next(iter(self._again)))
        self._again[key] = _Again(entry.at, entry)
        self.tell(entry)

    def _has_line_left(self, account: str) -> bool:
        hour = int(self.clock.seconds() // SUMMED_S)
        if hour != self._hour:
            self._hour = hour
            self._sign_ins.clear()
        self._sign_ins[account] += 1
        return self._sign_ins[account] <= SIGN_INS_OF_ACCOUNT

    def _sum_up(self, key: tuple[str, str, str]) -> None:
        """Told at the time when it is told: the lines of the stream are in the order of theirs."""
        again = self._again.pop(key)
        if again.times:
            detail = {**again.last.detail, "times": again.times, "last": stamp(again.last.at)}
            at = max(self.file.now(), again.last.at)
            self.tell(evolve(again.last, event=AGAIN, detail=detail, at=at))

    def each_second(self) -> None:
        """What waits is written; what is over is summed."""
        self._look_at_minute()
        self.flush()

    def _look_at_minute(self) -> None:
        minute = int(self.clock.seconds() // 60)
        if minute != self._minute:
            self._minute = minute
            self._end_minute()

    def _end_minute(self) -> None:
        self._told.clear()
        failed, self._failed = self._failed, _Failed()
        if failed.entries:
            self.tell(failed.entry(self.file.now()))
        now = self.file.now()
        for key in [key for key, each in self._again.items() if now - each.since >= SUMMED_S]:
            self._sum_up(key)

    def flush(self) -> Deferred[None]:
        """What waits is in the stream once it fires, or is counted as lost."""
        if self._writing is not None or not self._waiting:
            return self._writing or succeed(None)
        waiting, self._waiting = self._waiting, []
        self._writing = writing = Deferred[None]()
        written = self._threads.run(self.file.keep, waiting)
        written.addErrback(self._not_written, len(waiting))
        written.addBoth(self._wrote, writing)
        return writing

    def _not_written(self, failure: Failure, count: int) -> None:
        self.file.lose(count, str(failure.value))

    def _wrote(self, _: object, writing: Deferred[None]) -> None:
        self._writing = None
        writing.callback(None)

    def prune(self, settings: AuditSettings) -> None:
        """In its thread; what fails is tried again with the next."""
        pruned = self._threads.run(self.file.prune, settings.keep, settings.size)
        pruned.addErrback(
            lambda failure: _log.warn("the audit stream stays: {error}", error=failure.value)
        )

    async def stop(self) -> None:
        """All that was told is written."""
        self._end_minute()
        for key in list(self._again):
            self._sum_up(key)
        while self._waiting or self._writing is not None:
            await self.flush()
        await self._threads.run(_nothing)  # a pruning may be under way
        self._threads.stop()


def _nothing() -> None:
    """What was begun before is done."""
