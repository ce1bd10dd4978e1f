"""How many mails a second the store files, and what CPU time each costs.

    python -m tests.bench.store_accept --seconds 5 --in-flight 100 --size 4096

It keeps that many `file_message` calls in flight in one process with the real reactor, and
prints the rate, CPU per mail in the whole process and in the reactor's thread, how long an
accept waits, and the batches.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import DeferredList

from mailnode.addresses import Address
from mailnode.model import Client, Envelope, Message, Recipient, new_mail_id
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.messages import Messages


class Silent:
    def committed(self, events):
        pass


class Load:
    """Files mails until the time is up."""

    def __init__(self, messages: Messages, options: argparse.Namespace) -> None:
        self.messages = messages
        self.options = options
        self.count = 0
        self.waits: list[float] = []
        self.ends_at = time.monotonic() + options.seconds
        self.prefix = (
            b"Received: from client.example ([192.0.2.1])\r\n\tby mx.example.test with ESMTP"
            b" id 01J0000000000000000000000X;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
        )
        line = b"x" * 76 + b"\r\n"
        self.body = (b"Subject: a\r\n\r\n" + line * (options.size // len(line) + 1))[: options.size]
        self.digest = hashlib.sha256(self.body).digest()
        self.sender = Address("sender", "client.example")
        self.recipients = [
            (Recipient(Address(f"user{n}", "example.test"), n, f"user{n}@example.test"),)
            for n in range(1, options.boxes + 1)
        ]
        self.client = Client(host="192.0.2.1", helo="client.example", protocol="ESMTP")

    def file_mails(self):
        return DeferredList([self.file_next() for _ in range(self.options.in_flight)])

    def file_next(self):
        self.count += 1
        recipients = self.recipients[self.count % len(self.recipients)]
        envelope = Envelope(new_mail_id(), self.sender, recipients, self.client)
        # A body of its own for each, as from a socket.
        body = b"".join([b"Subject: b\r\n\r\n", self.body[14:]])
        message = Message(self.prefix, body, len(body), self.digest, subject="b")
        filed = self.messages.file_message(envelope, message)
        return filed.addCallback(self.filed, time.monotonic())

    def filed(self, _, began: float):
        now = time.monotonic()
        self.waits.append(now - began)
        if now < self.ends_at:
            return self.file_next()
        return None


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(options: argparse.Namespace, data: Path) -> dict[str, object]:
    def on_fatal(error):
        raise SystemExit(f"fatal: {error}")

    call = reactor.callFromThread
    database = Database.open(
        data / "mail.db", call_in_reactor=call, on_fatal=on_fatal, clock=reactor
    )
    blobs = FileBlobs(data, call)
    load = Load(Messages(database, blobs, Silent()), options)
    began, cpu, thread = time.monotonic(), cpu_s(), time.thread_time()
    written = wal_octets = 0
    await load.file_mails()
    took, cpu, thread = time.monotonic() - began, cpu_s() - cpu, time.thread_time() - thread
    mails, waits, stats = load.count, sorted(load.waits), database.stats
    wal_octets = (data / "mail.db-wal").stat().st_size
    runs = database._batches.checkpointer.runs
    await database.close()
    blobs.close()
    written = (data / "mail.db").stat().st_size
    return {
        "mails_per_s": round(mails / took),
        "cpu_ms_per_mail": round(cpu / mails * 1000, 4),
        "reactor_ms_per_mail": round(thread / mails * 1000, 4),
        "jobs_per_batch": round(stats.jobs / stats.batches, 1),
        "mean_commit_ms": round(stats.commit_s / stats.batches * 1000, 2),
        "longest_batch_ms": round(stats.longest_batch_s * 1000, 1),
        "wait_ms": {
            f"p{part}": round(waits[min(len(waits) - 1, int(len(waits) * part / 100))] * 1000, 1)
            for part in (50, 90, 99, 100)
        },
        "wal_mib": round(wal_octets / (1 << 20), 1),
        "checkpoints": runs,
        "database_octets_per_mail": round(written / mails),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--boxes", type=int, default=2)
    parser.add_argument("--data", type=Path, default=None, help="a folder that is made and removed")
    options = parser.parse_args()
    data = options.data or Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR", "/var/tmp")))

    def show(result):
        print(json.dumps(result, indent=1) if isinstance(result, dict) else result)
        reactor.stop()

    from twisted.internet.defer import Deferred

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(measure(options, data)).addBoth(show))
    try:
        reactor.run()
    finally:
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
