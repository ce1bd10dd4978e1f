"""`clock`: moves a test node's clock on, and shows it."""

from __future__ import annotations

import datetime
import time

import click

from mailnode.bell import ring_from_outside
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_CONFIG,
    EX_TEMPFAIL,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
)
from mailnode.cli.node import running_node
from mailnode.due import CLOCK, read_clock, write_clock
from mailnode.values import read_typed_duration

TICK_S = 0.05


@click.group(
    cls=NodeGroup,
    example="mailnode clock advance 5d",
    help="Move the clock of a node that was started with --clock=manual.",
)
def clock() -> None:
    pass


@clock.command("advance", cls=NodeCommand, example="mailnode clock advance 5d")
@click.argument("duration")
@click.option(
    "--wait",
    "wait_s",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until all that fell due is done.",
)
@click.pass_context
def advance(ctx: click.Context, duration: str, wait_s: float) -> None:
    """Let DURATION ("90m", "5d") go by at once: retries, notices and expiry run in their order.

    For tests: only a node that was started with --clock=manual does so.
    """
    try:
        by_s = read_typed_duration(duration)
    except ValueError as error:
        raise Mistake(f"{duration} is not {error}", EX_USAGE) from None
    config = config_of(ctx)
    if not config.node.clock == "manual" and running_node(config) is None:
        raise Mistake(
            "the node's clock is the wall's: start it with --clock=manual to move it", EX_CONFIG
        )
    path = config.data_path / CLOCK
    if not path.exists():
        raise Mistake(
            f"there is no {path}: a node with --clock=manual makes it at its start", EX_CONFIG
        )
    told = read_clock(path)
    wanted_s = max(told["ahead_s"], told["wanted_s"]) + by_s
    write_clock(path, ahead_s=told["ahead_s"], wanted_s=wanted_s)
    heard = ring_from_outside(config.data_path, "clock")
    until = time.monotonic() + wait_s
    while heard and (told := read_clock(path))["ahead_s"] < wanted_s:
        if time.monotonic() > until:
            raise Mistake(f"after {wait_s:g} s the node is still at work; it goes on", EX_TEMPFAIL)
        time.sleep(TICK_S)
    if not answer_json(ctx, {"ahead_s": told["ahead_s"], "now": time.time() + told["ahead_s"]}):
        if heard:
            output.say(f"it is {_moment(told['ahead_s'])} for the queue")
        else:
            output.say("no node is running: it takes this up when it starts", "yellow")


@clock.command("show", cls=NodeCommand, example="mailnode clock show")
@click.pass_context
def show(ctx: click.Context) -> None:
    """What time it is for the queue."""
    ahead_s = read_clock(config_of(ctx).data_path / CLOCK)["ahead_s"]
    if not answer_json(ctx, {"ahead_s": ahead_s, "now": time.time() + ahead_s}):
        output.say(
            f"it is {_moment(ahead_s)} for the queue, {ahead_s:g} s ahead of the wall's clock"
        )


def _moment(ahead_s: float) -> str:
    at = datetime.datetime.fromtimestamp(time.time() + ahead_s, datetime.UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
