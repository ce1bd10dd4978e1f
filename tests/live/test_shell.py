"""`mailnode shell` at a terminal: our node, and a Dovecot that a Postfix fills."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from tests.live.conftest import Mailhost
from tests.live.node import DOMAIN, PASSWORD, Node, copy_folder
from tests.live.terminal import Terminal, mailnode_on_terminal

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
MAIN, YOURS = "What next? [write]: ", "Your mail [read]: "


@frozen
class There:
    """Where the shell is at home, and what it is told there."""

    folder: Path
    options: tuple[str, ...]
    address: str
    password: str
    sender: str

    @contextmanager
    def shell(self) -> Iterator[Terminal]:
        with mailnode_on_terminal(self.folder, "shell", *self.options) as terminal:
            terminal.expect(MAIN)
            yield terminal

    def manage(self, terminal: Terminal) -> str:
        """Signs in; the list."""
        terminal.type("manage")
        terminal.expect("Your address [")
        terminal.type(self.address)
        terminal.expect(f"Password of {self.address}")
        terminal.type(self.password)
        return terminal.expect("Your mail [")

    def write(self, terminal: Terminal, subject: str) -> None:
        terminal.type("1")
        terminal.expect("From [")
        terminal.type(self.sender)
        terminal.expect("To [")
        terminal.type(self.address)
        terminal.expect("Copies to [nobody]: ")
        terminal.type("")
        terminal.expect("Subject [no subject]: ")
        terminal.type(subject)
        terminal.expect("Files [none]: ")
        terminal.type("")
        terminal.expect("a full stop on a line of its own ends it")
        terminal.type(f"Text of {subject}")
        terminal.type("..")
        terminal.type(".")
        terminal.expect(f"sent to {self.address}: 250")
        terminal.expect("Sent (")
        terminal.expect(MAIN)


@pytest.fixture
def own(node: Node) -> There:
    return There(node.folder, (), BOB, PASSWORD, ALICE)


@pytest.fixture
def servers(mailhost: Mailhost, tmp_path: Path) -> There:
    options = (*mailhost.pop3, *mailhost.smtp)
    return There(tmp_path, options, mailhost.address, "pw", "me@elsewhere.test")


@pytest.fixture(params=["own", "servers"])
def place(request: pytest.FixtureRequest) -> There:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, There)
    return found


def test_mail_is_written_read_saved_deleted_taken_back_and_deleted(place: There) -> None:
    with place.shell() as terminal:
        for subject in ("first words", "second words"):
            place.write(terminal, subject)
        shown = place.manage(terminal)
        until = time.monotonic() + 30
        while "second words" not in shown:  # Postfix delivers when it has the time
            assert time.monotonic() < until
            time.sleep(0.3)
            terminal.type("refresh")
            terminal.expect("new mail")
            shown = terminal.expect("Your mail [")
        assert "first words" in shown
        terminal.expect("read]: ")
        terminal.type("read first")
        assert "Text of first words\n..\n" in terminal.expect(YOURS)
        terminal.type("4 first")
        terminal.expect("In which folder [mails]: ")
        terminal.type("")
        terminal.expect("first words.eml")
        terminal.expect(YOURS)
        terminal.type("delete all")
        terminal.expect("It takes effect when you leave; undo takes it back.")
        terminal.expect(YOURS)
        terminal.type("list")
        assert terminal.expect(YOURS).count("(deleted) ") == 2
        terminal.type("undo 2")
        terminal.expect("Not deleted any more: 2.")
        terminal.expect(YOURS)
        terminal.type("back")
        terminal.expect(MAIN)
        terminal.type("3")
        terminal.expect("Delete 1 mail for good? [yes]: ")
        terminal.type("")
        terminal.expect("Deleted: 1 mail.")
        terminal.expect("Goodbye.")
        assert terminal.wait() == 0
    saved = place.folder / "mails" / place.address / "first words.eml"
    assert saved.read_bytes().replace(b"\r\n", b"\n").endswith(b"Text of first words\n..\n")
    saved.unlink()
    with place.shell() as terminal:
        shown = place.manage(terminal)
        assert "1 to 1 of 1 mail." in shown
        terminal.expect("read]: ")
        terminal.type("delete 1")
        terminal.expect(YOURS)
        terminal.press("d")
        terminal.expect("for good? [yes]: ")
        terminal.type("yes")
        terminal.expect("Goodbye.")
        assert terminal.wait() == 0


def test_a_wrong_password_asks_again_and_three_lead_back(place: There) -> None:
    with place.shell() as terminal:
        terminal.type("manage")
        terminal.expect("Your address [")
        terminal.type(place.address)
        for _ in range(3):
            terminal.expect(f"Password of {place.address}")
            terminal.type("wrong")
        terminal.expect("That did not work: ")
        terminal.expect(MAIN)
        place.manage(terminal)
        terminal.press("d")
        terminal.expect("Goodbye.")
        assert terminal.wait() == 0


def test_what_is_wrong_is_said_at_once_and_asked_again(own: There) -> None:
    with own.shell() as terminal:
        terminal.type("nonsense")
        terminal.expect("'nonsense' is none of these: 1 write  2 manage  3 leave; ? explains")
        terminal.type("?")
        terminal.expect("list, read, save and delete your mail")
        terminal.type("w")
        terminal.expect(f"From [{ALICE}]: ")
        terminal.type("")
        terminal.expect("To [")
        terminal.type("bob")
        terminal.expect("That is not right: to: 'bob' has no @")
        terminal.expect("To [")
        terminal.type("?")
        terminal.expect("several between commas")
        terminal.expect("To [")
        terminal.type(BOB)
        terminal.expect("Copies")
        terminal.type("")
        terminal.expect("Subject")
        terminal.type("s" * 151)
        terminal.expect("subject: 151 characters: many programs show 150")
        terminal.expect("Use it all the same? [no]: ")
        terminal.type("")
        terminal.expect("Subject")
        terminal.type("short")
        terminal.expect("Files")
        terminal.type("/nowhere/x")
        terminal.expect("That is not right: /nowhere/x: No such file")
        terminal.expect("Files")
        terminal.press("c")
        terminal.expect("Nothing was sent.")
        terminal.expect(MAIN)
        terminal.press("c")
        terminal.expect("To leave: 3, or Ctrl-D.")
        terminal.expect(MAIN)
        terminal.press("d")
        terminal.expect("Goodbye.")
        assert terminal.wait() == 0


def test_what_a_server_refuses_is_not_lost(own: There) -> None:
    with own.shell() as terminal:
        terminal.type("write")
        for question, said in (
            ("From", ALICE), ("To [", f"nobody@{DOMAIN}"), ("Copies", BOB), ("Subject", "half"),
            ("Files", ""), ("ends it", "kept words"), ("kept", "."),
        ):  # fmt: skip
            terminal.expect(question)
            terminal.type(said)
        terminal.expect(f"refused for nobody@{DOMAIN}: 550 5.1.1")
        terminal.expect("It has not reached everybody. What now? [keep]: ")
        terminal.type("")
        terminal.expect("Kept as half.eml.")
        terminal.expect(MAIN)
        terminal.press("d")
        assert terminal.wait() == 0
    kept = own.folder / "half.eml"
    assert b"kept words" in kept.read_bytes()
    kept.unlink()


def test_pages_of_twenty_and_ctrl_c_goes_back_a_level(node: Node, own: There) -> None:
    for number in range(45):
        node.send(b"Subject: mail %d\r\n\r\n." % number, "bob")
    with own.shell() as terminal:
        shown = own.manage(terminal)
        assert "26 to 45 of 45 mails; older shows more." in shown
        assert len(re.findall("mail [0-9]+ ", shown)) == 20
        for said, words in (
            ("older", "6 to 25 of 45 mails; older shows more."),
            ("2", "1 to 5 of 45 mails."),
            ("older", "There are no older ones."),
            ("read 46", "There is no mail 46; they are 1 to 45."),
            ("list", "26 to 45"),
        ):
            terminal.expect("read]: ")
            terminal.type(said)
            terminal.expect(words)
        terminal.expect("read]: ")
        terminal.type("delete 1-3 45")
        terminal.expect("Deleted: 1, 2, 3, 45.")
        terminal.expect("read]: ")
        terminal.type("read")
        terminal.expect("Read which mail [45]: ")
        terminal.press("c")
        terminal.expect("read]: ")
        terminal.press("c")
        terminal.expect(MAIN)
        terminal.press("d")
        terminal.expect("Delete 4 mails for good? [yes]: ")
        terminal.press("d")
        terminal.expect("Nothing was deleted. Goodbye.")
        assert terminal.wait() == 0
    assert len(node.mails("bob")) == 45


def test_a_server_that_starts_again_loses_no_deletion(made_folder: Path, tmp_path: Path) -> None:
    node = Node(copy_folder(made_folder, tmp_path / "node"), ("--smtp", "0", "--pop3", "0")).start()
    try:
        for number in range(3):
            node.send(b"Subject: mail %d\r\n\r\n." % number, "bob")
        own = There(node.folder, (), BOB, PASSWORD, ALICE)
        with own.shell() as terminal:
            own.manage(terminal)
            terminal.expect("read]: ")
            terminal.type("delete 2")
            terminal.expect("read]: ")
            node.stop()
            terminal.type("read 1")
            terminal.expect("That did not work: the node in this folder does not run any more")
            terminal.expect("read]: ")
            node.start()
            terminal.type("read 1")
            terminal.expect("It is there again; nothing was deleted.")
            terminal.expect("Still to be deleted when you leave: 1 mail (number ")
            terminal.expect("mail 0")
            terminal.expect("read]: ")
            node.kill()
            node.start()
            terminal.press("d")
            terminal.expect("for good? [yes]: ")
            terminal.type("")
            terminal.expect("Deleted: 1 mail.")
            assert terminal.wait() == 0
        left = [raw.partition(b"Subject: ")[2][:6] for raw in node.mails("bob")]
        assert left == [b"mail 0", b"mail 2"]
    finally:
        node.kill()


def test_it_needs_a_terminal(node: Node) -> None:
    from tests.live.node import command

    done = command(node.folder, "shell", check=False)
    assert (done.returncode, "this needs a terminal" in done.stderr) == (64, True)
