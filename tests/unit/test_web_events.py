"""An event stream says which folders changed, to who still reads and still may."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBusy
from mailnode.store.captured import Level
from mailnode.web.captured_watch import LOOK_S, CapturedWatch
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

    def __init__(self, account_id: int, is_admin: bool) -> None:
        self.guest = self.account = self
        self.id, self.is_admin = account_id, is_admin


class Store:
    """What is captured, in two numbers, and how often it was asked."""

    def __init__(self) -> None:
        self.now, self.asked, self.fault = Level(0, 0), 0, False

    async def level(self) -> Level:
        self.asked += 1
        if self.fault:
            raise StoreBusy()
        return self.now


class Streams(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.changes = Clock(), Changes()
        self.store: Any = Store()
        self.watch = CapturedWatch(self.store, self.clock)
        self.admins = {1}
        self.events = Events(self.changes, self.clock, self.watch, self.admins.__contains__)

    def open(self, account_id: int = 1, admin: bool = False) -> tuple[Reader, Deferred[None]]:
        visit: Any = Of(account_id, admin)
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
        visit: Any = Of(1, False)
        self.failureResultOf(Deferred.fromCoroutine(self.events.answer(visit)), TooManyStreams)
        self.open(2)

    # Captured mail

    def test_administrators_hear_of_captured_mail_and_nobody_else_does(self) -> None:
        told, _running = self.open(admin=True)
        others, _running = self.open(2)
        self.clock.pump([0, GATHER_S])
        self.assertEqual([b"event: captured\ndata: 0-0\n\n"], told.changes())
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(1, len(told.changes()))
        self.store.now = Level(7, 3)
        self.clock.pump([LOOK_S, GATHER_S])
        self.assertEqual(b"event: captured\ndata: 7-3\n\n", told.changes()[-1])
        self.assertEqual([], others.changes())

    def test_who_is_no_administrator_any_more_hears_no_more_of_it(self) -> None:
        told, running = self.open(admin=True)
        self.clock.pump([0, GATHER_S])
        self.admins.clear()
        self.store.now = Level(7, 3)
        self.clock.pump([LOOK_S, GATHER_S])
        self.assertEqual([b"event: captured\ndata: 0-0\n\n"], told.changes())
        self.successResultOf(running)

    def test_a_second_listener_is_told_what_is_known_and_both_hear_of_the_next(self) -> None:
        first, _running = self.open(admin=True)
        self.clock.pump([0, GATHER_S])
        second, _running = self.open(1, admin=True)
        self.clock.advance(GATHER_S)
        self.assertEqual([b"event: captured\ndata: 0-0\n\n"], second.changes())
        self.store.now = Level(1, 1)
        self.clock.pump([LOOK_S, GATHER_S])
        self.assertEqual([2, 2], [len(each.changes()) for each in (first, second)])

    def test_nobody_looks_while_nobody_listens(self) -> None:
        self.open(2)
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(0, self.store.asked)
        _told, running = self.open(admin=True)
        self.clock.pump([0, LOOK_S])
        self.assertEqual(2, self.store.asked)
        self.events.end_of({1})
        self.successResultOf(running)
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(2, self.store.asked)

    def test_a_store_that_is_busy_is_asked_again(self) -> None:
        self.store.fault = True
        told, _running = self.open(admin=True)
        self.clock.pump([0, LOOK_S])
        self.store.fault = False
        self.clock.pump([LOOK_S, GATHER_S])
        self.assertEqual([b"event: captured\ndata: 0-0\n\n"], told.changes())

    def test_who_does_not_read_is_told_the_last_mark_alone(self) -> None:
        told, _running = self.open(admin=True)
        told.producer.pauseProducing()
        for number in range(5):
            self.store.now = Level(number, number)
            self.clock.advance(LOOK_S)
        self.assertEqual([], told.changes())
        told.producer.resumeProducing()
        self.assertEqual([b"event: captured\ndata: 4-4\n\n"], told.changes())
