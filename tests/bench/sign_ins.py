"""What sign-ins tell and cost: `python -m tests.bench.sign_ins` starts a node and prints it.

Two things are measured: whether the time of a refusal tells an account from none (kinds of tries
are shuffled, so that all are measured under the same load), and what CPU a program costs that asks
for mail every few minutes with the same right password.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.node import DOMAIN, PASSWORD, Node, command, make_folder

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


def main() -> None:
    parser = argparse.ArgumentParser(description="What sign-ins tell and cost.")
    parser.add_argument("--tries", type=int, default=1000, help="of each kind of refusal")
    parser.add_argument("--polls", type=int, default=2000, help="sessions with a right password")
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


if __name__ == "__main__":
    main()
