"""`make bench-judged`: its name server's answers, its mails and its verdicts."""

from __future__ import annotations

import gc
import os
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailnode.records import Reading, make_query, parse_answer, read_answer
from tests.bench import held as held_module
from tests.bench.held import Held
from tests.bench.judged import OURS, THEIRS, WORKERS, aims, table
from tests.bench.judged_dns import answer, wire_zone
from tests.bench.judged_mails import address_of, name_of
from tests.bench.results import Results

ZONE = {
    "a.example TXT": "v=spf1 " + "x" * 300,
    "mx.a.example A": "198.18.0.7",
    "7.0.18.198.in-addr.arpa PTR": "mx.a.example",
}


class NameServerTests(SynchronousTestCase):
    def ask(self, name: str, kind: str, edns: bool = True) -> Reading:
        query = make_query(name, kind)
        if not edns:
            query.use_edns(False)
        found = parse_answer(answer(query.to_wire(), *wire_zone(ZONE)), query)
        assert found is not None
        return read_answer(found, trusted=False)

    def test_it_says_what_is_in_its_zone_and_that_nothing_else_is(self) -> None:
        for edns in (True, False):
            for entry, value in ZONE.items():
                found = self.ask(*entry.split(), edns)
                self.assertEqual((value,), found.records.values)
            self.assertEqual(((), True), self.nothing("a.example", "A", edns))
            self.assertEqual(((), False), self.nothing("b.example", "TXT", edns))

    def nothing(self, name: str, kind: str, edns: bool) -> tuple[tuple[Any, ...], bool]:
        found = self.ask(name, kind, edns)
        self.assertEqual(300, found.records.expires_in_s)
        return found.records.values, found.exists


class MailsTests(SynchronousTestCase):
    def test_each_domain_has_an_address_of_its_own(self) -> None:
        numbers = range(0, 120_000, 7)
        self.assertEqual(len(numbers), len(set(map(address_of, numbers))))
        self.assertEqual(len(numbers), len(set(map(name_of, numbers))))


class FakeReactor:
    def __init__(self) -> None:
        self.threadCallQueue: list[Any] = []
        self.later: list[Any] = []

    def callLater(self, delay_s: float, call: Any, *args: Any, **named: Any) -> None:
        self.later.append((call, args, named))


class Whole:
    def __repr__(self) -> str:
        raise AssertionError("it takes seconds, and the reactor is held for as long")

    def call(self, _other: object) -> None:
        """Something is done."""


class HeldTests(SynchronousTestCase):
    def test_calls_of_all_kinds_are_timed_and_made(self) -> None:
        from twisted.python import log

        self.patch(log, "callWithLogger", lambda logger, call, *args: call(*args))
        reactor, held, made = FakeReactor(), Held(), list[int]()
        reactor.threadCallQueue.append((made.append, (0,), {}))  # nothing that waits is lost
        held.watch(reactor)
        self.addCleanup(os.close, held._schedstat)
        self.addCleanup(gc.callbacks.remove, held._collect)
        reactor.callLater(1, made.append, 1)
        reactor.threadCallQueue.append((made.append, (2,), {}))
        for call, args, named in [*reactor.later, *reactor.threadCallQueue]:
            call(*args, **named)
        log.callWithLogger(self, made.append, 3)
        self.assertEqual(([1, 0, 2, 3], 4), (made, held.times))

    def test_the_time_for_which_others_had_the_processors_is_not_its_own(self) -> None:
        wall, cpu = iter([0.0, 0.050]), iter([1.0, 1.002])
        fake = SimpleNamespace(perf_counter=wall.__next__, thread_time=cpu.__next__)
        self.patch(held_module, "time", fake)
        self.patch(Held, "_delayed_s", iter([7.0, 7.040]).__next__)
        held = Held()
        held._timed(list)
        (hold,) = held.holds
        found = [round(each, 6) for each in (hold.own_s, hold.cpu_s, hold.delayed_s)]
        self.assertEqual([0.010, 0.002, 0.040], found)
        self.assertEqual(0.050, held.longest_s)

    def test_what_was_called_is_named_and_nothing_is_shown_of_what_it_is_bound_to(self) -> None:
        self.patch(Held, "_delayed_s", lambda _self: 0.0)
        clock = iter([0.0, 1.0])
        fake = SimpleNamespace(perf_counter=clock.__next__, thread_time=lambda: 0.0)
        self.patch(held_module, "time", fake)
        held = Held()
        held._timed(Whole().call, Whole())
        self.assertEqual(["Whole.call, Whole"], [each.what for each in held.holds])

    def test_the_longest_are_kept(self) -> None:
        self.patch(Held, "_delayed_s", lambda _self: 0.0)
        took = [each / 100 for each in (5, 9, 1, 7, 8, 2)]
        clock = [when for each in took for when in (0.0, each)]
        fake = SimpleNamespace(perf_counter=iter(clock).__next__, thread_time=lambda: 0.0)
        self.patch(held_module, "time", fake)
        self.patch(held_module, "MOST_TOLD", 3)
        held = Held()
        for _ in took:
            held._timed(list)
        self.assertEqual([0.07, 0.08, 0.09], sorted(each.own_s for each in held.holds))


class AimsTests(SynchronousTestCase):
    def results(self, workers: float, theirs: float, longest_s: float, acked: int) -> Results:
        told = Results()
        for repeat in range(3):
            for name, rate in ((OURS, 200.0), (WORKERS, workers), (THEIRS, theirs)):
                figures = {"arrived_rate": rate, "cpu_1000": 3.0, "p50_ms": 200.0}
                record = {"kind": "judged", "cell": "j4k", "target": name, "repeat": repeat}
                told.add(record | figures)
        longest = [{"own_s": each, "cpu_s": each / 2} for each in (0.001, longest_s)]
        held = {"longest": longest, "times": 1000, "written": 4}
        held |= {"offered": 1250.0, "acked": acked, "p99_ms": 104.6}
        told.add({"kind": "held", "cell": "held", "target": OURS} | held)
        return told

    def kept(self, *figures: float, acked: int) -> list[bool]:
        told = aims(self.results(*figures, acked))
        return [kept for _, wanted, _, kept in told if wanted != "none"]

    def test_each_is_held_against_what_was_measured(self) -> None:
        self.assertEqual([True, True, True], self.kept(300.0, 150.0, 0.010, acked=1250))
        self.assertEqual([False, False, True], self.kept(299.0, 150.0, 0.011, acked=1250))

    def test_a_node_that_stood_still_keeps_no_aim_by_that(self) -> None:
        self.assertEqual([True, True, False], self.kept(300.0, 150.0, 0.009, acked=352))

    def test_the_tables_have_the_figures(self) -> None:
        text = "\n".join(table(self.results(300.0, 120.0, 0.0042, 1250)))
        held = "4.2 ms, 2.1 of them at work; 4 full models written"
        taken = "1,250, 99 of 100 within 105 ms"
        both = "mailnode, two workers", "Postfix"
        for words in ("2.50 x", held, taken, "needs 1 (1 to 1) times", *both):
            self.assertIn(words, text)
