"""A new password of an account, as the web and the API take it: judged, then made fit to keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from attrs import define
from twisted.internet.defer import Deferred

from mailnode.cred.policy import PasswordPolicy

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.cred.passwords import Passwords
    from mailnode.cred.stored import StoredPassword
    from mailnode.store.people import Account

    Choose = Callable[[str, Address, Account | None], Awaitable[StoredPassword]]


@define(eq=False)
class Choosing:
    """Takes passwords.

    Args:
        find_former: hashes of the passwords that an account had, by its id, the latest first.
    """

    _passwords: Passwords
    _policy: PasswordPolicy
    _find_former: Callable[[int], Deferred[list[str]]]

    async def choose(
        self, password: str, address: Address, account: Account | None = None
    ) -> StoredPassword:
        """What is kept of it.

        Args:
            address: of the account that gets it.
            account: None where there is none yet.

        Raises:
            WeakPassword: it may not be set.
            SignInBusy: too many passwords are at work.
        """
        former: list[str] = []
        if account is not None:
            former = [account.password_hash, *await self._find_former(account.id)]
        await self._passwords.in_thread(self._policy.judge, password, address, former)
        return await self._passwords.store(password, address)
