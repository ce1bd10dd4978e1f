"""A POP3 session in memory, for the tests of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailnode.admission import Sessions
from mailnode.cred.credentials import LoginCredentials, PlainCredentials
from mailnode.pop3.factory import Pop3Factory
from mailnode.pop3.server import Pop3Server
from tests.fakes_pop3 import BufferedWire, FakePortal, House, wire


class Pop3Case(SynchronousTestCase):  # type: ignore[misc]
    """`self.session(mailbox)` is one client's; `self.say` gives what the server replies."""

    def session(
        self,
        make: Callable[[], Any],
        *,
        peer: str = "127.0.0.1",
        protocol: type[Pop3Server] = Pop3Server,
        signed_in: bool = True,
        over: type[BufferedWire] = BufferedWire,
    ) -> BufferedWire:
        self.clock = Clock()
        self.clock.advance(1000)
        self.sessions = Sessions(self.clock)
        self.portal = FakePortal(make)
        self.factory = Pop3Factory(
            self.portal,
            hostname="example.test",
            challengers={b"PLAIN": PlainCredentials, b"LOGIN": LoginCredentials},
            sessions=self.sessions,
            clock=self.clock,
        )
        self.factory.protocol = protocol
        self.server = self.factory.buildProtocol(None)
        self.wire = wire(peer, over)
        self.server.makeConnection(self.wire)
        self.greeting = self.take()
        if signed_in:
            self.assertRegex(self.say(b"USER alice", b"PASS secret"), rb"^\+OK.*\r\n\+OK \d")
            self.wire.read()
            self.wire.writes.clear()
            self.wire.most = 0
        return self.wire

    def house(self, *bodies: Any) -> House:
        """A session over our own maildrop."""
        house = House(list(bodies))
        self.session(house.open)
        return house

    def say(self, *lines: bytes) -> bytes:
        """Send these lines in one packet; what has been written since."""
        self.send(*lines)
        return self.take()

    def send(self, *lines: bytes) -> None:
        self.server.dataReceived(b"".join(line + b"\r\n" for line in lines))

    def take(self) -> bytes:
        said = self.wire.value()
        self.wire.clear()
        return bytes(said)

    def read_all(self) -> bytes:
        """The client reads until nothing more comes."""
        said = b""
        while more := self.take():
            said += more
            self.wire.read()
        return said

    def lose(self) -> None:
        self.server.connectionLost(Failure(ConnectionLost()))

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.sessions.sweep()
