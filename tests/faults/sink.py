"""A next hop that takes everything and forgets nothing, in a process of its own.

    python -m tests.faults.sink PORT FILE [--late SECONDS] [--lose SHARE] [--seed N]

A mail is in FILE, a line a recipient, before the reply to its dot leaves: recipient, what stands
in its Subject, and the SHA-256 of its body. A write outlives a kill -9, so what this host has
taken can be read whatever became of it. `--late` waits up to so long in front of that reply;
`--lose` drops so large a share of connections behind the dot, with the mail taken or not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, frozen

START_S = 20.0
MOST_LINE_OCTETS = 1 << 20


@frozen
class Arrival:
    """One recipient of one mail that the sink took."""

    recipient: str
    subject: str
    digest: str


def digest_of(body: bytes) -> str:
    """How a body, CRLF lines without the header, stands in the sink's file."""
    return hashlib.sha256(body).hexdigest()


@define(eq=False)
class Sink:
    """The sink as its test sees it.

    Attributes:
        folder: for its file and its log.
        late_s: it waits up to so long in front of the reply to a dot.
        lost: share of mails behind whose dot the connection is dropped.
    """

    folder: Path
    port: int
    late_s: float = 0.0
    lost: float = 0.0
    seed: int = 1
    process: subprocess.Popen[bytes] | None = None
    _starts: int = 0

    @property
    def file(self) -> Path:
        return self.folder / "arrived"

    def start(self) -> Sink:
        """Listen, with what arrived before."""
        self._starts += 1
        options = ("--late", self.late_s, "--lose", self.lost, "--seed", self.seed + self._starts)
        with (self.folder / "sink.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.sink", str(self.port), self.file]
                + [str(each) for each in options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "sink.log").read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, at once."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def arrived(self) -> Iterator[Arrival]:
        """All that it took, of all its lives, in order."""
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                yield Arrival(*line.split(" "))


# The process


class _Settings(argparse.Namespace):
    file: int
    late: float
    lose: float
    chance: random.Random


async def _serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: _Settings
) -> None:
    try:
        await _talk(reader, writer, settings)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # whoever sent is gone
    finally:
        writer.close()


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: _Settings
) -> None:
    recipients: list[str] = []
    writer.write(b"220 sink.test ESMTP\r\n")
    while line := await reader.readline():
        verb = line[:4].upper()
        if verb == b"EHLO":
            writer.write(b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n")
        elif verb == b"MAIL":
            recipients = []
            writer.write(b"250 2.1.0 OK\r\n")
        elif verb == b"RCPT":
            recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
            writer.write(b"250 2.1.5 OK\r\n")
        elif verb == b"DATA":
            writer.write(b"354 Go ahead\r\n")
            await writer.drain()
            raw = await reader.readuntil(b"\r\n.\r\n")
            if not await _take(raw[:-3], recipients, writer, settings):
                writer.transport.abort()
                return
        elif verb == b"QUIT":
            writer.write(b"221 2.0.0 Bye\r\n")
            return
        else:
            writer.write(b"250 2.0.0 OK\r\n")


async def _take(
    stuffed: bytes, recipients: list[str], writer: asyncio.StreamWriter, settings: _Settings
) -> bool:
    """Whether it is said that the mail was taken."""
    chance = settings.chance
    await asyncio.sleep(chance.uniform(0, settings.late))
    loses = chance.random() < settings.lose
    if not loses or chance.random() < 0.5:
        header, _, body = stuffed.partition(b"\r\n\r\n")
        subject = next(
            line[9:].decode() for line in header.split(b"\r\n") if line[:9] == b"Subject: "
        )
        digest = digest_of(body.replace(b"\r\n.", b"\r\n").removeprefix(b"."))
        lines = "".join(f"{recipient} {subject} {digest}\n" for recipient in recipients)
        os.write(settings.file, lines.encode())
    if loses:
        return False
    await asyncio.sleep(chance.uniform(0, settings.late))
    writer.write(b"250 2.0.0 Taken\r\n")
    return True


async def _listen(port: int, settings: _Settings) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _serve_one(reader, writer, settings),
        "127.0.0.1",
        port,
        limit=MOST_LINE_OCTETS,
        backlog=512,
    )
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--late", type=float, default=0.0)
    parser.add_argument("--lose", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args(namespace=_Settings())
    settings.file = os.open(settings.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    settings.chance = random.Random(settings.seed)
    asyncio.run(_listen(settings.port, settings))


if __name__ == "__main__":
    main()
