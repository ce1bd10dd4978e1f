"""Weights of names, learned mail by mail: logistic regression, in hashed slots.

Fisher's test takes names for independent of each other, which they are not: ten words of one
newsletter's footer speak ten times. These weights are learned from what the judgement still gets
wrong, so names that come together share what is to be said. Steps shrink for each name by what it
has been stepped already (Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011): a word
that has been seen often moves little, a new one at once.

A mail's names share its weight: a long mail is no louder than a short one.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from itertools import repeat
from math import exp, sqrt

from attrs import define

from mailnode.learning.fisher import halve

STEP = 0.3
CORRECTING_STEP = 0.6  # of an account's lessons: they are few, and were wrong in its inbox
BIAS_STEP = 0.02
MOST_STEPS = 20
SURE_ENOUGH = 0.05  # what may be lacking: a mail that is judged so is not learned from
_ROUNDING = 1e-6  # of a sum: less of it is what rounding leaves

_SINGLE = struct.Struct("<f")


@define(eq=False)
class Weights:
    """By slots, and of every mail.

    Attributes:
        squares: the sum of the squares of what each weight was stepped by, before it was scaled.
    """

    weights: array[float]
    squares: array[float]
    bias: float = 0.0

    @classmethod
    def empty(cls, slots: int) -> Weights:
        return cls(array("f", bytes(4 * slots)), array("f", bytes(4 * slots)))

    def score(self, slots: Sequence[int]) -> float:
        """Log-odds that a mail of these slots is unwanted, as far as these weights go."""
        if not slots:
            return self.bias
        return self.bias + sum(map(self.weights.__getitem__, slots)) / sqrt(len(slots))

    def learn(
        self,
        slots: Sequence[int],
        unwanted: bool,
        judged: Callable[[float], float],
        known: Sequence[float] = (),
    ) -> tuple[float, ...]:
        """Step towards what the mail is until it is judged so, or `MOST_STEPS` are taken.

        Args:
            judged: the probability that all of the judgement gives for a score.
            known: the squares of the same names in a node's weights, where these here correct it.
        Returns:
            How wrong the judgement was at each step: what `unlearn` wants.
        """
        errors: list[float] = []
        while slots and len(errors) < MOST_STEPS:
            error = (1.0 if unwanted else 0.0) - judged(self.score(slots))
            if abs(error) <= SURE_ENOUGH:
                break
            error = _SINGLE.unpack(_SINGLE.pack(error))[0]  # as a file will have it
            self._step(slots, error, known)
            errors.append(error)
        return tuple(errors)

    def _step(self, slots: Sequence[int], error: float, known: Sequence[float]) -> None:
        square, scaled = _sizes(slots, error, known)
        weights, squares = self.weights, self.squares
        for slot, before in zip(slots, known or repeat(0.0), strict=False):
            total = squares[slot] + square
            squares[slot] = total
            weights[slot] += scaled / sqrt(total + before)
        self.bias += BIAS_STEP * error

    def unlearn(
        self, slots: Sequence[int], errors: Sequence[float], known: Sequence[float] = ()
    ) -> None:
        """Take the steps back.

        What was learned last and is taken back first leaves the weights as they were, but for
        rounding; in another order nearly, for steps are scaled by those before them.
        """
        weights, squares = self.weights, self.squares
        for error in reversed(errors):
            square, scaled = _sizes(slots, error, known)
            for slot, before in zip(slots, known or repeat(0.0), strict=False):
                total = max(squares[slot], square)
                weights[slot] -= scaled / sqrt(total + before)
                squares[slot] = left = total - square
                if left < _ROUNDING * total:  # nothing but this had moved it
                    squares[slot] = weights[slot] = 0.0
            self.bias -= BIAS_STEP * error

    def halve(self) -> None:
        """Steps become larger again, as if half as many had been taken."""
        halve(self.squares, lambda some: [square / 2 for square in some])


def _sizes(slots: Sequence[int], error: float, known: Sequence[float]) -> tuple[float, float]:
    """The square that a step adds, and what is stepped before it is scaled."""
    each = error / sqrt(len(slots))
    return each * each, each * (CORRECTING_STEP if known else STEP)


def as_probability(log_odds: float) -> float:
    return 1 / (1 + exp(-min(max(log_odds, -30.0), 30.0)))
