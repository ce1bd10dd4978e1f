"""The mail client at a terminal: it asks for what is missing, and again for what is wrong."""

from __future__ import annotations

import poplib

from tests.live.node import DOMAIN, PASSWORD, Node
from tests.live.terminal import mailnode_on_terminal

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


def received(node: Node) -> str:
    client = poplib.POP3("localhost", node.port("pop3"), timeout=60)
    client.user(BOB)
    client.pass_(PASSWORD)
    lines = client.retr(1)[1]
    client.quit()
    return b"\n".join(lines).decode()


def test_what_is_missing_is_asked_for_and_a_full_stop_ends_the_text(node: Node) -> None:
    with mailnode_on_terminal(node.folder, "send") as terminal:
        terminal.expect("From: ")
        terminal.type(ALICE)
        terminal.expect("To: ")
        terminal.type("bob")
        terminal.expect("'bob' has no @")
        terminal.expect("To: ")
        terminal.type(BOB)
        terminal.expect("Subject: ")
        terminal.type("typed")
        terminal.expect("a full stop on a line of its own")
        terminal.type("Hello Bob")
        terminal.type("..two dots")
        terminal.type(".")
        terminal.expect(f"sent to {BOB}: 250")
        assert terminal.wait() == 0
    text = received(node)
    assert "\nSubject: typed\n" in text
    assert text.endswith("\nHello Bob\n..two dots")


def test_a_wrong_password_is_asked_for_again_and_never_shown(node: Node) -> None:
    with mailnode_on_terminal(node.folder, "stat", BOB) as terminal:
        terminal.expect("Password of bob")
        terminal.type("wrong horse")
        terminal.expect("is not let in: [AUTH] Authentication failed; try again")
        terminal.expect("Password of bob")
        terminal.type(PASSWORD)
        terminal.expect(f"{BOB}: 0 mails")
        assert terminal.wait() == 0
        assert "horse" not in terminal.shown


def test_ctrl_c_stops_it_and_changes_nothing(node: Node) -> None:
    with mailnode_on_terminal(node.folder, "send", "--from", ALICE) as terminal:
        terminal.expect("To: ")
        terminal.press("c")
        terminal.expect("stopped, nothing was changed")
        assert terminal.wait() == 130


def test_three_wrong_passwords_are_the_end(node: Node) -> None:
    with mailnode_on_terminal(node.folder, "stat", BOB) as terminal:
        for _ in range(3):
            terminal.expect("Password of bob")
            terminal.type("wrong")
        terminal.expect("mailnode: ")
        assert terminal.wait() == 77
