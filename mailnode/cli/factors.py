"""`user factor`: the second factors of accounts, looked at and taken off by an administrator."""

from __future__ import annotations

from typing import Any

import click

from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_NOUSER,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import auditor_of, ease_full_disk, open_accounts, operator
from mailnode.config import Config
from mailnode.events import FactorRemoved
from mailnode.store.accounts import Account
from mailnode.store.beside import MAIL_DATABASE, writing_beside
from mailnode.store.factors import Factor
from mailnode.store.journal import insert_events


@click.group("factor", cls=NodeGroup, example="mailnode user factor list carol@example.org")
def factor() -> None:
    """What an account shows beside its password on the web.

    Its owner sets it up in the settings there.
    """


@factor.command("list", cls=NodeCommand, example="mailnode user factor list carol@example.org")
@click.argument("name")
@click.pass_context
def factor_list(ctx: click.Context, name: str) -> None:
    """List an account's second factors, and how many recovery codes it has left."""
    with open_accounts(ctx) as accounts:
        account = accounts.account(name)
        found = accounts.factors.factors(account.id)
        codes = accounts.factors.recovery_codes(account.id)
    facts = {
        "account": str(account.address),
        "factors": [_facts(each) for each in found],
        "recovery_codes_left": codes.left,
    }
    if answer_json(ctx, facts):
        return
    if not found:
        output.say(f"{account.address} has no second factor: its password alone signs in")
        return
    output.show_table(
        ["factor", "name", "kind", "to", "since"],
        [
            (str(each.id), each.name, each.kind, each.target or "", output.when(each.created_at))
            for each in found
        ],
        right=["factor"],
    )
    output.say(f"recovery codes that count still: {codes.left} of {codes.of}")


@factor.command(
    "remove",
    cls=NodeCommand,
    example="mailnode user factor remove carol@example.org phone\n"
    "mailnode user factor remove carol@example.org --all",
)
@click.argument("name")
@click.argument("factors", nargs=-1, metavar="[FACTOR]...")
@click.option("--all", "everything", is_flag=True, help="All that it has.")
@click.pass_context
def factor_remove(
    ctx: click.Context, name: str, factors: tuple[str, ...], everything: bool
) -> None:
    """Take second factors off an account whose owner has lost them, by name or number.

    With the last of them its password alone signs in again, in mail programs too. Its browsers are
    signed out, and the journal tells who did it.
    """
    if everything == bool(factors):
        raise Mistake("name what to take off, or say --all", EX_USAGE)
    config = config_of(ctx)
    with open_accounts(ctx, change=True) as accounts:
        account = accounts.account(name)
        there = accounts.factors.factors(account.id)
        wanted = there if everything else [_find(account, there, each) for each in factors]
        gone = accounts.factors.remove(account.id, [each.id for each in wanted])
    for each in gone:
        address = str(account.address)
        auditor_of(config).tell("factor-removed", address, kind=each.kind, factor=each.name)
    if gone:
        _sign_out(config, account, gone)
    if answer_json(ctx, {"removed": [_facts(each) for each in gone]}):
        return
    for each in gone:
        output.say(f"{each.name} is no second factor of {account.address} any more")
    if not gone:
        output.say(f"{account.address} has no second factor")


def _find(account: Account, there: list[Factor], said: str) -> Factor:
    for each in there:
        if said in (each.name, str(each.id)):
            return each
    raise Mistake(
        f"{account.address} has no second factor {said!r}; see: mailnode user factor list",
        EX_NOUSER,
    )


def _sign_out(config: Config, account: Account, gone: list[Factor]) -> None:
    """Its browsers are, and the journal tells it."""
    path = config.data_path / MAIL_DATABASE
    if not path.exists():
        return
    ease_full_disk(config, config.data_path)
    with writing_beside(path) as writer, writer.transaction() as connection:
        connection.execute("DELETE FROM web_session WHERE account_id = ?", (account.id,))
        insert_events(
            connection,
            [
                FactorRemoved(
                    detail={
                        "account": str(account.address),
                        "kind": each.kind,
                        "factor": each.name,
                        "by": operator(),
                    }
                )
                for each in gone
            ],
        )
    ring_from_outside(config.data_path, "guests")


def _facts(found: Factor) -> dict[str, Any]:
    """A factor as --json shows it; never its secret."""
    return {
        "id": found.id,
        "name": found.name,
        "kind": found.kind,
        "target": found.target,
        "created_at": found.created_at,
    }
