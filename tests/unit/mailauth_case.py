"""A check of mail run to its end over a DNS in a dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mailnode.mailauth.answers import FAILED, NO_SUCH_NAME, Answer, Answers, Lacking, Question

T = TypeVar("T")

MOST_ROUNDS = 60


class Zone(dict[Question, Sequence[Any] | None]):
    """(name, kind) to values; None where nobody can say.

    `asked` notes the questions of each round.
    """

    def __init__(self, told: Mapping[Question, Sequence[Any] | None]) -> None:
        super().__init__(told)
        self.asked: list[tuple[Question, ...]] = []

    def answer(self, question: Question) -> Answer:
        if question not in self:
            there = any(f".{name}".endswith(f".{question[0]}") for name, _ in self)
            return Answer() if there else NO_SUCH_NAME
        values = self[question]
        return FAILED if values is None else Answer(tuple(values))


def settle(check: Callable[[Answers], T], zone: Any) -> T:
    """What the check comes to, once it lacks no answer.

    Args:
        zone: whose `answer` answers a question.
    """
    answers = Answers()
    for _ in range(MOST_ROUNDS):
        try:
            return check(answers)
        except Lacking as lacking:
            if hasattr(zone, "asked"):
                zone.asked.append(lacking.questions)
            answers.add({each: zone.answer(each) for each in lacking.questions})
    raise AssertionError("it asks without end")
