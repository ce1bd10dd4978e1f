"""Clients in numbers, in a process of their own: idle, slow, deaf, refused, or too many.

    python -m tests.faults.crowd KIND PORT COUNT [RATE]

Says a JSON object once all have come, goes on until standard input ends, and says another. Each
kind is a coroutine for one client; `come` in the tests starts and ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.live.node import DOMAIN, PASSWORD, environment

AT_ONCE = 100
BODY = b"Subject: one of many\r\n\r\n" + b"0123456789abcdef" * 4 * 30 + b"\r\n.\r\n"
LINES = b"".join(
    b"%s\r\n" % line
    for line in (b"EHLO slow.example", b"MAIL FROM:<a@b.example>", b"RCPT TO:<alice@%s>", b"DATA")
)
ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@%s>\r\nDATA\r\n" % DOMAIN.encode()
RCPTS = b"".join(b"RCPT TO:<nobody%d@%s>\r\n" % (n, DOMAIN.encode()) for n in range(10))
ADDRESSES = 20  # of the refused: each address counts for itself
GONE = (OSError, EOFError, asyncio.IncompleteReadError)


@define(eq=False)
class Crowd:
    """What they have seen.

    Attributes:
        rate: for the refused: refusals a second, of all together.
        codes: replies by their code.
    """

    port: int
    count: int
    rate: float = 0.0
    codes: Counter[str] = field(factory=Counter)
    here: int = 0
    cut_off: int = 0
    _all_seen: set[int] = field(factory=set, init=False)
    _arrivals: asyncio.Queue[int] = field(factory=asyncio.Queue, init=False)
    _due: float = field(factory=time.monotonic, init=False)

    async def connect(self, host: str = "127.0.0.1") -> Any:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))

    async def connect_deaf(self) -> Any:
        """What the kernels keep for us is little; over loopback it would be megabytes."""
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        end.setblocking(False)
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=end)

    async def reply(self, reader: asyncio.StreamReader) -> str:
        """The code of the next reply, which is counted."""
        line = await reader.readuntil(b"\n")
        while line[3:4] == b"-":
            line = await reader.readuntil(b"\n")
        code = line[:3].decode()
        self.codes[code] += 1
        return code

    # One client each

    async def idle(self, number: int) -> None:
        """Greets, says EHLO, and stays."""
        reader, writer = await self.connect()
        await self.reply(reader)
        writer.write(b"EHLO idle.example\r\n")
        await self.reply(reader)
        self.arrive(number)
        await reader.read(1)
        self.cut_off += 1

    async def slow(self, number: int) -> None:
        """Sends an octet a second: one half from the first, the other of the body."""
        _reader, writer = await self.connect()
        self.arrive(number)
        lines = LINES % DOMAIN.encode()
        if number % 2:
            writer.write(lines)
            lines = b""
        for octet in itertools.chain(lines, itertools.cycle(b"Subject: slow\r\n")):
            writer.write(bytes([octet]))
            await asyncio.sleep(1.0)

    async def half(self, number: int) -> None:
        """Sends the first 500,000 octets of a body, and stops there."""
        _reader, writer = await self.connect()
        writer.write(LINES % DOMAIN.encode() + b"Subject: half\r\n\r\n")
        for _ in range(100):
            writer.write(b"0123456789abcdef" * 4 * 78 + b"12345\r\n")
            await writer.drain()
        self.arrive(number)
        await asyncio.sleep(3600)

    async def deaf(self, number: int) -> None:
        """Asks and asks, and never reads."""
        _reader, writer = await self.connect_deaf()
        writer.transport.pause_reading()
        writer.write(b"EHLO deaf.example\r\n" * 3_000)  # the answers are 15 times as long
        self.arrive(number)
        await asyncio.sleep(3600)

    async def deaf_pop3(self, number: int) -> None:
        """Signs in, asks for its large mail a hundred times, and never reads it."""
        reader, writer = await self.connect_deaf()
        name = f"u{number}@{DOMAIN}"
        writer.write(f"USER {name}\r\nPASS {PASSWORD}\r\n".encode())
        for _ in range(3):
            line = await reader.readuntil(b"\n")
            assert line.startswith(b"+OK"), line
        writer.transport.pause_reading()
        writer.write(b"RETR 1\r\n" * 100)
        self.arrive(number)
        await asyncio.sleep(3600)

    async def refused(self, number: int) -> None:
        """Asks for people who aren't here until it is sent away, and comes again."""
        self.arrive(number)
        while True:
            self._due = max(self._due + 10 / self.rate, time.monotonic() - 0.01)
            await asyncio.sleep(self._due - time.monotonic())
            with contextlib.suppress(*GONE):
                reader, writer = await self.connect(f"127.0.1.{1 + number % ADDRESSES}")
                try:
                    writer.write(b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n" + RCPTS)
                    while True:
                        await self.reply(reader)
                finally:
                    writer.close()

    async def push(self, number: int) -> None:
        """Sends one mail after another; who is turned away comes again."""
        self.arrive(number)
        while True:
            with contextlib.suppress(*GONE):
                reader, writer = await self.connect()
                try:
                    if await self.reply(reader) == "220":
                        await self._mails(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    async def _mails(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"EHLO many.example\r\n")
        await self.reply(reader)
        while True:
            writer.write(ENVELOPE)
            codes = [await self.reply(reader) for _ in range(3)]
            if codes[2] == "354":
                writer.write(BODY)
                code = await self.reply(reader)
                self.codes[f"dot {code}"] += 1
            await asyncio.sleep(0)

    async def at_once(self, number: int) -> None:
        """Sends one mail, and goes."""
        reader, writer = await self.connect()
        await self.reply(reader)
        writer.write(b"EHLO once.example\r\n" + ENVELOPE)
        for _ in range(4):
            await self.reply(reader)
        writer.write(BODY)
        code = await self.reply(reader)
        self.codes[f"dot {code}"] += 1
        writer.write(b"QUIT\r\n")
        await self.reply(reader)
        writer.close()
        self.arrive(number)

    # All of them

    async def run(self, client: Callable[[int], Awaitable[None]], at_once: int) -> None:
        loop = asyncio.get_running_loop()
        over = loop.run_in_executor(None, sys.stdin.read)
        clients: list[asyncio.Task[None]] = []
        began = time.monotonic()
        for number in range(self.count):
            clients.append(asyncio.ensure_future(self._kept(client, number)))
            if len(clients) >= at_once:
                await self._arrivals.get()
        for _ in range(min(self.count, at_once - 1)):
            await self._arrivals.get()
        self._say(time.monotonic() - began)
        began = time.monotonic()
        await over
        self._say(time.monotonic() - began)

    async def _kept(self, client: Callable[[int], Awaitable[None]], number: int) -> None:
        try:
            await client(number)
        except GONE:
            self.cut_off += 1
            self._seen(number)

    def arrive(self, number: int) -> None:
        """This client is where it wants to be."""
        self.here += 1
        self._seen(number)

    def _seen(self, number: int) -> None:
        if number not in self._all_seen:
            self._all_seen.add(number)
            self._arrivals.put_nowait(number)

    def _say(self, took_s: float) -> None:
        told = {"here": self.here, "cut_off": self.cut_off, "took_s": took_s}
        print(json.dumps(told | {"codes": self.codes}), flush=True)


@define(eq=False)
class Others:
    """A crowd that is there, seen from the test.

    Attributes:
        came: what it said when all had come.
        went: what it said at its end.
    """

    process: subprocess.Popen[str]
    came: dict[str, Any] = field(factory=dict)
    went: dict[str, Any] = field(factory=dict)

    def codes(self) -> Counter[str]:
        """Replies between the two."""
        return Counter(self.went["codes"]) - Counter(self.came["codes"])


@contextlib.contextmanager
def come(kind: str, port: int, count: int, rate: float = 0.0) -> Iterator[Others]:
    """So many clients are there inside, and gone after it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.crowd", kind, str(port), str(count), str(rate)],
        cwd=Path(__file__).parents[2],
        env=environment() | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    others = Others(process)
    try:
        others.came = json.loads(process.stdout.readline())
        yield others
        process.stdin.close()
        others.went = json.loads(process.stdout.readline())
        process.kill()  # what it has open needs no goodbye
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main() -> None:
    kind, port, count, rate = sys.argv[1:]
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(int(port), int(count), float(rate))
    at_once = crowd.count + 1 if kind in ("at_once", "push", "refused") else AT_ONCE
    asyncio.run(crowd.run(getattr(crowd, kind), at_once))


if __name__ == "__main__":
    main()
