"""A node in memory for dialogs: the real parts over a store in a temporary folder.

Its clock is a test's, so that ten minutes pass in a moment; its threads are real.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater

from mailnode.addresses import parse_address
from mailnode.config import load_config
from mailnode.errors import StoreBroken, StoreFull
from mailnode.model import Blob, Client, Envelope, Message, Recipient, new_mail_id
from mailnode.service import Node
from tests.dialogs.mailboxes import MAILBOXES

ROOT = Path(__file__).parents[2]
HOSTNAME = "example.test"
TURN_S = 0.02


class HouseReactor(Clock):  # type: ignore[misc]
    """A test's time, the real reactor's threads."""

    def callFromThread(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        reactor.callFromThread(call, *args, **kwargs)  # type: ignore[attr-defined]

    def listenUNIXDatagram(self, *args: Any, **kwargs: Any) -> None:
        raise OSError("the house has no sockets")


class NodeHouse:
    """One node with alice, bob and what a dialog's headers ask for.

    Headers: `mailbox` names the mails that alice has from the start; `set` gives settings,
    `limits.errors=3 limits.recipients=2`.
    """

    def __init__(self, folder: Path, headers: dict[str, str]) -> None:
        shutil.copy(ROOT / "users.db", folder / "users.db")
        self.clock = HouseReactor()
        self.clock.advance(1_000_000)
        settings: dict[str, tuple[object, str]] = {
            "node.hostname": (HOSTNAME, "the house"),
            "node.users": (str(folder / "users.db"), "the house"),
            "node.data": (str(folder / "var"), "the house"),
            "store.free_space": (0, "the house"),
            "arrival.reverse": ("off", "the house has no DNS"),
            "arrival.helo": ("off", "the house has no DNS"),
            "judging.authenticate": (False, "the house has no DNS"),
        }
        for word in headers.get("set", "").split():
            key, _, value = word.partition("=")
            settings[key] = (value, "the dialog")
        self.node = Node(load_config(environment={}, options=settings), self.clock)
        self.mailbox = headers.get("mailbox", "empty")

    async def start(self) -> None:
        self.node.startService()
        await self.deliver(self.mailbox)

    async def stop(self) -> None:
        stopped = self.node.stopService()
        done: list[object] = []
        stopped.addBoth(done.append)
        while not done:
            await self.turn()
        if done[0] is not None:
            raise AssertionError(done[0])

    # What a replay asks for

    def build(self, server: str, address: IPv4Address) -> Any:
        factory = {
            "smtp": self.node.smtp,
            "submission": self.node.submission,
            "pop3": self.node.pop3,
        }[server]
        return factory.buildProtocol(address)

    async def turn(self) -> None:
        await deferLater(reactor, 0.001, lambda: None)
        self.clock.advance(TURN_S)

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
        self.clock.advance(seconds % 1)

    async def order(self, words: list[str]) -> None:
        """`deliver NAME`: mails of that name come to alice; `fault read` or `write`: the
        database can't any more; `mended`: it can again; `drain`: the node stops; `held N`:
        alice has N mails."""
        match words:
            case ["deliver", name]:
                await self.deliver(name)
            case ["fault", "read"]:
                self._break("read", StoreBroken(detail="/var/mail.db is malformed"))
            case ["fault", "write"]:
                self._break("submit", StoreFull(detail="no space left on /dev/sda1"))
            case ["mended"]:
                self.node.messages.database = self.node.database
            case ["drain"]:
                self.node.pop3_sessions.drain()
                self.node.smtp_sessions.drain()
            case ["held", count]:
                uses = self.node.messages.usage(self._alice().id)
                assert uses[1] == int(count), f"alice has {uses[1]} mails, not {count}"
            case ["newest", *pattern]:
                mail = await self.newest()
                wanted = " ".join(pattern).encode()
                assert re.search(wanted, mail), f"alice's newest mail is {mail!r}"
            case _:
                raise AssertionError(f"nobody knows this order: {words}")

    def _break(self, method: str, error: Exception) -> None:
        broken: Any = Broken(self.node.database, method, error)
        self.node.messages.database = broken

    # Mail

    def _alice(self) -> Any:
        account = self.node.directory.find_sign_in("alice@example.test")
        assert account is not None
        return account

    async def newest(self) -> bytes:
        """Alice's newest mail as it is served."""
        folder = await self.node.messages.inbox(self._alice().id)
        snapshot = await self.node.messages.snapshot(folder.folder_id)
        last = (snapshot.uids[-1], snapshot.message_ids[-1])
        (mail,) = await self.node.messages.read_mails(folder.folder_id, [last])
        assert isinstance(mail.body, bytes)
        return bytes(mail.head + mail.body)

    async def deliver(self, name: str) -> None:
        for raw in MAILBOXES[name]:
            await self.file(raw)

    async def file(self, raw: bytes) -> None:
        """Into alice's INBOX, as a mail from bob."""
        alice = self._alice()
        body: bytes | Blob = raw
        if len(raw) > self.node.config.store.blob_over:
            writer = self.node.blobs.create()
            if (wait := writer.write(raw)) is not None:
                await wait
            body = Blob(await writer.commit())
        dot_lines = raw.count(b"\r\n.") + raw.startswith(b".")
        await self.node.messages.file_message(
            Envelope(
                new_mail_id(),
                parse_address("bob@example.test"),
                (Recipient(alice.address, alice.id, alice.key),),
                Client(host="127.0.0.1"),
            ),
            Message(b"", body, len(raw), hashlib.sha256(raw).digest(), dot_lines),
        )


class Broken:
    """A database of which one method fails."""

    def __init__(self, database: Any, method: str, error: Exception) -> None:
        self._database, self._method, self._error = database, method, error

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method else getattr(self._database, name)

    def _fail(self, *args: object) -> Deferred[Any]:
        return fail(self._error)
