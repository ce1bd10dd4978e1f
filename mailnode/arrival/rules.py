"""What is asked of strangers, as the settings say it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from attrs import field, frozen

from mailnode.dnslists import DnsList
from mailnode.errors import one_line
from mailnode.settings import ArrivalSettings

OFF, MARK, REFUSE = "off", "mark", "refuse"
LISTS, REVERSE, HELO, EARLY, GREYLIST, PACE = (
    "lists",
    "reverse",
    "helo",
    "early",
    "greylist",
    "pace",
)
CHECKS = (LISTS, REVERSE, HELO, EARLY, GREYLIST, PACE)
MOST_CONTACT = 200

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Pace:
    """A number that is taken within an hour.

    Attributes:
        what: "mails" or "recipients".
        of: "address", "network", "sender" or "recipient".
    """

    what: str
    of: str
    rate: int


@frozen(kw_only=True)
class Rules:
    """What `[arrival]` says, read.

    Attributes:
        needed: the checks that decide on a recipient: he waits for what these look up.
        paces: those that are set.
    """

    known: tuple[Network, ...] = ()
    contact: str = ""
    address_lists: tuple[DnsList, ...] = ()
    domain_lists: tuple[DnsList, ...] = ()
    refuse_weight: int = 0
    reverse: str = MARK
    helo: str = MARK
    early: str = MARK
    banner_delay_s: float = 0.0
    greylist: bool = False
    paces: tuple[Pace, ...] = ()
    needed: frozenset[str] = field(init=False)

    @needed.default
    def _find_needed(self) -> frozenset[str]:
        wanted = any(each.weight < 0 for each in (*self.address_lists, *self.domain_lists))
        deciding = {
            REVERSE: self.reverse == REFUSE,
            HELO: self.helo == REFUSE,
            LISTS: self.refuse_weight > 0 or (self.greylist and wanted),
        }
        return frozenset(check for check, decides in deciding.items() if decides)

    @classmethod
    def of(cls, settings: ArrivalSettings) -> Rules:
        return cls(
            known=tuple(map(ipaddress.ip_network, settings.known)),
            contact=one_line(settings.contact)[:MOST_CONTACT],
            address_lists=tuple(map(DnsList.parse, settings.address_lists)),
            domain_lists=tuple(map(DnsList.parse, settings.domain_lists)),
            refuse_weight=settings.refuse_weight,
            reverse=settings.reverse,
            helo=settings.helo,
            early=settings.early,
            banner_delay_s=settings.banner_delay,
            greylist=settings.greylist,
            paces=tuple(_paces(settings)),
        )

    @property
    def asks_nothing(self) -> bool:
        """Whether everything is off."""
        asked = (self.address_lists, self.domain_lists, self.paces, self.greylist)
        return {self.reverse, self.helo, self.early} == {OFF} and not any(asked)

    def knows(self, client: str) -> bool:
        if not self.known:
            return False
        address = ipaddress.ip_address(client)
        return any(address in network for network in self.known)


def _paces(settings: ArrivalSettings) -> Iterator[Pace]:
    for what, of in (
        ("mails", "address"),
        ("mails", "network"),
        ("mails", "sender"),
        ("recipients", "address"),
        ("recipients", "network"),
        ("recipients", "sender"),
        ("mails", "recipient"),
    ):
        rate = getattr(settings, f"{what}_per_{of}")
        if rate:
            yield Pace(what, of, rate)
