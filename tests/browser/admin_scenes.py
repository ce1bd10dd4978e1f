"""Every page for administrators, of whom alice is one, and the way to it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.scenes import Scene, path_to, same_times

# Where mail waits for an administrator, and where it is captured.
HELD, CAPTURED = "held.example", "elsewhere.example"


def _dashboard(page: Page) -> None:
    page.goto("/admin")
    expect(page.get_by_role("navigation", name="Administration")).to_be_visible()
    expect(page.locator("main svg").first).to_be_attached()


def _first(path: str) -> Callable[[Page], None]:
    """The page of the first of a list."""

    def show(page: Page) -> None:
        page.goto(path)
        leads = page.locator(f'main a[href^="{path}/"]').first.get_attribute("href")
        page.goto(leads or "")

    return show


def _journal(page: Page) -> None:
    page.goto(f"/admin/journal?recipient=zoe@{HELD}")
    expect(page.locator('main a[href^="/admin/journal/"]').first).to_be_visible()


def _life(page: Page) -> None:
    _journal(page)
    leads = page.locator('main a[href^="/admin/journal/"]').first.get_attribute("href")
    page.goto(leads or "")


def _queue(page: Page) -> None:
    page.goto("/admin/queue")
    expect(page.locator("main table").last).to_contain_text(HELD)
    same_times(page)


def _sure(page: Page) -> None:
    _queue(page)
    page.locator('main table input[type="checkbox"]').first.check()
    page.get_by_role("button", name="Drop").first.click()
    expect(page.locator("main form")).to_be_visible()


def _mistaken(page: Page) -> None:
    page.goto("/admin/accounts")
    address = page.locator('input[name="address"]').first
    address.fill("erin@nowhere.example")
    address.press("Enter")
    expect(page.locator('[aria-invalid="true"], .failed').first).to_be_visible()


def _account(page: Page) -> None:
    page.goto("/admin/accounts")
    page.locator("main a", has_text="carol@").click()
    expect(page.locator("main")).to_contain_text("carol@")


def _banned(page: Page) -> None:
    """Somebody is kept out, which a page of each width and each light may do again."""
    page.goto("/admin/bans")
    page.get_by_label("Address or network").fill("198.51.100.0/24")
    page.locator("select[name=for]").select_option("a day")
    page.get_by_label("Reason").fill("guessed for a week")
    page.get_by_role("button", name="Ban it").click()
    expect(page.locator("#flash")).to_contain_text("Nobody signs in from 198.51.100.0/24 any more")
    expect(page.get_by_role("button", name="Lift it for 198.51.100.0/24")).to_be_visible()


def _captured(page: Page) -> None:
    page.goto("/admin/captured")
    expect(page.locator("#list .line")).to_have_count(7)
    page.evaluate("document.querySelectorAll('time').forEach((each) => each.textContent = '14:12')")


def _captured_mail(page: Page) -> None:
    page.goto("/admin/captured")
    page.locator("#list .line a", has_text=f"dave@{CAPTURED}").click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="Your order")).to_be_visible()
    expect(page.locator("main")).to_contain_text("Bcc: neither To nor Cc names it")
    same_times(page)


def _captured_tab(name: str) -> Callable[[Page], None]:
    def show(page: Page) -> None:
        _captured_mail(page)
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("region", name=name)).to_be_visible()

    return show


def _sure_of_all(page: Page) -> None:
    page.goto("/admin/captured")
    page.get_by_role("button", name="Delete all").click()
    expect(page.get_by_role("heading", name="Delete all captured mail?")).to_be_visible()


_ONE = "/admin/captured/<int:row_id>"

ADMIN_SCENES = (
    Scene("admin", "alice", _dashboard, ("/admin",), picture=True, lively=True),
    Scene("accounts", "alice", path_to("/admin/accounts", "carol@"), ("/admin/accounts",)),
    Scene("account", "alice", _account, ("/admin/accounts/<int:account_id>",)),
    Scene("mistaken", "alice", _mistaken, (), expects=("status of 4",)),
    Scene("domains", "alice", path_to("/admin/domains", "example.test"), ("/admin/domains",)),
    Scene("aliases", "alice", path_to("/admin/aliases", "sales@"), ("/admin/aliases",)),
    Scene("routes", "alice", path_to("/admin/routes?test=a@b.example", HELD), ("/admin/routes",)),
    Scene("queue", "alice", _queue, ("/admin/queue",), picture=True),
    Scene("row", "alice", _first("/admin/queue"), ("/admin/queue/<int:row_id>",)),
    Scene("sure-to-drop", "alice", _sure, ()),
    Scene("captured", "alice", _captured, ("/admin/captured",), picture=True),
    Scene("captured-none", "alice", path_to("/admin/captured?q=to:nobody", "Nothing fits"), ()),
    Scene("captured-search", "alice", path_to("/admin/captured?q=order", "Your order 4711"), ()),
    Scene(
        "captured-fault",
        "alice",
        path_to("/admin/captured?q=has:file", "to: and subject:"),
        (),
        expects=("status of 400",),
    ),
    Scene("captured-sure", "alice", _sure_of_all, ()),
    Scene("captured-mail", "alice", _captured_mail, (_ONE, f"{_ONE}/html")),
    Scene("captured-headers", "alice", _captured_tab("Headers"), (f"{_ONE}/headers",)),
    Scene("captured-source", "alice", _captured_tab("Source"), (f"{_ONE}/raw",)),
    Scene("journal", "alice", _journal, ("/admin/journal",)),
    Scene("life", "alice", _life, ("/admin/journal/<mail_id>",)),
    Scene("audit", "alice", path_to("/admin/audit", "signed-in"), ("/admin/audit",), long=True),
    Scene("bans", "alice", _banned, ("/admin/bans",), picture=True, lively=True),
    Scene("sessions", "alice", path_to("/admin/sessions", "SMTP"), ("/admin/sessions",)),
    Scene("not-admin", "bob", path_to("/admin", "administrators"), (), expects=("status of 403",)),
)
