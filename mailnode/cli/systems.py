"""A whole system of plain text moves in: accounts with their passwords, and each user's mail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from attrs import define, field

from mailnode.addresses import Address, parse_address
from mailnode.cli.ending import Ending
from mailnode.cli.frame import Mistake, config_of
from mailnode.cli.importing import Import, Report, Wish, importing
from mailnode.cli.node import open_accounts, read_domain
from mailnode.cli.passwords import keep_password, policy_of
from mailnode.cli.progress import Course
from mailnode.config import Config
from mailnode.cred.policy import require_text
from mailnode.cred.stored import StoredPassword
from mailnode.errors import BadAddress, MailError, NotFound, WeakPassword
from mailnode.portability.letter import Lost
from mailnode.portability.plaintext import PlaintextReader, User, read_users
from mailnode.store.accounts import Account, Accounts
from mailnode.store.users_file import no_domain

NO_PASSWORD = ""  # fits no password: nobody signs in until one is set


@define
class System:
    """What became of a system.

    Attributes:
        made: accounts that are new here.
        kept: that were here already.
        weak: addresses whose password could not be set anew.
        unusable: lines of userinfo.txt, and passwords.
    """

    report: Report = field(factory=Report)
    made: list[Account] = field(factory=list)
    kept: list[Account] = field(factory=list)
    weak: list[str] = field(factory=list)
    unusable: list[Lost] = field(factory=list)

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "made": [str(each.address) for each in self.made],
            "kept": [str(each.address) for each in self.kept],
            "weak_passwords": self.weak,
            "unusable": [{"where": each.where, "why": each.why} for each in self.unusable],
        }


def move_in(
    ctx: click.Context,
    folder: Path,
    domain: str | None,
    wish: Wish,
    course: Course,
    ending: Ending,
) -> System:
    """Accounts first, then their mail; those that are here already are as they were.

    Raises:
        Mistake: there is no domain for them.
        MailError: the accounts or the store can't be written.
    """
    system = System()
    users: list[User] = []
    for each in read_users(folder):
        if isinstance(each, Lost):
            system.unusable.append(each)
        else:
            users.append(each)
    config = config_of(ctx)
    with open_accounts(ctx, change=not wish.dry_run) as accounts:
        domain = _domain(accounts, domain)
        owners = [
            (each, account)
            for each in users
            if not ending.asked
            and (account := _account_for(system, accounts, each, domain, wish, config)) is not None
        ]
    with importing(config, wish, course, ending) as work:
        system.report = work.report
        for user, account in owners:
            if user.mailbox is not None and not _take(work, folder, user, account, domain):
                break
    return system


def _take(work: Import, folder: Path, user: User, account: Account, domain: str) -> bool:
    assert user.mailbox is not None
    where = str(user.mailbox.relative_to(folder))
    return work.take(PlaintextReader(user.mailbox, work.make_spool, domain, where), account)


def _domain(accounts: Accounts, wanted: str | None) -> str:
    names = [each.name for each in accounts.domains()]
    if wanted is None:
        if not names:
            raise Mistake("no domain is served yet; first: mailnode domain add YOUR.DOMAIN")
        return names[0]
    name = read_domain(wanted)
    if name not in names:
        raise no_domain(name)
    return name


def _account_for(
    system: System, accounts: Accounts, user: User, domain: str, wish: Wish, config: Config
) -> Account | None:
    """The account that gets a user's mail; None where there can be none."""
    address = _address(user.name, domain)
    if isinstance(address, Lost):
        system.unusable.append(address)
        return None
    try:
        account = accounts.account(str(address))
    except NotFound:
        return _make(system, accounts, user, address, wish, config)
    system.kept.append(account)
    return account


def _address(name: str, domain: str) -> Address | Lost:
    wanted = name if "@" in name else f"{name}@{domain}"
    try:
        address = parse_address(wanted)
    except BadAddress as error:
        return Lost(name, f"no address can be made of the name: {error}")
    if address.domain != domain:
        return Lost(name, f"it is no address of {domain}")
    return address


def _make(
    system: System, accounts: Accounts, user: User, address: Address, wish: Wish, config: Config
) -> Account | None:
    password = user.password
    kept: StoredPassword | str = NO_PASSWORD
    if password is None or not _is_text(password):
        system.unusable.append(
            Lost(str(address), "its password can't be used: mailnode user passwd sets one")
        )
    else:
        try:
            policy_of(config).judge(password, address)
        except WeakPassword:
            system.weak.append(str(address))
        if not wish.dry_run:
            kept = keep_password(config, password, address)
    if wish.dry_run:
        made = Account(-1 - len(system.made), address, address.key, NO_PASSWORD)
    else:
        try:
            made = accounts.add_account(address, kept)
        except MailError as error:  # an alias has the name, say
            system.unusable.append(Lost(str(address), str(error)))
            return None
    system.made.append(made)
    return made


def _is_text(password: str) -> bool:
    try:
        require_text(password)
    except WeakPassword:
        return False
    return True
