"""What the DNS has said so far: all that a check of a mail is given of it.

A check asks nobody. It looks into a table of answers, and raises `Lacking` with the questions
whose answers it needs; whoever has a resolver asks them, adds what was said, and runs the check
again. So no check waits, and each can be tried on a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field, frozen

T = TypeVar("T")

Question = tuple[str, str]  # a name in A-labels and lower case, and "TXT" or another kind

_NAME = re.compile(r"(?:[ -\-/-~]{1,63}\.)*[ -\-/-~]{1,63}")
_MOST_OCTETS = 253


@frozen
class Answer:
    """What was said to one question.

    Attributes:
        values: as `records.Records` has them.
        exists: False where there is no such name.
        failed: nobody could say.
    """

    values: tuple[Any, ...] = ()
    exists: bool = True
    failed: bool = False


NO_SUCH_NAME = Answer(exists=False)
FAILED = Answer(failed=True)


class Lacking(Exception):
    """A check can't go on before these are answered.

    Attributes:
        questions: distinct ones; they can be asked side by side.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__(questions)
        self.questions = tuple(questions)


@define(eq=False)
class Answers:
    """The answers that are there, and what was read in them."""

    _said: dict[Question, Answer] = field(factory=dict)
    _made: dict[Hashable, Any] = field(factory=dict, init=False)

    def add(self, said: Mapping[Question, Answer]) -> None:
        self._said.update(said)

    def find(self, name: str, kind: str) -> Answer:
        """What was said.

        Raises:
            Lacking: nobody has asked yet.
        """
        return self.find_all([(name, kind)])[0]

    def find_all(self, questions: Sequence[Question]) -> list[Answer]:
        """What was said to each, in order; a name that can't be in the DNS isn't there.

        Raises:
            Lacking: with all of these that nobody has asked yet.
        """
        try:  # nearly always as they are asked for
            return [self._said[each] for each in questions]
        except KeyError:
            asked = [(_key(name), kind) for name, kind in questions]
        lacking = [each for each in asked if each[0] and each not in self._said]
        if lacking:
            raise Lacking(list(dict.fromkeys(lacking)))
        return [self._said[each] if each[0] else NO_SUCH_NAME for each in asked]

    def once(self, make: Callable[..., T], *args: Hashable) -> T:
        """What `make(*args)` gives, made once however often a check is run; it raises nothing."""
        key = (make, *args)
        if key not in self._made:
            self._made[key] = make(*args)
        made: T = self._made[key]
        return made


def _key(name: str) -> str:
    """A name as it is asked for; "" for one that can't be in the DNS."""
    name = name.removesuffix(".").lower()
    return name if len(name) <= _MOST_OCTETS and _NAME.fullmatch(name) else ""
