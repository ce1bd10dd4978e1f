"""One measurement: a load on a target, and what it cost. Each function gives one record."""

from __future__ import annotations

import contextlib
import json
import os
import smtplib
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.cells import Boxes, Cell
from tests.bench.processes import Peak
from tests.bench.targets import BENCH, Target, Trouble, home

Record = dict[str, Any]
DRAIN_S = 90.0
ARRIVALS = 30


def build_load() -> None:
    """Compile the load generators under BENCH_HOME.

    Raises:
        Trouble: gcc or OpenSSL's headers are missing.
    """
    folder = f"BIN={home() / 'bin'}"
    done = subprocess.run(
        ["make", "-s", "-C", str(BENCH / "load"), folder], capture_output=True, text=True
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise Trouble(f"The load generators need gcc and libssl-dev (make bench-peers): {last}")


def load(tool: str, *arguments: object, timeout_s: float = 600) -> Record:
    """Run smtpload or pop3load to its end; its JSON object."""
    done = subprocess.run(
        [str(home() / "bin" / tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode:
        raise Trouble(f"{tool} {arguments} ended with {done.returncode}: {done.stderr}")
    record: Record = json.loads(done.stdout)
    return record


def smtp(
    target: Target,
    cell: Cell,
    seconds: float,
    *more: object,
    check: Callable[[Target], None] = lambda _: None,
) -> Record:
    """Mails a second until the last one is in its mailbox, CPU, memory.

    Args:
        check: looks at the mails in their boxes, before these are emptied.
    """
    arguments = [*cell.load, "-p", target.smtp, "-u", target.users, *more]
    if cell.timed:
        arguments += ["-T", seconds]
    if "-t" not in arguments:
        arguments += ["-t", 6]
    copies = int(cell.load[cell.load.index("-r") + 1]) if "-r" in cell.load else 1
    if target.facts["count"] == "onemaildir":
        copies = 1
    before = target.count()
    os.sync()  # so that none pays for what others left to write
    cpu = target.cpu_s()
    with Peak(target.memory) as peak:
        record = load("smtpload", *arguments)
        if not record["acked"]:
            raise Trouble(f"{target.name} acknowledged nothing: {record['first_error']}")
        arrived_s = _wait_for(target, before, record, copies)
        record["cpu_s"] = target.cpu_s() - cpu
    began = time.monotonic()
    os.sync()
    check(target)
    # With a session that hung, the mailboxes were looked at too late: no figure then.
    rate = record["acked"] / arrived_s if arrived_s and not record["connfail"] else None
    record |= peak.as_record() | {
        "flush_s": time.monotonic() - began,
        "arrived_s": arrived_s,
        "arrived_rate": rate,
        "later_s": None if arrived_s is None else max(0.0, arrived_s - record["secs"]),
        "cpu_1000": per_1000(record["cpu_s"], record["acked"]),
    }
    target.empty()
    return record


def _wait_for(target: Target, before: int | None, record: Record, copies: int) -> float | None:
    """Seconds from the load's beginning until all that was acknowledged is in mailboxes."""
    if before is None:
        record["missing"] = 0
        return float(record["secs"])
    wanted = before + record["acked"] * copies
    until = time.monotonic() + DRAIN_S
    while (there := target.count() or 0) < wanted and time.monotonic() < until:
        time.sleep(0.02)
    record["missing"] = max(0, wanted - there)
    return None if record["missing"] else time.monotonic() - record["began"]


def pop3(target: Target, cell: Cell, seconds: float, *more: object) -> Record:
    """Sign-ins, mails and octets a second, CPU, memory."""
    arguments = [*cell.load, "-p", target.pop3, *more]
    if "-f" not in arguments:
        arguments += ["-f", "u%d@example.test"]
    if cell.timed:
        arguments += ["-T", seconds]
    cpu = target.cpu_s()
    with Peak(target.memory) as peak:
        record = load("pop3load", *arguments)
        time.sleep(0.1)  # what ends after the last reply is its cost too
        record["cpu_s"] = target.cpu_s() - cpu
    each = record["mails"] or record["sessions"]
    return record | peak.as_record() | {"cpu_1000": per_1000(record["cpu_s"], each)}


def first_sign_ins(target: Target, cell: Cell, begin_at: int) -> Record:
    """The same for users whom the server hasn't seen: f accounts from that number on."""
    count = int(cell.load[cell.load.index("-n") + 1])
    arguments = ("-f", "f%d@example.test", "-U", begin_at, "-u", count)
    return pop3(target, cell, 0, *arguments)


def bare_argon2id(seconds: float) -> Record:
    """How many hashes a second a program checks that does nothing else, in as many threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.argon2id", str(seconds)],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    record: Record = json.loads(done.stdout)
    return record


def arrival(target: Target) -> Record:
    """How long one mail takes until its 250, and until it can be fetched."""
    replied: list[float] = []
    arrived: list[float] = []
    body = b"Subject: arrival\r\n\r\n" + (b"x" * 72 + b"\r\n") * 55
    with smtplib.SMTP("127.0.0.1", target.smtp or 0, timeout=20) as client:
        client.ehlo("client.example.org")
        for _ in range(ARRIVALS):
            before = target.count([0]) or 0
            began = time.monotonic()
            client.sendmail("bench@example.org", ["u0@example.test"], body)
            replied.append(time.monotonic() - began)
            until = began + 30
            while (target.count([0]) or 0) <= before and time.monotonic() < until:
                time.sleep(0.0005)
            arrived.append(time.monotonic() - began)
    target.empty()
    return {
        "replied_p50_ms": statistics.median(replied) * 1e3,
        "arrived_p50_ms": statistics.median(arrived) * 1e3,
        "arrived_max_ms": max(arrived) * 1e3,
    }


def per_1000(seconds: float, count: int) -> float | None:
    """Of a thousand; None when there was none."""
    return seconds / count * 1000 if count else None


# Filling mailboxes


def fill(target: Target, boxes: Boxes) -> None:
    """These users have that many mails. Into maildirs they are written, others get them by SMTP."""
    if target.facts["count"] == "maildir":
        _write_maildirs(target.run_folder / "mail", boxes)
        return
    if target.facts["count"] == "rows":
        _write_rows(target.run_folder, boxes)
        return
    sending = ["-s", 10, "-k", "-P", "-l", boxes.octets, "-U", boxes.first_user]
    total = boxes.mails * boxes.users
    record = load(
        "smtpload", "-p", target.smtp, *sending, "-u", boxes.users, "-m", total, timeout_s=3600
    )
    if record["acked"] != total:
        raise Trouble(f"{target.name}: {record['acked']} of {total}: {record['first_error']}")


def _users(boxes: Boxes) -> range:
    return range(boxes.first_user, boxes.first_user + boxes.users)


def _mail(boxes: Boxes, user: int, number: int) -> bytes:
    line = b"abcdefghijklmnopqrstuvwxyz0123456789" * 2 + b"\r\n"
    head = b"From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d.%d@x>\r\n\r\n"
    text = head % (number, user, number)
    return text + line * ((boxes.octets - len(text)) // len(line))


def _write_rows(folder: Path, boxes: Boxes) -> None:
    """Into the database of bare-pop3; large ones into files."""
    with contextlib.closing(sqlite3.connect(folder / "mail.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS mail (id INTEGER PRIMARY KEY, user TEXT, octets INTEGER,"
            " body BLOB, file TEXT)"
        )
        database.execute("CREATE INDEX IF NOT EXISTS mail_user ON mail (user, id)")
        database.execute("BEGIN")
        for user in _users(boxes):
            for number in range(boxes.mails):
                mail, file = _mail(boxes, user, number), None
                if len(mail) > 256 << 10:
                    file = str(folder / f"{user}.{number}")
                    Path(file).write_bytes(mail)
                database.execute(
                    "INSERT INTO mail (user, octets, body, file) VALUES (?,?,?,?)",
                    (f"u{user}", len(mail), None if file else mail, file),
                )
        database.execute("COMMIT")


def _write_maildirs(mail: Path, boxes: Boxes) -> None:
    owner = mail.stat()
    for user in _users(boxes):
        folders = [mail / f"u{user}" / name for name in ("", "tmp", "new", "cur")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, owner.st_uid, owner.st_gid)
        for number in range(boxes.mails):
            path = folders[2] / f"17{number:08d}.M{number}P1.bench"
            path.write_bytes(_mail(boxes, user, number))
            os.chown(path, owner.st_uid, owner.st_gid)


def rotated(targets: Sequence[Target], by: int) -> list[Target]:
    """Another order in each repeat, so that none always comes first."""
    at = by % len(targets)
    return [*targets[at:], *targets[:at]]
