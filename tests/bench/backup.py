"""How fast a backup is beside reading the same files, as the disk gives them.

    python -m tests.bench.backup FOLDER [MIB] [REPEATS]

In FOLDER, on the disk that is measured, a node's data of so many MiB is made: three quarters in the
mail database, a quarter in blobs. Each repeat reads all of it as one stream, copies it as `cp`
does, makes a first backup, one with nothing new, a verification and a restore. What is read was
dropped from this machine's memory before each.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from mailnode.addresses import parse_address
from mailnode.model import Blob, Client, Envelope, Message, Recipient, new_mail_id
from mailnode.store.accept import accept_mails
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts
from tests.live.node import command, make_folder

MIB = 1 << 20
BODY_OCTETS, BLOB_OCTETS = 100 << 10, 1 << 20
BATCH = 64


def fill(folder: Path, mib: int) -> None:
    """Mail of which no two octets are alike enough to be kept once."""
    data, chance = folder / "var", random.Random(1)
    prepare(data / "mail.db")
    with closing(connect(data / "mail.db")) as connection:
        migrate(connection, schema_scripts())
        connection.execute("PRAGMA synchronous = OFF")
        small = int(mib * 0.75 * MIB) // BODY_OCTETS
        large = int(mib * 0.25 * MIB) // BLOB_OCTETS
        for at in range(0, small, BATCH):
            connection.execute("BEGIN IMMEDIATE")
            some = range(at, min(small, at + BATCH))
            accept_mails(connection, [mail(octets(chance, BODY_OCTETS)) for _ in some])
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        for number in range(large):
            raw, key = octets(chance, BLOB_OCTETS), f"{number % 256:02x}{number:030x}"
            path = data / "blobs" / key[:2] / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
            connection.execute("BEGIN IMMEDIATE")
            accept_mails(connection, [mail(raw, key)])
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    os.sync()


def octets(chance: random.Random, count: int) -> bytes:
    return chance.randbytes(count // 2).hex().encode()


def mail(raw: bytes, key: str = "") -> tuple[Envelope, Message]:
    to = Recipient(parse_address("alice@example.test"), 1, "alice@example.test")
    envelope = Envelope(new_mail_id(), None, (to,), Client(host="192.0.2.1"))
    body = Blob(key) if key else raw
    return envelope, Message(b"", body, len(raw), hashlib.sha256(raw).digest())


def files(folder: Path) -> Iterator[Path]:
    yield folder / "var" / "mail.db"
    yield from sorted(path for path in (folder / "var" / "blobs").rglob("*") if path.is_file())


def forget(folder: Path) -> None:
    """No octet of the files below is in memory any more."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def read_all(folder: Path) -> None:
    """As dd does: one stream in pieces of 1 MiB."""
    for path in files(folder):
        with path.open("rb", buffering=0) as file:
            while file.read(MIB):
                pass


def write_all(source: Path, target: Path) -> None:
    """As cp and sync do, for the speed at which the disk writes."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for number, path in enumerate(files(source)):
        shutil.copyfile(path, target / str(number))
        with open(target / str(number), "rb") as file:
            os.fsync(file.fileno())


def main() -> int:
    name, *more = sys.argv[1:]
    mib, repeats = (int(each) for each in [*more, *["2000", "5"][len(more) :]])
    place = Path(name).absolute()
    node, store, back = place / "node", place / "backups", place / "restored"
    shutil.rmtree(place, ignore_errors=True)
    make_folder(node, accounts=("alice",))
    fill(node, mib)
    size = sum(path.stat().st_size for path in files(node))

    def first() -> None:
        command(node, "backup", str(store), within_s=3600)

    def restore() -> None:
        command(node, "restore", str(store), "--to", str(back), within_s=3600)

    rates: dict[str, list[float]] = {}

    def measure(what: str, function: Callable[[], object]) -> None:
        forget(place)
        began = time.perf_counter()
        function()
        rates.setdefault(what, []).append(size / MIB / (time.perf_counter() - began))

    for _ in range(repeats):
        for each in (store, back):
            shutil.rmtree(each, ignore_errors=True)
        measure("reading alone", lambda: read_all(node))
        measure("copying and flushing", lambda: write_all(node, place / "copy"))
        shutil.rmtree(place / "copy")
        measure("first backup", first)
        measure("nothing new", first)
        measure("verify", lambda: command(node, "backups", "verify", str(store), within_s=3600))
        measure("restore", restore)
    reading = statistics.median(rates["reading alone"])
    print(f"{size / MIB:.0f} MiB, medians of {repeats}")
    for what, found in rates.items():
        rate = statistics.median(found)
        print(f"{what:22} {rate:7.0f} MiB/s  {rate / reading:5.2f} of reading alone", end="  ")
        print(f"({min(found):.0f} to {max(found):.0f})")
    print(json.dumps(rates))
    shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
