"""One question to one DNS server: over UDP, and over TCP when the answer doesn't fit.

Each question has a socket, and so a source port, of its own, and a random id; what does not come
from the server asked, or answers another question, is passed over (RFC 5452).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.rcode
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mailnode.addresses import bracketed
from mailnode.records import Parsed, count_records, parse_answer
from mailnode.short_answers import write_query
from mailnode.values import split_server

FEW_RECORDS = 8  # an answer of more is read in a thread: somebody may have made it to take long
MOST_OCTETS = 65535
MOST_AT_ONCE = 20  # datagrams, before others have their turn
MOST_PASSED_OVER = 1000  # forged answers to one question; behind them it is given up
NO_EDNS = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)

Answer = Parsed
Read = Callable[[bytes], Deferred[Answer | None]]


class NoReply(Exception):
    """The server said nothing, or nothing that answers the question: why."""


@frozen
class Server:
    """Where a DNS server listens.

    Attributes:
        loopback: it is on this machine: nobody stands between it and us.
    """

    host: str
    port: int = 53
    loopback: bool = field(init=False, eq=False, repr=False)

    @loopback.default
    def _is_loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @classmethod
    def parse(cls, text: str) -> Server:
        """`192.0.2.53`, `127.0.0.1:5353`, `::1`, `[::1]:5353`.

        Raises:
            ValueError: it is none of these.
        """
        return cls(*split_server(text))

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


@define(eq=False)
class NameServers:
    """Asks servers."""

    _reactor: Any

    async def ask(self, server: Server, query: dns.message.Message, timeout_s: float) -> Answer:
        """The server's answer to `query`, whole, whatever its code.

        Args:
            timeout_s: for each of UDP and TCP.

        Raises:
            NoReply: there was none.
        """
        answer = await self._exchange(server, query, timeout_s)
        if answer.rcode() in NO_EDNS and query.edns >= 0:  # an old server (RFC 6891 section 7)
            query.use_edns(False)
            answer = await self._exchange(server, query, timeout_s)
        return answer

    def _read(self, query: dns.message.Message) -> Read:
        """What reads the answers to `query`: None for what is none."""

        def read(data: bytes) -> Deferred[Answer | None]:
            if data[:2] != query.id.to_bytes(2, "big") or count_records(data) <= FEW_RECORDS:
                return succeed(parse_answer(data, query))
            pool = self._reactor.getThreadPool()
            return deferToThreadPool(self._reactor, pool, parse_answer, data, query)

        return read

    async def _exchange(
        self, server: Server, query: dns.message.Message, timeout_s: float
    ) -> Answer:
        try:
            answer = await self._over_udp(server, query, timeout_s)
            if answer.flags & dns.flags.TC:
                answer = await self._over_tcp(server, query, timeout_s)
        except TimeoutError:
            raise NoReply(f"nothing within {timeout_s:g} s") from None
        except (ConnectError, ConnectionClosed, OSError) as error:
            raise NoReply(str(error)) from None
        return answer

    async def _over_udp(
        self, server: Server, query: dns.message.Message, timeout_s: float
    ) -> Answer:
        asking = _Datagrams(self._reactor, server, self._read(query))
        try:
            asking.send(write_query(query))
            return await asking.answer.addTimeout(timeout_s, self._reactor)
        finally:
            asking.answer.addErrback(lambda _: None)  # nobody waits for it any more
            asking.close()

    async def _over_tcp(
        self, server: Server, query: dns.message.Message, timeout_s: float
    ) -> Answer:
        kind = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
        endpoint = kind(self._reactor, server.host, server.port, timeout=timeout_s)
        factory = Factory.forProtocol(lambda: _Stream(self._read(query)))
        factory.noisy = False
        asking: Any = await endpoint.connect(factory)
        try:
            asking.sendString(write_query(query))
            answer: Answer = await asking.answer.addTimeout(timeout_s, self._reactor)
            return answer
        finally:
            asking.transport.abortConnection()
            await asking.closed


@implementer(IReadDescriptor)
class _Datagrams:
    """A socket for one question.

    It is connected, so that datagrams of others are not heard, and the system tells of a port where
    nobody listens. Twisted's own, made to be listened at, takes three times as long.
    """

    def __init__(self, reactor: Any, server: Server, read: Read) -> None:
        self.reactor, self.read = reactor, read
        self.answer: Deferred[Answer] = Deferred()
        self.passed_over = 0
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self.socket: socket.socket | None = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            self.socket.connect((server.host, server.port))
        except OSError:
            self.socket.close()
            raise
        reactor.addReader(self)

    def send(self, query: bytes) -> None:
        assert self.socket is not None
        self.socket.send(query)

    def close(self) -> None:
        if self.socket is not None:
            self.reactor.removeReader(self)
            self.socket.close()
            self.socket = None

    # IReadDescriptor

    def logPrefix(self) -> str:
        return "DNS"

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def doRead(self) -> None:
        for _ in range(MOST_AT_ONCE):
            if self.socket is None or self.answer.called:
                return
            try:
                datagram = self.socket.recv(MOST_OCTETS)
            except BlockingIOError:
                return
            except OSError:
                self.connectionLost()
                return
            self.read(datagram).addCallbacks(self._was_read, lambda _: self._was_read(None))

    def connectionLost(self, _reason: object = None) -> None:
        self.close()
        if not self.answer.called:
            self.answer.errback(NoReply("nobody listens there"))

    def _was_read(self, answer: Answer | None) -> None:
        if self.answer.called:
            return
        if answer is not None:
            self.answer.callback(answer)
            return
        self.passed_over += 1
        if self.passed_over >= MOST_PASSED_OVER:
            self.answer.errback(NoReply("a flood of answers to other questions"))


class _Stream(Int16StringReceiver):
    def __init__(self, read: Read) -> None:
        self.read = read
        self.answer: Deferred[Answer] = Deferred()
        self.closed: Deferred[None] = Deferred()

    def stringReceived(self, string: bytes) -> None:
        self.read(string).addCallbacks(self._was_read, lambda _: self._was_read(None))

    def _was_read(self, answer: Answer | None) -> None:
        if self.answer.called:
            return
        if answer is None or answer.flags & dns.flags.TC:
            self.answer.errback(NoReply("an answer to another question, or a part of one"))
        else:
            self.answer.callback(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(NoReply("the connection was closed without an answer"))
        self.closed.callback(None)
