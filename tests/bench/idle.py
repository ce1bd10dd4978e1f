"""What idle connections cost: memory, and how long a new client waits beside them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator

from tests.bench.cells import Cell
from tests.bench.measuring import Record, load
from tests.bench.processes import proportional_octets
from tests.bench.targets import Target, home

HELD_S = 300
CLIENTS = 200


def idle(target: Target, cell: Cell, wanted: int) -> Record:
    """One round on a server that is up: alone, with connections open, and compared.

    The connections have greeted and said EHLO; those of idle-tls are inside STARTTLS.
    """
    opened_at_most = min(wanted, target.facts["idle_most"])
    load("smtpload", "-p", target.smtp, "-s", 5, "-m", 20)
    empty = _latency(target)
    time.sleep(0.5)
    before, before_own = target.memory(), proportional_octets(target.pids())
    with _open(target, cell, opened_at_most) as opened:
        time.sleep(0.5)
        after, after_own = target.memory(), proportional_octets(target.pids())
        crowded = _latency(target)
    count = opened["opened"]
    grown = (after_own - before_own) / 1024
    # Too few connections for the size of a process say nothing.
    each = grown / count if grown > 0 and count >= opened_at_most / 2 else None
    return {
        "wanted": opened_at_most,
        "opened": count,
        "open_s": opened["open_s"],
        "octets_before": before.resident,
        "octets": after.resident,
        "kib_each": each,
        "processes": after.processes,
        "empty_p50_ms": empty["p50_ms"],
        "empty_p99_ms": empty["p99_ms"],
        "p50_ms": crowded["p50_ms"],
        "p99_ms": crowded["p99_ms"],
        "latency_ratio": crowded["p50_ms"] / max(0.01, empty["p50_ms"]),
        "failed": empty["failed"] + crowded["failed"],
        "first_error": opened["first_error"] or crowded["first_error"],
    }


def _latency(target: Target) -> Record:
    """One client after another connects, sends a mail, and goes."""
    record = load("smtpload", "-p", target.smtp, "-s", 1, "-m", CLIENTS)
    target.empty()
    return record


@contextlib.contextmanager
def _open(target: Target, cell: Cell, count: int) -> Iterator[Record]:
    """The connections are open inside, and gone after it."""
    chunk = target.facts.get("idle_chunk", 4)
    process = subprocess.Popen(
        [
            str(home() / "bin" / "smtpload"),
            *("-p", str(target.smtp), "-i", str(count), "-c", str(chunk), "-T", str(HELD_S)),
            *cell.load,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)
