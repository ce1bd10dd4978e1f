"""What all workers count together, in memory that they share.

Of connections each worker writes its own column alone, so nobody waits for a lock. A client's
address picks one number in each of four rows by a keyed hash; its connections are at most the least
of the four. So memory is the same for any number of clients, a count is never too low, and nobody
who does not know the key can make two addresses meet.

When the buckets of accounts will be full stands behind the columns, and behind these what
strangers sent lately (`arrival/paces.py`); a lock of the kernel, which is free again when its
worker is killed, guards the microsecond in which one is looked at and changed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

from attrs import define, field

from mailnode.arrival.paces import NUMBERS as PACES

SERVERS = ("smtp", "pop3")
ROWS, SLOTS = 4, 1 << 14
NUMBERS = 1 + ROWS * SLOTS  # of one server in one column: all connections, then the rows
NUMBER_OCTETS = 4
BUCKETS = 1 << 14  # accounts whose ids are that far apart share one


_BUCKET = struct.Struct("d")


def make_memory(workers: int) -> int:
    """A descriptor of memory for that many columns, all 0; it goes with the last who has it."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("mailnode-counts")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, _memory_octets(workers))
    return memory


def _memory_octets(workers: int) -> int:
    return _paces_at(workers) + PACES * _BUCKET.size


def _paces_at(workers: int) -> int:
    return _buckets_at(workers) + BUCKETS * _BUCKET.size


def _buckets_at(workers: int) -> int:
    """Behind the columns, where a double may stand."""
    return -(-workers * _column_octets() // _BUCKET.size) * _BUCKET.size


def _column_octets() -> int:
    return len(SERVERS) * NUMBERS * NUMBER_OCTETS


@define(eq=False)
class Counts:
    """The columns of all workers.

    Args:
        memory: a descriptor, of `make_memory`.
        workers: how many columns there are.
        key: of the hash; the same for all.

    Attributes:
        paces: doubles for `Paces`; whoever looks at them or changes them holds `locked_paces`.
    """

    memory: int
    workers: int
    key: bytes = field(repr=False)
    _map: mmap.mmap = field(init=False)
    _numbers: memoryview = field(init=False)
    paces: memoryview[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._map = mmap.mmap(self.memory, _memory_octets(self.workers))
        whole = memoryview(self._map)
        self._numbers = whole[: _buckets_at(self.workers)].cast("I")
        self.paces = whole[_paces_at(self.workers) :].cast("d")

    def add(self, worker: int, server: str, address: str, count: int) -> None:
        """A connection more (1) or less (-1) from this address."""
        begin = self._begin(worker, server)
        self._numbers[begin] += count
        for place in self._places(address):
            self._numbers[begin + place] += count

    def total(self, server: str) -> int:
        """Connections with all workers."""
        return sum(self._numbers[self._begin(worker, server)] for worker in range(self.workers))

    def of_address(self, server: str, address: str) -> int:
        """Those of one address with all workers; never too few."""
        begins = [self._begin(worker, server) for worker in range(self.workers)]
        return min(
            sum(self._numbers[begin + place] for begin in begins) for place in self._places(address)
        )

    def change_bucket(self, account_id: int, change: Callable[[float], float]) -> None:
        """When an account's bucket is full, as `change` makes it of what it was; 0 at first."""
        at = _buckets_at(self.workers) + account_id % BUCKETS * _BUCKET.size
        with self._locked(at, _BUCKET.size):
            (full_at,) = _BUCKET.unpack_from(self._map, at)
            _BUCKET.pack_into(self._map, at, change(full_at))

    @contextmanager
    def locked_paces(self) -> Iterator[None]:
        with self._locked(_paces_at(self.workers), PACES * _BUCKET.size):
            yield

    @contextmanager
    def _locked(self, at: int, octets: int) -> Iterator[None]:
        fcntl.lockf(self.memory, fcntl.LOCK_EX, octets, at)
        try:
            yield
        finally:
            fcntl.lockf(self.memory, fcntl.LOCK_UN, octets, at)

    def clear(self, worker: int) -> None:
        """This worker is dead, and its connections with it."""
        octets = _column_octets()
        self._map[worker * octets : (worker + 1) * octets] = bytes(octets)

    def close(self) -> None:
        self._numbers.release()
        self.paces.release()
        self._map.close()
        os.close(self.memory)

    def _begin(self, worker: int, server: str) -> int:
        return (worker * len(SERVERS) + SERVERS.index(server)) * NUMBERS

    def _places(self, address: str) -> list[int]:
        digest = blake2b(address.encode(), digest_size=2 * ROWS, key=self.key).digest()
        return [
            1 + row * SLOTS + int.from_bytes(digest[2 * row : 2 * row + 2]) % SLOTS
            for row in range(ROWS)
        ]
