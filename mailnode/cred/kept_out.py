"""Who is kept out: networks that an administrator banned, and addresses that guessed too often."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from mailnode.machine import plain_address

MOST_GUESSERS = 20_000
MOST_SEEN = 1_000  # guesses of one that are told from each other
FORGIVEN_S = 7 * 86400.0  # behind the end of a block, the next is as short as the first

GuesserRow = tuple[str, int, int, float, float, int]


class Ban(Protocol):
    """What an administrator said.

    Attributes:
        network: in its usual form, "192.0.2.0/24".
        until: UTC epoch seconds; None until it is lifted.
    """

    @property
    def network(self) -> str: ...
    @property
    def until(self) -> float | None: ...


@define(eq=False)
class Bans:
    """Found by address, however many there are: one look for each length of a prefix."""

    _by_prefix: dict[tuple[int, int], dict[int, Ban]] = field(factory=dict, init=False)

    def replace(self, bans: Iterable[Ban]) -> None:
        """These and no others."""
        self._by_prefix = {}
        for ban in bans:
            network = ipaddress.ip_network(ban.network)
            length = network.prefixlen
            begin = int(network.network_address) >> (network.max_prefixlen - length)
            self._by_prefix.setdefault((network.version, length), {})[begin] = ban

    def __len__(self) -> int:
        return sum(map(len, self._by_prefix.values()))

    def find(self, client: str, now: float) -> Ban | None:
        """A ban that the address is under.

        Args:
            now: UTC epoch seconds.
        """
        if not self._by_prefix:
            return None
        try:
            address = ipaddress.ip_address(plain_address(client))
        except ValueError:
            return None
        for (version, length), bans in self._by_prefix.items():
            if version == address.version:
                ban = bans.get(int(address) >> (address.max_prefixlen - length))
                if ban is not None and (ban.until is None or now < ban.until):
                    return ban
        return None


@define(eq=False)
class Guesser:
    """An address, for all accounts or for one.

    Attributes:
        began_s: when its window did, on the clock.
        guesses: in the window, the same one counted once.
        until_s: it is blocked; in the past for one that isn't.
        times: how often it was.
    """

    began_s: float
    guesses: int = 0
    seen: set[bytes] = field(factory=set)
    until_s: float = 0.0
    times: int = 0


@define(eq=False)
class Guessers:
    """Those who failed last.

    A key is (address, account id), the id 0 for all accounts.
    """

    _clock: IReactorTime
    _all: OrderedDict[tuple[str, int], Guesser] = field(factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._all)

    def add(self, key: tuple[str, int], guess: bytes | None, window_s: float) -> int:
        """A failure; how many guesses that makes in the window.

        Args:
            guess: what tells it from others; the same again is a program with an old password.
        """
        now = self._clock.seconds()
        guesser = self._all.get(key)
        if guesser is None:
            guesser = self._all[key] = Guesser(now)
        elif now - guesser.began_s >= window_s:
            guesser.began_s, guesser.guesses = now, 0
            guesser.seen.clear()
        self._touch(key)
        if guess is None or guess not in guesser.seen:
            guesser.guesses += 1
            if guess is not None and len(guesser.seen) < MOST_SEEN:
                guesser.seen.add(guess)
        return guesser.guesses

    def block(self, key: tuple[str, int], first_s: float, longest_s: float) -> float:
        """It is blocked from now on; for how long."""
        now, guesser = self._clock.seconds(), self._all[key]
        if guesser.times and now - guesser.until_s > FORGIVEN_S:
            guesser.times = 0
        for_s = min(longest_s, first_s * 2.0 ** min(guesser.times, 40))
        guesser.times += 1
        guesser.until_s = now + for_s
        guesser.began_s, guesser.guesses = now, 0
        guesser.seen.clear()
        return for_s

    def left_s(self, key: tuple[str, int]) -> float:
        """How long it is blocked for; 0 where it isn't."""
        guesser = self._all.get(key)
        return max(0.0, guesser.until_s - self._clock.seconds()) if guesser is not None else 0.0

    def set_block(self, key: tuple[str, int], left_s: float, times: int) -> None:
        """As the process decided that decides for all; 0: it is lifted."""
        now = self._clock.seconds()
        guesser = self._all.setdefault(key, Guesser(now))
        guesser.until_s, guesser.times = now + left_s, times
        self._touch(key)

    def blocked(self) -> list[tuple[str, int]]:
        now = self._clock.seconds()
        return [key for key, one in self._all.items() if one.until_s > now]

    def lift(self, key: tuple[str, int]) -> None:
        """It begins anew."""
        self._all.pop(key, None)

    def forget_account(self, account_id: int) -> None:
        for key in [each for each in self._all if each[1] == account_id]:
            del self._all[key]

    def rows(self, keys: Iterable[tuple[str, int]], now: float) -> list[GuesserRow]:
        """(address, account id, guesses, window's begin, blocked until, times), UTC epoch seconds.

        Args:
            now: UTC epoch seconds.
        """
        ahead_s = now - self._clock.seconds()
        return [
            (*key, one.guesses, one.began_s + ahead_s,
             one.until_s + ahead_s if one.times else 0.0, one.times)
            for key, one in ((key, self._all.get(key)) for key in keys)
            if one is not None
        ]  # fmt: skip

    def take(self, rows: Iterable[GuesserRow], now: float) -> None:
        """Know what `rows` told, of another process or of one before."""
        ahead_s = now - self._clock.seconds()
        for address, account_id, guesses, began_at, until, times in rows:
            began_s = min(began_at - ahead_s, self._clock.seconds())
            self._all[address, account_id] = Guesser(
                began_s, guesses, until_s=until - ahead_s, times=times
            )

    def _touch(self, key: tuple[str, int]) -> None:
        self._all.move_to_end(key)
        if len(self._all) > MOST_GUESSERS:
            self._all.popitem(last=False)
