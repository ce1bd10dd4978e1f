"""One's own account, in a browser."""

from __future__ import annotations

import poplib
import re
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.visitor import (
    DESKTOP,
    PHONE,
    Device,
    fill_sign_in,
    password_of,
    shown_secret,
    sign_in,
)
from tests.browser.watch import Watch
from tests.live.node import Node

NEW = "a longer horse 8"
WHOLE = """
button => {
  const own = button.getBoundingClientRect();
  const by = button.closest(".scroll").getBoundingClientRect();
  return own.left >= by.left && own.top >= by.top
    && own.right <= by.right && own.bottom <= by.bottom;
}"""


def ask(origin: str, path: str, token: str) -> int:
    """The status of a program's question."""
    parts = urlsplit(origin)
    client = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    with closing(client):
        client.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return client.getresponse().status


def make_token(page: Page, name: str) -> str:
    page.goto("/settings")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Make a token").click()
    return shown_secret(page)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda each: each.name)
def test_a_token_is_shown_once_and_counts_until_it_is_revoked(
    open_window: Open, watch: Watch, device: Device
) -> None:
    page = open_window("alice", device)
    name = f"script of a {device.name}"
    token = make_token(page, name)
    assert token.startswith("mailnode_")
    assert ask(watch.origin, "/settings", token) == 403  # it is one, and opens no page
    page.goto("/settings")
    assert token not in page.content()
    expect(page.get_by_role("row").filter(has_text=name)).to_have_count(1)
    page.get_by_role("button", name=f"Revoke {name}").click()
    expect(page.get_by_role("status")).to_contain_text("The token lets nobody in any more")
    expect(page.get_by_role("row").filter(has_text=name)).to_have_count(0)
    nobodys = ask(watch.origin, "/settings", "mailnode_nobodys")
    assert ask(watch.origin, "/settings", token) == nobodys != 403


def test_a_browser_that_is_signed_out_from_elsewhere_is_out_at_once(open_window: Open) -> None:
    here, there = open_window(), open_window(user_agent="The other browser")
    sign_in(here, "carol")
    sign_in(there, "carol")
    here.goto("/settings")
    row = here.get_by_role("row").filter(has_text="The other browser")
    row.get_by_role("button").click()
    expect(here.get_by_role("status")).to_contain_text("That browser is signed out")
    expect(here.get_by_role("row").filter(has_text="The other browser")).to_have_count(0)
    there.goto("/settings")
    expect(there.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_new_password_counts_and_ends_the_other_sessions(open_window: Open, watch: Watch) -> None:
    watch.expect("status of 401", "status of 422")
    here, there = open_window(), open_window()
    sign_in(here, "dave")
    sign_in(there, "dave")

    def change(now: str, new: str, again: str) -> None:
        here.goto("/settings")
        here.get_by_label("Password now").fill(now)
        here.get_by_label("New password", exact=False).first.fill(new)
        here.get_by_label("New password again").fill(again)
        here.get_by_role("button", name="Change the password").click()

    change(password_of("dave"), NEW, f"{NEW}!")
    expect(here.get_by_role("status")).to_contain_text("The two new passwords differ")
    change("not this one", NEW, NEW)
    expect(here.get_by_role("status")).to_contain_text("The current password is wrong")
    change(password_of("dave"), NEW, NEW)
    expect(here.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
    expect(here.get_by_role("row").filter(has_text="this one")).to_have_count(1)
    there.goto("/settings")
    fill_sign_in(there, "dave", password_of("dave"))
    expect(there.get_by_role("alert")).to_have_text("That name and password do not fit.")
    fill_sign_in(there, "dave", NEW)
    expect(there.get_by_role("heading", name="Settings", exact=True)).to_be_visible()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda each: each.name)
def test_where_one_signed_in_stands_there_with_when_and_by_what(
    open_window: Open, node: Node, device: Device
) -> None:
    page = open_window(device=device)
    sign_in(page, "carol")
    client = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=30)
    client.user("carol")
    client.pass_(password_of("carol"))
    client.quit()
    table = page.get_by_role("group", name="Table of sign-ins")
    for words in ("a browser", "a mail program (POP3)"):
        row = table.get_by_role("row").filter(has_text=words).first
        for _ in range(20):  # the node takes it up within a second or two
            page.goto("/settings")
            if row.count():
                break
            page.wait_for_timeout(300)
        expect(row).to_contain_text(re.compile("127.0.0.1|::1"))
        expect(row.locator("time").first).to_be_visible()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda each: each.name)
def test_what_was_made_is_in_sight_and_its_button_is_whole(
    open_window: Open, device: Device
) -> None:
    page = open_window("alice", device)
    for field, button in (("Program", "Make an app password"), ("Name", "Make a token")):
        page.goto("/settings")
        page.get_by_label(field, exact=True).fill(f"seen at {device.name}")
        page.get_by_role("button", name=button).click()
        expect(page.locator("code.secret")).to_be_in_viewport(ratio=1)
        expect(page.locator("article:has(code.secret)")).to_be_focused()
    for revoke in page.get_by_role("button", name="Revoke seen at").all():
        assert revoke.evaluate(WHOLE), revoke.get_attribute("aria-label")
