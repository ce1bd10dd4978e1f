"""The DNS, for checks that know none: what they lack is asked, and they are run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from mailnode.errors import MailError, NoSuchName
from mailnode.interfaces import IResolver
from mailnode.mailauth.answers import (
    FAILED,
    NO_SUCH_NAME,
    Answer,
    Answers,
    Lacking,
    Question,
)

T = TypeVar("T")

MOST_ROUNDS = 100  # of one check: each is bounded by rules of its own, SPF's after some 40

_log = Logger()


@define(eq=False)
class _Looking:
    """A question that was asked, and who waits for its answer."""

    look_up: Deferred[Any] = field(init=False)
    waiting: list[Deferred[None]] = field(factory=list, init=False)


@define(eq=False)
class Asking:
    """The DNS, for one mail.

    Args:
        clock: an IReactorTime.
        until: by that clock; what nobody has said then is `FAILED`.
    """

    _resolver: IResolver
    _clock: Any
    _until: float
    answers: Answers = field(factory=Answers, init=False)
    _under_way: dict[Question, _Looking] = field(factory=dict, init=False)
    _ending: Any = field(default=None, init=False)

    async def settle(self, check: Callable[[Answers], T]) -> T:
        """What a check comes to, once it lacks no answer."""
        for _ in range(MOST_ROUNDS):
            try:
                return check(self.answers)
            except Lacking as lacking:
                await self.ask(lacking.questions)
        raise AssertionError("a check asks without end")

    async def ask(self, questions: Sequence[Question]) -> None:
        """All of these are answered, side by side; those that can't be are `FAILED`."""
        waits = [each for each in map(self._ask_once, questions) if each is not None]
        if waits:
            await together(waits)

    def stop(self) -> None:
        """The time is over, or nobody waits any more: what is not known is `FAILED`."""
        self._until = float("-inf")
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        for looking in list(self._under_way.values()):
            looking.look_up.cancel()

    def _ask_once(self, question: Question) -> Deferred[None] | None:
        """Fires when it is answered; None where it is already, as what a resolver has kept."""
        looking = self._under_way.get(question)
        if looking is None:
            left_s = self._until - self._clock.seconds()
            if left_s <= 0:
                self.answers.add({question: FAILED})
                return None
            looking = self._under_way[question] = _Looking()
            looking.look_up = Deferred.fromCoroutine(self._look_up(question))
            looking.look_up.addErrback(_failed, question).addCallback(self._answered, question)
            if question not in self._under_way:
                return None
            if self._ending is None:
                self._ending = self._clock.callLater(left_s, self.stop)
        waiting: Deferred[None] = Deferred()
        looking.waiting.append(waiting)
        return waiting

    async def _look_up(self, question: Question) -> Answer:
        try:
            found = await self._resolver.look_up(*question)
            return Answer(tuple(found.values))
        except NoSuchName:
            return NO_SUCH_NAME
        except MailError:
            return FAILED

    def _answered(self, answer: Answer, question: Question) -> None:
        self.answers.add({question: answer})
        for each in self._under_way.pop(question).waiting:
            each.callback(None)


async def together(waits: Sequence[Deferred[Any]]) -> list[Any]:
    """The results of all, in order, once all have ended; the first failure is raised then."""
    ended = await DeferredList(waits, consumeErrors=True)
    for succeeded, result in ended:
        if not succeeded:
            result.raiseException()
    return [result for _, result in ended]


def _failed(failure: Any, question: Question) -> Answer:
    if not failure.check(CancelledError):
        _log.failure("looking up {name} {kind} broke", failure, name=question[0], kind=question[1])
    return FAILED
