"""The audit stream of a node of two workers and of commands beside it; what accounts are told."""

from __future__ import annotations

import json
import poplib
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.node import DOMAIN, PASSWORD, Node, command

PORTS = ("--smtp", "0", "--pop3", "0", "--http", "0")
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
NEW = "another sleepy owl"


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    with Node(folder, PORTS, workers=2, settings={"MAILNODE_AUDIT__NOTICES": "true"}) as node:
        yield node


def audit(node: Node, *options: str) -> list[dict[str, Any]]:
    return list(json.loads(command(node.folder, "audit", "show", "--json", *options).stdout))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def subjects(node: Node, name: str, password: str) -> list[str]:
    """Of the mails in an inbox, by POP3."""
    client = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=20)
    try:
        client.user(name)
        client.pass_(password)
        count, _octets = client.stat()
        heads = [b"\n".join(client.top(each + 1, 0)[1]) for each in range(count)]
    finally:
        client.close()
    return [head.partition(b"\nSubject: ")[2].partition(b"\n")[0].decode() for head in heads]


def test_workers_and_commands_write_one_stream_that_is_whole(node: Node) -> None:
    subjects(node, ALICE, PASSWORD)
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=20) as client:
        client.login(BOB, PASSWORD)
    with pytest.raises(poplib.error_proto):
        subjects(node, BOB, "not this one")
    command(node.folder, "user", "passwd", ALICE, stdin=f"{NEW}\n")
    command(node.folder, "user", "admin", BOB, "--domain", DOMAIN)
    command(node.folder, "alias", "add", f"sales@{DOMAIN}", ALICE)
    lines = audit(node, "--since", "1h")
    told = {(each["event"], each["account"], each["way"]) for each in lines}
    assert {
        ("signed-in", ALICE, "pop3"),
        ("signed-in", BOB, "smtp"),
        ("sign-in-failed", BOB, "pop3"),
        ("password-changed", ALICE, "command line"),
        ("domain-admin-added", BOB, "command line"),
        ("alias-added", "", "command line"),
    } <= told
    by_network = next(each for each in lines if each["event"] == "signed-in")
    assert by_network["client"] == "127.0.0.1"
    assert [each["event"] for each in audit(node, "--account", BOB, "--limit", "1")] == [
        "domain-admin-added"
    ]
    assert PASSWORD not in json.dumps(lines) and NEW not in json.dumps(lines)
    found = json.loads(command(node.folder, "audit", "verify", "--json").stdout)
    assert found["faults"] == [] and found["lines"] >= len(lines)
    head = found["head"]
    command(node.folder, "domain", "add", "more.test")
    command(node.folder, "audit", "verify", "--expect", head)


def test_a_line_that_somebody_changes_is_told(node: Node) -> None:
    command(node.folder, "alias", "add", f"sales@{DOMAIN}", ALICE)
    command(node.folder, "alias", "add", f"shop@{DOMAIN}", ALICE)
    (path,) = (node.data / "audit").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b"sales@", b"salad@"))
    done = command(node.folder, "audit", "verify", check=False)
    assert done.returncode == 65
    assert "not the one that was before it" in done.stdout


def test_an_account_is_told_of_a_password_that_was_set_beside_the_node(node: Node) -> None:
    subjects(node, ALICE, PASSWORD)
    until(lambda: bool(audit(node, "--event", "signed-in")), "no sign-in")
    command(node.folder, "user", "passwd", ALICE, stdin=f"{NEW}\n")
    until(lambda: subjects(node, ALICE, NEW) == ["Your password was changed"], "no notice")
