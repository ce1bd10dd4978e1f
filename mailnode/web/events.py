"""Server-sent events (WHATWG HTML section 9.2): a page hears that something changed, and looks.

An event says which folders changed, not what is in them: the truth is read from the store. So
events that nobody has read yet are one event, and a client that doesn't read costs a set of ids.
Administrators hear of captured mail, too: a mark, which is another one when that changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from mailnode.web.captured_watch import CapturedWatch
from mailnode.web.changes import Changes
from mailnode.web.refusals import TooManyStreams
from mailnode.web.routes import Answer, Route

if TYPE_CHECKING:
    from mailnode.web.visit import Visit

GATHER_S = 0.25  # many mails come in a burst, and one look is enough
ALIVE_S = 25.0  # proxies close what is silent for 30 s or more
LONGEST_S = 3600.0  # who still may be served begins another one
STREAMS_OF_AN_ACCOUNT = 50
EVENT_STREAM = "text/event-stream"


@define(eq=False)
class Events:
    """The event stream of the account that asks.

    Attributes:
        clock: the reactor's.
        captured: what the gear keeps from leaving.
        is_admin: whether an account looks after the node now.
    """

    changes: Changes
    clock: IReactorTime
    captured: CapturedWatch
    is_admin: Callable[[int], bool]
    _streams: dict[int, list[Stream]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    def end_of(self, account_ids: Collection[int] | None) -> None:
        """A session or token of these was ended, or anybody's: who may be served asks again."""
        for account_id in list(self._streams) if account_ids is None else account_ids:
            for stream in list(self._streams.get(account_id, ())):
                stream.end()

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/events",
                ("GET",),
                self.answer,
                "Server-sent events: ``change`` with the ``folders`` of yours that changed;"
                " for administrators ``captured``, a mark that is another one when that changed",
                scope="read",
            ),
        )

    async def answer(self, visit: Visit) -> Answer:
        guest, account_id = visit.guest, visit.guest.account.id
        if len(self._streams.get(account_id, ())) >= STREAMS_OF_AN_ACCOUNT:
            raise TooManyStreams()

        async def produce(request: Any) -> None:
            stream = Stream(request, account_id, self.changes, self.clock)
            if guest.is_admin:
                stream.follow(self.captured, partial(self.is_admin, account_id))
            streams = self._streams.setdefault(account_id, [])
            streams.append(stream)
            try:
                await stream.run()
            finally:
                streams.remove(stream)
                if not streams:
                    self._streams.pop(account_id, None)

        headers = (("X-Accel-Buffering", "no"),)
        return Answer(b"retry: 2000\n\n", kind=EVENT_STREAM, headers=headers, produce=produce)


@implementer(IPushProducer)
@define(eq=False)
class Stream:
    """One of them, as long as its client reads."""

    _request: Any
    _account_id: int
    _changes: Changes
    _clock: IReactorTime
    _changed: set[int] = field(factory=set, init=False)
    _mark: str = field(default="", init=False)
    _captured: CapturedWatch | None = field(default=None, init=False)
    _may: Callable[[], bool] = field(default=lambda: False, init=False)
    _paused: bool = field(default=False, init=False)
    _gathering: Any = field(default=None, init=False)
    _alive: Any = field(default=None, init=False)
    _ended: Deferred[None] = field(factory=Deferred, init=False)

    def follow(self, captured: CapturedWatch, may: Callable[[], bool]) -> None:
        """Captured mail is told, too, as long as that may be; what `run` does comes after."""
        self._captured, self._may = captured, may

    async def run(self) -> None:
        """Until it is ended, or cancelled because the client is gone."""
        self._request.registerProducer(self, True)
        stops = [self._changes.listen(self._account_id, self._hear)]
        if self._captured is not None:
            stops.append(self._captured.listen(self._hear_captured))
        longest = self._clock.callLater(LONGEST_S, self.end)
        self._keep_alive()
        try:
            await self._ended
        finally:
            for stop in stops:
                stop()
            for call in (self._gathering, self._alive, longest):
                if call is not None and call.active():
                    call.cancel()
            if self._request.channel is not None:  # else the client is gone
                self._request.unregisterProducer()

    def end(self) -> None:
        if not self._ended.called:
            self._ended.callback(None)

    def _hear(self, folder_id: int) -> None:
        self._changed.add(folder_id)
        self._gather()

    def _hear_captured(self, mark: str) -> None:
        if not self._may():
            self.end()  # what he may hear now is another stream's
            return
        self._mark = mark
        self._gather()

    def _gather(self) -> None:
        if self._gathering is None and not self._paused:
            self._gathering = self._clock.callLater(GATHER_S, self._send)

    def _send(self) -> None:
        self._gathering = None
        if self._changed and not self._paused:
            told = json.dumps({"folders": sorted(self._changed)})
            self._changed.clear()
            self._request.write(f"event: change\ndata: {told}\n\n".encode())
        if self._mark and not self._paused:
            mark, self._mark = self._mark, ""
            self._request.write(f"event: captured\ndata: {mark}\n\n".encode())

    def _keep_alive(self) -> None:
        self._alive = self._clock.callLater(ALIVE_S, self._keep_alive)
        if not self._paused:
            self._request.write(b":\n\n")

    # The client reads, or doesn't

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._send()

    def stopProducing(self) -> None:
        self._paused = True
