"""Unwanted mail of who chose it is served by POP3 under a tagged Subject, and kept as it came."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from tests.live.node import DOMAIN, Node, command, copy_folder, without_ours


def with_program(subject: str, size: int = 1000) -> bytes:
    mail = EmailMessage(SMTP)
    mail["From"], mail["To"] = "anna@sender.example", f"alice@{DOMAIN}"
    if subject:
        mail["Subject"] = subject
    mail.set_content("See below.\n")
    mail.add_attachment(b"MZ" + b"\0" * size, "application", "x-msdownload", filename="a.exe")
    return mail.as_bytes()


@pytest.fixture(scope="module")
def tagging(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("tagging") / "node")
    command(folder, "user", "set", f"alice@{DOMAIN}", "--junk", "tagged")
    settings = {
        "MAILNODE_JUDGING__LOOPBACK": "true",
        "MAILNODE_JUDGING__AUTHENTICATE": "false",
        "MAILNODE_HARMFUL__PROGRAM": "unwanted",
    }
    with Node(folder, ("--smtp", "0", "--pop3", "0"), settings=settings) as node:
        yield node


def test_the_tag_begins_the_subject_and_without_it_each_is_the_mail_that_came(
    tagging: Node,
) -> None:
    wanted = b"Subject: plain\r\n\r\nHi\r\n"
    came = [
        with_program("Gr\u00fc\u00dfe"),
        wanted,
        with_program(""),
        with_program("large", 900_000),
    ]
    for raw in came:
        tagging.send(raw)
    with tagging.maildrop() as client:
        served = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in (1, 2, 3, 4)]
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        top = b"\r\n".join(client.top(4, 0)[1])
    assert sizes == [len(each) for each in served]
    assert b"Subject: [SPAM] =?" in served[0] and b"\r\nSubject: [SPAM] large\r\n" in top
    for raw, mail in zip(came, served, strict=True):
        without = mail.replace(b"Subject: [SPAM]\r\n", b"").replace(b" [SPAM]", b"", 1)
        assert (without == mail) == (raw == wanted)
        assert without_ours(without).endswith(raw)
    command(tagging.folder, "user", "set", f"alice@{DOMAIN}", "--junk", "inbox")
    assert not any(b"[SPAM]" in mail for mail in tagging.mails())
