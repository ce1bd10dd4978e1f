"""All that a process has to do with passwords: verifies, judges, keeps and renews them."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from attrs import define

from mailnode.cred.ageing import Ageing
from mailnode.cred.checkers import AccountChecker
from mailnode.cred.choosing import Choosing
from mailnode.cred.passwords import Passwords
from mailnode.cred.policy import PasswordPolicy
from mailnode.cred.renewing import Renewing
from mailnode.store.sign_in import Renewal

if TYPE_CHECKING:
    from mailnode.cred.stored import StoredPassword
    from mailnode.house import House
    from mailnode.settings import PasswordSettings
    from mailnode.store.people import Account


@define(eq=False)
class PasswordHouse:
    """Of a house whose files are open.

    Attributes:
        passwords: the threads, and what they remember.
        ageing: how old one may be.
        choosing: takes a new one.
        checker: who may sign in by one.
    """

    passwords: Passwords
    ageing: Ageing
    choosing: Choosing
    checker: AccountChecker
    _renewing: Renewing

    @classmethod
    def of(cls, house: House) -> PasswordHouse:
        def settings() -> PasswordSettings:
            return house.config.passwords

        async def keep(made: list[tuple[Account, StoredPassword]]) -> None:
            renewals = [Renewal(account, password) for account, password in made]
            await house._in_thread(house.accounts.sign_in.renew, renewals)
            await house.watch.take_up()
            house.bell.ring("accounts")

        queue = house.config.limits.sign_in_queue
        passwords = Passwords(house.reactor, house.seal, most_waiting=queue)
        ageing = Ageing(settings, time.time)
        renewing = Renewing(house.directory, passwords, house.seal, house.reactor, keep)
        return cls(
            passwords,
            ageing,
            Choosing(
                passwords,
                PasswordPolicy(settings),
                partial(house._in_thread, house.accounts.sign_in.former_passwords),
            ),
            AccountChecker(house.directory, passwords, ageing, renewing),
            renewing,
        )

    def forget(self, account_ids: Collection[int]) -> None:
        """Nothing is remembered of these accounts any more."""
        for account_id in account_ids:
            self.passwords.forget(account_id)

    async def stop(self) -> None:
        """What is under way is done, and no more is begun."""
        await self._renewing.stop()
        await self.passwords.stop()
