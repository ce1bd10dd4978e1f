"""`route`: which way mail for other hosts goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailnode.addresses import Address, bracketed
from mailnode.cli import output
from mailnode.cli.frame import NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, read_address
from mailnode.model import Remote
from mailnode.routes import BY_MX, ENDS, TLS_WISHES, Route, read_route
from mailnode.sealing import read_password_file
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
    output.say(f"mail for {wanted.pattern} {_way(wanted)}")
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
        [(each.pattern, each.target, _tls(each), each.password_file) for each in found],
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
    mailboxes: list[str] = []
    ways: list[Address] = []
    if directory.is_local(wanted.domain):
        for each in directory.expand(wanted):
            if isinstance(each, Remote):
                ways.append(each.address)
            else:
                mailboxes.append(each.mailbox)
    else:
        ways.append(wanted)
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
        output.show_facts(_told(directory, wanted, way))


def _told(directory: Directory, wanted: Address, way: Address) -> list[tuple[str, str]]:
    found = directory.route_for(way)
    told = [("mail for", str(wanted))]
    if way != wanted:
        told.append(("forwarded to", str(way)))
    told.append(("route", "none of its own" if found is BY_MX else found.pattern))
    told.append(("way", _way(found)))
    if found.kind not in ENDS:
        told.append(("tls", _tls_in_words(found)))
    if found.user:
        told.append(("sign-in", f"as {found.user}, password in {found.password_file}"))
    told.append(("gear", gear_in_words(directory, way)))
    return told


def gear_in_words(directory: Directory, address: Address) -> str:
    """What the gear makes of mail for an address elsewhere."""
    if directory.may_leave(address):
        return f"{directory.gear}: it leaves"
    listed = "" if directory.gear == "capture" else ", for nothing on its list names the address"
    return f"{directory.gear}: it is kept here and shown, and does not leave{listed}"


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
        "tls": _tls(route),
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


def _way(route: Route) -> str:
    """What becomes of its mail, in words."""
    if route.kind == "mx":
        return "goes to the hosts that the DNS names (MX)"
    if route.kind == "discard":
        return "is thrown away"
    if route.kind == "refuse":
        return "goes back to its sender"
    if route.kind == "hold":
        return "waits in the queue until somebody releases it"
    protocol = {"smtp": "SMTP", "smtps": "SMTP inside TLS", "lmtp": "LMTP"}[route.kind]
    if not route.port:
        return f"goes to the socket {route.host} by {protocol}"
    return f"goes to {bracketed(route.host)} port {route.port} by {protocol}"


def _tls(route: Route) -> str:
    return "" if route.kind in ENDS else route.tls


def _tls_in_words(route: Route) -> str:
    if route.tls == "verify":
        return "always, and the certificate must be the host's"
    if route.tls == "none":
        return "never"
    if route.kind == "smtps":
        return "from the first octet, whatever the certificate"
    return "when it is offered, whatever the certificate"
