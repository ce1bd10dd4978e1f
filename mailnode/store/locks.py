"""Exclusive locks: one node a data folder, one session a maildrop (RFC 1939 section 4)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, field

from mailnode.durable import own_as
from mailnode.errors import NodeRunning
from mailnode.store.sqlite import mail_error

WORKERS_LOCK = "workers.lock"
BLOBS_LOCK = "blobs.lock"
TRIES, PAUSE_S = 500, 0.01
RUNS_THERE = "another node runs on the data folder {}"


@define(eq=False)
class MaildropLocks:
    """One file of which account N locks octet N, so a killed process frees its own at once.

    The kernel's byte-range locks don't hold against their own process: the set does. They are
    lost when the process closes any descriptor of the file, so nobody else opens it.
    """

    folder: Path
    _fd: int = field(init=False)
    _held: set[int] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.folder / "maildrops"
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise mail_error(error) from error

    def acquire(self, account_id: int) -> bool:
        """Whether the maildrop is now ours; False: another session has it."""
        if account_id in self._held:
            return False
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, account_id)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(account_id)
        return True

    def release(self, account_id: int) -> None:
        """Others may have it. Releasing what isn't held does nothing."""
        if account_id in self._held:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, account_id)
            self._held.remove(account_id)

    def close(self) -> None:
        """All are released."""
        os.close(self._fd)
        self._held.clear()


def lock_folder(data: Path) -> int:
    """A descriptor whose lock says that the data folder is ours; it goes with the process.

    Raises:
        NodeRunning: another process has it.
    """
    lock = os.open(data / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _wait_for_workers(data)
    except OSError:
        os.close(lock)
        raise NodeRunning(detail=RUNS_THERE.format(data)) from None
    return lock


def join_folder(data: Path) -> int:
    """A descriptor that says: this process serves the data folder for the node that has it.

    It goes with the process; `lock_folder` waits for it.
    """
    lock = os.open(data / WORKERS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _wait_for_workers(data: Path) -> None:
    """Those of a node that was killed have ended; they do by themselves, at once.

    Raises:
        OSError: they have not.
    """
    try:
        lock = os.open(data / WORKERS_LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # there never were any
        return
    try:
        for _ in range(TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(PAUSE_S)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)


def is_locked(data: Path) -> bool:
    """Whether a node has this data folder now; nothing is made, and no lock is kept."""
    try:
        lock = os.open(data / "node.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def writing_blobs(data: Path) -> Iterator[None]:
    """Blobs that this program writes beside the node are nobody's orphans meanwhile."""
    lock = _open_blobs_lock(data)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def lock_blobs(data: Path) -> int | None:
    """A descriptor: until it is closed nobody beside the node writes blobs. None: somebody does."""
    lock = _open_blobs_lock(data)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _open_blobs_lock(data: Path) -> int:
    path = data / BLOBS_LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    own_as(path, data)
    return lock
