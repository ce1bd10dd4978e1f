"""What it costs to find out who sent a mail: `python -m tests.bench.senders`.

A signature's verification, all checks of a mail with answers that a resolver has kept, the hashes
of 50 MiB, and the longest step of hostile SPF records: each step holds the reactor's thread.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from mailnode.addresses import parse_address
from mailnode.filters.authentication import PIECE_OCTETS, Authentication
from mailnode.mailauth.answers import Answer, Answers, Lacking
from mailnode.mailauth.canonical import BodyHash, BodyHashes, BodyKind
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.examination import read_mail
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.mailauth.spf import Sending, check_host
from mailnode.model import Client, Envelope, Message
from mailnode.threads import Threads
from tests.fakes import FakeResolver
from tests.unit.mailauth_case import Zone

AT = 1_795_000_000
TIMES = 1000
KEY = DkimKey("example.org", "s1", RSA, make_private_key(RSA))
HEADER = (
    b"Received: from a.example.org by b.example.org; Fri, 27 Nov 2026 14:00:00 +0000\r\n"
    * 4
    + b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Greetings\r\n"
    b"Date: Fri, 27 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
)
LINE = b"some words of a mail, and  more of them on a line \r\n"
BODY = LINE * ((4096 - len(HEADER)) // len(LINE))
ZONE: dict[tuple[str, str], Any] = {
    ("example.org", "TXT"): ["v=spf1 mx ip4:192.0.2.0/24 -all"],
    ("example.org", "MX"): [(10, "mx.example.org")],
    ("mx.example.org", "A"): ["192.0.2.7"],
    ("mx.example.org", "TXT"): ["v=spf1 a -all"],
    ("_dmarc.example.org", "TXT"): ["v=DMARC1; p=reject"],
    ("s1._domainkey.example.org", "TXT"): [key_record(RSA, public_text(KEY.private_key))],
}


def signed_mail() -> bytes:
    hashed = BodyHash()
    hashed.feed(BODY)
    return sign(HEADER, hashed.digest(), [KEY], AT) + HEADER + b"\r\n" + BODY


def timed_ms(work: Callable[[], object], times: int) -> list[float]:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)


def verify_signature(mail: bytes) -> None:
    header, _, body = mail.partition(b"\r\n\r\n")
    examination = read_mail(header + b"\r\n")
    examination.bodies.feed(body)
    examination.end_body()
    answers = Answers({name: Answer(tuple(values)) for name, values in ZONE.items()})
    (found,), _arc = examination.judge(answers, AT)
    assert found.result == "pass", found


async def examine_mails(mail: bytes) -> float:
    """Processor time of one mail's checks, in milliseconds."""
    threads = Threads(reactor.callFromThread, most_threads=4)  # type: ignore[attr-defined]
    checks = Authentication(FakeResolver(ZONE), threads.run, reactor, "mx.example.net")  # type: ignore[arg-type]
    client = Client("192.0.2.7", helo="mx.example.org")
    envelope = Envelope("ID", parse_address("alice@example.org"), (), client, received_at=AT)
    message = Message(b"", mail, len(mail), b"")
    assert (await checks.examine(envelope, message)).dmarc.result == "pass"
    began = time.process_time()
    for _ in range(TIMES):
        await checks.examine(envelope, message)
    threads.stop()
    return (time.process_time() - began) * 1000 / TIMES


def hash_large_body(kinds: list[BodyKind]) -> tuple[float, int]:
    """(seconds, KiB of memory) for 50 MiB, which are never there at once."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = (LINE * (PIECE_OCTETS // len(LINE) + 1))[:PIECE_OCTETS]
    began = time.perf_counter()
    hashes = BodyHashes.of(kinds)
    for _ in range((50 << 20) // PIECE_OCTETS):
        hashes.feed(piece)
    hashes.end()
    took_s = time.perf_counter() - began
    return took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def hostile_zones() -> Iterator[tuple[str, Zone]]:
    """Records at the bounds: networks, macros, hosts with 256 addresses each."""
    for name, rest in (
        ("networks", "ip4:198.51.100.1 " * 230),
        ("macros", "exists:" + "%{l1r.-+}" * 99 + ".org "),
        ("hosts", "mx:m.example.org ptr "),
    ):
        told: dict[tuple[str, str], Any] = {
            (f"s{n}.example.org", "TXT"): [f"v=spf1 {rest}include:s{n + 1}.example.org"]
            for n in range(12)
        }
        hosts = [f"h{n}.example.org" for n in range(10)]
        told["m.example.org", "MX"] = [(10, host) for host in hosts]
        told["7.2.0.192.in-addr.arpa", "PTR"] = hosts
        for number, host in enumerate(hosts):
            told[host, "A"] = [f"198.18.{number}.{last}" for last in range(256)]
        yield name, Zone(told)


def longest_step_ms(zone: Zone) -> float:
    sending = Sending.of("192.0.2.7", "a@s0.example.org", "mx.example.org", "mx.example.net", AT)
    answers, longest = Answers(), 0.0
    while True:
        began = time.perf_counter()
        try:
            check_host(sending, answers)
            return max(longest, (time.perf_counter() - began) * 1000)
        except Lacking as lacking:
            longest = max(longest, (time.perf_counter() - began) * 1000)
            answers.add({each: zone.answer(each) for each in lacking.questions})


async def main(_reactor: object) -> None:
    mail = signed_mail()
    took = timed_ms(partial(verify_signature, mail), TIMES)
    print(
        f"one RSA-2048 signature, mail of {len(mail)} octets: {statistics.median(took):.2f} ms, "
        f"{took[int(TIMES * 0.99)]:.2f} ms at 99 %"
    )
    print(f"all checks of it, answers kept: {await examine_mails(mail):.2f} ms of processor time")
    for words, kinds in (
        ("one kind", [BodyKind()]),
        (
            "ten kinds",
            [BodyKind(form, n << 20 or None) for form in (True, False) for n in range(5)],
        ),
    ):
        took_s, more_kib = hash_large_body(kinds)
        print(f"hashes of 50 MiB, {words}: {took_s:.2f} s, {more_kib} KiB more memory")
    for name, zone in hostile_zones():
        best = min(longest_step_ms(zone) for _ in range(5))
        print(f"longest step of hostile SPF, {name}: {best:.2f} ms")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
