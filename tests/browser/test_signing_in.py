"""In and out, in a browser."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.visitor import address_of, fill_sign_in, password_of, sign_in, sign_out
from tests.browser.watch import Watch


def test_a_wrong_password_is_told_and_the_right_one_leads_to_where_one_wanted_to_go(
    open_window: Open, watch: Watch
) -> None:
    watch.expect("status of 401")
    page = open_window()
    page.goto("/settings")
    fill_sign_in(page, "alice", "not this one")
    expect(page.get_by_role("alert")).to_have_text("That name and password do not fit.")
    expect(page.get_by_label("Address")).to_have_value(address_of("alice"))
    expect(page.get_by_label("Password")).to_be_focused()
    fill_sign_in(page, "alice", password_of("alice"))
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
    expect(page).to_have_url(f"{watch.origin}/settings")


def test_who_signs_in_sees_the_inbox(open_window: Open) -> None:
    page = open_window()
    page.goto("/")
    fill_sign_in(page, "bob", password_of("bob"))
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()


def test_the_back_button_shows_nothing_private_after_signing_out(open_window: Open) -> None:
    page = open_window()
    sign_in(page, "alice")
    page.goto("/mail")
    page.goto("/settings")
    sign_out(page)
    for _ in range(3):
        page.go_back()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        assert "Tokens for programs" not in page.content()


def test_the_cookie_of_a_session_is_out_of_reach_of_scripts(open_window: Open) -> None:
    page = open_window()
    sign_in(page, "alice")
    kept = [each for each in page.context.cookies() if "visit" not in each["name"]]
    for each in kept:  # the session's, and what tells this browser from others
        assert (each["httpOnly"], each["path"]) == (True, "/")
        assert each["sameSite"] == ("Strict" if "device" in each["name"] else "Lax")
        assert each["value"] not in page.evaluate("document.cookie")
    (cookie,) = [each for each in kept if "device" not in each["name"]]
    sign_out(page)
    assert cookie["name"] not in [each["name"] for each in page.context.cookies()]


def test_one_signs_in_and_out_with_the_keyboard_alone(open_window: Open) -> None:
    page = open_window()
    page.goto("/sign-in")
    expect(page.get_by_label("Address")).to_be_focused()
    page.keyboard.type(address_of("bob"))
    page.keyboard.press("Tab")
    page.keyboard.type(password_of("bob"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    expect(page.get_by_role("link", name="To the content")).to_be_in_viewport()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.get_by_role("button", name="Sign out").evaluate("it => it.matches(':focus')"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
