"""A process that files and deletes mail as fast as it can, and moves its log all the time.

    python -m tests.stores.busy_writer MAIL_DB

After each commit it says on standard output how many mails it has filed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import sys
import time
from pathlib import Path

from mailnode.addresses import parse_address
from mailnode.model import Client, Envelope, Message, Recipient, new_mail_id
from mailnode.store.accept import accept_mails
from mailnode.store.beside import WRITER_LOCK
from mailnode.store.checkpoint import Checkpointer
from mailnode.store.removal import delete_copies
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts

SMALL_LOG_OCTETS = 100_000
PAUSE_S = 0.002  # or the database grows faster than it is looked at


def body(number: int) -> bytes:
    """All of it follows from the number."""
    chance = random.Random(number)
    return (
        chance.randbytes(chance.choice((10, 10, 10, 200, 200, 1500, 8000))).hex().encode() + b"\r\n"
    )


def is_deleted(number: int) -> bool:
    """Most mails go a commit after they came."""
    return number % 50 != 0


def mail(number: int) -> tuple[Envelope, Message]:
    raw = body(number)
    address = parse_address("user1@example.test")
    to = Recipient(address, 1, str(address))
    envelope = Envelope(new_mail_id(), None, (to,), Client(host="192.0.2.1"))
    return envelope, Message(b"", raw, len(raw), hashlib.sha256(raw).digest(), subject=str(number))


def main() -> None:
    path, chance = Path(sys.argv[1]), random.Random(1)
    prepare(path)
    connection = connect(path)
    migrate(connection, schema_scripts())
    lock = os.open(path.parent / WRITER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    checkpointer = Checkpointer(path, lambda error: os._exit(74), SMALL_LOG_OCTETS)
    checkpointer.start()
    filed, undeleted = 0, list[int]()
    while True:
        count = chance.randint(1, 20)
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection.execute("BEGIN IMMEDIATE")
        results, _ = accept_mails(connection, [mail(filed + n + 1) for n in range(count)])
        new = [each.uid for (each,) in results if is_deleted(each.uid)]
        if undeleted:
            delete_copies(connection, [(results[0][0].folder_id, undeleted)])
        connection.execute("DELETE FROM journal WHERE id < (SELECT max(id) - 500 FROM journal)")
        connection.execute("COMMIT")
        undeleted = new
        filed += count
        checkpointer.wrote(count * 10_000, connection)
        fcntl.flock(lock, fcntl.LOCK_UN)
        print(filed, flush=True)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
