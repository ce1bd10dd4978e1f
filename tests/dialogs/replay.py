"""Replays a transcript of a protocol session in memory, its input cut however one likes.

A transcript is a text file:

    # server: pop3            pop3, smtp or submission; what else a header may say: `Dialog`
    ## a remark
    S: +OK example.test POP3 ready
    C: CAPA                   a line from the client; CRLF is added
    C+: \\xff\\r\\n             octets from the client, with Python's escapes and no CRLF added
    S: +OK...                 a reply that begins so
    S: /\\+OK \\d+ octets/      a reply that matches a regular expression; what a group
                              (?P<uidl>...) matched stands for {uidl} from there on
    S*9: x                    nine such lines
    --                        what stands before is one packet, what follows is another
    -- wait 600               seconds pass
    -- closed                 the server has closed the connection; `-- open`: it has not
    -- lost                   the client is gone; `-- eof`: it only sends no more
    -- stop reading           the client's window fills up; `-- read`: it reads on
    -- connection b           from here on it is another connection
    -- deliver three          anything else is an order to the house

C lines that follow each other are sent in one packet. The server must have said all that
the S lines ask for, and nothing else, before the next C line or order.
"""

from __future__ import annotations

import codecs
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport, ITLSTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import alsoProvides

TURNS = 5000

Cut = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def at_random(seed: str) -> Cut:
    """Cuts into pieces of 1 to 9 octets, the same ones for the same seed."""
    chance = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            length = chance.randint(1, 9)
            yield data[at : at + length]
            at += length

    return cut


@frozen
class Step:
    """One line of a transcript: kind is "send", "expect" or "order"."""

    line: int
    kind: str
    octets: bytes = b""
    text: str = ""
    times: int = 1


@frozen
class Dialog:
    """A transcript.

    Attributes:
        headers: `server`; `peer`: the client's address (127.0.0.1); `tls`: "yes" when the
            port offers it (it does unless "no"), "implicit"; whatever else the house knows.
    """

    name: str
    headers: dict[str, str]
    steps: tuple[Step, ...]

    @classmethod
    def read(cls, path: Path) -> Dialog:
        headers: dict[str, str] = {}
        steps: list[Step] = []
        for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            if not text.strip() or text.startswith("##"):
                continue
            if text.startswith("#"):
                key, _, value = text[1:].partition(":")
                headers[key.strip()] = value.strip()
                continue
            steps.append(_step(f"{path.name}:{number}", number, text))
        return cls(path.stem, headers, tuple(steps))


def _step(where: str, number: int, text: str) -> Step:
    if text.startswith("--"):
        return Step(number, "order", text=text[2:].strip())
    mark, colon, rest = text.partition(":")
    rest = rest.removeprefix(" ")
    if colon and mark == "C":
        return Step(number, "send", rest.encode() + b"\r\n")
    if colon and mark == "C+":
        return Step(number, "send", unescaped(rest))
    if colon and (found := re.fullmatch(r"S(?:\*(\d+))?", mark)):
        return Step(number, "expect", text=rest, times=int(found[1] or 1))
    raise ValueError(f"{where}: neither C:, C+:, S: nor --: {text!r}")


def unescaped(text: str) -> bytes:
    """Octets written with Python's escapes; `*N` after a quoted part repeats it: "x"*300."""
    octets = b""
    for part in re.split(r'("[^"]*"\*\d+)', text):
        if found := re.fullmatch(r'"([^"]*)"\*(\d+)', part):
            octets += codecs.escape_decode(found[1].encode())[0] * int(found[2])  # type: ignore[attr-defined]
        else:
            octets += codecs.escape_decode(part.encode())[0]  # type: ignore[attr-defined]
    return octets


class House(Protocol):
    """What a dialog is held with: a node in memory."""

    def build(self, server: str, address: IPv4Address) -> Any:
        """A protocol of that server."""

    async def turn(self) -> None:
        """Let threads and timers get on for a moment."""

    async def order(self, words: list[str]) -> None:
        """Carry out an order that the replayer doesn't know."""

    def advance(self, seconds: float) -> None:
        """Time passes, and the sweep runs."""


class Handle:
    """Of a TLS connection that isn't one."""

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"


class Wire(StringTransport):  # type: ignore[misc]
    """A transport in memory; TLS is only said of it."""

    no_delay = False
    aborted = False
    handshakes = 0

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def startTLS(self, context: object) -> None:
        assert context is not None
        self.handshakes += 1
        alsoProvides(self, ISSLTransport)

    def getHandle(self) -> Handle:
        return Handle()

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self.disconnecting = True


@define(eq=False)
class Connection:
    """One client's end."""

    wire: Wire
    server: Any
    said: bytes = b""
    unsent: list[bytes] = field(factory=list)
    lost: bool = False
    reading: bool = True

    @classmethod
    def to(cls, house: House, headers: dict[str, str]) -> Connection:
        peer = IPv4Address("TCP", headers.get("peer", "127.0.0.1"), 50000)
        wire = Wire(peerAddress=peer)
        tls = headers.get("tls", "yes")
        if tls != "no":
            alsoProvides(wire, ITLSTransport)
        if tls == "implicit":
            alsoProvides(wire, ISSLTransport)
        server = house.build(headers.get("server", "pop3"), peer)
        connection = cls(wire, server)
        server.makeConnection(wire)
        return connection

    async def send(self, house: House, data: bytes, cut: Cut) -> None:
        handshakes = self.wire.handshakes
        for chunk in cut(data):
            if self.wire.handshakes > handshakes:
                return  # what a client sends behind STARTTLS goes into the handshake
            self.unsent.append(chunk)
            await self.settle(house)
        await self.settle(house)

    async def settle(self, house: House) -> None:
        """Hand over what waits, until the server waits for the client or the client is slow."""
        for _ in range(TURNS):
            if self.lost:
                return
            if self.wire.disconnecting:
                self.lose(Failure(ConnectionLost() if self.wire.aborted else ConnectionDone()))
                return
            if self.unsent and self.wire.producerState == "producing":
                self.server.dataReceived(self.unsent.pop(0))
            elif self.server._busy and self.reading:
                await house.turn()
            else:
                return
        raise AssertionError("the server has not replied")

    def lose(self, reason: Failure) -> None:
        if not self.lost:
            self.said += self.wire.value()
            self.wire.clear()
            self.lost = True
            self.server.connectionLost(reason)

    def take_line(self) -> bytes | None:
        self.said += self.wire.value()
        self.wire.clear()
        line, end, rest = self.said.partition(b"\r\n")
        if not end:
            return None
        self.said = rest
        return line


async def replay(dialog: Dialog, house: House, cut: Cut) -> None:
    """Hold the dialog; AssertionError names the line where the server said something else."""
    connections = {"a": Connection.to(house, dialog.headers)}
    connection = connections["a"]
    known: dict[str, str] = {}
    try:
        steps = list(dialog.steps)
        while steps:
            step = steps.pop(0)
            where = f"{dialog.name}.txt:{step.line}"
            if step.kind == "expect":
                for _ in range(step.times):
                    await connection.settle(house)
                    _check(where, step.text, connection.take_line(), known)
                continue
            _nothing_more(where, connection)
            if step.kind == "send":
                data = step.octets
                while steps and steps[0].kind == "send":
                    data += steps.pop(0).octets
                await connection.send(house, data, cut)
            elif step.text.startswith("connection "):
                name = step.text.partition(" ")[2]
                if name not in connections:
                    connections[name] = Connection.to(house, dialog.headers)
                connection = connections[name]
            else:
                await _order(where, step.text, connection, house)
        await connection.settle(house)
        _nothing_more(f"{dialog.name}.txt: end", connection)
    finally:
        for each in connections.values():
            each.lose(Failure(ConnectionLost()))


def _check(where: str, wanted: str, line: bytes | None, known: dict[str, str]) -> None:
    assert line is not None, f"{where}: nothing was said, not {wanted!r}"
    said = line.decode("utf-8", "backslashreplace")
    for name, value in known.items():
        wanted = wanted.replace("{" + name + "}", value)
    if len(wanted) > 1 and wanted.startswith("/") and wanted.endswith("/"):
        found = re.fullmatch(wanted[1:-1], said)
        fits = found is not None
        known |= found.groupdict() if found else {}
    elif wanted.endswith("..."):
        fits = said.startswith(wanted[:-3])
    else:
        fits = said == wanted
    assert fits, f"{where}: {said!r}, not {wanted!r}"


def _nothing_more(where: str, connection: Connection) -> None:
    line = connection.take_line()
    assert line is None, f"{where}: more was said: {line!r}"
    assert not connection.said, f"{where}: half a line was said: {connection.said!r}"


async def _order(where: str, order: str, connection: Connection, house: House) -> None:
    words = order.split()
    match words:
        case []:
            pass
        case ["wait", seconds]:
            house.advance(float(seconds))
        case ["closed"]:
            assert connection.lost, f"{where}: the connection is open"
        case ["open"]:
            assert not connection.lost, f"{where}: the connection is closed"
        case ["lost"]:
            connection.lose(Failure(ConnectionLost()))
        case ["eof"]:
            connection.server.readConnectionLost()
        case ["stop", "reading"]:
            connection.reading = False
            connection.server.pauseProducing()
        case ["read"]:
            connection.reading = True
            connection.server.resumeProducing()
        case _:
            await house.order(words)
    await connection.settle(house)
