"""A whole node on a test's time and without a socket: its files and threads are real."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mailnode.addresses import parse_address
from mailnode.config import Config, load_config
from mailnode.service import Node
from mailnode.store.accounts import Accounts


class FakePort:
    def __init__(self, host: str, number: int, factory: Any) -> None:
        kind = IPv6Address if ":" in host else IPv4Address
        self.address = kind("TCP", host or "0.0.0.0", number)
        self.factory, self.open, self.reads = factory, True, True
        factory.doStart()

    def getHost(self) -> Any:
        return self.address

    def fileno(self) -> int:
        return int(self.address.port)

    def stopReading(self) -> None:
        self.reads = False

    def stopListening(self) -> None:
        if self.open:
            self.open = False
            self.factory.doStop()


class NodeReactor(Clock):  # type: ignore[misc]
    """A test's time, ports in memory, the real reactor's threads."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> FakePort:
        self.ports.append(FakePort(interface, port or 40000 + len(self.ports), factory))
        return self.ports[-1]

    def listenUNIXDatagram(self, *args: Any, **kwargs: Any) -> None:
        raise OSError("there are no sockets here")

    def callFromThread(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        reactor.callFromThread(call, *args, **kwargs)  # type: ignore[attr-defined]

    def getThreadPool(self) -> Any:
        return reactor.getThreadPool()  # type: ignore[attr-defined]

    def open_ports(self) -> list[FakePort]:
        return [port for port in self.ports if port.open]


class FakeSession:
    """What the node asks of a connection, noted."""

    def __init__(self, account: str = "") -> None:
        self.account = account
        self.token_id: int | None = None
        self.calls: list[str] = []

    def sweep(self, now: float) -> None:
        pass

    def drain(self) -> None:
        self.calls.append("drain")

    def abort(self) -> None:
        self.calls.append("abort")

    def revoke(self) -> None:
        self.calls.append("revoke")


class NodeCase(TestCase):
    """Each test has a folder; `add_accounts` makes its users.db.

    Attributes:
        lines: what was logged, a level before each.
    """

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.data, self.users = self.folder / "var", self.folder / "users.db"
        self.reactor = NodeReactor()
        self.lines: list[str] = []

        def hear(event: Any) -> None:
            if event.get("log_namespace", "").startswith("mailnode"):
                self.lines.append(f"{event['log_level'].name}: {formatEvent(event)}")

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def config(self, **more: object) -> Config:
        options: dict[str, object] = {
            "node.users": str(self.users),
            "node.data": str(self.data),
            "node.hostname": "mx.example.test",
            "listen.smtp": ("2525",),
            "store.free_space": 0,
        } | {name.replace("__", "."): value for name, value in more.items()}
        return load_config(
            environment={}, options={name: (value, "test") for name, value in options.items()}
        )

    def node(self, **more: object) -> Node:
        node = Node(self.config(**more), self.reactor)
        self.addCleanup(self.stop, node)
        return node

    def started(self, **more: object) -> Node:
        node = self.node(**more)
        node.privilegedStartService()
        node.startService()
        return node

    async def stop(self, node: Node) -> None:
        await self.waited(node.stopService())

    async def waited(self, deferred: Deferred[Any]) -> None:
        results: list[object] = []
        deferred.addBoth(results.append)
        await self.until(lambda: bool(results))
        self.assertEqual([None], results)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Threads do their work and time goes on, a little, until it holds."""
        while not holds():
            await deferLater(reactor, 0.001, lambda: None)
            self.reactor.advance(0.001)

    async def done(self, work: Any) -> Any:
        """What it gives, while threads work and time goes on."""
        deferred = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        results: list[Any] = []
        deferred.addBoth(results.append)
        await self.until(lambda: bool(results))
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def accounts(self) -> Accounts:
        """users.db, as another process has it open."""
        accounts = Accounts.open(self.users, create=True)
        self.addCleanup(accounts.close)
        return accounts

    def add_accounts(self, *names: str, **more: Any) -> Accounts:
        accounts = self.accounts()
        if not accounts.domains():
            accounts.add_domain("example.test")
        for name in names:
            accounts.add_account(parse_address(f"{name}@example.test"), "hash", **more)
        return accounts

    def folder_is_free(self) -> bool:
        """Whether another node could have it now."""
        lock = os.open(self.data / "node.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(lock)
