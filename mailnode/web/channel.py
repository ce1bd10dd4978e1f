"""Connections of browsers: how many, how slow they may be, how much of a header is kept.

A request's header must be whole within 20 s, however it drips. A body may take its time at 1 KiB
a second behind the first minute. Between requests a connection is kept for a minute.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Site

from mailnode.machine import address_key, is_loopback
from mailnode.web.refusals import AddressTooLong, HeaderTooLarge, WebRefused

HEADER_S = 20.0
IDLE_S = 60
LOOK_S = 10.0
BODY_GRACE_S, BODY_RATE = 60.0, 1024
STALL_S = 120.0
LINGER_S = 10.0
ASKED_OCTETS = 1024
TLS_HANDSHAKE = b"\x16"  # a record's type (RFC 8446 section 5.1); no method begins so
NO_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 47\r\n\r\nThis port speaks HTTP without TLS: say http://\n"
)
MOST_CONNECTIONS = 2000
MOST_PER_ADDRESS = 200


class WebChannel(HTTPChannel):
    """A connection with bounds."""

    maxHeaders = 100
    totalHeadersSize = 16384
    timeOut: int | None = IDLE_S
    transport: Any

    _late: Any = None
    _stalled: Any = None
    _body_s = 0.0
    _body_octets = 0
    _lingers = False
    _begun = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self._await_header()

    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if data.startswith(TLS_HANDSHAKE):
                self._refuse_tls()
                return
        if not self.requests and self._late is None:
            self._await_header()
        if self.length != 0:
            self._body_octets += len(data)
        super().dataReceived(data)

    def _refuse_tls(self) -> None:
        """Who was told https waits for a handshake: he hears at once that there is none."""
        self._in_time()
        self.transport.write(NO_TLS)
        self.loseConnection()

    def _await_header(self) -> None:
        self._late = self.callLater(HEADER_S, self._cut_off)

    def _in_time(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = None

    def _cut_off(self) -> None:
        self._late = None
        self.transport.abortConnection()

    def lineReceived(self, line: bytes) -> bool:
        """As Twisted's, but whose header is too large is told so. True: no more lines are read."""
        if self._receivedHeaderSize + len(line) > self.totalHeadersSize:
            self._refuse_head(line)
        else:
            super().lineReceived(line)
        return self._lingers

    def headerReceived(self, line: bytes) -> bool:
        if self._receivedHeaderCount >= self.maxHeaders:
            self._refuse_head(line)
        return not self._lingers and bool(super().headerReceived(line))

    def lineLengthExceeded(self, line: bytes) -> None:
        """It has no end so far, or one too late."""
        self._refuse_head(line)

    def _refuse_head(self, line: bytes) -> None:
        """Answer what has come of a request, and throw away what comes behind."""
        if self.requests:
            request, head = self.requests[-1], (self._command, self._path, self._version)
            error: WebRefused = HeaderTooLarge.past(self.totalHeadersSize, self.maxHeaders)
        else:  # who has asked is known by the beginning of the line, if by anything
            command, _, rest = line[:ASKED_OCTETS].partition(b" ")
            head, error = (command, rest.partition(b" ")[0] or b"/", b"HTTP/1.1"), AddressTooLong()
            request = self.requestFactory(self)
            self.requests.append(request)
        request.refuse_head(*head, error)

    def allHeadersReceived(self) -> None:
        """As Twisted's, but who waits for leave to send is answered once it is known."""
        self._in_time()
        request = self.requests[-1]
        request.parseCookies()
        self.persistent = self.checkPersistence(request, self._version)
        if self.length != 0:
            self._body_s, self._body_octets = 0.0, 0
            self._late = self.callLater(LOOK_S, self._look_at_body)
        request.headerReceived(self._command, self._path, self._version, self.length)

    def _look_at_body(self) -> None:
        """A body that drips is cut off; one that waits for us isn't."""
        request = self.requests[-1] if self.requests else None
        if request is not None and not request.waits_for_us:
            self._body_s += LOOK_S
        if self._body_octets < BODY_RATE * (self._body_s - BODY_GRACE_S):
            self._cut_off()
        else:
            self._late = self.callLater(LOOK_S, self._look_at_body)

    def go_ahead(self) -> None:
        """The client may send its body (RFC 9110 section 10.1.1)."""
        self._send100Continue()

    def hold(self) -> None:
        """Read no more for now."""
        self._networkProducer.pauseProducing()

    def go_on(self) -> None:
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def rawDataReceived(self, data: bytes) -> None:
        if not self._lingers:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        if not self._lingers:
            self._in_time()
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        if self._handlingRequest:
            super().requestDone(request)
        else:
            self._linger()

    def _linger(self) -> None:
        """A request was answered before its body came: what comes is read for a while and thrown
        away, for a client that still sends would not read why if we closed at once."""
        self.requests.clear()
        self.clearLineBuffer()
        self._lingers, self.persistent = True, False
        self._in_time()
        self.setTimeout(None)
        self.dataReceived = _read_away  # type: ignore[method-assign]
        self._late = self.callLater(LINGER_S, self._leave)
        self._networkProducer.resumeProducing()

    def _leave(self) -> None:
        self._late = None
        self.loseConnection()
        self._late = self.callLater(LINGER_S, self._cut_off)

    def timeoutConnection(self) -> None:
        """Silence is the client's alone."""
        if self.requests and self.requests[-1].waits_for_us:
            self.setTimeout(self.timeOut)
        else:
            super().timeoutConnection()

    def pauseProducing(self) -> None:
        """The client doesn't read: it may for a while."""
        if self._stalled is None:
            self._stalled = self.callLater(STALL_S, self._give_up_stalled)
        super().pauseProducing()

    def _give_up_stalled(self) -> None:
        self._stalled = None
        self.transport.abortConnection()

    def resumeProducing(self) -> None:
        self._reads_again()
        super().resumeProducing()

    def _reads_again(self) -> None:
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()
        self._stalled = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._in_time()
        self._reads_again()
        super().connectionLost(reason)


def _read_away(data: bytes) -> None:
    """What comes behind the answer."""


class WebSite(Site):
    """Twisted's site, of bounded connections, with HTTP/1.1 alone."""

    protocol = WebChannel  # type: ignore[assignment]
    noisy = False
    displayTracebacks = False

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """No line a request: what matters is an event."""


@define(eq=False)
class Crowd:
    """Who is connected, on all ports together.

    Attributes:
        most: connections in all.
        most_per_address: from one address; loopback and proxies are exempt.
        is_proxy: whether an address is one of ours.
    """

    most: int = MOST_CONNECTIONS
    most_per_address: int = MOST_PER_ADDRESS
    is_proxy: Any = field(default=lambda host: False)
    turned_away: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)
    count: int = field(default=0, init=False)
    _per_address: Counter[str] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return self.count

    def has_room(self, host: str) -> bool:
        exempt = is_loopback(host) or self.is_proxy(host)
        full = self.count >= self.most
        if full or (not exempt and self._per_address[address_key(host)] >= self.most_per_address):
            self.turned_away += 1
            return False
        return True

    def come(self, host: str) -> None:
        self.accepted += 1
        self.count += 1
        self._per_address[address_key(host)] += 1

    def leave(self, host: str) -> None:
        self.count -= 1
        self._per_address[address_key(host)] -= 1
        self._per_address += Counter()  # those with a connection stay


class BoundedFactory(WrappingFactory):
    """Lets in whom the crowd has room for."""

    noisy = False

    def __init__(self, inner: Any, crowd: Crowd) -> None:
        super().__init__(inner)
        self.crowd = crowd

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return super().buildProtocol(addr) if self.crowd.has_room(host_of(addr)) else None

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        super().registerProtocol(p)
        self.crowd.come(host_of(p.getPeer()))

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)
        self.crowd.leave(host_of(p.getPeer()))

    def close_all(self) -> None:
        """Whoever is connected is no more."""
        for each in list(self.protocols):
            each.abortConnection()


def host_of(address: IAddress | None) -> str:
    return str(getattr(address, "host", "") or "")
