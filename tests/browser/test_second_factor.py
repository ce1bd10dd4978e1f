"""A second factor from its setting up to its end, in a browser, and a mail program beside it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import segno
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.looks import assert_accessible, assert_fits
from tests.browser.visitor import (
    DESKTOP,
    PHONE,
    Device,
    address_of,
    fill_sign_in,
    password_of,
    shown_secret,
    sign_in,
    sign_out,
)
from tests.browser.watch import Watch
from tests.live.mpop import is_let_in
from tests.live.node import Node, command

PAGE = "/settings/second-factor"


def add_account(node: Node, name: str) -> None:
    command(node.folder, "user", "add", address_of(name), stdin=f"{password_of(name)}\n")


def by_mpop(node: Node, folder: Path, name: str, password: str) -> bool:
    """Whether mpop is let in, by the best mechanism that both know."""
    port, user = f"port {node.port('pop3')}", f"user {address_of(name)}"
    return is_let_in(folder, port, user, f'password "{password}"', "auth on", "tls off")


def next_code(device: pyotp.TOTP, used: list[str]) -> str:
    """A code that was not shown yet; that of the half minute to come counts already."""
    deadline = time.monotonic() + 65
    while True:
        for at in (0, 30):
            code = device.at(int(time.time()) + at)
            if code not in used:
                used.append(code)
                return code
        assert time.monotonic() < deadline
        time.sleep(0.5)


def set_up(page: Page, name: str) -> tuple[pyotp.TOTP, list[str]]:
    """An authenticator app has what the page's QR code says; the recovery codes."""
    page.goto(PAGE)
    page.locator("summary", has_text="Authenticator app").click()
    form = page.locator("details[open]")
    form.get_by_label("Your password").fill(password_of(name))
    form.get_by_role("button", name="Set up").click()
    uri = page.get_by_role("link", name="Open it in an app").get_attribute("href") or ""
    path = page.locator("svg.qr path[stroke]").get_attribute("d")
    assert path in segno.make(uri, error="m", micro=False).svg_inline(scale=5), "another QR code"
    assert parse_qs(urlsplit(uri).query)["issuer"] == ["localhost"]
    device = pyotp.parse_uri(uri)
    assert isinstance(device, pyotp.TOTP)
    page.get_by_label("Code", exact=True).fill(device.now())
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    codes = page.locator("ul.codes code").all_inner_texts()
    assert len(set(codes)) == 10
    return device, codes


def enter(page: Page, name: str, code: str) -> None:
    page.goto("/settings")
    fill_sign_in(page, name, password_of(name))
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    expect(page.get_by_label("Code", exact=False)).to_be_focused()
    page.get_by_label("Code", exact=False).fill(code)
    page.get_by_role("button", name="Sign in").click()


def make_app_password(page: Page, name: str) -> str:
    page.goto("/settings")
    page.get_by_label("Program", exact=True).fill(name)
    page.get_by_role("button", name="Make an app password").click()
    return shown_secret(page)


@pytest.mark.parametrize(
    ("name", "device", "scripts"),
    [("erin", DESKTOP, True), ("heidi", PHONE, False)],
    ids=["desktop", "phone without scripts"],
)
def test_a_device_is_set_up_signs_in_and_mail_programs_have_passwords_of_their_own(
    open_window: Open,
    node: Node,
    watch: Watch,
    tmp_path: Path,
    name: str,
    device: Device,
    scripts: bool,
) -> None:
    watch.expect("status of 401")
    add_account(node, name)
    page = open_window(device=device, java_script_enabled=scripts)
    sign_in(page, name)
    assert by_mpop(node, tmp_path, name, password_of(name))
    app, recovery = set_up(page, name)
    used = [app.now()]
    if scripts:
        assert_fits(page)
        assert_accessible(page)
    assert not by_mpop(node, tmp_path, name, password_of(name))
    node.wait_for_log("needs an app password")

    sign_out(page)
    enter(page, name, "000000" if app.now() != "000000" else "111111")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Code", exact=False).fill(next_code(app, used))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()

    secret = make_app_password(page, "phone")
    assert re.fullmatch(r"([a-z2-9]{4}-){4}[a-z2-9]{4}", secret)
    assert by_mpop(node, tmp_path, name, secret)
    page.goto("/settings")
    assert secret not in page.content()
    row = page.get_by_role("row").filter(has_text="phone")
    expect(row).to_contain_text("127.0.0.1")
    page.get_by_role("button", name="Revoke phone").click()
    expect(page.get_by_role("status")).to_contain_text("The app password lets nobody in any more")
    assert not by_mpop(node, tmp_path, name, secret)

    sign_out(page)
    enter(page, name, recovery[0])
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
    page.goto(PAGE)
    expect(page.locator("main")).to_contain_text("9 of 10 count still")
    if scripts:
        assert_fits(page)
        assert_accessible(page)
    page.locator("summary", has_text="Turn it off").click()
    form = page.locator("details[open]")
    form.get_by_label("Password").fill(password_of(name))
    form.get_by_label("Code").fill(next_code(app, used))
    form.get_by_role("button", name="Turn off").click()
    expect(page.get_by_role("status")).to_contain_text("is off")
    assert by_mpop(node, tmp_path, name, password_of(name))


def test_an_administrator_takes_a_lost_one_off(open_window: Open, node: Node) -> None:
    page = open_window("alice")
    add_account(node, "gone")
    owner = open_window()
    sign_in(owner, "gone")
    set_up(owner, "gone")
    page.goto("/admin/accounts")
    page.get_by_role("link", name="gone@example.test").click()
    expect(page.locator("main")).to_contain_text("On: Authenticator app")
    page.get_by_role("button", name="Turn it off").click()
    expect(page.get_by_role("status")).to_contain_text("is off")
    owner.goto("/settings")
    expect(owner.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(owner, "gone")
    node.wait_for_log("factor-removed")
