"""Runs every test: `make test`.

The trial test cases run in one pytest call, those with pytest-twisted's fixtures in another: the
two break each other in one process, and those in a browser in a third, whose event loop is the
browser's. The live ones wait for others most of the time, so two calls run side by side: the live
ones and the trial test cases, and whenever one has ended the next, the browser's and those live
ones that sign in. What the live ones say is shown as they say it, what the others do behind.

Each call has a session of its own: Ctrl-C and SIGTERM reach this program alone, which lets each
clean up as after a Ctrl-C of its own, and then ends whatever is left of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from attrs import define, field

ROOT = Path(__file__).parents[1]
PYTEST = (sys.executable, "-m", "pytest", "-q")
NO_TWISTED = ("-p", "no:pytest_twisted")
SIGNING_IN = tuple(
    f"tests/live/test_{name}.py"
    for name in ("app_passwords", "audit", "auth", "guessing", "second_factor", "sign_in")
)
SIDE_BY_SIDE = 2
LOOK_S = 0.2
CLEAN_UP_S = 15.0


@define(eq=False)
class Call:
    """A program that runs tests.

    Attributes:
        title: what a person reads above what it says.
        said: where that is kept until all is over; None where it is shown at once.
        code: with which it ended; None before.
    """

    name: str
    title: str
    program: Sequence[str]
    said: Path | None = None
    code: int | None = field(default=None, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        with self.said.open("wb") if self.said else nullcontext() as out:
            self.process = subprocess.Popen(
                self.program,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if out else None,
                start_new_session=True,
            )

    def runs(self) -> bool:
        """Whether it began, and hasn't ended."""
        if self.process is not None and self.code is None:
            self.code = self.process.poll()
        return self.process is not None and self.code is None

    def signal(self, number: int) -> None:
        """For it and all that it started, but for what has left its session."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def say(self) -> None:
        print(f"== {self.title}", flush=True)
        if self.said is not None:
            sys.stdout.buffer.write(self.said.read_bytes())
            sys.stdout.flush()


@define(eq=False)
class Interruptions:
    """Signals that want an end, noted: no moment is wrong for them."""

    count: int = field(default=0, init=False)

    def note(self, *_: object) -> None:
        self.count += 1

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.note)


def run(calls: Sequence[Call], interrupted: Interruptions) -> bool:
    """Run calls side by side, some at a time; the next one begins when one has ended.

    Returns:
        Whether all have ended by themselves; otherwise nothing of them runs any more.
    """
    while not interrupted.count:
        running = [each for each in calls if each.runs()]
        waiting = [each for each in calls if each.process is None]
        if not running and not waiting:
            return True
        for each in waiting[: SIDE_BY_SIDE - len(running)]:
            each.start()
        time.sleep(LOOK_S)
    end([each for each in calls if each.runs()], interrupted)
    return False


def end(running: Sequence[Call], interrupted: Interruptions) -> None:
    """They clean up, unless it takes too long or who waits is in a hurry; then nothing is left."""
    asked, until = interrupted.count, time.monotonic() + CLEAN_UP_S
    for each in running:
        each.signal(signal.SIGINT)
    while any([each.runs() for each in running]):
        if time.monotonic() > until or interrupted.count > asked:
            break
        time.sleep(LOOK_S)
    for each in running:
        each.signal(signal.SIGKILL)
        if each.process is not None:
            each.process.wait()


def main() -> int:
    interrupted = Interruptions()
    interrupted.listen()
    with tempfile.TemporaryDirectory() as folder:
        return run_all(Path(folder), interrupted)


def run_all(folder: Path, interrupted: Interruptions) -> int:
    """Run the four calls, and say how they ended; the exit code."""
    began = time.monotonic()
    live = Call(
        "live tests",
        "live tests: a real twistd, and clients that others wrote",
        [*PYTEST, *(f"--ignore={each}" for each in SIGNING_IN), "tests/live"],
    )
    cases = Call(
        "trial test cases",
        "trial test cases: units, stores, dialogs, faults, examples",
        [*PYTEST, *NO_TWISTED, "--ignore=tests/live", "--ignore=tests/browser", "tests"],
        folder / "cases",
    )
    browser = Call(
        "browser tests",
        "browser tests: the pages of a real node in a real browser",
        [*PYTEST, *NO_TWISTED, "tests/browser"],
        folder / "browser",
    )
    signing_in = Call(
        "sign-in tests",
        "live tests of who signs in: each mechanism and factor, guesses, and what is told of it",
        [*PYTEST, *SIGNING_IN],
        folder / "signing-in",
    )
    calls = [live, cases, browser, signing_in]
    live.say()
    if not run(calls, interrupted):
        return 130
    for each in calls[1:]:
        each.say()
    print()
    for each in calls:
        print(f"{each.name + ':':<17} {'passed' if each.code == 0 else 'FAILED'}")
    print(f"took {time.monotonic() - began:.0f} s")
    return 0 if all(each.code == 0 for each in calls) else 1


if __name__ == "__main__":
    sys.exit(main())
