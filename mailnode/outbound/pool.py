"""Connections to next hops: so many to each, kept for a moment, and a rest for those that fail."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from mailnode.background import background
from mailnode.outbound.sender import Session
from mailnode.outbound.words import Answer, CannotSend, Hop, Login, TlsPolicy

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

IDLE_S = 5.0
MOST_AT_REST = 10_000
MOST_IDLE = 100  # each is a descriptor, and clients need them, too


class Connects(Protocol):
    """What `sender.Sender` is to the pool."""

    async def connect(self, hop: Hop, policy: TlsPolicy, login: Login | None = None) -> Session: ...


@frozen
class Way:
    """One next hop, how its TLS is judged, and who signs in.

    Attributes:
        domain: whose host it is by the DNS, "" by a route; others may share its sessions.
    """

    hop: Hop
    policy: TlsPolicy
    login: Login | None = None
    domain: str = field(default="", eq=False)

    @property
    def place(self) -> tuple[str, int]:
        return self.hop.address, self.hop.port


Observe = Callable[[Way, "Session | Answer"], None]


def _nobody(way: Way, outcome: Session | Answer) -> None:
    """Nobody counts."""


@define(eq=False)
class Pool:
    """The sessions with other hosts.

    Attributes:
        clock: the reactor.
        now: UTC epoch seconds, as the queue counts them.
        most: sessions with one hop at a time.
        rest_s: how long one that failed isn't asked; shorter than any wait for the next attempt,
            or that would be none.
        observe: told of each connection: the session, or why there is none.
        connections: made since the start.
    """

    sender: Connects
    clock: IReactorTime
    now: Callable[[], float]
    most: int = 20
    rest_s: float = 45.0
    observe: Observe = _nobody
    connections: int = field(default=0, init=False)
    _open: Counter[tuple[str, int]] = field(factory=Counter, init=False)
    _fewer: dict[tuple[str, int], int] = field(factory=dict, init=False)  # as many as it takes
    _idle: dict[Way, list[tuple[Session, Any]]] = field(factory=dict, init=False)
    _idle_sessions: int = field(default=0, init=False)
    _waiting: dict[tuple[str, int], deque[Deferred[None]]] = field(factory=dict, init=False)
    _at_rest: dict[Way, tuple[float, Answer]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return sum(self._open.values())

    async def take(self, ways: Sequence[Way], *, observed: bool = True) -> tuple[Way, Session]:
        """A session with the first of these that answers.

        One that failed a moment ago is not asked again.

        Args:
            observed: whether a connection that is made for it is told of.

        Raises:
            CannotSend: none of them; the answer is the last one's that may be another later, for
                good only when all of them are.
        """
        refusals: list[CannotSend] = []
        for way in ways:
            try:
                self._refuse_at_rest(way)
                return way, await self._session(way, self.observe if observed else _nobody)
            except CannotSend as error:
                refusals.append(error)
        assert refusals, "a recipient without a way"
        raise max(reversed(refusals), key=lambda each: each.answer.temporary)

    def _is_at_rest(self, way: Way) -> bool:
        rested = self._at_rest.get(way)
        return rested is not None and self.now() < rested[0]

    def _refuse_at_rest(self, way: Way) -> None:
        if self._is_at_rest(way):
            raise CannotSend(self._at_rest[way][1])

    async def _session(self, way: Way, observe: Observe) -> Session:
        place, again = way.place, True
        while True:
            while (session := self._take_idle(way, -1)) is not None:
                if session.usable:
                    return session
                self._left(way)
            if self._open[place] < min(self.most, self._fewer.get(place, self.most)):
                made = await self._connect(way, again, observe)
                if made is not None:
                    return made
                again = False
            elif not self._end_an_idle_one(place):
                free: Deferred[None] = Deferred()
                self._waiting.setdefault(place, deque()).append(free)
                await free
                if self._is_at_rest(way):  # who waits behind us has the place
                    self._call_next(place)
                    self._refuse_at_rest(way)

    async def _connect(self, way: Way, again: bool, observe: Observe) -> Session | None:
        """A new one; None when the hop has as many as it takes: one of those is to be waited for.

        Args:
            again: whether a temporary refusal is taken for that; otherwise it is a failure.
        """
        place = way.place
        self._open[place] += 1
        try:
            session = await self.sender.connect(way.hop, way.policy, way.login)
        except CannotSend as error:
            others = self._open[place] - 1
            if again and others and error.answer.temporary:
                self._fewer[place] = others
                self._left(way)
                return None
            self._let_rest(way, error.answer)
            self._left(way)
            observe(way, error.answer)
            raise
        except BaseException:
            self._left(way)
            raise
        self.connections += 1
        observe(way, session)
        return session

    def give_back(self, way: Way, session: Session) -> None:
        """Its mails are sent; somebody else may have it for the next few seconds."""
        if not session.usable or self._idle_sessions >= MOST_IDLE:
            self._quit(way, session)
            return
        self._idle_sessions += 1
        end = self.clock.callLater(IDLE_S, self._end, way, session)
        self._idle.setdefault(way, []).append((session, end))
        self._call_next(way.place)

    def _end(self, way: Way, session: Session) -> None:
        at = next(at for at, each in enumerate(self._idle[way]) if each[0] is session)
        self._take_idle(way, at)
        self._quit(way, session)

    def _take_idle(self, way: Way, at: int) -> Session | None:
        """The one of this way's at that place in the order of their coming; None without any."""
        idle = self._idle.get(way)
        if not idle:
            return None
        session, end = idle.pop(at)
        if end.active():
            end.cancel()
        if not idle:
            del self._idle[way]
        self._idle_sessions -= 1
        return session

    def _end_an_idle_one(self, place: tuple[str, int]) -> bool:
        """Make room by a session that stands idle for another way to the same place."""
        for way in self._idle:
            if way.place == place:
                session = self._take_idle(way, 0)
                assert session is not None
                self._quit(way, session)
                return True
        return False

    def _quit(self, way: Way, session: Session) -> None:
        if session.usable:
            background(Deferred.fromCoroutine(session.quit()), "saying QUIT")
        else:
            session.abort()
        self._left(way)

    def _left(self, way: Way) -> None:
        place = way.place
        self._open[place] -= 1
        if not self._open[place]:
            del self._open[place]
            self._fewer.pop(place, None)
        self._call_next(place)

    def _call_next(self, place: tuple[str, int]) -> None:
        waiting = self._waiting.get(place)
        if waiting:
            next_one = waiting.popleft()
            if not waiting:
                del self._waiting[place]
            next_one.callback(None)

    def wake(self) -> None:
        """Those at rest may be asked again."""
        self._at_rest.clear()

    def _let_rest(self, way: Way, answer: Answer) -> None:
        now = self.now()
        if len(self._at_rest) >= MOST_AT_REST:
            self._at_rest = {each: rest for each, rest in self._at_rest.items() if rest[0] > now}
        if len(self._at_rest) < MOST_AT_REST:
            self._at_rest[way] = now + self.rest_s, answer

    def stop(self) -> None:
        """Say goodbye where nothing is under way, and let nobody else wait."""
        for way in list(self._idle):
            while (session := self._take_idle(way, 0)) is not None:
                self._quit(way, session)
        for waiting in list(self._waiting.values()):
            for each in list(waiting):
                each.cancel()
        self._waiting.clear()
