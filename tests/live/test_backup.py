"""A node is backed up while it takes mail, and what is restored serves it: curl can't tell."""

from __future__ import annotations

import itertools
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.sigkill import Load
from tests.live.conftest import Client
from tests.live.node import BIN, DOMAIN, PASSWORD, Node, command, environment

SMALL = b"Subject: small\r\n\r\n.one dot\r\n..two\r\n\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000


@pytest.fixture
def backed_up(folder: Path, tmp_path: Path) -> Iterator[tuple[Node, Path]]:
    """A node that still runs, and the folder of its backups: two, under load."""
    back = tmp_path / "back"
    with Node(folder) as node:
        node.send(SMALL)
        node.send(LARGE)
        node.send(SMALL, to="bob")
        load = Load(node, 1, itertools.count(1), pause_s=0.05)
        load.start()
        try:
            first = json.loads(command(folder, "backup", str(back), "--json").stdout)
            second = json.loads(command(folder, "backup", str(back), "--json").stdout)
        finally:
            load.ended = True
            load.join()
        assert not load.refused
        assert first["octets"] < second["octets"]
        assert second["new_octets"] < second["octets"]
        yield node, back


def fetch(client: Client, node: Node, path: str, *options: str) -> bytes:
    url = f"pop3://127.0.0.1:{node.port('pop3')}/{path}"
    return client("curl", "-sS", "-u", f"alice@{DOMAIN}:{PASSWORD}", url, *options).stdout


def test_a_restored_node_serves_the_same_octets_under_the_same_unique_ids(
    backed_up: tuple[Node, Path], tmp_path: Path, client: Client
) -> None:
    node, back = backed_up
    with_it = fetch(client, node, "", "-X", "UIDL").splitlines()
    served = [fetch(client, node, str(number)) for number in (1, 2)]
    node.stop()
    shutil.rmtree(node.folder)
    said = command(tmp_path, "restore", str(back), "--to", "new").stdout
    assert f"cd {tmp_path / 'new'} && twistd -n mailnode" in said
    with Node(tmp_path / "new") as restored:
        uidl = fetch(client, restored, "", "-X", "UIDL").splitlines()
        assert uidl[:2] == with_it[:2]
        assert uidl == with_it[: len(uidl)]
        assert [fetch(client, restored, str(number)) for number in (1, 2)] == served
        assert served[1].endswith(LARGE)
        restored.send(SMALL)
        newest = fetch(client, restored, "", "-X", "UIDL").splitlines()[-1].split()[-1]
        assert newest not in {line.split()[-1] for line in with_it}
    assert command(tmp_path / "new", "verify").stdout.startswith("no fault")


def test_a_damaged_chunk_is_named_refused_by_restore_and_mended_by_the_next_backup(
    backed_up: tuple[Node, Path], tmp_path: Path
) -> None:
    node, back = backed_up
    chunk = next(path for path in (back / "chunks").glob("??/*") if path.read_bytes() == LARGE)
    octets = bytearray(LARGE)
    octets[-1] ^= 1
    chunk.write_bytes(octets)
    refused = command(tmp_path, "restore", str(back), "--to", "new", check=False)
    assert refused.returncode == 65
    assert f"chunk {chunk.name} is damaged" in refused.stderr
    assert not (tmp_path / "new").exists()
    checked = command(tmp_path, "backups", "verify", str(back), check=False)
    assert checked.returncode == 65
    assert f"chunk {chunk.name} is damaged" in checked.stdout
    assert f"the next `mailnode backup {back}` writes 1 chunk anew" in checked.stdout
    command(node.folder, "backup", str(back))
    assert chunk.read_bytes() == LARGE
    for told in json.loads(command(tmp_path, "backups", "list", str(back), "--json").stdout):
        command(tmp_path, "backups", "verify", str(back), told["backup"])
    command(tmp_path, "restore", str(back), "--to", "new")


def test_on_a_terminal_it_shows_how_far_it_is_and_nothing_of_that_elsewhere(
    folder: Path, tmp_path: Path
) -> None:
    with Node(folder) as node:
        for _ in range(3):
            node.send(LARGE)
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [BIN / "mailnode", "backup", tmp_path / "back"],
        cwd=folder,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = read_all(ours)
    assert done.wait(20) == 0
    for words in ("copying", " MiB", "new, in"):
        assert words in shown
    again = command(folder, "backup", str(tmp_path / "back"))
    assert again.stderr == ""
    assert len(again.stdout.splitlines()) == 1


def read_all(terminal: int) -> str:
    shown = ""
    try:
        while data := os.read(terminal, 65536):
            shown += data.decode()
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    return shown
