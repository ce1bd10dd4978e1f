"""The accounts of a running node: read again whenever somebody changed users.db."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from mailnode.addresses import Address
from mailnode.background import background
from mailnode.store.accounts import Accounts
from mailnode.store.directory import Account, LiveDirectory

_log = Logger(namespace="mailnode")

UNREAD = -1


def _nobody() -> None:
    """There is one process."""


@define(eq=False)
class AccountsWatch:
    """Keeps a `LiveDirectory` at what users.db says; look-ups go on with what was known before.

    Attributes:
        subaddress: what parts `alice` from `alice+detail`.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        told: called when users.db was changed here, for the other processes of the node.
    """

    accounts: Accounts
    subaddress: str
    in_thread: Callable[..., Deferred[Any]]
    told: Callable[[], object] = field(default=_nobody, init=False)
    directory: LiveDirectory = field(factory=LiveDirectory, init=False)
    _version: int = field(default=UNREAD, init=False)
    _fault: str = field(default="", init=False)
    _reading: DeferredLock = field(factory=DeferredLock, init=False)

    def read_now(self) -> None:
        """What is there counts from now on; for the start.

        Raises:
            StoreBusy, StoreBroken.
        """
        self._version = self.accounts.data_version()  # before: a change meanwhile is seen later
        self.directory.replace(self.accounts.load_directory(self.subaddress))

    def look(self) -> None:
        """Take up what was changed; what can't be read now is read at the next look."""
        try:
            version = self.accounts.data_version()
        except Exception as error:
            self._failed(error)
            return
        if version != self._version:
            self._version = version
            background(self.take_up(), "reading users.db")

    async def take_up(self) -> None:
        """Read all of it in a thread."""
        async with self._reading:
            try:
                self._version = self.accounts.data_version()  # this is it, for the looks behind it
                directory = await self.in_thread(self.accounts.load_directory, self.subaddress)
            except Exception as error:
                self._version = UNREAD
                self._failed(error)
                return
            self._fault = ""
            self.directory.replace(directory)

    async def changed(self) -> None:
        """It was changed here: this process knows it, and everybody else will."""
        await self.take_up()
        self.told()

    def make_account(self, address: Address) -> Deferred[Account]:
        """An account without a password of its own, for an id that only `--auth` knows.

        Errors:
            AccountError, StoreBusy, StoreFull, StoreBroken.
        """
        return Deferred.fromCoroutine(self._make_account(address))

    async def _make_account(self, address: Address) -> Account:
        account: Account = await self.in_thread(self.accounts.add_account, address, "")
        await self.take_up()
        return account

    def _failed(self, error: Exception) -> None:
        """The log hears of a fault once, however often we look."""
        if str(error) != self._fault:
            self._fault = str(error)
            _log.error("users.db can't be read, what was known stays: {error}", error=self._fault)
