"""Strangers, judged before their mail is read: what all visits of a process share."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from mailnode.addresses import Address, ip_address
from mailnode.arrival.paces import Paces
from mailnode.arrival.rules import PACE, Pace, Rules
from mailnode.arrival.visit import Visit
from mailnode.interfaces import IResolver
from mailnode.reading.domains import registrable
from mailnode.settings import ArrivalSettings

if TYPE_CHECKING:
    from mailnode.store.greylist import Greylist

MOST_SIGNED_IN = 10_000


def _is_no_domain_of_ours(domain: str) -> bool:
    return False


def _is_there(address: Address) -> bool:
    return True


@define(eq=False, kw_only=True)
class Arrival:
    """Where strangers come in.

    Attributes:
        resolver: one of its own: a crowd of strangers mustn't hold up what the relay looks up.
        paces: what came within the last hour.
        greylist: who is to come again; None for none.
        is_ours: whether a domain is this node's name, or one whose mail it takes.
        is_there: whether an address here leads anywhere; if not, that is what its sender is told.
        counts: (check, what became of a stranger for it) to how often.
    """

    clock: IReactorTime
    resolver: IResolver
    paces: Paces = field(factory=Paces)
    greylist: Greylist | None = None
    is_ours: Callable[[str], bool] = _is_no_domain_of_ours
    is_there: Callable[[Address], bool] = _is_there
    rules: Rules = field(factory=Rules)
    counts: Counter[tuple[str, str]] = field(factory=Counter, init=False)
    _signed_in: OrderedDict[str, None] = field(factory=OrderedDict, init=False)

    def apply(self, settings: ArrivalSettings) -> None:
        """Take up settings; visits that have begun keep those before."""
        self.rules = Rules.of(settings)
        if self.rules.domain_lists:
            registrable("example.org")  # its table is read now, and not while strangers wait

    def visit(self, client: str, loopback: bool) -> Visit | None:
        """A connection's, whose look-ups begin; None for who is no stranger.

        Where somebody signed in from that address lately they wait for its first MAIL: he is
        likely to sign in again, and then there is nothing to look up.
        """
        rules = self.rules
        if loopback or rules.asks_nothing:
            return None
        try:
            ip_address(client)
        except ValueError:  # a test's, a socket's of another kind
            return None
        if rules.knows(client):
            return None
        made = Visit(self, rules, client)
        if client not in self._signed_in:
            made.enquiry.begin()
        return made

    def signed_in(self, client: str) -> None:
        """Who is there is no stranger."""
        self._signed_in[client] = None
        self._signed_in.move_to_end(client)
        if len(self._signed_in) > MOST_SIGNED_IN:
            self._signed_in.popitem(last=False)

    def take(self, pace: Pace, key: str) -> float:
        """Count one in at a pace: how long it would have to wait; 0 where it was counted."""
        wait_s = self.paces.take(f"{pace.what} {pace.of} {key}", pace.rate, self.clock.seconds())
        if wait_s:
            self.count(PACE, "put-off")
        return wait_s

    def count(self, check: str, result: str) -> None:
        self.counts[check, result] += 1

    def told(self) -> Mapping[str, int]:
        """The counts, by labels of a metric."""
        return {
            f'check="{check}",result="{result}"': count
            for (check, result), count in self.counts.items()
        }
