"""How fast pages, search and events of the web are, what files cost, and what it takes from mail.

    make bench-web [PARTS=pages,search,first,files,streams,crowd] [MAILS=100000] [REPEATS=50]
                   [PAIRS=7] [SECONDS=10] [WORKERS=1]

It works in a folder of its own, with one node. A page's time is that from the question to the last
octet, on a connection that is open, one after the other: nearly all of it is the server's.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import smtplib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote_plus, urlencode

from attrs import define, field

from mailnode.addresses import Address
from mailnode.store.accounts import Accounts
from tests.bench.beside import P99_TIMES, measure_pairs, p99_of
from tests.bench.measuring import build_load
from tests.bench.processes import MIB, Peak, family, memory, proportional_octets
from tests.bench.results import describe_run
from tests.bench.search import fill, standing_of
from tests.bench.targets import Trouble, password_hash
from tests.bench.web_clients import Crowd, Looker, Streams, octets_of_first_page
from tests.live.node import DOMAIN, Node
from tests.live.web_client import FORM, Browser, form_of

PARTS = ("pages", "search", "first", "files", "streams", "crowd")
USERS, STREAMS, BROWSERS = 25, 1000, 100
STREAMS_EACH = STREAMS // USERS
FILE_MIB = 50
RATE = 500
INDEXED_S = 900.0
PAGE_MS, SEARCH_MS, TELLS_S = 50, 100, 1.0
MORE_MIB, FIRST_KIB = 32, 200
QUERIES = (
    ("a rare word", "w15000"), ("a word of nearly all mails", "w1"), ("two words", "w5 w9"),
    ("a phrase", '"w1 w2"'), ("a sender", "from:sender7"), ("a beginning", "w123*"),
    ("unread with a word", "is:unread w1"), ("nothing there", "quokka"),
)  # fmt: skip


@define(eq=False)
class Bench:
    """A node with a large mailbox, and what has been found.

    Attributes:
        mails: in alice's inbox.
        missed: figures that are not as they should be.
    """

    folder: Path
    node: Node
    mails: int
    repeats: int
    pairs: int
    seconds: float
    missed: list[str] = field(factory=list)

    def tell(self, what: str, figure: str, aim: str = "", met: bool = True) -> None:
        """A line of the table."""
        if not met:
            self.missed.append(what)
        verdict = ("met" if met else "missed") if aim else ""
        print(f"{what:<50} {figure:<44} {aim:<14} {verdict}".rstrip(), flush=True)

    def looker(self, name: str = "alice") -> Looker:
        return Looker.signed_in(self.node.port("http"), f"{name}@{DOMAIN}", "pw")

    def users(self, count: int) -> list[Looker]:
        return [self.looker(f"u{number % USERS}") for number in range(count)]

    def pids(self) -> set[int]:
        assert self.node.process
        return family([self.node.process.pid])

    def send(self, to: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=60) as client:
            client.sendmail("bench@example.org", [to], b"Subject: bench\r\n\r\nHello\r\n")


def inbox_of(browser: Browser) -> str:
    return browser.get("/mail").path


def times(bench: Bench, what: str, call: Callable[[], float], aim_ms: float) -> None:
    """Medians of many calls, and the slowest."""
    call()
    took = sorted(call() for _ in range(bench.repeats))
    median = statistics.median(took)
    p95 = took[int(len(took) * 0.95)]
    figure = f"{median:.1f} ms (95 of 100 under {p95:.1f}, slowest {took[-1]:.1f})"
    bench.tell(what, figure, f"< {aim_ms:.0f} ms", median < aim_ms)


def pages(bench: Bench) -> None:
    """List pages of the large folder."""
    alice = bench.looker()
    inbox = _inbox(bench)
    middle, last = standing_of(bench.mails // 2).text(), standing_of(51).text()
    for what, place in (
        ("the first page", ""), ("a page in the middle", f"?before={middle}"),
        ("the page before it", f"?after={middle}"), ("the last page", f"?before={last}"),
    ):  # fmt: skip
        times(bench, f"list, {what}", lambda: alice.timed(inbox + place), PAGE_MS)  # noqa: B023
    browser = _browser(bench)
    browser.get(inbox)
    words = itertools.cycle(("add", "take"))

    def after_a_change() -> float:
        form = urlencode({"csrf": browser.csrf, "uid": "7", next(words): "flagged"}).encode()
        said = browser.ask("POST", f"{inbox}/mark", form, {"Content-Type": FORM}, follow=False)
        if said.status != 303:
            raise Trouble(f"a mark was answered {said.status}")
        return alice.timed(inbox)

    times(bench, "list, the first page, a mark after the last", after_a_change, PAGE_MS)


def search(bench: Bench) -> None:
    """Pages of what was found in the large mailbox."""
    alice = bench.looker()
    for what, typed in QUERIES:
        path = f"/search?q={quote_plus(typed)}"
        times(bench, f"search, {what}: {typed}", lambda: alice.timed(path), SEARCH_MS)  # noqa: B023


def first(bench: Bench) -> None:
    """What a browser that was never here loads."""
    for what, path in (("the first page, signed in", _inbox(bench)), ("sign in", "/sign-in")):
        loaded = octets_of_first_page(bench.looker(), path)
        total = sum(octets for _, octets in loaded) / 1024
        largest = max(loaded, key=lambda each: each[1])
        figure = (
            f"{total:.0f} KiB, {len(loaded)} files ({largest[0].rpartition('/')[2]} the largest)"
        )
        bench.tell(f"octets of {what}", figure, f"< {FIRST_KIB} KiB", total < FIRST_KIB)


def files(bench: Bench) -> None:
    """A large file up, sent, looked at and down; how much more memory the node has meanwhile."""
    large = bench.folder / "large.bin"
    with large.open("wb") as file:
        for _ in range(FILE_MIB):
            file.write(os.urandom(MIB))
    writer, reader = _browser(bench, "u0"), bench.looker("u1")
    inbox = inbox_of(_browser(bench, "u1"))
    said = form_of(writer.get("/write")) | {"to": f"u1@{DOMAIN}", "subject": "Large", "text": "x"}

    def grows(what: str, work: Callable[[], object]) -> None:
        before = memory(bench.pids()).resident
        began = time.monotonic()
        with Peak(lambda: memory(bench.pids()), every_s=0.02) as peak:
            work()
        more = max(0, peak.resident - before) / MIB
        figure = f"{more:.1f} MiB more, {time.monotonic() - began:.1f} s"
        bench.tell(f"{FILE_MIB} MiB, {what}", figure, f"< {MORE_MIB} MiB", more < MORE_MIB)

    draft = writer.post("/write/0", said, script=True).json()["draft"]
    kind = "application/octet-stream"
    up = [("large.bin", kind, large)]
    grows("up", lambda: writer.post(f"/write/{draft}/files", {}, up, script=True))
    grows("sent", lambda: writer.post(f"/write/{draft}/send", said))
    page = f"{inbox}/1"
    grows("its mail looked at", lambda: reader.look(page))
    (part,) = {
        each for each in reader.look(page).decode().split('"') if each.startswith(f"{page}/part/")
    }
    grows("down", lambda: _same(reader.look(part), large))
    grows("its mail down as a file", lambda: reader.look(f"{page}/eml"))


def _same(octets: bytes, file: Path) -> None:
    if octets != file.read_bytes():
        raise Trouble("the file that came is not the one that went")


def streams(bench: Bench) -> None:
    """Many event streams: their memory, and when all are told of a mail to all accounts."""
    lookers = bench.users(USERS)
    before = proportional_octets(bench.pids())
    opened = Streams()
    try:
        opened.open(lookers, STREAMS_EACH)
        opened.drain(1.0)
        more = proportional_octets(bench.pids()) - before
        figure = f"{more / MIB:.1f} MiB, {more / 1024 / len(opened):.1f} KiB each"
        bench.tell(f"{len(opened)} event streams, memory", figure)
        firsts, lasts = [], []
        for _ in range(7):
            opened.drain(1.0)
            began = time.monotonic()
            bench.send(f"all@{DOMAIN}")
            told = opened.all_told_s(began)
            firsts.append(told[0])
            lasts.append(told[-1])
        last = statistics.median(lasts)
        figure = (
            f"{last * 1000:.0f} ms (the first {statistics.median(firsts) * 1000:.0f},"
            f" slowest {max(lasts) * 1000:.0f})"
        )
        bench.tell("until a mail is told on all", figure, f"< {TELLS_S:.0f} s", last < TELLS_S)
        alice = bench.looker()
        times(
            bench, "list, the first page beside them", lambda: alice.timed(_inbox(bench)), PAGE_MS
        )
    finally:
        opened.close()


def crowd(bench: Bench) -> None:
    """The same mail with and without browsers that look, in turn: pairs of the p99 of accept."""
    build_load()
    looking = Crowd(bench.users(BROWSERS))
    mail = ("-p", bench.node.port("smtp"), "-s", 20, "-k", "-R", RATE, "-T", bench.seconds,
            "-u", USERS)  # fmt: skip
    pairs = measure_pairs(bench.pairs, mail, bench.pids, looking.looking)
    figure, met = p99_of(pairs)
    what = f"p99 of accept at {RATE}/s, without and with browsers"
    bench.tell(what, figure, f"at most {P99_TIMES:.0f} x", met)
    refused = sum(pair.refused for pair in pairs)
    bench.tell("mails refused, with and without", str(refused), "none", not refused)
    took = sorted(looking.took_ms)
    figure = f"{statistics.median(took):.1f} ms, p99 {took[int(len(took) * 0.99)]:.1f}, {len(took)}"
    bench.tell(f"list pages of {BROWSERS} browsers beside it", figure)
    cpu_ms = 1000 * sum(pair.more_cpu_s for pair in pairs) / max(1, len(took))
    bench.tell("CPU of such a page", f"{cpu_ms:.1f} ms")
    refusals = looking.refused
    bench.tell("pages refused", f"{len(refusals)} {refusals[:1]}", "none", not refusals)


def _inbox(bench: Bench) -> str:
    return inbox_of(_browser(bench))


def _browser(bench: Bench, name: str = "alice") -> Browser:
    browser = Browser(bench.node.port("http"))
    browser.sign_in(f"{name}@{DOMAIN}", "pw")
    browser.get("/mail")
    return browser


def make_node(folder: Path, mails: int, workers: int) -> Node:
    """A folder with alice, whose inbox is large, and u0, u1, ... who have nothing yet."""
    accounts = Accounts.open(folder / "users.db", create=True)
    accounts.add_domain(DOMAIN)
    alice = accounts.add_account(Address("alice", DOMAIN), password_hash())
    for number in range(USERS):
        accounts.add_account(Address(f"u{number}", DOMAIN), password_hash())
        accounts.add_alias(f"all@{DOMAIN}", f"u{number}@{DOMAIN}")
    accounts.close()
    if mails:
        fill(folder / "var", mails, alice.id)
    options = ("--smtp", "0", "--pop3", "0", "--http", "0")
    settings = {"MAILNODE_LIMITS__MESSAGE_SIZE": "100 MiB"}
    return Node(folder, options, settings=settings, workers=workers)


def wait_for_index(bench: Bench) -> None:
    alice, deadline = bench.looker(), time.monotonic() + INDEXED_S
    while b"still being read" in alice.look("/search?q=nothing"):
        if time.monotonic() > deadline:
            raise Trouble(f"the mail is not indexed within {INDEXED_S:.0f} s")
        time.sleep(1)


def main(words: Sequence[str] | None = None) -> int:
    """0 when all is as it should be."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", default=",".join(PARTS))
    arguments.add_argument("--mails", type=int, default=100_000)
    arguments.add_argument("--repeats", type=int, default=50)
    arguments.add_argument("--pairs", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--workers", type=int, default=1)
    chosen = arguments.parse_args(words)
    parts = chosen.parts.split(",")
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="bench-web-"))
    try:
        needs = {"pages", "search", "streams"} & set(parts)
        node = make_node(folder, chosen.mails if needs else 50, chosen.workers)
        run = describe_run("", [])
        said = f"version {run['commit']}, Python {run['python']}, Twisted {run['twisted']}"
        many = f"{chosen.workers} processes" if chosen.workers > 1 else "one process"
        print(f"{run['began']}, {said}, {run['machine']}; {many}", flush=True)
        with node:
            bench = Bench(folder, node, chosen.mails, chosen.repeats, chosen.pairs, chosen.seconds)
            wait_for_index(bench)
            for part in PARTS:
                if part in parts:
                    print(f"# {part}: load average {os.getloadavg()[0]:.1f}", flush=True)
                    globals()[part](bench)
        return 1 if bench.missed else 0
    except Trouble as error:
        print(f"bench-web: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
