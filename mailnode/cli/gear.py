"""`gear`: how far mail goes, and what stands in the way of going live."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import click

from mailnode.cli import output
from mailnode.cli.checkup import GOOD, Finding, fault, say_findings, warning
from mailnode.cli.checkup_network import check_hostname
from mailnode.cli.frame import (
    EX_CONFIG,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import open_accounts
from mailnode.config import Config
from mailnode.routes import GEARS, Gear
from mailnode.store.accounts import Directory

# Nobody can answer mail from these (RFC 2606, RFC 6761, RFC 6762, and what is meant for a house).
RESERVED = ("test", "example", "invalid", "localhost", "local", "internal", "localdomain")
RESERVED_DOMAINS = ("example.com", "example.net", "example.org")

_MEANING = {
    "capture": "mail for other hosts is kept here and shown, and does not leave",
    "allow-list": "only mail for these leaves; what is for others is kept here and shown",
    "live": "mail for other hosts leaves",
}

Check = Callable[[Config, Directory], Iterator[Finding]]


def check_name(config: Config, directory: Directory) -> Iterator[Finding]:
    """Receivers look the host's name up."""
    yield from check_hostname(config)


def check_domains(config: Config, directory: Directory) -> Iterator[Finding]:
    """Domains that exist, each with a key that signs its mail."""
    if not directory.domains:
        yield fault("domains", "no domain is served", "mailnode domain add YOUR.DOMAIN")
    for name in directory.domains:
        if name.rpartition(".")[2] in RESERVED or name in RESERVED_DOMAINS:
            yield fault(
                "domains",
                f"{name} is reserved for examples: mail from it is refused, and nobody can answer",
                f"serve a domain of your own, and delete this one: mailnode domain delete {name}",
            )
        elif not directory.signing_keys(name):
            yield warning(
                "dkim",
                f"mail from {name} is not signed: many receivers refuse it or call it spam",
                f"mailnode dkim generate {name}",
            )


def check_demo_accounts(config: Config, directory: Directory) -> Iterator[Finding]:
    """Whoever knows a published password would send in our name."""
    for account in directory.demo_accounts:
        yield fault(
            "demo",
            f"the password of {account.address} is published: anybody may send with it",
            f"mailnode user delete {account.address} --yes, or mailnode user passwd "
            f"{account.address}",
        )


CHECKS: tuple[Check, ...] = (check_name, check_domains, check_demo_accounts)


def checks(config: Config, directory: Directory) -> list[Finding]:
    """What would make receivers refuse our mail, or let strangers send it; none is good."""
    found = [finding for check in CHECKS for finding in check(config, directory)]
    return [finding for finding in found if finding.level != GOOD]


@click.group(cls=NodeGroup, example="mailnode gear set live")
def gear() -> None:
    """How far mail for other hosts goes."""


@gear.command("show", cls=NodeCommand, example="mailnode gear show")
@click.pass_context
def gear_show(ctx: click.Context) -> None:
    """Show the gear: capture, allow-list or live."""
    with open_accounts(ctx) as accounts:
        now = accounts.outside.gear()
    if not answer_json(ctx, {"gear": now.name, "allow": list(now.allowed)}):
        _say(now)


def _say(now: Gear) -> None:
    output.say(f"{now.name}: {_MEANING[now.name]}")
    if now.allowed:
        unused = "" if now.name == "allow-list" else " (not asked in this gear)"
        output.say(f"on the list: {', '.join(now.allowed)}{unused}")
    if now.name == "capture":
        output.say("to send to the world: mailnode gear set live")


@gear.command(
    "set",
    cls=NodeCommand,
    example="mailnode gear set live\n"
    "mailnode gear set allow-list --allow example.net --allow bob@example.com",
)
@click.argument("name", type=click.Choice(GEARS), metavar="GEAR")
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="Address, domain, .DOMAIN or * that mail may go to; may be given again.",
)
@click.option("--yes", is_flag=True, help="Go live in spite of what is found.")
@click.pass_context
def gear_set(ctx: click.Context, name: str, allow: tuple[str, ...], yes: bool) -> None:
    """Choose how far mail goes: capture, allow-list or live.

    Before it goes live, what would make receivers refuse its mail is named, and nothing changes
    unless --yes is given. Mail that was captured before stays.
    """
    if allow and name != "allow-list":
        raise Mistake(f"--allow goes with allow-list, not with {name}", EX_USAGE)
    config = config_of(ctx)
    with open_accounts(ctx, change=True) as accounts:
        before = accounts.outside.gear()
        wanted = Gear(name, allow or before.allowed)
        if name == "allow-list" and not wanted.allowed:
            raise Mistake("the list is empty, so nothing would leave: name with --allow who may")
        findings = []
        if name == "live":
            findings = checks(config, accounts.load_directory(config.accounts.subaddress))
        goes = yes or not findings
        if goes:
            accounts.outside.set_gear(wanted)
        now = accounts.outside.gear()
    answer = {
        "gear": now.name,
        "allow": list(now.allowed),
        "changed": goes,
        "findings": [attrs.asdict(finding) for finding in findings],
    }
    if not answer_json(ctx, answer):
        say_findings(findings)
        if goes:
            _say(now)
        else:
            output.say(
                f"the gear stays {now.name}; mend this, or say --yes to go live all the same"
            )
    if not goes:
        ctx.exit(EX_CONFIG)
