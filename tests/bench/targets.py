"""The servers that are measured: each a folder in peers/ with start.sh and peer.json."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.bench.processes import Group, Memory, cpu_s, family, is_taken, memory

BENCH = Path(__file__).parent
PEERS = BENCH / "peers"
USERS = 100
START_S = 60.0
STOP_S = 8.0


class Trouble(Exception):
    """Why a run can't go on, in one line for whoever started it."""


def home() -> Path:
    """Where everything lies that a run makes."""
    chosen = os.environ.get("BENCH_HOME")
    return Path(chosen) if chosen else Path(os.environ.get("TMPDIR") or "/tmp") / "bench"


def peer_names() -> list[str]:
    """Every peer that there is a folder for; this tree's node first, bare programs last."""
    names = [path.parent.name for path in PEERS.glob("*/peer.json")]
    return sorted(names, key=lambda name: (name != "mailnode", name.startswith("bare"), name))


@cache
def password_hash() -> str:
    from mailnode.cred.passwords import hash_password

    return hash_password("pw")


def _make_certificate(folder: Path) -> None:
    """One self-signed certificate, on a curve, for every server of the run."""
    if (folder / "cert.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"
        " -subj /CN=mx.example.test -addext subjectAltName=DNS:mx.example.test"
        " -keyout key.pem -out cert.pem"
    )
    subprocess.run(shlex.split(request), cwd=folder, check=True, capture_output=True)


@define(eq=False)
class Target:
    """One server: not started, or up.

    Attributes:
        facts: peer.json.
        users: how many there are, u0@example.test and on.
        environment: more for start.sh, such as BENCH_ALIASES.
        strace: what it is started under, when its system calls are counted.
        start_s: what the last start took until the first greeting.
    """

    name: str
    facts: Mapping[str, Any]
    users: int = USERS
    environment: Mapping[str, str] = field(factory=dict)
    strace: Sequence[str] = ()
    start_s: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _group: Group | None = None

    @classmethod
    def named(cls, name: str, **more: Any) -> Target:
        path = PEERS / name / "peer.json"
        if not path.exists():
            raise Trouble(f"There is no peer {name}; there are {', '.join(peer_names())}")
        return cls(name, json.loads(path.read_text()), **more)

    @property
    def smtp(self) -> int | None:
        return self.facts.get("smtp")

    @property
    def pop3(self) -> int | None:
        return None if self.facts.get("smtp_only") else self.facts.get("pop3")

    @property
    def run_folder(self) -> Path:
        return home() / "run" / self.name

    @property
    def is_bare(self) -> bool:
        return bool(self.facts.get("bare"))

    def lacks(self) -> list[str]:
        """What must be installed before it can start."""
        needs = [path.replace("@HOME@", str(home())) for path in self.facts.get("needs", ())]
        return [path for path in needs if not os.path.exists(path)]

    def version(self) -> str:
        """What it says of itself; "" where peer.json names no way to ask."""
        if not (command := self.facts.get("version")):
            return ""
        command = command.replace("@HOME@", str(home()))
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)
        return done.stdout.strip().partition("\n")[0]

    # Start and stop

    def start(self, *, keep: bool = False) -> None:
        """Comes back when it greets.

        Raises:
            Trouble: a port of its is taken, or it didn't come up.
        """
        ports = {kind: self.facts.get(kind) for kind in ("smtp", "pop3", "lmtp")}
        for port in ports.values():
            if port and is_taken(port):
                raise Trouble(f"{self.name}: somebody listens on port {port}; end that first")
        home().mkdir(parents=True, exist_ok=True)
        _make_certificate(home() / "tls")
        script = PEERS / self.facts.get("like", self.name) / "start.sh"
        environment = {
            **os.environ,
            **{f"BENCH_{kind.upper()}": str(port or "") for kind, port in ports.items()},
            "BENCH_HOME": str(home()),
            "BENCH_PEER": self.name,
            "BENCH_PYTHON": sys.executable,
            "BENCH_USERS": str(self.users),
            "BENCH_HASH": password_hash(),
            "BENCH_KEEP": str(int(keep)),
            "BENCH_OPTIONS": self.facts.get("options", ""),
            **self.environment,
        }
        self._group = group = Group.make(f"bench-{os.getpid()}-{self.name}")

        def in_child() -> None:
            os.setsid()
            if group:
                group.join()

        began = time.monotonic()
        with open(home() / f"{self.name}.out", "wb") as out:
            self._process = subprocess.Popen(
                [*self.strace, "sh", str(script)],
                preexec_fn=in_child,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        if not self._greets(began + START_S):
            self.stop()
            where = f"{home()}/{self.name}.out and {self.run_folder}"
            raise Trouble(f"{self.name} did not come up; see {where}")
        self.start_s = time.monotonic() - began

    def _greets(self, until: float) -> bool:
        port = self.smtp or self.pop3
        while time.monotonic() < until and self._process and self._process.poll() is None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 5) as there,
            ):
                there.settimeout(10)
                if there.recv(64):
                    return True
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """Ends what was started, and nothing else: first kindly, then not."""
        if not self._process:
            return
        main = self._process.pid
        if self.strace:  # it is strace that we started; the server wrote its own number
            with contextlib.suppress(OSError, ValueError):
                main = int((self.run_folder / "pid").read_text())
        for which, all_of_them, wait_s in (
            (signal.SIGTERM, False, STOP_S),
            (signal.SIGTERM, True, 3.0),
            (signal.SIGKILL, True, 3.0),
        ):
            pids = self.pids() if all_of_them else {main}
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, which)
            until = time.monotonic() + wait_s
            while time.monotonic() < until and self._is_up():
                time.sleep(0.02)
            if not self._is_up():
                break
        if self._group:
            self._group.remove()
        self._process = self._group = None

    def _is_up(self) -> bool:
        assert self._process
        return self._process.poll() is None or bool(self._group and self._group.pids())

    # Meters

    def pids(self) -> set[int]:
        assert self._process
        return self._group.pids() if self._group else family([self._process.pid])

    def cpu_s(self) -> float:
        return self._group.cpu_s() if self._group else cpu_s(self.pids())

    def memory(self) -> Memory:
        return memory(self.pids())

    # Mailboxes

    def count(self, users: Sequence[int] | None = None) -> int | None:
        """How many mails lie in these mailboxes, seen from outside; None where there are none.

        A mail that this counts can be fetched.
        """
        how = self.facts["count"]
        if how == "none":
            return None
        if how == "mailnode":
            path = self.run_folder / "var" / "mail.db"
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as mail:
                return int(mail.execute("SELECT coalesce(sum(mails), 0) FROM folder").fetchone()[0])
        return sum(len(_names(folder)) for folder in self._folders(users))

    def empty(self) -> None:
        """Delete what lies in maildirs, so that none pays for a folder that others filled."""
        if self.facts["count"] in ("maildir", "onemaildir"):
            for folder in self._folders():
                for name in _names(folder):
                    with contextlib.suppress(OSError):
                        os.unlink(folder / name)

    def _folders(self, users: Sequence[int] | None = None) -> Iterator[Path]:
        mail = self.run_folder / "mail"
        if self.facts["count"] == "onemaildir":
            yield mail / "new"
            return
        for number in range(self.users) if users is None else users:
            yield mail / f"u{number}" / "new"
            yield mail / f"u{number}" / "cur"


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


@contextlib.contextmanager
def running(targets: Sequence[Target]) -> Iterator[list[Target]]:
    """Those that came up are up inside, and none of them after it.

    A peer that doesn't come up is told and left out; this tree's node must.
    """
    up: list[Target] = []
    try:
        for target in targets:
            try:
                target.start()
            except Trouble as error:
                if target.name == "mailnode":
                    raise
                print(f"# left out: {error}", file=sys.stderr)
            else:
                up.append(target)
        yield up
    finally:
        for target in up:
            target.stop()
