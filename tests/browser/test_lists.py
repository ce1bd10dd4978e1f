"""A list of mail as people go through it: by touch, by mouse and by keys."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Visitors
from tests.browser.visitor import DESKTOP, PHONE, Device, press

_SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_IN_ONE_LINE = """() => {
    const items = [...document.querySelectorAll("nav.around li")];
    const places = items.map((each) => each.getBoundingClientRect());
    const lowest = Math.min(...places.map(({ bottom }) => bottom));
    return places.every(({ top }) => top < lowest);
}"""


def line_of(page: Page, subject: str) -> Locator:
    return page.locator("#list .line").filter(has_text=subject)


def wait_until_found(page: Page, count: int) -> None:
    """A mail is indexed behind its 250: a search is asked again."""
    lines = page.locator("#list .line")
    for _ in range(100):
        if lines.count() == count:
            return
        page.reload()
    expect(lines).to_have_count(count)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_a_mail_is_chosen_deleted_and_brought_back(
    open_window: Open, visitors: Visitors, device: Device
) -> None:
    subject = f"To be thrown away on a {device.name}"
    visitors.deliver("bob", subject)
    page = open_window("bob", device)
    page.goto("/mail")
    line_of(page, subject).get_by_role("checkbox").check()
    page.get_by_role("button", name=re.compile("^(Delete|Move to Trash)$")).click()
    expect(line_of(page, subject)).to_have_count(0)
    page.locator("#flash").get_by_role("button", name="Undo").click()
    expect(line_of(page, subject)).to_be_visible()


def test_keys_walk_through_the_list_and_the_mails_and_answer(
    open_window: Open, visitors: Visitors
) -> None:
    for at in (1, 2):
        visitors.deliver("bob", f"Walked to {at}")
    page = open_window("bob")
    page.goto("/mail")
    expect(line_of(page, "Walked to 2")).to_be_visible()
    first = page.get_by_role("heading", name="Walked to 1")
    press(page, "j")
    press(page, "j")
    expect(line_of(page, "Walked to 1")).to_have_class(re.compile(r"\bhere\b"))
    press(page, "Enter")
    expect(first).to_be_visible()
    press(page, "k")
    expect(page.get_by_role("heading", name="Walked to 2")).to_be_visible()
    press(page, "j")
    expect(first).to_be_visible()
    press(page, "u")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    line_of(page, "Walked to 1").get_by_role("link").click()
    expect(first).to_be_visible()
    press(page, "r")
    expect(page.get_by_label("Subject")).to_have_value("Re: Walked to 1")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_what_was_found_is_opened_chosen_deleted_and_brought_back(
    open_window: Open, visitors: Visitors, device: Device
) -> None:
    word = f"found{device.name.lower()}"
    for at in (1, 2):
        visitors.deliver("bob", f"To be {word} {at}")
    page = open_window("bob", device)
    page.goto(f"/search?q={word}")
    found = page.locator("#list .line")
    wait_until_found(page, 2)
    found.first.get_by_role("link").click()
    page.get_by_role("link", name="Search results").click()
    expect(found).to_have_count(2)
    page.get_by_role("checkbox", name="Choose all on this page").check()
    expect(found.nth(1).get_by_role("checkbox")).to_be_checked()
    page.get_by_role("button", name=re.compile("^(Delete|Move to Trash)$")).click()
    expect(page.locator("#flash")).to_contain_text("2 mails moved to Trash.")
    expect(page).to_have_url(re.compile(rf"/search\?q={word}$"))
    expect(found).to_have_count(2)
    expect(found.first).to_contain_text("Trash")
    page.locator("#flash").get_by_role("button", name="Undo").click()
    expect(page.locator("#flash")).to_contain_text("2 mails moved back.")
    expect(found.first).to_contain_text("Inbox")


def test_keys_choose_and_throw_away_what_was_found(open_window: Open, visitors: Visitors) -> None:
    for at in (1, 2):
        visitors.deliver("bob", f"Keyed quince {at}")
    page = open_window("bob")
    page.goto("/search?q=quince")
    wait_until_found(page, 2)
    for key in ("j", "x", "j", "x", "#"):
        press(page, key)
    expect(page.locator("#flash")).to_contain_text("2 mails moved to Trash.")
    press(page, "j")
    press(page, "Enter")
    expect(page.get_by_role("link", name="Search results")).to_be_visible()
    press(page, "u")
    expect(page).to_have_url(re.compile(r"/search\?q=quince$"))


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_a_folder_with_a_long_name_breaks_no_page(
    open_window: Open, visitors: Visitors, device: Device
) -> None:
    name = f"{device.name}{'Rechnungen' * 10}"[:100]
    visitors.deliver("bob", f"Into the long one on a {device.name}")
    page = open_window("bob", device)

    def is_whole() -> None:
        assert page.evaluate(_SIDEWAYS) == 0, page.url

    page.goto("/mail")
    if device is PHONE:
        page.locator("label.drawer").click()
    page.locator("summary", has_text="New folder").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make it").click()
    heading = page.get_by_role("heading", name=name)
    expect(heading).to_have_attribute("title", name)
    is_whole()
    there = page.url
    page.goto("/mail")
    line_of(page, "Into the long one").first.get_by_role("link").click()
    is_whole()
    if device is PHONE:
        page.locator("label", has_text="More").click()
        is_whole()
    page.get_by_label("Move to the folder").select_option(there.rpartition("/")[2])
    is_whole()
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.locator("#flash")).to_contain_text("1 mail moved to")
    is_whole()
    page.goto(there)
    line_of(page, "Into the long one").get_by_role("link").click()
    expect(page.locator("nav.around")).to_contain_text(name)
    is_whole()
    page.goto(f"{page.url}?found=q%3Dlong")
    expect(page.locator("nav.around li")).to_have_count(4)
    assert page.evaluate(_IN_ONE_LINE)
    is_whole()
    expect(page.locator("#places .name", has_text=name)).to_have_attribute("title", name)
