"""The test inbox of an administrator: mail that a program sends is seen, read and deleted."""

from __future__ import annotations

import re
import smtplib
from email.message import EmailMessage
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Visitors
from tests.browser.mails import PICTURE
from tests.browser.visitor import DESKTOP, PHONE, Device, address_of, password_of, press

HOSTILE = (
    '<p>Shown all the same</p><img src="cid:p"><img src="https://far.example/x.png" width=90>'
    "<script>parent.document.title = 'ran'</script><img src=x onerror=\"top.location='/ran'\">"
    '<a href="javascript:alert(1)">link</a><form action="/sign-out"><button>Out</button></form>'
)


def send_out(visitors: Visitors, subject: str, *to: str, html: str = "") -> None:
    """What a program sends that uses bob's account: to elsewhere, where nothing leaves for."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = address_of("bob"), to[0], subject
    made.set_content("Plain words.\n")
    if html:
        made.add_alternative(html, subtype="html")
        page: Any = made.get_payload()[1]
        page.add_related(PICTURE, "image", "png", cid="<p>")
        made.add_attachment(b"%PDF-1.4\n", "application", "pdf", filename="bill.pdf")
    with smtplib.SMTP("127.0.0.1", visitors.node.port("smtp"), timeout=60) as client:
        client.login(address_of("bob"), password_of("bob"))
        client.send_message(made, to_addrs=to)


def line_of(page: Page, subject: str) -> Locator:
    return page.locator("#list .line").filter(has_text=subject)


def count_of(page: Page) -> int:
    said = re.match(r"\(([\d,]+)\) Captured mail", page.title())
    return int(said[1].replace(",", "")) if said else 0


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_what_a_program_sends_appears_by_itself_and_is_read_and_deleted(
    open_window: Open, visitors: Visitors, device: Device
) -> None:
    subject = f"Your order on a {device.name}"
    page = open_window("alice", device)
    page.goto("/admin/captured")
    before = count_of(page)
    send_out(visitors, subject, "dave@far.example", "hidden@far.example", html=HOSTILE)
    expect(line_of(page, subject)).to_have_count(2)
    expect(page).to_have_title(re.compile(rf"^\({before + 2:,}\) Captured mail"))
    expect(page.locator("#places .count[aria-label$=captured]")).to_have_text(f"{before + 2:,}")
    expect(page.locator("#list .line").first).to_contain_text(subject)  # the newest is the first
    line_of(page, subject).filter(has_text="dave@").get_by_role("link").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text("Shown all the same")).to_be_visible()
    assert frame.locator("img").first.evaluate("each => each.naturalWidth") == 1
    assert not frame.locator("script, form, button").count()
    expect(page.locator("dd", has_text="hidden@far.example")).to_contain_text("Bcc")
    expect(page).to_have_url(re.compile(r"/admin/captured/\d+$"))
    with page.expect_download() as download:
        page.get_by_role("link", name="bill.pdf", exact=True).click()
    assert download.value.suggested_filename == "bill.pdf"
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("1 mail deleted for good.")
    expect(line_of(page, subject)).to_have_count(1)
    expect(line_of(page, subject)).to_contain_text("hidden@far.example")


def test_another_window_sees_what_is_deleted_and_a_choice_is_not_taken_away(
    open_window: Open, visitors: Visitors
) -> None:
    for number in (1, 2, 3):
        send_out(visitors, f"Watched {number}", "dave@far.example")
    watching, choosing, at_work = (open_window("alice") for _ in range(3))
    for page in (watching, choosing, at_work):
        page.goto("/admin/captured")
        expect(line_of(page, "Watched")).to_have_count(3)
    line_of(choosing, "Watched 1").get_by_role("checkbox").check()
    line_of(at_work, "Watched 3").get_by_role("checkbox").check()
    at_work.get_by_role("button", name="Delete", exact=True).click()
    expect(line_of(at_work, "Watched")).to_have_count(2)
    expect(line_of(watching, "Watched")).to_have_count(2)
    expect(choosing).to_have_title(watching.title())
    expect(line_of(choosing, "Watched 1").get_by_role("checkbox")).to_be_checked()


def test_keys_walk_through_it_and_the_search_finds_it(
    open_window: Open, visitors: Visitors
) -> None:
    for number in (1, 2):
        send_out(visitors, f"Sought {number}", f"seeker{number}@far.example")
    page = open_window("alice")
    page.goto("/admin/captured")
    press(page, "/")
    page.keyboard.type("to:seeker1")
    press(page, "Enter")
    expect(page.locator("#list .line")).to_have_count(1)
    page.get_by_role("link", name="All captured mail").click()
    expect(line_of(page, "Sought 2")).to_have_count(1)
    press(page, "j")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Sought 2")).to_be_visible()
    press(page, "j")
    expect(page.get_by_role("heading", name="Sought 1")).to_be_visible()
    press(page, "u")
    expect(page.get_by_role("heading", name="Captured mail")).to_be_visible()


def test_all_of_it_goes_after_a_question_alone(open_window: Open, visitors: Visitors) -> None:
    send_out(visitors, "All of it", "dave@far.example")
    page = open_window("alice")
    page.goto("/admin/captured")
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("link", name="Leave it").click()
    expect(line_of(page, "All of it")).to_have_count(1)
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("button", name=re.compile(r"^Delete all \d+ for good$")).click()
    expect(page.get_by_role("status")).to_contain_text("deleted for good.")
    expect(page.get_by_text("Nothing is captured.")).to_be_visible()


def test_it_is_for_administrators_alone(open_window: Open, visitors: Visitors) -> None:
    visitors.watch.expect("status of 403")
    page = open_window("bob")
    page.goto("/mail")
    expect(page.locator("#places")).to_be_visible()
    expect(page.get_by_role("link", name="Captured")).to_have_count(0)
    page.goto("/admin/captured")
    expect(page.locator("main")).to_contain_text("administrators")
