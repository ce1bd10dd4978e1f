"""A mail as people write it: with looks, with dropped files, and put off until tomorrow."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, JSHandle, Page, Route, expect

from tests.browser.conftest import LATER, Open
from tests.browser.visitor import DESKTOP, PHONE, Device, address_of
from tests.browser.watch import Watch

PLAN: FilePayload = {"name": "plan ü.txt", "mimeType": "text/plain", "buffer": b"kitchen\n" * 300}
COST: FilePayload = {"name": "cost.csv", "mimeType": "text/csv", "buffer": b"what,cost\r\n"}


def send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(page.get_by_role("heading", name="Sent", exact=True)).to_be_visible()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_what_is_bold_for_who_writes_is_bold_for_who_reads(
    open_window: Open, device: Device
) -> None:
    subject = f"In bold on a {device.name}"
    alice, bob = open_window("alice", device), open_window("bob", device)
    alice.goto("/mail")
    if device.touch:
        alice.locator("label.drawer").click()
    alice.locator("#places .write").click()
    alice.get_by_label("To", exact=True).fill(address_of("bob"))
    alice.get_by_label("Subject").fill(subject)
    alice.get_by_label("Formatted").check()
    alice.get_by_role("textbox", name="Text").click()
    alice.keyboard.type("Hello Bob, here is ")
    alice.get_by_role("button", name="Bold").click()
    alice.keyboard.type("the plan")
    send(alice)

    bob.goto("/mail")
    line = bob.locator("#list .line").filter(has_text=subject)
    expect(line).to_contain_text("Hello Bob, here is the plan")
    expect(line).to_have_class(re.compile(r"\bunread\b"))
    line.get_by_role("link").click()
    expect(bob.frame_locator("iframe.letter").locator("b, strong")).to_have_text("the plan")
    bob.get_by_role("link", name="Reply", exact=True).first.click()
    expect(bob.get_by_label("Subject")).to_have_value(f"Re: {subject}")
    bob.get_by_role("textbox", name="Text").press("Control+Home")
    bob.keyboard.type("I see it.\n")
    send(bob)
    bob.goto("/mail")
    expect(line).not_to_have_class(re.compile(r"\bunread\b"))
    expect(line).to_contain_text("answered")


def test_what_becomes_of_a_mail_is_looked_up_again_while_it_waits(open_window: Open) -> None:
    page = open_window("alice")
    page.clock.install()
    page.goto("/write")
    page.get_by_label("To", exact=True).fill(f"eve@{LATER}")
    page.get_by_label("Subject").fill("Later")

    def at_first_soon(route: Route) -> None:
        """As the page is while the first attempt is made, which is over here in a moment."""
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("30s", "2s"))

    page.route("**/sent/*", at_first_soon, times=1)
    send(page)
    state = page.get_by_role("row", name=f"eve@{LATER}")
    page.clock.run_for(5_000)  # at first it may be on its way
    expect(state).to_contain_text("Waits for another attempt")
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url) if "/sent/" in request.url else None
    )
    page.clock.run_for(20_000)
    page.wait_for_timeout(300)
    for count in (1, 2, 3):
        page.clock.run_for(31_000)
        page.wait_for_timeout(300)
        assert len(asked) == count, asked
    expect(state).to_contain_text("Waits for another attempt")


def test_a_draft_outlives_the_window_that_it_was_written_in(open_window: Open) -> None:
    page = open_window("alice")
    page.goto("/write")
    page.get_by_label("Subject").fill("Not done yet")
    page.get_by_label("Text", exact=True).fill("More of this tomorrow")
    page.get_by_label("Attach files").set_input_files([COST])
    expect(page.locator("#file-list").get_by_role("link", name=COST["name"])).to_be_visible()
    expect(page.locator("#saved")).to_contain_text("Kept at")
    page.close(run_before_unload=False)
    page = open_window("alice")
    page.goto("/mail")
    page.get_by_role("link", name="Drafts").click()
    page.locator("#list .line").filter(has_text="Not done yet").get_by_role("link").click()
    expect(page.get_by_label("Text", exact=True)).to_have_value("More of this tomorrow")
    expect(page.locator("#file-list").get_by_role("link", name=COST["name"])).to_be_visible()


def dropped(page: Page, *files: FilePayload) -> JSHandle:
    """A DataTransfer that holds the files, as a desktop's file browser makes one."""
    told = [[each["name"], each["mimeType"], each["buffer"].decode()] for each in files]
    return page.evaluate_handle(
        """(files) => {
          const held = new DataTransfer();
          for (const [name, type, text] of files) held.items.add(new File([text], name, { type }));
          return held;
        }""",
        told,
    )


def test_who_is_at_a_file_stays_there_while_the_draft_is_saved(open_window: Open) -> None:
    page = open_window("alice")
    page.goto("/write?subject=Costs")
    page.get_by_label("Attach files").set_input_files([COST])
    remove = page.locator("#file-list").get_by_role("button", name=f"Remove {COST['name']}")
    expect(remove).to_be_visible()
    page.get_by_label("Text", exact=True).fill("They are in it.")
    remove.focus()
    expect(page.locator("#saved")).to_contain_text("Kept at")
    expect(remove).to_be_focused()


def test_files_are_dropped_on_a_mail_and_taken_off_again(open_window: Open) -> None:
    page = open_window("alice")
    page.goto("/write")
    held = dropped(page, COST, PLAN)
    page.dispatch_event("#files", "dragover", {"dataTransfer": held})
    page.dispatch_event("#files", "drop", {"dataTransfer": held})
    names = page.locator("#file-list").get_by_role("link")
    expect(names).to_have_text([COST["name"], PLAN["name"]])
    page.get_by_role("button", name=f"Remove {PLAN['name']}").click()
    expect(names).to_have_text([COST["name"]])


def left_by_a_link(page: Page) -> None:
    page.locator("#places a", has_text="Inbox").evaluate("each => each.click()")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()


def left_by_closing(page: Page) -> None:
    page.close(run_before_unload=True)


def left_by_going_back(page: Page) -> None:
    page.evaluate("history.back()")
    expect(page.get_by_role("heading", name="Sent", exact=True)).to_be_visible()


def typed_at_once(page: Page, subject: str) -> None:
    """Less than 100 ms before whatever comes next."""
    page.evaluate(
        """(subject) => {
          for (const [id, said] of [["subject", subject], ["text", "Typed in a hurry"]]) {
            const field = document.getElementById(id);
            field.value = said;
            field.dispatchEvent(new Event("input", { bubbles: true }));
          }
        }""",
        subject,
    )


@pytest.mark.parametrize("leave", [left_by_a_link, left_by_closing, left_by_going_back])
def test_what_was_typed_just_before_its_page_was_left_stands_in_drafts(
    open_window: Open, leave: Callable[[Page], None]
) -> None:
    subject = f"In a hurry, {leave.__name__}"
    page = open_window("carol")
    later = page.context.new_page()
    page.goto("/mail")
    page.locator("#places a", has_text="Sent").click()
    page.goto("/write")
    typed_at_once(page, subject)
    leave(page)
    later.goto("/write")
    expect(later.locator("#saved")).to_be_empty()
    later.locator("#places a", has_text="Drafts").click()
    lines = later.locator("#list .line").filter(has_text=subject)
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("Typed in a hurry")
    later.goto("/write")
    later.wait_for_load_state("networkidle")
    expect(later.locator("#rescue")).to_be_hidden()


def test_what_never_reached_the_server_from_a_page_that_was_left_is_offered_by_the_next(
    open_window: Open, watch: Watch
) -> None:
    watch.expect("ERR_INTERNET_DISCONNECTED")
    page = open_window("carol")
    later = page.context.new_page()
    page.goto("/write")
    page.context.set_offline(True)
    typed_at_once(page, "On the train")
    left_by_closing(page)
    later.wait_for_timeout(500)
    page.context.set_offline(False)
    later.goto("/write")
    expect(later.locator("#rescue")).to_contain_text("On the train")
    later.get_by_role("button", name="Take it up").click()
    expect(later.get_by_label("Text", exact=True)).to_have_value("Typed in a hurry")


def test_a_page_that_is_left_while_its_words_are_on_their_way_makes_one_draft_of_the_newest(
    open_window: Open,
) -> None:
    page = open_window("carol")
    later = page.context.new_page()
    page.goto("/write")
    page.route("**/write/0", lambda route: (later.wait_for_timeout(300), route.continue_())[1],
               times=1)  # fmt: skip
    page.get_by_label("Subject").fill("Half of it")
    with page.expect_request("**/write/0"):
        page.get_by_role("button", name="Save draft").click()
    typed_at_once(page, "All of the slow one")
    left_by_a_link(page)
    later.goto("/mail")
    later.locator("#places a", has_text="Drafts").click()
    lines = later.locator("#list .line")
    expect(lines.filter(has_text="All of the slow one")).to_have_count(1)
    expect(lines.filter(has_text="Half of it")).to_have_count(0)


@pytest.mark.parametrize("scripts", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_all_that_a_mail_needs_is_in_sight_before_anybody_scrolls(
    open_window: Open, device: Device, scripts: bool
) -> None:
    page = open_window("alice", device, java_script_enabled=scripts)
    page.goto("/write")
    needed = [page.get_by_label("To", exact=True), page.get_by_label("Subject"),
              page.get_by_label("Text", exact=True)]  # fmt: skip
    if scripts:
        needed += [page.get_by_label("Formatted")]
    bar = page.locator(".send-bar")
    top = (bar.bounding_box() or {"y": 0})["y"]
    for each in needed:
        box = each.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < box["y"] + box["height"] <= top, each
    assert (needed[2].bounding_box() or {"height": 0})["height"] > 180
    attach = bar.get_by_role("button", name="Attach files")
    for each in (attach if scripts else bar.locator("#attach"), bar.get_by_text("Send")):
        expect(each).to_be_in_viewport(ratio=1)
    if scripts:
        with page.expect_file_chooser() as chosen:
            attach.press("Space")
        chosen.value.set_files([COST])
        expect(
            page.locator("#file-list").get_by_role("link", name=COST["name"])
        ).to_be_in_viewport()
    else:
        page.get_by_label("Attach files").set_input_files([COST])
        page.get_by_label("Subject").fill("Without a script")
        page.get_by_role("button", name="Save draft").click()
        expect(page.get_by_role("link", name=COST["name"])).to_be_visible()
