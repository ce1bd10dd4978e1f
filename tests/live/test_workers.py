"""A node of two workers: what holds across them, and what becomes of one that dies."""

from __future__ import annotations

import os
import poplib
import re
import signal
import smtplib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.node import DOMAIN, PASSWORD, Node, command

PORTS = ("--smtp", "0", "--pop3", "0", "--http", "0")
MAIL = b"Subject: Hello\r\n\r\nIt works.\r\n"


def two(folder: Path, **more: str) -> Node:
    return Node(folder, PORTS, workers=2, settings=more)


def page(node: Node, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.port('http')}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def number(node: Node, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", page(node, "/metrics")[1], re.M)
    return float(found)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def open_sessions(node: Node, count: int) -> list[socket.socket]:
    sessions = []
    for _ in range(count):
        session = node.raw("smtp")
        assert session.recv(512).startswith(b"220")
        sessions.append(session)
    return sessions


def serves(session: socket.socket) -> bool:
    try:
        session.sendall(b"NOOP\r\n")
        return session.recv(512).startswith(b"250")
    except OSError:
        return False


def runs(pid: int) -> bool:
    """Whether it does anything; one that has ended may wait for somebody to ask for its code."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_worker_that_is_killed_takes_its_own_sessions_alone_and_is_replaced(
    folder: Path,
) -> None:
    with two(folder) as node:
        sessions = open_sessions(node, 8)
        until(lambda: number(node, 'mailnode_sessions{server="smtp"}') == 8, "eight sessions")
        old = node.worker_pids()
        assert len(old) == 2
        time.sleep(3.1)  # its death is none at its beginning
        os.kill(old[0], signal.SIGKILL)
        node.wait_for_log("worker 1 ended by signal 9: another begins")
        node.send(MAIL)
        until(lambda: page(node, "/readyz") == (200, "ready\n"), "ready again")
        alive = sum(serves(session) for session in sessions)
        assert number(node, 'mailnode_sessions{server="smtp"}') == alive
        new = node.worker_pids()
        assert old[1] in new and old[0] not in new and len(new) == 2
        assert number(node, "mailnode_workers_replaced_total") == 1
        assert number(node, 'mailnode_events_total{event="accepted"}') == 1
        for session in sessions:
            session.close()
        assert len(node.mails()) == 1


def test_a_maildrop_is_one_session_s_whichever_worker_the_others_reach(folder: Path) -> None:
    with two(folder) as node, node.maildrop("alice"):
        for _ in range(8):
            other = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=30)
            other.user(f"alice@{DOMAIN}")
            with pytest.raises(poplib.error_proto, match="IN-USE"):
                other.pass_(PASSWORD)
            other.close()


def test_limits_count_the_connections_of_all_workers(folder: Path) -> None:
    with two(folder, MAILNODE_LIMITS__CONNECTIONS="6") as node:
        sessions = open_sessions(node, 6)
        for _ in range(4):
            with node.raw("smtp") as turned_away:
                assert turned_away.recv(512).startswith(b"421")
        sessions.pop().close()
        until(lambda: number(node, 'mailnode_sessions{server="smtp"}') == 5, "one has left")
        sessions += open_sessions(node, 1)
        for session in sessions:
            session.close()


def test_a_mailbox_that_one_worker_filled_is_full_for_the_other(folder: Path) -> None:
    command(folder, "user", "quota", f"alice@{DOMAIN}", "--quota-mails", "3")
    with two(folder) as node:
        taken = 0
        for _ in range(10):
            try:
                node.send(MAIL)
                taken += 1
            except smtplib.SMTPRecipientsRefused as refused:
                ((code, _),) = refused.recipients.values()
                assert code == 452
            time.sleep(0.4)
        assert taken == 3


def test_a_new_account_is_served_by_all_and_a_deleted_one_by_none(folder: Path) -> None:
    with two(folder) as node:
        command(folder, "user", "add", f"carol@{DOMAIN}", stdin=f"{PASSWORD}\n")
        time.sleep(0.5)
        for _ in range(8):
            node.send(MAIL, to="carol")
        command(folder, "user", "delete", f"carol@{DOMAIN}", "--yes")
        time.sleep(0.5)
        for _ in range(8):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                node.send(MAIL, to="carol")


def test_a_node_starts_at_once_after_its_supervisor_was_killed(folder: Path) -> None:
    node = two(folder).start()
    try:
        node.send(MAIL)
        workers = node.worker_pids()
        node.options = ("--smtp", str(node.port("smtp")), "--pop3", str(node.port("pop3")))
        node.kill()
        node.start()
        for pid in workers:
            assert not runs(pid), "a worker without its supervisor"
        assert len(node.mails()) == 1
        node.stop()
    finally:
        node.kill()


def test_workers_that_die_as_soon_as_they_begin_stop_the_node_with_70(folder: Path) -> None:
    node = two(folder).start()
    try:
        assert node.process is not None
        killed: set[int] = set()
        while node.process.poll() is None:
            for pid in [pid for pid in node.worker_pids() if pid > max(killed, default=0)][-1:]:
                assert len(killed) < 4, "it goes on and on"  # the first may have lived a while
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.02)
        assert node.wait() == 70
        assert "mailnode: workers end as soon as they begin: worker " in node.text()
        assert not (node.data / "listening.json").exists()
    finally:
        node.kill()


def test_what_the_first_workers_lack_stops_the_node_with_its_code(folder: Path) -> None:
    node = two(folder, MAILNODE_PLUGINS__FILTERS="no.such:filter")
    with pytest.raises(AssertionError, match="the node ended: 78"):
        node.start()
    assert "mailnode: [plugins] no.such:filter" in node.text()


def test_sigterm_to_one_worker_replaces_it_and_to_the_supervisor_stops_all(folder: Path) -> None:
    with two(folder) as node:
        (first, _second) = workers = node.worker_pids()
        os.kill(first, signal.SIGTERM)
        node.wait_for_log("worker 1 ended with exit code 0: another begins")
        until(lambda: page(node, "/readyz")[0] == 200, "ready again")
        node.send(MAIL)
        workers += node.worker_pids()
    for pid in workers:
        assert not runs(pid)


def test_a_unix_socket_is_served_by_workers_and_goes_with_the_node(folder: Path) -> None:
    path = folder / "smtp.sock"
    node = Node(folder, ("--smtp", f"unix:{path}:mode=600", "--pop3", "0"), workers=2)
    with node:
        for _ in range(6):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                assert client.recv(512).startswith(b"220")
        assert path.stat().st_mode & 0o777 == 0o600
        os.kill(node.worker_pids()[0], signal.SIGTERM)
        node.wait_for_log("worker 1 ended with exit code 0: another begins")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.recv(512).startswith(b"220")
    assert not path.exists()
