"""What a node or an account has learned: the tables of both ways, and the list of its lessons.

A lesson is a mail and what it is. Each mail is one lesson, however often it is taught; taught as
the other kind it changes sides. `forget` takes a lesson back: the counts are then what they would
be had it never been taught, and the weights too where the last is taken back first. So a poisoned
set of lessons can be undone, and a mail that was moved to Junk and back leaves no mark.

An account's model learns on top of its node's: what the node judges rightly needs no step, what it
judges wrongly for this person is corrected until the judgement of both is right.

**Threads.** `train`, `forget` and packing hold the model's lock, and wait for each other; judging
holds none. It may see half of a lesson, which is no worse than a judgement a moment earlier or
later. One process trains a model; others read the file that it writes.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence

from attrs import Factory, define, field

from mailnode.learning.features import Likeness
from mailnode.learning.fisher import Counts, combine, probabilities, refine, strongest
from mailnode.learning.logistic import Weights, as_probability

WANTED, UNSURE, UNWANTED = "wanted", "unsure", "unwanted"

NODE_BITS = 20  # a million slots, 12 MiB
ACCOUNT_BITS = 17
# Of the log-odds of Fisher's test that count: it takes words that come together for as many
# witnesses, and so is surer than it may be. From a tenth to a half the bench shows no difference.
FISHER_SHARE = 0.25
LEAST_OF_EACH = 10  # lessons of each kind before what it has counted says anything
MOST_LESSONS = 50_000  # that can be taken back; older ones stay learned

_HEAD = struct.Struct("<BBB")  # a lesson: whether unwanted, how many errors, how many facts


@define(eq=False)
class Model:
    """Of one node or account.

    Attributes:
        bits: there are 2 ** bits slots.
        lessons: by `Likeness.key`, the oldest first; `pack_lesson` makes the values.
    """

    bits: int
    counts: Counts
    weights: Weights
    lessons: dict[int, bytes] = Factory(dict)
    lock: threading.RLock = field(factory=threading.RLock, repr=False)

    @classmethod
    def empty(cls, bits: int) -> Model:
        return cls(bits, Counts.empty(1 << bits), Weights.empty(1 << bits))

    @property
    def mails(self) -> tuple[int, int]:
        """How many wanted and how many unwanted ones it has learned from."""
        return self.counts.wanted_mails, self.counts.unwanted_mails

    @property
    def knows_both(self) -> bool:
        """Whether it has seen enough of both kinds to tell them apart."""
        return min(self.mails) >= LEAST_OF_EACH

    @property
    def size_octets(self) -> int:
        """In memory, roughly: 12 a slot, 250 a lesson."""
        return (12 << self.bits) + 250 * len(self.lessons)

    def slots(self, numbers: Sequence[int]) -> list[int]:
        """Where the names of these numbers are, in the same order; some may share one."""
        mask = (1 << self.bits) - 1
        return [number & mask for number in numbers]

    def _once(self, numbers: Sequence[int]) -> list[int]:
        """Their slots, none twice."""
        return list(dict.fromkeys(self.slots(numbers)))

    def _known(self, numbers: Sequence[int], node: Model | None) -> list[float]:
        """How much the node has stepped each already, in the order of `_once`.

        What the node knows well, as it knows "the" and "with", a lesson of one account moves
        little, and what is new to it, as the name of a sender, much. Else somebody who marks five
        newsletters as junk would find his friends' mails there, for they have words in common.
        """
        if node is None or not node.knows_both:
            return []
        mask, squares = (1 << self.bits) - 1, node.weights.squares
        found: dict[int, float] = {}
        for number, there in zip(numbers, node.slots(numbers), strict=True):
            found.setdefault(number & mask, squares[there])
        return list(found.values())

    def taught(self, likeness: Likeness) -> str | None:
        """As what this mail was taught; None where it wasn't, or so long ago that it is final."""
        lesson = self.lessons.get(likeness.key)
        return None if lesson is None else UNWANTED if lesson[0] else WANTED

    def train(self, likeness: Likeness, label: str, node: Model | None = None) -> bool:
        """Learn that this mail is `WANTED` or `UNWANTED`; False if that was known.

        Args:
            node: the model of its node, where this is an account's.
        """
        if label not in (WANTED, UNWANTED):
            raise ValueError(f"a mail is taught as {WANTED} or {UNWANTED}, not as {label}")
        with self.lock:
            if self.taught(likeness) == label:
                return False
            self.forget(likeness, node)
            if self.counts.is_full:
                self._fade()
            unwanted = label == UNWANTED
            numbers = likeness.numbers
            # What was known before this mail: with its own words counted it would be no surprise.
            known, found = evidence(numbers, node, self)
            fisher = FISHER_SHARE * combine([found[at] for at in strongest(found)])
            scores = sum(model.weights.score(slots) for model, slots in known if model is not self)
            slots = self._once(numbers)
            errors = self.weights.learn(
                slots,
                unwanted,
                lambda score: as_probability(scores + score + fisher),
                self._known(numbers, node),
            )
            self.counts.add(slots, unwanted)
            if len(self.lessons) >= MOST_LESSONS:
                del self.lessons[next(iter(self.lessons))]
            self.lessons[likeness.key] = pack_lesson(
                unwanted, errors, numbers[len(likeness.names) :]
            )
            return True

    def forget(self, likeness: Likeness, node: Model | None = None) -> bool:
        """Take the lesson of this mail back; False if there is none.

        Its facts are those that it was taught with, whatever `likeness` says of them now.

        Args:
            node: as for `train`.
        """
        with self.lock:
            lesson = self.lessons.pop(likeness.key, None)
            if lesson is None:
                return False
            unwanted, errors, facts = unpack_lesson(lesson)
            numbers = [*likeness.numbers[: len(likeness.names)], *facts]
            slots = self._once(numbers)
            self.weights.unlearn(slots, errors, self._known(numbers, node))
            self.counts.take(slots, unwanted)
            return True

    def _fade(self) -> None:
        """What was learned so far weighs half: mail changes, and counts have an end.

        It is final then: half a lesson can't be taken back.
        """
        self.counts.halve()
        self.weights.halve()
        self.lessons.clear()


def evidence(
    numbers: Sequence[int], node: Model | None, own: Model | None
) -> tuple[list[tuple[Model, list[int]]], list[float]]:
    """Which models have something to say and at which slots; the probability of each name.

    A node's model that doesn't know both kinds is left out whole. That of an account has its
    weights heard at once, for they correct the node's judgement; its counts say that everything
    is unwanted as long as they are of unwanted mails alone, and wait. Where neither knows both,
    there are no probabilities.
    """
    known: list[tuple[Model, list[int]]] = []
    found: list[float] = []
    if node is not None and node.knows_both:
        known.append((node, node.slots(numbers)))
        found = probabilities(known[0][1], node.counts)
    if own is not None:
        slots = own.slots(numbers)
        if own.knows_both and known:
            found = refine(found, known[0][0].counts, known[0][1], own.counts, slots)
        elif own.knows_both:
            found = probabilities(slots, own.counts)
        known.append((own, slots))
    return known, found


def pack_lesson(unwanted: bool, errors: Sequence[float], facts: Sequence[int]) -> bytes:
    """A lesson as it stands in memory and in the file."""
    head = _HEAD.pack(unwanted, len(errors), len(facts))
    return head + struct.pack(f"<{len(errors)}f{len(facts)}I", *errors, *facts)


def unpack_lesson(lesson: bytes) -> tuple[bool, list[float], list[int]]:
    """(unwanted, errors, numbers of facts)."""
    unwanted, errors, facts = _HEAD.unpack_from(lesson)
    values = struct.unpack_from(f"<{errors}f{facts}I", lesson, _HEAD.size)
    return bool(unwanted), list(values[:errors]), list(values[errors:])


def lesson_octets(rows: bytes | memoryview, at: int) -> int:
    """How long the lesson is that begins at `at`.

    Raises:
        struct.error: it has no beginning.
    """
    _, errors, facts = _HEAD.unpack_from(rows, at)
    return _HEAD.size + 4 * (int(errors) + int(facts))
