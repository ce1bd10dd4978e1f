"""A pseudo-terminal with somebody at it who reads and types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from tests.live.node import environment


@define(eq=False)
class Terminal:
    """A program on a terminal.

    Attributes:
        shown: all that it has shown so far.
    """

    process: subprocess.Popen[bytes]
    _fd: int
    shown: str = ""
    _read: int = 0

    def expect(self, words: str, seconds: float = 20.0) -> str:
        """Wait for these words; what was shown since those of before, up to them."""
        deadline = time.monotonic() + seconds
        while (at := self.shown.find(words, self._read)) < 0:
            assert time.monotonic() < deadline, f"no {words!r} in:\n{self.shown[self._read :]}"
            assert self._take(0.1) or self.process.poll() is None, self.shown
        before, self._read = self.shown[self._read : at], at + len(words)
        return before

    def type(self, line: str) -> None:
        os.write(self._fd, f"{line}\n".encode())

    def press(self, key: str) -> None:
        """Ctrl and a letter, once the program waits for what is typed.

        A signal between its question and its read would be seen only after the next line.
        """
        asleep, deadline = 0, time.monotonic() + 5
        while asleep < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            asleep = asleep + 1 if state == "S" else 0
        os.write(self._fd, bytes([ord(key.upper()) - 64]))

    def wait(self, seconds: float = 20.0) -> int:
        """The exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            self._take(0.1)
        self._take(0.1)
        return int(self.process.returncode)

    def _take(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        try:
            self.shown += os.read(self._fd, 65536).decode("utf-8", "replace").replace("\r\n", "\n")
        except OSError:  # nobody is there any more
            return False
        return True


def _sit_down() -> None:
    """Ctrl-C reaches who has the terminal, and ends it, though a background job ignores it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def mailnode_on_terminal(folder: Path, *words: str) -> Iterator[Terminal]:
    """The `mailnode` command in a folder, with a terminal for its input, output and errors."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mailnode.cli", *words],
        cwd=folder,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100", "HOME": str(folder)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_sit_down,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
