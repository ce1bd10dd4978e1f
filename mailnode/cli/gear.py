"""`gear`: how far mail goes, and what stands in the way of going live."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import click

from mailnode.cli import output
from mailnode.cli.checkup import GOOD, Finding, fault, say_findings
from mailnode.cli.checkup_network import check_hostname
from mailnode.cli.checkup_published import (
    check_port_out,
    check_published,
    is_reserved,
    not_looked_at,
)
from mailnode.cli.checkup_sending import check_signing
from mailnode.cli.frame import (
    EX_CONFIG,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import open_accounts, read_domain
from mailnode.cli.published import make_look_up
from mailnode.config import Config
from mailnode.machine import outward_addresses
from mailnode.routes import GEARS, Gear
from mailnode.signposts import GEARS_MEAN
from mailnode.store.accounts import Directory


def check_domains(directory: Directory) -> Iterator[Finding]:
    """Domains that exist."""
    if not directory.domains:
        yield fault("domains", "no domain is served", "mailnode domain add YOUR.DOMAIN")
    for name in directory.domains:
        if is_reserved(name):
            yield fault(
                "domains",
                f"{name} is reserved for examples: mail from it is refused, and nobody can answer",
                f"serve a domain of your own, and delete this one: mailnode domain delete {name}",
            )


def check_demo_accounts(directory: Directory) -> Iterator[Finding]:
    """Whoever knows a published password would send in our name."""
    for account in directory.demo_accounts:
        yield fault(
            "demo",
            f"the password of {account.address} is published: anybody may send with it",
            f"mailnode user delete {account.address} --yes, or mailnode user passwd "
            f"{account.address}",
        )


def checks(config: Config, directory: Directory, probe: str | None) -> list[Finding]:
    """What would make receivers refuse our mail, or let strangers send it; none is good.

    Args:
        probe: a domain whose mail host is connected to; None: nobody is.
    """
    found = [
        *check_hostname(config),
        *check_domains(directory),
        *check_signing(directory),
        *check_demo_accounts(directory),
    ]
    try:
        look_up = make_look_up(config, None)
    except Mistake as error:
        found.append(not_looked_at(error))
    else:
        found += check_published(config, directory, look_up, outward_addresses())
        found += check_port_out(config, probe, look_up) if probe else ()
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
    output.say(f"{now.name}: {GEARS_MEAN[now.name]}")
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
@click.option(
    "--probe",
    metavar="DOMAIN",
    help="Before going live, try port 25 with this domain's mail host, which is greeted.",
)
@click.option("--yes", is_flag=True, help="Go live in spite of what is found.")
@click.pass_context
def gear_set(
    ctx: click.Context, name: str, allow: tuple[str, ...], probe: str | None, yes: bool
) -> None:
    """Choose how far mail goes: capture, allow-list or live.

    Before it goes live, what would make receivers refuse its mail is named, and nothing changes
    unless --yes is given: the names of the host and of its addresses, each domain's records as
    they are published, keys that sign. Mail that was captured before stays.
    """
    if allow and name != "allow-list":
        raise Mistake(f"--allow goes with allow-list, not with {name}", EX_USAGE)
    if probe and name != "live":
        raise Mistake(f"--probe goes with live, not with {name}", EX_USAGE)
    probe = read_domain(probe) if probe else None
    config = config_of(ctx)
    with open_accounts(ctx, change=True) as accounts:
        before = accounts.outside.gear()
        wanted = Gear(name, allow or before.allowed)
        if name == "allow-list" and not wanted.allowed:
            raise Mistake("the list is empty, so nothing would leave: name with --allow who may")
        findings = []
        if name == "live":
            findings = checks(config, accounts.load_directory(config.accounts.subaddress), probe)
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
            if name == "live" and not probe:
                output.say(
                    "whether port 25 is open outwards was not tried; mailnode gear set live "
                    "--probe DOMAIN greets the mail host of a domain that you know"
                )
        else:
            output.say(
                f"the gear stays {now.name}; mend this, or say --yes to go live all the same"
            )
    if not goes:
        ctx.exit(EX_CONFIG)
