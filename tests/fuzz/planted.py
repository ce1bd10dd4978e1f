"""Plants faults into copies of the tree, one at a time, and shows that the fuzzer finds each.

    python -m tests.fuzz.planted                all of them; `3 12` the third and the twelfth
    python -m tests.fuzz.planted --no-corpus    from nothing but the dictionary

Each has ten minutes. "replay" says that an input of the corpus found it, "mutation" that it took
new ones; the corpus holds nothing that was made for a fault.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.fuzz.targets import corpus_of
from tests.mends import Copy, Mend

PLANTED = Path(__file__).with_name("planted.toml")
MOST_S = 600


@frozen
class Fault:
    """A patch, and the target that must find it."""

    number: int
    target: str
    patch: Mend


@frozen
class Finding:
    """How a fault was found.

    Attributes:
        inputs: how many it took; 0 when it was not found.
        why: what the target said, or how the run ended.
    """

    inputs: int
    seconds: float
    by: str
    why: str


def read_faults() -> tuple[Fault, ...]:
    listed = tomllib.loads(PLANTED.read_text("utf-8"))["fault"]
    return tuple(
        Fault(
            number,
            each["target"],
            Mend(
                entry="",
                out=each["what"],
                file=each["file"],
                old=each["old"],
                new=each["new"],
                tests=(),
            ),
        )
        for number, each in enumerate(listed, 1)
    )


def find(fault: Fault, folder: Path, options: Any) -> Finding:
    """Plant it in a copy of its own and fuzz."""
    copy = Copy.make(folder / f"fault{fault.number}")
    path = copy.root / fault.patch.file
    path.write_text(fault.patch.applied(path.read_text("utf-8")), "utf-8")
    copy.check_import()
    command = [
        *("-m", "tests.fuzz.run", fault.target, f"--seconds={MOST_S}", f"--seed={options.seed}"),
        f"--keep={folder / f'kept{fault.number}'}",
    ]
    if options.no_corpus:
        command.append("--no-corpus")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=copy.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=MOST_S + 120,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"target"')]
    if not lines:  # what is found is told at Python's exit, whatever libFuzzer ends with
        return Finding(0, 0.0, "", f"the run ended with {done.returncode}: {done.stderr[-600:]}")
    told = json.loads(lines[-1])
    replayed = 0 if options.no_corpus else len(corpus_of(fault.target)) + 1
    by = "replay" if told["inputs"] <= replayed else "mutation"
    return Finding(told["inputs"], told["seconds"], by, told["found"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.planted")
    parser.add_argument("numbers", nargs="*", type=int)
    parser.add_argument("--no-corpus", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    faults = [f for f in read_faults() if not options.numbers or f.number in options.numbers]
    missed = 0
    with (
        tempfile.TemporaryDirectory(prefix="planted-") as folder,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        found = pool.map(lambda fault: find(fault, Path(folder), options), faults)
        for fault, finding in zip(faults, found, strict=True):
            verdict = f"{finding.inputs:9,} inputs {finding.seconds:7.1f} s  {finding.by:8}"
            print(
                f"{fault.number:2} {fault.target:9} {fault.patch.out:74}"
                f" {verdict if finding.by else 'NOT FOUND'}",
                flush=True,
            )
            print(f"      | {finding.why[:150]}", flush=True)
            missed += not finding.by
    print(f"{len(faults)} faults: {len(faults) - missed} found, {missed} not")
    return int(missed > 0 or not faults)


if __name__ == "__main__":
    sys.exit(main())
