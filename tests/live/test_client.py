"""`mailnode send`, `list`, `read`, `save`, `delete`: our node, a Dovecot and a Postfix."""

from __future__ import annotations

import email
import email.policy
import json
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import frozen

from tests.live.conftest import Mailhost
from tests.live.node import DOMAIN, PASSWORD, Node, command
from tests.live.world import certificate_for

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


@frozen
class There:
    """Where a user's mail is sent and read.

    Attributes:
        address: whose mailbox it is.
        options: of a command that reads it, without the password's.
        sending: of one that sends to it.
        folder: where commands run.
    """

    address: str
    options: tuple[str, ...]
    sending: tuple[str, ...]
    folder: Path

    def run(self, *words: str, expect: int = 0, stdin: str = "") -> str:
        done = self.try_to(*words, stdin=stdin)
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def try_to(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        options = self.sending if words[0] == "send" else self.options
        return command(self.folder, *words, *options, check=False, stdin=stdin)

    def send(self, subject: str, *more: str, text: str = "Hello") -> None:
        said = self.run(
            "send", "--from", ALICE, "--to", self.address, "--subject", subject, *more, text
        )
        assert f"sent to {self.address}: 250" in said

    def list(self) -> list[dict[str, object]]:
        found = json.loads(self.run("list", "--json"))
        assert isinstance(found, list)
        return found


@pytest.fixture
def own(node: Node, tmp_path: Path) -> There:
    """Our node, from its own folder: nothing says where it is."""
    (tmp_path / "pw").write_text(f"{PASSWORD}\n")
    options = ("--user", BOB, "--password-file", str(tmp_path / "pw"))
    return There(BOB, options, (), node.folder)


@pytest.fixture
def elsewhere(mailhost: Mailhost, tmp_path: Path) -> There:
    """Others' servers, with an empty mailbox."""
    (tmp_path / "pw").write_text("pw\n")
    user = ("--user", mailhost.address, "--password-file", str(tmp_path / "pw"))
    found = There(mailhost.address, (*mailhost.pop3, *user), mailhost.smtp, tmp_path)
    found.run("delete", "all")
    return found


@pytest.fixture(params=["own", "elsewhere"])
def place(request: pytest.FixtureRequest) -> There:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, There)
    return found


def test_mail_with_an_attachment_is_sent_listed_read_saved_and_deleted(
    place: There, tmp_path: Path
) -> None:
    octets = bytes(range(256)) * 5000
    (tmp_path / "Bild ü.png").write_bytes(octets)
    place.send("Grüße", "--attach", str(tmp_path / "Bild ü.png"), text="Hallo,\n.\nBob")
    (line,) = wait_for(place, 1)
    assert (line["subject"], line["sender"]) == ("Grüße", ALICE)
    shown = place.run("read", "grüß")
    assert "Hallo,\n.\nBob" in shown
    assert "File     Bild ü.png, 1.2 MiB" in shown
    place.run("save", "all", "--to", str(tmp_path / "mails"))
    kept = tmp_path / "mails" / place.address
    assert (kept / "Grüße" / "Bild ü.png").read_bytes() == octets
    raw = place.run("read", str(line["number"]), "--raw")
    assert (kept / "Grüße.eml").read_bytes().replace(b"\r\n", b"\n").decode() == raw
    assert place.run("delete", "1") == "deleted 1 mail\n"
    assert place.run("stat").startswith(f"{place.address}: 0 mails")


def test_many_are_listed_by_one_session_in_their_order(place: There) -> None:
    for number in range(5):
        place.send(f"number {number}")
    lines = wait_for(place, 5)
    assert sorted(str(line["subject"]) for line in lines) == [f"number {n}" for n in range(5)]
    assert "the newest 2 of 5" in place.run("list", "--limit", "2")
    refused = place.try_to("read", "number")
    assert (refused.returncode, "5 mails have 'number'" in refused.stderr) == (65, True)


def test_mistakes_are_told_before_anything_is_changed(place: There) -> None:
    place.send("kept")
    wait_for(place, 1)
    for words, code, said in (
        (("delete", "1", "7"), 67, "there is no mail 7; nothing was deleted"),
        (("delete", "x"), 64, "'x' is no number of a mail"),
        (("read", "nothing like it"), 67, "no mail's subject has"),
        (("read", "7"), 67, "there is no mail 7"),
    ):
        done = place.try_to(*words)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert len(place.list()) == 1


def test_what_a_server_refuses_is_told_with_its_words(place: There) -> None:
    domain = place.address.partition("@")[2]
    done = place.try_to("send", "--from", ALICE, "--to", f"nobody@{domain}", "--to", place.address,
                        "--subject", "s", "x")  # fmt: skip
    assert done.returncode == 69
    assert f"refused for nobody@{domain}: 550 5.1.1" in done.stdout
    assert f"sent to {place.address}: 250" in done.stdout


def test_a_wrong_password_is_told_in_the_server_s_words(place: There, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong\n")
    place.run("stat")
    options = [
        each if not each.endswith("/pw") else str(tmp_path / "wrong") for each in place.options
    ]
    done = command(place.folder, "list", *options, check=False)
    assert done.returncode == 77
    assert "is not let in: [AUTH] Authentication failed" in done.stderr


def test_html_and_text_from_standard_input_arrive(place: There, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>Grüße</p>", "utf-8")
    place.run("send", "--from", ALICE, "--to", place.address, "--subject", "both",
              "--html", str(tmp_path / "page.html"), "-", stdin="Grüße\n.\nEnde\n")  # fmt: skip
    wait_for(place, 1)
    raw = place.run("read", "1", "--raw")
    mail = email.message_from_string(raw, policy=email.policy.default)
    parts = [part.get_content() for part in mail.iter_parts()]
    assert [part.strip() for part in parts] == ["Grüße\n.\nEnde", "<p>Grüße</p>"]


def test_a_certificate_that_is_not_the_trusted_one_gets_no_password(
    elsewhere: There, tmp_path: Path
) -> None:
    other, _ = certificate_for(tmp_path / "tls", "localhost")
    options = [each if not each.endswith("cert.pem") else str(other) for each in elsewhere.options]
    done = command(elsewhere.folder, "stat", *options, check=False)
    assert (done.returncode, "is not to be trusted" in done.stderr) == (76, True), done.stderr


def test_the_node_asks_for_a_sign_in_only_where_it_must(own: There) -> None:
    own.send("from a program")
    wait_for(own, 1)
    done = command(own.folder, "send", "--from", BOB, "--to", ALICE, "--subject", "s", *own.options,
                   "hi")  # fmt: skip
    assert f"sent to {ALICE}: 250" in done.stdout


def test_new_mail_is_shown_as_it_comes(own: There) -> None:
    with subprocess.Popen(
        ["stdbuf", "-oL", *_program(), "watch", *own.options, "--every", "1"],
        cwd=own.folder, stdout=subprocess.PIPE, text=True,
    ) as watching:  # fmt: skip
        assert watching.stdout is not None
        try:
            for number in range(20):
                own.send(f"news {number}")
                if _ready(watching.stdout, 2.0):
                    break
            assert "news" in watching.stdout.readline()
        finally:
            watching.terminate()


def _program() -> list[str]:
    return [sys.executable, "-m", "mailnode.cli"]


def _ready(stream: object, seconds: float) -> bool:
    return bool(select.select([stream], [], [], seconds)[0])


def wait_for(place: There, count: int) -> list[dict[str, object]]:
    """What lies there, once there are so many: Postfix delivers when it has the time."""
    until = time.monotonic() + 20
    while len(found := place.list()) < count:
        assert time.monotonic() < until, f"{len(found)} of {count}"
        time.sleep(0.2)
    return found
