"""Bans in a browser: what somebody wrote of one shuts nothing out of sight."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.looks import assert_fits
from tests.browser.visitor import DESKTOP, PHONE, Device


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
def test_a_long_reason_leaves_the_button_that_lifts_in_sight(
    open_window: Open, device: Device
) -> None:
    page = open_window("alice", device)
    page.goto("/admin/bans")
    page.get_by_label("Address or network").fill("203.0.113.0/24")
    page.get_by_label("Reason").fill("guessed" * 28)
    page.get_by_role("button", name="Ban it").click()
    lift = page.get_by_role("button", name="Lift it for 203.0.113.0/24")
    expect(lift).to_be_in_viewport()
    assert_fits(page)
    box = lift.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= device.width
    lift.click()
    expect(page.locator("#flash")).to_contain_text("From 203.0.113.0/24 one can sign in again.")
    expect(lift).to_have_count(0)
