"""Fuzzes one target with atheris: mutations of the corpus that reach new branches are kept.

    python -m tests.fuzz.run smtp                     until something is found
    python -m tests.fuzz.run pop3 --seconds 60 --inputs 100000 --keep FOLDER

The last line says how many inputs there were and how long it took. What is found stands in the
folder of `--keep`, or one under /tmp, as `crash-...` (or `timeout-...`), and ends the run with 77
(70). An input is tried again, alone and without atheris, with `--input FILE`.
"""

from __future__ import annotations

import argparse
import atexit
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import define
from twisted.logger import globalLogBeginner

import mailnode

COVERED = (
    "mailnode.wire",
    "mailnode.xtext",
    "mailnode.addresses",
    "mailnode.session",
    "mailnode.outgoing",
    "mailnode.sasl",
    "mailnode.smtp",
    "mailnode.pop3",
)
HANGS_S = 20


@define(eq=False)
class Counted:
    """A target, and how often it was run.

    Attributes:
        found: what was wrong with the last input; "" while nothing was.
    """

    name: str
    target: Callable[[bytes], None]
    began_at: float
    inputs: int = 0
    found: str = ""

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        try:
            self.target(data)
        except BaseException as error:
            self.found = f"{type(error).__name__}: {error}"[:600]
            raise

    def tell(self) -> None:
        took_s = round(time.monotonic() - self.began_at, 2)
        line = {"target": self.name, "inputs": self.inputs, "seconds": took_s, "found": self.found}
        print(json.dumps(line), flush=True)


def main() -> None:
    options = _options()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    if options.input:
        import_module("tests.fuzz.targets").TARGETS[options.target](options.input.read_bytes())
        print(f"{options.input}: nothing is wrong")
        return
    import atheris

    with atheris.instrument_imports(include=["mailnode"], exclude=list(_uncovered())):
        targets = import_module("tests.fuzz.targets")
    counted = Counted(options.target, targets.TARGETS[options.target], time.monotonic())
    atexit.register(counted.tell)
    keep = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    print(f"what is new and what is found is kept in {keep}", flush=True)
    atheris.Setup(_flags(options, targets, keep), counted)
    atheris.Fuzz()


def _uncovered() -> Iterator[str]:
    """Modules whose branches don't steer the mutations; found without importing them."""
    root = Path(mailnode.__path__[0])
    for path in root.rglob("*.py"):
        name = ".".join(("mailnode", *path.relative_to(root).with_suffix("").parts))
        if not name.startswith(COVERED):
            yield name.removesuffix(".__init__")


def _flags(options: Any, targets: Any, keep: Path) -> list[str]:
    flags = [
        sys.argv[0],
        f"-max_len={targets.MOST_OCTETS}",
        f"-timeout={HANGS_S}",
        "-rss_limit_mb=1500",
        f"-dict={targets.dictionary_of(options.target)}",
        f"-artifact_prefix={keep}/",
        f"-seed={options.seed}",
    ]
    if options.seconds:
        flags.append(f"-max_total_time={options.seconds}")
    if options.inputs:
        flags.append(f"-runs={options.inputs}")
    corpus = [str(keep), str(targets.CORPUS / options.target)]
    return [*flags, *corpus[: 1 if options.no_corpus else 2]]


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("target", choices=["smtp", "pop3", "wire", "addresses"])
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="new inputs and what was found go here")
    parser.add_argument("--no-corpus", action="store_true", help="begin with what is kept alone")
    parser.add_argument("--input", type=Path, help="try this one alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
