"""A node behind HAProxy and nginx, and behind headers made by hand: the client is who counts."""

from __future__ import annotations

import base64
import contextlib
import poplib
import shutil
import smtplib
import socket
import struct
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.conftest import missing
from tests.live.node import DOMAIN, PASSWORD, Node, copy_folder

OPTIONS = (
    "--smtp", "0", "--submission", "0", "--smtps", "0", "--pop3", "0", "--pop3s", "0",
    "--http", "0",
)  # fmt: skip
SERVICES = ("smtp", "submission", "smtps", "pop3", "pop3s")
PROXIES = ("haproxy-v1", "haproxy-v2", "nginx")
CLIENT = "127.0.0.77"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
MAIL = b"Subject: Through a proxy\r\n\r\nHello\r\n"

Ports = dict[str, int]


@pytest.fixture(scope="module")
def node(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One whose proxies are on 127.0.0.1 alone; 127.0.0.2 comes as a stranger."""
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("proxied") / "node")
    settings = {"MAILNODE_LISTEN__PROXY_FROM": "127.0.0.1"}
    with Node(folder, OPTIONS, settings=settings) as running:
        yield running


def free_ports() -> Ports:
    with contextlib.ExitStack() as stack:
        taken = {name: stack.enter_context(socket.socket()) for name in SERVICES}
        for each in taken.values():
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in taken.items()}


def haproxy(node: Node, ports: Ports, folder: Path, send: str) -> list[str]:
    config = folder / "haproxy.cfg"
    text = "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
    for name, port in ports.items():
        to = f"127.0.0.1:{node.port(name)} {send} check inter 200ms"
        text += f"listen {name}\n bind 127.0.0.1:{port}\n server mailnode {to}\n"
    config.write_text(text)
    return ["haproxy", "-db", "-f", str(config)]


def nginx(node: Node, ports: Ports, folder: Path) -> list[str]:
    if not STREAM_MODULE.exists():
        missing("libnginx-mod-stream")
    config = folder / "nginx.conf"
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{node.port(name)};"
        " proxy_protocol on; }\n"
        for name, port in ports.items()
    )
    config.write_text(
        f"load_module {STREAM_MODULE};\ndaemon off;\nmaster_process off;\npid {folder}/pid;\n"
        f"error_log stderr;\nevents {{}}\nstream {{\n{servers}}}\n"
    )
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(config)]


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    if shutil.which(command[0]) is None:
        missing(command[0])
    log = folder / "proxy.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 10
        while True:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module", params=PROXIES)
def ports(
    request: pytest.FixtureRequest, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ports]:
    """The ports of a proxy in front of the node's."""
    folder, ports = tmp_path_factory.mktemp(request.param), free_ports()
    if request.param == "nginx":
        command = nginx(node, ports, folder)
    else:
        sends = {"haproxy-v1": "send-proxy", "haproxy-v2": "send-proxy-v2"}
        command = haproxy(node, ports, folder, sends[request.param])
    with running(command, folder, ports["smtp"]):
        yield ports


@contextlib.contextmanager
def sending(node: Node, ports: Ports, service: str) -> Iterator[smtplib.SMTP]:
    """From CLIENT, through the proxy."""
    source = (CLIENT, 0)
    client: smtplib.SMTP
    if service == "smtps":
        client = smtplib.SMTP_SSL(
            "localhost", ports[service], timeout=30, context=node.tls(), source_address=source
        )
    else:
        client = smtplib.SMTP("127.0.0.1", ports[service], timeout=30, source_address=source)
    with client:
        yield client


def fetching(node: Node, ports: Ports, service: str) -> poplib.POP3:
    """From CLIENT, through the proxy; poplib itself has no source address."""

    class From(poplib.POP3):
        def _create_socket(self, timeout: float) -> socket.socket:
            plain = socket.create_connection((self.host, self.port), timeout, (CLIENT, 0))
            if service == "pop3":
                return plain
            return node.tls().wrap_socket(plain, server_hostname="localhost")

    return From("127.0.0.1", ports[service], timeout=30)


def received(node: Node) -> bytes:
    """The Received field of alice's one mail, taken out of her maildrop past any proxy."""
    client = connect(node, "pop3", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 110\r\n")
    with client, client.makefile("rb") as said:
        client.sendall(f"USER alice@{DOMAIN}\r\nPASS {PASSWORD}\r\n".encode())
        client.sendall(b"STAT\r\nTOP 1 0\r\nDELE 1\r\nQUIT\r\n")
        lines = said.read()
    assert b"+OK 1 " in lines, lines
    return lines.partition(b"Received: ")[2].partition(b"\r\nSubject:")[0]


def connect(node: Node, service: str, first: bytes = b"", source: str = "") -> socket.socket:
    made = socket.create_connection(
        ("127.0.0.1", node.port(service)), 30, (source, 0) if source else None
    )
    made.sendall(first)
    return made


@pytest.mark.parametrize("service", ["smtp", "submission", "smtps"])
def test_mail_through_a_proxy_came_from_its_client(node: Node, ports: Ports, service: str) -> None:
    with sending(node, ports, service) as client:
        client.ehlo("client.example")
        if service == "submission":
            client.starttls(context=node.tls())
        if service != "smtp":
            client.login(f"alice@{DOMAIN}", PASSWORD)
        client.sendmail(f"alice@{DOMAIN}", [f"alice@{DOMAIN}"], MAIL)
    field = received(node)
    assert f"[{CLIENT}]".encode() in field, field
    assert (service == "smtp") == (b"TLS" not in field), field


@pytest.mark.parametrize("service", ["pop3", "pop3s"])
def test_a_sign_in_through_a_proxy_is_its_clients(node: Node, ports: Ports, service: str) -> None:
    before = node.text()
    client = fetching(node, ports, service)
    try:
        assert ("STLS" in client.capa()) == (service == "pop3")
        if service == "pop3":
            client.stls(context=node.tls())
        client.user(f"bob@{DOMAIN}")
        client.pass_(PASSWORD)
        assert client.stat() == (0, 0)
        client.quit()
    finally:
        client.close()
    node.wait_for_log(f'"client": "{CLIENT}"', after=len(before))


# Headers made by hand


def v2(host: str) -> bytes:
    rest = socket.inet_aton(host) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 50000, 25)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, len(rest)) + rest


def v1(host: str) -> bytes:
    return f"PROXY TCP4 {host} 127.0.0.1 50000 25\r\n".encode()


@pytest.mark.parametrize("header", [v1, v2])
@pytest.mark.parametrize(("host", "here"), [("192.0.2.7", False), ("127.0.0.9", True)])
def test_sign_in_in_clear_is_for_clients_of_this_machine_alone(
    node: Node, header: Callable[[str], bytes], host: str, here: bool
) -> None:
    with connect(node, "smtp", header(host)) as client, client.makefile("rb") as said:
        word = base64.b64encode(f"\0alice@{DOMAIN}\0{PASSWORD}".encode())
        client.sendall(b"EHLO client.example\r\nAUTH PLAIN " + word + b"\r\nQUIT\r\n")
        lines = said.read().splitlines()
    assert (b"250 AUTH LOGIN PLAIN SCRAM-SHA-256" in lines) is here, lines
    assert lines[-2].startswith(b"235 " if here else b"5"), lines
    with connect(node, "pop3", header(host)) as client, client.makefile("rb") as said:
        client.sendall(f"USER alice@{DOMAIN}\r\nPASS {PASSWORD}\r\nQUIT\r\n".encode())
        lines = said.read().splitlines()
    assert lines[0].startswith(b"+OK")
    assert lines[-2].startswith(b"+OK" if here else b"-ERR"), lines


def test_starttls_and_a_half_close_work_behind_a_header(node: Node) -> None:
    plain = connect(node, "smtp")
    for octet in v1("192.0.2.7"):
        plain.sendall(bytes([octet]))
    with plain, plain.makefile("rb") as said:
        assert said.readline().startswith(b"220 ")
        plain.sendall(b"STARTTLS\r\n")
        assert said.readline().startswith(b"220 ")
        with node.tls().wrap_socket(plain, server_hostname="localhost") as inside:
            inside.sendall(b"EHLO client.example\r\nQUIT\r\n")
            with inside.makefile("rb") as told:
                assert b"AUTH LOGIN PLAIN" in told.read()
    with connect(node, "smtp", v2("192.0.2.7") + b"NOOP\r\n") as client:
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as said:
            assert [line[:3] for line in said.read().splitlines()] == [b"220", b"250"]


def closed_without_a_word(client: socket.socket) -> bool:
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True


def test_a_proxy_without_a_header_is_closed_and_a_stranger_with_one_is_none(node: Node) -> None:
    for service in SERVICES:
        with connect(node, service, b"EHLO client.example\r\n") as client:
            assert closed_without_a_word(client), service
    node.wait_for_log("the PROXY header of 127.0.0.1 is missing")
    assert 1 <= node.text().count("the PROXY header of") <= node.workers  # each tells it once
    with urllib.request.urlopen(f"http://127.0.0.1:{node.port('http')}/metrics") as page:
        counted = f'mailnode_proxy_headers_refused_total{{why="missing"}} {len(SERVICES)}'
        assert counted in page.read().decode()
    with connect(node, "smtp", v1("192.0.2.7"), source="127.0.0.2") as client:
        client.sendall(b"QUIT\r\n")
        with client.makefile("rb") as said:
            codes = [line[:3] for line in said.read().splitlines()]
        assert codes == [b"220", b"500", b"221"], codes
    with connect(node, "smtps", v1("192.0.2.7"), source="127.0.0.2") as client:
        assert not client.recv(100).startswith(b"2")  # an alert of TLS, or the end
