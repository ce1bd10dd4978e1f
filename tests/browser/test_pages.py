"""How every page looks: nothing shuts anybody out, nothing sticks out, on any width, light or dark.

With SCREENSHOTS=yes they are kept in docs/images, for the documentation.
"""

from __future__ import annotations

import os
import re
import smtplib
from email.message import EmailMessage
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.looks import assert_accessible, assert_fits
from tests.browser.visitor import DESKTOP, PHONE, ZOOMED, Device
from tests.live.node import Node

IMAGES = Path(__file__).parents[2] / "docs" / "images"
KEPT = os.environ.get("SCREENSHOTS") == "yes"
HTML = (
    "<html><body><h1>Your order</h1><p>Thank you, <b>Bob</b>."
    ' <img src="https://shop.example/t.png" width=1 height=1>'
    ' <img src="https://shop.example/boat.png" alt="a boat"></p>'
    "<table><tr><td>1 boat</td><td>42</td></tr></table>"
    '<p><a href="https://evil.example/pay">https://bank.example/pay</a></p></body></html>'
)
LOOKS = [
    pytest.param(DESKTOP, "light", id="desktop"),
    pytest.param(DESKTOP, "dark", id="desktop-dark"),
    pytest.param(PHONE, "light", id="phone"),
    pytest.param(ZOOMED, "light", id="zoomed"),
]


def mails() -> list[EmailMessage]:
    found = []
    for who, subject, text in (
        ("Ann Smith <ann@example.org>", "Minutes of Monday", "We met at nine."),
        ("Zoë <zoe@example.org>", "Lunch?", "At one, by the harbour."),
        ("Build <build@example.org>", "main is green again", "2,767 tests passed."),
        ("Shop <orders@shop.example>", "Your order 4711", "See the HTML."),
    ):
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = who, "bob@example.test", subject
        mail.set_content(text)
        found.append(mail)
    found[-1].add_alternative(HTML, subtype="html")
    found[0].add_attachment(b"minutes", "application", "pdf", filename="minutes.pdf")
    return found


@pytest.fixture(scope="module")
def filled(node: Node) -> Node:
    """Mail of every sort in Bob's inbox."""
    with smtplib.SMTP("127.0.0.1", node.port("smtp")) as client:
        for mail in mails():
            client.send_message(mail, from_addr="someone@example.org")
    return node


def judge(page: Page, name: str, device: Device, scheme: str) -> None:
    assert_accessible(page)
    assert_fits(page)
    if KEPT and device is not ZOOMED:
        IMAGES.mkdir(exist_ok=True)
        how = "" if (device, scheme) == (DESKTOP, "light") else f"-{device.name}-{scheme}"
        page.screenshot(path=IMAGES / f"{name}{how}.png")


@pytest.mark.parametrize(("device", "scheme"), LOOKS)
def test_pages_of_mail(open_window: Open, filled: Node, device: Device, scheme: str) -> None:
    page = open_window("bob", device, scheme)
    page.goto("/mail")
    expect(page.get_by_role("link", name=re.compile("Your order 4711"))).to_be_visible()
    judge(page, "list", device, scheme)
    page.get_by_role("link", name=re.compile("Your order 4711")).first.click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="Your order")).to_be_visible()
    expect(page.get_by_text("Careful")).to_be_visible()
    judge(page, "reading", device, scheme)
    for tab in ("Headers", "Source", "Story"):
        page.get_by_role("link", name=tab, exact=True).click()
        expect(page.get_by_role("heading", name="Your order 4711")).to_be_visible()
        judge(page, tab.lower(), device, scheme)
    page.goto("/search?q=order")
    expect(page.get_by_role("link", name=re.compile("Your order 4711")).first).to_be_visible()
    judge(page, "search", device, scheme)
    page.goto("/write")
    judge(page, "writing", device, scheme)


@pytest.mark.parametrize(("device", "scheme"), LOOKS)
def test_pages_of_an_account(open_window: Open, device: Device, scheme: str) -> None:
    page = open_window("", device, scheme)
    page.goto("/sign-in")
    judge(page, "sign-in", device, scheme)
    page = open_window("bob", device, scheme)
    page.goto("/settings")
    judge(page, "settings", device, scheme)
    page.goto("/api/v1")
    judge(page, "api", device, scheme)


@pytest.mark.parametrize(("device", "scheme"), LOOKS)
def test_pages_for_administrators(
    open_window: Open, filled: Node, device: Device, scheme: str
) -> None:
    page = open_window("alice", device, scheme)
    page.goto("/admin")
    places = page.get_by_role("navigation", name="Administration").get_by_role("link")
    addresses = [each.get_attribute("href") or "" for each in places.all()]
    assert len(addresses) > 6, addresses
    for address in addresses:
        page.goto(address)
        judge(page, f"admin{address.removeprefix('/admin').replace('/', '-')}", device, scheme)
