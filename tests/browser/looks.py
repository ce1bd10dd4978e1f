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
