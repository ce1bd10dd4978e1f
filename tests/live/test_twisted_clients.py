"""Twisted's own clients, many at a time, against a node in a process of its own."""

from __future__ import annotations

import io
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.mail.pop3 import AdvancedPOP3Client
from twisted.mail.smtp import ESMTPSenderFactory, SMTPSenderFactory

from tests.live.node import DOMAIN, PASSWORD, Node, without_ours

MANY = 200


def send(node: Node, raw: bytes, to: str, *, starttls: bool = False) -> Deferred[Any]:
    """Fires when the mail was taken. Twisted's senders want LF: they double the CR of CRLF."""
    done: Deferred[Any] = Deferred()
    mail = io.BytesIO(raw.replace(b"\r\n", b"\n"))
    envelope = ("sender@elsewhere.example", f"{to}@{DOMAIN}", mail, done)
    if starttls:
        trust = Certificate.loadPEM(node.certificate.read_bytes())
        factory = ESMTPSenderFactory(
            None,
            None,
            *envelope,
            retries=0,
            requireAuthentication=False,
            contextFactory=optionsForClientTLS("localhost", trust),
            heloFallback=False,
        )
    else:
        factory = SMTPSenderFactory(*envelope, retries=0)
    reactor.connectTCP("localhost", node.port("smtp"), factory)  # type: ignore[attr-defined]
    return done


class Reader(AdvancedPOP3Client):  # type: ignore[misc]
    """Twisted's client, which may be used once it was greeted."""

    allowInsecureLogin = True

    def __init__(self) -> None:
        self.greeted: Deferred[None] = Deferred()

    def serverGreeting(self, greeting: bytes) -> None:
        self.greeted.callback(None)


async def fetch(node: Node, name: str) -> list[bytes]:
    where = TCP4ClientEndpoint(reactor, "127.0.0.1", node.port("pop3"))
    client = await connectProtocol(where, Reader())
    await client.greeted
    await client.login(f"{name}@{DOMAIN}".encode(), PASSWORD.encode())
    sizes = await client.listSize()
    mails = []
    for index, size in enumerate(sizes):
        mails.append(b"".join(line + b"\r\n" for line in await client.retrieve(index)))
        assert len(mails[-1]) == size
        await client.delete(index)
    await client.quit()
    return mails


@pytest_twisted.ensureDeferred
async def test_two_hundred_at_once_are_all_served(node: Node) -> None:
    raws = [b"Subject: %d\r\n\r\n.body of %d\r\n" % (n, n) for n in range(MANY)]
    names = ["alice", "bob"]
    await gatherResults([send(node, raw, names[n % 2]) for n, raw in enumerate(raws)])
    fetched = [without_ours(mail) for name in names for mail in await fetch(node, name)]
    assert sorted(fetched) == sorted(raws)


@pytest_twisted.ensureDeferred
async def test_twisted_s_sender_uses_starttls(node: Node) -> None:
    await send(node, b"Subject: sealed\r\n\r\n", "alice", starttls=True)
    (served,) = await fetch(node, "alice")
    assert b"ESMTPS" in served.split(b"Subject:")[0]
