"""The records of a run: JSON lines, one for the run and one for each measurement."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.bench.targets import BENCH, Target

Record = dict[str, Any]
RESULTS = BENCH / "results"


@frozen
class Spread:
    """Median, least and most of some figures."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, figures: Iterable[float | None]) -> Spread | None:
        there = [float(figure) for figure in figures if figure is not None]
        if not there:
            return None
        return cls(statistics.median(there), min(there), max(there), len(there))


@define(eq=False)
class Results:
    """What one run, or several, have told.

    Attributes:
        runs: one for each run: command, date, machine, versions, how long it took.
    """

    runs: list[Record] = field(factory=list)
    records: list[Record] = field(factory=list)

    def add(self, record: Record) -> None:
        if record["kind"] == "run":
            self.runs.append(record)
        elif record["kind"] == "end":
            self.runs[-1] |= {"took_s": record["took_s"], "ended": record["ended"]}
        else:
            self.records.append(record)

    def of(self, cell: str, target: str | None = None) -> list[Record]:
        return [
            record
            for record in self.records
            if record["cell"] == cell and target in (None, record["target"])
        ]

    def targets(self, cell: str) -> list[str]:
        """Who was measured in this cell: mailnode first, bare programs last."""
        names = {record["target"] for record in self.of(cell)}
        return sorted(names, key=lambda name: (name != "mailnode", name.startswith("bare"), name))

    def spread(self, cell: str, target: str, figure: str) -> Spread | None:
        return Spread.of(record.get(figure) for record in self.of(cell, target))

    def ratio(self, cell: str, target: str, base: str, figure: str) -> Spread | None:
        """The ratios of the repeats: each pair was measured next to each other."""
        ours = {record["repeat"]: record.get(figure) for record in self.of(cell, target)}
        theirs = {record["repeat"]: record.get(figure) for record in self.of(cell, base)}
        return Spread.of(
            ours[repeat] / theirs[repeat]
            for repeat in ours
            if ours[repeat] is not None and theirs.get(repeat)
        )


def read(paths: Sequence[Path]) -> Results:
    """The results of these files as one; a cell in several files is that of the last."""
    results = Results()
    for path in paths:
        told = Results()
        for line in path.read_text("utf-8").splitlines():
            told.add(json.loads(line))
        renewed = {record["cell"] for record in told.records}
        results.records = [each for each in results.records if each["cell"] not in renewed]
        results.records += told.records
        results.runs += told.runs
    return results


@define(eq=False)
class Journal:
    """Keeps results in memory and, as they come, in a file."""

    path: Path
    results: Results = field(factory=Results)
    _began: float = field(factory=time.monotonic)

    def write(self, record: Mapping[str, Any]) -> None:
        self.results.add(dict(record))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def end(self) -> None:
        took = time.monotonic() - self._began
        self.write({"kind": "end", "took_s": took, "ended": _now()})


def new_path() -> Path:
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.jsonl"


def describe_run(command: str, targets: Sequence[Target], **how: Any) -> Record:
    """What a reader must know to judge the figures, or to have them again."""
    return {
        "kind": "run",
        "command": command,
        "began": _now(),
        "commit": _commit(),
        "machine": " ".join(_machine()),
        "python": platform.python_version(),
        "twisted": _twisted(),
        "load_average": os.getloadavg()[0],
        "peers": {
            target.name: {"about": target.facts["about"], "version": target.version()}
            for target in targets
        },
        **how,
    }


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _machine() -> Iterator[str]:
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    yield f"{system}, Linux {platform.release()}, {os.cpu_count()} cores"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            yield f"({line.partition(':')[2].strip()})"
            return


def _commit() -> str:
    asked = ["git", "-C", str(BENCH), "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _twisted() -> str:
    import twisted

    return twisted.__version__
