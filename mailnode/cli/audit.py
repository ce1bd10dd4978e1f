"""`audit`: who was let in, and who changed what."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from mailnode.audited import EVENTS
from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import EX_DATAERR, NodeCommand, NodeGroup, answer_json, config_of
from mailnode.config import Config
from mailnode.store.audit_file import AuditFile
from mailnode.store.audit_lines import (
    FOLDER,
    Head,
    Line,
    facts_of,
    read_head_text,
    verify,
)
from mailnode.store.audit_search import Wanted, find_lines
from mailnode.values import read_typed_duration, unit_hint

WRITTEN_S = 0.3


@click.group(cls=NodeGroup, example="mailnode audit show --since 1d")
def audit() -> None:
    """The audit stream: sign-ins, failures, and changes of accounts and settings, by whom."""


def _read_since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """A time, or how long ago it was; UTC epoch seconds."""
    if value is None:
        return None
    try:
        return time.time() - read_typed_duration(value)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        hint = f"; {meant}" if (meant := unit_hint(value)) else ""
        raise click.BadParameter(f"{value!r} is no time, such as 7d or 2027-01-31{hint}") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


@audit.command(
    "show",
    cls=NodeCommand,
    example="mailnode audit show --since 7d\n"
    "mailnode audit show --account carol@example.org --json",
)
@click.option(
    "--since",
    callback=_read_since,
    metavar="TIME",
    help="Only what happened since then: 30m, 7d, or 2027-01-31 (UTC).",
)
@click.option("--account", metavar="ADDRESS", help="About this account, or done by it.")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(list(EVENTS)),
    metavar="EVENT",
    help="Only this, such as sign-in-failed; may be given several times.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=100_000),
    default=100,
    show_default=True,
    help="The newest so many.",
)
@click.pass_context
def audit_show(
    ctx: click.Context,
    since: float | None,
    account: str | None,
    events: tuple[str, ...],
    limit: int,
) -> None:
    """Show what happened, the oldest of it first."""
    config = config_of(ctx)
    if ring_from_outside(config.data_path, "journal"):  # what a node has in hand is written
        time.sleep(WRITTEN_S)
    wanted = Wanted(account or "", events, since)
    newest, _older = find_lines(config.data_path, wanted, limit, scanned_lines=None)
    found = newest[::-1]
    if answer_json(ctx, [facts_of(each) for each in found]):
        return
    if not found:
        output.say("the audit stream has nothing of that")
        return
    output.show_table(
        ["when", "event", "account", "by", "from", "more"],
        [
            (
                output.when(each.entry.at),
                each.entry.event,
                each.entry.account,
                _who(each),
                each.entry.actor.client,
                " ".join(f"{key}={value}" for key, value in each.entry.detail.items()),
            )
            for each in found
        ],
    )


def _who(line: Line) -> str:
    actor = line.entry.actor
    by = "" if actor.by == line.entry.account else actor.by
    return f"{by} ({actor.way})" if by and actor.way else by or actor.way or "the node"


def _read_head(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Head | None:
    if value is None:
        return None
    try:
        return read_head_text(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not {error}") from None


@audit.command(
    "verify",
    cls=NodeCommand,
    example="mailnode audit verify\n"
    "mailnode audit verify --expect "
    "812:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)
@click.option(
    "--expect",
    callback=_read_head,
    metavar="HEAD",
    help="NUMBER:HASH as an earlier `audit verify` told it and somebody kept elsewhere: the line of"
    " that number must be there still, with that hash.",
)
@click.pass_context
def audit_verify(ctx: click.Context, expect: Head | None) -> None:
    """Tell whether a line was changed, cut out or put in, and the head.

    The head is the number and hash of the last line. Keep it where nobody who may write to the data
    folder gets at it: given to --expect later, it shows even a stream that was made anew whole.
    """
    config = config_of(ctx)
    with _nobody_appends(config):
        found = verify(config.data_path, expect)
    told = {
        "lines": found.lines,
        "head": str(found.head),
        "faults": [
            {"file": each.file, "line": each.line, "what": each.what} for each in found.faults
        ],
    }
    if not answer_json(ctx, told):
        for each in found.faults:
            where = f"{each.file}, line {each.line}: " if each.line else ""
            output.say(f"{where}{each.what}")
        lines = output.count(found.lines, "line")
        whole = "the chain is whole" if not found.faults else "the chain is not whole"
        output.say(f"{lines}, {whole}; head {found.head}")
    if found.faults:
        ctx.exit(EX_DATAERR)


@contextmanager
def _nobody_appends(config: Config) -> Iterator[None]:
    """As far as who runs this may say so."""
    if not os.access(config.data_path / FOLDER, os.W_OK):
        yield
        return
    with AuditFile(config.data_path).locked():
        yield
