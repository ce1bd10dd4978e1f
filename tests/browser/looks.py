"""How a page looks, judged without eyes: by axe, and by what is wider than its place."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "iframes": False,  # a mail's own document is not ours, and runs no script
}
_axe = Axe()

# Whatever sticks out of the page, or is cut off by its own box without an ellipsis.
_TOO_WIDE = """
() => {
  const seen = (each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const name = (each) => `${each.tagName.toLowerCase()}${each.id ? "#" + each.id : ""}`
    + `${each.className && each.className.baseVal === undefined ? "." + each.className : ""}`
    + ` "${(each.innerText || "").slice(0, 40)}"`;
  const scrolls = (each) => {
    for (let at = each.parentElement; at; at = at.parentElement) {
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true;
    }
    return false;
  };
  const found = [];
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) {
    found.push(`the page is ${page.scrollWidth} wide in ${page.clientWidth}`);
  }
  for (const each of document.body.querySelectorAll("*")) {
    if (!seen(each) || each.closest(".skip, .hidden, svg")) continue;
    const box = each.getBoundingClientRect();
    if (box.width > 1 && box.right > page.clientWidth + 1 && !scrolls(each)) {
      found.push(`${name(each)} ends at ${Math.round(box.right)} of ${page.clientWidth}`);
    }
    const style = getComputedStyle(each);
    if (style.overflowX === "hidden" && each.clientWidth > 1
        && each.scrollWidth > each.clientWidth + 1 && style.textOverflow !== "ellipsis") {
      found.push(`${name(each)} is cut: ${each.scrollWidth} in ${each.clientWidth}`);
    }
  }
  return found;
}
"""


def assert_accessible(page: Page) -> None:
    """Axe finds nothing against WCAG 2.2 AA, nor against what is good practice."""
    found = _axe.run(page, options=_RULES).response["violations"]
    told = [
        f"{each['id']} ({each['impact']}): {each['help']}\n"
        + "\n".join(
            f"  {node['html'][:200]}\n    {node['failureSummary'][:400]}"
            for node in each["nodes"][:5]
        )
        for each in found
    ]
    assert not told, f"{page.url}\n" + "\n".join(told)


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window, and no text is cut off."""
    found = page.evaluate(_TOO_WIDE)
    assert not found, f"{page.url}\n" + "\n".join(found)


ROUNDS = 3
# What a person could use, in the order of the page; each with a number that the walk reads.
_USABLE = """
() => {
  const seen = (each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const all = [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, iframe,"
    + " [contenteditable=true]"
  )].filter((each) => seen(each) && !each.disabled && each.tabIndex >= 0);
  all.forEach((each, at) => { each.dataset.walked = at; });
  return all.map((each) => each.outerHTML.slice(0, 120));
}
"""
_HERE = """
() => {
  const here = document.activeElement;
  if (!here || here === document.body) return null;
  const style = getComputedStyle(here), box = here.getBoundingClientRect();
  const shown = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1)
    || here.id === "drawer"  // its label shows it
    || here.tagName === "IFRAME"  // what has it is in there
    || here.type === "datetime-local";  // the browser marks the part of it that has the focus
  const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  return [Number(here.dataset.walked ?? -1), shown, inside, here.outerHTML.slice(0, 120)];
}
"""


def assert_keyboard_reaches_all(page: Page) -> None:
    """The tabulator comes to whatever can be used, which is in the window then, and marked."""
    usable = page.evaluate(_USABLE)
    missed = {at for at, each in enumerate(usable) if 'type="radio"' not in each}  # arrows do these
    for _ in range(ROUNDS):
        missed -= _walk(page, len(usable))
        if not missed:
            return  # else a frame, whose process had the focus before the page was told
    told = "\n".join(usable[at] for at in sorted(missed))
    raise AssertionError(f"{page.url}: not reached:\n{told}")


def _walk(page: Page, count: int) -> set[int]:
    """The places that the tabulator comes to, once around."""
    walked: set[int] = set()
    last = -1
    for _ in range(2 * count + 40):
        page.keyboard.press("Tab")
        here = page.evaluate(_HERE)
        if here is None:
            continue  # the end of the page, before its beginning
        if here[0] in walked and here[0] != last:
            break  # a date is one thing with several places
        last, shown, inside, what = here
        assert shown, f"{page.url}: nothing shows that this has the focus: {what}"
        assert inside, f"{page.url}: out of the window: {what}"
        if last >= 0:  # else it is something that scrolls
            walked.add(last)
    return walked
