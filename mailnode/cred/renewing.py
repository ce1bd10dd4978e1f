"""Passwords that are kept in an older form get today's, once their owners have said them.

What an older version, another system or weaker parameters left has no SCRAM keys, or a hash that
costs too little. Only who says the password can mend that. It is done beside the sign-in, a few
accounts in a commit, and nobody who is signed in notices.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailnode.background import background
from mailnode.cred.hashes import is_outdated
from mailnode.cred.scram import ScramBook
from mailnode.cred.stored import StoredPassword, read_kept, renew_password
from mailnode.errors import MailError

if TYPE_CHECKING:
    from mailnode.cred.passwords import Passwords
    from mailnode.sealing import Seal
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.people import Account

MOST_PENDING = 1000
A_COMMIT = 16
PAUSE_S = 1.0  # between commits: after each, every process reads users.db again

_log = Logger(namespace="mailnode")


@define(eq=False)
class Renewing:
    """Renews what is kept of the passwords that were right.

    Args:
        keep: writes (account as it was, what is kept) of some accounts, and everybody knows of it
            when it is done.
    """

    _directory: LiveDirectory
    _passwords: Passwords
    _seal: Seal
    _clock: IReactorTime
    _keep: Callable[[list[tuple[Account, StoredPassword]]], Awaitable[Any]]
    _book: ScramBook = field(init=False)
    _pending: dict[int, tuple[Account, str]] = field(factory=dict, init=False, repr=False)
    _under_way: set[int] = field(factory=set, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _pause: Deferred[None] | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._book = ScramBook(self._directory, self._seal)

    def saw(self, account: Account, password: str) -> None:
        """That was its password."""
        known = account.id in self._pending or account.id in self._under_way
        if known or self._stopped or len(self._pending) >= MOST_PENDING:
            return
        if account.demo:  # users.db of the demo domain stays as it is
            return
        kept = self._directory.scram_keys(account.id)
        if is_outdated(account.password_hash) or read_kept(account, kept, self._seal) is None:
            self._pending[account.id] = account, password
            if self._running is None or self._running.called:
                self._running = Deferred.fromCoroutine(self._run())
                background(self._running, "renewing what is kept of passwords")

    async def _run(self) -> None:
        while self._pending and not self._stopped:
            await self._renew_some()
            if self._pending and not self._stopped:
                self._pause = deferLater(self._clock, PAUSE_S)
                with suppress(CancelledError):  # the stop waits for no pause
                    await self._pause

    async def _renew_some(self) -> None:
        """What can't be renewed now is at the next sign-in."""
        made: list[tuple[Account, StoredPassword]] = []
        try:
            while self._pending and len(made) < A_COMMIT:
                account_id = next(iter(self._pending))
                account, password = self._pending.pop(account_id)
                self._under_way.add(account_id)
                shown = self._book.keys_for(str(account.address))
                work = self._passwords.in_thread(
                    renew_password, password, account.password_hash, shown.salt, self._seal
                )
                made.append((account, await work))
            await self._keep(made)
        except MailError as error:
            _log.warn("passwords keep their older form for now: {error}", error=str(error))
        finally:
            self._under_way.clear()

    async def stop(self) -> None:
        """No more is begun; what is under way is done."""
        self._stopped = True
        self._pending.clear()
        if self._pause is not None:
            self._pause.cancel()
        if self._running is not None:
            done: Deferred[None] = Deferred()
            self._running.addBoth(lambda _: done.callback(None))
            await done
