"""Filters against programs that are played by the test: a wire in memory, and a clock."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import FilterFailed, MailError
from mailnode.filters.limits import Outside
from mailnode.model import Blob, Client, Envelope, Message, Recipient, Verdict

CLIENT = Client("192.0.2.7", 4711, "mx.elsewhere.example", "ESMTP")
ENVELOPE = Envelope(
    "01JUDGED",
    parse_address("dave@elsewhere.example"),
    tuple(
        Recipient(parse_address(f"{name}@example.test"), 1, f"{name}@example.test")
        for name in ("alice", "bob")
    ),
    CLIENT,
)
RECEIVED = b"Received: from mx.elsewhere.example ([192.0.2.7])\r\n\tby here; today\r\n"
MAIL = b"From: dave@elsewhere.example\r\nSubject: Hello\r\n\r\nHello, Alice.\r\n"


def message_of(raw: bytes = MAIL, prefix: bytes = RECEIVED) -> Message:
    return Message(prefix, raw, len(raw), hashlib.sha256(raw).digest())


class BlobReader:
    """Reads octets in pieces, and notes what was asked for; `held` keeps an answer back."""

    def __init__(self, octets: bytes) -> None:
        self.octets, self.read_octets = octets, 0
        self.opened, self.closed = 0, False
        self.held: Deferred[bytes] | None = None

    def open(self) -> BlobReader:
        self.opened += 1
        return self

    def read(self, count: int) -> Deferred[bytes]:
        if self.held is not None:
            return self.held
        piece = self.octets[self.read_octets : self.read_octets + count]
        self.read_octets += len(piece)
        return succeed(piece)

    def close(self) -> None:
        self.closed = True


def blob_message(reader: BlobReader, prefix: bytes = RECEIVED) -> Message:
    return Message(prefix, Blob("key", reader.open), len(reader.octets), b"")


class Wire(StringTransport):
    """Our end of a connection; the test is the program at the other."""

    protocol: Any

    def __init__(self, clock: Clock, heard: Callable[[Wire, bytes], None] | None) -> None:
        super().__init__()
        self._clock, self._heard = clock, heard
        self.is_lost = self.is_aborted = False

    def write(self, data: bytes) -> None:
        if not self.is_lost:
            super().write(data)
            if self._heard is not None:
                self._heard(self, data)

    def say(self, data: bytes) -> None:
        if not (self.is_lost or self.is_aborted):
            self.protocol.dataReceived(data)

    def say_for_ever(self, piece: bytes, most_octets: int = 16 << 20) -> int:
        """Until nobody reads any more, or `most_octets`; how many they were."""
        said = 0
        while said < most_octets and self._is_read():
            self.say(piece)
            said += len(piece)
        return said

    def _is_read(self) -> bool:
        return not (self.is_lost or self.is_aborted) and self.producerState == "producing"

    def lose(self, reason: Exception | None = None) -> None:
        if not self.is_lost:
            self.is_lost = True
            if self.producer is not None:
                self.producer.stopProducing()
            self.protocol.connectionLost(Failure(reason or ConnectionLost()))

    def loseConnection(self) -> None:
        self.lose(ConnectionDone())

    def abortConnection(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            self._clock.callLater(0, self.lose)


class FakeEndpoint:
    """Gives wires.

    Attributes:
        heard: what is done with octets that are written.
        refuses: nobody listens.
        waits: connecting takes for ever.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock, self.wires = clock, list[Wire]()
        self.heard: Callable[[Wire, bytes], None] | None = None
        self.refuses = self.waits = False

    @property
    def wire(self) -> Wire:
        (wire,) = self.wires
        return wire

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refuses:
            return fail(ConnectionRefusedError("nobody is there"))
        if self.waits:
            return Deferred()
        wire = Wire(self.clock, self.heard)
        wire.protocol = factory.buildProtocol(None)
        self.wires.append(wire)
        wire.protocol.makeConnection(wire)
        return succeed(wire.protocol)


def split(data: bytes, size: int = 1) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class FilterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(self.clock)

    def tearDown(self) -> None:
        self.clock.advance(0)
        self.assertEqual([], self.clock.getDelayedCalls(), "a timer was left")
        for wire in self.endpoint.wires:
            self.assertTrue(wire.is_lost, "a connection was left")

    def make(self, kind: Callable[..., Any], **settings: Any) -> Any:
        return kind(endpoint=self.endpoint, clock=self.clock, **settings)

    def judge(
        self, outside: Outside, message: Message | None = None, envelope: Envelope = ENVELOPE
    ) -> Deferred[Verdict]:
        judging: Awaitable[Verdict] = outside.judge(envelope, message or message_of())
        return Deferred.fromCoroutine(judging)  # type: ignore[arg-type]

    def refusal(self, judging: Deferred[Verdict]) -> MailError:
        error = self.failureResultOf(judging).value
        assert isinstance(error, MailError)
        return error

    def check_unjudged(self, judging: Deferred[Verdict], why: str) -> None:
        """It was passed, as the setting says, and the reasons say why."""
        verdict = self.successResultOf(judging)
        self.assertEqual(
            ("accept", False, b""), (verdict.action, verdict.unwanted, verdict.headers)
        )
        (told,) = verdict.reasons
        self.assertIn("did not judge it: ", told)
        self.assertIn(why, told)

    def check_deferred(self, judging: Deferred[Verdict], why: str) -> None:
        error = self.refusal(judging)
        self.assertIsInstance(error, FilterFailed)
        self.assertEqual((451, "4.7.1"), (error.smtp_code, error.enhanced))
        self.assertIn(why, error.detail)
