"""Mail for other hosts: by MX to a real Postfix, by LMTP to a real Dovecot, by a provider."""

from __future__ import annotations

import gzip
import json
import shutil
import smtplib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dkim
import pytest

from tests.live.conftest import Client, missing
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder
from tests.live.opensmtpd import OpenSmtpd, opensmtpd_is_there
from tests.live.world import (
    DOVECOT,
    POSTFIX,
    Dovecot,
    Postfix,
    Sink,
    certificate_for,
    dns,
    dns_of_dkimpy,
    folder_for_others,
    free_port,
    texts_of,
    there,
)

REMOTE = "remote.test"
ALICE = f"alice@{DOMAIN}"
UTF8 = "j\u00fcrgen"
SERVED = ("--submission", "0", "--pop3", "0")
MANUAL = ("--clock", "manual")

Submit = Callable[[Node, Client, bytes, str, Path], None]


@pytest.fixture(scope="module")
def tls() -> Iterator[tuple[Path, Path]]:
    with folder_for_others() as folder:
        yield certificate_for(folder, f"mx.{REMOTE}", "localhost")


@pytest.fixture(scope="module")
def dovecot(tls: tuple[Path, Path]) -> Iterator[Dovecot]:
    if not there(DOVECOT):
        missing("dovecot-lmtpd (as root)")
    with folder_for_others() as folder:
        server = Dovecot(folder, REMOTE, tls, users=("remote", "tcp", "unix")).start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def smtp_port() -> int:
    """Where the node listens that Postfix reports to."""
    return free_port()


@pytest.fixture(scope="module")
def postfix(tls: tuple[Path, Path], dovecot: Dovecot, smtp_port: int) -> Iterator[Postfix]:
    if not there(POSTFIX):
        missing("postfix (as root)")
    with folder_for_others() as folder:
        server = Postfix(
            folder,
            REMOTE,
            tls,
            users=("remote", "other", UTF8),
            sign_in=dovecot,
            more=(f"relayhost = [127.0.0.1]:{smtp_port}",),
        ).start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    records = {
        f"{REMOTE} MX": [f"10 mx.{REMOTE}"],
        f"mx.{REMOTE} A": ["127.0.0.1"],
        f"_smtp._tls.{REMOTE} TXT": [f"v=TLSRPTv1; rua=mailto:other@{REMOTE}"],
    }
    with dns(tmp_path_factory.mktemp("dns"), records) as port:
        yield port


def sending(
    folder: Path, zone: int, port: int, tls: tuple[Path, Path], smtp: int = 0, workers: int = 1
) -> Node:
    """A node that sends to the world, whose hosts listen on `port`."""
    command(folder, "gear", "set", "live", "--yes")
    settings = {
        "MAILNODE_OUTBOUND__RESOLVERS": f"127.0.0.1:{zone}",
        "MAILNODE_OUTBOUND__PORT": str(port),
        "MAILNODE_OUTBOUND__TRUST": str(tls[0]),
    }
    options = ["--smtp", str(smtp), *SERVED, *(MANUAL if workers == 1 else ())]
    return Node(folder, options, settings=settings, workers=workers)


@pytest.fixture(scope="module")
def live_node(
    made_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    zone: int,
    postfix: Postfix,
    dovecot: Dovecot,
    tls: tuple[Path, Path],
    smtp_port: int,
) -> Iterator[Node]:
    """One that sends, for all tests that move no clock; it must end without a complaint."""
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("live") / "node")
    command(folder, "dkim", "generate", DOMAIN)
    command(folder, "alias", "add", f"forwarded@{DOMAIN}", f"remote@{REMOTE}")
    command(folder, "route", "add", f"tcp@{REMOTE}", f"lmtp://127.0.0.1:{dovecot.port}")
    command(folder, "route", "add", f"unix@{REMOTE}", f"lmtp://{dovecot.lmtp_socket}")
    with sending(folder, zone, postfix.port, tls, smtp_port) as node:
        yield node


@pytest.fixture
def live(live_node: Node) -> Node:
    """The node that sends, with an empty maildrop."""
    live_node.empty("alice")
    return live_node


# Submitting


def submit_by_curl(node: Node, client: Client, raw: bytes, to: str, folder: Path) -> None:
    file = folder / "mail.eml"
    file.write_bytes(raw)
    client(
        "curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", node.certificate,
        "--user", f"{ALICE}:{PASSWORD}", "--mail-from", ALICE, "--mail-rcpt", to,
        "--upload-file", file, f"smtp://localhost:{node.port('submission')}/client.example",
    )  # fmt: skip


def submit_by_msmtp(node: Node, client: Client, raw: bytes, to: str, folder: Path) -> None:
    client(
        "msmtp", "--host=localhost", f"--port={node.port('submission')}", f"--from={ALICE}",
        "--auth=plain", f"--user={ALICE}", f"--passwordeval=echo '{PASSWORD}'", "--tls=on",
        "--tls-starttls=on", f"--tls-trust-file={node.certificate}", "--domain=client.example",
        to, stdin=raw.replace(b"\r\n", b"\n"),
    )  # fmt: skip


@contextmanager
def submission(node: Node) -> Iterator[smtplib.SMTP]:
    """A session inside TLS, signed in as alice."""
    with smtplib.SMTP("localhost", node.port("submission"), timeout=60) as session:
        session.starttls(context=node.tls())
        session.login(ALICE, PASSWORD)
        yield session


def submit(node: Node, subject: str, *to: str, **options: Sequence[str]) -> None:
    with submission(node) as session:
        session.sendmail(ALICE, to, mail_to(to[0], subject), **options)  # type: ignore[arg-type]


def mail_to(to: str, subject: str) -> bytes:
    return (
        f"From: Alice <{ALICE}>\r\nTo: {to}\r\nBcc: hidden@{REMOTE}\r\nSubject: {subject}\r\n"
        "\r\n.Hello\r\n..\r\n"
    ).encode()


def wait_for_mails(node: Node, count: int) -> list[bytes]:
    """What alice has, once there are so many."""
    deadline = time.monotonic() + 20
    while len(found := node.mails("alice")) < count:
        assert time.monotonic() < deadline, node.tail()
        time.sleep(0.1)
    assert len(found) == count, found
    return found


# To hosts of others


@pytest.mark.parametrize(
    "submit_by", [submit_by_curl, submit_by_msmtp], ids=lambda by: by.__name__[10:]
)
def test_mail_that_is_submitted_reaches_postfix_by_mx_signed_and_inside_tls(
    live: Node, postfix: Postfix, client: Client, tmp_path: Path, submit_by: Submit
) -> None:
    published = command(live.folder, "dns", "show", DOMAIN, "--json").stdout
    before = len(postfix.mails("remote"))
    submit_by(live, client, mail_to(f"remote@{REMOTE}", "signed"), f"remote@{REMOTE}", tmp_path)
    mail = postfix.wait_for("remote", before + 1)[-1]
    story = command(live.folder, "trace", "--to", f"remote@{REMOTE}").stdout
    assert mail["Subject"] == "signed"
    assert mail["Bcc"] is None
    assert mail["Date"] and mail["Message-ID"]
    assert mail.get_payload().replace("\n", "\r\n") == ".Hello\r\n..\r\n"
    assert "TLSv1.3" in story and f"mx.{REMOTE}" in story, story
    assert len(mail.get_all("DKIM-Signature")) == 2
    raw, ask = postfix.newest("remote"), dns_of_dkimpy(texts_of(published))
    for index in (0, 1):
        assert dkim.DKIM(raw).verify(index, dnsfunc=ask), mail.as_string()


def test_a_refused_recipient_bounces_and_curl_fetches_the_report(
    live: Node, client: Client, tmp_path: Path
) -> None:
    submit_by_curl(live, client, mail_to(f"nobody@{REMOTE}", "lost"), f"nobody@{REMOTE}", tmp_path)
    wait_for_mails(live, 1)
    fetched = client(
        "curl", "--silent", "--show-error", "--user", f"{ALICE}:{PASSWORD}",
        f"pop3://localhost:{live.port('pop3')}/1",
    ).stdout  # fmt: skip
    assert b"Return-Path: <>" in fetched
    assert b"multipart/report" in fetched
    assert f"Final-Recipient: rfc822; nobody@{REMOTE}".encode() in fetched.replace(
        b";nob", b"; nob"
    )
    assert b"550 5.1.1" in fetched


def test_an_address_beyond_ascii_goes_to_a_postfix_that_takes_it(
    live: Node, postfix: Postfix
) -> None:
    to = f"{UTF8}@{REMOTE}"
    raw = f"From: {ALICE}\r\nTo: {to}\r\nSubject: Gr\u00fc\u00dfe\r\n\r\nHi\r\n".encode()
    with submission(live) as session:
        session.sendmail(ALICE, [to], raw, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    mail = postfix.wait_for(UTF8)[-1]
    assert mail["Subject"] == "Gr\u00fc\u00dfe"
    assert mail["Delivered-To"] == to


def test_opensmtpd_takes_it_and_in_clear_where_its_tls_fails(
    live: Node, tls: tuple[Path, Path]
) -> None:
    """Debian 12's 6.8.0p2 breaks off each handshake with OpenSSL 3."""
    if not opensmtpd_is_there():
        pytest.skip("OpenSMTPD is not unpacked; as root, tests/bench/install-peers does it")
    with folder_for_others() as folder:
        server = OpenSmtpd(folder, "other.test", tls).start()
        try:
            target = f"smtp://localhost:{server.port}"
            command(live.folder, "route", "add", server.domain, target)
            submit(live, "to OpenSMTPD", "remote@other.test", "nobody@other.test")
            mail = server.wait_for("remote")[-1]
            (report,) = wait_for_mails(live, 1)
        finally:
            server.stop()
    assert mail["Subject"] == "to OpenSMTPD"
    assert mail.get_payload().replace("\n", "\r\n") == ".Hello\r\n..\r\n"
    assert b"nobody@other.test" in report and b"Action: failed" in report
    story = command(live.folder, "trace", "--to", "remote@other.test").stdout
    assert "TLSv1" in story or "in clear" in story, story


def test_a_route_leads_to_dovecot_by_lmtp_over_tcp_and_a_unix_socket(
    live: Node, dovecot: Dovecot
) -> None:
    for user in ("tcp", "unix"):
        submit(live, f"by {user}", f"{user}@{REMOTE}")
    for user in ("tcp", "unix"):
        assert dovecot.wait_for(user)[-1]["Subject"] == f"by {user}"


# Forwarded, and reported


def test_what_an_alias_forwards_comes_back_to_its_first_sender(
    live: Node, postfix: Postfix
) -> None:
    first = f"other@{REMOTE}"
    remote, other = len(postfix.mails("remote")), len(postfix.mails("other"))
    live.send(b"From: x@y.example\r\nSubject: forwarded\r\n\r\nHi\r\n", "forwarded", first)
    mail = postfix.wait_for("remote", remote + 1)[-1]
    reverse = mail["Return-Path"].strip("<>")
    assert reverse.startswith("SRS0=") and reverse.endswith(f"={REMOTE}=other@{DOMAIN}"), reverse
    with smtplib.SMTP("localhost", live.port("smtp"), timeout=60) as session:
        session.sendmail("", [reverse], b"Subject: it failed\r\n\r\nHi\r\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            session.sendmail("", [reverse.replace("=other@", "=remote@")], b"\r\n")
    assert [code for code, _ in refused.value.recipients.values()] == [550]
    bounce = postfix.wait_for("other", other + 1)[-1]
    assert (bounce["Subject"], bounce["Return-Path"]) == ("it failed", "<>")


def test_success_is_reported_by_who_delivers_it(live: Node) -> None:
    """By us for a mailbox here and for a host that does not report, else by that host."""
    unix = f"unix@{REMOTE}"
    submit(
        live, "tell me", f"bob@{DOMAIN}", f"remote@{REMOTE}", unix,
        mail_options=["RET=HDRS", "ENVID=QQ314159"], rcpt_options=["NOTIFY=SUCCESS"],
    )  # fmt: skip
    reports = wait_for_mails(live, 3)
    told = {}
    for raw in reports:
        fields = {
            name.lower(): value.strip().rpartition(";")[2].strip()
            for name, colon, value in (line.partition(":") for line in raw.decode().split("\r\n"))
            if colon
        }
        assert fields["original-envelope-id"] == "QQ314159"
        told[fields["final-recipient"]] = fields["action"], fields["reporting-mta"]
    assert told == {
        f"bob@{DOMAIN}": ("delivered", "localhost"),
        f"remote@{REMOTE}": ("delivered", f"mx.{REMOTE}"),
        unix: ("relayed", "localhost"),
    }


# An account's own provider


def test_mail_from_an_outside_address_leaves_by_its_provider(
    live: Node, postfix: Postfix, tls: tuple[Path, Path]
) -> None:
    outside = f"remote@{REMOTE}"
    before = len(postfix.mails("other"))
    command(
        live.folder, "send-as", "add", ALICE, outside, "--host", "localhost",
        "--port", str(postfix.port), "--user", outside, stdin="pw\n",
        settings={"MAILNODE_OUTBOUND__TRUST": str(tls[0])},
    )  # fmt: skip
    raw = f"From: {outside}\r\nTo: other@{REMOTE}\r\nSubject: by provider\r\n\r\nHi\r\n".encode()
    with submission(live) as session:
        session.sendmail(outside, [f"other@{REMOTE}"], raw)
    mail = postfix.wait_for("other", before + 1)[-1]
    assert mail["Subject"] == "by provider"
    received = " ".join(mail.get_all("Received"))
    assert "Authenticated sender: remote" in received and "TLSv1.3" in received, received


# An administrator at the queue


def queue(node: Node, *arguments: str) -> Any:
    return json.loads(command(node.folder, "queue", *arguments, "--json").stdout)


@pytest.mark.skipif(shutil.which("smtp-sink") is None, reason="postfix has smtp-sink")
def test_the_queue_is_changed_beside_the_node_while_a_host_is_down_and_up(
    live: Node, tls: tuple[Path, Path]
) -> None:
    with folder_for_others() as folder:
        sink = Sink(folder, "down.test", tls)
        command(live.folder, "route", "add", sink.domain, f"smtp://127.0.0.1:{sink.port}")
        submit(live, "waits", *(f"{name}@{sink.domain}" for name in "abcde"))
        deadline = time.monotonic() + 20
        while (
            len(
                rows := [
                    each
                    for each in queue(live, "list", "--domain", sink.domain)
                    if each["attempts"]
                ]
            )
            < 5
        ):
            assert time.monotonic() < deadline, rows
            time.sleep(0.1)
        a, b, c, d, e = (each["id"] for each in sorted(rows, key=lambda each: each["recipient"]))
        queue(live, "hold", str(a))
        queue(live, "bounce", str(b), "--reason", "That company is closed")
        queue(live, "drop", str(c), "--yes")
        (report,) = wait_for_mails(live, 1)
        sink.start()
        try:
            for action, row, count in (("retry", d, 1), ("release", a, 2), ("retry", e, 3)):
                queue(live, action, str(row))
                deadline = time.monotonic() + 20
                while len(sink.recipients()) < count:
                    assert time.monotonic() < deadline, (
                        action,
                        queue(live, "list", "--domain", sink.domain),
                    )
                    time.sleep(0.05)
            assert sink.recipients() == [f"{name}@down.test" for name in "dae"]
            assert queue(live, "list", "--domain", sink.domain) == []
        finally:
            sink.stop()
    assert b"That company is closed" in report and b"b@down.test" in report
    assert b"Action: failed" in report
    story = command(live.folder, "trace", "--to", "c@down.test").stdout
    assert "dropped for c@down.test" in story, story


# Time


def test_a_remote_that_is_down_for_four_days_gets_it_with_one_notice(
    folder: Path, zone: int, tls: tuple[Path, Path], postfix: Postfix
) -> None:
    before = len(postfix.mails("remote"))
    postfix.stop()
    try:
        with sending(folder, zone, postfix.port, tls) as node:
            submit(node, "late", f"remote@{REMOTE}")
            command(folder, "clock", "advance", "4d")
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
    folder: Path, zone: int, tls: tuple[Path, Path]
) -> None:
    with sending(folder, zone, 1, tls) as node:  # nobody listens on port 1
        submit(node, "never", f"remote@{REMOTE}")
        command(folder, "clock", "advance", "5d 1h")
        reports = node.mails("alice")
    assert [b"Action: delayed" in reports[0], b"Action: failed" in reports[1]] == [True, True]
    assert len(reports) == 2


def test_who_asks_for_it_is_told_of_a_day_s_tls(
    folder: Path, zone: int, tls: tuple[Path, Path], postfix: Postfix
) -> None:
    before = len(postfix.mails("other"))
    command(folder, "dkim", "generate", DOMAIN)
    node = sending(folder, zone, postfix.port, tls)
    node.settings = {**node.settings, "MAILNODE_OUTBOUND__TLS_REPORTS": "true"}
    with node:
        submit(node, "counted", f"remote@{REMOTE}", f"nobody@{REMOTE}")
        wait_for_mails(node, 1)  # of nobody's: the session is over
        command(folder, "clock", "advance", "1d 4h")  # some time of the four hours behind midnight
        mail = postfix.wait_for("other", before + 1)[-1]
        command(folder, "clock", "advance", "2d")
        assert not command(folder, "queue", "list").stdout.count("@")
        assert len(postfix.mails("other")) == before + 1  # none about the report
    assert (mail["Return-Path"], mail["TLS-Report-Domain"]) == (f"<postmaster@{DOMAIN}>", REMOTE)
    assert len(mail.get_all("DKIM-Signature")) == 2
    _words, attached = mail.iter_parts()
    assert attached.get_content_type() == "application/tlsrpt+gzip"
    (policy,) = json.loads(gzip.decompress(attached.get_content()))["policies"]
    assert policy["policy"] == {"policy-type": "no-policy-found", "policy-domain": REMOTE}
    assert policy["summary"] == {
        "total-successful-session-count": 1,
        "total-failure-session-count": 0,
    }


# Nodes of other kinds


def test_what_is_submitted_at_a_worker_is_relayed(
    folder: Path, zone: int, tls: tuple[Path, Path], postfix: Postfix
) -> None:
    remote, other = len(postfix.mails("remote")), len(postfix.mails("other"))
    with sending(folder, zone, postfix.port, tls, workers=2) as node:
        for number in range(6):  # whichever worker takes them
            submit(node, f"by a worker {number}", f"remote@{REMOTE}", f"other@{REMOTE}")
        submit(node, "nobody", f"nobody@{REMOTE}")
        mails = postfix.wait_for("remote", remote + 6)[remote:]
        assert len(postfix.wait_for("other", other + 6)) == other + 6
        wait_for_mails(node, 1)
    assert {mail["Subject"] for mail in mails} == {f"by a worker {each}" for each in range(6)}


def test_a_developer_s_node_keeps_what_is_for_elsewhere(folder: Path) -> None:
    with Node(folder, ("--smtp", "0", *SERVED), workers=1) as node:
        node.send(b"Subject: hello\r\n\r\nHi\r\n")  # to alice, as ever
        with smtplib.SMTP("localhost", node.port("smtp"), timeout=30) as session:
            session.sendmail(
                "app@app.example", ["anybody@anywhere.example"], b"Subject: x\r\n\r\ny\r\n"
            )
        listed = command(folder, "queue", "list", "--json").stdout
        story = command(folder, "trace", "--to", "anybody@anywhere.example").stdout
    assert "anybody@anywhere.example" in listed and "captured" in listed, listed
    assert "anybody@anywhere.example" in story
