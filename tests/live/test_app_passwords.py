"""App passwords at work: real mail programs show one, and it ends for all when it is revoked."""

from __future__ import annotations

import poplib
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.mpop import is_let_in
from tests.live.node import DOMAIN, PASSWORD, Node, command
from tests.live.test_fetchers import USER
from tests.live.test_second_factor import until_it_ends

PORTS = ("--smtp", "0", "--smtps", "0", "--pop3", "0", "--pop3s", "0")
MAIL = b"Subject: for the phone\r\n\r\nhello\r\n"


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def node(request: pytest.FixtureRequest, folder: Path) -> Iterator[Node]:
    with Node(folder, PORTS, workers=request.param) as node:
        yield node


@pytest.fixture
def one_process(folder: Path) -> Iterator[Node]:
    with Node(folder, PORTS, workers=1) as node:
        yield node


def make(node: Node, name: str, *scopes: str, account: str = "alice") -> str:
    more = [each for scope in scopes for each in ("--scope", scope)]
    return command(node.folder, "token", "add", account, name, *more).stdout.strip()


def number_of(node: Node, name: str) -> str:
    lines = command(node.folder, "token", "list").stdout.splitlines()
    return next(line.split()[0] for line in lines if name in line)


def revoke(node: Node, name: str) -> None:
    command(node.folder, "token", "revoke", number_of(node, name))


def by_mpop(node: Node, folder: Path, password: str, auth: str) -> bool:
    """Whether mpop is let in inside TLS."""
    return is_let_in(
        folder,
        f"port {node.port('pop3s')}",
        f"user {USER}",
        f'password "{password}"',
        f"auth {auth}",
        "tls on",
        "tls_starttls off",
        f"tls_trust_file {node.certificate}",
    )


def pop3(node: Node, password: str) -> poplib.POP3:
    client = poplib.POP3("localhost", node.port("pop3"), timeout=30)
    client.user(USER)
    client.pass_(password)
    return client


def smtp(node: Node, password: str) -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", node.port("smtp"), timeout=30)
    client.login(USER, password)
    return client


def takes_smtp(node: Node, password: str) -> bool:
    try:
        smtp(node, password).quit()
    except smtplib.SMTPAuthenticationError as error:
        assert (error.smtp_code, error.smtp_error) == (535, b"5.7.8 Authentication failed")
        return False
    return True


def test_mpop_signs_in_by_one_until_it_is_revoked(node: Node, tmp_path: Path) -> None:
    secret = make(node, "phone", "pop3")
    node.send(MAIL)
    assert by_mpop(node, tmp_path, secret, "on")
    assert b"for the phone" in (tmp_path / "mbox").read_bytes()
    revoke(node, "phone")
    assert not by_mpop(node, tmp_path, secret, "on")


@pytest.mark.parametrize("auth", ["user", "plain", "scram-sha-256"])
def test_it_is_shown_by_whichever_mechanism_beside_the_password(
    one_process: Node, tmp_path: Path, auth: str
) -> None:
    node = one_process
    secret = make(node, "phone", "pop3")
    assert by_mpop(node, tmp_path, secret, auth)
    assert by_mpop(node, tmp_path, PASSWORD, "user")  # what is kept of it is renewed behind this
    deadline = time.monotonic() + 10
    while auth.startswith("scram") and not by_mpop(node, tmp_path, PASSWORD, auth):
        assert time.monotonic() < deadline
    assert by_mpop(node, tmp_path, secret, auth)


def test_it_counts_for_its_service_and_its_account_alone(node: Node) -> None:
    sends, fetches = make(node, "sends", "smtp"), make(node, "fetches", "pop3")
    assert takes_smtp(node, sends)
    pop3(node, fetches).quit()
    assert not takes_smtp(node, fetches)
    node.wait_for_log("an app password that is not for smtp")
    with pytest.raises(poplib.error_proto, match="Authentication failed"):
        pop3(node, sends)
    bobs = make(node, "of bob", "smtp", "pop3", account="bob")
    assert not takes_smtp(node, bobs)


def test_sessions_that_signed_in_by_it_end_when_it_is_revoked(node: Node) -> None:
    one, other = make(node, "one", "smtp,pop3"), make(node, "other", "smtp")
    fetches = pop3(node, one)
    sends, stays, own = (smtp(node, password) for password in (one, other, PASSWORD))
    revoke(node, "one")
    until_it_ends(sends)
    with pytest.raises((poplib.error_proto, OSError)):
        fetches.noop()
    for client in (stays, own):
        assert client.noop()[0] == 250
        client.quit()


def test_its_last_use_is_told_and_a_new_password_ends_it(node: Node) -> None:
    secret = make(node, "phone", "smtp")
    assert "never" in command(node.folder, "token", "list").stdout
    assert takes_smtp(node, secret)
    deadline = time.monotonic() + 10
    while "127.0.0.1" not in command(node.folder, "token", "list").stdout:
        assert time.monotonic() < deadline
    command(node.folder, "user", "passwd", f"alice@{DOMAIN}", stdin="another horse 81\n")
    deadline = time.monotonic() + 10
    while takes_smtp(node, secret):
        assert time.monotonic() < deadline
