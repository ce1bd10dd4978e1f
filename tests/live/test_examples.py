"""The examples work from a folder outside the tree, as a reader would use them."""

from __future__ import annotations

import json
import os
import poplib
import shutil
import signal
import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.node import DOMAIN, PASSWORD, WORKERS, Node, environment, twistd

EXAMPLES = Path(__file__).parents[2] / "examples"

HELLO = b"From: dave@elsewhere.example\r\nSubject: %s\r\n\r\nHello.\r\n"

Start = Callable[..., Node]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A package of somebody else's: a copy of the examples."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "theirs" / "examples"))


@pytest.fixture
def theirs(folder: Path, examples: Path) -> Start:
    """A node with the examples on its path and these settings in a file of its own."""

    def start(settings: str, *options: str, **more: str) -> Node:
        (folder / "mailnode.toml").write_text(settings)
        ports = ("--smtp", "0", "--pop3", "0", "--config", "mailnode.toml")
        return Node(folder, (*ports, *options), settings=on_path(examples) | more)

    return start


def on_path(examples: Path) -> dict[str, str]:
    tree = environment().get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(examples), tree]))}


def session(node: Node) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", node.port("smtp"), timeout=30)
    client.ehlo("client.example")
    return client


def refusal(node: Node, recipient: str, raw: bytes) -> tuple[int, bytes]:
    """The reply at the dot."""
    with session(node) as client:
        client.mail("dave@elsewhere.example")
        assert client.rcpt(recipient)[0] == 250
        return client.data(raw)


def sign_in(node: Node, name: str, password: str) -> bytes:
    """What POP3 says to it, an error too."""
    client = poplib.POP3("localhost", node.port("pop3"), timeout=30)
    try:
        client.user(name)
        return client.pass_(password)
    except poplib.error_proto as error:
        return bytes(error.args[0])
    finally:
        client.quit()


# The function


TICKETS = '[plugins]\ndelivery = "tickets:mailboxes"\n'


def test_a_function_answers_for_an_address_and_the_others_are_mailboxes(theirs: Start) -> None:
    with theirs(TICKETS, TICKETS="tickets.jsonl") as node:
        tickets = node.folder / "tickets.jsonl"
        with session(node) as client:
            to = [f"Tickets+urgent@{DOMAIN}", f"alice@{DOMAIN}"]
            assert client.sendmail("dave@elsewhere.example", to, HELLO % b"It is broken") == {}
        (line,) = tickets.read_text().splitlines()
        ticket = json.loads(line)
        assert ticket["subject"] == "It is broken"
        assert ticket["from"] == "dave@elsewhere.example"
        assert ticket["text"].split() == ["Hello."]
        (mail,) = node.mails()
        assert b"Subject: It is broken\r\n" in mail and ticket["id"].encode() in mail
        with session(node) as client, pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("dave@elsewhere.example", [f"nobody@{DOMAIN}"], HELLO % b"x")


def test_what_a_function_refuses_or_can_not_do_is_in_no_mailbox(theirs: Start) -> None:
    with theirs(TICKETS, TICKETS="missing/tickets.jsonl") as node:
        code, text = refusal(node, f"tickets@{DOMAIN}", b"To: you\r\n\r\nno subject\r\n")
        assert (code, text) == (550, b"5.7.1 A ticket needs a subject")
        with session(node) as client:
            client.mail("dave@elsewhere.example")
            for name in ("alice", "tickets"):
                assert client.rcpt(f"{name}@{DOMAIN}")[0] == 250
            code, text = client.data(HELLO % b"x")
        assert (code, text[:5]) == (451, b"4.3.0")
        assert b"missing" not in text
        node.wait_for_log("FileNotFoundError")
        assert node.mails() == []
        node.kill()  # its log has the traceback that `stop` would complain of


def test_an_async_function_takes_a_whole_domain(theirs: Start) -> None:
    with theirs(TICKETS) as node:
        assert refusal(node, "anybody@echo.example", HELLO % b"Hi")[0] == 250
        node.wait_for_log("anybody@echo.example got 'Hi'")


# The checker


def with_tokens(folder: Path) -> Path:
    tokens = folder / "tokens"
    tokens.write_text(f"alice@{DOMAIN} open sesame\nbob@{DOMAIN} secret\nzoe@{DOMAIN} secret\n")
    return tokens


def check_tokens(node: Node) -> None:
    assert sign_in(node, f"alice@{DOMAIN}", "open sesame").startswith(b"+OK")
    with session(node) as client:
        assert client.login(f"bob@{DOMAIN}", "secret")[0] == 235
    assert sign_in(node, f"alice@{DOMAIN}", PASSWORD).startswith(b"-ERR [AUTH]")
    assert sign_in(node, f"zoe@{DOMAIN}", "secret").startswith(b"-ERR [AUTH]")
    node.wait_for_log(f"mailnode user add zoe@{DOMAIN}")


def test_a_checker_is_a_strcred_plugin(theirs: Start, folder: Path, examples: Path) -> None:
    with theirs("", "--auth", f"tokens:{with_tokens(folder)}") as node:
        check_tokens(node)
    said = subprocess.run(
        twistd("mailnode", "--help-auth"),
        env=environment() | on_path(examples),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "tokens" in said.stdout and "path of the file" in said.stdout


def test_a_checker_is_named_in_the_settings(theirs: Start, folder: Path) -> None:
    settings = '[plugins]\ncheckers = ["token_checker:TokenChecker"]\n'
    with theirs(settings, TOKENS=str(with_tokens(folder))) as node:
        check_tokens(node)


# The verb


OF_SESSIONS = [
    b"2.0.0 %d sessions, 1 mails in this one" % sessions for sessions in range(2, 2 - WORKERS, -1)
]


def test_a_verb_of_ones_own_is_listed_and_answers(theirs: Start) -> None:
    with theirs('[plugins]\nsmtp_server = "stat_verb:StatServer"\n') as node:
        with session(node) as client:
            assert client.has_extn("xstat")
            assert client.docmd("XSTAT") == (250, b"2.0.0 1 sessions, 0 mails in this one")
            client.sendmail("dave@elsewhere.example", [f"alice@{DOMAIN}"], HELLO % b"x")
            with session(node):
                code, told = client.docmd("xstat")
                assert code == 250
                assert told in OF_SESSIONS  # another worker may have the other session
            assert client.docmd("XSTAT", "all") == (501, b"5.5.4 XSTAT takes no argument")
        assert len(node.mails()) == 1


# The filter


@pytest.mark.parametrize("name", ["no_lottery:NoLottery", "no-lottery"])
def test_a_filter_refuses_and_puts_a_field_in_front(theirs: Start, name: str) -> None:
    with theirs(f'[plugins]\nfilters = ["{name}"]\n') as node:
        code, text = refusal(node, f"alice@{DOMAIN}", HELLO % b"You won the LOTTERY")
        assert (code, text) == (550, b"5.7.1 We don't play")
        assert refusal(node, f"alice@{DOMAIN}", HELLO % b"Good morning")[0] == 250
        with session(node) as client:
            client.login(f"bob@{DOMAIN}", PASSWORD)
            again = f"Subject: The lottery, again\r\nFrom: bob@{DOMAIN}\r\n\r\nHello.\r\n"
            client.sendmail(f"bob@{DOMAIN}", [f"alice@{DOMAIN}"], again)
        first, second = node.mails()
        assert b"\r\nX-Lottery: none\r\n" in first and b"Good morning" in first
        assert b"X-Lottery" not in second and b"The lottery, again" in second


# The .tac


def tac(folder: Path, examples: Path, **settings: str) -> Node:
    shutil.copy2(examples / "node.tac", folder)
    own = " ".join(twistd("-n", "--pidfile=", "-y", "node.tac"))
    # The shell passes over `mailnode` and its options, which come behind.
    return Node(folder, (), settings=settings, before=("sh", "-c", f"exec {own}"))


def test_a_node_in_a_tac_serves_beside_another_service(folder: Path, examples: Path) -> None:
    (folder / "mailnode.toml").write_text('[node]\nhostname = "mx.tac.example"\n')
    ports = {"MAILNODE_LISTEN__SMTP": "0", "MAILNODE_LISTEN__POP3": "0"}
    node = tac(folder, examples, MAILNODE_CONFIG="mailnode.toml", **ports).start()
    try:
        with session(node) as client:
            assert b"mx.tac.example" in client.ehlo()[1]
            client.sendmail("dave@elsewhere.example", [f"alice@{DOMAIN}"], HELLO % b"By tac")
        (mail,) = node.mails()
        assert b"by mx.tac.example" in mail and b"Subject: By tac\r\n" in mail
        node.wait_for_log("0 mails were taken so far")
        node.send_signal(signal.SIGTERM)
        assert node.wait() in (0, -signal.SIGTERM)
        node.assert_quiet_log()
    finally:
        node.kill()
    assert not (folder / "var" / "listening.json").exists()


def test_a_node_in_a_tac_says_why_it_can_not_start(folder: Path, examples: Path) -> None:
    node = tac(folder, examples, MAILNODE_LISTEN__SMTP="99999")
    with pytest.raises(AssertionError, match="the node ended: "):
        node.start()
    node.wait_for_log("the node can't start: MAILNODE_LISTEN__SMTP: there is no port 99999")
    node.assert_quiet_log()
