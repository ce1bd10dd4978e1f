"""How many names a second the resolver looks up: from memory, and from a DNS server on loopback.

python -m tests.bench.lookups SECONDS

The server runs in a process of its own; 50 questions are under way at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.logger import globalLogBeginner

from mailnode.resolver import Resolver

NAMES, AT_A_TIME = 1000, 50


async def measure(resolver: Resolver, seconds: float, kept: bool) -> dict[str, float]:
    began, cpu, count = time.monotonic(), time.process_time(), 0

    async def ask() -> None:
        nonlocal count
        while time.monotonic() < began + seconds:
            count += 1
            if not kept and count % NAMES == 0:
                resolver.cache.clear()
            await resolver.look_up(f"h{count % NAMES}.example.org", "MX")

    await gatherResults([Deferred.fromCoroutine(ask()) for _ in range(1 if kept else AT_A_TIME)])
    took, used = time.monotonic() - began, time.process_time() - cpu
    return {"a_second": round(count / took), "cpu_us": round(used / count * 1e6, 1)}


async def compare(seconds: float, port: int) -> dict[str, dict[str, float]]:
    resolver = Resolver(reactor, [f"127.0.0.1:{port}"])
    asked = await measure(resolver, seconds, kept=False)
    for n in range(NAMES):
        await resolver.look_up(f"h{n}.example.org", "MX")
    return {"asked": asked, "kept": await measure(resolver, seconds, kept=True)}


def main() -> None:
    seconds = float(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        zone = Path(folder) / "zone.json"
        zone.write_text(
            json.dumps({f"h{n}.example.org MX": ["10 mx.example.org"] for n in range(NAMES)})
        )
        words = [sys.executable, "-m", "tests.dns_world", "0", str(zone)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline())
                react(lambda _: Deferred.fromCoroutine(show(seconds, port)))
            finally:
                server.terminate()


async def show(seconds: float, port: int) -> None:
    print(json.dumps(await compare(seconds, port)))


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    main()
