"""Every page that a user has, and the way to it."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.visitor import address_of, fill_sign_in, password_of
from tests.live.node import PASSWORD

_TIMES = """() => document.querySelectorAll("main time").forEach(
  (each) => { each.textContent = "6 Mar 2026, 14:12"; })"""


@frozen
class Scene:
    """A page as it is looked at.

    Attributes:
        who: before it; "" for nobody.
        show: leads there.
        covers: the paths of docs/web.rst that it shows.
        picture: it is one of the documentation's.
        expects: what the console says of it.
        long: it repeats itself, so a part of it is judged.
        lively: it shows what happens just now.
    """

    name: str
    who: str
    show: Callable[[Page], None]
    covers: tuple[str, ...]
    picture: bool = False
    expects: tuple[str, ...] = ()
    long: bool = False
    lively: bool = False


def same_times(page: Page) -> None:
    """Whatever happened just now happened then, so that a picture is as before."""
    page.evaluate(_TIMES)


def path_to(path: str, words: str) -> Callable[[Page], None]:
    def show(page: Page) -> None:
        page.goto(path)
        expect(page.locator("main")).to_contain_text(words)

    return show


def _heading(page: Page, words: str) -> None:
    expect(page.get_by_role("heading", name=words, exact=True)).to_be_visible()


def _sign_in(page: Page) -> None:
    page.goto("/sign-in")
    _heading(page, "Sign in")


def _refused(page: Page) -> None:
    _sign_in(page)
    fill_sign_in(page, "bob", "not this one")
    expect(page.get_by_role("alert")).to_be_visible()


def _list(page: Page) -> None:
    page.goto("/mail")
    expect(page.locator("#list .line").first).to_be_visible()


def _chosen(page: Page) -> None:
    _list(page)
    page.get_by_role("checkbox", name=re.compile("Choose “The kitchen”")).check()
    page.get_by_role("checkbox", name=re.compile("Choose “Lunch")).check()


def _empty(page: Page) -> None:
    page.goto("/mail")
    expect(page.get_by_text("No mail yet")).to_be_visible()


def _open(page: Page, subject: str, tab: str = "") -> None:
    _list(page)
    line = page.locator("#list .line").filter(has_text=subject).locator("a")
    page.goto(f"{line.first.get_attribute('href')}{tab}")


def _mail(page: Page) -> None:
    _open(page, "Your order 4711")
    expect(page.frame_locator("iframe").get_by_role("heading", name="Your order")).to_be_visible()
    expect(page.get_by_text("Careful")).to_be_visible()


def _mail_of_text(page: Page) -> None:
    _open(page, "Re: The kitchen")
    expect(page.get_by_text("Friday is fine.")).to_be_visible()


def _findings(page: Page) -> None:
    _open(page, "Fwd: What they wrote")
    page.locator("details.findings summary").click()


def _within(page: Page) -> None:
    _open(page, "Fwd: What they wrote")
    page.get_by_role("link", name=re.compile("^Open")).click()
    expect(page.get_by_text("nobody here has seen who sent it")).to_be_visible()


def _tab(name: str) -> Callable[[Page], None]:
    return lambda page: _open(page, "Your order 4711", f"/{name}")


def _gone(page: Page) -> None:
    _list(page)
    page.goto(f"{page.url.rstrip('/')}/4711")
    expect(page.locator("main")).to_contain_text("moved or deleted")


def _sure(page: Page) -> None:
    page.goto("/mail")
    if page.locator("#list .line").count():  # once, for all windows that it is looked at in
        page.locator("#list .line input").first.check()
        page.get_by_role("button", name=re.compile("^(Delete|Move to Trash)$")).click()
        expect(page.locator("#list .line")).to_have_count(0)
    page.goto(page.locator("#places a", has_text="Trash").get_attribute("href") or "")
    page.locator("#list .line input").first.check()
    page.get_by_role("button", name="Delete for good").click()
    _heading(page, "Delete for good?")


def _folder(page: Page) -> None:
    page.goto("/mail")
    if not page.locator("#places a", has_text="The boat").count():
        page.locator(".new-folder").evaluate("each => { each.open = true; }")
        name = page.locator(".new-folder input[name=name]")
        name.evaluate("each => { each.value = 'The boat'; each.form.requestSubmit(); }")
        expect(page.locator("#places a", has_text="The boat")).to_have_count(1)
    own = page.locator("#places a", has_text="The boat").get_attribute("href") or ""
    page.goto(own.replace("/mail/", "/folders/"))
    _heading(page, "The boat")


def _search(page: Page) -> None:
    page.goto("/search?q=kitchen")
    expect(page.locator(".line").first).to_be_visible()


def _search_in_vain(page: Page) -> None:
    page.goto("/search?q=larger%3Afoo")
    expect(page.get_by_role("alert")).to_be_visible()


def _write(page: Page) -> None:
    page.goto("/write?to=alice%40example.test&subject=The+boat")
    page.get_by_label("Text", exact=True).fill(
        "Hello Alice,\n\nit comes on Monday. The drawings are with it.\n\nBob"
    )
    for name, lines in (("hull.pdf", 26_000), ("sail.pdf", 3_400)):
        file: FilePayload = {
            "name": name, "mimeType": "application/pdf", "buffer": b"%PDF-1.4\n" * lines
        }  # fmt: skip
        page.get_by_label("Attach files").set_input_files(file)
        expect(page.locator("#file-list").get_by_role("link", name=name)).to_be_visible()
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def _write_formatted(page: Page) -> None:
    page.goto("/write")
    page.get_by_label("Formatted").check()
    page.get_by_label("To", exact=True).fill("nobody@example.test, sina")
    page.get_by_label("To", exact=True).press("Tab")
    expect(page.locator("#fault-to")).to_contain_text("no @")


def _sent(page: Page) -> None:
    page.goto("/write")
    page.get_by_label("To", exact=True).fill(address_of("dave"))
    page.get_by_label("Subject").fill("Sent to be looked at")
    page.get_by_role("button", name="Send", exact=True).first.click()
    _heading(page, "Sent")


def _settings(page: Page) -> None:
    page.goto("/settings")
    same_times(page)


def _token(page: Page) -> None:
    page.goto("/settings")
    page.get_by_label("Name", exact=True).fill("backup script")
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator("code.secret")).to_be_visible()


def _app_password(page: Page) -> None:
    page.goto("/settings")
    page.get_by_label("Program", exact=True).fill("phone")
    page.get_by_role("button", name="Make an app password").click()
    expect(page.locator("code.secret")).to_be_visible()


def _code(page: Page) -> None:
    page.goto("/sign-in")
    fill_sign_in(page, "frida", PASSWORD)
    _heading(page, "One more step")


def _factor_begun(page: Page) -> None:
    page.goto("/settings/second-factor")
    page.locator("summary", has_text="Authenticator app").click()
    form = page.locator("details[open]")
    form.get_by_label("Your password").fill(password_of("bob"))
    form.get_by_role("button", name="Set up").click()
    expect(page.locator("svg.qr")).to_be_visible()


_MAIL = "/mail/<int:folder_id>/<int:uid>"
_LIST = "/mail/<int:folder_id>"
_404 = ("status of 404",)

SCENES = (
    Scene("sign-in", "", _sign_in, ("/sign-in",), picture=True),
    Scene("refused", "", _refused, ("/sign-in",), expects=("status of 401",)),
    Scene("list", "bob", _list, ("/", "/mail", _LIST), picture=True),
    Scene("chosen", "bob", _chosen, (_LIST,)),
    Scene("empty", "carol", _empty, (_LIST,)),
    Scene("reading", "bob", _mail, (_MAIL, f"{_MAIL}/html"), picture=True),
    Scene("text", "bob", _mail_of_text, (_MAIL,)),
    Scene("findings", "bob", _findings, (_MAIL,)),
    Scene("within", "bob", _within, (_MAIL,)),
    Scene("headers", "bob", _tab("headers"), (f"{_MAIL}/headers",)),
    Scene("source", "bob", _tab("raw"), (f"{_MAIL}/raw",)),
    Scene("story", "bob", _tab("story"), (f"{_MAIL}/story",)),
    Scene("thread", "bob", _tab("thread"), (f"{_MAIL}/thread",)),
    Scene("gone", "bob", _gone, (_MAIL,), expects=_404),
    Scene("sure", "dave", _sure, (_LIST,)),
    Scene("folder", "dave", _folder, ("/folders/<int:folder_id>",)),
    Scene("search", "bob", _search, ("/search",), picture=True),
    Scene("search-in-vain", "bob", _search_in_vain, ("/search",), expects=("status of 400",)),
    Scene("writing", "bob", _write, ("/write",), picture=True),
    Scene("formatted", "bob", _write_formatted, ("/write",)),
    Scene("sent", "carol", _sent, ("/sent/<mail_id>",)),
    Scene("settings", "bob", _settings, ("/settings",), picture=True),
    Scene("token", "dave", _token, ("/settings",)),
    Scene("app-password", "dave", _app_password, ("/settings",)),
    Scene("code", "", _code, ("/sign-in/code",)),
    Scene(
        "factor",
        "bob",
        path_to("/settings/second-factor", "your password alone"),
        ("/settings/second-factor",),
    ),
    Scene(
        "factor-begun",
        "bob",
        _factor_begun,
        ("/settings/second-factor",),
        picture=True,
        lively=True,
    ),
    Scene("api", "bob", path_to("/api/v1", "The API"), ("/api/v1",), long=True),
    Scene("missing", "bob", path_to("/nowhere", "There is nothing here"), (), expects=_404),
)
