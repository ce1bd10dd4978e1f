"""What a running node takes up, how it stops, and what it says of its health."""

from __future__ import annotations

import json
import signal
import smtplib
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.conftest import Client
from tests.live.node import DOMAIN, PASSWORD, Node, command, without_ours


def until(holds: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


# Certificates


def make_certificate(folder: Path, name: str) -> None:
    """cert.pem and key.pem, self-signed, put in place as certbot does: by rename."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", folder / "key.new", "-out", folder / "cert.new"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (folder / "key.new").rename(folder / "key.pem")
    (folder / "cert.new").rename(folder / "cert.pem")


def served_certificate(node: Node, service: str = "smtps") -> str:
    return ssl.get_server_certificate(("127.0.0.1", node.port(service)), timeout=10)


def same(certificate: str, path: Path) -> bool:
    return certificate.split() == path.read_text().split()


OWN_TLS = ("--smtp", "0", "--smtps", "0", "--pop3s", "0", "--tls-cert", "cert.pem",
           "--tls-key", "key.pem")  # fmt: skip


def test_a_changed_certificate_is_taken_up_without_a_restart(folder: Path) -> None:
    make_certificate(folder, "one.example")
    with Node(folder, OWN_TLS) as node:
        first = served_certificate(node)
        assert same(first, folder / "cert.pem")
        make_certificate(folder, "two.example")
        for service in ("smtps", "pop3s"):
            until(
                lambda service=service: same(
                    served_certificate(node, service), folder / "cert.pem"
                ),
                f"{service} serves the new certificate",
            )
        until(lambda: served_certificate(node) != first, "each worker serves the new certificate")
        until(
            lambda: same(starttls_certificate(node), folder / "cert.pem"),
            "STARTTLS serves the new certificate",
        )


def starttls_certificate(node: Node) -> str:
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=10) as session:
        session.starttls(context=_no_checks())
        assert isinstance(session.sock, ssl.SSLSocket)
        der = session.sock.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der)


def _no_checks() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_a_certificate_that_can_t_be_used_leaves_the_old_one_in_service(folder: Path) -> None:
    make_certificate(folder, "one.example")
    with Node(folder, OWN_TLS) as node:
        first = served_certificate(node)
        (folder / "cert.pem").write_text("half a certifi")
        node.send_signal(signal.SIGHUP)
        node.wait_for_log("cert.pem")
        assert served_certificate(node) == first


def test_the_certificate_made_in_var_is_kept_and_said_to_be_self_signed(folder: Path) -> None:
    with Node(folder) as node:
        first = served_certificate(node)
        assert "self-signed" in node.text()
        assert (node.data / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    with Node(folder) as node:
        assert served_certificate(node) == first


def test_tls_before_1_2_is_refused(node: Node) -> None:
    context = _no_checks()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with node.raw("smtps") as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain)


# Accounts, and SIGHUP


def accepts(node: Node, address: str) -> int:
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=10) as session:
        session.ehlo("client.example")
        session.mail("sender@elsewhere.example")
        return session.rcpt(address)[0]


def signs_in(node: Node, name: str, password: str) -> bool:
    with node.raw("pop3") as client:
        file = client.makefile("rb")
        file.readline()
        client.sendall(f"USER {name}\r\nPASS {password}\r\n".encode())
        file.readline()
        return file.readline().startswith(b"+OK")


def test_changes_by_the_command_are_taken_up_at_once(folder: Path) -> None:
    with Node(folder) as node:
        carol = f"carol@{DOMAIN}"
        assert accepts(node, carol) == 550
        command(folder, "user", "add", carol, stdin=f"{PASSWORD}\n")
        until(lambda: accepts(node, carol) == 250, "a new account takes mail", 2.0)
        assert signs_in(node, carol, PASSWORD)
        command(folder, "user", "passwd", carol, stdin="another horse 8\n")
        until(lambda: not signs_in(node, carol, PASSWORD), "the old password is refused", 2.0)
        assert signs_in(node, carol, "another horse 8")
        command(folder, "alias", "add", f"info@{DOMAIN}", carol)
        until(lambda: accepts(node, f"info@{DOMAIN}") == 250, "a new alias takes mail", 2.0)
        command(folder, "user", "disable", carol)
        until(lambda: accepts(node, carol) == 550, "a disabled account takes none", 2.0)
        assert not signs_in(node, carol, "another horse 8")


def test_sighup_reads_the_configuration_again_and_breaks_no_session(folder: Path) -> None:
    (folder / "m.toml").write_text('[limits]\nmessage_size = "1 MiB"\n')
    options = ("--smtp", "0", "--pop3", "0", "--config", "m.toml")
    with Node(folder, options) as node:
        with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=10) as before:
            before.ehlo("client.example")
            assert before.esmtp_features["size"] == str(1 << 20)
            (folder / "m.toml").write_text('[limits]\nmessage_size = "2 MiB"\n')
            node.send_signal(signal.SIGHUP)

            def size_now() -> str:
                with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=10) as after:
                    after.ehlo("client.example")
                    return after.esmtp_features["size"]

            until(lambda: size_now() == str(2 << 20), "the new size is offered")
            assert before.noop()[0] == 250
        (folder / "m.toml").write_text("[limits\n")
        node.send_signal(signal.SIGHUP)
        node.wait_for_log("not TOML")
        assert size_now() == str(2 << 20)


# Stopping


def lines(client: socket.socket) -> Callable[[], bytes]:
    return client.makefile("rb").readline


def test_a_stop_ends_idle_sessions_and_lets_transactions_finish(folder: Path) -> None:
    node = Node(folder).start()
    smtp_port = node.port("smtp")
    try:
        with node.raw("smtp") as idle, node.raw("smtp") as busy, node.raw("pop3") as reader:
            idle_line, busy_line, reader_line = lines(idle), lines(busy), lines(reader)
            idle_line(), busy_line(), reader_line()
            busy.sendall(
                b"HELO client.example\r\nMAIL FROM:<a@elsewhere.example>\r\n"
                b"RCPT TO:<alice@example.test>\r\nDATA\r\n"
            )
            replies = [busy_line() for _ in range(4)]
            assert replies[-1].startswith(b"354"), replies
            busy.sendall(b"Subject: under way\r\n\r\nfirst half\r\n")
            node.send_signal(signal.SIGTERM)
            assert idle_line().startswith(b"421 4.3.2 ")
            assert idle_line() == b""
            until(lambda: refuses(smtp_port), "no new connection is taken")
            assert node.process is not None and node.process.poll() is None
            busy.sendall(b"second half\r\n.\r\n")
            assert busy_line().startswith(b"250 ")
            rest = busy_line()
            assert rest == b"" or rest.startswith(b"421 4.3.2 ")
        node.assert_clean_end(node.wait(20))
        node.process = None
    finally:
        node.kill()
    with Node(folder) as again:
        (served,) = again.mails()
        assert without_ours(served) == b"Subject: under way\r\n\r\nfirst half\r\nsecond half\r\n"


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_a_stop_waits_no_longer_than_its_limit_and_files_nothing_by_halves(folder: Path) -> None:
    node = Node(folder, settings={"MAILNODE_LIMITS__STOP": "1s"}).start()
    try:
        with node.raw("smtp") as busy:
            line = lines(busy)
            line()
            busy.sendall(
                b"HELO client.example\r\nMAIL FROM:<a@elsewhere.example>\r\n"
                b"RCPT TO:<alice@example.test>\r\nDATA\r\n"
            )
            assert [line()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
            busy.sendall(b"Subject: never ends\r\n\r\nhalf a li")
            node.send_signal(signal.SIGTERM)
            node.assert_clean_end(node.wait(15))
        node.process = None
    finally:
        node.kill()
    with Node(folder) as again:
        assert again.mails() == []
        assert list((again.data / "spool").iterdir()) == []


def test_a_node_that_is_idle_stops_at_once(folder: Path) -> None:
    node = Node(folder).start()
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < 3.0


# Health


def test_health_and_metrics_on_http(folder: Path, client: Client) -> None:
    with Node(folder, ("--smtp", "0", "--pop3", "0", "--http", "0")) as node:
        site = f"http://127.0.0.1:{node.port('http')}"

        def get(path: str, *more: str) -> str:
            return client(
                "curl", "--silent", "--show-error", "--fail", *more, site + path
            ).stdout.decode()

        get("/livez")
        until(lambda: bool(get("/readyz")), "the node is ready")
        node.send(b"Subject: counted\r\n\r\n")
        metrics = get("/metrics")
        names = {
            line.split("{")[0].split()[0] for line in metrics.splitlines() if line[:1] not in "#"
        }
        assert names and all(name.startswith("mailnode_") for name in names), names
        accepted = [line for line in metrics.splitlines() if "accepted" in line and line[0] != "#"]
        assert any(line.endswith((" 1", " 1.0")) for line in accepted), metrics
        client("curl", "--silent", "--fail", site + "/nowhere", expect=22)
        client(
            "curl", "--silent", "--fail", "--header", "X-Forwarded-For: 192.0.2.1",
            site + "/metrics", expect=22,
        )  # fmt: skip


# The story of a mail


def test_trace_tells_of_an_accepted_a_refused_and_a_fetched_mail(folder: Path) -> None:
    with Node(folder) as node:
        node.send(b"Subject: told\r\n\r\n", sender="teller@elsewhere.example")
        assert accepts(node, f"nobody@{DOMAIN}") == 550

        def told(*arguments: str) -> str:
            return command(folder, "trace", "--json", *arguments).stdout

        assert "refused" in told("--to", f"nobody@{DOMAIN}")  # no second later
        with node.maildrop() as maildrop:
            maildrop.retr(1)

        until(lambda: "pop3-session" in told("--to", f"alice@{DOMAIN}"), "the fetch is told", 5.0)
        story = told("--from", "teller@elsewhere.example")
        assert "accepted" in story and "delivered" in story
        json.loads(story)
