"""How fast mail moves in and out, by the command as people run it.

    python -m tests.bench.moving [--mails 20000] [--octets 4096]

It works in a folder of its own, beside a node that is up and idle. A rate is that of the whole
command, the start of Python included.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.live.node import DOMAIN, Node, command, make_folder

AIM = 2000
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
WITHIN_S = 3600.0


def mail(number: int, octets: int) -> bytes:
    """One of about that size, like no other."""
    head = (
        b"Received: from mx.example.net by mx.example.org; Mon, 1 Jan 2024 12:30:00 +0000\n"
        b"From: Shop <shop@example.net>\nTo: alice@example.org\nSubject: mail %d\n"
        b"Date: Mon, 1 Jan 2024 12:29:58 +0000\nMessage-ID: <%d@example.net>\n\n" % (number, number)
    )
    lines = random.Random(number).randbytes(octets // 2).hex().encode()
    body = b"\n".join(lines[at : at + 71] for at in range(0, len(lines), 71))
    return head + body[: max(0, octets - len(head) - 1)] + b"\n"


def make_sources(folder: Path, mails: int, octets: int) -> None:
    """The same mails as an mbox and as a Maildir."""
    for part in ("cur", "new", "tmp"):
        (folder / "maildir" / part).mkdir(parents=True)
    with (folder / "mbox").open("wb") as file:
        for number in range(mails):
            raw = mail(number, octets)
            file.write(b"From shop@example.net Mon Jan  1 12:30:00 2024\n" + raw + b"\n")
            name = f"{1704112200 + number}.{number}.host:2,S"
            (folder / "maildir" / "cur" / name).write_bytes(raw)
    os.sync()


def measured(what: str, mails: int, work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    seconds = time.monotonic() - began
    print(f"{what:<44} {seconds:8.1f} s {mails / seconds:10,.0f} mails/s", flush=True)
    return mails / seconds


def main() -> int:
    """0 when imports are as fast as they should be."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mails", type=int, default=20_000)
    arguments.add_argument("--octets", type=int, default=4096)
    chosen = arguments.parse_args()
    mails = chosen.mails
    folder = Path(tempfile.mkdtemp(prefix="moving-"))
    try:
        make_folder(folder)
        make_sources(folder, mails, chosen.octets)

        def run(*words: str) -> None:
            command(folder, *words, within_s=WITHIN_S)

        with Node(folder):
            rates = [
                measured("import of an mbox", mails, lambda: run("import", "mbox", "--to", ALICE)),
                measured(
                    "import of a Maildir", mails, lambda: run("import", "maildir", "--to", BOB)
                ),
            ]
            measured(
                "the mbox again: all is there", mails, lambda: run("import", "mbox", "--to", ALICE)
            )
            for form in ("mbox", "maildir", "zip", "eml"):
                place = f"out-{form}"
                measured(
                    f"export to {form}",
                    mails,
                    lambda: run("export", ALICE, "--to", place, "--format", form),  # noqa: B023
                )
        return 0 if min(rates) >= AIM else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
