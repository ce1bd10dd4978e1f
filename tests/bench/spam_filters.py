"""Filters that are measured on the same mails: ours, and Debian's bogofilter."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import Factory, define, frozen

from mailnode.learning.features import Likeness, likeness_of
from mailnode.learning.judging import judge
from mailnode.learning.model import ACCOUNT_BITS, NODE_BITS, UNWANTED, WANTED, Model
from tests.bench.spam_corpus import Sample

UNSURE = "unsure"
Likenesses = dict[Sample, Likeness]


@frozen
class Outcome:
    """What a filter said of one mail."""

    score: float
    verdict: str
    unwanted: bool


@define(eq=False)
class Ours:
    """A node's model, or an account's on top of one.

    Attributes:
        likenesses: of all samples, made once.
    """

    name = "mailnode"
    likenesses: Likenesses
    node: Model = Factory(lambda: Model.empty(NODE_BITS))
    account: Model | None = None

    def learn(self, samples: Sequence[Sample]) -> None:
        for each in samples:
            label = UNWANTED if each.unwanted else WANTED
            if self.account is None:
                self.node.train(self.likenesses[each], label)
            else:
                self.account.train(self.likenesses[each], label, self.node)

    def judge(self, samples: Sequence[Sample]) -> list[Outcome]:
        outcomes = []
        for each in samples:
            said = judge(self.likenesses[each], self.node, self.account)
            outcomes.append(Outcome(said.probability, said.verdict, each.unwanted))
        return outcomes

    def with_account(self) -> Ours:
        """An account that has learned nothing, on this node."""
        return Ours(self.likenesses, self.node, Model.empty(ACCOUNT_BITS))


def likenesses_of(samples: Sequence[Sample], came: bool = False) -> Likenesses:
    return {each: likeness_of(each.came if came else each.written) for each in samples}


@define(eq=False)
class Bogofilter:
    """With its word list in a folder of its own and its settings as they are built in."""

    name = "bogofilter"
    files: dict[Sample, Path]
    folder: Path

    def __attrs_post_init__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def _run(self, *options: str, samples: Sequence[Sample]) -> str:
        command = ["bogofilter", "-C", "-d", str(self.folder), *options]
        names = "".join(f"{self.files[each]}\n" for each in samples)
        done = subprocess.run(command, input=names, capture_output=True, text=True)
        if done.returncode > 2:  # 0 to 2 tell the kind of the last mail
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def learn(self, samples: Sequence[Sample]) -> None:
        for kind, option in ((True, "-s"), (False, "-n")):
            self._run(option, "-b", samples=[each for each in samples if each.unwanted is kind])

    def judge(self, samples: Sequence[Sample]) -> list[Outcome]:
        kinds = {"S": UNWANTED, "H": WANTED, "U": UNSURE}
        outcomes = []
        said = self._run("-b", "-T", samples=samples).splitlines()
        for each, line in zip(samples, said, strict=True):
            _, kind, score = line.rsplit(" ", 2)
            outcomes.append(Outcome(float(score), kinds[kind], each.unwanted))
        return outcomes

    @staticmethod
    def version() -> str:
        done = subprocess.run(["bogofilter", "-V"], capture_output=True, text=True)
        return done.stdout.split("\n")[0].removeprefix("bogofilter version ").strip()


def write_files(samples: Sequence[Sample], folder: Path, came: bool = False) -> dict[Sample, Path]:
    """A file for each, lines as a mailbox has them."""
    folder.mkdir()
    files = {}
    for number, each in enumerate(samples):
        path = files[each] = folder / str(number)
        path.write_bytes((each.came if came else each.written).replace(b"\r\n", b"\n"))
    return files
