"""How the commands speak to people: tables, times, sizes, and text made harmless."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mailnode.telling import age, count, day_and_time, size, when

__all__ = [
    "age",
    "console",
    "count",
    "day_and_time",
    "printable",
    "progress_console",
    "say",
    "show_facts",
    "show_table",
    "size",
    "when",
]

_WIDE = 4096  # columns where nobody looks: a pipe's lines are never cut or folded


def printable(text: str, keep: str = "") -> str:
    """`text` without what could steer a terminal: a stranger wrote the subject."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def console() -> Console:
    """Standard output as it is now; colours on a terminal alone."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(
        file=sys.stdout, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False
    )


def progress_console() -> Console:
    """Standard error, for what moves while one waits."""
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """One paragraph; on a terminal in `style`."""
    console().print(Text(printable(text, keep="\n"), style=style), soft_wrap=True)


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Sequence[str] = (),
    cut: Sequence[str] = (),
) -> None:
    """Rows under their heads; on a terminal without the columns that hold nothing.

    Args:
        right: columns that are set to the right.
        cut: columns that have one line on a terminal, however long it would be.
    """
    out, lines = console(), list(rows)
    shown = [
        at for at in range(len(columns)) if not out.is_terminal or any(line[at] for line in lines)
    ]
    table = Table(box=SIMPLE_HEAD if out.is_terminal else None, pad_edge=False)
    for column in (columns[at] for at in shown):
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="ellipsis" if column in cut else "fold",
            no_wrap=column in cut,
        )
    for line in lines:
        table.add_row(*(Text(printable(line[at], keep="\n")) for at in shown))
    _print(out, table)


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line."""
    out = console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(printable(value, keep="\n")))
    _print(out, table)


def _print(out: Console, table: Table) -> None:
    """On a terminal as it is; elsewhere without the blanks at the ends of lines."""
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
