"""A DNS server on loopback, over UDP and TCP, that answers from a dict.

    zone = {
        ("example.org", "MX"): ["10 mx.example.org."],
        ("mx.example.org", "A"): ["127.0.0.1"],
        ("www.example.org", "CNAME"): ["mx.example.org."],
        ("slow.example.org", "MX"): "silence",
        ("big.example.org", "TXT"): Answer(["x"], fault="truncated", ttl=5, authenticated=True),
    }
    world = DnsWorld(zone)
    port = world.start(reactor)
    ...
    await world.stop()

Values are written as in a zone file; names without the last dot are whole, too. A name of which
nothing is told is NXDOMAIN; one of which other kinds are told has no data.

As a program, `python -m tests.dns_world PORT zone.json`: it prints the port, and reads the file
again when it has changed. There, keys are "example.org MX", and an `Answer` is an object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from attrs import define, field, frozen
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol, ServerFactory
from twisted.protocols.basic import Int16StringReceiver

FAULTS = ("SERVFAIL", "REFUSED", "NXDOMAIN", "FORMERR", "NOTIMP", "silence", "truncated", "forged")
NEGATIVE_TTL_S = 60
MOST_CNAMES = 10


@frozen
class Answer:
    """What a name has of a kind, when more is to be said than the values.

    Attributes:
        authenticated: the answer has the AD bit; None: as `DnsWorld.authenticated` says.
        fault: a response code's name; "silence"; "truncated" (over UDP: whole over TCP); "forged"
            (wrong answers come first); "" for none.
        follow: whether a CNAME's target is in the answer, too.
    """

    values: Any = ()
    ttl: int = 300
    authenticated: bool | None = None
    fault: str = ""
    follow: bool = True


Zone = Mapping[tuple[str, str], Any]


def find(zone: Zone, name: str, kind: str) -> Answer | None:
    told = zone.get((name, kind))
    if isinstance(told, str):
        assert told in FAULTS, f"{told} is neither a list nor one of {FAULTS}"
        return Answer(fault=told)
    return told if told is None or isinstance(told, Answer) else Answer(told)


def answer_query(
    zone: Zone, query: dns.message.Message, *, tcp: bool = False, authenticated: bool = False
) -> dns.message.Message | None:
    """The answer to a question; None for silence."""
    reply = dns.message.make_response(query, recursion_available=True)
    (question,) = query.question
    name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
    negative = False
    for _ in range(MOST_CNAMES):
        text = name.to_text(omit_final_dot=True).lower()
        found = find(zone, text, kind)
        alias = None if found or kind == "CNAME" else find(zone, text, "CNAME")
        told = found or alias
        negative = told is None or not told.values
        if told is None:
            if not any(f".{each}".endswith(f".{text}") for each, _ in zone):
                reply.set_rcode(dns.rcode.NXDOMAIN)
            break
        authenticated = told.authenticated if told.authenticated is not None else authenticated
        if told.fault == "silence":
            return None
        if told.fault == "truncated" and not tcp:
            reply.flags |= dns.flags.TC
            return reply
        if told.fault and told.fault not in ("truncated", "forged"):
            reply.set_rcode(dns.rcode.from_text(told.fault))
            break
        written = "CNAME" if alias else kind
        values = [_whole(value, written) for value in told.values]
        if values:
            reply.answer.append(dns.rrset.from_text_list(name, told.ttl, "IN", written, values))
        if alias is None or not told.follow:
            break
        name = dns.name.from_text(values[0])
    if authenticated:
        reply.flags |= dns.flags.AD
    if negative:
        _add_soa(reply, name)
    return reply


def _whole(value: str, kind: str) -> str:
    """A name at the value's end is whole, with its dot or without; a TXT needs no quotes."""
    if kind in ("MX", "CNAME", "NS", "PTR", "SRV"):
        return value if value.endswith(".") else f"{value}."
    if kind == "TXT" and not value.startswith('"'):
        pieces = [value[at : at + 255] for at in range(0, len(value), 255)] or [""]
        escaped = [each.replace("\\", "\\\\").replace('"', '\\"') for each in pieces]
        return " ".join(f'"{each}"' for each in escaped)
    return value


def _add_soa(reply: dns.message.Message, name: dns.name.Name) -> None:
    above = name.parent() if len(name.labels) > 1 else name
    soa = f"ns. hostmaster. 1 3600 600 86400 {NEGATIVE_TTL_S}"
    reply.authority.append(dns.rrset.from_text(above, 3600, "IN", "SOA", soa))


@define(eq=False)
class DnsWorld:
    """The server.

    Attributes:
        zone: may be changed at any time.
        authenticated: whether answers have the AD bit, unless an `Answer` says otherwise.
        asked: (name, kind, "udp" or "tcp") of every question, in order.
        ports: source ports of the questions over UDP; `ids`: their ids.
        without_edns: questions with EDNS are FORMERR, as old servers have it.
    """

    zone: dict[tuple[str, str], Any] = field(factory=dict)
    authenticated: bool = False
    without_edns: bool = False
    asked: list[tuple[str, str, str]] = field(factory=list, init=False)
    ports: list[int] = field(factory=list, init=False)
    ids: list[int] = field(factory=list, init=False)
    _listening: list[Any] = field(factory=list, init=False)
    _tcp: _TcpServers = field(init=False)

    def start(self, reactor: Any, port: int = 0, interface: str = "127.0.0.1") -> int:
        """Listen on one port for both; which it is."""
        self._tcp = _TcpServers(self)
        stream = reactor.listenTCP(port, self._tcp, interface=interface)
        port = stream.getHost().port
        datagrams = reactor.listenUDP(port, _UdpServer(self), interface=interface)
        other = reactor.listenUDP(0, DatagramProtocol(), interface=interface)
        self._listening = [stream, datagrams, other]
        return int(port)

    async def stop(self) -> None:
        for connection in list(self._tcp.connections):
            connection.transport.abortConnection()
        for each in self._listening:
            await maybeDeferred(each.stopListening)

    def answer(self, data: bytes, tcp: bool) -> list[tuple[bytes, bool]]:
        """The datagrams, or the message, that a question gets; True for one from another port."""
        try:
            query = dns.message.from_wire(data)
            (question,) = query.question
        except (dns.exception.DNSException, ValueError):
            return []
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, "tcp" if tcp else "udp"))
        self.ids.append(query.id)
        if self.without_edns and query.edns >= 0:
            reply = dns.message.make_response(query)
            reply.use_edns(False)
            reply.set_rcode(dns.rcode.FORMERR)
            return [(reply.to_wire(), False)]
        made = answer_query(self.zone, query, tcp=tcp, authenticated=self.authenticated)
        if made is None:
            return []
        most = 65535 if tcp else (query.payload if query.edns >= 0 else 512)
        try:
            sent = made.to_wire(max_size=most)
        except dns.exception.TooBig:
            made.answer.clear()
            made.flags |= dns.flags.TC
            sent = made.to_wire()
        told = find(self.zone, name, kind)
        forged = _forge(query) if told is not None and told.fault == "forged" and not tcp else []
        return [*forged, (sent, False)]

    def send_from_elsewhere(self, data: bytes, addr: Any) -> None:
        """The datagram, from another port than the one that was asked."""
        self._listening[2].write(data, addr)


def _forge(query: dns.message.Message) -> list[tuple[bytes, bool]]:
    """What a stranger might send: a lie from another port, with another id, for another question,
    half of one, no answer."""
    lie: Zone = {(query.question[0].name.to_text(omit_final_dot=True).lower(), "A"): ["192.0.2.66"]}
    reply = answer_query(lie, query)
    assert reply is not None
    good = reply.to_wire()
    other_id = ((query.id + 1) % 65536).to_bytes(2, "big") + good[2:]
    reply.question = dns.message.make_query("other.example.", "A").question
    lies = [other_id, reply.to_wire(), good[:14], b"", query.to_wire()]
    return [(good, True), *((each, False) for each in lies)]


class _UdpServer(DatagramProtocol):
    noisy = False

    def __init__(self, world: DnsWorld) -> None:
        self.world = world

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.world.ports.append(addr[1])
        assert self.transport is not None
        for reply, elsewhere in self.world.answer(datagram, tcp=False):
            if elsewhere:
                self.world.send_from_elsewhere(reply, addr)
            else:
                self.transport.write(reply, addr)


class _TcpServer(Int16StringReceiver):
    factory: _TcpServers

    def connectionMade(self) -> None:
        self.factory.connections.add(self)

    def stringReceived(self, string: bytes) -> None:
        for reply, _ in self.factory.world.answer(string, tcp=True):
            self.sendString(reply)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.connections.discard(self)


class _TcpServers(ServerFactory):
    noisy = False
    protocol = _TcpServer

    def __init__(self, world: DnsWorld) -> None:
        self.world = world
        self.connections: set[_TcpServer] = set()


def read_zone(path: Path) -> dict[tuple[str, str], Any]:
    """A zone in JSON: "example.org MX" to a list, a fault, or an object with `Answer`'s names."""
    zone: dict[tuple[str, str], Any] = {}
    for key, value in json.loads(path.read_text()).items():
        name, kind = key.split()
        zone[name.rstrip("."), kind] = Answer(**value) if isinstance(value, dict) else value
    return zone


def main(words: list[str]) -> None:
    from twisted.internet import reactor
    from twisted.internet.task import LoopingCall

    port, path = int(words[0]), Path(words[1])
    world = DnsWorld(read_zone(path))
    print(world.start(reactor, port), flush=True)
    seen = path.stat().st_mtime_ns

    def look() -> None:
        nonlocal seen
        if (now := path.stat().st_mtime_ns) != seen:
            seen, world.zone = now, read_zone(path)

    LoopingCall(look).start(0.1)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1:])
