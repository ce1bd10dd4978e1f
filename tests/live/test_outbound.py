"""Mail for other hosts: by MX to a real Postfix, by LMTP to a real Dovecot, by a provider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

from tests.live.conftest import Client, missing
from tests.live.node import DOMAIN, PASSWORD, Node, command
from tests.live.world import (
    DOVECOT,
    POSTFIX,
    Dovecot,
    Postfix,
    certificate_for,
    dns,
    folder_for_others,
    there,
)

REMOTE = "remote.test"
ALICE = f"alice@{DOMAIN}"
SERVED = ("--smtp", "0", "--submission", "0", "--pop3", "0", "--clock", "manual")


@pytest.fixture(scope="module")
def tls() -> Iterator[tuple[Path, Path]]:
    with folder_for_others() as folder:
        yield certificate_for(folder, f"mx.{REMOTE}", "localhost")


@pytest.fixture(scope="module")
def dovecot(tls: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    if not there(DOVECOT):
        missing("dovecot-lmtpd (as root)")
    with folder_for_others() as folder:
        server = Dovecot(folder, REMOTE, tls).start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def postfix(tls: tuple[Path, Path], dovecot: Dovecot) -> Iterator[Postfix]:
    if not there(POSTFIX):
        missing("postfix (as root)")
    with folder_for_others() as folder:
        server = Postfix(folder, REMOTE, tls, users=("remote", "other"), sign_in=dovecot).start()
        yield server
        server.stop()


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[int]:
    records = {
        f"{REMOTE} MX": [f"10 mx.{REMOTE}"],
        f"mx.{REMOTE} A": ["127.0.0.1"],
    }
    with dns(tmp_path / "dns", records) as port:
        yield port


def sending(folder: Path, zone: int, port: int, tls: tuple[Path, Path]) -> Node:
    """A node that sends to the world, whose hosts listen on `port`."""
    command(folder, "gear", "set", "live", "--yes")
    settings = {
        "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{zone}",
        "MAILNODE_OUTBOUND__PORT": str(port),
        "MAILNODE_OUTBOUND__TRUST": str(tls[0]),
    }
    return Node(folder, SERVED, settings=settings, workers=1)


def submit_by_curl(node: Node, client: Client, raw: bytes, to: str, folder: Path) -> None:
    file = folder / "mail.eml"
    file.write_bytes(raw)
    client(
        "curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", node.certificate,
        "--user", f"{ALICE}:{PASSWORD}", "--mail-from", ALICE, "--mail-rcpt", to,
        "--upload-file", file, f"smtp://localhost:{node.port('submission')}/client.example",
    )  # fmt: skip


def mail_to(to: str, subject: str) -> bytes:
    return (
        f"From: Alice <{ALICE}>\r\nTo: {to}\r\nBcc: hidden@{REMOTE}\r\nSubject: {subject}\r\n"
        "\r\n.Hello\r\n..\r\n"
    ).encode()


def test_mail_submitted_by_curl_reaches_postfix_by_mx_signed_and_inside_tls(
    folder: Path,
    zone: int,
    postfix: Postfix,
    tls: tuple[Path, Path],
    client: Client,
    tmp_path: Path,
) -> None:
    command(folder, "dkim", "generate", DOMAIN)
    published = command(folder, "dns", "show", DOMAIN, "--json").stdout
    before = len(postfix.mails("remote"))
    with sending(folder, zone, postfix.port, tls) as node:
        submit_by_curl(
            node, client, mail_to(f"remote@{REMOTE}", "signed"), f"remote@{REMOTE}", tmp_path
        )
        mail = postfix.wait_for("remote", before + 1)[-1]
        story = command(folder, "trace", "--to", f"remote@{REMOTE}").stdout
    assert mail["Subject"] == "signed"
    assert mail["Bcc"] is None
    assert mail["Date"] and mail["Message-ID"]
    assert mail.get_payload().replace("\n", "\r\n") == ".Hello\r\n..\r\n"
    assert "TLSv1.3" in story and f"mx.{REMOTE}" in story, story
    assert len(mail.get_all("DKIM-Signature")) == 2
    raw = _newest(postfix, "remote")
    for index in (0, 1):
        assert dkim.DKIM(raw).verify(index, dnsfunc=_dns_of(published)), mail.as_string()


def _newest(server: Postfix, user: str) -> bytes:
    files = sorted(server.maildir(user).glob("new/*"), key=lambda path: path.stat().st_mtime_ns)
    return files[-1].read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _dns_of(published: str) -> object:
    """What dkimpy asks the DNS, answered from what `dns show` would have published."""
    import json

    texts = {
        each["name"].rstrip("."): each["value"]
        for each in json.loads(published)["records"]
        if each["type"] == "TXT"
    }

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        found = texts.get(name.decode().rstrip("."))
        return None if found is None else found.encode()

    return ask


def test_a_refused_recipient_bounces_and_curl_fetches_the_report(
    folder: Path,
    zone: int,
    postfix: Postfix,
    tls: tuple[Path, Path],
    client: Client,
    tmp_path: Path,
) -> None:
    with sending(folder, zone, postfix.port, tls) as node:
        submit_by_curl(
            node, client, mail_to(f"nobody@{REMOTE}", "lost"), f"nobody@{REMOTE}", tmp_path
        )
        deadline = time.monotonic() + 20
        while not node.mails("alice"):
            assert time.monotonic() < deadline, node.tail()
            time.sleep(0.1)
        fetched = client(
            "curl", "--silent", "--show-error", "--user", f"{ALICE}:{PASSWORD}",
            f"pop3://localhost:{node.port('pop3')}/1",
        ).stdout  # fmt: skip
    assert b"Return-Path: <>" in fetched
    assert b"multipart/report" in fetched
    assert f"Final-Recipient: rfc822; nobody@{REMOTE}".encode() in fetched.replace(
        b";nob", b"; nob"
    )
    assert b"550 5.1.1" in fetched


def test_a_remote_that_is_down_for_four_days_gets_it_with_one_notice(
    folder: Path,
    zone: int,
    tls: tuple[Path, Path],
    client: Client,
    tmp_path: Path,
    postfix: Postfix,
) -> None:
    before = len(postfix.mails("remote"))
    postfix.stop()
    try:
        with sending(folder, zone, postfix.port, tls) as node:
            submit_by_curl(
                node, client, mail_to(f"remote@{REMOTE}", "late"), f"remote@{REMOTE}", tmp_path
            )
            for _ in range(4):
                command(folder, "clock", "advance", "1d")
            postfix.start()
            command(folder, "clock", "advance", "5h")
            assert postfix.wait_for("remote", before + 1)[-1]["Subject"] == "late"
            notices = node.mails("alice")
            story = command(folder, "trace", "--to", f"remote@{REMOTE}").stdout
    finally:
        if postfix.process is None:
            postfix.start()
    assert len(notices) == 1, notices
    assert b"Action: delayed" in notices[0]
    assert "relayed" in story, story


def test_a_remote_that_stays_down_bounces_after_five_days(
    folder: Path,
    zone: int,
    tls: tuple[Path, Path],
    client: Client,
    tmp_path: Path,
    postfix: Postfix,
) -> None:
    with sending(folder, zone, 1, tls) as node:  # nobody listens on port 1
        submit_by_curl(
            node, client, mail_to(f"remote@{REMOTE}", "never"), f"remote@{REMOTE}", tmp_path
        )
        command(folder, "clock", "advance", "5d 1h")
        reports = node.mails("alice")
    assert [b"Action: delayed" in reports[0], b"Action: failed" in reports[1]] == [True, True]
    assert len(reports) == 2


def test_a_route_leads_to_dovecot_by_lmtp(
    folder: Path,
    zone: int,
    dovecot: Dovecot,
    tls: tuple[Path, Path],
    client: Client,
    tmp_path: Path,
) -> None:
    command(folder, "route", "add", REMOTE, f"lmtp://127.0.0.1:{dovecot.port}")
    before = len(dovecot.mails("remote"))
    with sending(folder, zone, 1, tls) as node:
        submit_by_curl(
            node, client, mail_to(f"remote@{REMOTE}", "lmtp"), f"remote@{REMOTE}", tmp_path
        )
        assert dovecot.wait_for("remote", before + 1)[-1]["Subject"] == "lmtp"


def test_mail_from_an_outside_address_leaves_by_its_provider(
    folder: Path,
    zone: int,
    postfix: Postfix,
    tls: tuple[Path, Path],
    client: Client,
    tmp_path: Path,
) -> None:
    outside = f"remote@{REMOTE}"
    before = len(postfix.mails("other"))
    with sending(folder, zone, 1, tls) as node:
        command(
            folder, "send-as", "add", ALICE, outside, "--host", "localhost",
            "--port", str(postfix.port), "--user", outside, stdin="pw\n",
            settings={"MAILNODE_OUTBOUND__TRUST": str(tls[0])},
        )  # fmt: skip
        raw = (
            f"From: {outside}\r\nTo: other@{REMOTE}\r\nSubject: by provider\r\n\r\nHi\r\n".encode()
        )
        file = tmp_path / "mail.eml"
        file.write_bytes(raw)
        client(
            "curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", node.certificate,
            "--user", f"{ALICE}:{PASSWORD}", "--mail-from", outside,
            "--mail-rcpt", f"other@{REMOTE}", "--upload-file", file,
            f"smtp://localhost:{node.port('submission')}/client.example",
        )  # fmt: skip
        mail = postfix.wait_for("other", before + 1)[-1]
    assert mail["Subject"] == "by provider"
    received = " ".join(mail.get_all("Received"))
    assert "Authenticated sender: remote" in received and "TLSv1.3" in received, received


def test_a_developer_s_node_keeps_what_is_for_elsewhere(folder: Path, zone: int) -> None:
    with Node(folder, SERVED, workers=1) as node:
        node.send(b"Subject: hello\r\n\r\nHi\r\n")  # to alice, as ever
        import smtplib

        with smtplib.SMTP("localhost", node.port("smtp"), timeout=30) as session:
            session.sendmail(
                "app@app.example", ["anybody@anywhere.example"], b"Subject: x\r\n\r\ny\r\n"
            )
        queue = command(folder, "queue", "list", "--json").stdout
        story = command(folder, "trace", "--to", "anybody@anywhere.example").stdout
    assert "anybody@anywhere.example" in queue and "captured" in queue, queue
    assert "anybody@anywhere.example" in story
