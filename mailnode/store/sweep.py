"""The sweep: what nobody needs any more leaves the store, at the start and every day.

The journal is kept in its bounds each hour.

It runs behind a serving node, in short transactions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Coroutine
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailnode.background import background
from mailnode.settings import JournalSettings
from mailnode.store.blobs import Elsewhere, FileBlobs, nowhere
from mailnode.store.exchange import KEPT
from mailnode.store.journal import Journal
from mailnode.store.locks import lock_blobs
from mailnode.store.messages import Messages
from mailnode.store.models import ModelFiles
from mailnode.store.sqlite import padded
from mailnode.store.upgrade import delete_old_copies

if TYPE_CHECKING:
    from mailnode.store.directory import LiveDirectory

log = Logger()

EVERY_S = 86400.0
PRUNE_EVERY_S = 3600.0
KEYS_AT_ONCE = 256


@define(eq=False)
class Sweep:
    """Keeps the data folder clean.

    Attributes:
        directory: says which accounts there are.
        elsewhere: blobs that other processes of the node have in hand.
        done_once: whether the sweep of the start is over.
    """

    messages: Messages
    blobs: FileBlobs
    journal: Journal
    directory: LiveDirectory
    settings: JournalSettings
    clock: IReactorTime
    elsewhere: Elsewhere = nowhere
    done_once: bool = field(default=False, init=False)
    _timer: LoopingCall | None = field(default=None, init=False)
    _pruning: LoopingCall | None = field(default=None, init=False)
    _running: set[Deferred[Any]] = field(factory=set, init=False)

    def start(self) -> None:
        """Sweep now, and then every day; a deleted account's mail goes at once."""
        self.directory.subscribe(self._accounts_changed)
        self._timer = LoopingCall(self._sweep)
        self._timer.clock = self.clock
        self._timer.start(EVERY_S)
        self._pruning = LoopingCall(self._prune)
        self._pruning.clock = self.clock
        self._pruning.start(PRUNE_EVERY_S, now=False)

    def stop(self) -> None:
        """What is under way stops after the transaction that it is in."""
        for timer in (self._timer, self._pruning):
            if timer is not None and timer.running:
                timer.stop()
        for running in list(self._running):
            running.cancel()

    def _accounts_changed(self, account_ids: Collection[int]) -> None:
        gone = [each for each in account_ids if self.directory.find_by_id(each) is None]
        if gone:
            background(self._drop(gone), "dropping the mail of deleted accounts")

    async def _drop(self, gone: list[int]) -> None:
        if len(gone) > 1:  # users.db may have become another one
            await self.drop_gone_accounts()
            await self.drop_gone_models()
        else:
            await self.messages.drop_accounts(gone)
            await self.blobs.in_thread(lambda: self._models.drop(gone))

    def _sweep(self) -> Deferred[None]:
        return self._begin(self.run())

    def _begin(self, work: Coroutine[Deferred[Any], Any, object]) -> Deferred[None]:
        running: Deferred[Any] = Deferred.fromCoroutine(work)
        self._running.add(running)
        return running.addCallbacks(lambda _: None, self._failed).addBoth(
            lambda _: self._running.discard(running)
        )

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            log.failure("The sweep failed; it is tried again later", failure)

    def _prune(self) -> Deferred[None]:
        """Keep the journal in its bounds: what strangers cause in an hour is little."""
        return self._begin(self.journal.prune(self.settings.keep, self.settings.size))

    async def run(self) -> None:
        """All of it, once.

        Raises:
            StoreBusy, StoreFull, StoreBroken: the rest waits for the next time.
        """
        swept = {
            **await self._sweep_blobs(),
            "mails that nothing holds": await self.messages.delete_unfiled(),
            "mails of deleted accounts": await self.drop_gone_accounts(),
            "models of deleted accounts": await self.drop_gone_models(),
            "journal rows": await self.journal.prune(self.settings.keep, self.settings.size),
            "old copies": await self.blobs.in_thread(
                lambda: delete_old_copies(self.blobs.data / KEPT, time.time())
            ),
        }
        self.done_once = True
        if any(swept.values()):
            text = ", ".join(f"{count} {what}" for what, count in swept.items() if count)
            log.info("Swept out of the store: {text}", text=text)

    async def _sweep_blobs(self) -> dict[str, int]:
        """What is left half-written or without a mail is gone; how many of each.

        While an import beside the node has blobs in hand, it all waits for the next time.
        """
        lock = await self.blobs.in_thread(lambda: lock_blobs(self.blobs.data))
        if lock is None:
            log.info("An import runs: blobs without a mail are looked for the next time")
            return {}
        try:
            return {
                "unfinished blobs": await self.blobs.clear_spool(self.elsewhere),
                "blobs without a mail": await self.delete_orphans(),
            }
        finally:
            os.close(lock)

    async def delete_orphans(self) -> int:
        """Blobs that no row names are gone; how many.

        One on its way into a row is in hand. What was listed and is not in hand then has its row
        already, or never gets one: no clock decides.
        """
        listed = await self.blobs.keys()
        in_hand = {*await self.elsewhere(), *self.blobs.in_hand}
        others = [key for key, _, _ in listed if key not in in_hand]
        gone = 0
        for at in range(0, len(others), KEYS_AT_ONCE):
            some = others[at : at + KEYS_AT_ONCE]
            if orphans := set(some) - await self._named(some):
                gone += await self.blobs.delete(orphans)
        return gone

    async def _named(self, keys: Collection[str]) -> set[str]:
        marks, values = padded(list(keys))
        rows = await self.messages.database.read(
            lambda connection: connection.execute(
                f"SELECT blob_key FROM message WHERE blob_key IN ({marks})", values
            ).fetchall()
        )
        return {key for (key,) in rows}

    async def drop_gone_accounts(self) -> int:
        """Mail of accounts that are no longer in users.db is gone; how many copies.

        Where none of those who own mail is known, that users.db is likely another one than
        the mail's: nothing is dropped, and the log says so.
        """
        owners = await self.messages.account_ids()
        gone = [owner for owner in owners if self.directory.find_by_id(owner) is None]
        if gone and len(gone) == len(owners):
            log.warn(
                "No account in users.db owns any of the mail in the data folder: is it the right"
                " file? The mail of {count} unknown accounts stays",
                count=len(gone),
            )
            return 0
        return await self.messages.drop_accounts(gone)

    async def drop_gone_models(self) -> int:
        """What accounts had learned that are no longer in users.db is gone; how many models.

        Where nobody is known who has one or owns mail, all stay, as above.
        """
        owners = await self.blobs.in_thread(self._models.account_ids)
        gone = [owner for owner in owners if self.directory.find_by_id(owner) is None]
        others = {*owners, *await self.messages.account_ids()} if gone else ()
        if not any(self.directory.find_by_id(owner) for owner in others):
            return 0
        return await self.blobs.in_thread(lambda: self._models.drop(gone))

    @property
    def _models(self) -> ModelFiles:
        return ModelFiles(self.blobs.data)
