"""The DNS as the node sees it: questions to a few servers, and what was answered is kept.

`records` reads an answer, `nameserver` carries one question to one server; here stands which
server is asked, how long an answer is believed, and that many may ask for the same thing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import dns.message
from attrs import Factory, define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from mailnode.background import Together
from mailnode.errors import LookupFailed, MailError, NoSuchName
from mailnode.failing import Failing
from mailnode.interfaces import IResolver
from mailnode.nameserver import NameServers, NoReply, Server
from mailnode.records import Parsed, Reading, Records, ServerFault, make_query, read_answer

__all__ = ["Cache", "LookupFailed", "NoSuchName", "Records", "Resolver", "read_resolv_conf"]

RESOLV_CONF = Path("/etc/resolv.conf")
LOOK_EVERY_S = 5.0  # at that file
MOST_SERVERS = 3
TRIES_S = (2.0, 5.0)  # how long each server has: all of them in turn, then all once more
SILENT_S = 30.0  # one that said nothing is asked behind the others for so long
FAILED_S = 5.0  # a failure is an answer, too, for so long
MOST_NAMES = 8  # of CNAMEs that lead from answer to answer
MOST_UNDER_WAY = 100
MOST_WAITING = 10_000
WAIT_S = 30.0

Ask = Callable[[Server, dns.message.Message, float], Awaitable[Parsed]]
Key = tuple[str, str]

_log = Logger()


def read_resolv_conf(path: Path = RESOLV_CONF) -> tuple[Server, ...]:
    """The servers that the system asks; without any, the one on this machine (resolv.conf(5))."""
    servers: list[Server] = []
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and len(servers) < MOST_SERVERS:
            try:
                servers.append(Server.parse(words[1]))
            except ValueError:
                _log.warn("{path}: {server} is no address", path=str(path), server=words[1])
    return tuple(servers) or (Server("127.0.0.1"),)


@frozen
class Kept:
    """An answer: records, or the class of the error; and until when it holds."""

    records: Records
    error: type[MailError] | None
    expires_at: float
    detail: str = ""

    def give(self, now: float) -> Records:
        """The records with the time that is left, or the error is raised."""
        if self.error is not None:
            raise self.error(detail=self.detail)
        kept = self.records
        left_s = self.expires_at - now
        return Records(kept.values, kept.authenticated, left_s, kept.name)

    @property
    def size_octets(self) -> int:
        """What it takes in memory, roughly."""
        return 300 + sum(100 + len(str(value)) for value in self.records.values)


@define(eq=False)
class Cache:
    """What was answered, until its time is over; what was used longest ago goes first."""

    most: int = 50_000
    most_octets: int = 16 * 1024 * 1024
    _kept: OrderedDict[Key, Kept] = field(factory=OrderedDict, init=False)
    _octets: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key, now: float) -> Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires_at <= now:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(self, key: Key, kept: Kept) -> None:
        if key in self._kept:
            self._forget(key)
        self._kept[key] = kept
        self._octets += kept.size_octets
        while len(self._kept) > self.most or self._octets > self.most_octets:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        self._octets -= self._kept.pop(key).size_octets

    def clear(self) -> None:
        self._kept.clear()
        self._octets = 0


def _in_thread_of(resolver: Resolver) -> Callable[..., Deferred[Any]]:
    reactor = resolver._reactor
    return lambda call, *args: deferToThreadPool(reactor, reactor.getThreadPool(), call, *args)


@implementer(IResolver)
@define(eq=False)
class Resolver:
    """Our `IResolver`.

    Args:
        servers: as the settings have them, `127.0.0.1:5353`; without any, those of
            /etc/resolv.conf, which is read again when it has changed.
        ask: asks one server; in a test, another.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.

    Attributes:
        counts: look-ups by how they ended: "kept" (answered from memory), "answered",
            "no-such-name", "failed".
        failing: look-ups that failed in a row, whatever was looked up.
    """

    _reactor: Any
    _given: Sequence[str] = ()
    cache: Cache = field(factory=Cache, kw_only=True)
    resolv_conf: Path = field(default=RESOLV_CONF, kw_only=True)
    _ask: Ask = field(
        default=Factory(lambda self: NameServers(self._reactor).ask, takes_self=True), kw_only=True
    )
    _in_thread: Callable[..., Deferred[Any]] = field(
        default=Factory(_in_thread_of, takes_self=True), kw_only=True
    )
    counts: Counter[str] = field(factory=Counter, init=False)
    failing: Failing = field(
        default=Factory(lambda self: Failing(self._reactor), takes_self=True), init=False
    )
    _servers: tuple[Server, ...] = field(init=False)
    _look_at: float = field(default=float("-inf"), init=False)
    _silent_until: dict[Server, float] = field(factory=dict, init=False)
    _under_way: Together = field(factory=Together, init=False)
    _room: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(MOST_UNDER_WAY), init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._servers = tuple(map(Server.parse, self._given))

    async def look_up(self, name: str, kind: str) -> Records:
        """What `name` has of one kind; see `IResolver`.

        Raises:
            NoSuchName, LookupFailed.
        """
        key = name.rstrip(".").lower(), kind
        now = self._reactor.seconds()
        kept = self.cache.find(key, now)
        if kept is not None:
            self.counts["kept"] += 1
        else:
            kept = await self._under_way.run(key, lambda: self._find(key))
            now = self._reactor.seconds()
        return kept.give(now)

    async def close(self) -> None:
        """No more is asked; who waits is told LookupFailed."""
        self._closed = True
        await self._under_way.close()

    async def _find(self, key: Key) -> Kept:
        """The answer to a question that nobody else asks now, whatever it is."""
        error: type[MailError] | None = None
        detail, records = "", Records()
        try:
            reading = await self._wait_and_ask(*key)
            self.failing.worked()
            records = reading.records
            if not reading.exists:
                error = NoSuchName
        except MailError as failed:
            error, detail = type(failed), failed.detail
            self.failing.failed(detail)
            records = Records(expires_in_s=FAILED_S)
        except CancelledError:
            error, detail = LookupFailed, "the node stops"
        result = "answered" if error is None else "failed"
        self.counts["no-such-name" if error is NoSuchName else result] += 1
        kept = Kept(records, error, self._reactor.seconds() + records.expires_in_s, detail)
        if records.expires_in_s > 0:
            self.cache.keep(key, kept)
        return kept

    async def _wait_and_ask(self, name: str, kind: str) -> Reading:
        if self._closed or len(self._room.waiting) >= MOST_WAITING:
            raise LookupFailed(detail="the node stops" if self._closed else "too many look-ups")
        acquired = self._room.acquire()
        if not acquired.called:
            try:
                await acquired.addTimeout(WAIT_S, self._reactor)
            except TimeoutError:
                raise LookupFailed(detail="too many look-ups") from None
        try:
            return await self._follow(name, kind)
        finally:
            self._room.release()

    async def _follow(self, name: str, kind: str) -> Reading:
        """Ask, and ask again for the name that a CNAME leads to when the answer ends there."""
        reading = await self._ask_servers(name, kind)
        authenticated, ttl_s = reading.records.authenticated, reading.records.expires_in_s
        for _ in range(MOST_NAMES):
            if reading.complete:
                break
            reading = await self._ask_servers(reading.records.name, kind)
            authenticated = authenticated and reading.records.authenticated
            ttl_s = min(ttl_s, reading.records.expires_in_s)
        else:
            raise LookupFailed(detail=f"{name}: CNAMEs without end")
        found = reading.records
        return Reading(Records(found.values, authenticated, ttl_s, found.name), reading.exists)

    async def _ask_servers(self, name: str, kind: str) -> Reading:
        faults: dict[Server, str] = {}
        for timeout_s in TRIES_S:
            silent = False
            for server in self._in_order(await self._find_servers()):
                try:
                    # Each with an id of its own: a late answer to another try isn't one.
                    answer = await self._ask(server, make_query(name, kind), timeout_s)
                    return read_answer(answer, trusted=server.loopback)
                except NoReply as error:
                    silent = True
                    self._silent_until[server] = self._reactor.seconds() + SILENT_S
                    faults[server] = str(error)
                except ServerFault as error:
                    faults[server] = str(error)
            if not silent:
                break  # they have all said that they can't
        told = "; ".join(f"{server}: {fault}" for server, fault in faults.items())
        raise LookupFailed(detail=f"{name} {kind}: {told}")

    def _in_order(self, servers: tuple[Server, ...]) -> list[Server]:
        now = self._reactor.seconds()
        return sorted(servers, key=lambda server: self._silent_until.get(server, now) > now)

    async def _find_servers(self) -> tuple[Server, ...]:
        """Those that were given, or those of the system as they are now."""
        now = self._reactor.seconds()
        if self._given or now < self._look_at:
            return self._servers
        if self._servers:  # the first ones all wait for the file, later ones use what is known
            self._look_at = now + LOOK_EVERY_S
        servers = await self._in_thread(read_resolv_conf, self.resolv_conf)
        self._look_at = now + LOOK_EVERY_S
        if servers != self._servers:
            self._servers = servers
            self._silent_until.clear()
            self.cache.clear()  # another network may answer otherwise, and be less to be trusted
        return self._servers
