"""Tables in reStructuredText, made of results. Each function gives "" when nothing was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from tests.bench.cells import CELLS, Aim, Cell
from tests.bench.charts import number
from tests.bench.processes import MIB
from tests.bench.results import Results, Spread

OURS = "mailnode"
NONE = "n/a"


def simple_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as they must be; no cell of the first may be empty."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    title = "  ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)).rstrip()
    return "\n".join([rule, title, rule, *shown, rule, ""])


def spread(figures: Spread | None) -> str:
    """The median, and from least to most when it was measured more than once."""
    if figures is None:
        return NONE
    if figures.count == 1:
        return number(figures.median)
    return f"{number(figures.median)} ({number(figures.least)} to {number(figures.most)})"


@frozen
class Column:
    """A column of a table of servers: a key of the records, and what it is multiplied by."""

    title: str
    key: str
    scale: float = 1.0


def _sum(results: Results, cell: str, target: str, key: str) -> float:
    return sum(record.get(key) or 0 for record in results.of(cell, target))


def _servers(results: Results, cell: Cell, columns: Sequence[Column]) -> str:
    """A row for each server: the cell's figure, how many times it mailnode's is, the columns."""
    names = results.targets(cell.name)
    if not names:
        return ""
    lost = any(_sum(results, cell.name, name, "missing") for name in names)
    is_time = cell.unit.startswith("ms")
    head = [
        "server",
        cell.unit,
        "mailnode takes" if is_time else "mailnode is",
        *(column.title for column in columns),
        "failed",
    ]
    rows = []
    for name in names:
        row = [name, spread(results.spread(cell.name, name, cell.figure))]
        ratio = results.ratio(cell.name, OURS, name, cell.figure)
        row.append("" if name == OURS else f"{spread(ratio)} x" if ratio else NONE)
        for column in columns:
            found = results.spread(cell.name, name, column.key)
            row.append(number(found.median * column.scale) if found else NONE)
        row.append(number(_sum(results, cell.name, name, "failed")))
        if lost:
            row.append(number(_sum(results, cell.name, name, "missing")))
        rows.append(row)
    where = "not at the sink" if cell.kind == "relay" else "not in a mailbox"
    return simple_table([*head, where] if lost else head, rows)


_MEMORY = Column("memory MiB", "resident", 1 / MIB)
_SMTP = (
    Column("p50 ms", "p50_ms"),
    Column("p99 ms", "p99_ms"),
    Column("CPU s / 1,000", "cpu_1000"),
    _MEMORY,
    Column("all in mailboxes ms later", "later_s", 1000),
)
_RELAY = (
    Column("accepted/s", "rate"),
    Column("CPU s / 1,000", "cpu_1000"),
    _MEMORY,
    Column("all at the sink ms later", "later_s", 1000),
)
_SIGN_IN = (
    Column("p50 ms", "stat_p50_ms"),
    Column("p99 ms", "stat_p99_ms"),
    Column("CPU s / 1,000", "cpu_1000"),
    _MEMORY,
)
_RETR = (
    Column("sign-in p50 ms", "stat_p50_ms"),
    Column("CPU s / 1,000 mails", "cpu_1000"),
    _MEMORY,
)
_LISTS = (Column("LIST ms", "list_p50_ms"), Column("sign-in p50 ms", "stat_p50_ms"), _MEMORY)
_ARRIVAL = (
    Column("until the 250 ms", "replied_p50_ms"),
    Column("the slowest ms", "arrived_max_ms"),
)
_IDLE = (
    Column("opened", "opened"),
    Column("memory MiB", "octets", 1 / MIB),
    Column("before", "octets_before", 1 / MIB),
    Column("a mail beside them ms", "p50_ms"),
    Column("without ms", "empty_p50_ms"),
)
_QUEUE = (
    Column("start s", "start_s"),
    Column("queue list s", "list_s"),
    Column("of one host s", "of_domain_s"),
    _MEMORY,
)
_DEAD = (
    Column("delay p99 ms", "delay_p99_ms"),
    Column("the longest ms", "delay_max_ms"),
    Column("250 p99 ms", "p99_ms"),
    Column("put off meanwhile", "put_off"),
    Column("CPU s / 1,000", "cpu_1000"),
    _MEMORY,
)
_OF_KIND = {"smtp": _SMTP, "arrival": _ARRIVAL, "first": _SIGN_IN, "relay": _RELAY}


def of_cell(results: Results, cell: Cell) -> str:
    """The table of one cell."""
    if cell.kind == "flushes":
        return flushes(results)
    if cell.kind == "growth":
        return growth(results, cell)
    if cell.kind == "idle":
        return _idle(results, cell)
    if cell.kind == "queue":
        return _servers(results, cell, _DEAD if cell.name == "dead50k" else _QUEUE)
    columns = _OF_KIND.get(cell.kind)
    if columns is None:
        columns = _SIGN_IN if cell.figure == "session_rate" else _RETR
        columns = _LISTS if cell.name == "list100k" else columns
    return _servers(results, cell, columns)


def _idle(results: Results, cell: Cell) -> str:
    rows = []
    for name in results.targets(cell.name):
        each = results.spread(cell.name, name, "kib_each")
        row = [name, number(each.most) if each else NONE]  # of `_WORST`
        for column in _IDLE:
            found = results.spread(cell.name, name, column.key)
            row.append(number(found.median * column.scale) if found else NONE)
        rows.append([*row, number(_sum(results, cell.name, name, "failed"))])
    head = ["server", cell.unit, *(column.title for column in _IDLE), "failed"]
    return simple_table(head, rows) if rows else ""


def flushes(results: Results) -> str:
    """Flushes for each mail, by load; then names made, moved and deleted in one of them."""
    records = results.of("flushes")
    if not records:
        return ""
    loads = list(dict.fromkeys(record["load"] for record in records))
    rows = []
    for name in results.targets("flushes"):
        found = {record["load"]: record for record in results.of("flushes", name)}
        figures = [number(found[load]["flushes"]) if load in found else NONE for load in loads]
        first = found.get(loads[0])
        rows.append([name, *figures, number(first["names"]) if first else NONE])
    return simple_table(["server", *loads, "renames, links, unlinks"], rows)


GROWN = {  # key of a record: what it is; those in ms are drawn
    "p50_ms": "accept p50 ms",
    "sign_in_p50_ms": "sign-in p50 ms",
    "cpu_1000": "CPU ms a mail",
    "rate": "mails/s",
    "copies_rate": "copies/s",
    "sign_in_cpu_ms": "CPU ms a sign-in",
    "resident": "memory MiB",
    "start_s": "start s",
}
SIZES = {"boxes": "mails in the box", "accounts": "accounts", "alias": "mailboxes",
         "store": "MiB in the store"}  # fmt: skip


def grown(results: Results, cell: str, key: str) -> list[tuple[float, Spread]]:
    """(size, figures) of a growth cell, by size."""
    records = results.of(cell)
    sizes = sorted({record["size"] for record in records})
    found = []
    for size in sizes:
        told = Spread.of(record.get(key) for record in records if record["size"] == size)
        if told:
            found.append((float(size), told))
    return found


def growth(results: Results, cell: Cell) -> str:
    columns = [key for key in GROWN if grown(results, cell.name, key)]
    if not columns:
        return ""
    rows: dict[float, list[str]] = {}
    for key in columns:
        for size, figures in grown(results, cell.name, key):
            scale = 1 / MIB if key == "resident" else 1.0
            median = figures.median * scale
            rows.setdefault(size, [number(size)]).append(number(median))
    titles = [GROWN[key].replace("a mail", "a copy" if cell.name == "alias" else "a mail")
              for key in columns]  # fmt: skip
    return simple_table([SIZES[cell.name], *titles], list(rows.values()))


# Aims


_FIGURES = {  # key of a record: what it is called, and what it is multiplied by
    "cpu_1000": ("CPU s / 1,000", 1.0),
    "failed": ("failed", 1.0),
    "octets": ("memory MiB", 1 / MIB),
    "kib_each": ("KiB each", 1.0),
    "resident": ("memory MiB", 1 / MIB),
    "delay_p99_ms": ("ms, p99", 1.0),
    "latency_ratio": ("wait beside them to without", 1.0),
}


# A repeat opens its connections in memory that the one before it has left.
_WORST = ("failed", "kib_each")


def aims(results: Results) -> str:
    """Every aim that was measured, and whether it was met."""
    rows = [row for cell in CELLS.values() for aim in cell.aims for row in _aim(results, cell, aim)]
    head = ["cell", "figure", "mailnode", "against", "is", "aim", ""]
    return simple_table(head, rows) if rows else ""


def _aim(results: Results, cell: Cell, aim: Aim) -> Iterator[list[str]]:
    ours = results.spread(cell.name, aim.by, aim.figure)
    if ours is None:
        return
    title, scale = _FIGURES.get(aim.figure, (cell.unit, 1.0))
    name = f"``{cell.name}``" if aim.by == OURS else f"``{cell.name}``, {aim.by}"
    told = ours.most if aim.figure in _WORST else ours.median
    named = [name, title, number(told * scale)]
    by = 1.0 if aim.against else scale
    bound = f"{'at least' if aim.least else 'at most'} {number(aim.bound * by)}"
    if not aim.against:
        yield [*named, "", "", bound, "met" if told <= aim.bound else _missed(results, cell, aim)]
        return
    choose: Callable[..., str] = max if aim.least else min
    medians = {
        peer: found.median
        for peer in aim.against
        if (found := results.spread(cell.name, peer, aim.figure))
    }
    if not medians:
        return
    best = choose(medians, key=lambda peer: medians[peer])
    ratio = results.ratio(cell.name, aim.by, best, aim.figure)
    if ratio is None:
        return
    met = ratio.median >= aim.bound if aim.least else ratio.median <= aim.bound
    against = f"{best} {number(medians[best])}"
    verdict = "met" if met else _missed(results, cell, aim)
    yield [*named, against, f"{spread(ratio)} x", f"{bound} x", verdict]


EXCUSED_BELOW = 1.2


def _missed(results: Results, cell: Cell, aim: Aim) -> str:
    """A bare program that is hardly better excuses it: a server does that and its duty."""
    pair = (cell.bare, aim.by) if aim.least else (aim.by, cell.bare)
    better = results.ratio(cell.name, *pair, aim.figure)
    if better is None:
        return "**missed**"
    word = "excused" if better.median < EXCUSED_BELOW else "**missed**"
    return f"{word}: {cell.bare} {number(better.median)} x better"
