"""Kills a node at random moments under load, and asks what became of every mail.

    python -m tests.faults.sigkill FOLDER [ROUNDS] [SEED] [WORKERS]
    python -m tests.faults.sigkill FOLDER ROUNDS SEED alone

A node of two workers is killed whole or its supervisor alone; `alone` kills one worker each time,
while the node serves on.

A mail is acknowledged once its 250 was read. Each is made again from its number alone, so what
comes back is compared to the byte.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import smtplib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from mailnode.workers.deaths import AT_ONCE_S
from tests.live.node import DOMAIN, Node, command, copy_folder, make_folder, without_ours

SENDERS = 4
NAMES = ("alice", "bob")
LONGEST_LOAD_S = 1.2
VERIFY_S = 1800.0  # of all that a thousand loads have left


@frozen
class Sent:
    """One mail that a sender tried: all of it follows from the seed and the number."""

    seed: int
    number: int

    @property
    def token(self) -> str:
        return f"{self.seed}-{self.number}"

    def recipients(self) -> tuple[str, ...]:
        return NAMES if self.number % 3 == 0 else (NAMES[self.number % 2],)

    def raw(self) -> bytes:
        """Small mails mostly, dots in them; now and then one that lies in a file of its own."""
        chance = random.Random(self.token)
        size = chance.choice([*[0, 10, 300, 2000, 2000, 2000, 20_000] * 6, 20_000, 400_000])
        line = b"." + chance.randbytes(20).hex().encode() + b"\r\n"
        return b"Subject: " + self.token.encode() + b"\r\n\r\n" + line * (size // len(line))


@define(eq=False)
class Load:
    """Senders that go on until the node is gone, and remember what they were told.

    Attributes:
        pause_s: of each sender behind each mail.
    """

    node: Node
    seed: int
    numbers: itertools.count[int]
    tried: list[Sent] = field(factory=list)
    acknowledged: set[str] = field(factory=set)
    refused: list[str] = field(factory=list)
    again: bool = False
    pause_s: float = 0.0
    ended: bool = False
    _threads: list[threading.Thread] = field(factory=list)

    def start(self) -> None:
        for _ in range(SENDERS):
            thread = threading.Thread(target=self._send, daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a sender hangs although the node is gone"

    def _send(self) -> None:
        gone = (OSError, smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError)
        while not self.ended:
            with contextlib.suppress(*gone):
                self._send_by_one_connection()
            if not self.again:
                return

    def _send_by_one_connection(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=30) as session:
            session.ehlo("load.example")
            while not self.ended:
                mail = Sent(self.seed, next(self.numbers))
                self.tried.append(mail)
                recipients = [f"{name}@{DOMAIN}" for name in mail.recipients()]
                try:
                    turned_away = session.sendmail("load@elsewhere.example", recipients, mail.raw())
                except smtplib.SMTPResponseException as error:
                    if error.smtp_code == -1:  # the line broke in the middle
                        return
                    self.refused.append(f"{mail.token}: {error}")
                    continue
                self.refused += [f"{mail.token}: {name}" for name in turned_away]
                self.acknowledged.add(mail.token)
                if self.pause_s:
                    time.sleep(self.pause_s)


@define(eq=False)
class Report:
    """What became of the mails.

    Attributes:
        recovery_s: the best of three starts after a kill, with all the mails.
        bare_start_s: the same without any, on the same machine at the same time.
        faults: what must not be; empty when all is well.
    """

    rounds: int = 0
    tried: int = 0
    acknowledged: int = 0
    kept_unacknowledged: int = 0
    recovery_s: float = 0.0
    bare_start_s: float = 0.0
    faults: list[str] = field(factory=list)

    def __str__(self) -> str:
        starts = (
            f"a start takes {self.recovery_s:.2f} s with them, {self.bare_start_s:.2f} s without; "
        )
        return (
            f"{self.rounds} kills: {self.tried} mails tried, {self.acknowledged} acknowledged, "
            f"{self.kept_unacknowledged} whole without a 250; "
            f"{starts if self.recovery_s else ''}{len(self.faults)} faults"
        )


def run(folder: Path, rounds: int, seed: int, workers: int = 1) -> Report:
    """Load, kill and start a node `rounds` times, then read every maildrop.

    Args:
        folder: with alice and bob in its users.db, and no mail.
    """
    chance, report = random.Random(seed), Report(rounds=rounds)
    node = Node(folder, options=("--smtp", "0", "--pop3", "0"), workers=workers)
    numbers: itertools.count[int] = itertools.count(1)
    tried: list[Sent] = []
    acknowledged: set[str] = set()
    try:
        for _ in range(rounds):
            node.start()
            load = Load(node, seed, numbers)
            load.start()
            time.sleep(chance.uniform(0.02, LONGEST_LOAD_S))
            chance.choice((node.kill, node.kill_all))()
            load.join()
            tried += load.tried
            acknowledged |= load.acknowledged
            report.faults += [f"refused: {what}" for what in load.refused]
        bare = Node(copy_folder(folder, folder / "bare"), options=node.options, workers=workers)
        report.recovery_s, report.bare_start_s = _best_starts(node, bare)
        node.start()
        _judge_node(report, node, tried, acknowledged)
    finally:
        node.kill()
    return report


def run_workers(folder: Path, rounds: int, seed: int) -> Report:
    """Under one load kill a worker of two `rounds` times, then read every maildrop."""
    chance, report = random.Random(seed), Report(rounds=rounds)
    node = Node(folder, options=("--smtp", "0", "--pop3", "0"), workers=2)
    try:
        node.start()
        load = Load(node, seed, itertools.count(1), again=True)
        load.start()
        since: dict[int, float] = {}
        killed: set[int] = set()
        try:
            for _ in range(rounds):
                time.sleep(chance.uniform(0.02, LONGEST_LOAD_S))
                victim = _old_worker(node, since, killed)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
        finally:
            load.ended = True
            load.join()
        report.faults += [f"refused: {what}" for what in load.refused]
        if not _are_replaced(node, rounds):
            report.faults.append(f"not every worker was replaced:\n{node.tail()}")
        _judge_node(report, node, load.tried, load.acknowledged)
    finally:
        node.kill()
    return report


def _old_worker(node: Node, since: dict[int, float], killed: set[int]) -> int:
    """The worker that has served longest, once nobody can take its death for one at its start.

    Args:
        since: when each was first seen; kept up to date.
    """
    while True:
        now = time.monotonic()
        pids = set(node.worker_pids()) - killed
        for pid in pids:
            since.setdefault(pid, now)
        old = [pid for pid in pids if now - since[pid] > AT_ONCE_S]
        if old:
            return min(old, key=lambda pid: since[pid])
        time.sleep(0.02)


def _are_replaced(node: Node, count: int) -> bool:
    """Whether the node says so, in time."""
    deadline = time.monotonic() + 15
    while node.text().count("ended by signal 9: another begins") != count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _judge_node(report: Report, node: Node, tried: Sequence[Sent], acknowledged: set[str]) -> None:
    """Of a node that is up; it is stopped."""
    judge(report, tried, acknowledged, {name: node.each_mail(name) for name in NAMES})
    node.stop()
    report.tried, report.acknowledged = len(tried), len(acknowledged)
    checked = command(node.folder, "verify", check=False, within_s=VERIFY_S)
    if checked.returncode != 0:
        report.faults.append(f"verify: {checked.stdout}{checked.stderr}")


def _best_starts(*nodes: Node) -> list[float]:
    """The shortest of three starts of each node, taken in turn; each is killed again."""
    times: list[list[float]] = [[] for _ in nodes]
    for _ in range(3):
        for node, taken in zip(nodes, times, strict=True):
            began = time.monotonic()
            node.start()
            taken.append(time.monotonic() - began)
            node.kill()
    return [min(taken) for taken in times]


def judge(
    report: Report,
    tried: Sequence[Sent],
    acknowledged: set[str],
    found: Mapping[str, Iterable[bytes]],
) -> None:
    """Compare what the maildrops hold with what was tried and what was acknowledged."""
    copies: dict[str, Counter[str]] = {name: Counter() for name in found}
    whole = {mail.token: mail for mail in tried}
    for name, mails in found.items():
        for served in mails:
            came = without_ours(served)
            token = came.split(b"\r\n", 1)[0].removeprefix(b"Subject: ").decode()
            copies[name][token] += 1
            if token not in whole:
                report.faults.append(f"{token}: {name} has a mail that nobody sent")
            elif came != whole[token].raw():
                report.faults.append(f"{token}: not the bytes that were sent, in {name}'s maildrop")
    for mail in tried:
        counts = [copies[name][mail.token] for name in mail.recipients()]
        if any(copies[name][mail.token] for name in found if name not in mail.recipients()):
            report.faults.append(f"{mail.token}: in a maildrop it was not for")
        if mail.token in acknowledged:
            if counts != [1] * len(counts):
                report.faults.append(f"{mail.token}: acknowledged, and there {counts} times")
        elif counts == [1] * len(counts):
            report.kept_unacknowledged += 1
        elif any(counts):
            report.faults.append(f"{mail.token}: kept in part, {counts}")


def main() -> int:
    name, *more = sys.argv[1:]
    rounds, seed, workers = [*more, *["20", "1", "1"][len(more) :]]
    folder = make_folder(Path(name))
    if workers == "alone":
        report = run_workers(folder, int(rounds), int(seed))
    else:
        report = run(folder, int(rounds), int(seed), int(workers))
    print(report)
    print("\n".join(report.faults[:50]))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
