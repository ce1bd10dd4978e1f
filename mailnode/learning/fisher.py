"""How often each name stood in wanted and in unwanted mails, and what all of a mail's say together.

The method is Gary Robinson's ("A Statistical Approach to the Spam Problem", Linux Journal 107,
2003): each name has a probability, drawn towards one half while it is rare; R. A. Fisher's test
(1925) combines them twice, as evidence for each side, so that a mail with much of both, or nothing
of either, comes out in the middle. The constants are those that the SpamBayes project found on
many people's mail, and so not chosen to fit one collection.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from math import exp, log
from operator import itemgetter
from typing import TypeVar

from attrs import define

from mailnode.giving_way import give_way

PRIOR = 0.5
PRIOR_WEIGHT = 0.45  # mails' worth of it
LEAST_STRENGTH = 0.1  # nearer to one half a name says nothing
MOST_NAMES = 150  # the strongest
SUREST = 0.999  # what the test gives is never taken for more
NODE_MOST = 10  # for how many mails the node's counts stand beside those of an account
MOST_MAILS = 60_000  # of a kind: counts are of 16 bits
AT_ONCE = 1 << 14

Number = TypeVar("Number", int, float)


@define(eq=False)
class Counts:
    """Of names by their slots.

    Attributes:
        wanted, unwanted: in how many mails of the kind.
        wanted_mails, unwanted_mails: how many were counted.
    """

    wanted: array[int]
    unwanted: array[int]
    wanted_mails: int = 0
    unwanted_mails: int = 0

    @property
    def is_full(self) -> bool:
        return max(self.wanted_mails, self.unwanted_mails) >= MOST_MAILS

    @classmethod
    def empty(cls, slots: int) -> Counts:
        return cls(array("H", bytes(2 * slots)), array("H", bytes(2 * slots)))

    def add(self, slots: Sequence[int], unwanted: bool) -> None:
        """Count a mail of these slots, none twice."""
        counts = self.unwanted if unwanted else self.wanted
        for slot in slots:
            counts[slot] += 1
        if unwanted:
            self.unwanted_mails += 1
        else:
            self.wanted_mails += 1

    def take(self, slots: Sequence[int], unwanted: bool) -> None:
        """The mail was never counted."""
        counts = self.unwanted if unwanted else self.wanted
        for slot in slots:
            if counts[slot]:
                counts[slot] -= 1
        if unwanted:
            self.unwanted_mails = max(0, self.unwanted_mails - 1)
        else:
            self.wanted_mails = max(0, self.wanted_mails - 1)

    def halve(self) -> None:
        """What was counted so far weighs half as much as what will be: mail changes."""
        for counts in (self.wanted, self.unwanted):
            halve(counts, lambda some: [count >> 1 for count in some])
        self.wanted_mails >>= 1
        self.unwanted_mails >>= 1


def halve(numbers: array[Number], halved: Callable[[array[Number]], Sequence[Number]]) -> None:
    """Each becomes what `halved` makes of it; some at a time, so that other threads have theirs."""
    for at in range(0, len(numbers), AT_ONCE):
        some = slice(at, at + AT_ONCE)
        numbers[some] = array(numbers.typecode, halved(numbers[some]))
        give_way()


def probabilities(slots: Sequence[int], counts: Counts) -> list[float]:
    """For each slot, how likely a mail is unwanted that has it; 0.5 for one never seen.

    Args:
        counts: of mails of both kinds.
    """
    # Half a million of these a second: so it is one expression.
    ratio, prior = _ratio(counts), PRIOR * PRIOR_WEIGHT
    return [
        (prior + (bad + good) * (bad / (bad + good * ratio))) / (PRIOR_WEIGHT + bad + good)
        if bad or good
        else PRIOR
        for bad, good in zip(_at(counts.unwanted, slots), _at(counts.wanted, slots), strict=True)
    ]


def refine(
    found: list[float],
    node: Counts,
    node_slots: Sequence[int],
    own: Counts,
    own_slots: Sequence[int],
) -> list[float]:
    """What an account has seen itself, with what its node knows of the same names.

    What the account has seen counts in full, what the node has seen as if it were at most
    `NODE_MOST` mails: else the few mails of one person would not be heard among those of all.

    Args:
        found: `probabilities` of the node's counts; both have counted mails of both kinds.
    """
    ratio = _ratio(own)
    bads, goods = _at(own.unwanted, own_slots), _at(own.wanted, own_slots)
    refined = list(found)
    for at, (bad, good) in enumerate(zip(bads, goods, strict=True)):
        if bad or good:
            there = node_slots[at]
            seen = node.unwanted[there] + node.wanted[there]
            weight = (seen if seen < NODE_MOST else NODE_MOST) + PRIOR_WEIGHT
            share = bad / (bad + good * ratio)
            refined[at] = (weight * found[at] + (bad + good) * share) / (weight + bad + good)
    return refined


def _at(counts: array[int], slots: Sequence[int]) -> tuple[int, ...]:
    """Those of the slots; twice as fast as to ask for each."""
    asked: tuple[int, ...] = itemgetter(*slots, 0, 0)(counts)
    return asked[:-2]


def _ratio(counts: Counts) -> float:
    return max(1, counts.unwanted_mails) / max(1, counts.wanted_mails)


def strongest(found: Sequence[float]) -> list[int]:
    """Where the probabilities are that say most, at most `MOST_NAMES`; none that says nothing."""
    low, high = 0.5 - LEAST_STRENGTH, 0.5 + LEAST_STRENGTH
    strong = [at for at, each in enumerate(found) if each <= low or each >= high]
    if len(strong) > MOST_NAMES:
        weakness = [-abs(each - 0.5) for each in found]
        strong.sort(key=weakness.__getitem__)
        del strong[MOST_NAMES:]
    return strong


def combine(strong: Sequence[float]) -> float:
    """The log-odds of a mail whose strongest names have these probabilities; 0 says nothing."""
    if not strong:
        return 0.0
    wanted = chi_square_tail(-2 * sum(map(log, strong)), len(strong))
    unwanted = chi_square_tail(-2 * sum([log(1 - each) for each in strong]), len(strong))
    indicator = min(max((1 + wanted - unwanted) / 2, 1 - SUREST), SUREST)
    return log(indicator / (1 - indicator))


def chi_square_tail(value: float, pairs: int) -> float:
    """How likely chance alone gives as much: chi-square with 2 * `pairs` degrees of freedom."""
    half = value / 2
    term = total = exp(-half)
    for at in range(1, pairs):
        term *= half / at
        total += term
    return min(total, 1.0)
