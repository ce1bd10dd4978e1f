"""`dns`: the records that a domain publishes for its mail, shown and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.checkup_network import beyond_loopback, host_name, read_endpoint
from mailnode.cli.frame import EX_TEMPFAIL, NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, read_domain, running_node
from mailnode.cli.published import (
    DIFFERS,
    MISSING,
    RIGHT,
    UNKNOWN,
    Compared,
    compare,
    compare_host,
    make_look_up,
)
from mailnode.cli.records import (
    STANDARD_PORTS,
    Record,
    policy_text,
    policy_url,
    wanted_records,
    zone_text,
)
from mailnode.config import Config
from mailnode.machine import outward_addresses

EX_DIFFERENT = 1
_KINDS = {"submissions": "smtps", "submission": "submission", "pop3s": "pop3s", "pop3": "pop3"}
_STYLES = {RIGHT: "green", MISSING: "red", DIFFERS: "red", UNKNOWN: "yellow"}

SERVER = click.option(
    "--server",
    metavar="ADDRESS[:PORT]",
    help="Ask this DNS server; outbound.resolvers or this machine's unless given.",
)


@click.group(cls=NodeGroup, example="mailnode dns show example.org")
def dns() -> None:
    """The DNS records that others judge a domain's mail by."""


@dns.command(
    "show",
    cls=NodeCommand,
    example="mailnode dns show example.org",
)
@click.argument("domain")
@click.pass_context
def dns_show(ctx: click.Context, domain: str) -> None:
    """Print every record to publish for a domain, as a zone file.

    Asks nobody: it says what should be there, not what is.
    """
    domain, host = read_domain(domain), host_name(config_of(ctx))
    addresses = outward_addresses()
    records = _wanted(ctx, domain, host, addresses)
    facts = {
        "domain": domain,
        "host": host,
        "addresses": addresses,
        "records": [_facts(record) for record in records],
        "mta_sts_policy": {"url": policy_url(domain), "text": policy_text(host)},
    }
    if not answer_json(ctx, facts):
        click.echo(zone_text(domain, host, records, addresses), nl=False)


@dns.command(
    "check",
    cls=NodeCommand,
    example="mailnode dns check example.org\nmailnode dns check example.org --server 192.0.2.53",
)
@click.argument("domain")
@SERVER
@click.pass_context
def dns_check(ctx: click.Context, domain: str, server: str | None) -> None:
    """Compare what a domain publishes with what it should.

    Looks at the names of the host's addresses (PTR) too. Exit code 1 when a record that is
    needed is missing or differs; 75 when the DNS could not tell.
    """
    domain, host = read_domain(domain), host_name(config_of(ctx))
    look_up = make_look_up(config_of(ctx), server)
    found = list(compare_host(host, outward_addresses(), look_up))
    records = _wanted(ctx, domain, host, found[0].published)
    found += compare(records, look_up)
    needed = [each.status for each in found if each.record.needed]
    if not answer_json(
        ctx,
        {
            "domain": domain,
            "host": host,
            "right": all(status == RIGHT for status in needed),
            "records": [
                _facts(each.record) | {"status": each.status, "published": each.published}
                for each in found
            ],
        },
    ):
        for each in found:
            _say(each)
        counts = (f"{_count(found, status)} {status}" for status in _STYLES)
        output.say(", ".join(counts))
    if MISSING in needed or DIFFERS in needed:
        ctx.exit(EX_DIFFERENT)
    if UNKNOWN in needed:
        ctx.exit(EX_TEMPFAIL)


def _wanted(ctx: click.Context, domain: str, host: str, addresses: Sequence[str]) -> list[Record]:
    """Raises NotFound when the domain is not served here."""
    with open_accounts(ctx) as accounts:
        keys = accounts.outside.keys(domain)
    return wanted_records(domain, host, keys, service_ports(config_of(ctx)), addresses)


def service_ports(config: Config) -> Mapping[str, int]:
    """The ports that people's mail programs reach the node at, or will by the standard.

    What listens on this machine alone is for tests, or behind something that has the real port.
    """
    running = running_node(config)
    found: dict[str, int] = {}
    for service, kind in _KINDS.items():
        told = running.listening[kind] if running else getattr(config.listen, kind)
        for text in filter(beyond_loopback, told):
            listening = read_endpoint(text)
            port = listening.port if listening else int(text.rpartition(":")[2])
            if port:
                found.setdefault(service, port)
    return found or STANDARD_PORTS


def _facts(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "type": record.kind,
        "value": record.value,
        "about": record.about,
        "needed": record.needed,
    }


def _count(found: list[Compared], status: str) -> int:
    return sum(each.status == status for each in found)


def _say(each: Compared) -> None:
    record = each.record
    optional = "" if record.needed or each.status == RIGHT else " (not needed)"
    output.say(
        f"{each.status + ':':8} {record.kind} {record.name}: {record.about}{optional}",
        _STYLES[each.status],
    )
    if each.status == RIGHT:
        return
    for value in each.published:
        output.say(f"{'':8} is:        {value}")
    if each.status == UNKNOWN:
        output.say(f"{'':8} the DNS servers could not tell")
    output.say(f"{'':8} should be: {record.value or 'the address that others see'}")
