"""Puts a run's tables and charts into docs/performance.rst and docs/performance-tables.rst.

What stands between two comments, `.. begin NAME` and `.. end NAME`, is the run's; everything else
is written by people. The first page has charts and what needs few rows, the second the tables of
the cells that are in the charts.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.bench import charts, tables
from tests.bench.cells import CELLS, Cell
from tests.bench.charts import Bar, Line, Panel
from tests.bench.results import Results

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "performance.rst", DOCS / "performance-tables.rst")
CHARTS = DOCS / "performance"

TABLES = "-tables"
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
    drawn = draw(results)
    for mark in dict.fromkeys(map(group, CELLS.values())):
        written = "\n".join(_tables(results, _cells(mark)))
        image = ""
        if f"{mark}.svg" in drawn:
            title = GROUPS[mark] if mark in GROUPS else CELLS[mark].about
            image = f".. image:: performance/{mark}.svg\n   :alt: {title}\n"
        if mark in GROUPS:
            told |= {mark: image, f"{mark}{TABLES}": written}
        else:
            told[mark] = f"{image}\n{written}"
    return {mark: text for mark, text in told.items() if text.strip()}


def _tables(results: Results, cells: Iterable[Cell]) -> Iterator[str]:
    for cell in cells:
        if table := tables.of_cell(results, cell):
            yield f"``{cell.name}``: {cell.about}.\n\n{table}"


def _runs(results: Results) -> Iterator[str]:
    for run in results.runs:
        took = f"{run['took_s'] / 60:.1f} minutes" if "took_s" in run else "an unknown time"
        yield textwrap.fill(
            f"``{run['command']}``, {run['began']}, took {took}. Version {run['commit']}, Python "
            f"{run['python']}, Twisted {run['twisted']}, on {run['machine']}; load average at its "
            f"begin {run['load_average']:.1f}. {run['repeats']} repeats of {run['seconds']:g} s.",
            width=110,
            break_on_hyphens=False,
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
    measured = {record["target"] for record in results.records}
    peers = {
        name: facts
        for run in results.runs
        for name, facts in run["peers"].items()
        if name in measured
    }
    rows = [[name, facts["version"], facts["about"]] for name, facts in peers.items()]
    yield tables.simple_table(["server", "version", "what it is"], rows)


def as_text(results: Results) -> str:
    """All that was measured, for a terminal."""
    return "\n".join(parts(results).values())


def fill(text: str, told: Mapping[str, str]) -> str:
    """The page with these parts between their marks; the other marks say that they have none."""
    for mark in marks(text):
        text = replace(text, mark, told.get(mark, "Not measured by that run."))
    return text


def replace(text: str, mark: str, new: str) -> str:
    """The page with this between the two comments of a mark."""
    name, new = re.escape(mark), new.strip("\n")
    between = re.compile(rf"(?<=^\.\. begin {name}\n).*?(?=^\.\. end {name}$)", re.M | re.S)
    return between.sub(lambda _: f"\n{new}\n\n", text)


def marks(text: str) -> list[str]:
    return re.findall(r"^\.\. begin (\S+)$", text, re.M)


def write(results: Results) -> list[Path]:
    """The pages and their charts; charts of what wasn't measured are deleted."""
    drawn, told = draw(results), parts(results)
    CHARTS.mkdir(exist_ok=True)
    for path in CHARTS.glob("*.svg"):
        if path.name not in drawn:
            path.unlink()
    for name, text in drawn.items():
        (CHARTS / name).write_text(text, "utf-8")
    for path in PAGES:
        path.write_text(fill(path.read_text("utf-8"), told), "utf-8")
    return [*PAGES, *(CHARTS / name for name in drawn)]
