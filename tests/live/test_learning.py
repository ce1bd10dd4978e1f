"""A real node learns from what its users move, by the API, and judges the next mail like it."""

from __future__ import annotations

import json
import re
import smtplib
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.node import DOMAIN, Node, command, copy_folder
from tests.live.world import dns
from tests.unit.learning_case import BAD, GOOD

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
OPTIONS = ("--smtp", "0", "--http", "0")
SETTINGS = {"MAILNODE_JUDGING__LOOPBACK": "true", "MAILNODE_JUDGING__AUTHENTICATE": "false"}
EACH = 12
WAIT_S = 30.0


@contextmanager
def node(folder: Path, workers: int = 1, **settings: str) -> Iterator[Node]:
    with Node(folder, OPTIONS, settings=SETTINGS | settings, workers=workers) as running:
        yield running


def letters(number: int) -> str:
    return f"{chr(97 + number // 26)}{chr(97 + number % 26)}"


def mail(words: list[str], number: int, subject: str = "Hello") -> bytes:
    text = " ".join([*words, f"nr{letters(number)}"])
    return (
        f"From: Shop <info@shop.example>\r\nTo: {ALICE}\r\nSubject: {subject}\r\n\r\n{text}\r\n"
    ).encode()


class User:
    """Somebody who reads and moves mail by the API."""

    def __init__(self, at: Node, address: str) -> None:
        scopes = ("--scope", "read,manage,send")
        self.at = at
        self.token = command(at.folder, "token", "add", address, "t", *scopes).stdout.strip()

    def ask(self, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.at.port('http')}/api/v1{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def raw(self, message: dict[str, Any]) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.at.port('http')}/api/v1/messages/{message['id']}/raw",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            octets: bytes = answer.read()
        return octets

    def mails(self, folder: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(f"/messages?folder={folder}&limit=100")["items"]
        return found

    def move(self, message: dict[str, Any], folder: str) -> None:
        self.ask(f"/messages/{message['id']}/move", {"folder": folder})


def send(to: Node, *mails: bytes, recipients: tuple[str, ...] = (ALICE,)) -> None:
    with smtplib.SMTP("127.0.0.1", to.port("smtp"), timeout=60) as client:
        client.ehlo("mail.shop.example")
        for each in mails:
            client.sendmail("info@shop.example", list(recipients), each)


def lessons(of: Node) -> dict[str, tuple[int, int]]:
    rows = json.loads(command(of.folder, "learn", "show", "--json").stdout)
    return {row["model"]: (row["wanted"], row["unwanted"]) for row in rows}


def metrics(of: Node) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{of.port('http')}/metrics") as page:
        return str(page.read().decode())


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "not within so long"
        time.sleep(0.1)


def teach(the: Node) -> None:
    """Its model knows both kinds, from files."""
    for kind, words in (("spam", BAD), ("ham", GOOD)):
        files = [the.folder / f"{kind}{number}.eml" for number in range(EACH)]
        for number, path in enumerate(files):
            path.write_bytes(mail(words, 100 + number))
        command(the.folder, "learn", kind, *map(str, files))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_moved_to_junk_is_known_again_and_why_is_told(
    made_folder: Path, tmp_path: Path, workers: int
) -> None:
    with node(copy_folder(made_folder, tmp_path / "node"), workers) as at:
        alice = User(at, ALICE)
        send(at, *[mail(BAD, number, "Offer") for number in range(EACH)])
        for each in alice.mails("INBOX"):
            alice.move(each, "Junk")
        send(at, *[mail(GOOD, number) for number in range(EACH)])
        for each in alice.mails("INBOX"):
            alice.move(each, "Junk")
        for each in [each for each in alice.mails("Junk") if each["subject"] == "Hello"]:
            alice.move(each, "INBOX")
        wait_for(lambda: lessons(at).get("node") == (EACH, EACH))
        assert lessons(at)[ALICE] == (EACH, EACH)
        time.sleep(1.1)  # a model that was replaced is seen within a second
        send(at, mail(BAD, 200, "News"), recipients=(ALICE, BOB))
        send(at, mail(GOOD, 201, "Minutes"))
        (junk,) = [each for each in alice.mails("Junk") if each["subject"] == "News"]
        assert "Minutes" in [each["subject"] for each in alice.mails("INBOX")]
        assert "News" in [each["subject"] for each in User(at, BOB).mails("Junk")]
        told = command(at.folder, "trace", "--to", ALICE).stdout
        assert "judged unwanted by learned (verdict unwanted, probability" in told
        assert "model account), because" in told
        assert f"of your {EACH} unwanted mails" in told
        assert "(folder Junk)" in told
        assert junk["subject"] == "News"
        told = metrics(at)
        assert f'\nmailnode_lessons_total{{by="moved",kind="spam"}} {2 * EACH}\n' in told
        assert f'\nmailnode_lessons_total{{by="moved",kind="ham"}} {EACH}\n' in told
        assert f'\nmailnode_model_lessons{{kind="spam"}} {EACH}\n' in told
        assert re.search(r"^mailnode_lesson_age_seconds [0-9]+\.", told, re.M)
        assert re.search(r"^mailnode_model_octets [0-9]{3,}$", told, re.M)


def test_a_node_that_is_killed_between_move_and_lesson_loses_none(
    made_folder: Path, tmp_path: Path
) -> None:
    folder = copy_folder(made_folder, tmp_path / "node")
    at = Node(folder, OPTIONS, settings=SETTINGS, workers=1).start()
    try:
        alice = User(at, ALICE)
        send(at, *[mail(BAD, number) for number in range(EACH)])
        for number, each in enumerate(alice.mails("INBOX"), 1):
            alice.move(each, "Junk")
            if number % 4 == 0:  # the last move was answered: its row is durable
                at.kill()
                at = Node(folder, OPTIONS, settings=SETTINGS, workers=1).start()
                alice.at = at
        wait_for(lambda: lessons(at).get("node") == (0, EACH))
        time.sleep(3)
        assert lessons(at) == {"node": (0, EACH), ALICE: (0, EACH)}
        at.stop()
    finally:
        at.kill()


def test_who_is_blocked_and_who_is_allowed_is_known_to_a_running_node(
    made_folder: Path, tmp_path: Path
) -> None:
    with node(copy_folder(made_folder, tmp_path / "node")) as at:
        command(at.folder, "sender", "block", DOMAIN, "shop.example")
        command(at.folder, "sender", "allow", BOB, "info@shop.example")
        command(at.folder, "user", "set", ALICE, "--junk", "inbox")
        time.sleep(1)
        send(at, mail(GOOD, 1, "Both"), recipients=(ALICE, BOB))
        send(at, mail(GOOD, 2, "Mine"))
        told = command(at.folder, "trace", "--to", ALICE).stdout
        assert f"judged unwanted by senders, because {DOMAIN} blocks shop.example" in told
        told = command(at.folder, "trace", "--to", BOB).stdout
        assert f"judged wanted by senders, because {BOB} allows info@shop.example" in told
        assert not User(at, BOB).mails("Junk")
        alice = {each["subject"]: each for each in User(at, ALICE).mails("INBOX")}
        assert sorted(alice) == ["Both", "Mine"]
        raws = {each: User(at, ALICE).raw(alice[each]) for each in alice}
        assert b"X-Spam-Flag: YES\r\n" in raws["Mine"]
        assert b"X-Spam-Flag" not in raws["Both"]  # bob wants it


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_learned_since_is_tried_out_on_mail_beside_a_running_node(
    made_folder: Path, tmp_path: Path, workers: int
) -> None:
    with node(copy_folder(made_folder, tmp_path / "node"), workers) as at:
        large = b"\r\n".join([b"more of it " * 6] * 20_000)  # its body is a blob
        send(at, mail(BAD, 1, "Offer"), mail(GOOD, 2, "Minutes"), recipients=(ALICE, BOB))
        send(at, mail(BAD, 3, "Large") + large)
        teach(at)
        told = command(at.folder, "replay", "--since", "1h", settings=SETTINGS).stdout
        lines = told.splitlines()
        assert f"to {ALICE}, {BOB}: Offer: inbox -> Junk, because learned: " in lines[0]
        assert f"to {ALICE}: Large: inbox -> Junk" in lines[1]
        assert lines[2].startswith("3 looked at, 1 unchanged, 2 would go to Junk, 0 would leave")
        off = {**SETTINGS, "MAILNODE_LEARNING__ENABLED": "false"}
        told = command(at.folder, "replay", settings=off).stdout
        assert told.startswith("3 looked at, 3 unchanged, 0 would go to Junk")
        assert not User(at, ALICE).mails("Junk")  # nothing was moved


@pytest.mark.parametrize("workers", [1, 2])
def test_whom_one_has_written_to_is_not_put_into_junk_by_words_alone(
    made_folder: Path, tmp_path: Path, workers: int
) -> None:
    zone = {"shop.example TXT": ["v=spf1 ip4:127.0.0.1 -all"]}
    with dns(tmp_path / "dns", zone) as port:
        settings = {
            "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{port}",
            "MAILNODE_JUDGING__AUTHENTICATE": "true",
        }
        with node(copy_folder(made_folder, tmp_path / "node"), workers, **settings) as at:
            alice, bob = User(at, ALICE), User(at, BOB)
            alice.ask("/send", {"to": ["info@shop.example"], "subject": "A table", "text": "Two."})
            teach(at)
            send(at, mail(BAD, 1, "Your table"), recipients=(ALICE, BOB))
            assert [each["subject"] for each in alice.mails("INBOX")] == ["Your table"]
            assert [each["subject"] for each in bob.mails("Junk")] == ["Your table"]
            told = command(at.folder, "trace", "--to", ALICE, "--limit", "1").stdout
            known = "you have written to info@shop.example, and it is proved"
            assert "judged by learned (verdict unwanted, probability" in told
            assert f"): {known} that the mail is from there; the word" in told
            told = command(at.folder, "replay", settings=SETTINGS | settings).stdout
            assert told.startswith("1 looked at, 1 unchanged")
