"""Which branches the corpus reaches.

    python -m tests.fuzz.cover                  a table; 1 when it is under 95 % in all
    python -m tests.fuzz.cover --missing        and the lines and branches that nothing reaches
    python -m tests.fuzz.cover --add FOLDER     adds to the corpus of a target what reaches more:
                                                FOLDER/smtp, FOLDER/pop3, ... are what runs kept
    python -m tests.fuzz.cover --least          makes the corpus anew of as few inputs as do

Statements and branches count, as `coverage --branch` counts them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import coverage
from twisted.logger import globalLogBeginner

ROOT = Path(__file__).parents[2]
PAGES = ("wire.py", "addresses.py", "session.py", "outgoing.py", "sasl.py", "smtp/*", "pop3/*")
LEAST_PERCENT = 95.0

Arcs = frozenset[tuple[str, int, int]]


class Reached:
    """Runs inputs and tells which branches each one reaches."""

    def __init__(self, folder: Path) -> None:
        import mailnode

        home = Path(mailnode.__path__[0])
        self.coverage = coverage.Coverage(
            data_file=str(folder / "coverage"),
            branch=True,
            include=[str(home / page) for page in PAGES],
            config_file=False,
        )
        self.coverage.exclude("if TYPE_CHECKING:")
        self.coverage.start()
        from tests.fuzz import targets  # under the eyes of coverage

        self.coverage.stop()
        self.targets = targets

    def run(self, name: str, octets: bytes) -> None:
        self.coverage.start()
        try:
            self.targets.TARGETS[name](octets)
        finally:
            self.coverage.stop()

    def arcs_of(self, name: str, octets: bytes) -> Arcs:
        """The branches of one input; it must be a sound one."""
        self.coverage.erase()
        self.run(name, octets)
        data = self.coverage.get_data()
        return frozenset(
            (file, start, end)
            for file in data.measured_files()
            for start, end in data.arcs(file) or ()
        )


def fewest(found: Iterable[tuple[bytes, Arcs]]) -> Iterator[bytes]:
    """Inputs that reach together what all do: always the one that adds most, the shorter first."""
    left = sorted(found, key=lambda each: len(each[0]))
    reached: set[tuple[str, int, int]] = set()
    while left:
        octets, arcs = max(left, key=lambda each: len(each[1] - reached))
        if not arcs - reached:
            return
        yield octets
        reached |= arcs
        left = [(octets, arcs) for octets, arcs in left if arcs - reached]


def write_corpus(reached: Reached, name: str, folder: Path | None, anew: bool) -> None:
    """Add what reaches more than the corpus does, or choose all of it anew."""
    home = reached.targets.CORPUS / name
    kept = [path.read_bytes() for path in reached.targets.corpus_of(name)]
    kind = "[0-9a-f]" * 16 + "*"  # and not what was found, crash-...
    others = [path.read_bytes() for path in sorted((folder / name).glob(kind))] if folder else []
    found = [(octets, reached.arcs_of(name, octets)) for octets in [*kept, *others]]
    if not anew:
        known = frozenset().union(*(arcs for _, arcs in found[: len(kept)]))
        found = [(octets, arcs - known) for octets, arcs in found[len(kept) :]]
    else:
        for path in reached.targets.corpus_of(name):
            path.unlink()
    for octets in fewest(found):
        (home / hashlib.sha256(octets).hexdigest()[:16]).write_bytes(octets)


def main() -> int:
    options = _options()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        reached = Reached(Path(scratch))
        names = list(reached.targets.TARGETS)
        if options.add or options.least:
            # What importing reaches is nobody's merit: it is left to the table.
            for name in names:
                write_corpus(reached, name, options.add, options.least)
            return 0
        inputs = octets = 0
        for name in names:
            for path in reached.targets.corpus_of(name):
                reached.run(name, path.read_bytes())
                inputs, octets = inputs + 1, octets + path.stat().st_size
        percent = reached.coverage.report(
            file=sys.stdout, show_missing=options.missing, skip_empty=True, precision=1
        )
    print(
        f"{inputs} inputs of {octets} octets reach {percent:.1f} %, {LEAST_PERCENT} % is the least"
    )
    return int(percent < LEAST_PERCENT)


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.cover")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--add", type=Path)
    parser.add_argument("--least", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
