"""What the store's tests share: a data folder, and mail to put into it."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from mailnode.addresses import parse_address
from mailnode.events import Event
from mailnode.model import Blob, Client, Envelope, Message, Recipient, new_mail_id
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.jobs import WriteKind
from mailnode.store.messages import Messages

PREFIX = b"Received: by mx.example.test\r\n"


class HeardEvents:
    """Stands where `MailLog` does."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def committed(self, events) -> None:
        self.events += events


class Logged:
    """Keeps what is logged, as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event) -> None:
        self.lines.append(formatEvent(event))

    def text(self) -> str:
        return "\n".join(self.lines)


def recipient(account_id: int, address: str = "", mailbox: str = "") -> Recipient:
    mailbox = mailbox or f"user{account_id}@example.test"
    return Recipient(parse_address(address or mailbox), account_id, mailbox)


def envelope(
    *recipients: Recipient | int, sender: str | None = "from@example.org", **more
) -> Envelope:
    to = tuple(recipient(each) if isinstance(each, int) else each for each in recipients)
    return Envelope(
        more.pop("mail_id", "") or new_mail_id(),
        parse_address(sender) if sender else None,
        to,
        more.pop("client", Client(host="192.0.2.1", helo="client.example", protocol="ESMTP")),
        **more,
    )


def message(raw: bytes = b"Subject: hello\r\n\r\nBody\r\n", **more) -> Message:
    digest = hashlib.sha256(raw).digest()
    return Message(PREFIX, more.pop("body", raw), len(raw), digest, subject="hello", **more)


class StoreCase(TestCase):
    """Each test has an open store in a folder of its own."""

    timeout = 60
    reserve_octets = 0

    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.fatal: list[BaseException] = []
        self.logged = Logged()
        globalLogPublisher.addObserver(self.logged)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged)
        self.heard = HeardEvents()
        self.open_store()
        self.addCleanup(self.close_store)

    def open_store(self) -> None:
        self.database = Database.open(
            self.data / "mail.db",
            call_in_reactor=reactor.callFromThread,
            on_fatal=self.fatal.append,
            busy_timeout_s=0.05,
            reserve_octets=self.reserve_octets,
            **self.database_options(),
        )
        self.blobs = FileBlobs(self.data, reactor.callFromThread, self.database.reserve)
        self.messages = Messages(self.database, self.blobs, self.heard)

    def database_options(self) -> dict[str, Any]:
        """What else `Database.open` is given."""
        return {}

    async def close_store(self) -> None:
        await self.database.close()
        self.blobs.close()

    async def reopen_store(self) -> None:
        await self.close_store()
        self.open_store()

    async def write(self, statement: str) -> None:
        """Done by the writer."""
        await self.database.transact(
            "test", lambda connection: connection.execute(statement).close()
        )

    def rows(self, text: str, *values: object) -> list[tuple]:
        return self.database.read_now(
            lambda connection: connection.execute(text, values).fetchall()
        )

    async def make_blob(self, raw: bytes) -> Blob:
        writer = self.blobs.create()
        writer.write(raw)
        return Blob(await writer.commit())

    async def until_no_blob_is_left(self) -> None:
        """Blobs go after the commit, in a thread that nobody waits for."""
        while await self.blobs.keys():
            pass

    async def hold_writer(self) -> WriterHeld:
        """The writer is kept busy until `release`: what is submitted meanwhile is one batch."""
        held = WriterHeld(self.database)
        await held.began
        return held


class WriterHeld:
    def __init__(self, database: Database) -> None:
        self.may_go = threading.Event()
        self.began: Deferred[None] = Deferred()

        def wait(connection, payloads):
            reactor.callFromThread(self.began.callback, None)
            self.may_go.wait(30)
            return [None] * len(payloads), None

        self.done = database.submit(WriteKind("wait", wait), None)

    def release(self) -> Deferred[None]:
        self.may_go.set()
        return self.done
