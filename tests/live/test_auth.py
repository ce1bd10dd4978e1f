"""`--auth`: Twisted's own checkers in front of the accounts of users.db."""

from __future__ import annotations

import poplib
import smtplib
import subprocess
import time
from pathlib import Path

from tests.live.node import DOMAIN, PASSWORD, Node, command, environment, twistd

PORTS = ("--smtp", "0", "--pop3", "0")
CREATE = {"MAILNODE_ACCOUNTS__CREATE_ON_SIGN_IN": "true"}


def signs_in(node: Node, name: str, password: str) -> bool:
    client = poplib.POP3("localhost", node.port("pop3"), timeout=30)
    try:
        client.user(name)
        client.pass_(password)
    except poplib.error_proto as error:
        assert error.args[0] == b"-ERR [AUTH] Authentication failed"
        return False
    finally:
        client.quit()
    return True


def signs_in_by_smtp(node: Node, name: str, password: str) -> bool:
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=30) as client:
        try:
            client.login(name, password)
        except smtplib.SMTPAuthenticationError as error:
            assert (error.smtp_code, error.smtp_error) == (535, b"5.7.8 Authentication failed")
            return False
    return True


def wait_for_account(node: Node, address: str) -> None:
    deadline = time.monotonic() + 10
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=30) as client:
        client.ehlo("client.example")
        client.mail("")
        while client.rcpt(address)[0] != 250:
            assert time.monotonic() < deadline, f"the node doesn't know {address}"
            client.rset()
            client.mail("")
            time.sleep(0.1)


def passwords(folder: Path, *names: str) -> str:
    file = folder / "passwords"
    file.write_text("".join(f"{name}:open sesame\n" for name in names))
    return f"file:{file}"


def test_a_file_of_passwords_counts_instead_of_those_in_users_db(folder: Path) -> None:
    auth = passwords(folder, f"alice@{DOMAIN}", "bob")
    with Node(folder, (*PORTS, "--auth", auth)) as node:
        assert signs_in(node, f"alice@{DOMAIN}", "open sesame")
        assert signs_in(node, "bob", "open sesame")  # a bare name: of the first domain
        node.send(b"Subject: for bob\r\n\r\n.\r\n", to="bob")
        with smtplib.SMTP("localhost", node.port("smtp"), timeout=30) as session:
            session.login("bob", "open sesame")
            session.sendmail(f"bob@{DOMAIN}", [f"bob@{DOMAIN}"], b"Subject: own\r\n\r\n")
        client = poplib.POP3("localhost", node.port("pop3"), timeout=30)
        client.user("bob")
        client.pass_("open sesame")
        assert len(client.list()[1]) == 2
        client.quit()
        for asked in (signs_in, signs_in_by_smtp):
            assert not asked(node, f"alice@{DOMAIN}", PASSWORD)


def test_several_checkers_are_asked_in_turn(folder: Path) -> None:
    auth = passwords(folder, f"alice@{DOMAIN}")
    with Node(folder, (*PORTS, "--auth", auth, "--auth", f"memory:bob@{DOMAIN}:x")) as node:
        assert signs_in(node, f"alice@{DOMAIN}", "open sesame")
        assert signs_in(node, f"bob@{DOMAIN}", "x")


def test_an_id_without_an_account_is_refused_and_the_log_names_the_mend(folder: Path) -> None:
    with Node(folder, (*PORTS, "--auth", "memory:carol:open sesame")) as node:
        assert not signs_in(node, "carol", "open sesame")
        node.wait_for_log("mailnode user add carol")
        command(folder, "user", "add", f"carol@{DOMAIN}", stdin="not that word\n")
        wait_for_account(node, f"carol@{DOMAIN}")
        assert signs_in(node, "carol", "open sesame")
        assert not signs_in(node, "carol", "not that word")


def test_an_account_is_made_at_the_first_sign_in_when_the_settings_say_so(folder: Path) -> None:
    auth = passwords(folder, "carol", "dave@elsewhere.example")
    with Node(folder, (*PORTS, "--auth", auth), settings=CREATE) as node:
        assert signs_in(node, "carol", "open sesame")
        node.send(b"Subject: welcome\r\n\r\n", to="carol")
        client = poplib.POP3("localhost", node.port("pop3"), timeout=30)
        client.user("carol")
        client.pass_("open sesame")
        assert len(client.list()[1]) == 1
        client.quit()
        assert f"carol@{DOMAIN}" in command(folder, "user", "list").stdout
        assert not signs_in(node, "dave@elsewhere.example", "open sesame")
        node.wait_for_log("mailnode domain list")
        assert "dave" not in command(folder, "user", "list").stdout
    # Without the checker that let carol in, nobody has a password for that account.
    with Node(folder, PORTS) as node:
        assert signs_in(node, f"alice@{DOMAIN}", PASSWORD)
        assert not signs_in(node, f"carol@{DOMAIN}", "open sesame")


def test_a_checker_that_is_unknown_or_lets_everybody_in_is_a_usage_error(folder: Path) -> None:
    for auth, words in (
        ("carrier-pigeon:secret", "--auth carrier-pigeon: "),
        ("anonymous:", "--auth anonymous: "),
        ("memory:secret", "--auth memory: argstring must be in format U:P:"),
    ):
        said = subprocess.run(
            twistd("-n", "--pidfile=", "mailnode", *PORTS, "--auth", auth),
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert said.returncode == 64, said
        assert said.stderr.startswith(f"mailnode: {words}"), said.stderr
        assert "--help-auth" in said.stderr and "secret" not in said.stderr, said.stderr
        assert len(said.stderr.splitlines()) == 1, said.stderr
