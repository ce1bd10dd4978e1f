"""`route`: which way mail for other hosts goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailnode.addresses import Address
from mailnode.cli import output
from mailnode.cli.frame import NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, read_address
from mailnode.routes import BY_MX, TLS_WISHES, Route, read_route
from mailnode.sealing import read_password_file
from mailnode.signposts import tell_way, tls_of, way_in_words, ways_for
from mailnode.store.accounts import Directory


@click.group(cls=NodeGroup, example="mailnode route add example.net smtp://relay.example.org")
def route() -> None:
    """The ways of mail for other hosts."""


@route.command(
    "add",
    cls=NodeCommand,
    example="mailnode route add '*' smtps://carol@relay.example.org --password-file FILE\n"
    "mailnode route add example.net lmtp:///run/dovecot/lmtp\n"
    "mailnode route add .example.com hold",
)
@click.argument("pattern")
@click.argument("target")
@click.option(
    "--tls",
    type=click.Choice(TLS_WISHES),
    help="may: when it is offered; verify: always, with a right certificate; none: never.",
)
@click.option(
    "--password-file", metavar="FILE", help="File with the user's password on its first line."
)
@click.pass_context
def route_add(
    ctx: click.Context, pattern: str, target: str, tls: str | None, password_file: str | None
) -> None:
    """Send mail for PATTERN to TARGET.

    PATTERN is an address, a domain, .DOMAIN for all that lies under it, or *. TARGET is mx,
    smtp://HOST:PORT, smtps://USER@HOST:PORT, lmtp://HOST:PORT, lmtp:///PATH, discard, refuse or
    hold. The most specific pattern wins.
    """
    file = str(Path(password_file).absolute()) if password_file else ""
    wanted = read_route(pattern, target, tls=tls, password_file=file)
    if file:
        read_password_file(Path(file))
    with open_accounts(ctx, change=True) as accounts:
        accounts.outside.add_route(wanted)
        local = {domain.name for domain in accounts.domains()}
    if answer_json(ctx, route_facts(wanted)):
        return
    output.say(f"mail for {wanted.pattern} {way_in_words(wanted)}")
    if wanted.pattern.rpartition("@")[2] in local:
        output.say("that is a domain of this node: its mail is filed here, and no route is asked")


@route.command("list", cls=NodeCommand, example="mailnode route list")
@click.pass_context
def route_list(ctx: click.Context) -> None:
    """List the routes. What none of them names goes by MX."""
    with open_accounts(ctx) as accounts:
        found = accounts.outside.routes()
    if answer_json(ctx, [route_facts(each) for each in found]):
        return
    if not found:
        output.say("there is no route: all mail for other hosts goes by MX")
        return
    output.show_table(
        ["mail for", "goes to", "tls", "password"],
        [(each.pattern, each.target, tls_of(each), each.password_file) for each in found],
    )


@route.command("delete", cls=NodeCommand, example="mailnode route delete example.net")
@click.argument("pattern")
@click.pass_context
def route_delete(ctx: click.Context, pattern: str) -> None:
    """Delete the route of PATTERN: a less specific one counts from then on, or MX."""
    with open_accounts(ctx, change=True) as accounts:
        accounts.outside.delete_route(pattern)
    if not answer_json(ctx, {"deleted": pattern}):
        output.say(f"mail for {pattern} has no route of its own any more")


@route.command("test", cls=NodeCommand, example="mailnode route test bob@example.net")
@click.argument("address")
@click.pass_context
def route_test(ctx: click.Context, address: str) -> None:
    """Tell which way mail for ADDRESS would go. Nobody is connected to."""
    wanted = read_address(address)
    with open_accounts(ctx) as accounts:
        directory = accounts.load_directory(config_of(ctx).accounts.subaddress)
    mailboxes, ways = ways_for(directory, wanted)
    facts = {
        "address": str(wanted),
        "mailboxes": mailboxes,
        "elsewhere": [_test_facts(directory, each) for each in ways],
    }
    if answer_json(ctx, facts):
        return
    if mailboxes:
        output.say(f"mail for {wanted} is filed here, for {', '.join(mailboxes)}")
    for way in ways:
        output.show_facts(tell_way(directory, wanted, way))


def route_facts(route: Route) -> dict[str, Any]:
    """A route as --json shows it."""
    return {
        "pattern": route.pattern,
        "target": route.target,
        "kind": route.kind,
        "host": route.host,
        "port": route.port,
        "user": route.user,
        "password_file": route.password_file,
        "tls": tls_of(route),
    }


def _test_facts(directory: Directory, address: Address) -> dict[str, Any]:
    found = directory.route_for(address)
    return {
        "address": str(address),
        "has_route": found is not BY_MX,
        **route_facts(found),
        "gear": directory.gear,
        "leaves": directory.may_leave(address),
    }
