"""Ends a node, or the host that it relays to, at random moments, and asks what arrived how often.

    python -m tests.faults.relaying FOLDER [MAILS] [KILLS] [SEED] [WORKERS]

Each mail is made again from its number alone, and each of its recipients is in no other mail. One
that arrived n times needs n - 1 reasons in the journal: attempts that were open when the node
was killed, or connections lost behind the dot. No more may be doubled, and nothing may be missing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import smtplib
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from attrs import define, field, frozen

from tests.faults.sink import Arrival, Sink, digest_of
from tests.live.node import DOMAIN, PASSWORD, Node, command, make_folder
from tests.live.world import free_port

SENDERS = 3
DOMAINS = 4
LONGEST_ROUND_S = 1.0
LONGEST_ABSENCE_S = 0.5
STEP_S = 0.05
FULL_S = 1.5
DRAIN_S = 120.0
ALICE = f"alice@{DOMAIN}"


@frozen
class Posted:
    """One mail that a sender tried: all of it follows from the seed and the number."""

    seed: int
    number: int

    @property
    def token(self) -> str:
        return f"{self.seed}-{self.number}"

    @property
    def recipients(self) -> list[str]:
        count = 3 if self.number % 5 == 0 else 1
        return [
            f"r{self.number}.{index}@d{(self.number + index // 2) % DOMAINS}.test"
            for index in range(count)
        ]

    @property
    def body(self) -> bytes:
        """Small mostly, dots in it; now and then it lies in a file of its own."""
        chance = random.Random(self.token)
        size = chance.choice([50, 300, 300, 2000, 2000, 2000, 2000, 20_000, 20_000])
        if self.number % 50 == 0:
            size = 400_000
        line = b"." + chance.randbytes(20).hex().encode() + b"\r\n"
        return line * (size // len(line))

    def raw(self) -> bytes:
        header = f"From: {ALICE}\r\nSubject: {self.token}\r\n\r\n"
        return header.encode() + self.body


@define(eq=False)
class Post:
    """Senders that go on until enough was acknowledged, or the node is gone.

    Attributes:
        wanted: so many mails are to be acknowledged altogether.
    """

    node: Node
    seed: int
    wanted: int = 0
    tried: list[Posted] = field(factory=list)
    acknowledged: set[str] = field(factory=set)
    refused: list[str] = field(factory=list)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))
    _threads: list[threading.Thread] = field(factory=list)

    def start(self, count: int) -> None:
        """Send so many more."""
        self.wanted += count
        for _ in range(SENDERS):
            thread = threading.Thread(target=self._send, daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a sender hangs"
        self._threads.clear()

    def _send(self) -> None:
        with (
            contextlib.suppress(OSError, smtplib.SMTPServerDisconnected),
            smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=30) as session,
        ):
            session.ehlo("load.example")
            session.login(ALICE, PASSWORD)
            while len(self.acknowledged) < self.wanted:
                mail = Posted(self.seed, next(self._numbers))
                self.tried.append(mail)
                try:
                    turned_away = session.sendmail(ALICE, mail.recipients, mail.raw())
                except smtplib.SMTPResponseException as error:
                    if error.smtp_code == -1:  # the line broke in the middle
                        return
                    self.refused.append(f"{mail.token}: {error}")
                    return
                self.refused += [f"{mail.token}: {name}" for name in turned_away]
                self.acknowledged.add(mail.token)


@define(eq=False)
class Report:
    """What became of the mails.

    Attributes:
        doubles: arrivals of recipients beyond their first.
        interrupted, lost: rows of the journal that excuse them.
        faults: what must not be; empty when all is well.
    """

    ends: int = 0
    mails: int = 0
    recipients: int = 0
    doubles: int = 0
    interrupted: int = 0
    lost: int = 0
    seconds: float = 0.0
    faults: list[str] = field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.mails} mails acknowledged, {self.recipients} recipients arrived, "
            f"{self.ends} kills: {self.doubles} doubles, {self.interrupted} interrupted, "
            f"{self.lost} lost behind the dot; {self.seconds:.0f} s; {len(self.faults)} faults"
        )


def make_relaying_folder(folder: Path) -> tuple[Path, int]:
    """A folder whose mail for elsewhere goes to a sink on the port that is the second."""
    port = free_port()
    make_folder(folder, ("alice",))
    command(folder, "gear", "set", "live", "--yes")
    command(folder, "route", "add", "*", f"smtp://127.0.0.1:{port}")
    return folder, port


@define(eq=False)
class Relaying:
    """A node whose mail for elsewhere all goes to one sink.

    Attributes:
        folder: as `make_relaying_folder` makes it, with no mail.
    """

    folder: Path
    sink: Sink
    seed: int
    workers: int = 1
    settings: Mapping[str, str] = field(factory=dict)
    node: Node = field(init=False)
    post: Post = field(init=False)
    report: Report = field(factory=Report, init=False)

    def __attrs_post_init__(self) -> None:
        settings = {"MAILNODE_OUTBOUND__RATE": "0", "MAILNODE_OUTBOUND__RETRY_FIRST": "1s"}
        settings |= {"MAILNODE_OUTBOUND__RETRY_MOST": "2s"}
        self.node = Node(
            self.folder,
            ("--smtp", "0", "--pop3", "0"),
            settings=settings | dict(self.settings),
            workers=self.workers,
        )
        self.post = Post(self.node, self.seed)

    # Who is ended

    def kill_nodes(self, mails: int, kills: int) -> Report:
        """Kill the node, whole or (of two workers) by its supervisor, while it takes and relays."""
        chance, began = random.Random(self.seed), time.monotonic()
        with self._running():
            self.sink.start()
            for left in range(kills, 0, -1):
                self.node.start()
                self.post.start(-(-(mails - len(self.post.acknowledged)) // (left + 1)))
                time.sleep(chance.uniform(0.02, LONGEST_ROUND_S))
                chance.choice((self.node.kill, self.node.kill_all))()
                self.post.join()
                self.post.wanted = len(self.post.acknowledged)
                self.report.ends += 1
            self.node.start()
            self._finish(mails)
        self.report.seconds = time.monotonic() - began
        return self.report

    def kill_sink(self, mails: int, kills: int) -> Report:
        """Kill the next hop, and start it again a moment later; every third time end the node."""
        chance, began = random.Random(self.seed), time.monotonic()
        with self._running():
            self.sink.start()
            self.node.start()
            for left in range(kills, 0, -1):
                self.post.start(-(-(mails - len(self.post.acknowledged)) // (left + 1)))
                time.sleep(chance.uniform(0.02, LONGEST_ROUND_S))
                self.sink.kill()
                self.post.join()
                if left % 3 == 0:
                    self.node.stop()
                    self.node.start()
                time.sleep(chance.uniform(0.0, LONGEST_ABSENCE_S))
                self.sink.start()
                self.report.ends += 1
            self._finish(mails)
        self.report.seconds = time.monotonic() - began
        return self.report

    def fill_disk(
        self,
        mails: int,
        fill: Callable[[], None],
        make_room: Callable[[], None],
        *,
        until_all: bool,
    ) -> int:
        """Let others have all room from the first arrival on for `FULL_S`.

        Args:
            fill: takes what room there is now.
            until_all: there is no room before all has arrived.

        Returns:
            How many recipients arrived before there was room again.
        """
        began = time.monotonic()
        with self._running():
            self.node.start()
            self.post.start(mails)
            self.post.join()
            self.sink.start()
            while not any(self.sink.arrived()):
                assert time.monotonic() - began < DRAIN_S, self.node.tail()
                time.sleep(STEP_S)
            until = time.monotonic() + FULL_S
            wanted = sum(len(mail.recipients) for mail in self.post.tried) if until_all else 0
            while time.monotonic() < until or (arrived := len(list(self.sink.arrived()))) < wanted:
                assert time.monotonic() < until + DRAIN_S, self.node.tail()
                fill()
                time.sleep(STEP_S)
            make_room()
            self._finish(mails)
        self.report.seconds = time.monotonic() - began
        return arrived

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.node.kill()
            self.sink.kill()

    def _finish(self, mails: int) -> None:
        """Send what is left, wait until all of it has gone, and judge."""
        self.post.start(mails - len(self.post.acknowledged))
        self.post.join()
        self.until_empty()
        self.node.stop()
        self.judge()

    # What became of it

    def until_empty(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while (left := self.ask("SELECT count(*) FROM queue")[0][0]) > 0:
            if time.monotonic() > deadline:
                rows = self.ask("SELECT state, count(*), min(due_at) FROM queue GROUP BY state")
                self.report.faults.append(f"{left} remain in the queue: {rows}")
                return
            time.sleep(STEP_S)

    def ask(self, question: str) -> list[tuple[object, ...]]:
        """Of mail.db, beside the node."""
        path = self.folder / "var" / "mail.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()

    def judge(self) -> None:
        """Compare what arrived with what was sent, and with the journal. The node is down."""
        report, post = self.report, self.post
        report.faults += [f"refused: {what}" for what in post.refused]
        rows = self.ask(
            "SELECT event, recipient, detail FROM journal"
            " WHERE event IN ('interrupted', 'deferred', 'relayed', 'bounced')"
        )
        journal = [(str(event), str(whom), json.loads(str(detail))) for event, whom, detail in rows]
        report.mails = len(post.acknowledged)
        judge(report, post.tried, post.acknowledged, self.sink.arrived(), journal)
        checked = command(self.folder, "verify", check=False, within_s=600.0)
        if checked.returncode != 0:
            report.faults.append(f"verify: {checked.stdout}{checked.stderr}")


Row = tuple[str, str, Mapping[str, object]]  # event, recipient, detail


def judge(
    report: Report,
    tried: Iterable[Posted],
    acknowledged: set[str],
    arrived: Iterable[Arrival],
    journal: Iterable[Row],
) -> None:
    """Fill the report in: each arrival is right, and none is missing or one too many."""
    owner = {recipient: mail for mail in tried for recipient in mail.recipients}
    digests = {mail.token: digest_of(mail.body) for mail in owner.values()}
    copies: Counter[str] = Counter()
    for each in arrived:
        copies[each.recipient] += 1
        mail = owner.get(each.recipient)
        if mail is None or mail.token != each.subject:
            report.faults.append(f"{each}: nobody sent it there")
        elif digests[mail.token] != each.digest:
            report.faults.append(f"{each}: not the bytes that were sent")
    told: dict[str, Counter[str]] = {}
    for event, recipient, detail in journal:
        is_lost = "behind the dot" in str(detail.get("because", ""))
        told.setdefault(recipient, Counter())["lost" if is_lost else event] += 1
    for recipient, mail in owner.items():
        count, events = copies[recipient], told.get(recipient, Counter())
        excuses = events["interrupted"] + events["lost"]
        report.recipients += count > 0
        report.doubles += max(0, count - 1)
        report.interrupted += events["interrupted"]
        report.lost += events["lost"]
        if count > 1 + excuses:
            report.faults.append(f"{recipient}: arrived {count} times with {excuses} reasons")
        if events["bounced"] or events["relayed"] != (count > 0):
            report.faults.append(f"{recipient}: arrived {count} times, the journal has {events}")
        if mail.token in acknowledged and not count:
            report.faults.append(f"{recipient}: acknowledged, and did not arrive")
    for mail in set(owner.values()):
        if len({copies[recipient] > 0 for recipient in mail.recipients}) > 1:
            report.faults.append(f"{mail.token}: arrived in part")


def main() -> int:
    name, *more = sys.argv[1:]
    mails, kills, seed, workers = map(int, [*more, *["10000", "100", "1", "1"][len(more) :]])
    folder, port = make_relaying_folder(Path(name))
    relaying = Relaying(folder, Sink(folder, port, late_s=0.05), seed, workers)
    report = relaying.kill_nodes(mails, kills)
    print(report)
    print("\n".join(report.faults[:50]))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
