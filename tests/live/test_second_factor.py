"""A second factor on a live node: codes by mail and by command, a restart, and mail programs."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pyotp
import pytest

from tests.live.node import DOMAIN, PASSWORD, Node, command
from tests.live.web_client import FORM, Browser, Page

PORTS = ("--smtp", "0", "--pop3", "0", "--http", "0")
OWN = "/settings/second-factor"
ALICE = f"alice@{DOMAIN}"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return tmp_path / "texts"


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def node(request: pytest.FixtureRequest, folder: Path, texts: Path) -> Iterator[Node]:
    program = folder / "text-me"
    program.write_text(f'#!/bin/sh\n{{ echo "to $1"; cat; }} > {texts}\n')
    program.chmod(0o700)
    settings = {"MAILNODE_SECOND_FACTOR__SMS_COMMAND": str(program)}
    node = Node(folder, PORTS, workers=request.param, settings=settings)
    with node:
        yield node


def signed_in(node: Node, name: str = "alice") -> Browser:
    browser = Browser(node.port("http"))
    browser.sign_in(name, PASSWORD)
    return browser


def half_signed_in(node: Node) -> Browser:
    browser = Browser(node.port("http"))
    page = browser.sign_in("alice", PASSWORD)
    assert page.path == "/sign-in/code"
    return browser


def post(browser: Browser, path: str, **fields: str) -> Page:
    csrf = browser.get(OWN if path.startswith(OWN) else "/sign-in/code").value("csrf")
    body = urlencode({"csrf": csrf} | fields).encode()
    return browser.ask("POST", path, body, {"Content-Type": FORM})


def turn_on(browser: Browser, kind: str = "totp", **more: str) -> Page:
    return post(browser, f"{OWN}/begin", kind=kind, password=PASSWORD, name=kind, **more)


def device_of(page: Page) -> pyotp.TOTP:
    found = re.search(r'href="(otpauth://[^"]+)"', page.text)
    assert found
    device = pyotp.parse_uri(unescape(found[1]))
    assert isinstance(device, pyotp.TOTP)
    return device


def by_smtp(node: Node, password: str) -> bool:
    with smtplib.SMTP("localhost", node.port("smtp"), timeout=30) as client:
        try:
            client.login(ALICE, password)
        except smtplib.SMTPAuthenticationError as error:
            assert (error.smtp_code, error.smtp_error) == (535, b"5.7.8 Authentication failed")
            return False
    return True


def until_it_ends(session: smtplib.SMTP) -> None:
    deadline = time.monotonic() + 9  # sooner than an unheard bell's ten seconds
    with pytest.raises((smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException)):
        while time.monotonic() < deadline:
            answer, said = session.noop()
            if answer != 250:
                raise smtplib.SMTPResponseException(answer, said)
            time.sleep(0.05)


def code_in(text: str) -> str:
    found = re.search(r"\b(\d{6})\b", text)
    assert found, text
    return found[1]


def test_a_code_counts_once_though_the_node_starts_anew_and_mail_needs_an_app_password(
    node: Node,
) -> None:
    assert by_smtp(node, PASSWORD)
    session = smtplib.SMTP("localhost", node.port("smtp"), timeout=30)
    session.login(ALICE, PASSWORD)
    browser = signed_in(node)
    device = device_of(turn_on(browser))
    code = device.now()
    page = post(browser, f"{OWN}/confirm", code=code)
    assert "recovery codes" in page.text
    recovery = re.findall(r"<li><code>([a-z2-9-]{11})</code>", page.text)
    until_it_ends(session)  # who came by the password alone is out
    assert not by_smtp(node, PASSWORD)
    node.wait_for_log("needs an app password")
    secret = command(node.folder, "token", "add", ALICE, "phone", "--scope", "smtp").stdout.strip()
    assert by_smtp(node, secret)

    node.stop()
    node.start()
    half = half_signed_in(node)
    assert post(half, "/sign-in/code", code=code).status == 401
    assert post(half, "/sign-in/code", code=recovery[0]).path != "/sign-in/code"
    assert half.get("/settings").path == "/settings"
    again = half_signed_in(node)
    assert post(again, "/sign-in/code", code=recovery[0]).status == 401
    assert not by_smtp(node, PASSWORD)
    assert by_smtp(node, secret)

    command(node.folder, "user", "factor", "remove", ALICE, "--all")
    deadline = time.monotonic() + 10
    while not by_smtp(node, PASSWORD):
        assert time.monotonic() < deadline
    assert by_smtp(node, secret)
    assert half.get("/settings").path.startswith("/sign-in")


def test_an_app_password_of_the_settings_page_ends_there_with_its_sessions(node: Node) -> None:
    browser = signed_in(node)
    csrf = browser.get("/settings").value("csrf")
    body = urlencode({"csrf": csrf, "name": "phone", "scope": "smtp"}).encode()
    page = browser.ask("POST", "/settings/app-passwords", body, {"Content-Type": FORM})
    found = re.search(r'<code class="secret">([a-z2-9-]{24})</code>', page.text)
    assert found
    session = smtplib.SMTP("localhost", node.port("smtp"), timeout=30)
    session.login(ALICE, found[1])
    number = re.search(r"/settings/tokens/(\d+)/revoke", page.text)
    assert number
    body = urlencode({"csrf": csrf}).encode()
    browser.ask("POST", f"/settings/tokens/{number[1]}/revoke", body, {"Content-Type": FORM})
    until_it_ends(session)
    assert not by_smtp(node, found[1])


def test_codes_come_by_mail_and_as_texts(node: Node, texts: Path) -> None:
    browser = signed_in(node)
    turn_on(browser, "mail", target=f"bob@{DOMAIN}")
    (mail,) = node.mails("bob")
    assert mail.count(b"From: alice@example.test") == 1
    assert b"Auto-Submitted: auto-generated" in mail
    body = mail.partition(b"\r\n\r\n")[2].decode()
    assert "recovery codes" in post(browser, f"{OWN}/confirm", code=code_in(body)).text
    post(browser, f"{OWN}/send", factor="1")
    another = code_in(node.mails("bob")[-1].partition(b"\r\n\r\n")[2].decode())
    turn_on(browser, "command", target="+49 30 1234567", code=another)
    told = texts.read_text()
    assert told.startswith("to +49301234567\n")
    post(browser, f"{OWN}/confirm", code=code_in(told.partition("\n")[2]))
    listed = command(node.folder, "user", "factor", "list", ALICE).stdout
    assert "+49301234567" in listed
    assert f"bob@{DOMAIN}" in listed

    half = half_signed_in(node)
    page = half.get("/sign-in/code")
    numbers = page.values("factor")
    assert len(numbers) == 2
    page = post(half, "/sign-in/code/send", factor=numbers[1])
    assert "a text to …567" in page.text
    post(half, "/sign-in/code", code=code_in(texts.read_text().partition("\n")[2]))
    assert half.get("/settings").path == "/settings"
