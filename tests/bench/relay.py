"""Mails that come in on one port and go out to the next hop: Debian's smtp-sink, which counts them.

The clock runs from the first connection of the load to the last mail at the sink.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from typing import Any

from attrs import define, evolve, field

from tests.bench.cells import Cell
from tests.bench.measuring import Record, load, per_1000
from tests.bench.processes import Peak, is_taken
from tests.bench.targets import Target, Trouble

SINK = "/usr/sbin/smtp-sink"
PORT = 2695
ELSEWHERE = "elsewhere.test"
SENDER = "u0@example.test"
QUIET_S = 90.0


@define(eq=False)
class Sink:
    """smtp-sink on loopback while it is entered: it takes every mail and keeps none.

    Attributes:
        mails: that it has taken so far.
        took_last_at: when the last of them was taken, on the monotonic clock.
    """

    port: int = PORT
    mails: int = 0
    took_last_at: float = 0.0
    _process: Any = field(default=None, init=False)
    _reading: Any = field(default=None, init=False)

    def __enter__(self) -> Sink:
        if is_taken(self.port):
            raise Trouble(f"smtp-sink: somebody listens on port {self.port}; end that first")
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self._process = subprocess.Popen(
            [SINK, "-c", *user, f"inet:127.0.0.1:{self.port}", "1000"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        until = time.monotonic() + 10
        while not is_taken(self.port):
            if time.monotonic() > until or self._process.poll() is not None:
                self.__exit__()
                raise Trouble("smtp-sink did not come up")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reading.join(10)
        self._process.stdout.close()

    def _read(self) -> None:
        """It writes its counters anew with every mail."""
        rest = b""
        while told := os.read(self._process.stdout.fileno(), 65536):
            now = time.monotonic()
            lines = (rest + told).split(b"\r")
            rest = lines.pop()
            for line in reversed(lines):
                if found := re.search(rb"mesg=(\d+)", line):
                    if (mails := int(found[1])) > self.mails:
                        self.mails, self.took_last_at = mails, now
                    break

    def wait_for(self, mails: int) -> bool:
        """Whether it has taken so many in all; it is waited for while any come."""
        began = time.monotonic()
        while self.mails < mails:
            if time.monotonic() - max(began, self.took_last_at) > QUIET_S:
                return False
            time.sleep(0.01)
        return True


def relaying(target: Target, port: int = PORT) -> Target:
    """The target as it sends all mail for other hosts to the sink."""
    return evolve(target, environment={**target.environment, "BENCH_RELAY": str(port)})


def relay(target: Target, cell: Cell, sink: Sink, seconds: float, *more: object) -> Record:
    """Mails a second from the first connection until the last one is at the sink, CPU, memory."""
    arguments = [*cell.load, *more]
    if cell.timed and "-m" not in more:
        arguments += ["-T", seconds]
    before = sink.mails
    os.sync()  # so that none pays for what others left to write
    cpu = target.cpu_s()
    with Peak(target.memory) as peak:
        record = _submit(target, *arguments)
        all_there = sink.wait_for(before + record["acked"])
        relayed_s = sink.took_last_at - record["began"]
        time.sleep(0.3)  # what ends after the last mail is its cost too
        record["cpu_s"] = target.cpu_s() - cpu
    arrived = sink.mails - before
    return record | peak.as_record() | {
        "missing": max(0, record["acked"] - arrived),
        "doubled": max(0, arrived - record["acked"]),
        "relayed_s": relayed_s,
        "relayed_rate": record["acked"] / relayed_s if all_there else None,
        "later_s": max(0.0, relayed_s - record["secs"]) if all_there else None,
        "cpu_1000": per_1000(record["cpu_s"], record["acked"]),
    }  # fmt: skip


def offer(target: Target, sink: Sink, rate: int, mails: int) -> Record:
    """So many mails at a fixed rate; it comes back once all are at the sink."""
    before = sink.mails
    record = _submit(target, "-s", 10, "-k", "-R", rate, "-m", mails)
    if not sink.wait_for(before + record["acked"]):
        raise Trouble(f"{target.name}: {sink.mails - before} of {record['acked']} came")
    time.sleep(1)  # until that is written
    return record


def _submit(target: Target, *arguments: object) -> Record:
    whom = ("-d", ELSEWHERE, "-F", SENDER, "-a", f"{SENDER}:pw", "-u", target.users)
    record = load("smtpload", "-p", target.smtp, "-t", 20, *whom, *arguments)
    if not record["acked"]:
        raise Trouble(f"{target.name} acknowledged nothing: {record['first_error']}")
    return record
