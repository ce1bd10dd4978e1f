"""Bodies: who takes them, in which order, and what they may cost."""

from __future__ import annotations

import time
from typing import Any

from attrs import define, field
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail
from twisted.mail.interfaces import IMessageDeliveryFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailnode.errors import StoreFull
from mailnode.interfaces import IChunkedMessage
from mailnode.smtp.takers import LineTaker
from tests.unit.smtp_case import House, SmtpCase


@implementer(IChunkedMessage)
@define(eq=False)
class Taker:
    """An `IChunkedMessage` that does as it is told."""

    chunk: Any = None
    end: Any = None
    commits: bool = False
    mend_bare_lf: bool = True
    heard: list[str] = field(factory=list)

    def lineReceived(self, line: bytes) -> None:
        raise AssertionError("it takes chunks")

    def chunkReceived(self, chunk: bytes) -> Any:
        return self.chunk() if self.chunk else None

    def bodyEnded(self, facts: Any) -> None:
        self.heard.append("ended")

    def eomReceived(self) -> Any:
        self.heard.append("eom")
        return self.end() if self.end else None

    def connectionLost(self) -> None:
        self.heard.append("lost")


class BodyCase(SmtpCase):
    def setUp(self) -> None:
        super().setUp()
        self.house = House()
        portal = Portal(self.house.realm(IMessageDeliveryFactory), [AllowAnonymousAccess()])
        self.connect(self.factory(portal))

    def send(self, octets: bytes) -> str:
        self.session.dataReceived(octets)
        return self.said()


class Chunks(BodyCase):
    def test_a_recipient_after_the_first_chunk_is_out_of_order_and_not_promised(self) -> None:
        self.envelope("alice@example.test")
        self.assertEqual("250 2.0.0 Ok", self.send(b"BDAT 3\r\nabc"))
        self.assertEqual("503 5.5.1", self.code("RCPT TO:<bob@example.test>"))
        self.assertEqual("250 2.0.0", self.send(b"BDAT 2 LAST\r\n\r\n")[:9])
        self.assertEqual(self.house.store.copies(), [("alice@example.test", b"abc\r\n")])


class Loops(BodyCase):
    def test_s31_received_fields_are_counted_however_they_are_spelt(self) -> None:
        for spelling in ("RECEIVED: x", "received: x", "rEcEiVeD: x"):
            self.envelope("alice@example.test")
            self.assertEqual("554 5.4.6", self.body(*[spelling] * 51, "")[:9])
        self.envelope("alice@example.test")
        self.assertEqual("250 2.0.0", self.body(*["Received: x"] * 50, "X: y", "")[:9])


class SeveralTakers(BodyCase):
    def send_to(self, *takers: Taker) -> str:
        """What is said at the dot of a mail that each of these takes."""
        left = list(takers)

        def validate_to(user: Any) -> Any:
            taker = left.pop(0)
            return lambda: taker

        self.session.validateTo = validate_to
        self.envelope(*[f"taker{number}@example.test" for number in range(len(takers))])
        return self.body("x")

    def test_when_the_first_fails_each_of_the_others_is_abandoned_once(self) -> None:
        takers = [Taker(end=lambda: fail(StoreFull())), Taker(), Taker(commits=True)]
        self.assertEqual("452 4.3.1", self.send_to(*takers)[:9])
        self.assertEqual([each.heard for each in takers], [["ended", "eom"], ["lost"], ["lost"]])

    def test_they_are_asked_one_after_the_other_and_the_one_that_commits_last(self) -> None:
        waits: Deferred[None] = Deferred()
        first, last = Taker(end=lambda: waits), Taker(commits=True)
        self.assertEqual("", self.send_to(last, first))
        self.assertEqual((first.heard, last.heard), (["ended", "eom"], []))
        waits.callback(None)
        self.assertEqual(last.heard, ["ended", "eom"])
        self.assertEqual("250 2.0.0", self.said()[:9])

    def test_a_full_disk_keeps_its_code_while_another_taker_waits(self) -> None:
        waits: Deferred[None] = Deferred()
        takers = [Taker(chunk=lambda: waits), Taker(chunk=lambda: fail(StoreFull()))]
        self.assertEqual("452 4.3.1", self.send_to(*takers)[:9])
        self.assertEqual([taker.heard for taker in takers], [["lost"], ["lost"]])


class Lines(SynchronousTestCase):
    def test_a_line_in_a_thousand_pieces_is_put_together_once(self) -> None:
        lines: list[bytes] = []

        class Message:
            lineReceived = staticmethod(lines.append)

        taker, piece = LineTaker(Message(), ()), bytes(65536)
        began_s = time.process_time()
        for _ in range(1000):
            taker.take(piece)
        taker.take(b"y\r\nz")
        taker.end(None)
        self.assertLess(time.process_time() - began_s, 2.0)
        self.assertEqual([len(line) for line in lines], [65536_000 + 1, 1])
