"""What a process of a node stands on: its ports and its files, all of them or none.

`house.House` is built on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mailnode.audited import Auditor
from mailnode.background import background
from mailnode.config import Config, ConfigError
from mailnode.due import DueClock
from mailnode.listening import BadEndpoint, CannotBind, Listener, bind_all
from mailnode.machine import find_hostname, raise_descriptor_limit
from mailnode.sealing import Seal
from mailnode.store.accounts import Accounts
from mailnode.store.audit_file import AuditFile
from mailnode.store.database import Database
from mailnode.store.locks import RUNS_THERE, is_locked, lock_folder
from mailnode.store.watch import AccountsWatch
from mailnode.tls import Certificate, open_certificate

EX_USAGE, EX_UNAVAILABLE, EX_SOFTWARE = 64, 69, 70
EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 74, 75, 77, 78

T = TypeVar("T")

_log = Logger(namespace="mailnode")


class StartFailed(SystemExit):
    """The node can't start: one line on standard error, and a sysexits code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code)
        self.why = why


class Premises(MultiService):
    """Ports and files of a process.

    Args:
        config: the settings.
        reactor: Twisted's, or a test's.

    Attributes:
        listeners: the ports.
        directory, accounts, watch, seal, due, certificate, database: of the files, once they are
            open.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        super().__init__()
        self.setName("mailnode")
        self.config = config
        self.reactor = reactor
        self.hostname = config.node.hostname or find_hostname()
        self.listeners: list[Listener] = []
        self._node_lock = -1

    @property
    def command(self) -> str:
        """The `mailnode` command for this node, as the mends that it names begin."""
        return "mailnode"

    # Ports

    def privilegedStartService(self) -> None:
        """Bind every port, still as root where the node was started so."""
        super().privilegedStartService()
        raise_descriptor_limit()
        self._bind()

    def _bind(self) -> None:
        try:
            self.listeners = bind_all(self.reactor, self.config.listen, self.config.sources)
        except BadEndpoint as error:
            self._fail(EX_USAGE, str(error))
        except CannotBind as error:
            if is_locked(self.config.data_path):  # it has the port, and that is the smaller news
                self._fail(EX_TEMPFAIL, RUNS_THERE.format(self.config.data_path))
            self._fail(EX_UNAVAILABLE, str(error))

    # Files

    def _open(self) -> None:
        """The files: the folder's lock, accounts, mail, certificate."""
        data, users = self.config.data_path, self.config.users_path
        if self.config.tls.cert:  # nothing is made in a folder that may be the wrong one
            self.certificate = self._open_certificate()
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._node_lock = self._lock_folder()
        self.audit_file = AuditFile(data)
        auditor = Auditor(self.audit_file.keep)
        self.accounts = Accounts.open(users, create=True, data=data, auditor=auditor)
        subaddress = self.config.accounts.subaddress
        self.watch = AccountsWatch(self.accounts, subaddress, self._in_thread)
        self.watch.read_now()
        self.directory = self.watch.directory
        self._refuse_demo_beyond_loopback()
        self.seal = Seal.open(data)
        self.due = self._make_clock(data)
        if not self.config.tls.cert:
            self.certificate = self._open_certificate()
        self.database = Database.open(
            data / "mail.db",
            call_in_reactor=self.reactor.callFromThread,
            on_fatal=self._end_after_failed_flush,
            reserve_octets=self.config.store.reserve,
            clock=self.reactor,
        )

    def _make_clock(self, data: Path) -> DueClock:
        """The wall's, unless the settings say that it is moved by hand."""
        if self.config.node.clock == "wall":
            clock, was_ahead_s = DueClock.of_wall(data)
            if was_ahead_s:
                _log.warn(
                    "the queue's clock is the wall's again, and was {days:.1f} days ahead: what was"
                    " queued then waits for its time (mailnode queue retry attempts it now)",
                    days=was_ahead_s / 86400,
                )
            return clock
        if self.config.node.workers > 1:
            raise ConfigError("node.clock: a clock that is moved by hand has one process only")
        return DueClock.manual(data)

    def _open_certificate(self) -> Certificate:
        folder = self.config.data_path / "tls"
        return open_certificate(self.config.tls, folder, self.hostname, self.reactor.seconds)

    def _lock_folder(self) -> int:
        """One node a data folder."""
        return lock_folder(self.config.data_path)

    def _in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *args)

    def _refuse_demo_beyond_loopback(self) -> None:
        open_ports = [each for each in self.listeners if each.beyond_loopback]
        if self.directory.demo_accounts and open_ports:
            mend = " && ".join(
                f"{self.command} user delete {account.key} --yes"
                for account in self.directory.demo_accounts
            )
            self._fail(
                EX_CONFIG,
                f"{open_ports[0].where} listens beyond this machine, and the demo accounts have "
                f"published passwords; first: {mend}",
            )

    # When it can't go on

    def _fail(self, code: int, why: str) -> NoReturn:
        for listener in self.listeners:
            listener.close()
        if hasattr(self, "database"):
            background(self.database.close(), "closing the store")
        if self._node_lock >= 0:
            self._release_folder()
        self.start_failed(why)
        raise StartFailed(code, why)

    def start_failed(self, why: str) -> None:
        """Say why; `SystemExit` alone would end a `.tac` without a word."""
        _log.critical("the node can't start: {why}", why=why)

    def _end_after_failed_flush(self, error: BaseException) -> None:
        """Nobody knows what is on the disk: say so and end; a supervisor starts us again."""
        _log.critical(
            "a flush failed, nothing more is taken and the process ends: {error}",
            error=str(error),
        )
        os._exit(EX_IOERR)

    def _release_folder(self) -> None:
        """Another node may have it now."""
        if hasattr(self, "accounts"):
            self.accounts.close()
        os.close(self._node_lock)
        self._node_lock = -1
