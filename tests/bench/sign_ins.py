"""What sign-ins tell and cost: `python -m tests.bench.sign_ins` starts a node and prints it.

Three things are measured: whether the time of a refusal tells an account from none (kinds of tries
are shuffled, so that all are measured under the same load); what CPU a program costs that asks for
mail every few minutes with the same right password; and what first sign-ins, each of an account
whose password is not remembered, take from mail that is offered meanwhile. Mail needs gcc.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from mailnode.addresses import Address
from mailnode.cred.stored import store_password
from mailnode.sealing import Seal
from mailnode.store.accounts import Accounts
from tests.bench.beside import Pair, measure_pairs, p99_of
from tests.bench.measuring import build_load
from tests.bench.processes import family
from tests.live.node import DOMAIN, PASSWORD, Node, command, make_folder

RATE, FIRST_A_SECOND = 500, 20
KINDS = ("unknown name", "wrong password", "disabled account")
NEVER_CLOSED = {
    "MAILNODE_LIMITS__SIGN_IN_FAILURES": "1000000",
    "MAILNODE_LIMITS__ERRORS": "1000000",
    "MAILNODE_GUESSING__DELAY": "0s",  # what was done to find the answer is seen without it
}


@contextmanager
def talking(node: Node) -> Iterator[Callable[[str], bytes]]:
    """Say lines to its POP3 server; each one's answer."""
    with socket.create_connection(("127.0.0.1", node.port("pop3")), timeout=60) as connection:
        heard = connection.makefile("rb")
        heard.readline()

        def say(line: str) -> bytes:
            connection.sendall(line.encode() + b"\r\n")
            return heard.readline()

        yield say


def refusals(node: Node, tries: int) -> dict[str, list[float]]:
    """Seconds to the refusals of each kind."""
    names = {"wrong password": "alice", "disabled account": "bob"}
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    wanted = [kind for kind in KINDS for _ in range(tries)]
    random.Random(8).shuffle(wanted)
    with talking(node) as say:
        for number, kind in enumerate(wanted):
            say(f"USER {names.get(kind, f'nobody{number}')}@{DOMAIN}")
            began = time.perf_counter()
            said = say(f"PASS guess {number}")
            took[kind].append(time.perf_counter() - began)
            assert said.startswith(b"-ERR [AUTH]"), said
    return took


def cpu_s(node: Node) -> float:
    """That the node has used."""
    assert node.process is not None
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def polls(node: Node, count: int, *lines: str) -> float:
    """CPU seconds of a session in which these lines are said."""
    before = cpu_s(node)
    for _ in range(count):
        with talking(node) as say:
            for line in (*lines, "QUIT"):
                said = say(line)
                assert said.startswith(b"+OK"), said
    return (cpu_s(node) - before) / count


@define(eq=False)
class Arrivals:
    """First sign-ins at a steady rate, whatever the answers take.

    Attributes:
        names: of accounts that have not signed in yet.
        took_ms: from the connection to the answer, of each.
        refused: answers that were none of a sign-in.
    """

    node: Node
    names: Iterator[str]
    took_ms: list[float] = field(factory=list)
    refused: list[str] = field(factory=list)
    _over: threading.Event = field(factory=threading.Event)

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Inside they come."""
        self._over.clear()
        with ThreadPoolExecutor(FIRST_A_SECOND) as pool:
            coming = pool.submit(self._come, pool)
            try:
                yield
            finally:
                self._over.set()
                coming.result()

    def _come(self, pool: ThreadPoolExecutor) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            pool.submit(self._sign_in, next(self.names))
            due += 1 / FIRST_A_SECOND

    def _sign_in(self, name: str) -> None:
        began = time.perf_counter()
        try:
            with talking(self.node) as say:
                say(f"USER {name}@{DOMAIN}")
                said = say(f"PASS {PASSWORD}")
                self.took_ms.append((time.perf_counter() - began) * 1000)
                say("QUIT")
        except OSError as error:
            said = repr(error).encode()
        if not said.startswith(b"+OK"):
            self.refused.append(said.decode(errors="replace"))


def beside_mail(folder: Path, count: int, seconds: float) -> None:
    """What first sign-ins take from the time in which mail is accepted, in pairs."""
    build_load()
    many = (2 * count + 1) * math.ceil(seconds + 2) * FIRST_A_SECOND
    kept = store_password(PASSWORD, Address("u0", DOMAIN), Seal.open(folder / "var"))
    accounts = Accounts.open(folder / "users.db")
    for number in range(many):
        accounts.add_account(Address(f"u{number}", DOMAIN), kept)
    accounts.close()
    with Node(folder, ("--smtp", "0", "--pop3", "0")) as node:
        assert node.process
        pid = node.process.pid
        arrivals = Arrivals(node, (f"u{number}" for number in range(many)))
        mail = ("-p", node.port("smtp"), "-s", 20, "-k", "-R", RATE, "-T", seconds, "-u", 25)
        pairs = measure_pairs(count, mail, lambda: family([pid]), arrivals.arriving)
    figure, _ = p99_of(pairs)
    took = sorted(arrivals.took_ms)
    print(f"p99 of accept at {RATE}/s, without and with {FIRST_A_SECOND} sign-ins/s: {figure}")
    print(f"mails refused: {sum(pair.refused for pair in pairs)}")
    median = statistics.median(took)
    print(f"{len(took)} first sign-ins, median {median:.0f} ms, slowest {took[-1]:.0f} ms")
    print(f"CPU of one, with its connection: {_more_ms(pairs, len(took)):.1f} ms")
    print(f"sign-ins refused: {len(arrivals.refused)} {arrivals.refused[:1]}")


def _more_ms(pairs: Sequence[Pair], count: int) -> float:
    return 1000 * sum(pair.more_cpu_s for pair in pairs) / max(1, count)


def main() -> None:
    parser = argparse.ArgumentParser(description="What sign-ins tell and cost.")
    parser.add_argument("--tries", type=int, default=1000, help="of each kind of refusal")
    parser.add_argument("--polls", type=int, default=2000, help="sessions with a right password")
    parser.add_argument("--pairs", type=int, default=7, help="beside mail; 0 for none")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each of a pair")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = make_folder(Path(folder) / "node")
        command(made, "user", "disable", f"bob@{DOMAIN}")
        with Node(made, ("--pop3", "0"), settings=NEVER_CLOSED) as node:
            for kind, took in refusals(node, asked.tries).items():
                mean, middle = statistics.mean(took), statistics.median(took)
                print(f"{kind:18} mean {mean * 1000:7.2f} ms  median {middle * 1000:7.2f} ms")
            polls(node, 1, f"USER alice@{DOMAIN}", f"PASS {PASSWORD}")
            bare = polls(node, asked.polls)
            whole = polls(node, asked.polls, f"USER alice@{DOMAIN}", f"PASS {PASSWORD}")
            print(f"a session          {bare * 1000:7.3f} ms of CPU")
            more = f"{(whole - bare) * 1000:.3f} more"
            print(f"with a sign-in     {whole * 1000:7.3f} ms of CPU, {more}")
        if asked.pairs:
            beside_mail(made, asked.pairs, asked.seconds)


if __name__ == "__main__":
    main()
