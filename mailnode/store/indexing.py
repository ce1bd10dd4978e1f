"""The thread that fills the indexes behind the commits: little at a time, less while mail comes.

It has the interpreter for one mail at most, and rests after each; so who accepts waits for no
batch of it. What it can't do now it tries later, and nothing is lost by that: mail.db says what is
lacking.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from mailnode.errors import MailError
from mailnode.store.beside import MAIL_DATABASE
from mailnode.store.index_files import IndexFiles, delete_index, indexed_accounts
from mailnode.store.index_filling import Filling
from mailnode.store.sqlite import reading

WRITERS_OPEN = 4
STEPS_A_TURN = 4
RETRY_S = 30.0
BUSY_A_SECOND = 20  # writes of the node, from which on it rests much
BUSY_REST, IDLE_REST = 9.0, 0.5  # times as long as it worked
LEAST_REST_S, LONGEST_REST_S = 0.0005, 0.25
TURN_REST_S = 0.5  # between two accounts while the node is busy: a file that is closed is flushed
LOOK_S = 0.25

log = Logger()


class Ended(Exception):
    """The thread is to end."""


def _none() -> int:
    return 0


@define(eq=False)
class Rest:
    """How long who works behind others rests after each piece of work.

    Attributes:
        writes: how many writes the node has done so far.
        ending: ends every rest at once.
    """

    writes: Callable[[], int] = _none
    ending: threading.Event = field(factory=threading.Event)
    seconds: Callable[[], float] = time.monotonic
    _since: float = field(default=0.0, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _writes: int = field(default=0, init=False)
    _times: float = field(default=IDLE_REST, init=False)

    @property
    def is_busy(self) -> bool:
        """Whether much is written by the node."""
        return self._times == BUSY_REST

    def begin(self) -> None:
        """Work begins."""
        self._since = self.seconds()

    def __call__(self) -> None:
        """A piece of work is done.

        Raises:
            Ended.
        """
        now = self.seconds()
        if now - self._looked_at >= LOOK_S:
            writes = self.writes()
            busy = writes - self._writes > BUSY_A_SECOND * (now - self._looked_at)
            self._times = BUSY_REST if busy else IDLE_REST
            self._looked_at, self._writes = now, writes
        rest_s = min(max((now - self._since) * self._times, LEAST_REST_S), LONGEST_REST_S)
        if self.ending.wait(rest_s):
            raise Ended
        self._since = self.seconds()


@define(eq=False)
class Indexer:
    """Brings the indexes of those accounts up to date that it is told of, in turns.

    Attributes:
        data: the node's folder.
        writes: how many writes the node has done so far.
    """

    data: Path
    writes: Callable[[], int] = _none
    files: IndexFiles = field(init=False)
    _wanted: OrderedDict[int, None] = field(factory=OrderedDict, init=False)
    _later: dict[int, float] = field(factory=dict, init=False)
    _told: set[tuple[int, str]] = field(factory=set, init=False)
    _seen: dict[int, tuple[int, ...]] = field(factory=dict, init=False)
    _look: bool = field(default=True, init=False)
    _wake: threading.Condition = field(factory=threading.Condition, init=False)
    _ending: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _at_rest: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.files = IndexFiles(self.data, WRITERS_OPEN)

    # Called on the reactor thread

    def start(self) -> None:
        """All accounts are looked at, and then those that change."""
        self._thread = threading.Thread(None, self._run, "mail-index", daemon=True)
        self._thread.start()

    def want(self, account_ids: Iterable[int]) -> None:
        """Something came to these accounts, or left them."""
        if self._thread is None:
            return
        with self._wake:
            for account_id in account_ids:
                self._wanted[account_id] = None
            self._at_rest = False
            self._wake.notify()

    def want_all(self) -> None:
        """Something may have."""
        with self._wake:
            self._look = True
            self._at_rest = False
            self._wake.notify()

    @property
    def is_idle(self) -> bool:
        """Whether all that was wanted is done, but for what must be tried again."""
        return self._at_rest

    def end(self) -> None:
        """The thread ends after the mail that it reads."""
        self._ending.set()
        with self._wake:
            self._wake.notify()

    def join(self) -> None:
        """It has ended; for another thread than the reactor's."""
        if self._thread is not None:
            self._thread.join()
        self.files.close()

    # Called in the thread

    def _run(self) -> None:
        rest = Rest(self.writes, self._ending)
        while not self._ending.is_set():
            try:
                if self._look:
                    self._look = False
                    self._look_around()
                account_id = self._next()
                if account_id is not None:
                    self._turn(account_id, rest)
                    if rest.is_busy:
                        self._ending.wait(TURN_REST_S)
            except Ended:
                break
            except Exception:  # the node goes on without it, and it goes on
                log.failure("The index can't be filled")
                self._ending.wait(RETRY_S)

    def _next(self) -> int | None:
        with self._wake:
            now = time.monotonic()
            for account_id in [each for each, at in self._later.items() if at <= now]:
                del self._later[account_id]
                self._wanted[account_id] = None
            if self._wanted:
                return self._wanted.popitem(last=False)[0]
            self._at_rest = not self._look
            if not self._ending.is_set() and self._at_rest:
                self._wake.wait(1.0 if self._later else None)
            return None

    def _look_around(self) -> None:
        """Accounts whose folders aren't as they were at the last look are brought up to date; files
        of those that have none are deleted."""
        try:
            with reading(self.data / MAIL_DATABASE) as connection:
                rows = connection.execute(
                    "SELECT account_id, sum(uid_next), sum(mails), sum(uidvalidity) FROM folder"
                    " GROUP BY account_id"
                ).fetchall()
        except (MailError, sqlite3.Error, OSError) as error:
            log.warn("The index can't see what mail there is: {error}", error=str(error))
            return
        there = {account_id: tuple(sums) for account_id, *sums in rows}
        changed = [each for each, sums in there.items() if self._seen.get(each) != sums]
        self._seen = there
        with self._wake:
            self._wanted.update(dict.fromkeys(changed))
        for account_id in set(indexed_accounts(self.data)) - there.keys():
            delete_index(self.data, account_id)

    def _turn(self, account_id: int, rest: Rest) -> None:
        try:
            done = bring_up_to_date(self.files, account_id, rest, STEPS_A_TURN)
        except (MailError, sqlite3.Error, OSError) as error:
            self._put_off(account_id, error)
            return
        if not done:
            with self._wake:
                self._wanted[account_id] = None

    def _put_off(self, account_id: int, error: Exception) -> None:
        self._later[account_id] = time.monotonic() + RETRY_S
        what = getattr(error, "detail", "") or str(error)
        if (account_id, what) not in self._told:
            self._told.add((account_id, what))
            log.warn(
                "The index of account {account_id} can't be filled now: {error}",
                account_id=account_id,
                error=what,
            )
        if len(self._told) > 1_000:
            self._told.clear()


def bring_up_to_date(
    files: IndexFiles, account_id: int, rest: Callable[[], None], most_steps: int
) -> bool:
    """Some steps towards it; whether nothing is left to do.

    The index of an account without a folder is gone.

    Raises:
        MailError, sqlite3.Error, OSError: it is tried again later.
    """
    if isinstance(rest, Rest):
        rest.begin()
    with reading(files.data / MAIL_DATABASE) as connection:
        has_mail = connection.execute(
            "SELECT 1 FROM folder WHERE account_id = ? LIMIT 1", (account_id,)
        ).fetchone()
    if not has_mail:
        files.forget(account_id)
        delete_index(files.data, account_id)
        return True
    with files.use(account_id) as file:
        filling = Filling(file.connection, files.data, account_id, rest)
        for _ in range(most_steps):
            if filling.step().done:
                return True
            rest()
        while filling.is_taking_out:  # it would begin anew
            filling.step()
            rest()
    return False
