"""`doctor`: what would not work, and the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import click

from mailnode.cli import output
from mailnode.cli.checkup import FAULT, GOOD, WARNING, Finding, fault, say_findings, warning
from mailnode.cli.checkup_dns import check_resolvers
from mailnode.cli.checkup_files import check_database, check_files, check_machine
from mailnode.cli.checkup_judging import check_judging
from mailnode.cli.checkup_network import check_certificate, check_hostname, check_ports
from mailnode.cli.checkup_people import check_accounts
from mailnode.cli.checkup_sending import check_sending
from mailnode.cli.checkup_settings import check_installation, check_plugins, check_settings
from mailnode.cli.frame import (
    EX_CONFIG,
    Mistake,
    NodeCommand,
    answer_json,
    config_of,
    told,
)
from mailnode.cli.node import running_node
from mailnode.config import Config, ConfigError

Check = Callable[[Config], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    check_settings,
    check_installation,
    check_plugins,
    check_judging,
    check_hostname,
    check_resolvers,
    check_accounts,
    check_files,
    check_database,
    check_sending,
    check_certificate,
    check_ports,
    check_machine,
)


def _findings(check: Check, config: Config) -> Iterator[Finding]:
    """What a check finds; what it may not look at is a finding too."""
    try:
        yield from check(config)
    except (OSError, Mistake) as error:
        _code, line = told(error)
        what, _, mend = line.partition("; ")
        yield fault("access", what, mend or "run this as the user that the node runs as")


def _settings_of_the_node(ctx: click.Context) -> tuple[Config, list[Finding]]:
    """Those of the node that runs, where it has them from another file than was named here."""
    config = config_of(ctx)
    running = running_node(config)
    if running is None or running.config is None:
        return config, []
    if config.path is not None:
        if config.path.absolute() == running.config:
            return config, []
        what = f"the node that runs has its settings from {running.config}, not from {config.path}"
        return config, [warning("settings", what, f"give --config {running.config}")]
    try:
        return config_of(ctx, running.config), []
    except ConfigError as error:
        what = f"the node that runs has its settings from {running.config}, and here it is: {error}"
        return config, [warning("settings", what, f"give --config {running.config}")]


_RANK = {FAULT: 0, WARNING: 1, GOOD: 2}


@click.command(cls=NodeCommand, example="mailnode doctor")
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Name what would not work, and the mend.

    Looks the node over whether it runs or not, and changes nothing. Exit code 78 when
    something would not work; what merely should be different is a warning.
    """
    config, findings = _settings_of_the_node(ctx)
    findings += [finding for check in CHECKS for finding in _findings(check, config)]
    findings.sort(key=lambda finding: _RANK[finding.level])
    faults = sum(finding.level == FAULT for finding in findings)
    warnings = sum(finding.level == WARNING for finding in findings)
    if not answer_json(
        ctx,
        {
            "healthy": not faults,
            "faults": faults,
            "warnings": warnings,
            "findings": [attrs.asdict(finding) for finding in findings],
        },
    ):
        say_findings(findings)
        totals = [output.count(faults, "fault"), output.count(warnings, "warning")]
        output.say(", ".join(totals))
    if faults:
        ctx.exit(EX_CONFIG)
