"""What a page of HTML says to who learns: its words, its tags, where it leads.

`reading.text` keeps lines and paragraphs for people; for words that are only counted the half of
its time is enough. What the eye sees as one word stays one, whatever tags stand in it.
"""

from __future__ import annotations

import re
from itertools import islice
from urllib.parse import unquote

from attrs import frozen
from selectolax.lexbor import LexborHTMLParser

from mailnode.reading.domains import ascii_domain, is_ip_address, registrable

# Mending bad nesting takes the square of a page's length: for so much of it ten milliseconds.
PAGE_CHARACTERS = 16 << 10
MOST_TAGS = 40
MOST_LINKS = 40

_PARTING = re.compile(
    r"<(?=/?(?:address|article|aside|blockquote|br|center|dd|div|dl|dt|form|h[1-6r]|li|ol|p|pre"
    r"|section|table|t[dhr]|ul)\b)"
)
_UNSEEN = ["script", "style", "head", "title", "template", "noscript", "svg", "math", "select"]
# Kilobytes of these come before the first word. One without an end hides the rest from eyes, too.
_NO_WORDS = re.compile(r"<!--.*?(?:-->|\Z)|<(style|script)\b.*?(?:</\1|\Z)", re.S)
_TAG = re.compile(r"<([a-z][a-z0-9]{0,11})\b")
_HIDING = ("display:none", "visibility:hidden", "font-size:0", "font-size:1px", "opacity:0")
_LINK = re.compile(r"://([^\s/\\?#\"'<>]{1,255})")


@frozen
class Page:
    """What was found.

    Attributes:
        text: on one line, blanks as they come.
        marks: names of its tags, its links, and of what is odd about it.
    """

    text: str
    marks: list[str]


def read_page(html: str) -> Page:
    """The first `PAGE_CHARACTERS` of it, style sheets, scripts and comments not counted.

    Args:
        html: in lower case.
    """
    html = _NO_WORDS.sub("", html)[:PAGE_CHARACTERS]
    marks = [f"tag {name}" for name in islice(dict.fromkeys(_TAG.findall(html)), MOST_TAGS)]
    if "style=" in html:
        unspaced = html.replace(" ", "")
        if any(each in unspaced for each in _HIDING):
            marks.append("form hidden text")
    return Page(_text(html), marks + links_of(html))


def _text(html: str) -> str:
    html = _PARTING.sub(" <", html)
    try:
        tree = LexborHTMLParser(html.encode("utf-8", "replace").decode())
        tree.strip_tags(_UNSEEN, recursive=True)
        return tree.root.text() if tree.root is not None else ""
    except Exception:  # it says that it may
        return ""


def links_of(text: str) -> list[str]:
    """Names of the domains that a text or page in lower case leads to."""
    found: dict[str, None] = {}
    for place in dict.fromkeys(islice(_LINK.findall(text), MOST_LINKS)):
        user, _, host = place.rpartition("@")
        if user:
            found["form link with a name before its host"] = None
        host = unquote(host).partition(":")[0]
        domain = ascii_domain(host)
        if is_ip_address(host):
            found["form link to a number"] = None
        elif "." in domain:
            found[f"link {registrable(domain)}"] = None
            found[f"link .{domain.rpartition('.')[2]}"] = None
    return list(found)
