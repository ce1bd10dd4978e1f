"""Passwords are hashed and verified away from the reactor, in bounded memory and a bounded queue.

Two threads hash, 19 MiB each. A password that was right is remembered for five minutes,
as a BLAKE2b (RFC 7693) under a key that never leaves memory, because mail clients ask again
and again. It covers the account and its stored hash, so what was remembered says nothing
once either has changed.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mailnode.cred.hashes import DUMMY_HASH, hash_password, password_matches
from mailnode.cred.stored import StoredPassword, store_password
from mailnode.errors import SignInBusy
from mailnode.sealing import Seal

if TYPE_CHECKING:
    from mailnode.addresses import Address

__all__ = ["DUMMY_HASH", "Passwords", "hash_password", "password_matches"]

THREADS = 2
NICE = 10  # a tenth of the share of others, where there is not enough for all
MOST_WAITING = 64
REMEMBER_S = 300.0
REMEMBERED_ACCOUNTS = 10_000
PASSWORDS_AN_ACCOUNT = 4

T = TypeVar("T")


class Reactor(Protocol):
    """What is needed of Twisted's."""

    def seconds(self) -> float: ...
    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> None: ...


class Pool(Protocol):
    """What is needed of Twisted's `ThreadPool`."""

    started: bool

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object], func: Callable[..., Any], *args: Any
    ) -> None: ...


class _Behind(Thread):
    """Goes behind the other threads of the node: mail that is accepted needs them for a moment, at
    once, and a hash takes 20 ms whoever it keeps waiting."""

    def run(self) -> None:
        if sys.platform == "linux":  # elsewhere it would be the whole process
            with suppress(OSError):  # a sandbox forbids it: then it goes beside them
                os.nice(NICE)
        super().run()


def _pool() -> Pool:
    pool = ThreadPool(0, THREADS, "passwords")
    pool.threadFactory = _Behind
    return pool


@define(eq=False)
class Passwords:
    """Hashes and verifies in threads of its own, which start when they are first needed.

    Attributes:
        most_waiting: checks that may wait for a thread; one more is answered `SignInBusy`.
        turned_away: how many were.
    """

    _reactor: Reactor
    _seal: Seal = field(repr=False)
    most_waiting: int = MOST_WAITING
    _pool: Pool = field(factory=_pool)
    turned_away: int = field(default=0, init=False)
    _pending: int = field(default=0, init=False)
    _key: bytes = field(factory=lambda: os.urandom(32), init=False, repr=False)
    _remembered: OrderedDict[int, dict[bytes, float]] = field(
        factory=OrderedDict, init=False, repr=False
    )
    _under_way: dict[bytes, list[Deferred[bool]]] = field(factory=dict, init=False, repr=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)

    def store(self, password: str, address: Address) -> Deferred[StoredPassword]:
        """All that users.db keeps of it.

        Args:
            address: of the account that gets it.

        Raises:
            SignInBusy: the queue is full.
        """
        return self.in_thread(store_password, password, address, self._seal)

    def verify(
        self, password_hash: str, password: str, whose: int | str | None = None
    ) -> Deferred[bool]:
        """Whether it is the password.

        Checks that ask the same at the same time are answered by one.

        Args:
            whose: an account's id, and a right password is remembered; the sign-in name when
                there is no such account, so that it waits for others as an account would.

        Raises:
            SignInBusy: the queue is full.
        """
        asked = f"{whose!r}\0{password_hash}\0{password}".encode()
        secret = blake2b(asked, key=self._key, digest_size=32).digest()
        if isinstance(whose, int) and self._is_remembered(whose, secret):
            return succeed(True)
        answer: Deferred[bool] = Deferred()
        if (waiting := self._under_way.get(secret)) is not None:
            waiting.append(answer)
            return answer
        self._under_way[secret] = [answer]
        check = self.in_thread(password_matches, password_hash, password)
        check.addBoth(self._checked, secret, whose)
        return answer

    def forget(self, account_id: int) -> None:
        """Nothing is remembered of this account any more."""
        self._remembered.pop(account_id, None)

    def stop(self) -> Deferred[None]:
        """Take no more; fires when what is queued is done and the threads have ended."""
        if self._stopped is None:
            self._stopped = Deferred()
            self._end_if_done()
        return self._stopped

    def _checked(self, result: bool | Failure, secret: bytes, whose: int | str | None) -> None:
        if result is True and isinstance(whose, int):
            self._remember(whose, secret)
        for answer in self._under_way.pop(secret):
            if isinstance(result, Failure):
                answer.errback(result.value)
            else:
                answer.callback(result)

    def _is_remembered(self, account_id: int, secret: bytes) -> bool:
        until = self._remembered.get(account_id, {}).get(secret)
        return until is not None and self._reactor.seconds() < until

    def _remember(self, account_id: int, secret: bytes) -> None:
        now = self._reactor.seconds()
        secrets = self._remembered.setdefault(account_id, {})
        for stale in [known for known, until in secrets.items() if until <= now]:
            del secrets[stale]
        if len(secrets) >= PASSWORDS_AN_ACCOUNT:
            del secrets[next(iter(secrets))]
        secrets[secret] = now + REMEMBER_S
        self._remembered.move_to_end(account_id)
        if len(self._remembered) > REMEMBERED_ACCOUNTS:
            self._remembered.popitem(last=False)

    def in_thread(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do other work on passwords, in the same queue.

        Raises:
            SignInBusy: the queue is full.
        """
        if self._stopped is not None or self._pending >= THREADS + self.most_waiting:
            self.turned_away += 1
            return fail(SignInBusy(detail="too many passwords to check"))
        if not self._pool.started:
            self._pool.start()
        self._pending += 1
        done: Deferred[T] = Deferred()

        def in_thread(ok: bool, result: Any) -> None:
            self._reactor.callFromThread(self._finish, done, result)

        self._pool.callInThreadWithCallback(in_thread, work, *args)
        return done

    def _finish(self, done: Deferred[T], result: Any) -> None:
        self._pending -= 1
        done.callback(result)  # a Failure makes it fail
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._stopped is not None and not self._stopped.called and not self._pending:
            if self._pool.started:
                self._pool.stop()
            self._stopped.callback(None)
