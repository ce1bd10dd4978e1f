"""People before a browser: which window they have, and what they do there."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from playwright.sync_api import Page, expect

from tests.live.node import DOMAIN, PASSWORD

PASSWORDS = {"alice": "alice-demo", "bob": "bob-demo"}
SETTLE_MS = 10_000


@frozen
class Device:
    """A window, as Playwright's contexts want it."""

    name: str
    width: int
    height: int
    touch: bool = False
    scale: float = 1.0

    def options(self, scheme: str = "light") -> dict[str, Any]:
        return {
            "viewport": {"width": self.width, "height": self.height},
            "is_mobile": self.touch,
            "has_touch": self.touch,
            "device_scale_factor": self.scale,
            "color_scheme": scheme,
            "locale": "en-GB",
            "timezone_id": "UTC",
            "reduced_motion": "reduce",
        }


DESKTOP = Device("desktop", 1280, 800)
PHONE = Device("phone", 390, 844, touch=True)
# What 1280 by 800 is when its reader zooms to 200 and to 400 %: WCAG wants no sideways scrolling.
ZOOMED = Device("200 %", 640, 400, scale=2.0)
ZOOMED_FAR = Device("400 %", 320, 256, scale=1.0)


def address_of(name: str) -> str:
    return f"{name}@{DOMAIN}"


def password_of(name: str) -> str:
    return PASSWORDS.get(name, PASSWORD)


def fill_sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Address").fill(address_of(name))
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_in(page: Page, name: str, password: str = "") -> None:
    """In, by the form, wherever that leads."""
    page.goto("/sign-in")
    fill_sign_in(page, name, password or password_of(name))
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out", exact=True).first.click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def shown_secret(page: Page) -> str:
    """What the page shows this once, where nobody overlooks it."""
    secret = page.locator("code.secret")
    expect(secret).to_be_visible()
    expect(secret).to_be_in_viewport()
    return secret.inner_text()


def press(page: Page, key: str) -> None:
    """A key of ours, once the scripts of the page that is there can hear it."""
    page.wait_for_load_state()
    page.keyboard.press(key)
