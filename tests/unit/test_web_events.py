"""An event stream says which folders changed, to who still reads and still may."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.web.changes import Changes
from mailnode.web.events import ALIVE_S, GATHER_S, LONGEST_S, STREAMS_OF_AN_ACCOUNT, Events
from mailnode.web.refusals import TooManyStreams


class Reader:
    """A request that is answered."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.producer: Any = None
        self.channel: Any = self

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def changes(self) -> list[bytes]:
        return [each for each in self.written if each.startswith(b"event")]


class Of:
    """A visit of an account."""

    def __init__(self, account_id: int) -> None:
        self.guest = self.account = self
        self.id = account_id


class Streams(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.changes = Clock(), Changes()
        self.events = Events(self.changes, self.clock)

    def open(self, account_id: int = 1) -> tuple[Reader, Deferred[None]]:
        visit: Any = Of(account_id)
        answer = self.successResultOf(Deferred.fromCoroutine(self.events.answer(visit)))
        reader = Reader()
        assert answer.produce is not None
        return reader, Deferred.fromCoroutine(answer.produce(reader))  # type: ignore[arg-type]

    def test_changes_of_ones_own_folders_come_gathered(self) -> None:
        reader, _running = self.open()
        for folder_id in (7, 5, 7):
            self.changes.tell(1, folder_id)
        self.changes.tell(2, 9)
        self.assertEqual([], reader.changes())
        self.clock.advance(GATHER_S)
        self.assertEqual([b'event: change\ndata: {"folders": [5, 7]}\n\n'], reader.changes())
        self.clock.advance(GATHER_S)
        self.assertEqual(1, len(reader.changes()))

    def test_who_does_not_read_is_told_all_of_it_once_when_he_does(self) -> None:
        reader, _running = self.open()
        reader.producer.pauseProducing()
        for folder_id in range(1000):
            self.changes.tell(1, folder_id % 3)
        self.clock.advance(ALIVE_S * 3)
        self.assertEqual([b":\n\n"], reader.written)
        reader.producer.resumeProducing()
        self.assertEqual([b'event: change\ndata: {"folders": [0, 1, 2]}\n\n'], reader.changes())

    def test_a_client_that_is_gone_leaves_nothing_behind(self) -> None:
        reader, running = self.open()
        self.changes.tell(1, 5)
        reader.channel = None  # as Twisted leaves a request whose connection is lost
        reader.unregisterProducer = None  # type: ignore[method-assign, assignment]
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual((0, 0), (len(self.events), len(self.changes)))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_silent_stream_is_kept_alive_and_ends_after_an_hour(self) -> None:
        reader, running = self.open()
        self.clock.pump([ALIVE_S] * 4)
        self.assertEqual([b":\n\n"] * 5, reader.written)
        self.clock.advance(LONGEST_S)
        self.successResultOf(running)

    def test_all_of_an_account_end_when_a_sign_in_of_it_did_and_no_others(self) -> None:
        opened = [self.open(number)[1] for number in (1, 1, 2)]
        self.events.end_of({1, 3})
        for running in opened[:2]:
            self.successResultOf(running)
        self.assertNoResult(opened[2])
        self.assertEqual((1, 1), (len(self.events), len(self.changes)))

    def test_all_end_when_nobody_knows_whose_sign_in_did_for_who_may_asks_again(self) -> None:
        opened = [self.open(number)[1] for number in (1, 1, 2)]
        self.events.end_of(None)
        for running in opened:
            self.successResultOf(running)
        self.assertEqual((0, 0), (len(self.events), len(self.changes)))

    def test_an_account_has_so_many_and_no_more(self) -> None:
        for _ in range(STREAMS_OF_AN_ACCOUNT):
            self.open()
        visit: Any = Of(1)
        self.failureResultOf(Deferred.fromCoroutine(self.events.answer(visit)), TooManyStreams)
        self.open(2)
