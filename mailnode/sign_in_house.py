"""How somebody is let in by a browser, and sets that up: put together of what a house has."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.cred.error import UnauthorizedLogin

from mailnode.cred.checkers import CheckersInTurn
from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.factor_house import factor_desk, second_factors
from mailnode.web.assets import Assets
from mailnode.web.guard import Guard
from mailnode.web.guest import IWebGuest, SignedIn
from mailnode.web.pages.factors import FactorPages
from mailnode.web.pages.settings import Settings
from mailnode.web.pages.signin import SignIns
from mailnode.web.pages.signin_code import SignInCodes
from mailnode.web.templates import Templates

if TYPE_CHECKING:
    from mailnode.audited import Actor
    from mailnode.cred.ageing import Ageing
    from mailnode.house import House
    from mailnode.password_house import PasswordHouse
    from mailnode.smtp.posting import PostOffice
    from mailnode.store.directory import Account
    from mailnode.web.pages.lists import Shelf
    from mailnode.web.visit import Visit


def web_guest(account: Account | None) -> tuple[SignedIn, Callable[[], None]]:
    """The realm's factory of `IWebGuest`.

    Raises:
        UnauthorizedLogin: nobody signed in.
    """
    if account is None:
        raise UnauthorizedLogin("nobody is signed in")
    return SignedIn(account.id), lambda: None


def web_portal(house: House, passwords: PasswordHouse, others: Sequence[Any]) -> SignInPortal:
    """A portal for the web alone, where no mail server has one.

    Args:
        others: credential checkers; passwords of users.db count when none of them judges any.
    """
    create = house.config.accounts.create_on_sign_in
    make = house.watch.make_account if create else None
    return SignInPortal(
        Realm(house.directory, {IWebGuest: web_guest}, make),
        [passwords.gate(passwords.checker), passwords.gate(CheckersInTurn(others))],
        clock=house.reactor,
        tell=house.mail_log.tell,
        sign_in_key=house.directory.sign_in_key,
        account_of=house.guard.account_of,
        guesses=house.guard.guesses,
    )


@frozen
class SignInHouse:
    """Of a house whose files are open.

    Attributes:
        guard: judges each request.
        templates: of all pages.
        sign_ins, codes: the pages of signing in and out, and of its second half.
        settings, factors: what an owner sets of it.
        sets_passwords: False where another checker judges them.
    """

    guard: Guard
    templates: Templates
    sign_ins: SignIns
    codes: SignInCodes
    settings: Settings
    factors: FactorPages
    sets_passwords: bool

    @classmethod
    def of(
        cls,
        house: House,
        *,
        portal: SignInPortal,
        passwords: PasswordHouse,
        post_office: PostOffice,
        is_proxy: Callable[[str], bool],
        shelf: Callable[[Visit], Awaitable[Shelf]],
        sets_passwords: bool,
    ) -> SignInHouse:
        """
        Args:
            is_proxy: whether an address is a proxy of ours.
            shelf: the folders of who asks, beside a page.
        """
        directory, guests, seconds = house.directory, house.guests, house.reactor.seconds
        ageing = passwords.ageing if sets_passwords else None
        guesses = house.guard.guesses
        guard = Guard(
            guests,
            directory.find_by_id,
            frozenset({house.hostname, *house.config.web.names}),
            is_proxy,
            is_over=ageing.is_over if ageing is not None else _never,
            turn_away=guesses.turn_away,
            bad_token=guesses.bad_token,
        )
        templates = Templates(Assets.read(house.hostname), guard, house.hostname)
        sign_ins = SignIns(
            templates,
            guard,
            guests,
            portal,
            directory.find_by_id,
            lambda: directory.demo_accounts,
            partial(_notice, ageing),
        )
        factors = second_factors(house, post_office)
        codes = SignInCodes(sign_ins, factors, house.mail_log.tell, seconds)
        sign_ins.half = codes.begin
        return cls(
            guard,
            templates,
            sign_ins,
            codes,
            _settings(house, passwords, sign_ins, shelf, ageing),
            FactorPages(sign_ins, factors, factor_desk(house, factors), shelf, seconds),
            sets_passwords,
        )


def _settings(
    house: House,
    passwords: PasswordHouse,
    sign_ins: SignIns,
    shelf: Callable[[Visit], Awaitable[Shelf]],
    ageing: Ageing | None,
) -> Settings:
    """
    Args:
        ageing: None where another checker judges passwords.
    """

    async def set_password(account: Account, password: str, actor: Actor) -> None:
        stored = await passwords.choosing.choose(password, account.address, account)
        change, name = house.accounts.by(actor).set_password, str(account.address)
        await house._in_thread(change, name, stored)
        await house.watch.changed()

    async def set_junk(account: Account, folder: str, tagged: bool, actor: Actor) -> None:
        accounts, name = house.accounts.by(actor), str(account.address)
        await house._in_thread(accounts.set_junk, name, folder, tagged)
        await house.watch.changed()

    return Settings(
        sign_ins.templates,
        house.guests,
        sign_ins,
        time.time,
        set_password,
        set_junk,
        shelf,
        ageing is not None,
        lambda: house.config.passwords.least_characters,
        ageing,
        house.directory.factors,
        house.seen.recent,
        house.audit.tell,
    )


def _never(account: Account) -> bool:
    return False


def _notice(ageing: Ageing | None, account: Account) -> str:
    """What an account is told at its sign-in of a password that gets old."""
    ends_at = ageing.ends_at(account) if ageing is not None else None
    if ageing is None or ends_at is None or not ageing.is_soon(account):
        return ""
    if ageing.is_over(account):
        return "Your password is too old: choose another."
    day = time.strftime("%Y-%m-%d", time.gmtime(ends_at))
    return f"Your password counts until {day}: change it in the settings before."
