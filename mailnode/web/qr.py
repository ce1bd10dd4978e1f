"""A QR code as an SVG inside a page, which asks nobody for a picture and needs no style."""

from __future__ import annotations

import segno
from markupsafe import Markup

MODULE = 5  # pixels


def qr_of(text: str) -> Markup:
    """Dark on light whatever the page's colours, with the quiet zone that cameras need."""
    code = segno.make(text, error="m", micro=False)
    svg = code.svg_inline(scale=MODULE, dark="#000", light="#fff", svgclass="qr", lineclass=None)
    return Markup(svg)  # noqa: S704  # of modules alone: nothing of the text stands in it
