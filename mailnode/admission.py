"""Who may be connected: counts, the one sweep timer of all sessions, and the stop."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailnode.machine import address_key

SWEEP_S = 1.0

_log = Logger()


class Session(Protocol):
    """What the sweep asks of a connection."""

    account: str
    peer_host: str
    began_s: float

    @property
    def token_id(self) -> int | None: ...
    def tls_name(self) -> str: ...
    def sweep(self, now: float) -> None: ...
    def drain(self) -> None: ...
    def abort(self) -> None: ...
    def revoke(self) -> None: ...


@frozen
class Connected:
    """A session as it is now.

    Attributes:
        client: the address of the other end, "" for a Unix socket.
        account: who is signed in, "" for nobody.
        tls: version and cipher, "" in clear.
        for_s: how long it is there.
    """

    client: str
    account: str
    tls: str
    for_s: float


@define(eq=False)
class Sessions:
    """The open sessions of one server.

    One timer looks at all of them each second, so that a chunk of input costs a time stamp
    and no timer of its own.

    Attributes:
        most: sessions in all.
        most_per_address: from one client address; loopback is exempt.
        most_together: of all that `everybody` counts, other servers' too; None for no such limit.
        draining: True once the node stops: nobody else comes in.
        turned_away: connections refused for a limit.
    """

    clock: IReactorTime
    most: int = 20000
    most_per_address: int = 50
    most_together: int | None = field(default=None, init=False)
    everybody: Callable[[], int] = field(default=lambda: 0, init=False)
    draining: bool = field(default=False, init=False)
    accepted: int = field(default=0, init=False)
    turned_away: int = field(default=0, init=False)
    _open: dict[Session, str] = field(factory=dict, init=False)
    _per_address: Counter[str] = field(factory=Counter, init=False)
    _empty: Deferred[None] | None = field(default=None, init=False)
    _timer: LoopingCall | None = field(default=None, init=False)
    _turns: deque[Callable[[None], object]] = field(factory=deque, init=False)

    def __len__(self) -> int:
        return len(self._open)

    def connected(self, most: int) -> list[Connected]:
        """Those that are open, the oldest first, no more than so many."""
        now = self.clock.seconds()
        return [
            Connected(each.peer_host, each.account, each.tls_name(), max(0.0, now - each.began_s))
            for each in islice(self._open, most)
        ]

    def admit(self, session: Session, host: str, loopback: bool) -> bool:
        """Count a new session in, or say that there are too many; a /64 is one address."""
        host = address_key(host)
        full = self.draining or len(self._open) >= self.most
        full = full or (self.most_together is not None and self.everybody() >= self.most_together)
        if full or (not loopback and self._per_address[host] >= self.most_per_address):
            self.turned_away += 1
            return False
        self.accepted += 1
        self._open[session] = host
        self._per_address[host] += 1
        return True

    def leave(self, session: Session) -> None:
        """A session's connection is gone; one that was never admitted is passed over."""
        host = self._open.pop(session, None)
        if host is None:
            return
        self._per_address[host] -= 1
        if not self._per_address[host]:
            del self._per_address[host]
        if self._empty is not None and not self._open:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def wait_for_turn(self, go_on: Callable[[None], object]) -> None:
        """A session with much to do goes on after those that wait already.

        One of them in a round of the reactor: a crowd of them delays the others by one turn.
        """
        self._turns.append(go_on)
        if len(self._turns) == 1:
            self.clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        go_on = self._turns.popleft()
        if self._turns:
            self.clock.callLater(0, self._next_turn)
        go_on(None)

    def revoke(self, changed: Callable[[str], bool]) -> None:
        """End the sessions whose signed-in account has changed."""
        for session in list(self._open):
            if session.account and changed(session.account):
                session.revoke()

    def tokens(self) -> set[int]:
        """The app passwords by which somebody is signed in."""
        return {each.token_id for each in self._open if each.token_id is not None}

    def revoke_tokens(self, token_ids: Collection[int]) -> None:
        """End the sessions that signed in by one of these app passwords."""
        for session in list(self._open):
            if session.token_id in token_ids:
                session.revoke()

    def start(self) -> None:
        self._timer = LoopingCall(self.sweep)
        self._timer.clock = self.clock
        self._timer.start(SWEEP_S, now=False)

    def sweep(self) -> None:
        """Let every session look at its clocks."""
        now = self.clock.seconds()
        for session in list(self._open):
            try:
                session.sweep(now)
            except Exception:
                _log.failure("a session could not be swept, it is aborted")
                session.abort()

    def drain(self) -> Deferred[None]:
        """Tell every session that the node stops; fires when the last one is gone."""
        self.draining = True
        for session in list(self._open):
            session.drain()
        gone: Deferred[None] = Deferred()
        if self._open:
            self._empty = gone
        else:
            gone.callback(None)
        return gone

    def stop(self) -> None:
        """End what is left, and the timer."""
        for session in list(self._open):
            session.abort()
        if self._timer is not None and self._timer.running:
            self._timer.stop()
