"""How old a password may be: its owner is told before, the web then asks for a new one.

Mail programs go on with the old one for a time: an owner reads of it in mail that still comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define

from mailnode.errors import PasswordTooOld

if TYPE_CHECKING:
    from mailnode.settings import PasswordSettings
    from mailnode.store.people import Account

PROGRAMS = ("smtp", "pop3")


@define(eq=False)
class Ageing:
    """What the time does to passwords.

    Args:
        settings: [passwords] as it stands now.
        now: UTC epoch seconds.
    """

    _settings: Callable[[], PasswordSettings]
    _now: Callable[[], float]

    def ends_at(self, account: Account) -> float | None:
        """When its password is to be changed, UTC epoch seconds; None where it never is."""
        most_s = self._settings().max_age
        if not most_s or account.demo or not account.password_hash:
            return None
        return account.password_changed_at + most_s

    def is_over(self, account: Account) -> bool:
        """Whether it opens nothing on the web but the change of it."""
        ends_at = self.ends_at(account)
        return ends_at is not None and ends_at <= self._now()

    def is_soon(self, account: Account) -> bool:
        """Whether its owner is to be told."""
        ends_at = self.ends_at(account)
        return ends_at is not None and ends_at - self._settings().notice <= self._now()

    def require_young(self, account: Account, service: str) -> None:
        """
        Args:
            service: what it was said to; "" where its owner can change it.

        Raises:
            PasswordTooOld: it counts there no more.
        """
        ends_at = self.ends_at(account)
        if service not in PROGRAMS or ends_at is None:
            return
        if ends_at + self._settings().grace <= self._now():
            raise PasswordTooOld(detail=str(account.address))
