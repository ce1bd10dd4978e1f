"""What accepting and signing in cost as a mailbox, a store, a domain or an alias grows.

Only this tree's node is measured. Each function gives one record a size and repeat, with `size`,
what a mail or sign-in took, and its CPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from tests.bench.cells import Boxes, Cell
from tests.bench.measuring import Record, fill, load, smtp
from tests.bench.processes import MIB
from tests.bench.targets import Target, Trouble, home, running

NODE = "mailnode"
BOX_SIZES = (10, 1_000, 100_000)
ACCOUNTS = (100, 1_000, 10_000)
ALIASES = (1, 10, 100, 1_000)
STORE_MIB = (10, 100, 1_000, 10_000)
FREE_PART = 3  # a store grows to a third of what the disk has free, at most
ACCEPTED = 500  # mails into boxes whose size matters, each repeat


@frozen
class Plan:
    """How large and how often.

    Attributes:
        fewer: every size is divided by this, to try the bench out.
    """

    repeats: int
    seconds: float
    fewer: int = 1

    def sizes(self, sizes: Sequence[int]) -> list[int]:
        return sorted({max(1, size // self.fewer) for size in sizes})


def _accept(target: Target, seconds: float, users: int, load_more: str = "") -> Record:
    """20 sessions with kept connections; the CPU is per mail."""
    cell = Cell("", "smtp", "", ("-s", "20", "-k", *load_more.split()))
    done = smtp(target, cell, seconds, "-u", users)
    if done["failed"]:
        raise Trouble(f"{done['failed']} mails were refused: {done['first_error']}")
    return {
        "rate": done["rate"],
        "p50_ms": done["p50_ms"],
        "p99_ms": done["p99_ms"],
        "cpu_1000": done["cpu_1000"],
        "resident": done["resident"],
    }


def _sign_in(target: Target, user: int, count: int = 40) -> Record:
    """One session after another, STAT; the password is remembered by then."""
    arguments = ("-p", target.pop3, "-f", "u%d@example.test", "-U", user, "-u", 1, "-s", 1, "-S")
    load("pop3load", *arguments, "-n", 1)
    cpu = target.cpu_s()
    done = load("pop3load", *arguments, "-n", count)
    cpu = target.cpu_s() - cpu
    if done["failed"]:
        raise Trouble(f"{done['failed']} sign-ins failed: {done['first_error']}")
    return {
        "sign_in_p50_ms": done["stat_p50_ms"],
        "sign_in_p99_ms": done["stat_p99_ms"],
        "sign_in_cpu_ms": cpu / count * 1000,
    }


def boxes(plan: Plan) -> Iterator[Record]:
    """Mail into, and a sign-in to, boxes that hold so many mails already.

    Small boxes come in numbers, and each repeat takes new ones, so that what is accepted changes
    their size little.
    """
    target = Target.named(NODE, users=600)
    blocks: dict[int, list[Boxes]] = {}
    first = 0
    for size in plan.sizes(BOX_SIZES):
        each = max(1, min(50, 5_000 // size))
        repeats = plan.repeats if each > 1 else 1
        for _ in range(min(repeats, 5)):
            blocks.setdefault(size, []).append(Boxes(first, each, size, 512))
            first += each
    with running([target]):
        for block in (block for some in blocks.values() for block in some):
            fill(target, block)
        for repeat in range(plan.repeats):
            for size, some in blocks.items():
                block = some[repeat % len(some)]
                record = _sign_in(target, block.first_user)
                into = f"-U {block.first_user} -m {ACCEPTED}"
                record |= _accept(target, plan.seconds, block.users, into)
                yield record | {"size": size, "repeat": repeat}


def accounts(plan: Plan) -> Iterator[Record]:
    """The same in nodes with so many accounts, mail spread over all of them; and their start."""
    for repeat in range(plan.repeats):
        for users in plan.sizes(ACCOUNTS):
            target = Target.named(NODE, users=users, environment={"BENCH_FIRST": "0"})
            with running([target]):
                resident = target.memory().resident
                record = _accept(target, plan.seconds, users) | _sign_in(target, 0)
            record |= {"start_s": target.start_s, "resident": resident}
            yield record | {"size": users, "repeat": repeat}


def alias(plan: Plan) -> Iterator[Record]:
    """Mail to one address that reaches so many mailboxes; CPU per copy."""
    sizes = plan.sizes(ALIASES)
    environment = {"BENCH_ALIASES": " ".join(map(str, sizes))}
    target = Target.named(NODE, users=max(ALIASES), environment=environment)
    with running([target]):
        for repeat in range(plan.repeats):
            for size in sizes:
                cell = Cell("", "smtp", "", ("-s", "4", "-k", "-f", f"all{size}"))
                cpu = target.cpu_s()
                done = load("smtpload", *cell.load, "-p", target.smtp, "-T", plan.seconds)
                cpu = target.cpu_s() - cpu
                if done["failed"]:
                    raise Trouble(f"all{size}: {done['first_error']}")
                yield {
                    "size": size,
                    "repeat": repeat,
                    "rate": done["rate"],
                    "copies_rate": done["rate"] * size,
                    "p50_ms": done["p50_ms"],
                    "p99_ms": done["p99_ms"],
                    "cpu_1000": cpu / done["acked"] / size * 1000,
                }


def store(plan: Plan) -> Iterator[Record]:
    """The same in a store of so many MiB, filled with mails of 100 KiB; and a start with it."""
    free_mib = shutil.disk_usage(home()).free // MIB // FREE_PART
    target = Target.named(NODE)
    target.start()
    try:
        held_mib = 0
        for size in plan.sizes(STORE_MIB):
            if size > free_mib:
                print(f"# store: {size} MiB is more than a third of the free space: left out")
                return
            mails = max(1, (size - held_mib) * 10 // 80)  # to 80 users, as many each
            fill(target, Boxes(0, 80, mails, 100 << 10))
            held_mib = size
            target.stop()
            target.start(keep=True)
            for repeat in range(plan.repeats):
                record = _sign_in(target, 90) | _accept(target, plan.seconds, 10, "-U 80")
                yield record | {"size": size, "repeat": repeat, "start_s": target.start_s}
    finally:
        target.stop()


GROWTHS: dict[str, Callable[[Plan], Iterator[Record]]] = {
    "boxes": boxes,
    "accounts": accounts,
    "alias": alias,
    "store": store,
}
