"""A real node: `twistd -n mailnode` in a folder of its own, on ports that the kernel picks.

Plain blocking code, so that pytest and trial test cases use it alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import poplib
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import define, field

import mailnode

BIN = Path(sys.executable).parent
PASSWORD = "correct horse 7"
DOMAIN = "example.test"
WORKERS = int(os.environ.get("WORKERS", "1"))
START_S = 20.0
STOP_S = 40.0

poplib._MAXLINE = 1 << 20  # type: ignore[attr-defined]  # its own bound is 2048; mail has longer

_ROOT = Path(mailnode.__file__).parents[1]


def environment() -> dict[str, str]:
    """What a node or a client starts with: nothing of ours, no home of the tester's.

    A node started from the source tree finds the package and the plugin there; one that was
    installed needs no path.
    """
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    kept |= {"LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    kept["MAILNODE_AUDIT__NOTICES"] = "false"  # mails that only their own tests wait for
    if (_ROOT / "setup.cfg").exists():
        kept["PYTHONPATH"] = str(_ROOT)
    return kept


def twistd(*arguments: str) -> list[str]:
    return [str(BIN / "twistd"), *arguments]


def command(
    folder: Path,
    *arguments: str,
    stdin: str = "",
    check: bool = True,
    settings: Mapping[str, str] | None = None,
    within_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run the `mailnode` command in a node's folder."""
    script = BIN / "mailnode"
    program = [str(script)] if script.exists() else [sys.executable, "-m", "mailnode.cli"]
    done = subprocess.run(
        [*program, *arguments],
        cwd=folder,
        env=environment() | dict(settings or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=within_s,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"mailnode {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
    return done


def make_folder(folder: Path, accounts: Sequence[str] = ("alice", "bob")) -> Path:
    """A folder with a users.db of its own, made by the command as a person would."""
    folder.mkdir(parents=True, exist_ok=True)
    command(folder, "init")
    command(folder, "domain", "add", DOMAIN)
    for name in accounts:
        command(folder, "user", "add", f"{name}@{DOMAIN}", stdin=f"{PASSWORD}\n")
    return folder


@define(eq=False)
class Node:
    """A node that is up, or was.

    Attributes:
        folder: holds users.db, var/ and log.
        options: behind `twistd -n mailnode`.
        settings: MAILNODE_SECTION__KEY in its environment.
        twistd_options: in front of `mailnode`, such as --uid.
        before: a program that starts twistd, such as setpriv.
        workers: processes that serve; WORKERS=2 around the tests makes it 2 for all of them.
    """

    folder: Path
    options: Sequence[str] = ("--smtp", "0", "--smtps", "0", "--pop3", "0", "--pop3s", "0")
    hostname: str = "localhost"
    settings: Mapping[str, str] = field(factory=dict)
    twistd_options: Sequence[str] = ()
    before: Sequence[str] = ()
    workers: int = WORKERS
    process: subprocess.Popen[bytes] | None = None
    listening: dict[str, list[str]] = field(factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def data(self) -> Path:
        return self.folder / "var"

    @property
    def certificate(self) -> Path:
        return self.data / "tls" / "cert.pem"

    def start(self) -> Node:
        """Start twistd and wait until every port is bound."""
        named = ["--hostname", self.hostname] if self.hostname else []
        if self.workers > 1:
            named += ["--workers", str(self.workers)]
        started = twistd(
            "-n", "--pidfile=", *self.twistd_options, "mailnode", *named, *self.options
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, *started],
                cwd=self.folder,
                env=environment() | dict(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not self._read_listening():
            if self.process.poll() is not None:
                raise AssertionError(f"the node ended: {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"no port after {START_S:.0f} s\n{self.tail()}")
            time.sleep(0.02)
        return self

    def _read_listening(self) -> bool:
        try:
            told = json.loads((self.data / "listening.json").read_text())
        except (OSError, ValueError):
            return False
        assert self.process is not None
        if told.get("pid") != self.process.pid:  # left by a node that was killed
            return False
        self.listening = told
        return True

    def port(self, service: str) -> int:
        """The port on 127.0.0.1 where `service` (smtp, smtps, pop3, pop3s, http...) listens."""
        for address in self.listening.get(service, []):
            host, _, port = address.rpartition(":")
            if host == "127.0.0.1":
                return int(port)
        raise AssertionError(f"{service} does not listen: {self.listening}")

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def tail(self) -> str:
        """What a failing test shows of the log."""
        return "\n".join(self.text().splitlines()[-30:])

    def wait_for_log(self, words: str, seconds: float = 10.0, *, after: int = 0) -> None:
        """Until the words stand in the log, `after` characters or later."""
        deadline = time.monotonic() + seconds
        while words not in self.text()[after:]:
            assert time.monotonic() < deadline, f"no {words!r} in the log:\n{self.tail()}"
            time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = STOP_S) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> None:
        """SIGTERM: the node must end by itself, cleanly, with nothing to complain of in its log."""
        if self.process is None:
            return
        self.send_signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"runs {STOP_S:.0f} s after SIGTERM\n{self.tail()}") from None
        self.process = None
        self.assert_clean_end(code)
        assert not (self.data / "listening.json").exists(), "listening.json is still there"

    def assert_clean_end(self, code: int, number: int = signal.SIGTERM) -> None:
        """It stopped everything; twistd then ends by the signal that it was sent."""
        assert code in (0, -number), f"ended with {code}\n{self.tail()}"
        assert "stopped" in self.text().splitlines()[-1], self.tail()
        self.assert_quiet_log()

    def assert_quiet_log(self) -> None:
        for words in ("Traceback", "Unhandled", "plugin cache", "DeprecationWarning"):
            assert words not in self.text(), f"{words} in the log:\n{self._around(words)}"

    def _around(self, words: str) -> str:
        lines = self.text().splitlines()
        at = next((at for at, line in enumerate(lines) if words in line), 0)
        return "\n".join(lines[max(at - 3, 0) : at + 30])

    def worker_pids(self) -> list[int]:
        """The processes of a node with workers, those that are just beginning too."""
        assert self.process is not None
        pids = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
        return sorted(pids)

    def kill_all(self) -> None:
        """SIGKILL for each process of it, at once."""
        for pid in self.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, at once; its workers end by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    # What tests ask of every node

    def tls(self) -> ssl.SSLContext:
        """A client's context that trusts this node's certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def send(self, raw: bytes, to: str = "alice", sender: str = "sender@elsewhere.example") -> None:
        with smtplib.SMTP("localhost", self.port("smtp"), timeout=60) as client:
            client.ehlo("client.example")
            client.sendmail(sender, [f"{to}@{DOMAIN}"], raw)

    @contextlib.contextmanager
    def maildrop(self, name: str = "alice") -> Iterator[poplib.POP3]:
        client = poplib.POP3("localhost", self.port("pop3"), timeout=60)
        try:
            client.user(f"{name}@{DOMAIN}")
            client.pass_(PASSWORD)
            yield client
            client.quit()
        finally:
            client.close()

    def each_mail(self, name: str = "alice") -> Iterator[bytes]:
        """Every mail in the maildrop as it is served, left there, one after the other."""
        with self.maildrop(name) as client:
            for number in range(len(client.list()[1])):
                yield b"".join(line + b"\r\n" for line in client.retr(number + 1)[1])

    def mails(self, name: str = "alice") -> list[bytes]:
        return list(self.each_mail(name))

    def empty(self, name: str = "alice") -> None:
        with self.maildrop(name) as client:
            for number in range(len(client.list()[1])):
                client.dele(number + 1)

    def raw(self, service: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port(service)), timeout=30)


IN_FRONT = (b"return-path:", b"delivered-to:", b"received:")


def without_ours(served: bytes) -> bytes:
    """What came in: `served` without the Return-Path, Delivered-To and Received put in front.

    Line ends may be CRLF or, from clients that write files for Unix, LF.
    """
    lines = served.splitlines(keepends=True)
    for field_name in IN_FRONT:
        assert lines, "nothing but our fields"
        assert lines[0].lower().startswith(field_name), (field_name, lines[:6])
        del lines[0]
        while lines and lines[0][:1] in (b" ", b"\t"):
            del lines[0]
    return b"".join(lines)


def copy_folder(made: Path, to: Path) -> Path:
    """A node's folder like `made`, without asking argon2 again."""
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy2(made / "users.db", to / "users.db")
    keys = made / "var" / "keys"
    if keys.exists():  # what users.db has sealed opens under these alone
        (to / "var").mkdir(mode=0o700, exist_ok=True)
        shutil.copytree(keys, to / "var" / "keys", dirs_exist_ok=True)
    return to
