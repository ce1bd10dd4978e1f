"""In a browser: what was marked as junk is known again, and its page says why."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from mailnode.learning.form import mails_of
from mailnode.store.models import NODE, ModelFiles
from tests.browser.conftest import Open, demo_folder
from tests.browser.test_lists import line_of
from tests.browser.visitor import DESKTOP, PHONE, Device
from tests.live.node import Node
from tests.unit.learning_case import BAD, GOOD

EACH = 12
LEARNED_S = 20.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that judges what comes from this machine, too."""
    folder = demo_folder(tmp_path_factory.mktemp("learning") / "node")
    settings = {"MAILNODE_JUDGING__LOOPBACK": "true", "MAILNODE_JUDGING__AUTHENTICATE": "false"}
    options = ("--smtp", "0", "--http", "0")
    with Node(folder, options=options, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """Who is signed in at that node."""
    return {}


def deliver(node: Node, words: list[str], number: int, subject: str) -> None:
    own = f"nr{chr(97 + number // 26)}{chr(97 + number % 26)}"
    node.send(
        f"From: Shop <info@shop.example>\r\nTo: alice@example.test\r\nSubject: {subject}\r\n\r\n"
        f"{' '.join([*words, own])}\r\n".encode()
    )


def open_folder(page: Page, name: str) -> None:
    page.goto("/mail")
    page.get_by_role("link", name=re.compile(f"^{name}")).first.click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def move_all(page: Page, button: str) -> None:
    """All mails of the folder that is shown."""
    page.get_by_label("Choose all on this page").check()
    page.get_by_role("button", name=button, exact=True).click()
    expect(line_of(page, "Minutes")).to_have_count(0)


def wait_until_learned(node: Node, mails: tuple[int, int]) -> None:
    deadline = time.monotonic() + LEARNED_S
    while mails_of(ModelFiles(node.data).path_of(NODE)) != mails:
        assert time.monotonic() < deadline, mails_of(ModelFiles(node.data).path_of(NODE))
        time.sleep(0.1)
    time.sleep(1.1)  # a model that was replaced is seen within a second


def test_what_was_marked_as_junk_is_known_again_and_the_page_says_why(
    open_window: Open, node: Node
) -> None:
    alice = open_window("alice")
    for number in range(EACH):
        deliver(node, GOOD, number, "Minutes")
    open_folder(alice, "Inbox")
    move_all(alice, "Junk")
    open_folder(alice, "Junk")
    move_all(alice, "Not junk")
    for number in range(EACH):
        deliver(node, BAD, number, "Offer")
    open_folder(alice, "Inbox")
    expect(line_of(alice, "Offer")).to_have_count(EACH)
    for line in line_of(alice, "Offer").all():
        line.get_by_role("checkbox").check()
    alice.get_by_role("button", name="Junk", exact=True).click()
    wait_until_learned(node, (EACH, EACH))
    assert ("page", "unwanted") in ModelFiles(node.data).counted().lessons
    deliver(node, BAD, 200, "News")
    open_folder(alice, "Junk")
    alice.get_by_role("link", name=re.compile("News")).first.click()
    expect(
        alice.get_by_text(re.compile(f"In Junk because: learned: .*{EACH} unwanted mails"))
    ).to_be_visible()
    alice.get_by_role("link", name="Story", exact=True).click()
    expect(alice.get_by_text(re.compile("judged unwanted by learned"))).to_be_visible()
    expect(alice.get_by_text(re.compile(f"of your {EACH} unwanted mails"))).to_be_visible()
    deliver(node, GOOD, 201, "Plans")
    open_folder(alice, "Inbox")
    alice.get_by_role("link", name=re.compile("Plans")).first.click()
    alice.get_by_role("link", name="Story", exact=True).click()
    expect(alice.get_by_text("By what is learned now it is wanted")).to_be_visible()
    why = alice.get_by_role("list", name="Is it wanted?").get_by_role("listitem")
    expect(why).to_have_count(10)
    expect(why.first).to_contain_text(f"of your {EACH} wanted ones")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_where_unwanted_mail_lies_is_chosen_on_the_settings_page(
    open_window: Open, device: Device
) -> None:
    bob = open_window("bob", device)
    for choice in (re.compile("the inbox, marked"), re.compile("^Junk")):
        bob.goto("/settings")
        bob.get_by_role("radio", name=choice).check()
        bob.get_by_role("button", name="Keep it so").click()
        expect(bob.get_by_text("Unwanted mail lies in", exact=False)).to_be_visible()
        expect(bob.get_by_role("radio", name=choice)).to_be_checked()
