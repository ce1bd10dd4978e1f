"""The queue under the hands of an administrator at a running node."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from mailnode.store.beside import writing_beside
from mailnode.store.blobs import FileBlobs
from mailnode.store.database import Database
from mailnode.store.queue_desk import Changed, QueueFilter, QueueRow, change_rows, list_rows

AT_ONCE = ("retry", "release", "bounce")  # a host that rests is asked all the same


@define(eq=False)
class QueueSteering:
    """Looks at rows, and changes them as the command line does: beside the writer, in a thread.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        ring: the node's bell.
        now: UTC epoch seconds, as the queue counts them.
    """

    path: Path
    database: Database
    blobs: FileBlobs
    in_thread: Callable[..., Deferred[Any]]
    ring: Callable[[str], object]
    now: Callable[[], float] = time.time

    def list(self, wanted: QueueFilter, after: int, limit: int) -> Deferred[list[QueueRow]]:
        """Rows that fit, the longest queued first, behind one of this id.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self.database.read(lambda connection: list_rows(connection, wanted, limit, after))

    async def change(self, wanted: QueueFilter, action: str, by: str, reason: str = "") -> Changed:
        """Does what `queue_desk.ACTIONS` names to the rows that fit.

        Args:
            by: who it is, for the journal.
            reason: of a bounce, for its sender.

        Raises:
            StoreBusy, StoreFull, StoreBroken: what was done so far is done.
        """
        changed: Changed = await self.in_thread(self._change, wanted, action, by, reason)
        if changed.blob_keys:
            await self.blobs.delete(changed.blob_keys)
        if changed.ids:
            self.ring("attempt" if action in AT_ONCE else "queue")
        return changed

    def _change(self, wanted: QueueFilter, action: str, by: str, reason: str) -> Changed:
        with writing_beside(self.path) as writer:
            return change_rows(
                writer.transaction, wanted, action, now=self.now(), by=by, reason=reason
            )
