"""Fixtures of the browser tests: one node, one browser, a context of its own for each visitor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from mailnode.store.accounts import Accounts
from tests.browser.visitor import DESKTOP, SETTLE_MS, Device, sign_in
from tests.browser.watch import Watch
from tests.live.node import PASSWORD, Node, command

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
]
OTHERS = ("carol", "dave")
WITH_FACTOR = "frida"  # a code is sent to her other address, where nobody reads it
LATER = "later.test"  # mail for it may leave, and nobody takes it


def demo_folder(folder: Path) -> Path:
    """A node's folder with the demo accounts, alice's and bob's, and with others."""
    folder.mkdir()
    shutil.copy2(ROOT / "users.db", folder / "users.db")
    for name in (*OTHERS, WITH_FACTOR):
        command(folder, "user", "add", f"{name}@example.test", stdin=f"{PASSWORD}\n")
    with closing(Accounts.open(folder / "users.db", data=folder / "var")) as accounts:
        account = accounts.account(f"{WITH_FACTOR}@example.test")
        accounts.factors.add(account.id, "mail", "Mail", f"frida@{LATER}")
    command(folder, "route", "add", LATER, "smtp://127.0.0.1:1")
    command(folder, "gear", "set", "allow-list", "--allow", LATER)
    return folder


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the demo accounts, and with others; it ends without complaint."""
    folder = demo_folder(tmp_path_factory.mktemp("browser") / "node")
    node = Node(folder, options=("--smtp", "0", "--pop3", "0", "--http", "0")).start()
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, with no way beyond this machine."""
    if not CHROMIUM.exists():
        why = "chromium is not installed; as root, tests/browser/install-browser installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    expect.set_options(timeout=SETTLE_MS)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *sandbox])
        yield browser
        browser.close()


@define(eq=False)
class Visitors:
    """Opens windows of people; whatever their pages do is watched.

    Attributes:
        origin: of the node.
        kept: cookies of who signed in already, for all tests that leave them signed in.
    """

    browser: Browser
    node: Node
    origin: str
    kept: dict[str, Any]
    watch: Watch
    contexts: list[BrowserContext] = field(factory=list)

    def open(
        self, who: str = "", device: Device = DESKTOP, scheme: str = "light", **options: Any
    ) -> Page:
        """An empty window of somebody who is signed in, or of nobody."""
        if who and who not in self.kept:
            page = self.open(device=DESKTOP)
            sign_in(page, who)
            self.kept[who] = page.context.storage_state()
        made = device.options(scheme) | {"storage_state": self.kept[who] if who else None} | options
        context = self.browser.new_context(base_url=self.origin, **made)
        context.set_default_timeout(SETTLE_MS)
        self.contexts.append(context)
        self.watch.follow(context)
        return context.new_page()

    def deliver(self, to: str, subject: str) -> None:
        """A mail from elsewhere."""
        head = f"From: sender@elsewhere.example\r\nTo: {to}@example.test\r\nSubject: {subject}\r\n"
        self.node.send(f"{head}\r\nHello.\r\n".encode(), to)

    def close(self) -> None:
        while self.contexts:
            self.contexts.pop().close()


@pytest.fixture(scope="session")
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
def watch(node: Node) -> Watch:
    return Watch(f"http://localhost:{node.port('http')}")


@pytest.fixture
def visitors(
    browser: Browser, node: Node, watch: Watch, kept: dict[str, Any]
) -> Iterator[Visitors]:
    """Windows; a test fails for whatever a page of them did that none may."""
    made = Visitors(browser, node, watch.origin, kept, watch)
    yield made
    made.close()
    watch.assert_quiet()


Open = Callable[..., Page]


@pytest.fixture
def open_window(visitors: Visitors) -> Open:
    return visitors.open
