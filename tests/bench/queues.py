"""A long queue: what it costs to hold, to list, and to those whose mail can leave.

`queue200k` fills the database with recipients who are not due yet, starts the node and lists them.
`dead50k` is pairs: mails are offered at a fixed rate to a host that lives, with and without
recipients that are due at one that refuses every connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mailnode.model import new_mail_id
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts
from tests.bench.cells import NOBODY_DEAD
from tests.bench.measuring import Record, per_1000
from tests.bench.processes import Peak
from tests.bench.relay import ELSEWHERE, SENDER, Sink, offer, relaying
from tests.bench.targets import BENCH, Target, Trouble

NODE = "mailnode"
QUEUED = 200_000
DEAD = 50_000
DEAD_DOMAIN = "dead.test"  # peers/mailnode/make_accounts.py
RECIPIENTS = 10  # of a mail
HOSTS = 2_000
RATE = 50
_TREE = BENCH.parents[1]


def fill(path: Path, recipients: int, *, due_at: float, domain: str = "", each: int = 1) -> None:
    """The database at `path` is made, with this queue of mails of 4 KiB.

    Args:
        domain: that all go to; else one of 2,000.
        each: how many recipients a mail has.
    """
    prepare(path)
    connection = connect(path)
    try:
        migrate(connection, schema_scripts())
        connection.execute("BEGIN")
        body = b"Subject: bench\r\n\r\n" + (b"x" * 72 + b"\r\n") * 55
        now, mails = time.time(), -(-recipients // each)
        ids = [new_mail_id() for _ in range(mails)]
        connection.executemany(
            "INSERT INTO message (id, mail_id, sender, subject, size_octets, dot_lines, digest,"
            " received_at, prefix, body) VALUES (?, ?, ?, 'bench', ?, 0, ?, ?, ?, ?)",
            (
                (at + 1, mail_id, SENDER, len(body), b"\0" * 32, now, b"Received: bench\r\n", body)
                for at, mail_id in enumerate(ids)
            ),
        )
        connection.executemany(
            "INSERT INTO queue (id, message_id, mail_id, sender, recipient, domain, account_id,"
            " priority, state, due_at, attempts, queued_at)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, 1, 'waiting', ?, 0, ?)",
            (
                (at + 1, at // each + 1, ids[at // each], SENDER, f"r{at}@{to}", to, due_at, now)
                for at in range(recipients)
                for to in (domain or f"d{at % HOSTS}.test",)
            ),
        )
        for name, beyond in (("message", mails + 1), ("queue", recipients + 1)):
            connection.execute("UPDATE counter SET next = ? WHERE name = ?", (beyond, name))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


@contextlib.contextmanager
def node_with(
    recipients: int, due_in_s: float, domain: str = "", each: int = 1
) -> Iterator[Target]:
    """The node with that queue is up inside."""
    target = relaying(Target.named(NODE))
    var = target.run_folder / "var"
    subprocess.run(["rm", "-rf", str(target.run_folder)], check=True)
    var.mkdir(mode=0o700, parents=True)
    fill(var / "mail.db", recipients, due_at=time.time() + due_in_s, domain=domain, each=each)
    os.sync()
    target.start(keep=True)
    try:
        yield target
    finally:
        target.stop()


def long_queue(repeats: int, fewer: int) -> Iterator[Record]:
    """Memory, and how long the commands take, beside a node with 200,000 recipients queued."""
    wanted = max(HOSTS, QUEUED // fewer)
    with Sink() as sink, node_with(wanted, 3600.0, each=RECIPIENTS) as target:
        time.sleep(2)
        for repeat in range(repeats):
            cpu = target.cpu_s()
            with Peak(target.memory) as peak:
                list_s = _command(target, "queue", "list")
                of_domain_s = _command(target, "queue", "list", "--domain", "d7.test")
                offer(target, sink, RATE, 2 * RATE)
            yield peak.as_record() | {
                "repeat": repeat,
                "size": wanted,
                "start_s": target.start_s,
                "list_s": list_s,
                "of_domain_s": of_domain_s,
                "cpu_s": target.cpu_s() - cpu,
            }


def _command(target: Target, *words: str) -> float:
    """Seconds that `mailnode` took beside the running node, its own start counted in."""
    run = target.run_folder
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mailnode.cli", "-u", run / "users.db", "-d", run / "var", *words],
        env={**os.environ, "PYTHONPATH": str(_TREE)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise Trouble(f"mailnode {' '.join(words)}: {done.stderr.strip()}")
    return time.monotonic() - began


def dead_host(repeats: int, seconds: float, fewer: int) -> Iterator[Record]:
    """The delay of mails to a host that lives, in pairs; the others are due from the start."""
    for repeat in range(repeats):
        kinds = ((NODE, max(1, DEAD // fewer)), (NOBODY_DEAD, 1))
        for name, dead in kinds if repeat % 2 else reversed(kinds):
            with Sink() as sink, node_with(dead, 0.0, DEAD_DOMAIN) as target:
                cpu = target.cpu_s()
                with Peak(target.memory) as peak:
                    record = offer(target, sink, RATE, int(RATE * seconds))
                cpu = target.cpu_s() - cpu
                told = _delays_s(target)
                if len(told) < record["acked"]:
                    raise Trouble(f"{name}: {len(told)} of {record['acked']} were relayed")
                told = told[: record["acked"]]
                yield peak.as_record() | {
                    "repeat": repeat,
                    "target": name,
                    "failed": record["failed"],
                    "delay_p50_ms": told[len(told) // 2] * 1e3,
                    "delay_p99_ms": told[len(told) * 99 // 100] * 1e3,
                    "delay_max_ms": told[-1] * 1e3,
                    "p99_ms": record["p99_ms"],
                    "put_off": _count(target, "deferred"),
                    "cpu_1000": per_1000(cpu, record["acked"]),
                }


def _delays_s(target: Target) -> list[float]:
    """How long each recipient at the living host waited from its accept, the shortest first."""
    with contextlib.closing(_journal(target)) as mail:
        rows = mail.execute(
            "SELECT detail FROM journal WHERE event = 'relayed' AND recipient LIKE ?",
            (f"%@{ELSEWHERE}",),
        )
        return sorted(json.loads(detail)["delay_s"] for (detail,) in rows)


def _count(target: Target, event: str) -> int:
    with contextlib.closing(_journal(target)) as mail:
        return int(
            mail.execute("SELECT count(*) FROM journal WHERE event = ?", (event,)).fetchone()[0]
        )


def _journal(target: Target) -> sqlite3.Connection:
    path = target.run_folder / "var" / "mail.db"
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
