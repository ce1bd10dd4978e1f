"""`user admin`: who looks after the accounts of a domain."""

from __future__ import annotations

import click

from mailnode.cli import output
from mailnode.cli.accounts import account_facts
from mailnode.cli.frame import NodeCommand, answer_json
from mailnode.cli.node import open_accounts, read_domain

_EXAMPLE = "mailnode user admin carol@example.org --domain example.org"


@click.command("admin", cls=NodeCommand, example=f"{_EXAMPLE}\n{_EXAMPLE} --remove")
@click.argument("name")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    required=True,
    metavar="DOMAIN",
    help="Whose accounts it looks after; may be given several times.",
)
@click.option("--remove", is_flag=True, help="It does so no more.")
@click.pass_context
def user_admin(ctx: click.Context, name: str, domains: tuple[str, ...], remove: bool) -> None:
    """Let an account look after the accounts, aliases and mail traces of domains.

    It sees what happened to their mail, with its subjects, and changes no account that may do more.
    It never sees the node's settings or other domains. One that looks after the whole node is made
    by `mailnode user set --admin`.
    """
    with open_accounts(ctx, change=True) as accounts:
        admins = accounts.domain_admins
        account = accounts.account(name)
        for domain in map(read_domain, domains):
            account = admins.remove(name, domain) if remove else admins.add(name, domain)
    if not answer_json(ctx, account_facts(account)):
        after = ", ".join(account.looks_after) or "no domain any more"
        output.say(f"{account.address} looks after {after}")
