"""The API of a real node: the docs typed by curl, a smarthost, and all that its document allows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from tests.documents import DOCS, shown_blocks
from tests.live.conftest import missing
from tests.live.node import BIN, DOMAIN, PASSWORD, Node, command, copy_folder, environment
from tests.live.world import (
    DOVECOT,
    POSTFIX,
    Dovecot,
    Postfix,
    certificate_for,
    folder_for_others,
    there,
)

REMOTE = "remote.test"
ALICE = f"alice@{DOMAIN}"
WEB = ("--smtp", "0", "--http", "0")
SETTINGS = Path(__file__).with_name("schemathesis.toml")
ASKED_S = 60
SCOPES = ("--scope", "read,send,manage,admin")


@define(eq=False)
class Shell:
    """Types lines of a page in a folder, and keeps what they export."""

    folder: Path
    exported: dict[str, str] = field(factory=dict)

    def type(self, line: str) -> str:
        """What it says."""
        name, _, value = line.removeprefix("export ").partition("=")
        if line.startswith("export "):
            self.exported[name] = self.type(f"printf %s {value}")
            return ""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=environment() | {"PATH": f"{self._programs()}{os.pathsep}{os.environ['PATH']}"}
            | self.exported,
            input=f"{PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _programs(self) -> Path:
        folder = self.folder / "programs"
        if not folder.exists():
            folder.mkdir()
            script = folder / "mailnode"
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mailnode.cli "$@"\n')
            script.chmod(0o755)
        return folder


def test_the_page_of_the_docs_works_as_it_is_shown(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        missing("curl")
    shell = Shell(tmp_path)
    making, token, *asking = shown_blocks(DOCS / "api.rst")
    *before, start = making.splitlines()
    assert start == "twistd -n mailnode --smtp 2525 --http 8080"
    for line in before:
        shell.type(line)
    told: dict[str, str] = {}
    with Node(tmp_path, WEB, workers=1) as node:
        for line in token.splitlines():
            shell.type(line.replace(":8080", f":{node.port('http')}"))
        for block in asking:
            for line in block.splitlines():
                told[line] = shell.type(line)
        said = "\n".join(told.values())
        sent = json.loads(next(text for line, text in told.items() if "order-66" in line))
        assert [each["state"] for each in sent["recipients"]] == ["accepted", "accepted"]
        (waited,) = [json.loads(text) for line, text in told.items() if "/messages/wait" in line]
        assert (waited["subject"], waited["text"]) == ("Your code", "4711\n")
        (captured,) = [json.loads(text) for line, text in told.items() if "/captured/wait" in line]
        assert (captured["mail_id"], captured["recipient"]) == (sent["id"], "dave@example.com")
        assert "Subject: Welcome" in said and '"is_ready": true' in said
        assert "correct horse" not in said


def test_what_the_docs_show_of_a_problem_is_what_is_answered(api: Api) -> None:
    shown = re.search(r"^    (\{\"type\".*?\}\]\})$", (DOCS / "api.rst").read_text(), re.M | re.S)
    assert shown is not None
    expected = json.loads(shown[1].replace("example.org", DOMAIN))
    status, said = api.ask("POST", "/send", {"to": [ALICE, f"nobody@{DOMAIN}"], "text": "x"})
    assert (status, said) == (422, expected)


@define(eq=False)
class Api:
    """Asked by curl, with a token."""

    node: Node
    token: str

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.node.port('http')}/api/v1"

    def curl(self, path: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["curl", "-sSg", "-H", f"Authorization: Bearer {self.token}", *arguments,
             f"{self.base}{path}"],
            capture_output=True, timeout=150,
        )  # fmt: skip

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        sent = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body else []
        done = self.curl(path, "-X", method, "-w", "\n%{http_code}", *sent)
        octets, _, status = done.stdout.rpartition(b"\n")
        return int(status), json.loads(octets) if octets else None


def api_of(node: Node) -> Api:
    command(node.folder, "user", "set", ALICE, "--admin")
    token = command(node.folder, "token", "add", ALICE, "tests", *SCOPES).stdout.strip()
    return Api(node, token)


@pytest.fixture(scope="module")
def api(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("api") / "node")
    with Node(folder, WEB, workers=1) as node:
        yield api_of(node)


def test_a_wait_ends_when_a_mail_comes_by_smtp(api: Api) -> None:
    waiting = subprocess.Popen(
        ["curl", "-sSg", "-H", f"Authorization: Bearer {api.token}",
         f"{api.base}/messages/wait?subject=by+smtp&timeout=30"], stdout=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(0.5)
    began = time.monotonic()
    api.node.send(b"Subject: By SMTP\r\n\r\nHello.\r\n")
    octets, _ = waiting.communicate(timeout=40)
    assert json.loads(octets)["text"] == "Hello.\n"
    assert time.monotonic() - began < 5


def test_a_large_file_goes_up_and_down_and_costs_little_memory(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(1 << 20) * 50)
    api.curl("/folders")
    before = _memory(api.node)
    done = api.curl(
        "/send", "-F", f"to={ALICE}", "-F", "keep=no", "-F", "subject=Large",
        "-F", f"attachment=@{file}",
    )  # fmt: skip
    mail_id = json.loads(done.stdout)["id"]
    _status, mail = api.ask("GET", f"/messages/{mail_id}")
    assert isinstance(mail, dict)
    (found,) = mail["attachments"]
    assert api.curl(f"/messages/{mail_id}/parts/{found['path']}").stdout == file.read_bytes()
    raw = api.curl(f"/messages/{mail_id}/raw").stdout
    assert len(raw) == mail["size_octets"]
    assert _memory(api.node) - before < 32 << 20


def _memory(node: Node) -> int:
    """Octets that its process has had in memory at most."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    assert found is not None
    return int(found[1]) * 1024


# To the world


def test_mail_for_elsewhere_goes_through_the_queue_to_a_smarthost_with_sign_in_and_tls(
    folder: Path,
) -> None:
    if not (there(DOVECOT) and there(POSTFIX)):
        missing("postfix and dovecot (as root)")
    with folder_for_others() as certificates, folder_for_others() as first, \
            folder_for_others() as second:  # fmt: skip
        tls = certificate_for(certificates, "localhost")
        dovecot = Dovecot(first, REMOTE, tls, users=("remote",)).start()
        postfix = Postfix(second, REMOTE, tls, users=("remote", "other"), sign_in=dovecot).start()
        try:
            (folder / "password").write_text("pw\n")
            (folder / "password").chmod(0o600)
            target = f"smtp://remote%40{REMOTE}@localhost:{postfix.port}"
            command(folder, "route", "add", "*", target, "--tls", "verify", "--password-file",
                    str(folder / "password"))  # fmt: skip
            command(folder, "gear", "set", "live", "--yes")
            trust = {"MAILNODE_OUTBOUND__TRUST": str(tls[0])}
            with Node(folder, WEB, settings=trust, workers=1) as node:
                api = api_of(node)
                order = {"to": [f"other@{REMOTE}"], "subject": "By the API", "text": "Hello.\n"}
                status, sent = api.ask("POST", "/send", order)
                assert status == 202 and isinstance(sent, dict)
                (mail,) = postfix.wait_for("other")
                assert mail["Subject"] == "By the API"
                received = " ".join(mail.get_all("Received"))
                assert "Authenticated sender: remote" in received and "TLSv1.3" in received
                _await_state(api, sent["id"], "relayed")
        finally:
            postfix.stop()
            dovecot.stop()


def _await_state(api: Api, mail_id: str, state: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        _status, story = api.ask("GET", f"/messages/{mail_id}/story")
        assert isinstance(story, dict)
        if story["recipients"][0]["state"] == state:
            return
        assert time.monotonic() < deadline, story
        time.sleep(0.1)


# Whatever the document allows, and what it doesn't


def test_the_node_answers_as_its_document_says_whatever_it_is_asked(
    folder: Path, tmp_path: Path
) -> None:
    """Each operation but those that wait, which have tests of their own; bounded in time.

    New passwords come last: what is asked finds the tester's own account, and voids his token.
    """
    waiting = ("getEvents", "waitForMessage", "waitForCaptured")
    with Node(folder, WEB, workers=1) as node:
        api = api_of(node)
        others = [f"--exclude-operation-id={each}" for each in (*waiting, "changeAccount")]
        said = _schemathesis(api, tmp_path, ASKED_S, *others)
        tested = re.search(r"Tested: (\d+)", said)
        assert tested is not None
        _status, document = api.ask("GET", "/openapi.json")
        assert isinstance(document, dict)
        operations = sum(map(len, document["paths"].values()))
        # It reads the document itself, and doesn't ask for it once more.
        left_out = len({*waiting, "changeAccount", "getDocument"})
        assert int(tested[1]) == operations - left_out, (tested[1], operations)
        status, _state = api.ask("GET", "/node")
        assert status == 200, "the tester's account was shut out by what was asked"
        _schemathesis(api, tmp_path, 10, "--include-operation-id=changeAccount")


def _schemathesis(api: Api, folder: Path, seconds: int, *options: str) -> str:
    """What it says when it finds nothing."""
    done = subprocess.run(
        [str(BIN / "schemathesis"), "--config-file", str(SETTINGS), "run",
         f"{api.base}/openapi.json",
         "--header", f"Authorization: Bearer {api.token}",
         # What is well-formed may be refused all the same: there is no such account, say.
         "--exclude-checks", "positive_data_acceptance",
         "--max-time", str(seconds), "--max-examples", "10", "--request-timeout", "20",
         "--phases", "examples,coverage,fuzzing", "--no-color", *options],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=seconds * 5,
    )  # fmt: skip
    said = "\n".join(line[:300] for line in done.stdout.splitlines()[-300:])
    assert done.returncode == 0, f"{said}\n{done.stderr}"
    return said
