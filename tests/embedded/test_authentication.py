"""`mailnode.filters.authentication` with our resolver and threads, a DNS server and a blob."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailnode import resolver as resolver_module
from mailnode.addresses import parse_address
from mailnode.filters.authentication import Authentication
from mailnode.mailauth.canonical import BodyHash
from mailnode.mailauth.dkim import RSA, DkimKey, sign
from mailnode.mailauth.examination import Authenticated
from mailnode.mailauth.keys import key_record, make_private_key, public_text
from mailnode.model import Blob, Client, Envelope, Message
from mailnode.resolver import Resolver
from mailnode.store.blobs import FileBlobs
from mailnode.threads import Threads
from tests.dns_world import DnsWorld

AT = 1_795_000_000
KEY = DkimKey("example.org", "s1", RSA, make_private_key(RSA))
HEADER = b"From: alice@example.org\r\nSubject: Greetings\r\n"
BODY = b"Hello  there \r\n" * 100_000


class AuthenticationTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.zone: dict[tuple[str, str], Any] = {
            ("example.org", "TXT"): ["v=spf1 mx -all"],
            ("example.org", "MX"): ["10 mx.example.org", "20 mx2.example.org"],
            ("mx.example.org", "A"): ["192.0.2.1"],
            ("mx2.example.org", "A"): ["192.0.2.7"],
            ("_dmarc.example.org", "TXT"): ["v=DMARC1; p=reject"],
            ("s1._domainkey.example.org", "TXT"): [key_record(RSA, public_text(KEY.private_key))],
        }
        self.world = DnsWorld(self.zone)
        port = self.world.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        self.resolver = Resolver(reactor, [f"127.0.0.1:{port}"])
        self.addCleanup(lambda: Deferred.fromCoroutine(self.resolver.close()))
        self.threads = Threads(reactor.callFromThread)  # type: ignore[attr-defined]
        self.addCleanup(self.threads.stop)
        self.patch(resolver_module, "TRIES_S", (0.3, 0.3))

    async def examine(self, body: bytes | Blob, **more: Any) -> Authenticated:
        checks = Authentication(self.resolver, self.threads.run, reactor, "mx.example.net", **more)
        envelope = Envelope(
            "ID",
            parse_address("alice@example.org"),
            (),
            Client("192.0.2.7", helo="mx2.example.org"),
            received_at=AT,
        )
        return await checks.examine(envelope, Message(b"", body, 0, b""))

    def signed(self) -> bytes:
        body_hash = BodyHash()
        body_hash.feed(BODY)
        return sign(HEADER, body_hash.digest(), [KEY], AT) + HEADER + b"\r\n" + BODY

    async def test_a_large_mail_from_a_blob_passes_three_times_and_one_octet_less_fails(
        self,
    ) -> None:
        blobs = FileBlobs(Path(self.mktemp()), reactor.callFromThread)  # type: ignore[attr-defined]
        for mail, dkim in ((self.signed(), "pass"), (self.signed()[:-9], "fail")):
            writer = blobs.create()
            wait = writer.write(mail)
            if wait is not None:
                await wait
            key = await writer.commit()
            found = await self.examine(Blob(key, partial(blobs.open, key)))
            self.assertEqual(
                (found.spf.result, found.dkim[0].result, found.dmarc.result), ("pass", dkim, "pass")
            )

    async def test_silence_ends_with_the_time_and_lies_are_permerror(self) -> None:
        self.zone["example.org", "MX"] = "silence"
        self.zone["s1._domainkey.example.org", "TXT"] = ["v=DKIM1; p=" + "A" * 30_000]
        found = await self.examine(self.signed(), limit_s=2.0)
        self.assertEqual((found.spf.result, found.dkim[0].result), ("temperror", "permerror"))
        self.assertEqual(found.dmarc.result, "temperror")
