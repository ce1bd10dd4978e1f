"""A run: which servers are up when, in which order they are measured, what is written down."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define

from tests.bench import measuring
from tests.bench.cells import CELLS, Cell
from tests.bench.flushes import flushes
from tests.bench.growth import GROWTHS, Plan
from tests.bench.idle import idle
from tests.bench.measuring import Record, fill, rotated
from tests.bench.processes import is_taken
from tests.bench.queues import dead_host, long_queue
from tests.bench.relay import SINK, Sink, relay, relaying
from tests.bench.results import Journal
from tests.bench.targets import Target, Trouble, running

IDLE = 10_000
OFFERED_S = 12.0
BARE_ARGON2ID = "argon2id"
BARE = {cell.bare for cell in CELLS.values()}


def check_ports(targets: Sequence[Target]) -> None:
    """Refuse before anything is started.

    Raises:
        Trouble: somebody listens on a port of a target.
    """
    for target in targets:
        for kind in ("smtp", "pop3", "lmtp"):
            port = target.facts.get(kind)
            if port and is_taken(port):
                raise Trouble(f"{target.name}: somebody listens on port {port}; end that first")


@define(eq=False)
class Run:
    """Measures cells on targets, interleaved.

    Attributes:
        fewer: every size is divided by this, to try the bench out.
    """

    targets: Sequence[Target]
    journal: Journal
    repeats: int
    seconds: float
    fewer: int = 1

    def measure(self, cells: Sequence[Cell]) -> None:
        """All that these cells ask for. A peer that fails in a cell is told and left out there."""
        measuring.build_load()
        self._smtp([cell for cell in cells if cell.kind in ("smtp", "arrival")])
        if not Path(SINK).exists():
            left_out = [cell.name for cell in cells if cell.kind in ("relay", "queue")]
            print(f"# left out: {left_out}: there is no {SINK} (make bench-peers)", file=sys.stderr)
            cells = [cell for cell in cells if cell.name not in left_out]
        self._relay([cell for cell in cells if cell.kind == "relay"])
        self._pop3([cell for cell in cells if cell.kind in ("pop3", "first")])
        for cell in cells:
            if cell.kind == "flushes":
                self._flushes(cell)
            elif cell.kind == "idle":
                self._idle(cell)
            elif cell.kind == "growth":
                self._growth(cell)
            elif cell.kind == "queue":
                self._queue(cell)

    def _smtp(self, cells: Sequence[Cell]) -> None:
        if not cells:
            return
        with running([target for target in self.targets if target.smtp]) as targets:
            for target in targets:  # not measured: everybody's first pages and processes
                measuring.load("smtpload", "-p", target.smtp, "-k", "-m", 100)
                target.empty()
            for cell, repeat, target in self._rounds(cells, targets):
                if cell.kind == "smtp":
                    self._keep(cell, repeat, target, measuring.smtp, target, cell, self.seconds)
                elif target.count([0]) is not None:
                    self._keep(cell, repeat, target, measuring.arrival, target)

    def _relay(self, cells: Sequence[Cell]) -> None:
        if not cells:
            return
        wanted = [relaying(target) for target in self.targets if target.facts.get("relays")]
        with Sink() as sink, running(wanted) as targets:
            for target in targets:  # not measured: everybody's first pages and processes
                relay(target, cells[0], sink, self.seconds, "-m", 200)
            for cell, repeat, target in self._rounds(cells, targets):
                self._keep(cell, repeat, target, relay, target, cell, sink, self.seconds)

    def _pop3(self, cells: Sequence[Cell]) -> None:
        if not cells:
            return
        with running([target for target in self.targets if target.pop3]) as targets:
            for boxes in {cell.boxes: None for cell in cells if cell.boxes}:
                assert boxes
                for target in targets:
                    print(f"# {target.name}: {boxes}", file=sys.stderr)
                    fill(target, self._fewer(boxes))
            for cell in cells:
                for target in targets if cell.kind == "pop3" else ():
                    if not target.is_bare or self._is_for(cell, target):
                        measuring.pop3(target, cell, 0.5)  # not measured: indexes, caches, sign-ins
                for _, repeat, target in self._rounds([cell], targets):
                    if cell.kind == "first":
                        self._first(cell, repeat, target)
                    else:
                        self._keep(cell, repeat, target, measuring.pop3, target, cell, self.seconds)

    def _fewer(self, boxes: measuring.Boxes) -> measuring.Boxes:
        mails = max(1, boxes.mails // self.fewer)
        return measuring.Boxes(boxes.first_user, boxes.users, mails, boxes.octets)

    def _first(self, cell: Cell, repeat: int, target: Target) -> None:
        begin_at = repeat % 30 * 60
        self._keep(cell, repeat, target, measuring.first_sign_ins, target, cell, begin_at)
        if target.name == "mailnode":
            record = measuring.bare_argon2id(self.seconds)
            self._write(cell, repeat, BARE_ARGON2ID, record)

    def _flushes(self, cell: Cell) -> None:
        for target in self.targets:
            if target.smtp and not target.is_bare:
                try:
                    for record in flushes(target.name):
                        self._write(cell, 0, target.name, record)
                except Trouble as error:
                    print(f"# {cell.name}: {error}", file=sys.stderr)

    def _idle(self, cell: Cell) -> None:
        for target in (target for target in self.targets if target.smtp):
            if target.is_bare and not self._is_for(cell, target):
                continue
            with running([target]) as up:
                for repeat in range(self.repeats if up else 0):
                    count = IDLE // self.fewer
                    self._keep(cell, repeat, target, idle, target, cell, count)

    def _growth(self, cell: Cell) -> None:
        plan = Plan(self.repeats, self.seconds, self.fewer)
        for record in GROWTHS[cell.name](plan):
            self._write(cell, record["repeat"], "mailnode", record)

    def _queue(self, cell: Cell) -> None:
        if cell.name == "dead50k":
            records = dead_host(self.repeats, OFFERED_S, self.fewer)
        else:
            records = long_queue(self.repeats, self.fewer)
        for record in records:
            self._write(cell, record["repeat"], record.get("target", "mailnode"), record)

    def _rounds(
        self, cells: Sequence[Cell], targets: Sequence[Target]
    ) -> Iterator[tuple[Cell, int, Target]]:
        for cell in cells:
            for repeat in range(self.repeats):
                for target in rotated(targets, repeat):
                    if not target.is_bare or self._is_for(cell, target):
                        yield cell, repeat, target

    def _is_for(self, cell: Cell, bare: Target) -> bool:
        """Whether the bare program is measured there: in its cells, or in all when it has none.

        They know no TLS.
        """
        return not cell.is_tls and (cell.bare == bare.name or bare.name not in BARE)

    def _keep(
        self,
        cell: Cell,
        repeat: int,
        target: Target,
        measure: Callable[..., Record],
        *arguments: object,
    ) -> None:
        try:
            self._write(cell, repeat, target.name, measure(*arguments))
        except Exception as error:
            if target.name == "mailnode":
                raise
            print(f"# {cell.name} {target.name}: {error}", file=sys.stderr)

    def _write(self, cell: Cell, repeat: int, target: str, record: Record) -> None:
        told = {"kind": cell.kind, "cell": cell.name, "target": target, "repeat": repeat}
        self.journal.write(told | record)
        figure = record.get(cell.figure or "flushes", record.get("rate"))
        shown = "-" if figure is None else f"{figure:.4g} {cell.unit}"
        error = record.get("first_error") or ""
        print(f"# {cell.name} {repeat} {target}: {shown} {error}", file=sys.stderr)
