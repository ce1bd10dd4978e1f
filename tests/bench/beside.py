"""The same mail with and without something else that the node does: what that takes from it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from attrs import frozen

from tests.bench.measuring import Record, load
from tests.bench.processes import cpu_s

P99_TIMES = 2.0


@frozen
class Pair:
    """What the load has noted, each with `cpu_s`, which the node used."""

    alone: Record
    beside: Record

    @property
    def ratio(self) -> float:
        """Of the times within which 99 of 100 mails were accepted."""
        return float(self.beside["p99_ms"] / self.alone["p99_ms"])

    @property
    def more_cpu_s(self) -> float:
        return float(self.beside["cpu_s"] - self.alone["cpu_s"])

    @property
    def refused(self) -> int:
        return sum(each["failed"] + each["connfail"] for each in (self.alone, self.beside))


def measure_pairs(
    count: int,
    mail: Iterable[object],
    pids: Callable[[], set[int]],
    beside: Callable[[], AbstractContextManager[object]],
) -> list[Pair]:
    """Offer mail alone and inside `beside`, which of the two first in turn; each pair is printed.

    Args:
        mail: arguments of the load.
        pids: of the node's processes.
    """
    load("smtpload", *mail)  # not measured: first pages
    pairs = []
    for number in range(count):
        records = {}
        for with_it in (False, True) if number % 2 else (True, False):
            before = cpu_s(pids())
            with beside() if with_it else nullcontext():
                records[with_it] = load("smtpload", *mail)
            records[with_it]["cpu_s"] = cpu_s(pids()) - before
        pair = Pair(records[False], records[True])
        pairs.append(pair)
        print(
            f"# pair {number + 1}: p50 {pair.alone['p50_ms']:.1f} and {pair.beside['p50_ms']:.1f},"
            f" p99 {pair.alone['p99_ms']:.1f} and {pair.beside['p99_ms']:.1f} ms;"
            f" {pair.beside['acked']} mails, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    return pairs


def p99_of(pairs: Iterable[Pair]) -> tuple[str, bool]:
    """The p99 of accept without and with it, in words, and whether it is no more than twice."""
    pairs = list(pairs)
    alone, beside = (
        statistics.median(each["p99_ms"] for each in some)
        for some in ([pair.alone for pair in pairs], [pair.beside for pair in pairs])
    )
    ratios = [pair.ratio for pair in pairs]
    ratio = statistics.median(ratios)
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{alone:.1f} and {beside:.1f} ms: {ratio:.2f} {spread} x", ratio <= P99_TIMES
