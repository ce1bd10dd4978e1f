"""Takes each mend of our protocols out, one at a time, and shows the test that then fails.

    python -m tests.mends             all of them; `S19 P3`: those of some entries only

A mend is a few words of the code that keep what Twisted's classes don't (S1 to S33 for SMTP,
P1 to P20 for POP3, C1 to C7 for mail to other hosts; docs/rfc.rst). `tests/vectors/mends-*.toml`
says for each what to write in their place and which tests notice. It is done in copies of the
tree, never in the tree itself.
A mend that nobody misses is held by no test: then the tests are too weak.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from attrs import define, field, frozen

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "tests" / "vectors"
COPIED = ("mailnode", "tests", "twisted", "users.db", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "dropin.cache", "_trial_temp*")
ENTRIES = (
    *(f"S{n}" for n in range(1, 34)),
    *(f"P{n}" for n in range(1, 21)),
    *(f"C{n}" for n in range(1, 9)),
)
TIMEOUT_S = 120
AS_IT_MUST = "fails as it must"


class MendError(Exception):
    """A mend can't be taken out, or a test can't be found: what it is, in words."""


@frozen(kw_only=True)
class Mend:
    """A patch that takes one rule out, and who notices.

    Attributes:
        entry: "S19".
        out: what is taken out, in words.
        file: path from the root of the tree.
        old, new: the text to replace, found once (any white space fits any), and its substitute.
        tests: names of tests that must fail: a function, or a transcript's name.
    """

    entry: str
    out: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """The file's text without the mend.

        Raises:
            MendError: the old text isn't found exactly once, or what comes out is no Python.
        """
        wanted = r"\s+".join(re.escape(word) for word in self.old.split())
        found = list(re.finditer(wanted, source))
        if len(found) != 1:
            raise MendError(f"{self.file} has it {len(found)} times: {self.old}")
        start, end = found[0].span()
        changed = source[:start] + self.new.strip() + source[end:]
        try:
            compile(changed, self.file, "exec")
        except SyntaxError as error:
            raise MendError(f"{self.file} is no Python then: {error}") from None
        return changed


@cache
def read_mends() -> tuple[Mend, ...]:
    """All of them, in the order of the entries."""
    mends = []
    for path in VECTORS.glob("mends-*.toml"):
        for entry, listed in tomllib.loads(path.read_text("utf-8")).items():
            for each in listed:
                each.setdefault("new", "")
                mends.append(Mend(entry=entry, **each | {"tests": tuple(each["tests"])}))
    return tuple(sorted(mends, key=lambda mend: ENTRIES.index(mend.entry)))


# Tests by their names


@cache
def known_tests() -> dict[str, tuple[str, ...]]:
    """pytest's ids of the trial test cases, by function or transcript."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").glob("*/test_*.py")):
        if path.parent.name in ("unit", "stores"):
            for owner, name in _functions_of(path):
                found.setdefault(name, []).append(f"{path.relative_to(ROOT)}::{owner}::{name}")
    for path in sorted((ROOT / "tests" / "dialogs").glob("*.txt")):
        replayed = f"tests/dialogs/test_dialogs.py::DialogTests::test_{path.stem}_whole"
        found.setdefault(path.stem, []).append(replayed)
    return {name: tuple(ids) for name, ids in found.items()}


def _functions_of(path: Path) -> Iterator[tuple[str, str]]:
    for owner in ast.parse(path.read_bytes()).body:
        if isinstance(owner, ast.ClassDef):
            for each in owner.body:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield owner.name, each.name


def find_test(name: str) -> str:
    """pytest's id of the one test of that name.

    Raises:
        MendError: there is none, or several.
    """
    ids = known_tests().get(name, ())
    if len(ids) != 1:
        raise MendError(f"{len(ids)} tests are named {name}")
    return ids[0]


def tests_of(entry: str) -> list[str]:
    """Every test of an entry, for docs/rfc.rst: those it names, and those that carry its number."""
    number = f"{entry[0].lower()}{int(entry[1:]):02}_"
    named = {test for mend in read_mends() if mend.entry == entry for test in mend.tests}
    numbered = {name for name in known_tests() if name.removeprefix("test_").startswith(number)}
    return sorted(named | numbered)


# Copies of the tree


@define(eq=False)
class Copy:
    """A copy of the tree in which tests are run."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Copy:
        root.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=LEFT_OUT)
            else:
                shutil.copy2(source, root / name)
        return cls(root)

    def python(self, *args: str, write_bytecode: bool = False) -> subprocess.CompletedProcess[str]:
        """Run Python where `mailnode` is this copy's, whatever is installed."""
        environment = os.environ | {"PYTHONPATH": str(self.root)}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # loading them all takes a third
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if not write_bytecode:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return subprocess.run(
            [sys.executable, *args],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def check_import(self) -> None:
        found = self.python("-c", "import mailnode; print(mailnode.__file__)").stdout.strip()
        if not found.startswith(str(self.root)):
            raise MendError(f"mailnode comes from {found or 'nowhere'} and not from the copy")

    def run(self, ids: Iterable[str], write_bytecode: bool = False) -> dict[str, str]:
        """Run tests: "" for each that passed, why not for the others.

        Raises:
            MendError: pytest didn't come to run them.
        """
        report, base = self.root / "report.xml", self.root.with_name(f"{self.root.name}.tmp")
        done = self.python(
            *("-m", "pytest", "-q", "-p", "no:pytest_twisted", "-p", "no:cacheprovider"),
            *("-p", "pytest_timeout"),
            *(f"--basetemp={base}", f"--junitxml={report}", "--tb=short", *ids),
            write_bytecode=write_bytecode,
        )
        if done.returncode not in (0, 1) or not report.exists():
            raise MendError((done.stdout + done.stderr).strip()[-800:])
        results = dict(_results(ElementTree.parse(report).getroot()))
        report.unlink()
        return results

    def run_without(self, mend: Mend) -> dict[str, str]:
        """Run the mend's tests without the mend, and put it back."""
        path = self.root / mend.file
        source, times = path.read_text("utf-8"), path.stat()
        path.write_text(mend.applied(source), "utf-8")
        try:
            return self.run(map(find_test, mend.tests))
        finally:
            path.write_text(source, "utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its bytecode holds again


def _results(report: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for case in report.iter("testcase"):
        name = case.get("name", "")
        bad = case.find("failure")
        bad = case.find("error") if bad is None else bad
        why = "" if bad is None else (bad.get("message") or bad.text or "failed").strip()
        yield _short(name), why


def _short(test: str) -> str:
    """The name under which `known_tests` has a test."""
    name = test.rpartition("::")[2]
    stem = name.removeprefix("test_").removesuffix("_whole")
    return stem if name not in known_tests() and stem in known_tests() else name


# The run


@define(eq=False)
class Workshop:
    """Copies that take turns.

    Attributes:
        unfit: tests that fail as the tree is, and why.
    """

    copies: Sequence[Copy]
    unfit: dict[str, str] = field(factory=dict)
    _free: SimpleQueue[Copy] = field(factory=SimpleQueue)

    def __attrs_post_init__(self) -> None:
        for copy in self.copies:
            self._free.put(copy)

    def try_whole(self, tests: Sequence[str]) -> None:
        """Learn which tests pass with every mend in its place."""
        with ThreadPoolExecutor(len(self.copies)) as pool:
            for results in pool.map(
                lambda at: self.copies[at].run(
                    map(find_test, tests[at :: len(self.copies)]), write_bytecode=True
                ),
                range(min(len(self.copies), len(tests))),
            ):
                self.unfit |= {test: why for test, why in results.items() if why}

    def try_without(self, mend: Mend) -> list[tuple[str, str, str]]:
        """(test, verdict, why) of each of the mend's tests."""
        try:
            for test in mend.tests:
                find_test(test)
        except MendError as error:
            return [(str(error), "NO SUCH TEST", "")]
        if unfit := [test for test in mend.tests if test in self.unfit]:
            return [(test, "FAILS UNPATCHED", self.unfit[test]) for test in unfit]
        copy = self._free.get()
        try:
            failed = copy.run_without(mend)
        except MendError as error:
            return [(test, "CAN'T BE TRIED", str(error)) for test in mend.tests]
        except subprocess.TimeoutExpired:
            return [(test, "HANGS", f"over {TIMEOUT_S} s") for test in mend.tests]
        finally:
            self._free.put(copy)
        return [
            (test, AS_IT_MUST if failed.get(test) else "SURVIVED", failed.get(test, ""))
            for test in mend.tests
        ]


def show(mend: Mend, verdicts: Sequence[tuple[str, str, str]], verbose: bool) -> None:
    """One line of the table for each test."""
    out = mend.out
    for test, verdict, why in verdicts:
        print(f"{mend.entry:4}{out:58} {test:86} {verdict}")
        if why and (verbose or verdict != AS_IT_MUST):
            print("".join(f"      | {line}\n" for line in why.splitlines()[:12]), end="")
        out = ""
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    mends = [m for m in read_mends() if not options.entries or m.entry in options.entries]
    tests = sorted({test for mend in mends for test in mend.tests if test in known_tests()})
    failed = 0
    with tempfile.TemporaryDirectory(prefix="mends-") as folder:
        copies = [Copy.make(Path(folder) / f"tree{n}") for n in range(1, options.jobs + 1)]
        workshop = Workshop(copies)
        try:
            copies[0].check_import()
            workshop.try_whole(tests)
        except MendError as error:
            print(error, file=sys.stderr)
            return 1
        with ThreadPoolExecutor(options.jobs) as pool:
            for mend, verdicts in zip(mends, pool.map(workshop.try_without, mends), strict=True):
                show(mend, verdicts, options.verbose)
                failed += any(verdict != AS_IT_MUST for _, verdict, _ in verdicts)
    entries = len({mend.entry for mend in mends})
    passed = len(mends) - failed
    print(f"{entries} entries, {len(mends)} mends: {passed} passed, {failed} failed")
    return 1 if failed or not mends else 0


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.mends")
    parser.add_argument(
        "entries", nargs="*", type=str.upper, help="S1 ... S32, P1 ... P19, C1 ... C7"
    )
    parser.add_argument("-j", "--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("-v", "--verbose", action="store_true", help="show how each test fails")
    options = parser.parse_args(arguments)
    if unknown := [entry for entry in options.entries if entry not in ENTRIES]:
        parser.error(f"no such entry: {' '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
