"""Puts a run's tables and charts into docs/performance.rst, between the marks that stand there.

A mark is a comment, `.. begin NAME` and `.. end NAME`; what stands between them is the run's,
everything else is written by people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.bench import charts, tables
from tests.bench.cells import CELLS, Cell
from tests.bench.charts import Bar, Line, Panel
from tests.bench.results import Results

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.rst"
CHARTS = DOCS / "performance"

GROUPS: Mapping[str, str] = {  # a mark of the page, and the title of its chart
    "smtp": "SMTP: mails a second that are in mailboxes",
    "smtp-tls": "The same with STARTTLS, a full handshake for each connection",
    "pop3": "POP3",
    "pop3-tls": "POP3 with STLS",
}


def group(cell: Cell) -> str:
    """The mark of the page that a cell's table stands at."""
    if cell.kind in ("smtp", "pop3") and cell.name not in ("list100k", "crowd500", "steady500"):
        return cell.kind + ("-tls" if cell.is_tls else "")
    return cell.name


def _cells(mark: str) -> list[Cell]:
    return [cell for cell in CELLS.values() if group(cell) == mark]


def draw(results: Results) -> dict[str, str]:
    """SVG by file name: a chart for each group that was measured, and for each growth."""
    drawn: dict[str, str] = {}
    for mark, title in GROUPS.items():
        panels = []
        for cell in _cells(mark):
            shown = [
                Bar(name, figure, name == tables.OURS)
                for name in results.targets(cell.name)
                if (figure := results.spread(cell.name, name, cell.figure))
            ]
            if shown:
                panels.append(Panel(f"{cell.name}: {cell.about} ({cell.unit})", shown))
        if panels:
            drawn[f"{mark}.svg"] = charts.bars(title, panels)
    for cell in (cell for cell in CELLS.values() if cell.kind == "growth"):
        series = [
            Line(
                name, [(size, told.median) for size, told in tables.grown(results, cell.name, key)]
            )
            for key, name in tables.GROWN.items()
            if " ms" in name and tables.grown(results, cell.name, key)
        ]
        if series:
            title = f"As it grows: {cell.about}"
            size = f"{tables.SIZES[cell.name]} (logarithmic)"
            drawn[f"{cell.name}.svg"] = charts.lines(title, size, "ms", series[:3])
    return drawn


def parts(results: Results) -> dict[str, str]:
    """The text for each mark of the page; those that weren't measured are absent."""
    told = {"run": "\n".join(_runs(results)), "aims": tables.aims(results)}
    for mark in dict.fromkeys(map(group, CELLS.values())):
        written = "\n".join(_tables(results, _cells(mark)))
        if written and f"{mark}.svg" in draw(results):
            title = GROUPS.get(mark, CELLS[mark].about if mark in CELLS else mark)
            written = f".. image:: performance/{mark}.svg\n   :alt: {title}\n\n{written}"
        told[mark] = written
    return {mark: text for mark, text in told.items() if text.strip()}


def _tables(results: Results, cells: Iterable[Cell]) -> Iterator[str]:
    for cell in cells:
        if table := tables.of_cell(results, cell):
            yield f"``{cell.name}``: {cell.about}.\n\n{table}"


def _runs(results: Results) -> Iterator[str]:
    for run in results.runs:
        took = f"{run['took_s'] / 60:.1f} minutes" if "took_s" in run else "an unknown time"
        yield (
            f"``{run['command']}``, {run['began']}, took {took}. Version {run['commit']}, Python "
            f"{run['python']}, Twisted {run['twisted']}, on {run['machine']}; load average at its "
            f"begin {run['load_average']:.1f}. {run['repeats']} repeats of {run['seconds']:g} s."
        )
        if run["fewer"] > 1:
            yield (
                f"\n**A trial of the bench, not a measurement**: mailboxes, stores, accounts and "
                f"idle connections are a {run['fewer']}th of what the cells' names say."
            )
        if run["repeats"] < 5 or run["seconds"] < 2:
            yield (
                "\n**Too short to judge by**: a claim needs ``make bench`` as it stands, on a "
                "machine that does nothing else."
            )
        yield ""
    peers = {name: facts for run in results.runs for name, facts in run["peers"].items()}
    rows = [[name, facts["version"], facts["about"]] for name, facts in peers.items()]
    yield tables.simple_table(["server", "version", "what it is"], rows)


def as_text(results: Results) -> str:
    """All that was measured, for a terminal."""
    return "\n".join(parts(results).values())


def fill(text: str, told: Mapping[str, str]) -> str:
    """The page with these parts between their marks, and nothing between the other marks.

    Raises:
        KeyError: a part has no mark in the page.
    """
    for mark in set(told) - set(_marks(text)):
        raise KeyError(mark)
    for mark in _marks(text):
        new = told.get(mark, "Not measured by that run.\n").strip("\n")
        found = re.compile(
            rf"(?<=^\.\. begin {re.escape(mark)}\n).*?(?=^\.\. end {re.escape(mark)}$)", re.M | re.S
        )
        text = found.sub(lambda _, new=new: f"\n{new}\n\n", text)
    return text


def _marks(text: str) -> list[str]:
    return re.findall(r"^\.\. begin (\S+)$", text, re.M)


def write(results: Results) -> list[Path]:
    """The page and its charts; charts of what wasn't measured are deleted."""
    drawn = draw(results)
    CHARTS.mkdir(exist_ok=True)
    for path in CHARTS.glob("*.svg"):
        if path.name not in drawn:
            path.unlink()
    for name, text in drawn.items():
        (CHARTS / name).write_text(text, "utf-8")
    PAGE.write_text(fill(PAGE.read_text("utf-8"), parts(results)), "utf-8")
    return [PAGE, *(CHARTS / name for name in drawn)]
