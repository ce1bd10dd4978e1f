"""The README and the recipe of docs/extending.rst, typed line by line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from tests.documents import DOCS, README, files, shown_blocks
from tests.live.conftest import Client, missing
from tests.live.node import BIN, DOMAIN, PASSWORD, Node, environment

PORTS = re.compile(r"(?<= )(--(?:smtp|submission|smtps|pop3|pop3s|http)) (\d+)")
INSTALLING = ("python3 -m venv", "~/mailnode-env/bin/pip", "export PATH")


@define(eq=False)
class Reader:
    """Types what a page shows, in a home of their own, with mailnode already installed.

    Ports are picked by the kernel, for the ones that the page names may be taken here.
    """

    home: Path
    folder: Path
    ports: dict[str, str] = field(factory=dict)
    nodes: list[subprocess.Popen[bytes]] = field(factory=list)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.home / 'mailnode-env' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return environment() | {"HOME": str(self.home), "PATH": path}

    def type(self, line: str) -> str:
        """What one line says; the folder is kept for the next."""
        if line.startswith(INSTALLING):
            return ""
        if " twistd -n " in f" {line}":
            self._start(line)
            return ""
        for shown, real in self.ports.items():
            line = line.replace(f":{shown}", f":{real}")
        line = line.replace("-u carol@example.org", f"-u 'carol@example.org:{PASSWORD}'")
        deadline = time.monotonic() + 5
        while True:
            done = self._run(line)
            if done.returncode == 0 or " trace " not in line or time.monotonic() > deadline:
                break
            time.sleep(0.1)  # what a function took stands in the journal within a second
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        self.folder = Path((self.home / ".here").read_text().strip())
        return done.stdout

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f"cd '{self.folder}' && {line} && pwd >'{self.home}/.here'"],
            env=self.environment,
            input=f"{PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _start(self, line: str) -> None:
        asked = PORTS.findall(line)
        environment = self.environment
        if line.startswith("PYTHONPATH=. "):
            paths = [str(self.folder), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            line = line.removeprefix("PYTHONPATH=. ")
        with (self.folder / "log").open("ab") as log:
            node = subprocess.Popen(
                ["sh", "-c", "exec " + PORTS.sub(r"\1 0", line)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.nodes.append(node)
        told = self.folder / "var" / "listening.json"
        deadline = time.monotonic() + 20
        while not told.exists():
            assert node.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        listening = json.loads(told.read_text())
        for option, port in asked:
            self.ports[port] = listening[option[2:]][0].rpartition(":")[2]

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def stop(self) -> None:
        for node in self.nodes:
            node.send_signal(signal.SIGTERM)
            assert node.wait(30) in (0, -signal.SIGTERM), self.log()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    if shutil.which("curl") is None:
        missing("curl")
    installed = tmp_path / "mailnode-env" / "bin"
    installed.mkdir(parents=True)
    for name, command in (("twistd", f"{BIN}/twistd"), ("mailnode", "-m mailnode.cli")):
        script = installed / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        script.chmod(0o755)
    found = Reader(tmp_path, tmp_path)
    try:
        yield found
    finally:
        for node in found.nodes:
            if node.poll() is None:
                node.kill()
                node.wait()


def test_a_node_of_one_s_own_by_the_readme(reader: Reader) -> None:
    said = [
        reader.type(line)
        for block in shown_blocks(README)
        if " --uid " not in block  # wants root and a name in the DNS
        for line in block.splitlines()
        if not line.startswith("mailnode doctor")
    ]
    told = "\n".join(said)
    assert "It works." in told
    assert '"subject": "Report"' in told
    assert "accepted from carol@example.org" in told
    findings = json.loads(reader.type("mailnode doctor --json"))["findings"]
    assert [each for each in findings if each["level"] == "fault"] == []
    assert "dave@example.org" in reader.type("mailnode user list")
    reader.stop()


def test_a_python_function_s_mailbox_by_the_recipe(reader: Reader) -> None:
    page = DOCS / "extending.rst"
    making, starting, looking = shown_blocks(page)
    for line in making.splitlines():
        reader.type(line)
    for name in ("robot.py", "mailnode.toml"):
        (reader.folder / name).write_text(files(page)[name])
    reader.type(starting.strip())
    told = "\n".join(map(reader.type, looking.splitlines()))
    assert "dave@example.net | It is broken" in told
    assert "Please mend it." in told
    assert "handed to robot.open_ticket" in told
    reader.stop()


def settings(name: str, node: Node) -> str:
    """What the README shows for a client, for Alice at this node."""
    text = files(README)[name]
    for shown, real in (
        ("mx.example.org", "localhost"),
        ("465", str(node.port("smtps"))),
        ("995", str(node.port("pop3s"))),
        ("carol%40example.org", f"alice%40{DOMAIN}"),
        ("carol@example.org", f"alice@{DOMAIN}"),
        ("her password", PASSWORD),
    ):
        text = text.replace(shown, real)
    return text


LETTER = b"Subject: By the README\n\nHello.\n"


def test_msmtp_sends_with_the_settings_of_the_readme(
    node: Node, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "home" / ".mail-password").write_text(f"{PASSWORD}\n")
    file = tmp_path / "msmtprc"
    file.write_text(f"{settings('msmtprc', node)}tls_trust_file {node.certificate}\n")
    file.chmod(0o600)
    client("msmtp", f"--file={file}", f"bob@{DOMAIN}", stdin=LETTER)
    (mail,) = node.mails("bob")
    assert b"Subject: By the README" in mail


def test_fetchmail_fetches_with_the_settings_of_the_readme(
    node: Node, client: Client, tmp_path: Path
) -> None:
    node.send(LETTER)
    file, got = tmp_path / "fetchmailrc", tmp_path / "got"
    shown = settings("fetchmailrc", node)
    shown = shown.replace("sslcertck", f"sslcertck sslcertfile '{node.certificate}'")
    file.write_text(re.sub(r"mda '.*'", f"mda 'cat >{got}'", shown))
    file.chmod(0o600)
    client("fetchmail", "--fetchmailrc", file, "--nosyslog", FETCHMAILHOME=str(tmp_path))
    assert b"Subject: By the README" in got.read_bytes()


def test_mutt_sends_and_fetches_with_the_settings_of_the_readme(
    node: Node, client: Client, tmp_path: Path
) -> None:
    box = tmp_path / "box"
    box.touch()
    (tmp_path / "home" / "Mail").mkdir()  # mutt would ask whether it may
    file = tmp_path / "muttrc"
    file.write_text(
        settings("muttrc", node)
        + f'set smtp_pass="{PASSWORD}" pop_pass="{PASSWORD}" pop_delete=no copy=no\n'
        + f'set ssl_ca_certificates_file="{node.certificate}" ssl_usesystemcerts=no\n'
        + f'set spoolfile="{box}" quit=yes move=no sleep_time=0 wait_key=no\n'
    )
    to = f"alice@{DOMAIN}"
    client("mutt", "-n", "-F", file, "-s", "By the README", "--", to, stdin=b"Hello.\n")
    (mail,) = node.mails()
    assert b"Subject: By the README" in mail
    keys = "push '<fetch-mail><exit>'"
    client(
        "script", "-qefc", f'mutt -n -F {file} -e "{keys}"', "/dev/null", TERM="xterm"
    )  # mutt wants a terminal
    assert b"Subject: By the README" in box.read_bytes()
