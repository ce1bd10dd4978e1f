"""What Linux tells of processes: who listens, who descends from whom, CPU time and memory.

CPU is that of a control group where there may be one (all of a peer's processes, the dead ones
too), else the sum over the living.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

_TICKS_A_S = os.sysconf("SC_CLK_TCK")
_PAGE_OCTETS = os.sysconf("SC_PAGE_SIZE")
_CPU_GROUPS = Path("/sys/fs/cgroup/cpuacct")
MIB = 1 << 20


def is_taken(port: int) -> bool:
    """Whether somebody listens on this TCP port."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[1].endswith(wanted) and columns[3] == "0A":
                return True
    return False


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def family(roots: Iterable[int]) -> set[int]:
    """These processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))):
            children.setdefault(int(stat[1]), []).append(int(entry))
    found: set[int] = set()
    left = list(roots)
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children.get(pid, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of these and of their children that were waited for."""
    return sum(sum(map(int, stat[11:15])) for pid in pids if (stat := _stat(pid))) / _TICKS_A_S


def go_first(pids: Iterable[int], nice: int) -> None:
    """These go before others that use the processor, as root.

    Linux gives each session a share of its own, by the nice value of the session: that of a process
    counts only beside others of its session.
    """
    for pid in pids:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, nice)
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))


@frozen
class Memory:
    """Octets, summed over processes: a page that is shared counts in each of them."""

    resident: int = 0
    anonymous: int = 0
    processes: int = 0


def memory(pids: Iterable[int]) -> Memory:
    resident = anonymous = processes = 0
    for pid in pids:
        try:
            pages = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        resident += int(pages[1]) * _PAGE_OCTETS
        anonymous += (int(pages[1]) - int(pages[2])) * _PAGE_OCTETS
        processes += 1
    return Memory(resident, anonymous, processes)


def proportional_octets(pids: Iterable[int]) -> int:
    """Memory with each shared page parted among those who share it."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        if found := re.search(r"^Pss:\s+(\d+)", text, re.M):
            total += int(found[1]) * 1024
    return total


@define(eq=False)
class Group:
    """A control group of our own that one peer's processes are in."""

    path: Path

    @classmethod
    def make(cls, name: str) -> Group | None:
        path = _CPU_GROUPS / name
        try:
            path.mkdir()
        except OSError:
            return None
        return cls(path)

    def join(self) -> None:
        """Called in the child, before its exec."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> set[int]:
        return {int(pid) for pid in (self.path / "cgroup.procs").read_text().split()}

    def cpu_s(self) -> float:
        return int((self.path / "cpuacct.usage").read_text()) / 1e9

    def remove(self) -> None:
        try:
            self.path.rmdir()
        except OSError as error:
            print(f"# {self.path} stays: {error.strerror}")


@define(eq=False)
class Peak:
    """The most memory that was seen while it was entered."""

    look: Callable[[], Memory]
    every_s: float = 0.15
    resident: int = 0
    anonymous: int = 0
    processes: int = 0
    _over: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            seen = self.look()
            self.resident = max(self.resident, seen.resident)
            self.anonymous = max(self.anonymous, seen.anonymous)
            self.processes = max(self.processes, seen.processes)
            if self._over.wait(self.every_s):
                return

    def as_record(self) -> dict[str, int]:
        return {
            "resident": self.resident,
            "anonymous": self.anonymous,
            "processes": self.processes,
        }
