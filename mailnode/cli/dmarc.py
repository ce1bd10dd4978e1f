"""`dmarc`: what the domains that ask for it are told of mail that says it is from there."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any

import click

from mailnode.addresses import Address, parse_address
from mailnode.cli import output
from mailnode.cli.frame import EX_NOINPUT, Mistake, NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, read_domain, running_node
from mailnode.config import Config
from mailnode.machine import find_hostname
from mailnode.mailauth.dmarc_seen import Seen
from mailnode.outbound.tls_outcomes import day_of
from mailnode.reports.mails import Reporter, write_report
from mailnode.store.dmarc_file import NAME
from mailnode.store.dmarc_rows import Collected, read_left_out, read_report, read_reports
from mailnode.store.sqlite import reading

Read = tuple[Collected, Sequence[tuple[Seen, int]]]


def _read_day(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    if text in ("today", "yesterday"):
        return day_of(time.time() - 86400 * (text == "yesterday"))
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no day; one is such as 2027-01-31, today or yesterday"
        ) from None


DAY_HELP = "A day in UTC, such as 2027-01-31, today or yesterday"


@click.group(cls=NodeGroup, example="mailnode dmarc show")
def dmarc() -> None:
    """What domains are told daily of mail that says it is from there (DMARC)."""


@dmarc.command(
    "show",
    cls=NodeCommand,
    example="mailnode dmarc show\nmailnode dmarc show --domain example.org --day yesterday",
)
@click.option("--domain", metavar="NAME", help="Of this domain alone, with what came from where.")
@click.option("--day", metavar="DAY", callback=_read_day, help=f"{DAY_HELP}; all unless given.")
@click.pass_context
def dmarc_show(ctx: click.Context, domain: str | None, day: str | None) -> None:
    """Show what was collected, by day and domain, and what became of each report."""
    name = read_domain(domain) if domain is not None else ""
    with _open_counts(config_of(ctx)) as connection:
        reports = read_reports(connection, day=day or "", domain=name)
        left_out = read_left_out(connection)
        read = [
            found for each in reports if name and (found := read_report(connection, each.report_id))
        ]
    if answer_json(ctx, [_facts(*each) for each in read] if name else list(map(_of, reports))):
        return
    if not reports:
        output.say("nothing was collected of that")
        return
    output.show_table(
        ["day", "domain", "mails", "rows", "state", "note"],
        [
            (each.day, each.domain, str(each.mails), str(each.rows), each.state, each.note)
            for each in reports
        ],
        right=["mails", "rows"],
    )
    for report, rows in read:
        click.echo()
        output.say(f"{report.day}, {report.domain}: {report.record}")
        output.show_table(
            ["mails", "from", "disposition", "dkim", "spf", "header from", "envelope from", "why"],
            [_line(seen, mails) for seen, mails in rows],
            right=["mails"],
        )
    for each_day, mails in left_out.items():
        if mails and day in (None, each_day):
            output.say(f"{each_day}: {output.count(mails, 'mail')} found no room", "yellow")


@dmarc.command(
    "report",
    cls=NodeCommand,
    example="mailnode dmarc report --domain example.org --day yesterday",
)
@click.option("--domain", metavar="NAME", required=True, help="Which domain.")
@click.option("--day", metavar="DAY", callback=_read_day, help=f"{DAY_HELP}; today unless given.")
@click.pass_context
def dmarc_report(ctx: click.Context, domain: str, day: str | None) -> None:
    """Print the XML that a domain would be sent for a day, or was; nothing is sent by that.

    A domain that changed its policy in that day gets a report for each; they stand one behind the
    other. Whom they say they are from is by the settings that this command finds: --config, or else
    MAILNODE_CONFIG and the environment of this shell, which the node may not have.
    """
    config, name, day = config_of(ctx), read_domain(domain), day or day_of(time.time())
    with _open_counts(config) as connection:
        reports = read_reports(connection, day=day, domain=name)
        read = [each for one in reports if (each := read_report(connection, one.report_id))]
    read = [each for each in read if each[1]]
    if not read:
        raise Mistake(
            f"nothing was collected of {name} on {day}; see: `mailnode dmarc show`", EX_NOINPUT
        )
    reporter = _reporter(ctx, config)
    texts = [write_report(report, rows, reporter).decode() for report, rows in read]
    facts = [_facts(*each) | {"xml": text} for each, text in zip(read, texts, strict=True)]
    if not answer_json(ctx, facts):
        for text in texts:
            click.echo(text, nl=False)


@contextmanager
def _open_counts(config: Config) -> Iterator[Connection]:
    path = config.data_path / NAME
    if not path.exists():
        raise Mistake(
            f"there is no {path}: nothing was collected yet; set judging.dmarc_reports to collect",
            EX_NOINPUT,
        )
    with reading(path) as connection:
        yield connection


def _reporter(ctx: click.Context, config: Config) -> Reporter:
    """As the node would report."""
    running = running_node(config)
    hostname = running.hostname if running else config.node.hostname or find_hostname()
    address = config.judging.dmarc_reporter
    if address:
        found = parse_address(address)
    else:
        with open_accounts(ctx) as accounts:
            domains = accounts.domains()
        found = Address("postmaster", domains[0].name if domains else hostname)
    return Reporter(config.judging.dmarc_organization or hostname, found, hostname)


def _line(seen: Seen, mails: int) -> tuple[str, ...]:
    why = "; ".join(": ".join(filter(None, each)) for each in seen.overrides)
    return (
        str(mails),
        seen.source,
        seen.disposition,
        seen.dkim,
        seen.spf,
        seen.header_from,
        seen.envelope_from or "<>",
        why,
    )


def _of(report: Collected) -> dict[str, Any]:
    return {
        "day": report.day,
        "domain": report.domain,
        "policy": report.record,
        "mails": report.mails,
        "left_out": report.left_out,
        "state": report.state,
        "settled_at": report.settled_at,
        "note": report.note,
    }


def _facts(report: Collected, rows: Sequence[tuple[Seen, int]]) -> dict[str, Any]:
    return _of(report) | {
        "rows": [
            {
                "mails": mails,
                "source": seen.source,
                "disposition": seen.disposition,
                "dkim": seen.dkim,
                "spf": seen.spf,
                "overrides": [_named("type comment", each) for each in seen.overrides],
                "header_from": seen.header_from,
                "envelope_from": seen.envelope_from,
                "envelope_to": seen.envelope_to,
                "signatures": [_named("domain selector result", each) for each in seen.signatures],
                "spf_check": _named("domain scope result", seen.spf_check),
            }
            for seen, mails in rows
        ]
    }


def _named(names: str, values: Sequence[str]) -> dict[str, str]:
    return dict(zip(names.split(), values, strict=True))
