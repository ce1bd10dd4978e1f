"""`domain` and `user`: who has mail here."""

from __future__ import annotations

from typing import Any

import click

from mailnode.addresses import parse_address
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import open_accounts, read_address, read_domain, require_new, with_domain
from mailnode.cli.passwords import ask_new_password, keep_password, stdin_is_terminal
from mailnode.cred.foreign import read_foreign
from mailnode.cred.stored import StoredPassword
from mailnode.model import INBOX, JUNK
from mailnode.store.accounts import Account, Accounts, Alias
from mailnode.store.lists import account_usage
from mailnode.store.users_file import no_domain
from mailnode.values import MOST, read_size

JUNK_CHOICES = {"folder": (JUNK, False), "inbox": (INBOX, False), "tagged": (INBOX, True)}
_JUNK_WORDS = {
    (JUNK, False): "Junk",
    (INBOX, False): "the INBOX, with X-Spam-Flag: YES in front",
    (INBOX, True): "the INBOX, and POP3 serves it under a Subject that begins with the tag",
}


@click.group(cls=NodeGroup, example="mailnode domain add example.org")
def domain() -> None:
    """The domains that this node serves."""


@domain.command("add", cls=NodeCommand, example="mailnode domain add example.org")
@click.argument("name")
@click.pass_context
def domain_add(ctx: click.Context, name: str) -> None:
    """Serve a domain. The first one is meant when somebody signs in by a bare name."""
    with open_accounts(ctx, change=True) as accounts:
        added = accounts.add_domain(read_domain(name))
    if not answer_json(ctx, {"domain": added.name, "created_at": added.created_at}):
        output.say(f"{added.name} is served; next: mailnode user add NAME@{added.name}")


@domain.command("list", cls=NodeCommand, example="mailnode domain list")
@click.pass_context
def domain_list(ctx: click.Context) -> None:
    """List the domains and how many accounts and aliases each has.

    The first one is meant by a bare sign-in name.
    """
    with open_accounts(ctx) as accounts:
        rows = [
            {
                "domain": found.name,
                "accounts": len(accounts.accounts(found.name)),
                "aliases": len({each.source for each in accounts.aliases(found.name)}),
                "created_at": found.created_at,
            }
            for found in accounts.domains()
        ]
    if answer_json(ctx, rows):
        return
    if not rows:
        output.say("no domain is served; next: mailnode domain add example.org")
        return
    output.show_table(
        ["domain", "accounts", "aliases", "since"],
        [
            (str(row["domain"]), str(row["accounts"]), str(row["aliases"]), _when(row))
            for row in rows
        ],
        right=["accounts", "aliases"],
    )


def _when(row: dict[str, Any]) -> str:
    return output.when(row["created_at"])


@domain.command("delete", cls=NodeCommand, example="mailnode domain delete example.org")
@click.argument("name")
@click.pass_context
def domain_delete(ctx: click.Context, name: str) -> None:
    """Serve a domain no longer. Its accounts and aliases must be gone already."""
    with open_accounts(ctx, change=True) as accounts:
        accounts.delete_domain(read_domain(name))
    if not answer_json(ctx, {"deleted": read_domain(name)}):
        output.say(f"{read_domain(name)} is served no longer")


@click.group(cls=NodeGroup, example="mailnode user add carol@example.org")
def user() -> None:
    """The accounts: who has a mailbox and signs in."""


def _read_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return read_size(int(value) if value.isdigit() else value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not {error}") from None


QUOTA_OCTETS = click.option(
    "--quota",
    callback=_read_size,
    metavar="SIZE",
    help='Most octets, such as "2 GiB"; 0: no limit.',
)
QUOTA_MAILS = click.option(
    "--quota-mails",
    type=click.IntRange(min=0, max=MOST),
    metavar="COUNT",
    help="Most mails; 0: no limit.",
)


@user.command(
    "add",
    cls=NodeCommand,
    example='mailnode user add carol@example.org --quota "2 GiB"\n'
    "mailnode user add carol@example.org < FILE_WITH_THE_PASSWORD\n"
    "mailnode user add carol@example.org --hash '{BLF-CRYPT}$2y$10$...'",
)
@click.argument("address")
@QUOTA_OCTETS
@QUOTA_MAILS
@click.option(
    "--hash",
    "foreign",
    metavar="HASH",
    help="What another system kept of its password: bcrypt or SHA-crypt, as Dovecot writes it.",
)
@click.option("--demo", is_flag=True, help="Its password is published: this machine only.")
@click.option("--admin", is_flag=True, help="It looks after the node, on the web too.")
@click.pass_context
def user_add(
    ctx: click.Context,
    address: str,
    quota: int | None,
    quota_mails: int | None,
    foreign: str | None,
    demo: bool,
    admin: bool,
) -> None:
    """Make an account. Its password is asked for twice, or read from standard input.

    A new password is long, hard to guess, and not the account's name: docs/accounts.rst.
    """
    if demo and foreign is not None:
        raise Mistake("a demo account's password is published; give it without --hash", EX_USAGE)
    with open_accounts(ctx, change=True) as accounts:
        wanted = read_address(with_domain(accounts, address))
        _require_new(accounts, str(wanted), wanted.domain)
        password: StoredPassword | str
        if foreign is not None:
            password = read_foreign(foreign)
        else:
            asked = ask_new_password(ctx, f"Password for {wanted}", wanted, demo=demo)
            password = keep_password(config_of(ctx), asked, wanted, demo=demo)
        added = accounts.add_account(
            wanted,
            password,
            demo=demo,
            quota_octets=quota,
            quota_mails=quota_mails,
            admin=admin,
        )
    if not answer_json(ctx, account_facts(added)):
        output.say(f"{added.address} has an account and can receive mail")


def _require_new(accounts: Accounts, name: str, domain_name: str) -> None:
    """Say what stands in the way before a password is asked for."""
    if domain_name not in {found.name for found in accounts.domains()}:
        raise no_domain(domain_name)
    require_new(accounts, name)


@user.command("list", cls=NodeCommand, example="mailnode user list --domain example.org")
@click.option("--domain", "domain_name", metavar="NAME", help="Only this domain's.")
@click.pass_context
def user_list(ctx: click.Context, domain_name: str | None) -> None:
    """List the accounts, their state and quota."""
    with open_accounts(ctx) as accounts:
        found = accounts.accounts(read_domain(domain_name) if domain_name else None)
    if answer_json(ctx, [account_facts(account) for account in found]):
        return
    if not found:
        output.say("there is no account; next: mailnode user add NAME@DOMAIN")
        return
    output.show_table(
        ["address", "state", "quota", "since"],
        [
            (
                str(account.address),
                account.state,
                quota_of(account),
                output.when(account.created_at),
            )
            for account in found
        ],
    )


def quota_of(account: Account) -> str:
    parts = []
    if account.quota_octets is not None:
        parts.append(output.size(account.quota_octets) if account.quota_octets else "any size")
    if account.quota_mails is not None:
        number = account.quota_mails
        parts.append(output.count(number, "mail") if number else "any number of mails")
    return ", ".join(parts) or "the node's"


def _junk_words(account: Account) -> str:
    return _JUNK_WORDS[account.junk, account.tag_subject]


def account_facts(account: Account) -> dict[str, Any]:
    """An account as --json shows it: everything but the password's hash."""
    return {
        "id": account.id,
        "address": str(account.address),
        "disabled": account.disabled,
        "demo": account.demo,
        "admin": account.admin,
        "looks_after": list(account.looks_after),
        "junk_folder": account.junk,
        "junk_tagged": account.tag_subject,
        "quota_octets": account.quota_octets,
        "quota_mails": account.quota_mails,
        "created_at": account.created_at,
        "changed_at": account.changed_at,
    }


@user.command("show", cls=NodeCommand, example="mailnode user show carol@example.org")
@click.argument("name")
@click.pass_context
def user_show(ctx: click.Context, name: str) -> None:
    """Show an account: its state, quota, aliases, and how much mail it has."""
    with open_accounts(ctx) as accounts:
        account = accounts.account(name)
        sources = [alias.source for alias in _aliases_to(accounts, account)]
    usage = account_usage(config_of(ctx).data_path, account.id)
    facts = account_facts(account) | {
        "aliases": sources,
        "mails": usage.mails,
        "octets": usage.octets,
    }
    if answer_json(ctx, facts):
        return
    output.show_facts(
        [
            ("address", str(account.address)),
            ("state", account.state),
            ("mail", f"{output.count(usage.mails, 'mail')}, {output.size(usage.octets)}"),
            ("quota", quota_of(account)),
            ("unwanted mail", f"lies in {_junk_words(account)}"),
            ("aliases", ", ".join(sources) or "none"),
            ("made", output.when(account.created_at)),
            ("changed", output.when(account.changed_at)),
        ]
    )


def _aliases_to(accounts: Accounts, account: Account) -> list[Alias]:
    return [alias for alias in accounts.aliases() if parse_address(alias.target).key == account.key]


@user.command("passwd", cls=NodeCommand, example="mailnode user passwd carol@example.org")
@click.argument("name")
@click.pass_context
def user_passwd(ctx: click.Context, name: str) -> None:
    """Set a new password: asked for twice, or read from standard input.

    Sessions that were signed in with the old one end at a running node, on the web too, and the
    account's tokens are void.
    """
    with open_accounts(ctx, change=True) as accounts:
        account = accounts.account(name)
        former = [account.password_hash, *accounts.sign_in.former_passwords(account.id)]
        prompt = f"New password for {account.address}"
        password = ask_new_password(ctx, prompt, account.address, former=former)
        kept = keep_password(config_of(ctx), password, account.address)
        accounts.set_password(name, kept)
        account = accounts.account(name)
    if not answer_json(ctx, account_facts(account)):
        output.say(f"{account.address} has a new password")


@user.command("set", cls=NodeCommand, example="mailnode user set carol@example.org --admin")
@click.argument("name")
@click.option("--admin/--no-admin", default=None, help="Whether it looks after the node.")
@click.option(
    "--junk",
    type=click.Choice(list(JUNK_CHOICES)),
    metavar="WHERE",
    help="Unwanted mail lies in Junk (folder), or in the INBOX for POP3, marked (inbox), or with "
    "a tag in its Subject (tagged).",
)
@click.pass_context
def user_set(ctx: click.Context, name: str, admin: bool | None, junk: str | None) -> None:
    """Make an account an administrator, or no more one; say where its unwanted mail lies."""
    if admin is None and junk is None:
        raise Mistake("nothing to set; say --admin, --no-admin or --junk", EX_USAGE)
    with open_accounts(ctx, change=True) as accounts:
        if admin is not None:
            accounts.set_admin(name, admin)
        if junk is not None:
            accounts.set_junk(name, *JUNK_CHOICES[junk])
        account = accounts.account(name)
    if not answer_json(ctx, account_facts(account)):
        if admin is not None:
            told = "an administrator" if admin else "no administrator"
            output.say(f"{account.address} is {told}")
        if junk is not None:
            output.say(f"unwanted mail of {account.address} lies in {_junk_words(account)}")


@user.command("disable", cls=NodeCommand, example="mailnode user disable carol@example.org")
@click.argument("name")
@click.pass_context
def user_disable(ctx: click.Context, name: str) -> None:
    """Take no mail for an account and let nobody in. Its mail stays."""
    _set_disabled(ctx, name, True)


@user.command("enable", cls=NodeCommand, example="mailnode user enable carol@example.org")
@click.argument("name")
@click.pass_context
def user_enable(ctx: click.Context, name: str) -> None:
    """Open a disabled account again."""
    _set_disabled(ctx, name, False)


def _set_disabled(ctx: click.Context, name: str, disabled: bool) -> None:
    with open_accounts(ctx, change=True) as accounts:
        accounts.set_disabled(name, disabled)
        account = accounts.account(name)
    if not answer_json(ctx, account_facts(account)):
        told = "disabled: it takes no mail and signs in nowhere" if disabled else "enabled"
        output.say(f"{account.address} is {told}")


@user.command("quota", cls=NodeCommand, example='mailnode user quota carol@example.org "2 GiB"')
@click.argument("name")
@click.argument("quota", callback=_read_size, required=False, metavar="[SIZE]")
@QUOTA_MAILS
@click.pass_context
def user_quota(ctx: click.Context, name: str, quota: int | None, quota_mails: int | None) -> None:
    """Set how much mail an account may keep.

    Without a size and count it is the node's default.
    """
    with open_accounts(ctx, change=True) as accounts:
        accounts.set_quota(name, octets=quota, mails=quota_mails)
        account = accounts.account(name)
    if not answer_json(ctx, account_facts(account)):
        output.say(f"the quota of {account.address} is {quota_of(account)}")


@user.command("delete", cls=NodeCommand, example="mailnode user delete carol@example.org --yes")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask: its mail goes too.")
@click.option("--force", is_flag=True, help="Delete the aliases that lead to it as well.")
@click.pass_context
def user_delete(ctx: click.Context, name: str, yes: bool, force: bool) -> None:
    """Delete an account and its mail.

    Asks first on a terminal, and needs --yes elsewhere.
    """
    with open_accounts(ctx, change=True) as accounts:
        account = accounts.account(name)
        leading = ", ".join(alias.source for alias in _aliases_to(accounts, account))
        if leading and not force:
            raise Mistake(
                f"aliases lead to {account.address}: {leading}; "
                "delete them first, or with it by --force"
            )
        mails = account_usage(config_of(ctx).data_path, account.id).mails
        question = f"{account.address} and its {output.count(mails, 'mail')} go for good."
        if not yes:
            if not stdin_is_terminal():
                raise Mistake(f"{question} Say --yes if that is meant", EX_USAGE)
            click.confirm(f"{question} Delete?", abort=True)
        accounts.delete_account(name, force=force)
    if not answer_json(ctx, {"deleted": str(account.address), "mails": mails}):
        output.say(f"{account.address} is deleted; the node takes its mail out of the store")
