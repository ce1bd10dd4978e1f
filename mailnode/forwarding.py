"""Reverse-paths of forwarded mail, made and known again by this node (SRS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define

from mailnode.addresses import Address
from mailnode.errors import MailError
from mailnode.srs import Srs, is_rewritten

DAY_S = 86400.0


class Domains(Protocol):
    """What of the directory forwarding looks at."""

    @property
    def first_domain(self) -> str | None: ...
    def is_local(self, domain: str) -> bool: ...


@define(eq=False)
class Forwarding:
    """Rewrites for the node's first domain; what was rewritten for another of its domains holds.

    Attributes:
        secret: the same for all processes, and after a restart.
        now: UTC epoch seconds.
    """

    domains: Domains
    secret: bytes
    now: Callable[[], float]

    def forward(self, sender: Address | None) -> str:
        """The reverse-path that a forwarded mail leaves with."""
        if sender is None or self.domains.first_domain is None:
            return "" if sender is None else str(sender)
        return str(Srs(self.secret, self.domains.first_domain).forward(sender, self._day()))

    def reverse(self, address: Address) -> Address | None:
        """The sender behind a reverse-path that was made here; None for any other address."""
        if not is_rewritten(address) or not self.domains.is_local(address.domain):
            return None
        try:
            return Srs(self.secret, address.domain).reverse(address, self._day())
        except MailError:
            return None

    def _day(self) -> int:
        return int(self.now() // DAY_S)
