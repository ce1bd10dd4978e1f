"""How often a server flushes for a mail, and what it renames: counted by strace."""

from __future__ import annotations

import collections
import re
import shutil
import time
from collections.abc import Iterator

from tests.bench.measuring import Record, load
from tests.bench.targets import Target, Trouble, home

LOADS = {  # name: arguments of smtpload
    "1 session, new connection": "-s 1 -m 60",
    "20 sessions, kept connection": "-s 20 -m 300 -k",
    "100 sessions, kept connection": "-s 100 -m 600 -k",
    "10 recipients, 4 sessions": "-s 4 -m 40 -k -r 10",
}
FLUSHES = ("fsync", "fdatasync", "sync_file_range", "msync", "sync", "syncfs")
NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat")
SETTLE_S = 2.0


def flushes(name: str) -> Iterator[Record]:
    """One record for each load, on a server of its own that starts under strace."""
    if not shutil.which("strace"):
        raise Trouble("Flushes are counted by strace: make bench-peers installs it")
    trace = home() / f"{name}.strace"
    calls = ",".join((*FLUSHES, *NAMES))
    how = ["strace", "-f", "-qq", "-e", "signal=none", "-e", f"trace={calls}", "-o", str(trace)]
    target = Target.named(name, strace=how)
    target.start()
    try:
        for about, arguments in LOADS.items():
            time.sleep(SETTLE_S)
            offset = trace.stat().st_size
            done = load("smtpload", *arguments.split(), "-p", target.smtp)
            time.sleep(SETTLE_S)  # what is delivered after the 250 counts as well
            with open(trace, errors="replace") as lines:
                lines.seek(offset)
                seen = collections.Counter(re.findall(r"^\d+\s+(\w+)\(", lines.read(), re.M))
            mails = max(1, done["acked"])
            yield {
                "load": about,
                "acked": done["acked"],
                "failed": done["failed"],
                "flushes": sum(seen[call] for call in FLUSHES) / mails,
                "names": sum(seen[call] for call in NAMES) / mails,
            }
    finally:
        target.stop()
