"""Fuzzes all targets side by side and counts.

    python -m tests.fuzz.campaign                     10 million inputs in all
    python -m tests.fuzz.campaign --inputs 100000 --seconds 60 --jobs 1
    python -m tests.fuzz.campaign --inputs 500000 --seed 2 --keep FOLDER

Ends with 1 when something was found; the last column says where the input lies.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.mends import ROOT

_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.M)
SHARES = {"smtp": 0.3, "pop3": 0.3, "wire": 0.2, "addresses": 0.2}


@frozen
class Counted:
    """One target's run: `found` is "" where nothing was wrong."""

    target: str
    inputs: int
    seconds: float
    found: str


def fuzz(target: str, inputs: int, keep: Path, options: Any) -> Counted:
    """Run one target in a process of its own."""
    command = [
        *("-m", "tests.fuzz.run", target, f"--inputs={inputs}", f"--keep={keep / target}"),
        *(f"--seed={options.seed}", f"--seconds={options.seconds}"),
    ]
    log = keep / f"{target}.log"
    with log.open("w", encoding="utf-8") as told:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"target"')]
    if lines:  # told by Python's exit, which comes with a finding alone
        said = json.loads(lines[-1])
        return Counted(target, said["inputs"], said["seconds"], said["found"] or str(log))
    counted = _DONE.search(log.read_text("utf-8", "replace"))
    if done.returncode or counted is None:
        return Counted(target, 0, 0.0, f"ended with {done.returncode}: {log}")
    return Counted(target, int(counted[1]), float(counted[2]), "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.campaign")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="in all")
    parser.add_argument("--seconds", type=int, default=0, help="the most for one target; 0: any")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="an earlier run's folder: begins with its inputs")
    options = parser.parse_args(arguments)
    keep = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = [
            pool.submit(fuzz, target, int(options.inputs * share), keep, options)
            for target, share in SHARES.items()
        ]
        counted = [run.result() for run in runs]
    for each in counted:
        verdict = f"{each.found[:200]} ({keep / each.target})" if each.found else "nothing"
        print(f"{each.target:10} {each.inputs:11,} inputs {each.seconds:9.1f} s  {verdict}")
    found = sum(bool(each.found) for each in counted)
    print(f"{sum(each.inputs for each in counted):,} inputs, {found} findings; kept in {keep}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
