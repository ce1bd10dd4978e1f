"""Moves the write-ahead log into the database without making accepts wait for long."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from mailnode.store.sqlite import connect, error_code

log = Logger()

WAL_OCTETS = 24 << 20  # small mails change the same pages again and again: the last form is moved
WAL_OCTETS_OF_LARGE = 4 << 20  # bodies are written once, and a short log stays in the cache
LARGE_OCTETS = 32 << 10


@define(eq=False)
class Checkpointer:
    """Empties the log in two steps, each SQLite's PASSIVE, which waits for nobody.

    A log that is written all the time is never found empty, so it would grow for ever. The
    thread here does the long part beside the writer; then the writer, between two batches,
    does what came meanwhile, and the next batch begins the log anew.

    Attributes:
        path: of the database.
        failed: called in the thread when a flush failed: the same end as a failed COMMIT.
        size_octets: how much may be written before it is worth a checkpoint.
        runs: checkpoints that were finished.
    """

    path: Path
    failed: Callable[[BaseException], None]
    size_octets: int = WAL_OCTETS
    runs: int = 0
    _written: int = 0
    _first_step_done: bool = False
    _under_way: bool = False
    _closing: bool = False
    _wake: threading.Condition = field(factory=threading.Condition, init=False)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="store-checkpoint", daemon=True)
        self._thread.start()

    def wrote(self, octets: int, connection: sqlite3.Connection, *, large: bool = False) -> None:
        """The writer committed about that much; it holds the lock, and its replies are sent.

        Args:
            large: most of it in bodies of more than `LARGE_OCTETS`.
        """
        self._written += octets
        most = min(self.size_octets, WAL_OCTETS_OF_LARGE) if large else self.size_octets
        if self._first_step_done:
            self._first_step_done = self._under_way = False
            if self._step(connection):
                self.runs += 1
                self._written = 0
        elif self._written >= most and not self._under_way:
            with self._wake:
                self._under_way = True
                self._wake.notify()

    def make_room(self, connection: sqlite3.Connection) -> None:
        """The disk is full: the log is emptied, so that the next batch needs no more of it."""
        if self._step(connection):
            self._written = 0

    def give_back(self, connection: sqlite3.Connection) -> bool:
        """Whether the disk has the log's room back: it was emptied and cut, and nobody read it."""
        done = self._step(connection, "TRUNCATE")
        if done:
            self._written = 0
        return done

    def close(self) -> None:
        """The thread has ended."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection = connect(self.path)
        try:
            while True:
                with self._wake:
                    while not self._closing and (not self._under_way or self._first_step_done):
                        self._wake.wait()
                    if self._closing:
                        return
                if self._step(connection):
                    self._first_step_done = True
                else:
                    self._under_way = False
        finally:
            connection.close()

    def _step(self, connection: sqlite3.Connection, how: str = "PASSIVE") -> bool:
        try:
            (busy, _, _) = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        except sqlite3.Error as error:
            self._written = 0  # try again when as much more was written
            if error_code(error) != sqlite3.SQLITE_FULL:  # the job that finds no room is told
                log.error("Checkpoint of the mail database failed: {error}", error=error)
            if error_code(error) == sqlite3.SQLITE_IOERR:
                self.failed(error)
            return False
        return how == "PASSIVE" or not busy
