"""The web of a real node: in by a browser's means, out by any; and what an upload costs."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import (
    HTTPCookieProcessor,
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)

import pytest
from attrs import define, field

from tests.live.conftest import Client
from tests.live.node import DOMAIN, PASSWORD, Node, command, copy_folder, environment
from tests.live.upload_site import TOKEN

OPTIONS = ("--smtp", "0", "--pop3", "0", "--http", "0", "--https", "0")
UPLOAD_OCTETS = 200 << 20
MOST_MORE_KIB = 32 << 10
BROWSERS = 1000


class NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


@define
class Seen:
    status: int
    text: str
    where: str

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.text)
        return found[1] if found else ""


@define(eq=False)
class Browser:
    """Keeps cookies, and follows no redirects."""

    base: str
    tls: ssl.SSLContext | None = None
    jar: CookieJar = field(factory=CookieJar)

    def ask(self, path: str, **fields: str) -> Seen:
        data = urlencode(fields).encode() if fields else None
        opener = build_opener(
            NoRedirects, HTTPCookieProcessor(self.jar), HTTPSHandler(context=self.tls)
        )
        try:
            with opener.open(Request(self.base + path, data), timeout=20) as reply:
                return Seen(reply.status, reply.read().decode(), "")
        except HTTPError as reply:
            with reply:
                text = reply.read().decode()
                return Seen(reply.code, text, reply.headers.get("Location", ""))

    def sign_in(self, name: str = "alice", password: str = PASSWORD) -> Seen:
        csrf = self.ask("/sign-in").csrf
        return self.ask("/sign-in", csrf=csrf, name=name, password=password)

    @property
    def is_in(self) -> bool:
        return self.ask("/settings").status == 200


def until(holds, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def web_node(made_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = copy_folder(made_folder, tmp_path_factory.mktemp("web") / "node")
    with Node(folder, OPTIONS) as node:
        yield node


@pytest.fixture
def own_node(folder: Path) -> Iterator[Node]:
    with Node(folder, OPTIONS) as node:
        yield node


def clear(node: Node) -> Browser:
    return Browser(f"http://localhost:{node.port('http')}")


def secure(node: Node) -> Browser:
    return Browser(f"https://localhost:{node.port('https')}", node.tls())


def test_alice_comes_in_and_goes_out_with_and_without_tls(web_node: Node) -> None:
    for browser in (clear(web_node), secure(web_node)):
        assert not browser.is_in
        assert browser.sign_in(password="wrong password").status == 401
        assert browser.sign_in().where == "/"
        assert browser.ask("/").where == "/mail"
        assert f"alice@{DOMAIN}" in browser.ask("/settings").text
        kept = list(browser.jar)
        csrf = browser.ask("/settings").csrf
        assert browser.ask("/sign-out", csrf=csrf).where == "/sign-in"
        for cookie in kept:
            browser.jar.set_cookie(cookie)
        assert not browser.is_in
    web_node.assert_quiet_log()


def test_a_cookie_of_tls_is_bound_to_its_host(web_node: Node) -> None:
    browser = secure(web_node)
    browser.sign_in()
    names = {cookie.name: cookie for cookie in browser.jar}
    assert names["__Host-mailnode"].secure
    assert not names["__Host-mailnode"].domain_specified


def test_a_new_password_on_the_command_line_ends_sessions_and_tokens(own_node: Node) -> None:
    alice, bob = clear(own_node), clear(own_node)
    alice.sign_in()
    bob.sign_in("bob")
    assert alice.is_in
    assert bob.is_in
    command(own_node.folder, "user", "passwd", f"alice@{DOMAIN}", stdin="another horse 8\n")
    until(lambda: not alice.is_in)
    assert bob.is_in
    assert alice.sign_in().status == 401
    assert alice.sign_in(password="another horse 8").status == 303
    assert alice.is_in
    command(own_node.folder, "user", "disable", f"bob@{DOMAIN}")
    until(lambda: not bob.is_in)


def test_a_password_that_was_set_while_the_node_stood_still_ends_them_too(
    folder: Path,
) -> None:
    with Node(folder, OPTIONS) as node:
        alice, bob = clear(node), clear(node)
        alice.sign_in()
        bob.sign_in("bob")
        port = node.port("http")
    command(folder, "user", "passwd", f"alice@{DOMAIN}", stdin="another horse 8\n")
    with Node(folder, (*OPTIONS[:4], "--http", str(port))):
        assert bob.is_in  # a restart ends nothing
        assert not alice.is_in


def test_a_new_password_on_the_page_counts_everywhere_and_this_browser_stays(
    own_node: Node,
) -> None:
    alice, elsewhere = clear(own_node), clear(own_node)
    alice.sign_in()
    elsewhere.sign_in()
    new = "another horse 9"
    csrf = alice.ask("/settings").csrf
    done = alice.ask("/settings/password", csrf=csrf, now=PASSWORD, new=new, again=new)
    assert (done.status, done.where) == (303, "/settings")
    assert alice.is_in
    assert not elsewhere.is_in
    until(lambda: own_node_takes(own_node, new))


def own_node_takes(node: Node, password: str) -> bool:
    import poplib

    mailbox = poplib.POP3("localhost", node.port("pop3"))
    try:
        mailbox.user(f"alice@{DOMAIN}")
        mailbox.pass_(password)
    except poplib.error_proto:
        return False
    finally:
        mailbox.quit()
    return True


def test_a_token_of_the_command_line_is_listed_on_the_page_and_revoked_at_once(
    own_node: Node,
) -> None:
    folder = own_node.folder
    made = command(folder, "token", "add", "alice", "errand", "--scope", "read").stdout
    assert re.fullmatch(r"mailnode_[\w-]{43}\n", made)
    alice = clear(own_node)
    alice.sign_in()
    assert "errand" in alice.ask("/settings").text
    assert "errand" in command(folder, "token", "list").stdout
    command(folder, "token", "revoke", "1")
    assert "errand" not in alice.ask("/settings").text
    mails = (own_node.data / "mail.db").read_bytes() + own_node.log.read_bytes()
    assert made.strip().encode() not in mails


def test_a_restored_backup_has_no_sessions(own_node: Node, tmp_path: Path) -> None:
    alice = clear(own_node)
    alice.sign_in()
    assert alice.is_in
    port = own_node.port("http")
    command(own_node.folder, "backup", str(tmp_path / "backup"))
    command(own_node.folder, "restore", str(tmp_path / "backup"), "--to", str(tmp_path / "other"))
    own_node.stop()
    with Node(tmp_path / "other", (*OPTIONS[:4], "--http", str(port))):
        assert not alice.is_in
        assert alice.sign_in().status == 303


def test_a_crowd_of_browsers_leaves_room_for_one_more(web_node: Node) -> None:
    ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(BROWSERS):
            one = socket.create_connection(("127.0.0.1", web_node.port("http")), 10)
            stack.enter_context(one)
            one.sendall(ask)
        alice = clear(web_node)
        assert alice.sign_in().status == 303
        assert alice.is_in
        assert one.recv(4096).startswith(b"HTTP/1.1 200")


def test_curl_reads_why_its_upload_is_refused(
    web_node: Node, client: Client, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * (5 << 20))
    url = f"http://localhost:{web_node.port('http')}/sign-in"
    for more in ((), ("-H", "Expect:"), ("-H", "Transfer-Encoding: chunked", "-H", "Expect:")):
        said = client("curl", "-s", "-i", *more, "--data-binary", f"@{large}", url).stdout
        assert b"HTTP/1.1 413" in said, more
        assert b"larger than" in said


def test_a_node_of_several_processes_serves_it_too(folder: Path) -> None:
    with Node(folder, OPTIONS, workers=2) as node:
        for browser in (clear(node), secure(node)):
            assert browser.sign_in().status == 303
            assert browser.is_in
        new = "another horse 9"
        csrf = browser.ask("/settings").csrf
        browser.ask("/settings/password", csrf=csrf, now=PASSWORD, new=new, again=new)
        assert browser.is_in
        until(lambda: own_node_takes(node, new))


def memory_kib(pid: int) -> int:
    """The most that a process ever had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.parametrize("form", [False, True])
def test_an_upload_of_200_mib_costs_less_than_32_mib_of_memory(tmp_path: Path, form: bool) -> None:
    served = subprocess.Popen(
        [sys.executable, "-m", "tests.live.upload_site", str(tmp_path)],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert served.stdout is not None
        port = int(served.stdout.readline())
        upload(port, 1 << 20, form)  # what is loaded with the first is loaded
        before = memory_kib(served.pid)
        upload(port, UPLOAD_OCTETS, form)
        assert memory_kib(served.pid) - before < MOST_MORE_KIB
        assert list(tmp_path.iterdir()) == []
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(20)
        if served.stdout is not None:
            served.stdout.close()


def upload(port: int, octets: int, form: bool) -> None:
    """It comes as it was sent, to the byte."""
    piece, digest = bytes(range(256)) * 4096, hashlib.sha256()
    head, tail, kind = b"", b"", "application/octet-stream"
    if form:
        named = 'Content-Disposition: form-data; name="a"; filename="a.bin"'
        head, tail = f"--BOUND\r\n{named}\r\n\r\n".encode(), b"\r\n--BOUND--\r\n"
        kind = "multipart/form-data; boundary=BOUND"
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    link.putrequest("POST", "/api/v1/up")
    link.putheader("Authorization", f"Bearer {TOKEN}")
    link.putheader("Content-Type", kind)
    link.putheader("Content-Length", str(len(head) + octets + len(tail)))
    link.endheaders(head)
    for _ in range(octets // len(piece)):
        digest.update(piece)
        link.send(piece)
    if tail:
        link.send(tail)
    reply = link.getresponse()
    assert (reply.status, reply.read().decode()) == (200, f"{octets} {digest.hexdigest()}\n")
    link.close()
