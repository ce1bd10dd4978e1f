"""`alias`: other addresses of those who have mail here."""

from __future__ import annotations

import click

from mailnode.addresses import parse_address
from mailnode.cli import output
from mailnode.cli.frame import NodeCommand, NodeGroup, answer_json
from mailnode.cli.node import open_accounts, read_address, read_domain, with_domain


@click.group(cls=NodeGroup, example="mailnode alias add sales@example.org carol@example.org")
def alias() -> None:
    """Other addresses of the accounts, and lists of them."""


@alias.command(
    "add",
    cls=NodeCommand,
    example="mailnode alias add sales@example.org carol@example.org dave@example.org\n"
    "mailnode alias add '*@example.org' carol@example.org",
)
@click.argument("source")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.pass_context
def alias_add(ctx: click.Context, source: str, targets: tuple[str, ...]) -> None:
    """Deliver mail for SOURCE to each TARGET, here or elsewhere.

    *@DOMAIN stands for every address there that nobody else has. A bare name means the first
    domain.
    """
    with open_accounts(ctx, change=True) as accounts:
        source, *targets_meant = (with_domain(accounts, name) for name in (source, *targets))
        wanted = str(read_address(source))
        added = accounts.add_aliases(wanted, [str(read_address(each)) for each in targets_meant])
        local = {found.name for found in accounts.domains()}
    if answer_json(ctx, {"source": source, "targets": targets_meant}):
        return
    output.say(f"mail for {source} goes to {', '.join(targets_meant)}")
    foreign = [each.target for each in added if parse_address(each.target).domain not in local]
    if foreign:
        output.say(f"to {', '.join(foreign)} it is forwarded to another host, as the gear allows")


@alias.command("list", cls=NodeCommand, example="mailnode alias list --domain example.org")
@click.option("--domain", "domain_name", metavar="NAME", help="Only this domain's.")
@click.pass_context
def alias_list(ctx: click.Context, domain_name: str | None) -> None:
    """List the aliases and where each leads."""
    with open_accounts(ctx) as accounts:
        found = accounts.aliases(read_domain(domain_name) if domain_name else None)
    targets: dict[str, list[str]] = {}
    for item in found:
        targets.setdefault(item.source, []).append(item.target)
    rows = [{"source": source, "targets": to} for source, to in targets.items()]
    if answer_json(ctx, rows):
        return
    if not rows:
        output.say("there is no alias; one is made by: mailnode alias add SOURCE TARGET")
        return
    output.show_table(
        ["mail for", "goes to"], [(source, ", ".join(to)) for source, to in targets.items()]
    )


@alias.command("delete", cls=NodeCommand, example="mailnode alias delete sales@example.org")
@click.argument("source")
@click.argument("target", required=False)
@click.pass_context
def alias_delete(ctx: click.Context, source: str, target: str | None) -> None:
    """Delete one target of an alias, or all of them."""
    with open_accounts(ctx, change=True) as accounts:
        source = with_domain(accounts, source)
        target = with_domain(accounts, target) if target else None
        accounts.delete_alias(
            str(read_address(source)), str(read_address(target)) if target else None
        )
    if not answer_json(ctx, {"source": source, "target": target, "deleted": True}):
        output.say(f"mail for {source} goes no longer to {target or 'where it went'}")
