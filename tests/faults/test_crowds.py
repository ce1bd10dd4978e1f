"""Clients in numbers: slow ones, deaf ones, idle ones, too many, and those that are refused.

A few dozen each, and bounds so wide that only a fault passes them; FULL_CROWDS=yes for the counts
and bounds of docs/reliability.rst, on a machine that does nothing else.
"""

from __future__ import annotations

import atexit
import os
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from unittest import SkipTest

import pytest
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.store.accounts import Accounts
from tests.bench.measuring import Record, build_load, load
from tests.bench.processes import MIB, cpu_s, memory
from tests.faults.crowd import ADDRESSES, ENVELOPE, come
from tests.live.node import DOMAIN, Node, copy_folder, make_folder

FULL = os.environ.get("FULL_CROWDS", "") == "yes"
DEAF_READERS = 20 if FULL else 4  # of POP3: each has an account of its own
MOST_RESIDENT = 110 * MIB
MAIL = b"Subject: probe\r\n\r\n" + b"0123456789abcdef" * 4 * 30 + b"\r\n.\r\n"

pytestmark = pytest.mark.timeout(600 if FULL else 120)


def full(count: int, sample: int) -> int:
    return count if FULL else sample


@cache
def _made() -> Path:
    """A folder with alice and u0, u1...; argon2 is asked once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="mailnode-crowds-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_folder(folder, ("alice",))
    accounts = Accounts.open(folder / "users.db")
    hashed = accounts.account(f"alice@{DOMAIN}").password_hash
    for number in range(DEAF_READERS):
        accounts.add_account(parse_address(f"u{number}@{DOMAIN}"), hashed)
    accounts.close()
    return folder


class CrowdCase(SynchronousTestCase):
    def start(self, **settings: str) -> Node:
        self.node = Node(
            copy_folder(_made(), Path(self.mktemp()).resolve()),
            options=("--smtp", "0", "--pop3", "0"),
            settings=settings,
        )
        self.addCleanup(self.node.kill)
        return self.node.start()

    def resident(self) -> int:
        assert self.node.process is not None
        return memory([self.node.process.pid]).resident

    def cpu_s(self) -> float:
        assert self.node.process is not None
        return cpu_s([self.node.process.pid])

    def settle(self, most_s: float) -> float:
        """Seconds until the node has no more to do than idle sessions and slow ones cost."""
        began = time.monotonic()
        while time.monotonic() - began < most_s:
            before = self.cpu_s()
            time.sleep(0.5)
            if self.cpu_s() - before < 0.15:
                break
        return time.monotonic() - began

    def stored_octets(self) -> int:
        return sum(path.stat().st_size for path in self.node.data.rglob("*") if path.is_file())

    def probe(self, count: int, pause_s: float = 0.0) -> list[float]:
        """Seconds that each of so many mails took, connection and all, one after the other."""
        took = []
        for _ in range(count):
            time.sleep(pause_s)
            began = time.monotonic()
            with self.node.raw("smtp") as client, client.makefile("rb") as replies:
                self.assertEqual(replies.readline()[:3], b"220")
                client.sendall(b"EHLO probe.example\r\n")
                while replies.readline()[3:4] == b"-":
                    pass
                client.sendall(ENVELOPE)
                codes = [replies.readline()[:3] for _ in range(3)]
                client.sendall(MAIL)
                codes.append(replies.readline()[:3])
                self.assertEqual(codes, [b"250", b"250", b"354", b"250"])
                took.append(time.monotonic() - began)
        return took

    def tell(self, **figures: object) -> None:
        text = ", ".join(f"{name} {figure}" for name, figure in figures.items())
        print(f"\n{text}", file=sys.stderr)


def part(took: Sequence[float], of: float) -> float:
    """The value below which this part of them lies, in milliseconds."""
    return sorted(took)[min(len(took) - 1, int(len(took) * of))] * 1000


class SlowTests(CrowdCase):
    """Clients that send an octet a second, and clients that never read."""

    def test_others_are_served_beside_them_and_memory_is_bounded(self) -> None:
        slow, deaf, probes = full(1000, 40), full(1000 - DEAF_READERS, 40), full(1000, 60)
        self.start()
        large = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4 * 30_000 + b"\r\n"
        lines = b"\r\n".join(large[at : at + 70] for at in range(0, len(large), 70))
        for number in range(DEAF_READERS):
            self.node.send(lines, to=f"u{number}")
        self.probe(50)
        ratios, before = [], self.resident()
        for _ in range(full(3, 1)):
            alone = self.probe(probes)
            with (
                come("slow", self.node.port("smtp"), slow),
                come("deaf", self.node.port("smtp"), deaf),
                come("deaf_pop3", self.node.port("pop3"), DEAF_READERS),
            ):
                flooded = self.probe(full(200, 20))
                settled_s = self.settle(full(60, 1))
                beside, resident = self.probe(probes), self.resident()
            ratios.append(part(beside, 0.99) / part(alone, 0.99))
            self.tell(
                p50_ms=", ".join(f"{part(each, 0.5):.1f}" for each in (alone, flooded, beside)),
                p99_ms=", ".join(f"{part(each, 0.99):.1f}" for each in (alone, flooded, beside)),
                settled_s=f"{settled_s:.0f}",
                resident_mib=f"{before // MIB} to {resident // MIB}",
            )
            most = (slow + deaf) * 0.2 * MIB + DEAF_READERS * 2 * MIB + 40 * MIB
            self.assertLess(resident - before, most)
            self.settle(full(10, 1))
        self.assertLess(part(flooded, 0.5), 1000)
        self.assertLess(statistics.median(ratios), 2 if FULL else 100)
        self.node.assert_quiet_log()


class OverloadTests(CrowdCase):
    """More clients than are let in, each as fast as it can."""

    def pushed(self, clients: int, seconds: float) -> tuple[float, Mapping[str, int]]:
        """Mails acknowledged a second, and replies by code."""
        with come("push", self.node.port("smtp"), clients) as others:
            time.sleep(seconds)
        codes = others.codes()
        self.assertEqual({code for code in codes if code.startswith("dot")}, {"dot 250"})
        return codes["dot 250"] / others.went["took_s"], codes

    def test_ten_times_too_many_are_answered_421_and_afterwards_all_is_as_before(self) -> None:
        let_in, seconds = full(100, 10), 10 if FULL else 0.6
        self.start(MAILNODE_LIMITS__CONNECTIONS=str(let_in))
        self.pushed(let_in, seconds / 2)
        before, _ = self.pushed(let_in, seconds)
        resident, stored = self.resident(), self.stored_octets()
        during, codes = self.pushed(10 * let_in, seconds)
        grown, kept = self.resident() - resident, self.stored_octets() - stored
        time.sleep(0.5)
        after, _ = self.pushed(let_in, seconds)
        self.tell(
            mails_a_second=f"{before:.0f}, {during:.0f}, {after:.0f}",
            codes=dict(codes),
            resident_mib=f"{resident // MIB} to {(resident + grown) // MIB}",
            octets_a_mail=kept // max(1, codes["dot 250"]),
        )
        self.assertLessEqual(set(codes), {"220", "250", "354", "421", "451", "dot 250"})
        self.assertGreater(codes["421"], 0)
        self.assertLess(grown, 40 * MIB)
        self.assertLess(kept, codes["dot 250"] * 4 * len(MAIL) + 32 * MIB)
        self.assertGreater(after, before * (0.8 if FULL else 0.2))
        self.node.stop()

    def test_bodies_that_stop_half_way_take_a_share_of_memory_and_leave_nothing(self) -> None:
        count = full(2000, 30)
        self.start()
        self.probe(20)
        before = self.resident()
        with come("half", self.node.port("smtp"), count) as others:
            self.probe(20)
            resident = self.resident()
        self.assertEqual((others.came["here"], others.went["cut_off"]), (count, 0))
        spool = self.node.data / "spool"
        deadline = time.monotonic() + 20
        while (left := len(list(spool.iterdir()))) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.tell(bodies=count, resident_mib=f"{before // MIB} to {resident // MIB}")
        self.assertEqual(left, 0)
        self.assertLess(resident - before, min(count * MIB, 512 * MIB) + 40 * MIB)
        self.node.assert_quiet_log()

    def journal(self, event: str) -> int:
        with sqlite3.connect(f"file:{self.node.data}/mail.db?mode=ro", uri=True) as sql:
            asked = "SELECT count(*) FROM journal WHERE event = ?"
            (rows,) = sql.execute(asked, (event,)).fetchone()
        sql.close()
        return int(rows)

    def test_refusals_are_summed_and_mail_comes_in_beside_them(self) -> None:
        rate, seconds = full(5000, 500), full(10, 1)
        self.start()
        self.probe(50)
        alone, resident, stored = self.probe(full(1000, 50), 0.002), self.resident(), 0
        stored, began = self.stored_octets(), self.cpu_s()
        with come("refused", self.node.port("smtp"), full(100, 20), rate) as others:
            time.sleep(full(1, 0))
            beside = self.probe(full(1000, 50), 0.002)
            time.sleep(seconds)
        refused, took_s = others.codes()["550"], others.went["took_s"]
        busy = (self.cpu_s() - began) / took_s
        time.sleep(1.5)  # the journal is written within a second
        rows, octets = self.journal("refused"), self.stored_octets() - stored
        self.tell(
            refused_a_second=f"{refused / took_s:.0f}",
            journal_rows=rows,
            p50_ms=f"{part(alone, 0.5):.1f} to {part(beside, 0.5):.1f}",
            p99_ms=f"{part(alone, 0.99):.1f} to {part(beside, 0.99):.1f}",
            cpu=f"{busy:.0%}",
            resident_mib=f"{resident // MIB} to {self.resident() // MIB}",
            stored_kib=octets // 1024,
            log_kib=self.node.log.stat().st_size // 1024,
        )
        self.assertGreater(refused, rate * seconds / 5)
        self.assertLessEqual(rows, 10 * ADDRESSES * (2 + took_s // 60))
        self.assertLess(self.resident() - resident, 20 * MIB)
        self.assertLess(octets, 1000 * 6000 + 8 * MIB)
        self.assertLess(part(beside, 0.5), part(alone, 0.5) * (2 if FULL else 100))
        self.node.stop()
        self.assertGreaterEqual(self.journal("refused-more"), ADDRESSES)

    def offered(self) -> Record:
        """What becomes of 500 mails a second, on 20 kept connections."""
        how = ("-R", 500, "-T", 8, "-k", "-s", 20, "-f", "alice")
        told = load("smtpload", "-p", self.node.port("smtp"), *how)
        self.assertEqual(told["failed"], 0, told["first_error"])
        return told

    def test_500_mails_a_second_come_in_beside_5000_refusals(self) -> None:
        if not FULL:
            raise SkipTest("the load generators are built for FULL_CROWDS=yes alone")
        build_load()
        self.start()
        self.offered()
        figures: list[Record] = []
        for rate in (0, 5000, 0, 5000, 0, 5000):
            began = self.cpu_s()
            if rate:
                with come("refused", self.node.port("smtp"), 100, rate) as others:
                    figures.append(self.offered())
                figures[-1]["refused"] = others.codes()["550"] / others.went["took_s"]
            else:
                figures.append(self.offered())
            figures[-1]["cpu_s"] = self.cpu_s() - began
        alone, beside = figures[::2], figures[1::2]
        for name in ("rate", "p50_ms", "p99_ms", "cpu_s"):
            self.tell(**{name: [f"{each[name]:.1f}" for each in (*alone, *beside)]})
        self.tell(refused=[f"{each['refused']:.0f}" for each in beside])
        slower = statistics.median(each["rate"] for each in beside)
        self.assertGreater(slower, 0.8 * statistics.median(each["rate"] for each in alone))
        self.assertGreater(min(each["refused"] for each in beside), 4000)


class ArrivalTests(CrowdCase):
    def test_500_that_connect_at_once_are_all_served(self) -> None:
        self.start()
        with come("at_once", self.node.port("smtp"), 500) as others:
            pass
        self.tell(came_in_s=f"{others.came['took_s']:.2f}", codes=others.went["codes"])
        self.assertEqual((others.went["cut_off"], others.went["codes"]["dot 250"]), (0, 500))
        self.node.stop()

    def test_idle_connections_cost_little_and_keep_nobody_waiting(self) -> None:
        count = full(10_000, 500)
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < count + 1000:
            raise SkipTest(f"needs {count + 1000} descriptors: ulimit -Hn")
        self.start()
        self.probe(50)
        alone, before = self.probe(full(300, 30)), self.resident()
        with come("idle", self.node.port("smtp"), count) as others:
            time.sleep(0.5)
            resident, beside = self.resident(), self.probe(full(300, 30))
        each = (resident - before) / count
        self.tell(
            idle=others.came["here"],
            came_in_s=f"{others.came['took_s']:.1f}",
            resident_mib=f"{before / MIB:.0f} to {resident / MIB:.0f}",
            octets_each=f"{each:.0f}",
            p50_ms=f"{part(alone, 0.5):.1f} to {part(beside, 0.5):.1f}",
        )
        self.assertEqual((others.came["here"], others.went["cut_off"]), (count, 0))
        self.assertLess(resident, MOST_RESIDENT)
        self.assertLess(each, 16_384)
        self.assertLess(part(beside, 0.5), part(alone, 0.5) * (2 if FULL else 100))
        self.node.stop()
