"""All that a process has to do with passwords: verifies, judges, keeps and renews them."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.cred.ageing import Ageing
from mailnode.cred.app_passwords import AppPasswords, FactorGate, Proofs
from mailnode.cred.checkers import AccountChecker
from mailnode.cred.choosing import Choosing
from mailnode.cred.passwords import Passwords
from mailnode.cred.policy import PasswordPolicy
from mailnode.cred.renewing import Renewing
from mailnode.cred.scram import ScramBook, ScramChecker
from mailnode.store.sign_in import Renewal
from mailnode.store.tokens import app_password_of

if TYPE_CHECKING:
    from mailnode.cred.stored import StoredPassword
    from mailnode.house import House
    from mailnode.settings import PasswordSettings
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.people import Account


@define(eq=False)
class PasswordHouse:
    """Of a house whose files are open.

    Attributes:
        passwords: the threads, and what they remember.
        ageing: how old one may be.
        choosing: takes a new one.
        checker: who may sign in by one.
        scram_book: whose keys are which.
        proofs: who may sign in by a proof.
        app_passwords: whom another one lets in.
    """

    passwords: Passwords
    ageing: Ageing
    choosing: Choosing
    checker: AccountChecker
    scram_book: ScramBook
    proofs: ScramChecker
    app_passwords: AppPasswords
    _directory: LiveDirectory
    _renewing: Renewing

    @classmethod
    def of(cls, house: House) -> PasswordHouse:
        def settings() -> PasswordSettings:
            return house.config.passwords

        async def keep(made: list[tuple[Account, StoredPassword]]) -> None:
            renewals = [Renewal(account, password) for account, password in made]
            await house._in_thread(house.accounts.sign_in.renew, renewals)
            await house.watch.changed()

        queue = house.config.limits.sign_in_queue
        passwords = Passwords(house.reactor, house.seal, most_waiting=queue)
        ageing = Ageing(settings, time.time)
        renewing = Renewing(house.directory, passwords, house.seal, house.reactor, keep)
        book = ScramBook(house.directory, house.seal)
        proofs = Proofs(book, house.seal)

        async def prove(account: Account, secret: str) -> bytes:
            return await passwords.in_thread(proofs.make, account, secret)

        house.guests.prove = prove
        return cls(
            passwords,
            ageing,
            Choosing(
                passwords,
                PasswordPolicy(settings),
                partial(house._in_thread, house.accounts.sign_in.former_passwords),
            ),
            AccountChecker(house.directory, passwords, ageing, renewing),
            book,
            ScramChecker(
                house.directory,
                book,
                ageing,
                partial(house._in_thread, house.accounts.sign_in.former_keys),
            ),
            AppPasswords(house.directory, house.guests, book, proofs, app_password_of),
            house.directory,
            renewing,
        )

    def gate(self, checker: Any) -> FactorGate:
        """A checker, behind which a password alone is not always enough."""
        directory = self._directory
        return FactorGate(
            checker,
            self.app_passwords,
            directory,
            lambda account_id: bool(directory.factors(account_id)),
        )

    def forget(self, account_ids: Collection[int]) -> None:
        """Nothing is remembered of these accounts any more."""
        for account_id in account_ids:
            self.passwords.forget(account_id)

    async def stop(self) -> None:
        """What is under way is done, and no more is begun."""
        await self._renewing.stop()
        await self.passwords.stop()
