"""From which networks the owners of accounts signed in lately, as digests that tell nobody."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

from attrs import define, field

from mailnode.machine import network_of

MOST_OF_AN_ACCOUNT = 50
NOTED_EVERY_S = 86400.0

KnownRow = tuple[int, bytes, float]


@define(eq=False)
class Known:
    """Times are UTC epoch seconds, exact to a day."""

    _secret: bytes = field(repr=False)
    _of_account: dict[int, OrderedDict[bytes, float]] = field(factory=dict, init=False)
    _accounts_there: Counter[bytes] = field(factory=Counter, init=False)

    def key_of(self, client: str) -> bytes:
        network = network_of(client).encode("utf-8", "replace")
        return blake2b(network, digest_size=16, key=self._secret, person=b"known").digest()

    def knows(self, account_id: int | None, key: bytes, since: float) -> bool:
        """Whether the account signed in there since then."""
        networks = self._of_account.get(account_id) if account_id is not None else None
        at = networks.get(key) if networks is not None else None
        return at is not None and at > since

    def anybody(self, key: bytes) -> bool:
        """Whether any account is known there."""
        return self._accounts_there[key] > 0

    def note(self, account_id: int, key: bytes, at: float) -> bool:
        """It signed in there; whether that is news."""
        networks = self._of_account.setdefault(account_id, OrderedDict())
        before = networks.get(key)
        if before is not None and 0 <= at - before < NOTED_EVERY_S:
            return False
        if before is None:
            self._accounts_there[key] += 1
        networks[key] = at
        networks.move_to_end(key)
        if len(networks) > MOST_OF_AN_ACCOUNT:
            oldest, _ = networks.popitem(last=False)
            self._leave(oldest)
        return True

    def take(self, rows: Iterable[KnownRow]) -> None:
        """(account id, key, when) of each, the oldest first."""
        for account_id, key, at in rows:
            self.note(account_id, key, at)

    def rows(self) -> list[KnownRow]:
        """As `take` has them."""
        return [
            (account_id, key, at)
            for account_id, networks in self._of_account.items()
            for key, at in networks.items()
        ]

    def forget_account(self, account_id: int) -> None:
        for key in self._of_account.pop(account_id, {}):
            self._leave(key)

    def trim(self, before: float) -> None:
        """What is older is forgotten."""
        for account_id, networks in list(self._of_account.items()):
            for key in [key for key, at in networks.items() if at <= before]:
                del networks[key]
                self._leave(key)
            if not networks:
                del self._of_account[account_id]

    def _leave(self, key: bytes) -> None:
        self._accounts_there[key] -= 1
        if not self._accounts_there[key]:
            del self._accounts_there[key]
