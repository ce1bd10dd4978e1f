"""Mail moves in beside a real node, whose clients see it at once, and out to what others read."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.conftest import Client, missing
from tests.live.node import BIN, DOMAIN, PASSWORD, Node, command, environment

FROM = b"From shop@example.net Mon Jan  1 12:30:00 2024\n"


def mbox(numbers: range, octets: int = 100) -> bytes:
    line = b"x" * 71 + b"\n"
    body = line * (octets // len(line) + 1)
    return b"".join(FROM + b"Subject: mail %d\n\n" % each + body + b"\n" for each in numbers)


def by_curl(client: Client, node: Node, what: str, user: str, password: str = PASSWORD) -> bytes:
    return client(
        "curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", node.certificate,
        "--user", f"{user}@{DOMAIN}:{password}", f"pop3://localhost:{node.port('pop3')}/{what}",
    ).stdout  # fmt: skip


def mails_in_mutt(box: Path, tmp_path: Path) -> int:
    """How many mails mutt finds in a mailbox, by the line that it shows below them.

    It wants a terminal; nobody types anything there.
    """
    if shutil.which("mutt") is None:
        missing("mutt")
    (tmp_path / "Mail").mkdir(exist_ok=True)  # it would ask whether it may
    settings = tmp_path / "muttrc"
    settings.write_text('set status_format="there are %m."\npush "<refresh><exit>"\n')
    ours, its = pty.openpty()
    try:
        process = subprocess.Popen(
            ["mutt", "-n", "-F", settings, "-R", "-f", box],
            env=environment() | {"HOME": str(tmp_path), "TERM": "xterm"},
            stdin=its, stdout=its, stderr=its, start_new_session=True,
        )  # fmt: skip
        os.close(its)
        said, deadline = b"", time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    said += os.read(ours, 65536)
                except OSError:  # its end of the terminal is closed
                    break
            elif process.poll() is not None:
                break
        else:
            process.kill()
        assert process.wait(20) == 0, said[-2000:]
    finally:
        os.close(ours)
    found = re.search(rb"there are (\d+)\.", said)
    assert found is not None, said[-2000:]
    return int(found[1])


def test_an_import_beside_a_node_is_seen_at_the_next_sign_in_and_in_its_counts(
    node: Node, client: Client, tmp_path: Path
) -> None:
    node.send(b"Subject: by smtp\r\n\r\nx\r\n")
    box = tmp_path / "box"
    box.write_bytes(mbox(range(500)))
    told = command(node.folder, "import", str(box), "--to", f"alice@{DOMAIN}").stdout
    assert "500 mails" in told
    assert by_curl(client, node, "", "alice").count(b"\r\n") == 501
    served = by_curl(client, node, "2", "alice")
    assert served.startswith(b"Subject: mail 0\r\n\r\nx")
    command(node.folder, "import", str(box), "--to", f"alice@{DOMAIN}")
    assert by_curl(client, node, "", "alice").count(b"\r\n") == 501
    assert command(node.folder, "verify").returncode == 0


def test_a_quota_that_an_import_fills_is_full_for_smtp_too(node: Node, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(mbox(range(50)))
    command(node.folder, "user", "quota", f"bob@{DOMAIN}", "--quota-mails", "50")
    try:
        command(node.folder, "import", str(box), "--to", f"bob@{DOMAIN}")
        deadline = time.monotonic() + 10
        while True:  # until the node has read what it was told of
            try:
                node.send(b"Subject: one more\r\n\r\nx\r\n", to="bob")
            except smtplib.SMTPRecipientsRefused as refused:
                assert b"4.2.2" in next(iter(refused.recipients.values()))[1]
                break
            assert time.monotonic() < deadline, "the node never counted what was imported"
    finally:
        command(node.folder, "user", "quota", f"bob@{DOMAIN}")


def test_a_system_of_three_users_moves_in_with_all_its_mail_and_out_to_mutt(
    node: Node, client: Client, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    names = ("ada", "ben", "cleo")
    for name in names:
        (old / "USERS" / name).mkdir(parents=True)
        mails = [
            f"From: {sender}\nTo: {name}\nSubject: {sender} {number}\n"
            f"Received: 2024-02-{number + 1:02d} : 14 : 32\nFrom here on\n..\nthe body\n.\n"
            for number in range(20)
            for sender in names
        ]
        (old / "USERS" / name / "my_mailbox.txt").write_text("".join(mails))
    passwords = {name: f"the password of {name}" for name in names}
    (old / "userinfo.txt").write_text("".join(f"{n} {p}\n" for n, p in passwords.items()))
    told = json.loads(command(node.folder, "import", str(old), "--json").stdout)
    assert (told["filed"], told["not_taken"]) == (180, [])
    deadline = time.monotonic() + 10
    for name in names:
        while True:  # the node takes new accounts up in the moment that it hears of them
            try:
                listed = by_curl(client, node, "", name, passwords[name])
                break
            except AssertionError:
                assert time.monotonic() < deadline
        assert listed.count(b"\r\n") == 60
        mail = by_curl(client, node, "1", name, passwords[name])
        assert f"From: ada@{DOMAIN}\r\nTo: {name}@{DOMAIN}\r\n".encode() in mail
        assert b"Date: Thu, 01 Feb 2024 14:32:00" in mail
        assert mail.endswith(b"\r\n\r\nFrom here on\r\n..\r\nthe body\r\n")
        box = tmp_path / f"{name}.mbox"
        command(node.folder, "export", f"{name}@{DOMAIN}", "--to", str(box))
        assert mails_in_mutt(box, tmp_path) == 60
        command(node.folder, "user", "delete", f"{name}@{DOMAIN}", "--yes")


def test_mpop_delivers_what_comes_back_as_it_was(
    node: Node, client: Client, tmp_path: Path
) -> None:
    """From the node by mpop into an mbox and a Maildir, and in again: nothing is new."""
    for number in range(5):
        node.send(b"Subject: %d\r\n\r\nFrom me\r\n>From you\r\n.\r\n" % number)
    for kind in ("mbox", "maildir"):
        place = tmp_path / kind
        if kind == "maildir":
            for part in ("cur", "new", "tmp"):
                (place / part).mkdir(parents=True)
        client(
            "mpop", "--host=localhost", f"--port={node.port('pop3')}", "--tls=on",
            "--tls-starttls=on", f"--tls-trust-file={node.certificate}", "--auth=user",
            f"--user=alice@{DOMAIN}", f"--passwordeval=echo '{PASSWORD}'", "--keep=on",
            "--received-header=off", f"--uidls-file={tmp_path / kind}.uidls",
            f"--delivery={kind},{place}",
        )  # fmt: skip
        told = command(node.folder, "import", str(place), "--to", f"alice@{DOMAIN}", "--json")
        facts = json.loads(told.stdout)
        assert (facts["filed"], facts["already_there"]) == (0, 5), kind


def test_a_mailbox_elsewhere_moves_in_by_pop3_and_is_emptied_on_demand_alone(
    node: Node, folder: Path, tmp_path: Path
) -> None:
    for number in range(120):
        node.send(b"Subject: %d\r\n\r\n.dot\r\n%d\r\n" % (number, number))
    node.send(b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 400_000)
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    there = node.mails("alice")
    source = f"pop3://alice%40{DOMAIN}@localhost:{node.port('pop3')}"
    words = ("import", source, "--to", f"bob@{DOMAIN}", "--password-file", str(password))
    words = (*words, "--trust", str(node.certificate), "--json")
    first, second = (json.loads(command(folder, *words).stdout) for _ in range(2))
    assert (first["format"], first["filed"], second["already_there"]) == ("pop3", 121, 121)
    assert len(node.mails("alice")) == 121
    third = json.loads(command(folder, *words, "--delete").stdout)
    assert (third["filed"], third["not_taken"]) == (0, [])
    assert node.mails("alice") == []
    command(folder, "export", f"bob@{DOMAIN}", "--to", str(tmp_path / "out"), "--format", "eml")
    files = (tmp_path / "out" / f"bob@{DOMAIN}").iterdir()
    assert sorted(path.read_bytes() for path in files) == sorted(there)


def test_a_pop3_server_that_lets_nobody_in_is_one_clear_line(node: Node, tmp_path: Path) -> None:
    source = f"pop3://alice%40{DOMAIN}@localhost:{node.port('pop3')}"
    words = ("import", source, "--to", f"bob@{DOMAIN}")
    done = command(node.folder, *words, stdin="wrong\n", check=False)
    assert done.returncode == 77
    assert "is not let in" in done.stderr
    done = command(
        node.folder, "import", "pop3s://a@localhost:1", *words[2:], stdin="x\n", check=False
    )
    assert done.returncode == 75
    assert "there is no connection to localhost:1" in done.stderr
    assert "store" not in done.stderr


@contextmanager
def following(node: Node, folder: Path, *whose: str) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-m", "mailnode.cli", "export", *whose, "--follow", str(folder)]
    process = subprocess.Popen(
        program, cwd=node.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for_files(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(list(folder.glob("*.eml"))) < count:
        assert time.monotonic() < deadline, list(folder.glob("*"))
        time.sleep(0.05)


def test_mail_that_comes_is_a_file_within_a_second_or_so_and_sigterm_ends_it_cleanly(
    node: Node, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    node.send(b"Subject: before\r\n\r\nx\r\n")
    with following(node, out, f"alice@{DOMAIN}") as process:
        wait_for_files(out / f"alice@{DOMAIN}", 1)
        began = time.monotonic()
        node.send(b"Subject: ../now\r\n\r\ny\r\n")
        wait_for_files(out / f"alice@{DOMAIN}", 2)
        assert time.monotonic() - began < 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    files = {path.name: path.read_bytes() for path in (out / f"alice@{DOMAIN}").iterdir()}
    assert sorted(files) == ["before.eml", "now.eml"]
    served = {hashlib.sha256(mail).digest() for mail in node.each_mail("alice")}
    assert {hashlib.sha256(octets).digest() for octets in files.values()} == served


def run_measured(node: Node, *arguments: str) -> tuple[str, int]:
    """(what it said, the most memory it had) of a command.

    What the kernel says of an ended child counts this process from before the exec, too.
    """
    process = subprocess.Popen(
        [BIN / "python", "-m", "mailnode.cli", *arguments],
        cwd=node.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            most = int(found[1]) << 10
        time.sleep(0.02)
    assert process.stdout is not None
    text = process.stdout.read().decode()
    assert process.returncode == 0, text
    return text, most


@pytest.mark.timeout(900)
def test_a_large_mbox_with_a_large_mail_comes_and_goes_in_bounded_memory(
    node: Node, tmp_path: Path
) -> None:
    """1 GiB where IMPORT_MIB=1024 asks for it; else 256 MiB, of which one mail is 64 MiB."""
    mib = int(os.environ.get("IMPORT_MIB", "256"))
    box = tmp_path / "box"
    with box.open("wb") as file:
        large = (mib // 5) << 20
        file.write(FROM + b"Subject: large\n\n")
        file.truncate(file.tell() + large)  # sparse: an endless line of NULs
        file.seek(0, os.SEEK_END)
        file.write(b"\n\n")
        number = 0
        while file.tell() < mib << 20:
            file.write(mbox(range(number, number + 50), 150_000))
            number += 50
    told, most = run_measured(node, "import", str(box), "--to", f"alice@{DOMAIN}")
    assert f"{number + 1} mails" in told
    assert most < 160 << 20, f"{most >> 20} MiB"
    out = tmp_path / "out"
    _, most = run_measured(node, "export", f"alice@{DOMAIN}", "--to", str(out))
    assert most < 160 << 20, f"{most >> 20} MiB"
    with box.open("rb") as one, out.open("rb") as two:
        assert (
            hashlib.file_digest(one, "sha256").digest()
            == hashlib.file_digest(two, "sha256").digest()
        )
