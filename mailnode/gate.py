"""In front of the servers: takes the PROXY header off connections that come from a proxy.

Between accept and the header's end a connection belongs to a `Waiting`. Then it steps aside:
the transport gets the server's protocol and the client's address, so that nothing stands
between the two, and TLS, half-closes and producers work as without a proxy.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.addresses import ip_address
from mailnode.machine import address_key, is_loopback, plain_address
from mailnode.proxy import BadHeader, ProxyHeader, read_header

HEADER_S = 10.0
TOLD_EVERY_S = 60.0
MOST_ADDRESSES = 1_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_log = Logger(namespace="mailnode")


@define(eq=False)
class ProxyGate:
    """Who is a proxy, and what became of their connections.

    Attributes:
        clock: the reactor.
        networks: a connection from one of these must begin with a header, no other may.
        most: connections that may wait for their header at a time.
        refused: connections that were closed for it, by why.
    """

    clock: Any
    networks: tuple[Network, ...] = ()
    most: int = 20000
    refused: Counter[str] = field(factory=Counter, init=False)
    waiting: set[Waiting] = field(factory=set, init=False)
    _told_at: dict[str, float] = field(factory=dict, init=False)

    @classmethod
    def of(cls, clock: Any, networks: Iterable[str]) -> ProxyGate:
        return cls(clock, tuple(map(ipaddress.ip_network, networks)))

    def around(self, factory: Any) -> Any:
        """`factory`, behind the gate; itself where there is no proxy."""
        return _GatedFactory(self, factory) if self.networks else factory

    def is_proxy(self, host: str) -> bool:
        try:
            address = ip_address(plain_address(host))
        except ValueError:  # a Unix socket
            return False
        return any(address in network for network in self.networks)

    def refuse(self, host: str, why: str) -> None:
        """Count it, and tell it unless this address was told of within the minute."""
        self.refused[why] += 1
        host, now = address_key(host), self.clock.seconds()
        if now - self._told_at.get(host, float("-inf")) < TOLD_EVERY_S:
            return
        if len(self._told_at) >= MOST_ADDRESSES:
            self._told_at = {
                each: at for each, at in self._told_at.items() if now - at < TOLD_EVERY_S
            }
        if len(self._told_at) < MOST_ADDRESSES:
            self._told_at[host] = now
            _log.warn("the PROXY header of {host} is {why}", host=host, why=why)

    def stop(self) -> None:
        """Nobody waits any more."""
        for each in list(self.waiting):
            each.end()


class _GatedFactory(ServerFactory):
    noisy = False

    def __init__(self, gate: ProxyGate, inner: Any) -> None:
        self.gate = gate
        self.inner = inner

    def doStart(self) -> None:
        self.inner.doStart()

    def doStop(self) -> None:
        self.inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host = str(getattr(addr, "host", "") or "")
        if not self.gate.is_proxy(host):
            return self.inner.buildProtocol(addr)
        if len(self.gate.waiting) >= self.gate.most:
            self.gate.refuse(host, "one too many")
            return None
        return Waiting(self.gate, self.inner, host)


class Waiting(Protocol):
    """A proxy's connection until its header is whole."""

    transport: Any

    _input = b""
    _ended = False

    def __init__(self, gate: ProxyGate, inner: Any, host: str) -> None:
        self._gate = gate
        self._inner = inner
        self._host = host

    def connectionMade(self) -> None:
        self._gate.waiting.add(self)
        self._late = self._gate.clock.callLater(HEADER_S, self._refuse, "late")

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._input += data
        try:
            header = read_header(self._input)
        except BadHeader as error:
            self._refuse(str(error))
        else:
            if header is not None:
                self._step_aside(header)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._leave()

    def end(self) -> None:
        """Close without a word."""
        self._leave()
        self.transport.abortConnection()

    def _refuse(self, why: str) -> None:
        self._gate.refuse(self._host, why)
        self.end()

    def _leave(self) -> None:
        self._ended = True
        self._input = b""
        self._gate.waiting.discard(self)
        if self._late.active():
            self._late.cancel()

    def _step_aside(self, header: ProxyHeader) -> None:
        transport = self.transport
        rest = self._input[header.octets :]
        peer = self._client(header) or transport.getPeer()
        self._leave()
        protocol = self._inner.buildProtocol(peer)
        if protocol is None:
            transport.abortConnection()
            return
        # What startTLS makes of this transport asks it for the peer, too.
        transport.getPeer = lambda: peer
        # The latter is TLS of an endpoint's own.
        holder = "protocol" if transport.protocol is self else "wrappedProtocol"
        setattr(transport, holder, protocol)
        protocol.makeConnection(transport)
        if rest and not transport.disconnecting:
            protocol.dataReceived(rest)

    def _client(self, header: ProxyHeader) -> IAddress | None:
        """Whom the header names.

        The loopback of another machine is not ours: its clients are that machine's.
        """
        if header.client is None:
            return None
        host, port = plain_address(header.client[0]), header.client[1]
        if is_loopback(host) and not is_loopback(self._host):
            return None
        return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
