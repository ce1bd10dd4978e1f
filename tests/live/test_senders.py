"""Mail that clients of others send comes out as it went in: plain, with STARTTLS, and in TLS.

The port inside TLS is for submission: there the clients sign in.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.live.conftest import Client
from tests.live.mails import MAILS
from tests.live.node import DOMAIN, PASSWORD, Node, without_ours

BOB = f"bob@{DOMAIN}"
FROM = BOB
TO = f"alice@{DOMAIN}"
MODES = ("plain", "starttls", "tls")

Send = Callable[[Node, str, Client, bytes, Path], None]


def service(mode: str) -> str:
    return "smtps" if mode == "tls" else "smtp"


def url(node: Node, mode: str, password: str = "") -> str:
    """Where a client sends to, and as whom."""
    scheme, who = "smtp", ""
    if mode == "tls":
        scheme, who = "smtps", quote(BOB, safe="") + (f":{password}" if password else "") + "@"
    return f"{scheme}://{who}localhost:{node.port(service(mode))}"


def by_smtplib(node: Node, mode: str, _client: Client, raw: bytes, _file: Path) -> None:
    port = node.port(service(mode))
    if mode == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL("localhost", port, context=node.tls(), timeout=60)
    else:
        session = smtplib.SMTP("localhost", port, timeout=60)
    with session:
        if mode == "starttls":
            session.starttls(context=node.tls())
        if mode == "tls":
            session.login(BOB, PASSWORD)
        session.sendmail(FROM, [TO], raw, mail_options=["BODY=8BITMIME"])


def by_curl(node: Node, mode: str, client: Client, raw: bytes, file: Path) -> None:
    scheme = "smtps" if mode == "tls" else "smtp"
    client(
        "curl", "--silent", "--show-error", "--cacert", node.certificate,
        *{"plain": [], "starttls": ["--ssl-reqd"], "tls": ["--user", f"{BOB}:{PASSWORD}"]}[mode],
        "--mail-from", FROM, "--mail-rcpt", TO, "--upload-file", file,
        f"{scheme}://localhost:{node.port(service(mode))}/client.example",
    )  # fmt: skip


SWAKS_SIGN_IN = ["--auth", "PLAIN", "--auth-user", BOB, "--auth-password", PASSWORD]


def swaks_file(file: Path, raw: bytes) -> str:
    """`raw` as swaks wants it: with the last dot, which it takes off and puts on again."""
    file.write_bytes(raw + b".\r\n")
    return f"@{file}"


def by_swaks(node: Node, mode: str, client: Client, raw: bytes, file: Path) -> None:
    client(
        "swaks", "--server", "localhost", "--port", str(node.port(service(mode))),
        "--helo", "client.example", "--from", FROM, "--to", TO, "--hide-all",
        "--data", swaks_file(file, raw),
        *{"plain": [], "starttls": ["--tls"], "tls": ["--tls-on-connect"]}[mode],
        *([] if mode == "plain" else ["--tls-verify", "--tls-ca-path", node.certificate]),
        *(SWAKS_SIGN_IN if mode == "tls" else []),
    )  # fmt: skip


MSMTP_SIGN_IN = ["--auth=plain", f"--user={BOB}", f"--passwordeval=echo '{PASSWORD}'"]


def by_msmtp(node: Node, mode: str, client: Client, raw: bytes, _file: Path) -> None:
    client(
        "msmtp", "--host=localhost", f"--port={node.port(service(mode))}", f"--from={FROM}",
        *(MSMTP_SIGN_IN if mode == "tls" else ["--auth=off"]), "--domain=client.example",
        f"--tls={'off' if mode == 'plain' else 'on'}",
        f"--tls-starttls={'on' if mode == 'starttls' else 'off'}",
        f"--tls-trust-file={node.certificate}", TO,
        stdin=raw.replace(b"\r\n", b"\n"),
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "send", [by_smtplib, by_curl, by_swaks, by_msmtp], ids=lambda send: send.__name__[3:]
)
def test_raw_mail_arrives_to_the_byte(
    node: Node, client: Client, tmp_path: Path, send: Send, mode: str
) -> None:
    for name, raw in MAILS.items():
        file = tmp_path / "mail"
        file.write_bytes(raw)
        send(node, mode, client, raw, file)
        assert without_ours(node.mails()[-1]) == raw, name
    assert len(node.mails()) == len(MAILS)


@pytest.mark.parametrize("mode", MODES)
def test_mail_that_s_nail_writes_arrives(node: Node, client: Client, mode: str) -> None:
    body = "Gr\u00fc\u00dfe\n.\n..dot\n\nend\n"
    client(
        "s-nail", "-:/", "-Sv15-compat", "-Ssendwait", "-Sttycharset=utf-8",
        "-Shostname=client.example", f"-Sfrom={FROM}", f"-Stls-ca-file={node.certificate}",
        "-Stls-ca-no-defaults", "-Stls-verify=strict",
        f"-Ssmtp-auth={'plain' if mode == 'tls' else 'none'}",
        *(["-Ssmtp-use-starttls"] if mode == "starttls" else []),
        f"-Smta={url(node, mode, quote(PASSWORD))}", "-s", "by s-nail", TO,
        stdin=body.encode(),
    )  # fmt: skip
    (served,) = node.mails()
    message = message_from_bytes(served, policy=default)
    assert message["Subject"] == "by s-nail"
    assert message.get_content() == body.replace("\n", "\r\n")


@pytest.mark.parametrize("mode", MODES)
def test_mail_and_attachment_that_mutt_writes_arrive(
    node: Node, client: Client, tmp_path: Path, mode: str
) -> None:
    attached = bytes(range(256)) * 64 + b"\r\n.\r\n"
    (tmp_path / "attached.bin").write_bytes(attached)
    (tmp_path / "muttrc").write_text(
        f'set smtp_url="{url(node, mode)}" smtp_pass="{PASSWORD}" smtp_authenticators="plain"\n'
        f'set from="{FROM}" use_from=yes use_envelope_from=yes hostname=client.example\n'
        f"set ssl_starttls={'yes' if mode == 'starttls' else 'no'}\n"
        f"set ssl_force_tls={'no' if mode == 'plain' else 'yes'}\n"
        f'set ssl_ca_certificates_file="{node.certificate}"\n'
        "set copy=no charset=utf-8\n"
    )
    client(
        "mutt", "-n", "-F", tmp_path / "muttrc", "-s", "by mutt",
        "-a", tmp_path / "attached.bin", "--", TO, stdin=b"body\n.\n",
    )  # fmt: skip
    (served,) = node.mails()
    message = message_from_bytes(served, policy=default)
    text, binary = message.iter_parts()
    assert (message["Subject"], text.get_content()) == ("by mutt", "body\r\n.\r\n")
    assert binary.get_content() == attached


SIGN_INS: dict[str, Callable[[Node, Client, Path], None]] = {}


def sign_in(send: Callable[[Node, Client, Path], None]) -> Callable[[Node, Client, Path], None]:
    SIGN_INS[send.__name__] = send
    return send


@sign_in
def smtplib_plain(node: Node, _client: Client, file: Path) -> None:
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=60) as session:
        session.starttls(context=node.tls())
        session.ehlo()
        session.user, session.password = BOB, PASSWORD  # type: ignore[attr-defined]
        session.auth("PLAIN", session.auth_plain)
        session.sendmail(BOB, [TO], file.read_bytes())


@sign_in
def smtplib_login_without_initial_response(node: Node, _client: Client, file: Path) -> None:
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=60) as session:
        session.ehlo()
        session.user, session.password = BOB, PASSWORD  # type: ignore[attr-defined]
        session.auth("LOGIN", session.auth_login, initial_response_ok=False)
        session.sendmail(BOB, [TO], file.read_bytes())


@sign_in
def swaks_plain(node: Node, client: Client, file: Path) -> None:
    _swaks(node, client, file, "PLAIN")


@sign_in
def swaks_login(node: Node, client: Client, file: Path) -> None:
    _swaks(node, client, file, "LOGIN")


def _swaks(node: Node, client: Client, file: Path, mechanism: str) -> None:
    client(
        "swaks", "--server", "localhost", "--port", str(node.port("smtp")), "--tls",
        "--from", BOB, "--to", TO, "--data", swaks_file(file, MAILS["dots"]), "--hide-all",
        "--auth", mechanism, "--auth-user", BOB, "--auth-password", PASSWORD,
    )  # fmt: skip


@sign_in
def msmtp_plain(node: Node, client: Client, file: Path) -> None:
    _msmtp(node, client, file, "plain")


@sign_in
def msmtp_login(node: Node, client: Client, file: Path) -> None:
    _msmtp(node, client, file, "login")


def _msmtp(node: Node, client: Client, file: Path, mechanism: str) -> None:
    client(
        "msmtp", "--host=localhost", f"--port={node.port('smtps')}", f"--from={BOB}",
        f"--auth={mechanism}", f"--user={BOB}", f"--passwordeval=echo '{PASSWORD}'",
        "--tls=on", "--tls-starttls=off", f"--tls-trust-file={node.certificate}", TO,
        stdin=file.read_bytes().replace(b"\r\n", b"\n"),
    )  # fmt: skip


@sign_in
def curl(node: Node, client: Client, file: Path) -> None:
    client(
        "curl", "--silent", "--show-error", "--cacert", node.certificate, "--ssl-reqd",
        "--user", f"{BOB}:{PASSWORD}", "--mail-from", BOB, "--mail-rcpt", TO,
        "--upload-file", file, f"smtp://localhost:{node.port('smtp')}/client.example",
    )  # fmt: skip


@pytest.mark.parametrize("send", SIGN_INS.values(), ids=list(SIGN_INS))
def test_who_signs_in_is_named_in_received(
    node: Node, client: Client, tmp_path: Path, send: Callable[[Node, Client, Path], None]
) -> None:
    file = tmp_path / "mail"
    file.write_bytes(MAILS["dots"])
    send(node, client, file)
    (served,) = node.mails()
    assert without_ours(served) == MAILS["dots"]
    with_ = "ESMTPA" if send is smtplib_login_without_initial_response else "ESMTPSA"
    assert f" with {with_} " in str(message_from_bytes(served)["Received"]).replace("\r\n", " ")


def test_submission_needs_a_sign_in(node: Node) -> None:
    with smtplib.SMTP_SSL("localhost", node.port("smtps"), context=node.tls()) as session:
        session.ehlo("client.example")
        assert session.mail(FROM)[0] == 530


def test_a_wrong_password_sends_nothing(node: Node, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "mail"
    file.write_bytes(MAILS["plain"])
    done = client(
        "curl", "--silent", "--show-error", "--user", f"{BOB}:wrong", "--mail-from", FROM,
        "--mail-rcpt", TO, "--upload-file", file, f"smtp://localhost:{node.port('smtp')}",
        expect=67,
    )  # fmt: skip
    assert b"Login denied" in done.stderr
    assert node.mails() == []
