"""How fast lists and search of a large mailbox are, and how fast it is indexed.

    python -m tests.bench.search FOLDER [MAILS]

In FOLDER a node's data is made with one account of so many mails (100,000 unless given), 200 words
each out of 20,000, some frequent and most rare. It is indexed as `mailnode index rebuild` does,
and then asked through `Indexes`, on a real reactor: medians and the slowest of 50.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from mailnode.addresses import parse_address
from mailnode.model import Client, Envelope, Message, Recipient, Standing, new_mail_id
from mailnode.reading.query import read_query
from mailnode.store import index_order
from mailnode.store.accept import accept_mails
from mailnode.store.index import Indexes
from mailnode.store.index_files import IndexFiles, index_path, size_octets
from mailnode.store.indexing import bring_up_to_date
from mailnode.store.sqlite import connect, migrate, prepare, schema_scripts

BATCH, REPEATS, PAGE = 256, 50, 50
WORDS = 20_000
QUERIES = (
    "", "w1", "w5 w9", "w15000", '"w1 w2"', "w12*", "w123*", "from:sender7", "subject:w3",
    "w1 -w2", "-w1", "is:unread", "is:flagged", "is:flagged w1", "in:INBOX w1", "has:attachment",
    "larger:1M", "before:2001-01-01", "nothing",
)  # fmt: skip


def mail(
    chance: random.Random, number: int, weights: list[float], account_id: int
) -> tuple[Envelope, Message]:
    words = chance.choices(range(WORDS), cum_weights=weights, k=200)
    text = " ".join(f"w{word}" for word in words)
    raw = (
        f"From: Sender {number % 500} <sender{number % 500}@example.org>\r\n"
        f"To: Alice <alice@example.test>\r\nSubject: w{words[0]} w{words[1]} {number}\r\n"
        f"Message-ID: <{number}@example.org>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        + (f"References: <{number - 1}@example.org>\r\n" if number % 4 else "")
        + f"\r\n{text}\r\n"
    ).encode()
    to = Recipient(parse_address("alice@example.test"), account_id, "alice@example.test")
    at = came_at(number)
    envelope = Envelope(new_mail_id(at), None, (to,), Client(host="192.0.2.1"), received_at=at)
    return envelope, Message(b"", raw, len(raw), hashlib.sha256(raw).digest())


def came_at(number: int) -> float:
    """When a mail came, UTC epoch seconds; the first is number 0, and its uid 1."""
    return 1_700_000_000.0 + 60 * number


def standing_of(uid: int) -> Standing:
    """Where a mail stands in its list."""
    return Standing(int(came_at(uid - 1) * 1000), uid)


def fill(data: Path, mails: int, account_id: int = 1) -> None:
    """A mail.db with so many mails in that account's inbox."""
    chance = random.Random(1)
    weights = [0.0]
    for word in range(1, WORDS):
        weights.append(weights[-1] + 1 / word)
    prepare(data / "mail.db")
    with closing(connect(data / "mail.db")) as connection:
        migrate(connection, schema_scripts())
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        for at in range(0, mails, BATCH):
            connection.execute("BEGIN IMMEDIATE")
            some = range(at, min(mails, at + BATCH))
            accept_mails(connection, [mail(chance, number, weights, account_id) for number in some])
            connection.execute("COMMIT")
        connection.execute("UPDATE delivery SET flags = 1 WHERE uid % 100 <> 0")
        connection.execute("UPDATE delivery SET flags = flags | 4 WHERE uid IN (5, 77, 900)")


async def ask(data: Path, mails: int) -> None:
    indexes = Indexes(data, reactor.callFromThread)
    rows: list[tuple[str, list[float], object]] = []

    async def measure(what: str, function) -> None:
        times, answer = [], None
        for _ in range(REPEATS):
            began = time.perf_counter()
            answer = await function()
            times.append((time.perf_counter() - began) * 1000)
        rows.append((what, times, answer))

    inbox = 1
    middle = list(range(mails // 2, mails // 2 + PAGE))
    newest = list(range(mails - PAGE, mails + 1))
    await measure("page of the newest 50", lambda: indexes.page(1, inbox))
    place = standing_of(mails // 2)
    await measure("page of 50 in the middle", lambda: indexes.page(1, inbox, before=place))
    await measure("summaries of the newest 50", lambda: indexes.summaries(1, newest))
    await measure("summaries of 50 in the middle", lambda: indexes.summaries(1, middle))
    for typed in QUERIES:
        query = read_query(typed)
        await measure(f"search {typed!r}", lambda query=query: indexes.search(1, query))
    await measure("thread", lambda: indexes.thread(1, mails // 2))
    with closing(connect(index_path(data, 1))) as index:
        for behind in (index_order.MOST_SORTED, index_order.MOST_SORTED + 1):
            index.execute("UPDATE folder SET uid = ?", (max(0, mails - behind),))
            await measure(f"page, {behind:,} not indexed", lambda: indexes.page(1, inbox))
    await indexes.stop()
    print(f"{'':28} {'median ms':>10} {'slowest':>9}  found")
    for what, times, answer in rows:
        found = len(getattr(answer, "mails", answer))
        print(f"{what:28} {statistics.median(times):10.2f} {max(times):9.2f}  {found}")


def main() -> int:
    data = Path(sys.argv[1]).absolute() / "var"
    mails = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    shutil.rmtree(data, ignore_errors=True)
    fill(data, mails)
    files = IndexFiles(data, 1)
    began = time.perf_counter()
    while not bring_up_to_date(files, 1, lambda: None, 100):
        pass
    took = time.perf_counter() - began
    files.close()
    size = size_octets(data, 1) / 2**20
    stored = (data / "mail.db").stat().st_size / 2**20
    print(f"{mails} mails indexed in {took:.1f} s, {mails / took:.0f}/s; index {size:.0f} MiB")
    print(f"beside a mail.db of {stored:.0f} MiB")

    def end(result):
        if result is not None:
            print(result)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(ask(data, mails)).addBoth(end))
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
