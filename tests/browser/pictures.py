"""Screenshots of pages, small ones, in docs/images: `make screenshots` makes them anew."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Page

IMAGES = Path(__file__).parents[2] / "docs" / "images"
KEPT = os.environ.get("SCREENSHOTS") == "yes"
COLOURS = 96
# Two pictures are of one page while fewer pixels differ: fonts are drawn otherwise elsewhere.
SAME_SHARE, LIVELY_SHARE = 0.002, 0.03
_SAME_SHADE = 24


def take(page: Page, name: str, *, lively: bool = False) -> None:
    """What the window shows, if this run is for pictures; one that is as before stays.

    Args:
        lively: it shows what happens just now, such as charts.
    """
    if not KEPT:
        return
    octets = page.screenshot(animations="disabled", caret="hide")
    made = Image.open(io.BytesIO(octets)).convert("RGB")
    path = IMAGES / f"{name}.png"
    if path.exists() and _alike(
        made, Image.open(path).convert("RGB"), LIVELY_SHARE if lively else SAME_SHARE
    ):
        return
    IMAGES.mkdir(exist_ok=True)
    small = made.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _alike(one: Image.Image, other: Image.Image, share: float) -> bool:
    if one.size != other.size:
        return False
    shades = ImageChops.difference(one, other).convert("L").histogram()
    return sum(shades[_SAME_SHADE:]) <= share * one.width * one.height
