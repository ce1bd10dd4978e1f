"""A client in memory: hands a script to a server and keeps all that came back.

Time is a test's. What is late answers when time passes; a server that waits for longer than
anything here can take hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport, ITLSTransport
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from mailnode import outgoing
from tests.fuzz.script import Script

IDLE_S = 20.0
LATE_S = 0.2
MOST_TURNS = 800
HIGH_WATER = 65536
LINE_OCTETS, SASL_OCTETS = 1181, 12288

_DONE, _LOST = Failure(ConnectionDone()), Failure(ConnectionLost())
_OURS = IPv4Address("TCP", "192.0.2.1", 25)
_PEERS = {host: IPv4Address("TCP", host, 40000) for host in ("127.0.0.1", "198.51.100.9")}


class Wrong(AssertionError):
    """The server did what it must not."""


class Planned(Exception):
    """A bug in somebody else's part, made on purpose: the server logs it and goes on."""


class FuzzClock(Clock):  # type: ignore[misc]
    """A test's time; on a slow machine each look at it takes 3 ms."""

    look_s = 0.0

    def seconds(self) -> float:
        self.rightNow += self.look_s
        return float(self.rightNow)


class _Handle:
    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"


class FuzzWire:
    """A transport in memory.

    Attributes:
        said: all that was written.
        waiting: octets of it that the client has not read.
        handshakes: how many octets the server had been given at each STARTTLS.
        faults: what was done that no server may do.
        hears: is given what is written, as it is.
    """

    disconnecting = False

    def __init__(self, host: str, high_water: int) -> None:
        self._peer, self.high_water = _PEERS[host], high_water
        self.said = bytearray()
        self.waiting = self.given = 0
        self.handshakes: list[int] = []
        self.faults: list[str] = []
        self.reading, self.paused, self.closing, self.aborted = True, False, False, False
        self.lost = False
        self.producer: Any = None
        self._producer_paused = False
        self.hears: Callable[[bytes], object] = len

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return _OURS

    def getHandle(self) -> _Handle:
        return _Handle()

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        if self.closing:
            self.faults.append(f"{bytes(data)!r} is written behind the end")
        self.hears(data)
        self.said += data
        self.waiting += len(data)
        if self.waiting > self.high_water and self.producer and not self._producer_paused:
            self._producer_paused = True
            self.producer.pauseProducing()

    def read(self) -> None:
        """The client takes all that waits."""
        self.waiting = 0
        if self._producer_paused:
            self._producer_paused = False
            if self.producer is not None:
                self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self.closing = self.disconnecting = True

    def abortConnection(self) -> None:
        self.closing = self.disconnecting = self.aborted = True

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def startTLS(self, context: object) -> None:
        self.handshakes.append(self.given)


@implementer(ITLSTransport)
class TlsWire(FuzzWire):
    """One that can begin TLS."""


@implementer(ISSLTransport)
class InsideTlsWire(FuzzWire):
    """One inside TLS from the first octet."""


class AtOnceWire(FuzzWire):
    """One that takes octets before the next turn of the reactor, as a socket does."""

    _tempDataLen = offset = 0
    dataBuffer = b""

    @property
    def socket(self) -> AtOnceWire:
        return self

    def send(self, data: bytes) -> int:
        if self.waiting:
            raise ConnectionResetError()
        taken = data[: max(1, len(data) * 3 // 4)] if len(self.said) % 3 else data
        self.write(taken)
        return len(taken)

    def sendmsg(self, pieces: Sequence[bytes | memoryview]) -> int:
        return self.send(b"".join(pieces))

    def connectionLost(self, reason: object) -> None:
        self.closing = True


def wire_for(settings: frozenset[str]) -> FuzzWire:
    """The transport that a script's settings ask for."""
    kinds = {"i": InsideTlsWire, "y": AtOnceWire, "t": TlsWire}
    kind = next((kinds[letter] for letter in "iyt" if letter in settings), FuzzWire)
    host = "127.0.0.1" if "l" in settings else "198.51.100.9"
    return kind(host, 300 if "o" in settings else HIGH_WATER)


class Logged:
    """What was logged as a failure, but for those that were planned."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.expected: tuple[type[Exception], ...] = (Planned,)

    def __call__(self, event: dict[str, Any]) -> None:
        failure = event.get("log_failure")
        if failure is None:
            return
        if not failure.check(*self.expected):
            self.failures.append(failure.getTraceback())


logged = Logged()
globalLogPublisher.addObserver(logged)


@define(eq=False)
class Client:
    """One connection, held to the end of its script.

    Attributes:
        clock: what the server's parts wait for.
        sweep: lets the server look at its clocks; called each second that passes.
        order: carries out a mark that means the house and not the connection.
        bound: octets that may wait to be read by the client.
        happened: (octets given before, mark) of each mark, in order.
        told: the octets given, in order.
    """

    server: Any
    wire: FuzzWire
    clock: FuzzClock
    sweep: Callable[[], object]
    order: Callable[[str], object]
    keeps: Callable[[int], object]
    pushy: bool = False
    bound: int = 1 << 20
    happened: list[tuple[int, str]] = field(factory=list)
    told: bytearray = field(factory=bytearray)
    closed_by_server: bool = False
    took_s: float = 0.0
    _longest: int = 0
    _pushed: int = 0
    _swept_at: float = 0.0

    def hold(self, script: Script) -> None:
        """Say everything, and leave once it has been answered."""
        logged.failures.clear()
        self.server.makeConnection(self.wire)
        for item in script.items:
            if self.wire.closing:
                self._speak_behind_the_end(item)
                break
            if isinstance(item, bytes):
                self._give(item)
            elif self._mark(item):
                break
        if not self.wire.lost:
            self._read_on()
            self._settle()
            self._leave(_DONE)
        self._pass(30.0)
        if self.wire.faults:
            raise Wrong(self.wire.faults[0])
        if logged.failures:
            raise Wrong(f"a failure was logged: {logged.failures[0]}")

    def _speak_behind_the_end(self, item: bytes | str) -> None:
        """What comes while the last reply is on its way out changes nothing."""
        if isinstance(item, bytes) and not self.wire.lost:
            self.server.dataReceived(item)

    def _give(self, packet: bytes) -> None:
        turns, pushes = 0, self.pushy and self._pushed < 2
        self._pushed = self._pushed + 1 if pushes and self.wire.paused else 0
        while self.wire.paused and not self.wire.closing and not pushes:
            if not self.wire.reading:
                self._read_on()
            self._turn()
            turns += 1
            if turns > MOST_TURNS:
                raise Wrong("the server reads no more: it hangs")
        if self.wire.closing:
            return
        self._longest = max(self._longest, len(packet))
        self.told += packet
        self.wire.given += len(packet)
        self.server.dataReceived(packet)
        self._weigh()

    def _weigh(self) -> None:
        """What the session keeps is bounded by what it must look at, not by what was sent."""
        server = self.server
        signs_in = server._sasl is not None or server._input[server._at :][:5].upper() == b"AUTH "
        most = SASL_OCTETS if signs_in else LINE_OCTETS
        if len(server._input) - server._at > most + (4 if self.pushy else 2) * self._longest:
            raise Wrong(f"{len(server._input)} octets of input are kept")
        if server._out_octets > outgoing.OUTPUT_OCTETS + self.bound:
            raise Wrong(f"{server._out_octets} octets of replies are kept")
        if self.wire.waiting > self.wire.high_water + self.bound:
            raise Wrong(f"{self.wire.waiting} octets wait for a client that doesn't read")
        self.keeps(self._longest)

    def _mark(self, mark: str) -> bool:
        """Whether it was the last."""
        if mark not in "qDV":
            if mark not in "sW":
                self._read_on()
            self._settle()
        if self.wire.closing:
            return True
        self.happened.append((self.wire.given, mark))
        match mark:
            case "w":
                self._pass(1.0)
            case "W":
                self._pass(IDLE_S + 5.0)
            case "s":
                self.wire.reading = False
            case "z":
                self.server.readConnectionLost()
                self._read_on()
                self._settle()
                return True
            case "q" | "Q":
                self._leave(_LOST)
                return True
            case _:
                self.order(mark.lower() if mark in "DV" else mark)
        return False

    def _read_on(self) -> None:
        self.wire.reading = True
        self.wire.read()

    def _settle(self) -> None:
        """Wait until the server waits for the client."""
        for _ in range(MOST_TURNS):
            if self.wire.closing or not (
                self.server._busy or (self.server._blocked and self.wire.reading)
            ):
                self._weigh()
                return
            if self.server._blocked and not self.wire.reading:
                return
            self._turn()
        raise Wrong("no reply comes: the server hangs")

    def _turn(self) -> None:
        if self.wire.reading:
            self.wire.read()
        calls = self.clock.calls
        self._pass(min(1.0, max(0.01, calls[0].getTime() - self.clock.rightNow) if calls else 0.01))

    def _pass(self, seconds: float) -> None:
        while seconds > 0:
            step = min(1.0, seconds)
            seconds -= step
            self.clock.advance(step)
            if self.clock.rightNow - self._swept_at >= 1.0:
                self._swept_at = self.clock.rightNow
                if not self.wire.lost:
                    self.sweep()
            if not self.wire.lost and (
                self.wire.aborted or (self.wire.closing and self.wire.reading)
            ):
                self._leave(_LOST if self.wire.aborted else _DONE)

    def _leave(self, why: Failure) -> None:
        if not self.wire.lost:
            self.closed_by_server, self.took_s = self.wire.closing, self.clock.rightNow
            self.wire.lost = self.wire.closing = True
            self.server.connectionLost(why)
