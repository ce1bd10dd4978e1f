"""Clients of others fetch what was sent, to the byte, without TLS, with STLS and in TLS."""

from __future__ import annotations

import contextlib
import mailbox
import os
import poplib
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.live.conftest import Client, missing
from tests.live.mails import MAILS
from tests.live.node import DOMAIN, PASSWORD, Node, environment, without_ours

USER = f"alice@{DOMAIN}"
MODES = ("plain", "stls", "tls")

Fetch = Callable[[Node, str, Client, Path], list[bytes]]


def port(node: Node, mode: str) -> int:
    return node.port("pop3s" if mode == "tls" else "pop3")


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir() if path.is_file()]


def by_poplib(node: Node, mode: str, _client: Client, _folder: Path) -> list[bytes]:
    if mode == "tls":
        client: poplib.POP3 = poplib.POP3_SSL("localhost", port(node, mode), context=node.tls())
    else:
        client = poplib.POP3("localhost", port(node, mode), timeout=60)
    if mode == "stls":
        client.stls(context=node.tls())
    client.user(USER)
    client.pass_(PASSWORD)
    fetched = []
    for number in range(1, client.stat()[0] + 1):
        lines, octets = client.retr(number)[1:]
        fetched.append(b"".join(line + b"\r\n" for line in lines))
        assert octets == len(fetched[-1]) == int(client.list(number).split()[2])
        client.dele(number)
    client.quit()
    return fetched


def by_curl(node: Node, mode: str, client: Client, _folder: Path) -> list[bytes]:
    scheme = "pop3s" if mode == "tls" else "pop3"
    url = f"{scheme}://localhost:{port(node, mode)}/"
    usual: list[str | Path] = [
        "--silent", "--show-error", "--cacert", node.certificate, "--user", f"{USER}:{PASSWORD}",
        *(["--ssl-reqd"] if mode == "stls" else []),
    ]  # fmt: skip
    listed = client("curl", *usual, url).stdout.split(b"\r\n")
    numbers = [line.split()[0].decode() for line in listed if line]
    fetched = [client("curl", *usual, url + number).stdout for number in numbers]
    for number in numbers[:1]:
        assert int(listed[0].split()[1]) == len(fetched[int(number) - 1])
    for number in reversed(numbers):  # each call is a session: what lies behind moves up
        client("curl", *usual, "--list-only", "--request", "DELE", url + number)
    return fetched


def by_mpop(node: Node, mode: str, client: Client, folder: Path) -> list[bytes]:
    rc = folder.parent / "mpoprc"
    rc.write_text(
        f"account default\nhost localhost\nport {port(node, mode)}\n"
        f'user {USER}\npassword "{PASSWORD}"\nauth {"user" if mode == "plain" else "plain"}\n'
        f"tls {'off' if mode == 'plain' else 'on'}\n"
        f"tls_starttls {'on' if mode == 'stls' else 'off'}\ntls_trust_file {node.certificate}\n"
        f"delivery exchange {folder}\nreceived_header off\nkeep off\n"
        f"uidls_file {folder.parent / 'uidls'}\n"
    )
    rc.chmod(0o600)
    client("mpop", f"--file={rc}", "--quiet")
    return files(folder)


def by_fetchmail(node: Node, mode: str, client: Client, folder: Path) -> list[bytes]:
    rc = folder.parent / "fetchmailrc"
    how = {"plain": "sslproto ''", "stls": "sslproto 'TLS1.2+'", "tls": "ssl"}[mode]
    rc.write_text(
        "set invisible\n"
        f"poll localhost protocol POP3 port {port(node, mode)} auth password\n"
        f"  user '{USER}' password '{PASSWORD}' fetchall no keep no rewrite no mimedecode\n"
        f"  {how} sslcertck sslcertfile '{node.certificate}'\n"
        f"  mda 'cat >$(mktemp {folder}/XXXXXX)'\n"
    )
    rc.chmod(0o600)
    client("fetchmail", "--fetchmailrc", rc, "--nosyslog", FETCHMAILHOME=str(folder.parent))
    return files(folder)


def by_getmail(node: Node, mode: str, client: Client, folder: Path) -> list[bytes]:
    kind = "SimplePOP3SSLRetriever" if mode == "tls" else "SimplePOP3Retriever"
    trust = f"ca_certs = {node.certificate}\n" if mode == "tls" else ""
    rc = folder.parent / "getmailrc"
    rc.write_text(
        f"[retriever]\ntype = {kind}\nserver = localhost\nport = {port(node, mode)}\n"
        f"username = {USER}\npassword = {PASSWORD}\n{trust}"
        f"[destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n"
        f'arguments = ("-c", "cat >$(mktemp {folder}/XXXXXX)")\n'
        "[options]\nread_all = true\ndelete = true\ndelivered_to = false\nreceived = false\n"
    )
    client("getmail", f"--getmaildir={folder.parent}", f"--rcfile={rc}")
    return files(folder)


NET_POP3 = """
use strict; use Net::POP3;
my ($mode, $port, $ca, $user, $password, $folder) = @ARGV;
my %ssl = (SSL_ca_file => $ca, SSL_verify_mode => 1);
my $pop = Net::POP3->new('localhost', Port => $port, Timeout => 60,
    $mode eq 'tls' ? (SSL => 1, %ssl) : ()) or die "no connection: $@";
if ($mode eq 'stls') { $pop->starttls(%ssl) or die 'STLS: ' . $pop->message }
my $count = $pop->login($user, $password);
defined $count or die 'login: ' . $pop->message;
for my $number (1 .. $count) {
    my $lines = $pop->get($number) or die 'RETR: ' . $pop->message;
    open my $out, '>:raw', "$folder/$number" or die;
    print $out @$lines; close $out;
    $pop->delete($number) or die 'DELE: ' . $pop->message;
}
$pop->quit or die 'QUIT: ' . $pop->message;
"""


def by_net_pop3(node: Node, mode: str, client: Client, folder: Path) -> list[bytes]:
    client(
        "perl",
        "-e",
        NET_POP3,
        mode,
        str(port(node, mode)),
        node.certificate,
        USER,
        PASSWORD,
        folder,
    )
    return files(folder)


FETCHERS: list[Fetch] = [by_poplib, by_curl, by_mpop, by_fetchmail, by_getmail, by_net_pop3]


def writes_unix_lines(fetch: Fetch, mode: str) -> bool:
    """Net::POP3 does so only outside TLS."""
    return fetch in (by_fetchmail, by_getmail) or (fetch, mode) == (by_net_pop3, "plain")


@pytest.mark.parametrize(
    ("fetch", "mode"),
    [
        pytest.param(fetch, mode, id=f"{fetch.__name__[3:]}-{mode}")
        for fetch in FETCHERS
        for mode in MODES
        if (fetch, mode) != (by_getmail, "stls")  # getmail6 knows no STLS
    ],
)
def test_every_mail_is_fetched_to_the_byte_and_deleted(
    node: Node, client: Client, tmp_path: Path, fetch: Fetch, mode: str
) -> None:
    for raw in MAILS.values():
        node.send(raw)
    folder = tmp_path / "fetched"
    folder.mkdir()
    fetched = [without_ours(mail) for mail in fetch(node, mode, client, folder)]
    wanted = list(MAILS.values())
    if writes_unix_lines(fetch, mode):
        wanted = [raw.replace(b"\r\n", b"\n") for raw in wanted]
    if fetch is by_getmail:  # it writes every mail anew, with Python's email package
        wanted = [raw.replace(b"X-Empty:\n", b"X-Empty: \n") for raw in wanted]
    assert sorted(fetched) == sorted(wanted)
    assert node.mails() == []


@pytest.mark.parametrize("mode", MODES)
def test_s_nail_reads_a_maildrop(node: Node, client: Client, tmp_path: Path, mode: str) -> None:
    for name in ("plain", "dots", "folded"):
        node.send(MAILS[name])
    scheme = "pop3s" if mode == "tls" else "pop3"
    box = f"{scheme}://{quote(USER, safe='')}:{quote(PASSWORD)}@localhost:{port(node, mode)}"
    client(
        "s-nail", "-:/", "-#", "-Sv15-compat", "-R", f"-Stls-ca-file={node.certificate}",
        "-Stls-ca-no-defaults", "-Stls-verify=strict", "-Spop3-no-apop",
        *(["-Spop3-use-starttls"] if mode == "stls" else []),
        "-Y", f"copy * {tmp_path / 'box'}", "-Y", "xit", "-f", box,
    )  # fmt: skip
    copied = [message.as_bytes() for message in mailbox.mbox(tmp_path / "box")]
    for name, mail in zip(("plain", "dots", "folded"), copied, strict=True):
        body = MAILS[name].split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")
        assert mail.split(b"\n\n", 1)[1].rstrip(b"\n") == body.rstrip(b"\n"), name


def on_a_terminal(arguments: list[str], home: Path, seconds: float = 60.0) -> bytes:
    """Run a program that wants a terminal; return what it showed."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        arguments,
        env=environment() | {"TERM": "xterm", "HOME": str(home)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + seconds
    try:
        while program.poll() is None:
            assert time.monotonic() < deadline, shown.decode("utf-8", "replace")
            if select.select([ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # EIO: it has left
                    shown += os.read(ours, 65536)
    finally:
        program.kill()
        program.wait()
        os.close(ours)
    return shown


@pytest.mark.parametrize("mode", MODES)
def test_mutt_reads_a_maildrop(node: Node, tmp_path: Path, mode: str) -> None:
    if shutil.which("mutt") is None:
        missing("mutt")
    node.send(MAILS["dots"])
    scheme = "pops" if mode == "tls" else "pop"
    (tmp_path / "muttrc").write_text(
        f'set pop_user="{USER}" pop_pass="{PASSWORD}" pop_authenticators="plain:user"\n'
        f"set ssl_starttls={'yes' if mode == 'stls' else 'no'}\n"
        f"set ssl_force_tls={'no' if mode == 'plain' else 'yes'}\n"
        f'set ssl_ca_certificates_file="{node.certificate}" folder="{tmp_path}"\n'
        "set confirmcreate=no confirmappend=no copy=no quit=yes delete=no sleep_time=0\n"
        f'push "<copy-message><kill-line>{tmp_path}/box<enter><exit>"\n'
    )
    box = f"{scheme}://{quote(USER, safe='')}@localhost:{port(node, mode)}/"
    shown = on_a_terminal(["mutt", "-n", "-F", str(tmp_path / "muttrc"), "-f", box], tmp_path)
    copied = list(mailbox.mbox(tmp_path / "box"))
    assert len(copied) == 1, shown
    body = MAILS["dots"].split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")
    assert copied[0].as_bytes().split(b"\n\n", 1)[1].rstrip(b"\n") == body.rstrip(b"\n")
