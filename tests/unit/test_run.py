"""`tests.run`: calls run side by side, and nothing is left of those that are interrupted."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests import run as run_module
from tests.run import Call, Interruptions, run

STUBBORN = """
import os, pathlib, signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1] + ".new").write_text(f"{os.getpid()} {started.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
started.wait()
"""
TIDY = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(600)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[1] + ".tidied").touch()
"""

WAITS_FOR_NEXT = """
import pathlib, sys, time
until = time.monotonic() + 30
while not pathlib.Path(sys.argv[1]).with_name("next").exists():
    if time.monotonic() > until:
        sys.exit(1)
    time.sleep(0.01)
"""


def is_there(pid: int) -> bool:
    """Whether it runs: what nobody has waited for yet runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class OnceThere:
    """Interrupts who runs once a file is there; in a hurry, then again and again."""

    def __init__(self, path: Path, *, hurry: bool = False) -> None:
        self.path, self.hurry, self._count = path, hurry, 0

    @property
    def count(self) -> int:
        if self.path.exists() and (self.hurry or not self._count):
            self._count += 1
        return self._count


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(run_module, "LOOK_S", 0.01)

    def call(self, name: str, program: str) -> Call:
        command = [sys.executable, "-c", program, str(self.folder / name)]
        return Call(name, name, command, Path(self.mktemp()))

    def test_the_next_begins_when_one_has_ended_and_each_code_is_kept(self) -> None:
        waiting = self.call("long", WAITS_FOR_NEXT)
        short = self.call("short", "import sys; sys.exit(3)")
        following = self.call("next", "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()")
        self.assertTrue(run([waiting, short, following], Interruptions()))
        self.assertEqual([0, 3, 0], [each.code for each in (waiting, short, following)])

    def test_who_is_interrupted_cleans_up_and_what_would_begin_does_not(self) -> None:
        self.patch(run_module, "SIDE_BY_SIDE", 1)
        tidy, next_one = self.call("tidy", TIDY), self.call("next", TIDY)
        interrupted: Any = OnceThere(self.folder / "tidy")
        self.assertFalse(run([tidy, next_one], interrupted))
        self.assertEqual(
            ["tidy", "tidy.tidied"], sorted(each.name for each in self.folder.iterdir())
        )

    def test_nothing_is_left_of_who_would_not_end_nor_of_what_it_started(self) -> None:
        stubborn = self.call("stubborn", STUBBORN)
        interrupted: Any = OnceThere(self.folder / "stubborn", hurry=True)
        self.assertFalse(run([stubborn], interrupted))
        pids = list(map(int, (self.folder / "stubborn").read_text().split()))
        self.assertEqual(2, len(pids))
        until = time.monotonic() + 10
        while any(map(is_there, pids)):  # killed, but the kernel may still be at it
            self.assertLess(time.monotonic(), until)
