"""The document that shows a cleaned mail, and the policy that it is served under.

It is served at an address of its own: a document in `srcdoc` would be under the page's policy, too,
which allows no sheet but the page's.
"""

from __future__ import annotations

import base64
import hashlib

from attrs import frozen

from mailnode.reading.html import Cleaned

# For the iframe's attribute, too. The frame is of an origin of its own, so the browser sends no
# cookie for the mail's own pictures: their addresses hold a key.
SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
_SHEET = (
    ":root{color-scheme:light}"
    "body{margin:0;padding:12px;background:#fff;color:#1c1c1c;overflow-wrap:break-word;"
    "font:15px/1.5 system-ui,sans-serif}"
    "img{max-width:100%}pre{white-space:pre-wrap}"
    "blockquote{margin:0 0 0 4px;padding-left:12px;border-left:3px solid #ccc}"
)


@frozen
class Frame:
    """A document, and the value of its Content-Security-Policy."""

    document: str
    policy: str


def frame_of(cleaned: Cleaned, *, show_remote: bool, head: str = "") -> Frame:
    """Put a mail into a document with the one sheet that its policy allows, by the sheet's hash.

    Args:
        head: safe HTML that stands above the mail, for its print.
    """
    sheet = _SHEET + cleaned.css
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    pictures = ["'self'"]
    if "data:image/" in cleaned.html or "data:image/" in cleaned.css:
        pictures.append("data:")
    if show_remote:
        pictures.append("https:")
    document = (
        '<!doctype html><html><head><meta charset="utf-8"><title>Mail</title>'
        '<meta name="viewport" content="width=device-width">'
        '<meta name="referrer" content="no-referrer">'
        f"<style>{sheet}</style></head><body>{head}{cleaned.html}</body></html>"
    )
    policy = (
        f"default-src 'none'; img-src {' '.join(pictures)}; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        f"sandbox {SANDBOX}"
    )
    return Frame(document, policy)
