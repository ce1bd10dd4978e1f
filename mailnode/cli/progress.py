"""How far a long work is, on a terminal alone: a bar, mails a second, and the time left.

And who is waited for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from mailnode.cli.output import printable, progress_console

SHOW_S = 0.2
WAIT_S = 0.5


@define(eq=False)
class Course:
    """Shows the way of one work; elsewhere than on a terminal it shows nothing.

    Attributes:
        began_at: on the monotonic clock.
    """

    _shown: Progress | None = None
    _task: TaskID | None = None
    began_at: float = field(factory=time.monotonic, init=False)
    _shown_at: float = field(default=0.0, init=False)

    def show(self, done: float, total: float, mails: int) -> None:
        """It is so far; seldom enough not to cost anything."""
        now = time.monotonic()
        if self._shown is None or self._task is None or now - self._shown_at < SHOW_S:
            return
        self._shown_at = now
        rate = mails / max(now - self.began_at, SHOW_S)
        self._shown.update(
            self._task, completed=done, total=total or None, mails=mails, rate=f"{rate:,.0f}"
        )


@contextmanager
def course_of(what: str) -> Iterator[Course]:
    """A bar on standard error while the work runs, where that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield Course()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[mails]:,} mails, {task.fields[rate]} a second,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        yield Course(shown, shown.add_task(what, total=None, mails=0, rate="0"))


@contextmanager
def waiting_for(whom: str) -> Iterator[Callable[[str], object]]:
    """After a while standard error says so until it is over, where that is a terminal.

    Gives what adds a word to that.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    shown = progress_console().status(Text(f"waiting for {printable(whom)}"))
    later = Timer(WAIT_S, shown.start)
    later.daemon = True
    later.start()
    try:
        yield lambda why: shown.update(Text(f"waiting for {printable(whom)}: {printable(why)}"))
    finally:
        later.cancel()
        later.join()  # it may just be showing it
        shown.stop()
