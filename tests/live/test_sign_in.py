"""Programs that others wrote sign in, each by every mechanism that it speaks."""

from __future__ import annotations

import poplib
import smtplib
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mailnode.store.accounts import Accounts
from tests.live.conftest import Client
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder
from tests.scram_client import ScramClient

USER = f"alice@{DOMAIN}"
PLUS = "SCRAM-SHA-256-PLUS"
LETTER = f"From: {USER}\nTo: {USER}\nSubject: Signed in\n\nHello.\n".encode()
BCRYPT = "$2y$05$h7orBuFPBAfLkSqMfBDLZe8Mm6xpI2Wc4xEY9gnCa.Q2yB04sytbi"  # of "password"


def gsasl(
    node: Node,
    client: Client,
    mechanism: str,
    *more: str,
    password: str = PASSWORD,
    expect: int = 0,
) -> str:
    """What gsasl and the node said to each other."""
    done = client(
        "gsasl", "--smtp", "--starttls", f"--x509-ca-file={node.certificate}", *more,
        "--mechanism", mechanism, "--authentication-id", USER, "--password", password,
        "--connect", f"localhost:{node.port('smtp')}", expect=expect,
    )  # fmt: skip
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("mechanism", "more"),
    [
        ("PLAIN", ()),
        ("LOGIN", ()),
        ("SCRAM-SHA-256", ("--no-cb",)),
        (PLUS, ()),
    ],
)
def test_gsasl_signs_in(node: Node, client: Client, mechanism: str, more: tuple[str, ...]) -> None:
    assert "235 2.7.0" in gsasl(node, client, mechanism, *more)


def test_gsasl_takes_the_best_that_it_finds_and_binds_it_to_the_channel(
    node: Node, client: Client
) -> None:
    done = client(
        "gsasl", "--smtp", "--starttls", f"--x509-ca-file={node.certificate}",
        "--authentication-id", USER, "--password", PASSWORD,
        "--connect", f"localhost:{node.port('smtp')}",
    )  # fmt: skip
    said = done.stdout.decode()
    assert f"AUTH {PLUS}" in said
    assert b64encode(b"p=tls-exporter,,")[:20].decode() in said
    assert "235 2.7.0" in said


@pytest.mark.parametrize("mechanism", [PLUS, "PLAIN"])
def test_gsasl_is_refused_with_a_wrong_password(node: Node, client: Client, mechanism: str) -> None:
    said = gsasl(node, client, mechanism, password="a guess of mine", expect=1)
    assert "235" not in said


def msmtprc(node: Node, file: Path, mechanism: str) -> Path:
    file.write_text(
        f"account default\nhost localhost\nport {node.port('smtps')}\nfrom {USER}\nuser {USER}\n"
        f'password "{PASSWORD}"\nauth {mechanism}\ntls on\ntls_starttls off\n'
        f"tls_trust_file {node.certificate}\n"
    )
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp_sends(node: Node, client: Client, tmp_path: Path, mechanism: str) -> None:
    rc = msmtprc(node, tmp_path / "msmtprc", mechanism)
    client("msmtp", f"--file={rc}", USER, stdin=LETTER)
    (mail,) = node.mails()
    assert b"Subject: Signed in" in mail


@pytest.mark.parametrize("mechanism", ["user", "plain", "login", "scram-sha-256"])
def test_mpop_fetches(node: Node, client: Client, tmp_path: Path, mechanism: str) -> None:
    node.send(LETTER)
    rc, box = tmp_path / "mpoprc", tmp_path / "box"
    rc.write_text(
        f"account default\nhost localhost\nport {node.port('pop3s')}\nuser {USER}\n"
        f'password "{PASSWORD}"\nauth {mechanism}\ntls on\ntls_starttls off\n'
        f"tls_trust_file {node.certificate}\ndelivery mbox {box}\nkeep off\n"
        f"uidls_file {tmp_path / 'uidls'}\n"
    )
    rc.chmod(0o600)
    client("mpop", f"--file={rc}", "--quiet")
    assert b"Subject: Signed in" in box.read_bytes()


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_mutt_sends_and_fetches(node: Node, client: Client, tmp_path: Path, mechanism: str) -> None:
    box, rc = tmp_path / "box", tmp_path / "muttrc"
    box.touch()
    (tmp_path / "home" / "Mail").mkdir()
    rc.write_text(
        f'set from="{USER}" smtp_url="smtp://{USER}@localhost:{node.port("smtp")}/"\n'
        f'set smtp_authenticators="{mechanism}" pop_authenticators="{mechanism}"\n'
        f'set smtp_pass="{PASSWORD}" pop_pass="{PASSWORD}" pop_user="{USER}" pop_delete=no\n'
        f'set pop_host="pops://localhost:{node.port("pop3s")}/" ssl_force_tls=yes copy=no\n'
        f'set ssl_ca_certificates_file="{node.certificate}" ssl_usesystemcerts=no\n'
        f'set spoolfile="{box}" quit=yes move=no sleep_time=0 wait_key=no\n'
    )
    client("mutt", "-n", "-F", rc, "-s", "Signed in", "--", USER, stdin=b"Hello.\n")
    (mail,) = node.mails()
    assert b"Subject: Signed in" in mail
    keys = "push '<fetch-mail><exit>'"
    client("script", "-qefc", f'mutt -n -F {rc} -e "{keys}"', "/dev/null", TERM="xterm")
    assert b"Subject: Signed in" in box.read_bytes()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_sends_and_fetches(node: Node, client: Client, tmp_path: Path, mechanism: str) -> None:
    letter = tmp_path / "letter"
    letter.write_bytes(LETTER)
    who: list[str | Path] = [
        "--silent", "--show-error", "--cacert", node.certificate,
        "--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism}",
    ]  # fmt: skip
    there = f"localhost:{node.port('smtps')}"
    client(
        "curl", *who, "--mail-from", USER, "--mail-rcpt", USER, "--upload-file", letter,
        f"smtps://{there}/client.example",
    )  # fmt: skip
    fetched = client("curl", *who, f"pop3s://localhost:{node.port('pop3s')}/1").stdout
    assert b"Subject: Signed in" in fetched


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_sends(node: Node, client: Client, mechanism: str) -> None:
    client(
        "swaks", "--server", "localhost", "--port", str(node.port("smtp")), "--tls",
        "--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD,
        "--from", USER, "--to", USER, "--header", "Subject: Signed in",
    )  # fmt: skip
    (mail,) = node.mails()
    assert b"Subject: Signed in" in mail


# By hand: what no program of others does


def end_point(node: Node) -> bytes:
    """tls-server-end-point of the node's certificate, which SHA-256 signs."""
    certificate = x509.load_pem_x509_certificate(node.certificate.read_bytes())
    return sha256(certificate.public_bytes(Encoding.DER)).digest()


def test_a_proof_bound_to_the_certificate_counts_and_to_another_does_not(node: Node) -> None:
    for bound, code in ((end_point(node), 235), (b"x" * 32, 535)):
        with smtplib.SMTP_SSL(
            "localhost", node.port("smtps"), context=node.tls(), timeout=60
        ) as smtp:
            smtp.ehlo("client.example")
            client = ScramClient(USER, PASSWORD, "p=tls-server-end-point", bound)
            first = b64encode(client.first()).decode()
            asked = smtp.docmd("AUTH", f"SCRAM-SHA-256-PLUS {first}")
            said = smtp.docmd(b64encode(client.final(b64decode(asked[1]))).decode())
            if code == 235:
                assert client.is_the_server(b64decode(said[1]))
                said = smtp.docmd("")
            assert said[0] == code


def test_in_clear_scram_goes_where_a_password_would(node: Node) -> None:
    """From this machine: strangers are told to use TLS, as for any sign-in."""
    pop = poplib.POP3("localhost", node.port("pop3"), timeout=60)
    assert PLUS not in pop.capa()["SASL"]
    client = ScramClient(USER, PASSWORD)
    asked = pop._shortcmd(f"AUTH SCRAM-SHA-256 {b64encode(client.first()).decode()}")  # type: ignore[attr-defined]
    last = pop._shortcmd(b64encode(client.final(b64decode(asked[2:]))).decode())  # type: ignore[attr-defined]
    assert client.is_the_server(b64decode(last[2:]))
    assert pop._shortcmd("").startswith(b"+OK 0 messages")  # type: ignore[attr-defined]
    pop.quit()


# What was kept in an older form


@pytest.fixture
def old(made_folder: Path, tmp_path: Path) -> Iterator[Node]:
    """A node whose accounts have hashes of another system: alice by file, dora by option."""
    folder = copy_folder(made_folder, tmp_path / "old")
    command(folder, "user", "delete", USER, "--yes")
    (folder / "users").write_text(f"alice:{{BLF-CRYPT}}{BCRYPT}:1000:1000::/home/alice::\n")
    command(folder, "user", "import", "users")
    command(folder, "user", "add", f"dora@{DOMAIN}", "--hash", BCRYPT)
    with Node(folder) as node:
        yield node


def kept(node: Node, name: str) -> tuple[str, bool]:
    """The hash of an account, and whether it has keys."""
    accounts = Accounts.open(node.folder / "users.db")
    try:
        account = accounts.account(name)
        return account.password_hash, account.id in accounts.load_directory().scram_keys
    finally:
        accounts.close()


def renewed(node: Node, name: str) -> None:
    """Until the account is kept in today's form."""
    deadline = time.monotonic() + 30
    while not (kept(node, name)[0].startswith("$argon2id$") and kept(node, name)[1]):
        assert time.monotonic() < deadline, f"{kept(node, name)}\n{node.tail()}"
        time.sleep(0.05)


def test_a_foreign_hash_lets_its_owner_in_and_is_replaced_and_then_scram_works(
    old: Node, client: Client
) -> None:
    assert "235" not in gsasl(old, client, PLUS, password="password", expect=1)
    assert kept(old, "alice") == (BCRYPT, False)
    with smtplib.SMTP_SSL("localhost", old.port("smtps"), context=old.tls(), timeout=60) as smtp:
        smtp.login(USER, "password")
        renewed(old, "alice")
        assert smtp.noop()[0] == 250, "whoever is signed in stays so"
    assert "235 2.7.0" in gsasl(old, client, PLUS, password="password")
    pop = poplib.POP3_SSL("localhost", old.port("pop3s"), context=old.tls(), timeout=60)
    pop.user(f"dora@{DOMAIN}")
    pop.pass_("password")
    renewed(old, "dora")
    pop.quit()


def test_a_new_password_has_new_keys_at_once(
    made_folder: Path, tmp_path: Path, client: Client
) -> None:
    with Node(copy_folder(made_folder, tmp_path / "node")) as node:
        assert "235 2.7.0" in gsasl(node, client, PLUS)
        command(node.folder, "user", "passwd", USER, stdin="seven sleepy owls\n")
        node.wait_for_log("accounts have changed")
        assert "235 2.7.0" in gsasl(node, client, PLUS, password="seven sleepy owls")
        assert "235" not in gsasl(node, client, PLUS, expect=1)
