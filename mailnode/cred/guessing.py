"""What guessing costs who guesses, and nobody else.

A failure is answered late, the later the more there were of the address and of the name. An
address that goes on is blocked, for longer each time. A right password is late only where
guesses of it are still to be answered, and never because of others where its owner signed in
lately: so nobody is locked out from elsewhere.

Nothing here waits, reads or writes: `portal` waits, `guarding` keeps and tells.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from hashlib import blake2b

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from mailnode.cred.kept_out import Bans, GuesserRow, Guessers
from mailnode.cred.known import Known, KnownRow
from mailnode.machine import address_key, is_loopback, plain_address
from mailnode.settings import GuessingSettings

FIRST_DELAY_S = 0.5
DECAY_S = 900.0
MOST_FAILURES = 6.0  # the sixth is past ten seconds; what counts on would only decay later
MOST_KEYS = 10_000
MOST_UNANSWERED = 10  # failures of an address or a name, from which on a right password waits, too
MOST_WAIT_HERE_S = 2.0  # for a right password of this machine, which has other ways to guess
GUESS_OCTETS = 8
FOR_EVER_S = 86400.0  # what is said of a ban that has no end

FailureRow = tuple[str, bytes, float, float]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@define(eq=False)
class Failures:
    """How often each key failed lately, for the 10,000 keys that failed last."""

    _clock: IReactorTime
    most_s: float = 10.0
    _counts: OrderedDict[bytes, tuple[float, float]] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._counts)

    def recent(self, key: bytes) -> float:
        """Failures that still count: each set fades to nothing in 15 minutes."""
        count, at = self._counts.get(key, (0.0, 0.0))
        return max(0.0, count * (1 - (self._clock.seconds() - at) / DECAY_S))

    def delay_s(self, key: bytes) -> float:
        """How long the next failure waits for its answer."""
        return float(min(self.most_s, FIRST_DELAY_S * 2 ** self.recent(key)))

    def add(self, key: bytes) -> None:
        self.take([(key, min(MOST_FAILURES, self.recent(key) + 1))])

    def told(self) -> list[tuple[bytes, float]]:
        """(key, failures that still count), the oldest first."""
        return [(key, self.recent(key)) for key in self._counts]

    def take(self, told: Iterable[tuple[bytes, float]]) -> None:
        """Know what another process told, or one before."""
        for key, count in told:
            self._counts[key] = (count, self._clock.seconds())
            self._counts.move_to_end(key)
            if len(self._counts) > MOST_KEYS:
                self._counts.popitem(last=False)


@define(eq=False)
class Unanswered:
    """Until when each key's failures wait for their answers, whether or not anybody is left to
    hear them.

    Args:
        enough: failures that must be waiting for anything else to wait.
    """

    _clock: IReactorTime
    _enough: int
    _until: OrderedDict[str, deque[float]] = field(factory=OrderedDict, init=False)

    def wait_s(self, key: str) -> float:
        """How long until the last is answered; 0 where fewer than enough wait."""
        now = self._clock.seconds()
        left = [until - now for until in self._until.get(key, ()) if until > now]
        return max(left) if len(left) >= self._enough else 0.0

    def add(self, key: str, delay_s: float) -> None:
        self._until.setdefault(key, deque(maxlen=self._enough)).append(
            self._clock.seconds() + delay_s
        )
        self._until.move_to_end(key)
        if len(self._until) > MOST_KEYS:
            self._until.popitem(last=False)


@frozen
class Asked:
    """Somebody who wants to sign in.

    Attributes:
        client: the address, "" for a Unix socket.
        name: what all spellings of the name share.
        account_id: whose name it is; None for nobody's.
        guess: tells one password from another; None where that can't be told.
    """

    client: str
    name: str
    account_id: int | None = None
    guess: bytes | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return address_key(self.client)


@frozen
class Blocked:
    """An address guessed too often.

    Attributes:
        account_id: 0 for all accounts; else only this one's right password counts no more.
        times: how often it was blocked, this one included.
    """

    address: str
    account_id: int
    for_s: float
    times: int


@define(eq=False)
class Fresh:
    """What is not kept yet."""

    failures: set[tuple[str, bytes]] = field(factory=set)
    guessers: set[tuple[str, int]] = field(factory=set)
    known: dict[tuple[int, bytes], float] = field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.failures or self.guessers or self.known)


def _nobody_hears(_told: object) -> None:
    pass


@define(eq=False)
class Guesses:
    """All that a process knows of them.

    Args:
        now: UTC epoch seconds.
        secret: of the digests; the same for all processes and after a restart.
        decides: whether addresses are blocked here; another process of the node says it, else.

    Attributes:
        turned_away: sign-ins and connections that were, for a block or a ban.
        on_failed, on_known, on_blocked: hear of what is new here.
    """

    clock: IReactorTime
    now: Callable[[], float] = time.time
    secret: bytes = field(factory=lambda: os.urandom(32), repr=False)
    decides: bool = True
    rules: GuessingSettings = field(factory=lambda: GuessingSettings(failures=0), init=False)
    bans: Bans = field(factory=Bans, init=False)
    addresses: Failures = field(init=False)
    names: Failures = field(init=False)
    guessers: Guessers = field(init=False)
    known: Known = field(init=False)
    turned_away: int = field(default=0, init=False)
    on_failed: Callable[[Asked], object] = field(default=_nobody_hears, init=False)
    on_known: Callable[[tuple[int, str]], object] = field(default=_nobody_hears, init=False)
    on_blocked: Callable[[Blocked], object] = field(default=_nobody_hears, init=False)
    _never: tuple[Network, ...] = field(default=(), init=False)
    _unanswered_pair: Unanswered = field(init=False)  # of a name from an address
    _unanswered_there: Unanswered = field(init=False)
    _unanswered_name: Unanswered = field(init=False)
    _fresh: Fresh = field(factory=Fresh, init=False)

    def __attrs_post_init__(self) -> None:
        self.addresses, self.names = Failures(self.clock), Failures(self.clock)
        self.guessers, self.known = Guessers(self.clock), Known(self.secret)
        self._unanswered_pair = Unanswered(self.clock, 1)
        self._unanswered_there = Unanswered(self.clock, MOST_UNANSWERED)
        self._unanswered_name = Unanswered(self.clock, MOST_UNANSWERED)

    def apply(self, rules: GuessingSettings) -> None:
        """Take up settings."""
        self.rules = rules
        self.addresses.most_s = self.names.most_s = rules.delay
        self._never = tuple(map(ipaddress.ip_network, rules.never))

    # Judging

    def is_spared(self, client: str) -> bool:
        """Whether it is never blocked."""
        if is_loopback(client):
            return True
        try:
            address = ipaddress.ip_address(plain_address(client))
        except ValueError:
            return False
        return any(address in network for network in self._never)

    def closed_s(self, client: str) -> float:
        """How long nobody signs in from there, whatever his name; 0 for who may try.

        A blocked address where an account is known isn't closed: its owner may share it.
        """
        if self.is_spared(client):
            return 0.0
        ban = self.bans.find(client, self.now())
        if ban is not None:
            return FOR_EVER_S if ban.until is None else max(1.0, ban.until - self.now())
        left_s = self.guessers.left_s((address_key(client), 0))
        return 0.0 if left_s and self._is_anybodys(client) else left_s

    def turn_away(self, client: str) -> float:
        """`closed_s`, for a client that is told so and goes."""
        left_s = self.closed_s(client)
        self.turned_away += left_s > 0
        return left_s

    def blocked_s(self, asked: Asked) -> float:
        """How long its address is blocked, though it isn't closed."""
        return 0.0 if self.is_spared(asked.client) else self.guessers.left_s((asked.address, 0))

    def is_crowded(self, asked: Asked) -> bool:
        """Whether enough failures of its address are still to be answered."""
        return self._unanswered_there.wait_s(asked.address) > 0

    def lets_in(self, asked: Asked) -> bool:
        """Whether a right password counts."""
        if self.is_spared(asked.client):
            return True
        address = asked.address
        if asked.account_id is not None and self.guessers.left_s((address, asked.account_id)):
            return False
        return self.is_known(asked) or not self.guessers.left_s((address, 0))

    def is_known(self, asked: Asked) -> bool:
        """Whether the owner of the account signed in there lately."""
        if not self.rules.known:
            return False
        since = self.now() - self.rules.known
        return self.known.knows(asked.account_id, self.known.key_of(asked.client), since)

    def wait_s(self, asked: Asked) -> float:
        """How long a right password waits, that is no sooner answered than guesses before it."""
        address = asked.address
        wait_s = max(
            self._unanswered_pair.wait_s(_pair(address, asked.name)),
            self._unanswered_there.wait_s(address),
        )
        if is_loopback(asked.client):
            return min(wait_s, MOST_WAIT_HERE_S)
        if self.is_known(asked):
            return wait_s
        return max(wait_s, self._unanswered_name.wait_s(asked.name))

    def pace_s(self, asked: Asked) -> float:
        """How long the news that too many ask waits for one whose address failed lately: told at
        once, a guesser would ask again at once."""
        there = self._digest("address", asked.address)
        return self.addresses.delay_s(there) if self.addresses.recent(there) > 0.5 else 0.0

    def guess_of(self, name: str, password: bytes) -> bytes | None:
        """What tells it from another; it can't be turned back."""
        if not password:
            return None
        said = name.encode("utf-8", "replace") + b"\0" + password
        return blake2b(said, digest_size=GUESS_OCTETS, key=self.secret, person=b"guess").digest()

    def _is_anybodys(self, client: str) -> bool:
        return bool(self.rules.known) and self.known.anybody(self.known.key_of(client))

    # What happened here

    def failed(self, asked: Asked) -> float:
        """Count a failure; how long its answer waits."""
        delay_s = self.take_failed(asked)
        self.on_failed(asked)
        return delay_s

    def signed_in(self, asked: Asked) -> None:
        """The owner is there."""
        if asked.account_id is None or is_loopback(asked.client) or not self.rules.known:
            return
        if self.take_known(asked.account_id, asked.client):
            self.on_known((asked.account_id, asked.client))

    def bad_token(self, client: str, token: bytes) -> None:
        """A program showed one that lets nobody in: the same again is a program's, many are
        guesses."""
        self.failed(Asked(client, "", None, self.guess_of("", token)))

    # What happened here or in another process

    def take_failed(self, asked: Asked) -> float:
        """From now on this address and this name are slow, wherever it was that they failed."""
        address = asked.address
        there, who = self._digest("address", address), self._digest("name", asked.name)
        delay_s = max(self.addresses.delay_s(there), self.names.delay_s(who))
        self.addresses.add(there)
        self.names.add(who)
        self._fresh.failures |= {("address", there), ("name", who)}
        self._unanswered_pair.add(_pair(address, asked.name), delay_s)
        self._unanswered_there.add(address, delay_s)
        self._unanswered_name.add(asked.name, delay_s)
        if self.decides and self.rules.failures and not self.is_spared(asked.client):
            owns = asked.account_id is not None and self.is_known(asked)
            of_owner = who[:GUESS_OCTETS] if owns else None
            self._count((address, 0), asked.guess or of_owner)
            if asked.account_id is not None and owns:  # else the address does
                self._count((address, asked.account_id), asked.guess)
        return delay_s

    def _count(self, key: tuple[str, int], guess: bytes | None) -> None:
        """
        Args:
            guess: None where it may be another one or the same again, as a proof may that fits no
                password of before: it counts.
                So the owner's own program blocks its pair; at the address, which he shares, all
                of one account are one guess.
        """
        if self.guessers.left_s(key):
            return
        self._fresh.guessers.add(key)
        rules = self.rules
        if self.guessers.add(key, guess, rules.window) >= rules.failures:
            for_s = self.guessers.block(key, rules.block, rules.longest)
            ((*_, times),) = self.guessers.rows([key], self.now())
            self.on_blocked(Blocked(*key, for_s, times))

    def take_known(self, account_id: int, client: str) -> bool:
        """The owner signed in there; whether that is news."""
        key, at = self.known.key_of(client), self.now()
        news = self.known.note(account_id, key, at)
        if news:
            self._fresh.known[account_id, key] = at
        return news

    def take_blocked(self, blocked: Blocked) -> None:
        """Another process decided it; one for no time is lifted."""
        self.guessers.set_block((blocked.address, blocked.account_id), blocked.for_s, blocked.times)

    def forget_account(self, account_id: int) -> None:
        """Of a deleted account nothing is left."""
        self.known.forget_account(account_id)
        self.guessers.forget_account(account_id)
        self._fresh.known = {
            key: at for key, at in self._fresh.known.items() if key[0] != account_id
        }

    # What is kept

    def take(
        self,
        failures: Iterable[FailureRow] = (),
        guessers: Iterable[GuesserRow] = (),
        known: Iterable[KnownRow] = (),
    ) -> None:
        """Know what was kept, or is told by another process."""
        now = self.now()
        for what, key, count, at in failures:
            left = count * (1 - max(0.0, now - at) / DECAY_S)
            if left > 0:
                (self.addresses if what == "address" else self.names).take([(key, left)])
        latest = now + self.rules.longest  # whatever the wall's clock said meanwhile
        self.guessers.take([(*row[:4], min(row[4], latest), row[5]) for row in guessers], now)
        self.known.take(known)

    @property
    def is_changed(self) -> bool:
        """Whether there is anything new to keep."""
        return bool(self._fresh)

    def changed(self) -> tuple[list[FailureRow], list[GuesserRow], list[KnownRow]]:
        """Rows to keep of what is new since the last call, for `take`; of bounded number."""
        fresh, self._fresh = self._fresh, Fresh()
        now = self.now()
        failures = [(what, key, count, now) for what, key in fresh.failures
                    if (count := self._failures_of(what).recent(key))]  # fmt: skip
        return (
            failures,
            self.guessers.rows(fresh.guessers, now),
            [(account_id, key, at) for (account_id, key), at in fresh.known.items()],
        )

    def told(self) -> tuple[list[FailureRow], list[GuesserRow], list[KnownRow]]:
        """The same of all that is known but what another process reads itself, of owners."""
        now = self.now()
        failures = [(what, key, count, now) for what in ("address", "name")
                    for key, count in self._failures_of(what).told()]  # fmt: skip
        known = [(account_id, key, at) for (account_id, key), at in self._fresh.known.items()]
        return failures, self.guessers.rows(self.guessers.blocked(), now), known

    def _failures_of(self, what: str) -> Failures:
        return self.addresses if what == "address" else self.names

    def _digest(self, what: str, said: str) -> bytes:
        text = said.encode("utf-8", "replace")
        return blake2b(text, digest_size=16, key=self.secret, person=what.encode()).digest()


def _pair(address: str, name: str) -> str:
    return f"{address} {name}"
