"""How every page looks: nothing shuts anybody out, nothing sticks out, on any width, light or dark.

With SCREENSHOTS=yes, which `make screenshots` says, the main ones are kept in docs/images.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import admin_scenes, pictures, scenes
from tests.browser.admin_scenes import ADMIN_SCENES, CAPTURED, HELD
from tests.browser.conftest import Visitors, demo_folder
from tests.browser.looks import assert_accessible, assert_fits, assert_keyboard_reaches_all
from tests.browser.mails import NOW, bring_in, mail, of_bob, of_customers, of_dave
from tests.browser.scenes import SCENES, Scene
from tests.browser.visitor import (
    DESKTOP,
    PHONE,
    ZOOMED,
    ZOOMED_FAR,
    Device,
    address_of,
    password_of,
)
from tests.browser.watch import Watch
from tests.documents import DOCS
from tests.live.node import Node, command

ALL = (*SCENES, *ADMIN_SCENES)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# What answers a GET and is no page: files, streams, JSON, a picture in a mail's frame, and what is
# printed, where no script may run, not even one that judges.
NO_PAGES = re.compile(
    r"/(livez|readyz|metrics|static/.*|manifest.webmanifest|favicon.ico|events|places"
    r"|admin/figures|write/.+|api/v1/.+|mail/.*/(cid/<path>|eml|print|part/<path>)"
    r"|admin/captured/.*/(cid/<path>|eml|print|part/<path>))"
)
# Playwright's own clock reaches into a mail's frame, too, where no script may run.
_CLOCK = f"""{{
  const Real = Date, then = {int(NOW.timestamp() * 1000)};
  globalThis.Date = class extends Real {{
    constructor(...said) {{ if (said.length) super(...said); else super(then); }}
    static now() {{ return then; }}
  }};
}}"""


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose mail is the same every time, and that no other test changes."""
    folder = demo_folder(tmp_path_factory.mktemp("looked-at") / "node")
    bring_in(folder, "bob", of_bob())
    bring_in(folder, "dave", of_dave())
    command(folder, "alias", "add", "sales@example.test", "alice@example.test")
    command(folder, "route", "add", HELD, "hold")
    command(folder, "gear", "set", "allow-list", "--allow", HELD)
    with Node(folder, options=("--smtp", "0", "--pop3", "0", "--http", "0")) as node:
        with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=60) as client:
            client.login(address_of("alice"), password_of("alice"))
            for domain in (HELD, CAPTURED):
                to = f"zoe@{domain}"
                client.send_message(mail(30, "alice@example.test", "The boat", "Soon.\n", to=to))
            for order in of_customers(CAPTURED):
                client.send_message(order, to_addrs=[order["To"], f"archive@{CAPTURED}"])
        yield node


@pytest.fixture(scope="module")
def kept_here() -> dict[str, Any]:
    return {}


@pytest.fixture
def onlookers(browser: Browser, looked_at: Node, kept_here: dict[str, Any]) -> Iterator[Visitors]:
    watch = Watch(f"http://localhost:{looked_at.port('http')}")
    made = Visitors(browser, looked_at, watch.origin, kept_here, watch)
    yield made
    made.close()
    watch.assert_quiet()


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=lambda device: device.name)
@pytest.mark.parametrize("scene", ALL, ids=lambda scene: scene.name)
def test_a_page_shuts_nobody_out_and_nothing_sticks_out(
    onlookers: Visitors, scene: Scene, device: Device
) -> None:
    onlookers.watch.expect(*scene.expects)
    page = onlookers.open(scene.who, device)
    page.add_init_script(_CLOCK)
    scene.show(page)
    assert_fits(page)
    for scheme in SCHEMES[:1] if scene.long else SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert_accessible(page)
        if scene.picture:
            how = "" if (device, scheme) == (DESKTOP, "light") else f"-{device.name}-{scheme}"
            pictures.take(page, f"{scene.name}{how}", lively=scene.lively)
    if device is DESKTOP:
        if not scene.long:
            assert_keyboard_reaches_all(page)
        for zoomed in (ZOOMED, ZOOMED_FAR):
            page.set_viewport_size({"width": zoomed.width, "height": zoomed.height})
            assert_fits(page)


_TOLD = """() => [...document.querySelectorAll("main time")].map(
  (each) => [each.dateTime, each.textContent, each.title, each.getBoundingClientRect().height])"""
BY_SCRIPT = ("reading", "story", "sent")  # the way there needs it
ZONED = ("list", "settings", "domains", "journal", "row")


@pytest.mark.parametrize(
    ("name", "scripts"),
    [*((name, True) for name in (*ZONED, *BY_SCRIPT)), *((name, False) for name in ZONED)],
)
def test_times_are_those_of_the_browser_s_zone_and_without_a_script_utc(
    onlookers: Visitors, monkeypatch: pytest.MonkeyPatch, name: str, scripts: bool
) -> None:
    (scene,) = [each for each in ALL if each.name == name]
    for module in (scenes, admin_scenes):
        monkeypatch.setattr(module, "same_times", lambda _page: None)
    page = onlookers.open(
        scene.who, PHONE, timezone_id="Asia/Kathmandu", java_script_enabled=scripts
    )
    scene.show(page)
    told = page.evaluate(_TOLD)
    assert told
    for stamp, words, title, height in told:
        utc = datetime.fromisoformat(stamp)
        assert f"{utc:%Y-%m-%d %H:%M} UTC" in title
        assert height < 30, f"{words} has more than one line"
        if not scripts:
            assert words == title
            continue
        here = utc.astimezone(ZoneInfo("Asia/Kathmandu"))
        assert "UTC" not in words
        if ":" in words:
            assert f"{here:%H:%M}" in words


def test_the_journal_is_narrowed_by_times_of_the_browser_s_zone(onlookers: Visitors) -> None:
    page = onlookers.open("alice", timezone_id="Asia/Kathmandu")
    page.goto("/admin/journal?since=2026-03-06T08:15")
    since = page.get_by_label("Since", exact=True)
    expect(since).to_have_value("2026-03-06T14:00")
    since.fill("2026-03-06T14:30")
    page.get_by_role("button", name="Find").click()
    page.wait_for_url(re.compile(r"since=2026-03-06T08%3A45"))
    expect(since).to_have_value("2026-03-06T14:30")


def test_a_mail_begins_high_on_a_phone_and_the_rest_of_its_head_unfolds(
    onlookers: Visitors,
) -> None:
    page = onlookers.open("bob", PHONE)
    # One as most are, one with a caution, one with pictures that are held back, too.
    for name, place, most in (("text", ".letter-text", 0.4), ("findings", ".letter-text", 0.55),
                              ("reading", "iframe.letter", 0.65)):  # fmt: skip
        (scene,) = [each for each in ALL if each.name == name]
        scene.show(page)
        box = page.locator(place).bounding_box()
        assert box is not None
        assert box["y"] < PHONE.height * most, name
        tabs = page.get_by_role("navigation", name="This mail").get_by_role("link")
        for each in tabs.all():
            expect(each).to_be_in_viewport(ratio=1)
    to = page.locator("dl.fields dt", has_text=re.compile("^To$"))
    for label, folded in (("Details", to), ("More", page.get_by_role("link", name="Forward"))):
        expect(folded).to_be_hidden()
        page.locator("label", has_text=re.compile(f"^{label}$")).click()
        expect(folded).to_be_visible()


def test_what_is_printed_says_whose_mail_it_is(onlookers: Visitors) -> None:
    page = onlookers.open("bob")
    page.goto("/mail")
    line = page.locator("#list .line").filter(has_text="Your order 4711").locator("a")
    page.goto(f"{line.first.get_attribute('href')}/print")
    for words in ("Your order 4711", "orders@shop.example", "Thank you", "A boat, red"):
        expect(page.locator("body")).to_contain_text(words)


def test_every_page_is_looked_at() -> None:
    rows = re.findall(r"^``(/\S*)`` +GET", (DOCS / "web.rst").read_text("utf-8"), re.M)
    pages = {path for path in rows if not NO_PAGES.fullmatch(path)}
    assert len(pages) > 20
    assert pages - {path for scene in ALL for path in scene.covers} == set()


def test_the_pictures_of_the_documentation_are_there_and_small() -> None:
    for scene in ALL:
        if scene.picture:
            for how in ("", "-desktop-dark", "-phone-light", "-phone-dark"):
                octets = (pictures.IMAGES / f"{scene.name}{how}.png").stat().st_size
                assert 2000 < octets < 100_000, (scene.name, how, octets)
