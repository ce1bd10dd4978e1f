"""Lists and search: what is known of each mail of an account without reading it.

An index file an account, `var/index/<account_id>.db`, made of mail.db and the bodies by a thread
behind the commits (`indexing`). Questions are answered in threads of their own.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail

from mailnode.errors import StoreBusy
from mailnode.machine import index_room
from mailnode.model import Standing
from mailnode.reading.query import Query
from mailnode.reading.summary import Summary
from mailnode.store import index_asking, index_order
from mailnode.store.index_asking import PAGE_MAILS, Hits, Progress
from mailnode.store.index_files import BegunAnew, IndexFiles, empty
from mailnode.store.index_order import Listed
from mailnode.store.index_unread import Unindexed
from mailnode.store.indexing import Indexer
from mailnode.store.sqlite import damage_error

THREADS = 2
READERS_OPEN = 40  # the last that closes a file flushes it, and accepts wait for the disk
READER_CACHE_OCTETS = 512 << 10
MOST_WAITING = 200
LONGEST_S = 5.0
OPCODES = 50_000  # of SQLite, about a millisecond, between looks at the time

T = TypeVar("T")


def _none() -> int:
    return 0


@define(eq=False)
class Indexes:
    """The indexes of all accounts. Called on the reactor thread.

    Attributes:
        data: the node's folder.
        call_in_reactor: `reactor.callFromThread`.
        writes: how many writes the node has done so far.
    """

    data: Path
    call_in_reactor: Callable[..., Any]
    writes: Callable[[], int] = _none
    indexer: Indexer = field(init=False)
    _readers: IndexFiles = field(init=False)
    _unindexed: Unindexed = field(init=False)
    _pool: ThreadPoolExecutor = field(
        factory=lambda: ThreadPoolExecutor(THREADS, "mail-search"), init=False
    )
    _waiting: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.indexer = Indexer(self.data, self.writes)
        self._readers = IndexFiles(self.data, index_room(READERS_OPEN), READER_CACHE_OCTETS)
        self._unindexed = Unindexed(self.data)

    def start(self) -> None:
        """What mail there is, and what comes, is indexed from now on by this process."""
        self.indexer.start()

    def changed(self, account_id: int) -> None:
        """Mail came to an account, or left it."""
        self.indexer.want((account_id,))

    def look(self) -> None:
        """Mail may have come to any account, or left it."""
        self.indexer.want_all()

    async def stop(self) -> None:
        """Questions that wait are answered, the threads have ended, the files are closed."""
        self.indexer.end()
        done: Deferred[None] = Deferred()
        pool = self._pool

        def end() -> None:
            self.indexer.join()
            self._readers.close()
            self.call_in_reactor(done.callback, None)

        pool.submit(end)
        await done
        pool.shutdown(wait=False)

    # Questions

    def summaries(
        self, account_id: int, message_ids: Collection[int]
    ) -> Deferred[dict[int, Summary]]:
        """What lists show of these mails of the account; others are left out.

        What is not indexed yet is read at once, unless much was lately; then it is left out, too.

        Args:
            message_ids: 200 at most.

        Errors:
            StoreBusy, StoreBroken.
        """
        if len(message_ids) > PAGE_MAILS:
            return fail(ValueError(f"a page has {PAGE_MAILS} mails"))
        ids = list(message_ids)
        return self._ask(
            account_id,
            lambda connection: index_asking.summaries(connection, self._unindexed, account_id, ids),
        )

    def page(
        self,
        account_id: int,
        folder_id: int,
        *,
        before: Standing | None = None,
        after: Standing | None = None,
        limit: int = 50,
    ) -> Deferred[list[Listed]]:
        """Lines of a folder, the newest first; of one that is far from being indexed, by uid.

        Args:
            before: those behind this place, the newest of them; None begins with the newest.
            after: those in front of this one, the oldest of them.
            limit: 1 to 200.

        Errors:
            NoSuchFolder.
            StoreBusy, StoreFull, StoreBroken.
        """
        limit = max(1, min(limit, PAGE_MAILS))
        return self._ask(
            account_id,
            lambda connection: index_order.page(
                connection, account_id, folder_id, before=before, after=after, limit=limit
            ),
        )

    def around(
        self, account_id: int, folder_id: int, uid: int
    ) -> Deferred[tuple[Listed | None, Listed | None]]:
        """The next newer and the next older mail in the folder's list.

        Errors:
            NoSuchFolder, NoSuchMail.
            StoreBusy, StoreFull, StoreBroken.
        """
        return self._ask(
            account_id,
            lambda connection: index_order.around(connection, account_id, folder_id, uid),
        )

    def search(
        self,
        account_id: int,
        query: Query,
        *,
        folder_ids: Sequence[int] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Deferred[Hits]:
        """The newest mails of the account that the query fits.

        Args:
            folder_ids: in one of which they must lie; None for any.
            before: of the page before; None for the newest.
            limit: 1 to 200.

        Errors:
            BadQuery: it names a folder that isn't there.
            StoreBusy, StoreBroken.
        """
        limit = max(1, min(limit, PAGE_MAILS))
        return self._ask(
            account_id,
            lambda connection: index_asking.search(
                connection, account_id, query, folder_ids, before, limit
            ),
        )

    def thread(self, account_id: int, message_id: int) -> Deferred[list[int]]:
        """Message ids of the account's mails of one thread, the oldest first.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self._ask(
            account_id,
            lambda connection: index_asking.thread(connection, account_id, message_id),
        )

    def progress(self, account_id: int) -> Deferred[Progress]:
        """How much of the account's mail is indexed.

        Errors:
            StoreBusy, StoreBroken.
        """
        return self._ask(
            account_id, lambda connection: index_asking.progress_of(connection, account_id)
        )

    async def rebuild(self, account_id: int) -> None:
        """The account's index is empty, and is filled anew; `progress` says how far it is.

        Raises:
            StoreBusy, StoreFull, StoreBroken.
        """
        await self._ask(account_id, empty)
        self.changed(account_id)

    def _ask(self, account_id: int, function: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        if self._waiting >= MOST_WAITING:
            return fail(StoreBusy(detail="too many searches wait"))
        deferred: Deferred[T] = Deferred()

        def run() -> None:
            outcome: Any
            try:
                outcome = self._answer(account_id, function)
            except Exception as error:
                outcome = damage_error(error)
            self.call_in_reactor(self._settle, deferred, outcome, account_id)

        try:
            self._pool.submit(run)
        except RuntimeError:
            return fail(StoreBusy(detail="the index is closed"))
        self._waiting += 1
        return deferred

    def _settle(self, deferred: Deferred[Any], outcome: Any, account_id: int) -> None:
        self._waiting -= 1
        if isinstance(outcome, BaseException):
            self.changed(account_id)  # it may have been begun anew
            deferred.errback(outcome)
            return
        if not getattr(getattr(outcome, "progress", outcome), "is_done", True):
            self.changed(account_id)
        deferred.callback(outcome)

    # In the pool's threads

    def _answer(self, account_id: int, function: Callable[[sqlite3.Connection], T]) -> T:
        for last in (False, True):
            try:
                with self._readers.use(account_id) as file:
                    return _in_time(file.connection, function)
            except BegunAnew:
                if last:
                    raise
        raise AssertionError


def _in_time(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """What the function gives, or StoreBusy: nobody holds up others by what he looks for."""
    ends_at = time.monotonic() + LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > ends_at, OPCODES)
    try:
        return function(connection)
    except sqlite3.OperationalError as error:
        if time.monotonic() > ends_at:
            raise StoreBusy(
                "That takes too long to look for; look for less", detail=str(error)
            ) from error
        raise
    finally:
        connection.set_progress_handler(None, OPCODES)
