"""Mixed load with faults for a while: nothing is lost or doubled, nothing grows.

    python -m tests.faults.soak [--seconds N] [--page]

Mail comes in small and large, to one and to all, inside TLS and not, refused and abandoned; it is
fetched and deleted; accounts come and go by the command line; the disk fills and empties; settings
are read again; the node is killed, ended and started. Memory and descriptors are judged over the
long life between the restarts. `--page` puts figures and chart into docs/.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import smtplib
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import define, field, frozen

from tests.bench.charts import Course, Line, courses
from tests.bench.page import fill
from tests.bench.processes import MIB, memory
from tests.bench.tables import simple_table
from tests.faults.ledger import GONE, Ledger, Traffic
from tests.faults.shim import build
from tests.live.node import DOMAIN, PASSWORD, Node, command, make_folder

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("alice", "bob", "carol")
SIZES = (0, 300, 2_000, 2_000, 2_000, 2_000, 20_000, 20_000, 400_000)
SHORT_S = 60.0
GUEST_S = 30.0
LETTERS = {"SIGKILL": "K", "SIGTERM": "T", "SIGHUP": "H", "full disk": "F"}


def schedule(seconds: float) -> list[tuple[float, str]]:
    """What happens when; a short run has one of each."""
    if seconds < SHORT_S:
        parts = [(0.2, "SIGKILL"), (0.4, "full disk"), (0.6, "SIGHUP"), (0.8, "SIGTERM")]
    else:
        parts = [(0.04, "SIGKILL"), (0.08, "SIGKILL"), (0.12, "SIGTERM")]
        parts += [(0.2 + 0.05 * step, "SIGHUP") for step in range(15)]
        parts += [(at, "full disk") for at in (0.23, 0.38, 0.53, 0.68, 0.83)]
        parts += [(0.94, "SIGTERM"), (0.97, "SIGKILL")]
    return sorted((part * seconds, what) for part, what in parts)


@frozen
class Sample:
    """How the node was at a moment.

    Attributes:
        life: counts its processes.
    """

    at: float
    life: int
    resident: int
    descriptors: int
    acknowledged: int


@define(eq=False)
class Report:
    """What a soak came to.

    Attributes:
        happened: (seconds since the start, what) of each fault.
        faults: what must not be.
    """

    seconds: float
    ledger: Ledger
    samples: list[Sample] = field(factory=list)
    happened: list[tuple[float, str]] = field(factory=list)
    guests: int = 0
    abandoned: int = 0
    faults: list[str] = field(factory=list)

    def count(self, what: str) -> int:
        return sum(each == what for _at, each in self.happened)

    def long_life(self) -> list[Sample]:
        """Of the process that lived longest, without the first quarter, in which caches fill."""
        lives: dict[int, list[Sample]] = {}
        for sample in self.samples:
            lives.setdefault(sample.life, []).append(sample)
        longest = max(lives.values(), key=len)
        return longest[len(longest) // 4 :]

    def figures(self) -> Mapping[str, str]:
        """For people, in order."""
        ledger, life = self.ledger, self.long_life()
        least, most = (
            [round(choose(sample.resident for sample in part) / MIB) for part in _halves(life)]
            for choose in (min, max)
        )
        few, many = (
            [choose(sample.descriptors for sample in part) for part in _halves(life)]
            for choose in (min, max)
        )
        return {
            "length": f"{self.seconds / 60:.1f} minutes",
            "mails acknowledged": f"{len(ledger.acknowledged):,}",
            "put off for now": f"{ledger.put_off:,}",
            "refused, abandoned": f"{ledger.refused:,} and {self.abandoned:,}",
            "copies fetched and deleted": f"{sum(ledger.gone.values()):,}",
            "killed, ended, settings read again, disk full": ", ".join(
                str(self.count(what)) for what in LETTERS
            ),
            "accounts that came and went": f"{self.guests}",
            "memory, first and second half of the long life": (
                f"{least[0]} to {most[0]} MiB, {least[1]} to {most[1]} MiB"
            ),
            "descriptors, the same": f"{few[0]} to {many[0]}, {few[1]} to {many[1]}",
            "lost, doubled, changed or otherwise wrong": f"{len(self.faults)}",
        }

    def judge_growth(self) -> Iterator[str]:
        """What grew from the first half of the long life to the second."""
        first, second = _halves(self.long_life())
        for name, most, slack in (
            ("memory", [max(s.resident for s in part) for part in (first, second)], 8 * MIB),
            ("descriptors", [max(s.descriptors for s in part) for part in (first, second)], 8),
        ):
            if most[1] > most[0] * 1.1 + slack:
                yield f"{name} grew from {most[0]} to {most[1]}"

    def chart(self) -> str:
        """Memory, descriptors and mails a second over the minutes."""

        def line(name: str, value: Callable[[Sample], float]) -> Line:
            return Line(name, [(sample.at / 60, value(sample)) for sample in self.samples])

        rates = [
            (second.at / 60, (second.acknowledged - first.acknowledged) / (second.at - first.at))
            for first, second in zip(self.samples, self.samples[1:], strict=False)
        ]
        panels = [
            Course("resident memory, MiB", [line("the node", lambda s: s.resident / MIB)]),
            Course("open descriptors", [line("the node", lambda s: s.descriptors)]),
            Course("mails acknowledged a second", [Line("all senders", rates or [(0, 0)])]),
        ]
        marks = [(at / 60, LETTERS[what]) for at, what in self.happened]
        title = "A soak: K SIGKILL, T SIGTERM, H SIGHUP, F full disk"
        return courses(title, "minutes", panels, marks)


def _halves(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    middle = max(1, len(samples) // 2)
    return samples[:middle], samples[middle:] or samples[-1:]


@define(eq=False)
class Soak:
    """One run."""

    folder: Path
    seconds: float
    seed: int
    report: Report = field(init=False)
    node: Node = field(init=False)
    traffic: Traffic = field(init=False)
    _control: Path = field(init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)
    _began: float = 0.0
    _life: int = 0

    def __attrs_post_init__(self) -> None:
        self.report = Report(self.seconds, Ledger())
        self._control = self.folder / "control"
        self.node = Node(
            make_folder(self.folder, NAMES),
            options=("--smtp", "0", "--pop3", "0"),
            settings={"LD_PRELOAD": str(build()), "FAULT_CONTROL": str(self._control)},
        )
        self.traffic = Traffic(
            self.node,
            self.report.ledger,
            NAMES,
            seed=self.seed,
            sizes=SIZES,
            pause_s=0.02,
        )

    def run(self) -> Report:
        """All of it; the node is gone afterwards."""
        report = self.report
        helpers = [
            threading.Thread(target=work, daemon=True)
            for work in (self._sample, self._come_and_go, self._abandon)
        ]
        try:
            self.node.start()
            self._began = time.monotonic()
            self.traffic.start()
            for helper in helpers:
                helper.start()
            for at, what in schedule(self.seconds):
                self._wait_until(at)
                report.happened.append((self._now(), what))
                self._do(what)
            self._wait_until(self.seconds)
            self._over.set()
            for helper in helpers:
                helper.join(2 * GUEST_S)
            self.traffic.stop()
            left = {name: self.node.each_mail(name) for name in NAMES}
            report.faults += report.ledger.judge(left)
            self.node.stop()
        finally:
            self._over.set()
            self.node.kill()
        checked = command(self.folder, "verify", check=False, within_s=600.0)
        if checked.returncode != 0:
            report.faults.append(f"verify: {checked.stdout}{checked.stderr}")
        return report

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _wait_until(self, at: float) -> None:
        time.sleep(max(0.0, at - self._now()))

    def _do(self, what: str) -> None:
        if what == "SIGHUP":
            self.node.send_signal(signal.SIGHUP)
        elif what == "full disk":
            self._fill_the_disk(min(10.0, max(0.7, self.seconds / 100)))
        else:
            if what == "SIGKILL":
                self.node.kill()
            else:
                self.node.stop()
            self._life += 1
            self.node.start()

    def _fill_the_disk(self, for_s: float) -> None:
        """Nothing can be written to the data folder for a while."""
        part = self._control.with_suffix(".part")
        part.write_text(f"write {errno.ENOSPC} /var/mail.db\nwrite {errno.ENOSPC} /var/spool/\n")
        part.rename(self._control)
        time.sleep(for_s)
        self._control.unlink()

    # Beside the traffic, each in a thread

    def _sample(self) -> None:
        every_s = min(5.0, max(0.2, self.seconds / 300))
        while not self._over.wait(every_s):
            process, life = self.node.process, self._life
            with contextlib.suppress(OSError, AttributeError):
                descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))  # type: ignore[union-attr]
                resident = memory([process.pid]).resident  # type: ignore[union-attr]
                if resident and life == self._life:
                    mails = len(self.report.ledger.acknowledged)
                    sample = Sample(self._now(), life, resident, descriptors, mails)
                    self.report.samples.append(sample)

    def _abandon(self) -> None:
        """A client that goes away in the middle of a large body, without a word."""
        while not self._over.wait(0.5):
            with contextlib.suppress(*GONE), self.node.raw("smtp") as client:
                client.sendall(
                    b"EHLO gone.example\r\nMAIL FROM:<a@b.example>\r\n"
                    b"RCPT TO:<alice@%s>\r\nDATA\r\n" % DOMAIN.encode()
                )
                reset = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.sendall(b"Subject: half\r\n\r\n" + b"0123456789abcdef\r\n" * 30_000)
                self.report.abandoned += 1

    def _come_and_go(self) -> None:
        """Accounts are made, disabled and deleted by the command; the node knows within seconds."""
        while not self._over.wait(max(0.3, min(5.0, self.seconds / 60))):
            name = f"guest{self.report.guests}@{DOMAIN}"
            for arguments, stdin, wanted in (
                (("user", "add", name), f"{PASSWORD}\n", 250),
                (("user", "disable", name), "", 550),
                (("user", "delete", "--yes", name), "", 550),
            ):
                command(self.folder, *arguments, stdin=stdin)
                self._until_answered(name, wanted)
            self.report.guests += 1

    def _until_answered(self, name: str, wanted: int) -> None:
        deadline = time.monotonic() + GUEST_S
        code = 0
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(*GONE, smtplib.SMTPException),
                smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=10) as client,
            ):
                client.ehlo("client.example")
                client.mail("a@b.example")
                code = client.rcpt(name)[0]
                if code == wanted:
                    return
            time.sleep(0.1)
        self.report.faults.append(f"{name}: RCPT is answered {code}, not {wanted}")


def write_page(report: Report, docs: Path = DOCS) -> None:
    """The figures and the chart stand in docs/reliability.rst."""
    (docs / "reliability").mkdir(exist_ok=True)
    (docs / "reliability" / "soak.svg").write_text(report.chart())
    told = simple_table(["Of one run", "Figure"], list(map(list, report.figures().items())))
    told += "\n\n.. image:: reliability/soak.svg\n   :alt: Memory, descriptors and mails a second"
    page = docs / "reliability.rst"
    page.write_text(fill(page.read_text("utf-8"), {"soak": told}), "utf-8")


def main() -> int:
    options = argparse.ArgumentParser(description="A soak of a node.")
    options.add_argument("--seconds", type=float, default=1800.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--page", action="store_true", help="write docs/reliability.rst")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailnode-soak-") as folder:
        report = Soak(Path(folder) / "node", given.seconds, given.seed).run()
    report.faults += report.judge_growth()
    for name, figure in report.figures().items():
        print(f"{name}: {figure}")
    print("\n".join(report.faults[:50]))
    if given.page:
        write_page(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
