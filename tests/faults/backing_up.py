"""Kills backups, prunes and restores at random moments beside a node with load, and judges.

    python -m tests.faults.backing_up FOLDER [ROUNDS] [SEED]

Every finished backup must restore to all mail that was acknowledged before it began, byte for byte
and under the unique-ids that it was served with; whatever was killed, the next one goes on.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.faults.sigkill import NAMES, Load, Sent
from tests.live.node import BIN, Node, command, environment, make_folder, without_ours

LONGEST_S = 0.9  # a command of these takes about so long
KEEP = 3
WITHIN_S = 600.0


@define(eq=False)
class Report:
    """What became of it.

    Attributes:
        killed: commands that were still at work when they were killed, by name.
        faults: what must not be.
    """

    rounds: int
    killed: dict[str, int] = field(factory=dict)
    backups: int = 0
    restored: int = 0
    copies: int = 0
    acknowledged: int = 0
    faults: list[str] = field(factory=list)

    def __str__(self) -> str:
        killed = ", ".join(f"{count} of {name}" for name, count in sorted(self.killed.items()))
        return (
            f"{self.rounds} rounds beside {self.acknowledged} acknowledged mails: kills {killed}; "
            f"{self.backups} backups finished, {self.restored} restored, {self.copies} copies "
            f"compared; {len(self.faults)} faults"
        )


@define(eq=False)
class Rounds:
    """Backs up, prunes and restores one node.

    Attributes:
        promised: backup to what was acknowledged before it began.
        unique_ids: (name, token) to what POP3 gave for it, first and for ever.
    """

    folder: Path
    load: Load
    chance: random.Random
    report: Report
    promised: dict[str, frozenset[str]] = field(factory=dict)
    unique_ids: dict[tuple[str, str], str] = field(factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "backups"

    def run(self, name: str, *arguments: str) -> dict[str, Any] | None:
        """What a command answers, or None where it was killed on its way."""
        script = [str(BIN / "mailnode"), *arguments, "--json"]
        process = subprocess.Popen(
            script, cwd=self.folder / "node", env=environment(), stdout=-1, stderr=-1
        )
        if self.chance.random() < 0.7:
            try:
                out, err = process.communicate(timeout=self.chance.uniform(0.2, LONGEST_S))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.report.killed[name] = self.report.killed.get(name, 0) + 1
                return None
        else:
            out, err = process.communicate(timeout=WITHIN_S)
        if process.returncode:
            self.report.faults.append(f"{name}: {process.returncode}: {(out + err).decode()}")
            return None
        told: dict[str, Any] = json.loads(out)
        return told

    def back_up(self) -> None:
        acknowledged = frozenset(self.load.acknowledged)
        before = set(self.there())
        told = self.run("backup", "backup", str(self.store))
        for new in set(self.there()) - before:  # killed behind its end, it is one all the same
            self.report.backups += 1
            self.promised[new] = acknowledged
        if told is not None and told["backup"] not in self.promised:
            self.report.faults.append(f"backup {told['backup']} is not there")

    def there(self) -> list[str]:
        if not (self.store / "backups").is_dir():
            return []
        told = json.loads(self.plain("backups", "list", str(self.store), "--json"))
        return [each["backup"] for each in told]

    def plain(self, *arguments: str) -> str:
        done = command(self.folder / "node", *arguments, check=False, within_s=WITHIN_S)
        if done.returncode:
            self.report.faults.append(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def prune(self) -> None:
        if self.there():
            self.run("prune", "backups", "prune", str(self.store), "--keep", str(KEEP))
            self.plain("backups", "verify", str(self.store))

    def restore(self) -> None:
        """One of the backups, killed as often as chance will; then it is judged."""
        there = self.there()
        if not there:
            return
        wanted = self.chance.choice(there)
        target = self.folder / "restored"
        for _ in range(10):
            told = self.run(
                "restore", "restore", str(self.store), "--to", str(target), "--backup", wanted
            )
            if told is not None or target.exists() or self.report.faults:
                break
        else:
            self.plain("restore", str(self.store), "--to", str(target), "--backup", wanted)
        if target.exists():
            self.judge(wanted, target)
            shutil.rmtree(target)

    def judge(self, wanted: str, target: Path) -> None:
        self.report.restored += 1
        checked = command(target, "verify", check=False, within_s=WITHIN_S)
        if checked.returncode:
            self.report.faults.append(f"{wanted}: {checked.stdout}{checked.stderr}")
        sent = {mail.token: mail for mail in list(self.load.tried)}
        found: dict[str, set[str]] = {}
        with Node(target, options=("--smtp", "0", "--pop3", "0")) as node:
            for name in NAMES:
                found[name] = set(self.compare(wanted, name, sent, served_by(node, name)))
        for token in self.promised[wanted]:
            for name in sent[token].recipients():
                if token not in found[name]:
                    self.report.faults.append(f"{wanted}: {token} is missing with {name}")

    def compare(
        self, wanted: str, name: str, sent: dict[str, Sent], served: Iterable[tuple[str, bytes]]
    ) -> Iterable[str]:
        """The tokens of what a restored maildrop serves."""
        for unique_id, octets in served:
            raw = without_ours(octets)
            token = raw.split(b"\r\n", 1)[0].removeprefix(b"Subject: ").decode()
            self.report.copies += 1
            if token not in sent or raw != sent[token].raw():
                self.report.faults.append(f"{wanted}: {token} is not as it was sent, with {name}")
            if self.unique_ids.setdefault((name, token), unique_id) != unique_id:
                self.report.faults.append(f"{wanted}: {token} has another unique-id with {name}")
            yield token


def served_by(node: Node, name: str) -> Iterable[tuple[str, bytes]]:
    """(unique-id, octets) of each mail of a maildrop."""
    with node.maildrop(name) as client:
        unique_ids = [line.split()[1].decode() for line in client.uidl()[1]]
        for number, unique_id in enumerate(unique_ids, 1):
            yield unique_id, b"".join(line + b"\r\n" for line in client.retr(number)[1])


def run(folder: Path, rounds: int, seed: int) -> Report:
    """So many rounds beside one node, in a folder that is empty."""
    report = Report(rounds)
    made = make_folder(folder / "node")
    node = Node(made, options=("--smtp", "0", "--pop3", "0")).start()
    load = Load(node, seed, itertools.count(1), pause_s=0.1)
    load.start()
    try:
        work = Rounds(folder, load, random.Random(seed), report)
        time.sleep(0.3)
        for number in range(rounds):
            work.back_up()
            if number % 2:
                work.prune()
            if number % 3 == 2 or number == rounds - 1:
                work.restore()
    finally:
        load.ended = True
        load.join()
        report.acknowledged = len(load.acknowledged)
        tokens = list(work.unique_ids.items())
        served = {(name, unique_id) for name in NAMES for unique_id, _ in served_by(node, name)}
        for (name, token), unique_id in tokens:
            if (name, unique_id) not in served:
                report.faults.append(f"{token}: the node itself knows no {unique_id} of {name}")
        node.stop()
    return report


def main() -> int:
    name, *more = sys.argv[1:]
    rounds, seed = [*more, *["20", "1"][len(more) :]]
    report = run(Path(name), int(rounds), int(seed))
    print(report)
    print("\n".join(report.faults[:50]))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
