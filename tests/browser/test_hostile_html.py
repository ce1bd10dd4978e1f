"""The corpus of hostile HTML in a browser: cleaned, none of it runs, loads or leads away.

Each vector is looked at three times: in a sandboxed frame under the policy that a mail's document
is served with; with pictures from outside allowed; and naked, with no sandbox and no policy, where
a script that is left in it would run. The last of these is tried with the vectors as they came,
too: it finds them.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from attrs import define, field, frozen
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, Route

from mailnode.reading.frame import SANDBOX, frame_of
from mailnode.reading.html import Cleaned, clean_html

CORPUS = Path(__file__).parents[1] / "vectors" / "xss.toml"
VECTORS = [
    each for kind in tomllib.loads(CORPUS.read_text("utf-8")).values() for each in kind["vectors"]
]
# Localhost is where Chromium allows what it allows on https, service workers included.
ORIGIN = "http://mails.localhost"
PICTURE = bytes.fromhex(
    "47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b"
)
AT_ONCE = 40

# Whatever a payload calls is told; so is every event that a person or the page may cause.
_TRAPS = """
for (const name of ["alert", "confirm", "prompt", "print", "open"]) {
  window[name] = (...said) => ran(`${name}(${said}) in ${location.href}`);
}
"""
_PROVOKE = """
() => {
  const kinds = "click dblclick mouseover mouseenter mousemove mousedown mouseup pointerenter"
    + " pointerover pointerdown touchstart focus focusin blur keydown keyup keypress input change"
    + " submit reset toggle wheel scroll load error begin end repeat animationstart animationend"
    + " transitionend copy cut paste drag dragstart drop beforetoggle resize hashchange pageshow"
    + " message popstate contextmenu select";
  const left = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const view = frame.contentWindow, page = frame.contentDocument;
    const note = (what) => left.push(`${new URL(frame.src).pathname} has ${what}`);
    if (!page) { note("a document from elsewhere"); continue; }
    for (const each of page.querySelectorAll("*")) {
      for (const kind of kinds.split(" ")) {
        each.dispatchEvent(new view.Event(kind, { bubbles: true }));
      }
      if (each.tagName === "DETAILS") each.open = !each.open;
      const link = each.getAttribute("href") || each.getAttribute("xlink:href");
      if (link !== null) {
        const fit = URL.canParse(link, page.baseURI);
        const to = fit ? new URL(link, page.baseURI).protocol : "https:";
        if (!["http:", "https:", "mailto:"].includes(to)) note(`a link to ${link}`);
      }
      if (/^(script|iframe|frame|object|embed|form|base|link|applet|portal)$/i.test(each.tagName)) {
        note(`an element ${each.tagName}`);
      }
      for (const { name } of each.attributes) if (/^on/i.test(name)) note(`an attribute ${name}`);
    }
  }
  return left;
}
"""


@frozen
class Served:
    """A document, and what it is served with."""

    document: str
    policy: str = ""


@define(eq=False, slots=False)  # Playwright keeps what it calls beside it
class Trial:
    """A page of frames, and what their documents did.

    Attributes:
        served: by its path.
        did: what none may do: run, load from elsewhere, lead away, open a window.
        loaded: what was loaded from outside.
    """

    context: BrowserContext
    served: dict[str, Served] = field(factory=dict)
    did: list[str] = field(factory=list)
    loaded: list[Request] = field(factory=list)
    pages: list[Page] = field(factory=list)

    def begin(self) -> Trial:
        self.context.expose_binding("ran", lambda _source, said: self.did.append(f"ran {said}"))
        self.context.add_init_script(_TRAPS)
        self.context.route("**/*", self._serve)
        self.context.on("dialog", self._close)
        self.context.on("page", self._opened)
        return self

    def _opened(self, page: Page) -> None:
        self.pages.append(page)

    def _close(self, dialog: Dialog) -> None:
        self.did.append(f"a dialog {dialog.message}")
        dialog.dismiss()

    def _serve(self, route: Route) -> None:
        parts = urlsplit(route.request.url)
        known = self.served.get(parts.path)
        if f"{parts.scheme}://{parts.netloc}" != ORIGIN:
            self.loaded.append(route.request)
            route.abort()
        elif known is not None and route.request.resource_type == "document":
            headers = {"Content-Type": "text/html; charset=utf-8"}
            if known.policy:
                headers["Content-Security-Policy"] = known.policy
            route.fulfill(body=known.document, headers=headers)
        elif parts.path.startswith("/cid/"):
            route.fulfill(body=PICTURE, content_type="image/gif")
        else:
            self.loaded.append(route.request)
            route.abort()

    def show(self, documents: Sequence[Served], sandbox: str | None) -> Page:
        """All of them, a frame each, once each has come to rest."""
        attribute = "" if sandbox is None else f' sandbox="{sandbox}"'
        frames = "".join(
            f'<iframe src="/{at}"{attribute}></iframe>' for at in range(len(documents))
        )
        self.served = {f"/{at}": each for at, each in enumerate(documents)}
        self.served["/"] = Served(f"<!doctype html><title>All</title>{frames}")
        page = self.context.new_page()
        self.pages.clear()
        page.on("console", lambda told: self._note_blocked(told.text))
        page.goto(f"{ORIGIN}/", wait_until="load")
        return page

    def _note_blocked(self, told: str) -> None:
        """A wall in front of a script: the wall behind it holds, but the script is there."""
        if "Blocked script" in told or "script-src" in told or "inline event handler" in told:
            self.did.append(f"tried: {told}")

    def assert_harmless(self, page: Page, vectors: Sequence[str]) -> None:
        for at, frame in enumerate(page.main_frame.child_frames):
            if frame.url != f"{ORIGIN}/{at}":
                self.did.append(f"went to {frame.url}: {vectors[at]!r}")
            if frame.child_frames:
                self.did.append(f"has a frame: {vectors[at]!r}")
        if page.url != f"{ORIGIN}/":
            self.did.append(f"all went to {page.url}")
        self.did += [f"a window {each.url}" for each in self.pages]
        assert not self.did, "\n".join(self.did)

    def assert_nothing_loaded(self) -> None:
        assert not self.loaded, [(each.resource_type, each.url) for each in self.loaded]


@pytest.fixture
def trial(browser: Browser) -> Iterator[Trial]:
    with browser.new_context() as context:
        yield Trial(context).begin()


def clean(vector: str, *, show_remote: bool = False) -> Cleaned:
    return clean_html(vector, show_remote=show_remote, cid_url=lambda cid: f"/cid/{len(cid)}")


def framed(vector: str, *, show_remote: bool = False) -> Served:
    frame = frame_of(clean(vector, show_remote=show_remote), show_remote=show_remote)
    return Served(frame.document, frame.policy)


def batches() -> list[list[str]]:
    return [VECTORS[at : at + AT_ONCE] for at in range(0, len(VECTORS), AT_ONCE)]


def test_the_corpus_is_of_two_hundred_or_more() -> None:
    assert len(set(VECTORS)) >= 200


def test_in_its_frame_nothing_of_the_corpus_runs_loads_or_leads_away(trial: Trial) -> None:
    for batch in batches():
        page = trial.show([framed(each) for each in batch], SANDBOX)
        trial.assert_harmless(page, batch)
        page.close()
    trial.assert_nothing_loaded()


def test_without_frame_and_policy_nothing_of_the_corpus_runs_whatever_is_done_to_it(
    trial: Trial,
) -> None:
    for batch in batches():
        page = trial.show([Served(framed(each).document) for each in batch], None)
        assert not page.evaluate(_PROVOKE)
        page.wait_for_timeout(50)  # what was begun by an event may come behind it
        trial.assert_harmless(page, batch)
        page.close()
    trial.assert_nothing_loaded()


def test_pictures_that_are_asked_for_come_by_https_and_nothing_else_does(trial: Trial) -> None:
    for batch in batches():
        page = trial.show([framed(each, show_remote=True) for each in batch], SANDBOX)
        trial.assert_harmless(page, batch)
        page.close()
    kinds = {(each.resource_type, urlsplit(each.url).scheme) for each in trial.loaded}
    assert kinds == {("image", "https")}, [each.url for each in trial.loaded]


def test_all_of_the_corpus_in_one_mail_is_harmless(trial: Trial) -> None:
    together = "<hr>".join(VECTORS)
    for each in (together, html.unescape(together), "".join(reversed(VECTORS))):
        page = trial.show([Served(framed(each).document)], None)
        assert not page.evaluate(_PROVOKE)
        trial.assert_harmless(page, [each])
        page.close()
    trial.assert_nothing_loaded()


def test_what_is_not_cleaned_is_found_out(trial: Trial) -> None:
    """The traps would be worth nothing if they let the corpus pass as it came."""
    for batch in batches()[:2]:
        bare = [Served(f"<!doctype html><title>x</title>{each}") for each in batch]
        page = trial.show(bare, None)
        left = page.evaluate(_PROVOKE)
        page.wait_for_timeout(50)
        told = "\n".join([*trial.did, *left])
        found = {at for at in range(len(batch)) if re.search(rf"/{at}\b", told)}
        assert len(found) > AT_ONCE * 3 // 4, (len(found), told)
        ran = {at for at in range(len(batch)) if re.search(rf"^ran .*/{at}$", told, re.M)}
        assert len(ran) > AT_ONCE // 4, (len(ran), told)
        assert trial.loaded
        trial.did.clear()
        trial.loaded.clear()
        page.close()
