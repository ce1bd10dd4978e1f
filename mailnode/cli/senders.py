"""`sender`: whose mail an account, or a domain, allows and blocks."""

from __future__ import annotations

from collections.abc import Callable

import click

from mailnode.cli import output
from mailnode.cli.frame import EX_DATAERR, Mistake, NodeCommand, NodeGroup, answer_json
from mailnode.cli.node import open_accounts
from mailnode.errors import BadAddress
from mailnode.store.accounts import Accounts
from mailnode.store.sender_rules import ALLOW, BLOCK, SenderRule
from mailnode.store.senders import read_new_pattern, read_pattern


@click.group(cls=NodeGroup, example="mailnode sender block carol@example.org shop@example.net")
def sender() -> None:
    """Whose mail is always wanted, and whose never."""


@sender.command(
    "allow",
    cls=NodeCommand,
    example="mailnode sender allow carol@example.org shop@example.net\n"
    "mailnode sender allow example.org example.net",
)
@click.argument("owner")
@click.argument("senders", nargs=-1, required=True, metavar="SENDER...")
@click.pass_context
def sender_allow(ctx: click.Context, owner: str, senders: tuple[str, ...]) -> None:
    """Mail from SENDER lies in the inbox of OWNER, whatever filters find unwanted.

    OWNER is an account, or a domain for all of its accounts; SENDER an address, or a domain with
    those under it. An account's rules go before its domain's. It must be proved (SPF, DKIM,
    DMARC) that the mail is from there; what is refused stays refused.
    """
    _set(ctx, owner, senders, ALLOW)


@sender.command(
    "block",
    cls=NodeCommand,
    example="mailnode sender block carol@example.org shop@example.net",
)
@click.argument("owner")
@click.argument("senders", nargs=-1, required=True, metavar="SENDER...")
@click.pass_context
def sender_block(ctx: click.Context, owner: str, senders: tuple[str, ...]) -> None:
    """Mail from SENDER lies in the Junk of OWNER."""
    _set(ctx, owner, senders, BLOCK)


def _set(ctx: click.Context, owner: str, senders: tuple[str, ...], verdict: str) -> None:
    patterns = [_pattern(each, read_new_pattern) for each in senders]
    with open_accounts(ctx, change=True) as accounts:
        made = [accounts.senders.set(_owner(accounts, owner), each, verdict) for each in patterns]
    if not answer_json(ctx, [_facts(each) for each in made]):
        output.say(f"{made[0].owner} {verdict}s {', '.join(each.pattern for each in made)}")


def _owner(accounts: Accounts, name: str) -> str:
    """A bare name is an account of the first domain, as elsewhere; one with a dot a domain."""
    return name if "." in name and "@" not in name else str(accounts.account(name).address)


def _pattern(text: str, read: Callable[[str], str] = read_pattern) -> str:
    try:
        return read(text)
    except BadAddress as error:
        raise Mistake(
            f"{text!r}: {error}; a sender is such as shop@example.net or example.net", EX_DATAERR
        ) from None


def _facts(rule: SenderRule) -> dict[str, str]:
    return {"owner": rule.owner, "sender": rule.pattern, "verdict": rule.verdict}


@sender.command("remove", cls=NodeCommand, example="mailnode sender remove carol shop@example.net")
@click.argument("owner")
@click.argument("senders", nargs=-1, required=True, metavar="SENDER...")
@click.pass_context
def sender_remove(ctx: click.Context, owner: str, senders: tuple[str, ...]) -> None:
    """Neither allow nor block SENDER any more."""
    patterns = [_pattern(each) for each in senders]
    with open_accounts(ctx, change=True) as accounts:
        whose = _owner(accounts, owner)
        for each in patterns:
            accounts.senders.remove(whose, each)
    if not answer_json(ctx, {"owner": whose, "removed": patterns}):
        output.say(f"{whose} has no rule for {', '.join(patterns)} any more")


@sender.command("list", cls=NodeCommand, example="mailnode sender list carol@example.org")
@click.argument("owner", required=False)
@click.pass_context
def sender_list(ctx: click.Context, owner: str | None) -> None:
    """List whom accounts and domains allow and block, or one of them."""
    with open_accounts(ctx) as accounts:
        rules = accounts.senders.rules(_owner(accounts, owner) if owner is not None else None)
    if answer_json(ctx, [_facts(each) for each in rules]):
        return
    if not rules:
        output.say("nobody is allowed or blocked; next: mailnode sender block OWNER SENDER")
        return
    output.show_table(
        ["owner", "", "sender"], [(each.owner, f"{each.verdict}s", each.pattern) for each in rules]
    )
