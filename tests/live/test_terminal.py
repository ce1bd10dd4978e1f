"""What a person sees who starts the node on a terminal, and that it can be pasted as it stands."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.live.conftest import Client
from tests.live.node import environment, twistd

DEMO = Path(__file__).parents[2] / "users.db"


def read_until(terminal: int, words: str, seconds: float = 20.0) -> str:
    """What the terminal shows up to a line with these words."""
    shown, deadline = "", time.monotonic() + seconds
    while words not in shown or not shown.endswith("\n"):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode().replace("\r\n", "\n")
    return shown


def test_the_two_lines_it_prints_work_as_they_stand_and_users_db_stays_as_it_was(
    tmp_path: Path, client: Client
) -> None:
    shutil.copy(DEMO, tmp_path / "users.db")
    before = (tmp_path / "users.db").read_bytes()
    ours, theirs = pty.openpty()
    node = subprocess.Popen(
        twistd("-n", "--pidfile=", "mailnode", "--smtp", "0", "--pop3", "0"),
        cwd=tmp_path,
        env=environment() | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, "curl pop3://")
        for account in ("alice@example.test", "bob@example.test"):
            assert account in shown
        assert "only this machine" in shown
        sends, fetches = (
            line.strip()
            for line in shown.splitlines()
            if line.strip().startswith(("printf ", "curl pop3://"))
        )
        client("sh", "-c", sends)
        assert b"It works." in client("sh", "-c", fetches).stdout
        node.send_signal(signal.SIGINT)  # Ctrl-C
        assert node.wait(20) in (0, -signal.SIGINT)
    finally:
        node.kill()
        node.wait()
        os.close(ours)
    assert (tmp_path / "users.db").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"users.db", "var", "home"}


def begun_workers(pid: int) -> int:
    """How many processes of workers a node has, whether they serve or not."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = [Path(f"/proc/{each}/cmdline").read_bytes() for each in children]
    except FileNotFoundError:
        return 0
    return sum(b"mailnode.workers" in each for each in lines)


@pytest.mark.parametrize("begun_s", [0.0, 0.2])
def test_ctrl_c_twice_while_workers_begin_ends_them_without_a_traceback(
    tmp_path: Path, begun_s: float
) -> None:
    shutil.copy(DEMO, tmp_path / "users.db")
    node = subprocess.Popen(
        twistd("-n", "--pidfile=", "mailnode", "--smtp", "0", "--workers", "2"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 20
        while begun_workers(node.pid) < 2:
            assert time.monotonic() < deadline and node.poll() is None
        time.sleep(begun_s)
        for pause_s in (0.05, 0.0):
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGINT)  # as a terminal does
            time.sleep(pause_s)
        shown, _ = node.communicate(timeout=20)
        assert node.returncode in (0, -signal.SIGINT)
        assert b"Traceback" not in shown, shown.decode()
    finally:
        node.kill()
        node.wait()
