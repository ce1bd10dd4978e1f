"""Whether a mail is wanted, as a node's and an account's models together see it, and why.

The weights of the node, those of the account, and a share of what Fisher's test says are added:
log-odds, and the weights were learned with the rest already said. The bounds between which nothing
is said are those that SpamBayes ships (0.2 and 0.9): a wanted mail in Junk is worse than an
unwanted one in the inbox, so much more is asked for the one than for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log, sqrt

from attrs import field, frozen

from mailnode.learning.features import Likeness
from mailnode.learning.fisher import SUREST, combine, strongest
from mailnode.learning.logistic import as_probability
from mailnode.learning.model import (
    FISHER_SHARE,
    LEAST_OF_EACH,
    UNSURE,
    UNWANTED,
    WANTED,
    Model,
    evidence,
)
from mailnode.learning.reasons import Reason, say

MOST_REASONS = 10
_MOST = log(SUREST / (1 - SUREST))


@frozen
class Band:
    """Between these nothing is said.

    Attributes:
        wanted_below, unwanted_from: probabilities.
    """

    wanted_below: float = 0.2
    unwanted_from: float = 0.9

    def verdict(self, probability: float) -> str:
        if probability >= self.unwanted_from:
            return UNWANTED
        return WANTED if probability < self.wanted_below else UNSURE


BAND = Band()


@frozen
class Judgement:
    """Of one mail for one account.

    Attributes:
        probability: that it is unwanted.
        verdict: "wanted", "unsure" or "unwanted".
    """

    probability: float
    verdict: str
    _reasons: Callable[[], tuple[Reason, ...]] = field(eq=False, repr=False)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The weightiest first, at most `MOST_REASONS`; made when they are asked for, for they take
        as long as the judgement, and most mails are judged without a word."""
        return self._reasons()


def who_judge(node: Model | None, account: Model | None) -> tuple[Model | None, Model | None]:
    """Which of a node's and an account's model have a say; nobody judges where it is neither.

    An account that has taught a little corrects its node; alone it must know both kinds itself.
    """
    if node is not None and not node.knows_both:
        node = None
    heard = account is not None and (
        account.knows_both or (node is not None and any(account.mails))
    )
    return node, account if heard else None


def judge(
    likeness: Likeness, node: Model | None, account: Model | None = None, band: Band = BAND
) -> Judgement:
    """A fifth of a millisecond; a likeness is made once for all accounts that get the mail.

    Where neither model knows both kinds of mail the verdict is "unsure", and the reason says so.
    """
    models = [model for model in (node, account) if model is not None]
    if not any(model.knows_both for model in models):
        return _untaught(models)
    numbers = likeness.numbers
    known, found = evidence(numbers, node, account)
    score = sum(model.weights.score(slots) for model, slots in known)
    strong = strongest(found)
    fisher = FISHER_SHARE * combine([found[at] for at in strong])
    probability = as_probability(score + fisher)
    why = partial(_reasons, likeness, node, account, known, found, strong)
    return Judgement(probability, band.verdict(probability), why)


def _reasons(
    likeness: Likeness,
    node: Model | None,
    account: Model | None,
    known: list[tuple[Model, list[int]]],
    found: list[float],
    strong: list[int],
) -> tuple[Reason, ...]:
    names = (*likeness.names, *likeness.facts)
    return tuple(
        _reason(names[at], likeness.numbers[at], weight, node, account)
        for at, weight in _weightiest(known, found, strong)
    )


def _weightiest(
    known: list[tuple[Model, list[int]]], found: list[float], strong: list[int]
) -> list[tuple[int, float]]:
    """Where the names are that decided most, and by how much.

    A name's weights are its own; Fisher's test gives at most so much to all of its names, which
    they share by their log-odds.
    """
    weights = [0.0] * len(found)
    shared = 1 / sqrt(max(1, len(found)))
    for model, slots in known:
        own = map(model.weights.weights.__getitem__, slots)
        weights = [weight + each * shared for weight, each in zip(weights, own, strict=True)]
    odds = [log(found[at] / (1 - found[at])) for at in strong]
    scale = FISHER_SHARE * _MOST / (sum(map(abs, odds)) or 1.0)
    for at, each in zip(strong, odds, strict=True):
        weights[at] += each * scale
    sizes = list(map(abs, weights))
    places = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)[:MOST_REASONS]
    return [(at, weights[at]) for at in places if weights[at]]


def _reason(
    name: str, number: int, weight: float, node: Model | None, account: Model | None
) -> Reason:
    """With the counts of who knows the name: the account, or else the node."""
    for model in (account, node):
        if model is not None and model.knows_both:
            (slot,) = model.slots([number])
            wanted, unwanted = model.counts.wanted[slot], model.counts.unwanted[slot]
            if wanted or unwanted:
                return say(name, weight, (wanted, unwanted), model.mails, model is account)
    return say(name, weight)


def _untaught(models: list[Model]) -> Judgement:
    wanted, unwanted = (sum(each) for each in zip((0, 0), *(m.mails for m in models), strict=True))
    words = (
        f"it has learned from {wanted:,} wanted and {unwanted:,} unwanted mails so far;"
        f" from {LEAST_OF_EACH} of each on it judges"
    )
    return Judgement(0.5, UNSURE, lambda: (Reason(words, 0.0),))
