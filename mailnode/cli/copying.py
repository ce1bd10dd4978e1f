"""How far a long copy is: a bar with its rate and the time left, on a terminal alone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from attrs import define, field
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mailnode.cli import output
from mailnode.cli.frame import Mistake, wants_json
from mailnode.portability.chunks import BackupFault


@define(eq=False)
class Copied:
    """Shows octets as they are done; `told` may be called in any thread."""

    _progress: Progress | None = None
    _task: TaskID | None = None
    _began: float = field(factory=time.monotonic)

    def begin(self, what: str, octets: int) -> None:
        """Of `what` there will be so many octets."""
        if self._progress is not None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(what, total=octets)

    def told(self, octets: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, octets)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


@contextmanager
def copied(ctx: click.Context) -> Iterator[Copied]:
    """Shows a bar where somebody looks, on standard error; a backup's fault is a mistake.

    What is written inside is its owner's alone, keys and passwords above all.
    """
    before = os.umask(0o077)
    try:
        if wants_json(ctx) or not (sys.stdout.isatty() and sys.stderr.isatty()):
            yield Copied()
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=output.progress_console(), transient=True) as progress:
            yield Copied(progress=progress)
    except BackupFault as error:
        raise Mistake(str(error), error.exit_code) from None
    finally:
        os.umask(before)
