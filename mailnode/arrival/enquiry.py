"""What is looked up of a stranger while the dialog goes on, and what it says of him.

A look-up has five seconds. What isn't known by then, or can't be known, speaks for the client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.addresses import Address
from mailnode.arrival.lists import Listing, ask_for_address, ask_for_domain, subjects_of
from mailnode.arrival.names import (
    BARE,
    ELSEWHERE,
    MALFORMED,
    NAMELESS,
    NO_HELO,
    NOWHERE,
    PRETENDS,
    UNCONFIRMED,
    UNKNOWN,
    judge_helo,
    judge_reverse,
)
from mailnode.arrival.refusals import TooMuch
from mailnode.arrival.rules import HELO, LISTS, OFF, PACE, REVERSE, Rules
from mailnode.dnslists import MOST_NAME, DnsList
from mailnode.errors import MailError

if TYPE_CHECKING:
    from mailnode.arrival.arrival import Arrival

LOOK_UP_S = 5.0
MOST_NAMES_AT_ONCE = 20  # of one client's, in HELO and MAIL
LOOKED_UP = frozenset((LISTS, REVERSE, HELO))
ADDRESS, SENDER = "address", "sender"  # whose listings; and HELO's

_log = Logger(namespace="mailnode")


@define(eq=False)
class Enquiry:
    """Of one client, who may name another HELO and another sender later.

    Attributes:
        client: his address.
        begun: whether anything is looked up: until then names are only noted.
        reverse, helo: as `names` says it; "" where it wasn't looked up, UNKNOWN while it is.
        reverse_name: what the DNS calls him, confirmed or not.
    """

    arrival: Arrival
    rules: Rules
    client: str
    begun: bool = field(default=False, init=False)
    reverse: str = field(default="", init=False)
    reverse_name: str = field(default="", init=False)
    helo: str = field(default="", init=False)
    _subjects: dict[str, str] = field(factory=dict, init=False)
    _listings: dict[str, dict[DnsList, Listing]] = field(factory=dict, init=False)
    _under_way: Counter[str] = field(factory=Counter, init=False)
    _waiting: list[tuple[frozenset[str], Deferred[None]]] = field(factory=list, init=False)

    # Looking up

    def begin(self) -> None:
        """His address is looked up, and from now on what he names."""
        if self.begun:
            return
        self.begun = True
        if self.rules.reverse != OFF:
            self._look_up(REVERSE, self._find_reverse())
        self._subjects[ADDRESS] = self.client
        for each in self.rules.address_lists:
            asking = ask_for_address(self._resolver, each, self.client, words=self._wants_words)
            self._look_up(LISTS, self._find_listing(each, ADDRESS, self.client, asking))
        if helo := self._subjects.pop(HELO, ""):
            self.name_helo(helo)

    def name_helo(self, helo: str) -> None:
        """He calls himself that.

        Raises:
            TooMuch: he has named too many others that are still looked up.
        """
        if helo == self._subjects.get(HELO):
            return
        self._require_patience()
        self._subjects[HELO], self.helo = helo, ""
        if self.begun:
            if self.rules.helo != OFF:
                self._look_up(HELO, self._find_helo(helo))
            self._ask_domain_lists(HELO, helo)

    def name_sender(self, sender: Address | None) -> None:
        """His mail comes from there.

        Raises:
            TooMuch: as `name_helo` does.
        """
        domain = "" if sender is None else sender.domain
        if domain != self._subjects.get(SENDER):
            self._require_patience()
            self._subjects[SENDER] = domain
            self._ask_domain_lists(SENDER, domain)

    def _require_patience(self) -> None:
        """Look-ups of one client mustn't fill the memory, nor keep those of others waiting."""
        rules = self.rules
        of_a_name = 1 + len(rules.domain_lists)
        most = 1 + len(rules.address_lists) + MOST_NAMES_AT_ONCE * of_a_name
        if self._under_way.total() >= most:
            self.arrival.count(PACE, "put-off")
            raise TooMuch("Too many names at once, try again later", code=421)

    def _ask_domain_lists(self, whose: str, domain: str) -> None:
        self._listings.pop(whose, None)
        if self.rules.domain_lists and (subjects := subjects_of(domain)):
            for each in self.rules.domain_lists:
                asking = ask_for_domain(self._resolver, each, subjects, words=self._wants_words)
                self._look_up(LISTS, self._find_listing(each, whose, domain, asking))

    @property
    def _resolver(self) -> Any:
        return self.arrival.resolver

    @property
    def _wants_words(self) -> bool:
        return self.rules.refuse_weight > 0

    async def _find_reverse(self) -> None:
        self.reverse = UNKNOWN
        self.reverse, name = await judge_reverse(self._resolver, self.client)
        self.reverse_name = name[:MOST_NAME]
        self._mark(REVERSE, self.is_nameless)

    async def _find_helo(self, helo: str) -> None:
        self.helo = UNKNOWN
        found = await judge_helo(self._resolver, helo, self.client, self.arrival.is_ours)
        if helo == self._subjects[HELO]:
            self.helo = found
            self._mark(HELO, self.is_no_helo)

    async def _find_listing(
        self, each: DnsList, whose: str, subject: str, asking: Coroutine[Any, Any, Listing | None]
    ) -> None:
        listing = await asking
        if listing is not None and subject == self._subjects[whose]:
            self._listings.setdefault(whose, {})[each] = listing
            self._mark(LISTS, True)

    def _mark(self, check: str, doubtful: bool) -> None:
        if doubtful:
            self.arrival.count(check, "marked")

    def _look_up(self, check: str, finding: Coroutine[Any, Any, None]) -> None:
        self._under_way[check] += 1
        looking = Deferred.fromCoroutine(finding).addTimeout(LOOK_UP_S, self.arrival.clock)
        looking.addErrback(self._not_found, check).addCallback(self._ended, check)

    def _not_found(self, failure: Failure, check: str) -> None:
        self.arrival.count(check, "unknown")
        if not failure.check(TimeoutError, CancelledError, MailError):
            _log.failure("{check} could not be looked up", failure, check=check)

    def _ended(self, _: object, check: str) -> None:
        self._under_way[check] -= 1
        waiting, self._waiting = self._waiting, []
        for checks, answer in waiting:
            if self._lacks(checks):
                self._waiting.append((checks, answer))
            else:
                answer.callback(None)

    def _lacks(self, checks: frozenset[str]) -> bool:
        return any(self._under_way[check] for check in checks)

    # What it says

    def when_known(self, checks: frozenset[str] = LOOKED_UP) -> Deferred[None] | None:
        """Fires once nothing of these is looked up any more; None where nothing is."""
        if not self._lacks(checks):
            return None
        answer: Deferred[None] = Deferred()
        self._waiting.append((checks, answer))
        return answer

    @property
    def is_nameless(self) -> bool:
        return self.reverse in (NAMELESS, UNCONFIRMED)

    @property
    def is_no_helo(self) -> bool:
        return self.helo in NO_HELO

    def listings(self) -> list[Listing]:
        """Of each list one, whatever of the client's it has."""
        found: dict[DnsList, Listing] = {}
        for whose in (HELO, SENDER, ADDRESS):
            found = self._listings.get(whose, {}) | found
        return list(found.values())

    @property
    def weight(self) -> int:
        """Of all lists together."""
        return sum(each.weight for each in self.listings())

    def facts(self) -> dict[str, str]:
        named = {REVERSE: self.reverse, "reverse_name": self.reverse_name, HELO: self.helo}
        if listings := self.listings():
            named[LISTS] = " ".join(dict.fromkeys(each.zone for each in listings))
            named["listed_weight"] = str(self.weight)
        return {name: said for name, said in named.items() if said}

    def doubts(self) -> Iterator[str]:
        """What speaks against him, in words."""
        yield from (str(each) for each in self.listings() if each.weight >= 0)
        if self.is_nameless:
            yield "its address has no name that leads back to it"
        if self.helo in HELO_DOUBTS:
            yield HELO_DOUBTS[self.helo]


HELO_DOUBTS = {
    ELSEWHERE: "the name in HELO leads elsewhere",
    NOWHERE: "the name in HELO leads nowhere",
    BARE: "the name in HELO has no domain",
    MALFORMED: "HELO is no name",
    PRETENDS: "HELO is somebody else's name",
}
