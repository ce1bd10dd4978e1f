"""What a process keeps in memory, as it must be where others share the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field

from mailnode.admission import Session, Sessions
from mailnode.bell import Bell
from mailnode.machine import address_key
from mailnode.smtp.allowance import Allowance

if TYPE_CHECKING:
    from mailnode.workers.counts import Counts


@define(eq=False)
class SharedSessions(Sessions):
    """Sessions of one worker, admitted by the limits of the node.

    Attributes:
        most_of_all: sessions with all workers together; `most` are for this one.
    """

    counts: Counts = field(kw_only=True)
    worker: int = field(kw_only=True)
    server: str = field(kw_only=True)
    most_of_all: int = field(default=20000, kw_only=True)

    def admit(self, session: Session, host: str, loopback: bool) -> bool:
        """As `Sessions.admit`; of two that come at the limit at once both may be refused."""
        address = address_key(host)
        self.counts.add(self.worker, self.server, address, 1)
        full = self.counts.total(self.server) > self.most_of_all
        if not loopback:
            count = self.counts.of_address(self.server, address)
            full = full or count > self.most_per_address
        if full:
            self.turned_away += 1
        if full or not super().admit(session, host, loopback):
            self.counts.add(self.worker, self.server, address, -1)
            return False
        return True

    def leave(self, session: Session) -> None:
        address = self._open.get(session)
        super().leave(session)
        if address is not None:
            self.counts.add(self.worker, self.server, address, -1)


@define(eq=False)
class SharedAllowance(Allowance):
    """What accounts may send with all workers together; their clocks tell the same time."""

    counts: Counts = field(kw_only=True)

    def _give_back(self, account_id: int, cost_s: float) -> None:
        self.counts.change_bucket(account_id, lambda full_at: full_at - cost_s)

    def _take(self, account_id: int, now: float, cost_s: float) -> float:
        wait_s = 0.0

        def pay(full_at: float) -> float:
            nonlocal wait_s
            paid, wait_s = self._after(full_at, now, cost_s)
            return full_at if wait_s else paid

        self.counts.change_bucket(account_id, pay)
        return wait_s


@define(eq=False)
class PassedBell(Bell):
    """A bell that is heard in the other processes, too.

    Attributes:
        pass_on: tells them.
    """

    pass_on: Callable[[str], object] = field(default=lambda topic: None, kw_only=True)

    def ring(self, topic: str) -> None:
        self.ring_here(topic)
        self.pass_on(topic)

    def ring_here(self, topic: str) -> None:
        """It was rung elsewhere."""
        super().ring(topic)
