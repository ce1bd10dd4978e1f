"""The whole way in a browser: a mail with two files, seen without a reload, read, and answered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.visitor import DESKTOP, PHONE, Device, address_of
from tests.browser.watch import Watch

TEXT = "Hello Bob,\n\nsee both.\n\nAlice"
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cf"
    "c000000301010018dd8db00000000049454e44ae426082"
)


def files(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    notes, picture = folder / "notes ü.txt", folder / "picture.png"
    notes.write_bytes(b"one line\n" * 1000)
    picture.write_bytes(PICTURE)
    return [notes, picture]


def write(page: Page, to: str, subject: str, text: str, attached: list[Path]) -> None:
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_label("Subject").fill(subject)
    page.get_by_label("Text", exact=True).fill(text)
    if attached:
        page.get_by_label("Attach files").set_input_files(attached)
        for each in attached:
            expect(page.get_by_role("link", name=each.name)).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).first.click()


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("link", name=name, exact=True).click()
    return Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_a_mail_with_two_files_is_seen_without_a_reload_read_and_answered(
    open_window: Open, tmp_path: Path, device: Device
) -> None:
    subject = f"Plans on a {device.name}"
    alice, bob = open_window("alice", device), open_window("bob", device)
    bob.goto("/mail")
    expect(bob.get_by_role("heading", name="Inbox")).to_be_visible()
    alice.goto("/write")
    notes, picture = files(tmp_path)
    write(alice, address_of("bob"), subject, TEXT, [notes, picture])
    expect(alice.get_by_role("heading", name="Sent")).to_be_visible()
    expect(alice.get_by_role("row", name=re.compile("bob@example.test"))).to_contain_text(
        "Delivered"
    )

    line = bob.get_by_role("link", name=re.compile(subject))
    expect(line).to_be_visible()  # and nobody has asked for the page anew
    expect(bob).to_have_title(re.compile(r"^\(\d+\) Inbox"))
    line.click()
    expect(bob.get_by_text("see both.")).to_be_visible()
    assert saved(bob, notes.name) == notes.read_bytes()
    assert saved(bob, picture.name) == PICTURE
    bob.get_by_role("link", name="Reply", exact=True).click()
    expect(bob.get_by_label("Subject")).to_have_value(f"Re: {subject}")
    expect(bob.get_by_label("Text", exact=True)).to_have_value(re.compile("> see both."))
    write(bob, address_of("alice"), f"Re: {subject}", "Thank you, Alice.", [picture])
    expect(bob.get_by_role("heading", name="Sent")).to_be_visible()

    alice.goto("/mail")
    alice.get_by_role("link", name=re.compile(f"Re: {subject}")).click()
    expect(alice.get_by_text("Thank you, Alice.")).to_be_visible()
    assert saved(alice, picture.name) == PICTURE


def test_what_is_wrong_with_an_address_is_told_as_it_is_typed_and_keeps_the_mail_here(
    open_window: Open, watch: Watch
) -> None:
    watch.expect("status of 422")
    page = open_window("alice")
    page.goto("/write")
    to = page.get_by_label("To", exact=True)
    for typed, words in (
        ("sina", "has no @"),
        ("a@sina", "is not a whole domain"),
        ("bbo@example.test", "No such user here"),
    ):
        to.fill(typed)
        to.press("Tab")
        expect(page.locator("#fault-to")).to_contain_text(words)
    page.get_by_label("Subject").fill("Kept")
    page.get_by_label("Text", exact=True).fill("A long letter.")
    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(page.locator("#fault-to")).to_contain_text("No such user here")
    expect(page.get_by_label("Text", exact=True)).to_have_value(re.compile("A long letter."))


def test_a_mail_that_is_deleted_by_keys_comes_back_by_the_button_that_tells_of_it(
    open_window: Open,
) -> None:
    page = open_window("carol")
    page.goto("/write")
    write(page, address_of("carol"), "To be deleted", "x", [])
    expect(page.get_by_role("heading", name="Sent")).to_be_visible()
    page.goto("/mail")
    line = page.get_by_role("link", name=re.compile("To be deleted"))
    expect(line).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("#")
    expect(page.locator("#flash")).to_contain_text("1 mail moved to Trash.")
    expect(line).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#flash")).to_contain_text("1 mail moved back.")
    expect(line).to_be_visible()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog")
    expect(keys).to_contain_text("these keys")
    last, close = keys.locator("dd").last.bounding_box(), keys.get_by_role("button").bounding_box()
    assert last is not None
    assert close is not None
    assert close["y"] > last["y"] + last["height"] + 5


def test_a_mail_of_last_week_is_found(open_window: Open, watch: Watch) -> None:
    watch.expect("status of 400")
    page = open_window("dave")
    page.goto("/write")
    write(page, address_of("dave"), "Invoice for the boat", "the amount is 42", [])
    expect(page.get_by_role("heading", name="Sent")).to_be_visible()
    page.goto("/mail")
    page.get_by_role("searchbox").fill('boat "amount is" from:dave')
    page.get_by_role("searchbox").press("Enter")
    found = page.get_by_role("link", name=re.compile("Invoice for the boat"))
    expect(found.first).to_be_visible()
    page.get_by_role("searchbox").fill("larger:foo")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is no size")
