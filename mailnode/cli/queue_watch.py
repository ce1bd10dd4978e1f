"""`queue watch`: the queue as it is now, and what happens in it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from attrs import define, field
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mailnode.cli import output
from mailnode.cli.frame import NodeCommand, config_of, wants_json
from mailnode.cli.node import require_mail
from mailnode.events import Event
from mailnode.store.journal import newest_row, read_since
from mailnode.store.lists import open_queue
from mailnode.store.queue import count_by_state
from mailnode.store.queue_desk import Destination, list_destinations
from mailnode.stories import tell_story

DESTINATIONS = 15
SHOWN_EVENTS = 12
EVENTS = ("queued", "relayed", "deferred", "bounced", "interrupted", "queue-changed")


@define
class Look:
    """The queue at one moment.

    Attributes:
        counts: recipients by state.
        events: what happened since the look before.
    """

    at: float
    counts: dict[str, int]
    destinations: list[Destination] = field(factory=list)
    events: list[Event] = field(factory=list)


@define
class Watcher:
    """Looks again and again."""

    path: Path
    _last_row: int | None = None

    def look(self) -> Look:
        with open_queue(self.path) as connection:
            now = time.time()
            return Look(
                now,
                count_by_state(connection),
                list_destinations(connection, now, DESTINATIONS),
                self._events(connection),
            )

    def _events(self, connection: sqlite3.Connection) -> list[Event]:
        if self._last_row is None:
            self._last_row = newest_row(connection)
            return []
        self._last_row, events = read_since(connection, self._last_row, EVENTS)
        return events


@click.command(
    "watch",
    cls=NodeCommand,
    example="mailnode queue watch\nmailnode queue watch --every 10 --times 6",
)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=1.0,
    help="How long between two looks, 1 unless given.",
)
@click.option(
    "--times",
    metavar="COUNT",
    type=click.IntRange(min=0),
    default=0,
    help="Look so often, and end; not given: until Ctrl-C.",
)
@click.pass_context
def queue_watch(ctx: click.Context, every: float, times: int) -> None:
    """Show the queue as it changes, until Ctrl-C.

    A page that is kept up to date on a terminal; elsewhere a line for each thing that happens and
    for each change of the counts, with --json an object.
    """
    watcher = Watcher(require_mail(config_of(ctx)))
    try:
        if output.console().is_terminal and not wants_json(ctx):
            with Live(console=output.console(), auto_refresh=False, transient=False) as live:
                page = Page()
                _repeat(lambda: live.update(page.of(watcher.look()), refresh=True), every, times)
        else:
            lines = Lines(_say_json if wants_json(ctx) else _say_words)
            _repeat(lambda: lines.tell(watcher.look()), every, times)
    except KeyboardInterrupt:
        return


def _repeat(look: Callable[[], object], every_s: float, times: int) -> None:
    left = times
    while True:
        began = time.monotonic()
        look()
        left -= 1
        if left == 0:
            return
        time.sleep(max(every_s, 4 * (time.monotonic() - began)))  # a look must not be a load


# On a terminal


@define
class Page:
    """What is shown: counts, destinations, and the last things that happened."""

    _lines: list[str] = field(factory=list)

    def of(self, look: Look) -> Group:
        self._lines = [*self._lines, *map(_line, look.events)][-SHOWN_EVENTS:]
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("destination", "recipients", "due", "leased", "held", "oldest", "last reply"):
            table.add_column(name, justify="left" if name[0] in "dlo" else "right", no_wrap=True)
        for each in look.destinations:
            table.add_row(*map(Text, map(output.printable, _cells(each, look.at))))
        parts: list[Any] = [Text(_summary(look), style="bold"), table]
        return Group(*parts, *(Text(line, no_wrap=True) for line in self._lines))


def _cells(each: Destination, now: float) -> list[str]:
    numbers = [each.recipients, each.due, each.leased, each.held]
    return [
        each.domain,
        *(str(number or "") for number in numbers),
        output.age(now - each.oldest_at),
        each.last_reply or "",
    ]


def _summary(look: Look) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in look.counts.items())
    return f"{output.when(look.at)}  {counts}"


def _line(event: Event) -> str:
    (told,) = tell_story(event.mail_id, [event]).lines
    return output.printable(f"{output.when(event.at)}  {event.mail_id}  {told.words}")


# Elsewhere


@define
class Lines:
    """Tells what is new since the look before."""

    _say: Callable[[Look, bool], None]
    _counts: dict[str, int] = field(factory=dict)

    def tell(self, look: Look) -> None:
        self._say(look, look.counts != self._counts)
        self._counts = look.counts


def _say_words(look: Look, counts_are_new: bool) -> None:
    for event in look.events:
        click.echo(_line(event))
    if counts_are_new:
        click.echo(_summary(look))


def _say_json(look: Look, counts_are_new: bool) -> None:
    if counts_are_new or look.events:
        events: Sequence[Any] = [{"event": each.name, **attrs.asdict(each)} for each in look.events]
        click.echo(json.dumps({"at": look.at, "counts": look.counts, "events": events}))
