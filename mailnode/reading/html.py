"""The HTML of a mail, made safe to be shown in a frame of its own.

Three walls stand behind each other: what is written here goes by lists of what is allowed, through
nh3 (ammonia's parser, tree and writer); the frame's policy (`frame`) lets no script run and nothing
be loaded but pictures; and the frame is sandboxed.

Style attributes become classes, and their declarations rules of one sheet: a policy without
``unsafe-inline`` allows a sheet by its hash, but no attribute. ``<style>`` elements are dropped:
what selectors reach can't be seen a rule at a time, mail that is meant for many readers carries its
looks in attributes because several of them drop these elements, too, and most of what is
lost are other widths for phones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

import nh3
from attrs import define, field, frozen

from mailnode.reading.domains import is_ip_address
from mailnode.reading.markup import balance_markup
from mailnode.reading.nesting import ELEMENTS
from mailnode.reading.styles import safe_style

_LINKS = frozenset(["http", "https", "mailto"])
_EVERYWHERE = {"style", "title", "dir", "lang", "align"}
_SIZED = {"width", "height", "valign", "bgcolor", "background"}
_ATTRIBUTES = {
    "*": _EVERYWHERE,
    "a": {"href"},
    "area": {"href", "shape", "coords", "alt"},
    "img": {"src", "alt", "width", "height", "border", "hspace", "vspace", "usemap"},
    "map": {"name"},
    "font": {"color", "face", "size"},
    "table": {"border", "cellpadding", "cellspacing", "summary", "rules", "frame", "role", *_SIZED},
    "td": {"colspan", "rowspan", "nowrap", "abbr", "headers", "scope", *_SIZED},
    "th": {"colspan", "rowspan", "nowrap", "abbr", "headers", "scope", *_SIZED},
    "tr": _SIZED,
    "tbody": {"valign"},
    "thead": {"valign"},
    "tfoot": {"valign"},
    "col": {"span", "width", "valign"},
    "colgroup": {"span", "width", "valign"},
    "hr": {"color", "noshade", "size", "width"},
    "ol": {"start", "type", "reversed"},
    "ul": {"type"},
    "li": {"type", "value"},
    "pre": {"width"},
    "blockquote": {"type"},
    "bdo": {"dir"},
    "time": {"datetime"},
    "details": {"open"},
}
_OUTSIDE = {"target": "_blank", "rel": "noopener noreferrer"}
_EDGES = "".join(map(chr, range(33)))
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):", re.I)
_BITMAP = re.compile(r"data:image/(?:gif|jpe?g|png|webp|bmp);base64,[A-Za-z0-9+/]+={0,2}", re.I)
_HOST = re.compile(r"[/\\]+([^/\\?#]+)(.*)", re.S)
# A NUL can't be written by a stranger: there is none left when nh3 begins.
_STYLED = ' style="\0'


@frozen
class Cleaned:
    """A mail's HTML as it may be shown, with what was held back.

    Attributes:
        html: what belongs into a body.
        css: the sheet that it needs: a class for each style; `frame` puts the two together.
        remote: how many pictures from outside were held back; `show_remote` shows them.
        trackers: how many that nobody is meant to see, one pixel large; these are never loaded.
        barred: how many other things from outside, such as style sheets, videos and frames, which
            are never loaded either.
        cut: it was too long or too deep, and isn't all there.
    """

    html: str
    css: str
    remote: int
    trackers: int
    barred: int
    cut: bool


def clean_html(html: str, *, show_remote: bool, cid_url: Callable[[str], str | None]) -> Cleaned:
    """What of a mail's HTML may be shown. Never raises; belongs into a thread.

    Args:
        html: a document or part of one; what is past 2 Mi characters is cut off.
        show_remote: pictures may be loaded from outside, over https alone.
        cid_url: where the part with this Content-ID (no brackets) can be loaded; None: nowhere.
    """
    markup = balance_markup(html)
    judge = _Judge(markup.pixels, show_remote, cid_url)
    cleaner = nh3.Cleaner(
        tags=set(ELEMENTS),
        clean_content_tags={"script", "style", "title"},
        attributes=_ATTRIBUTES,
        attribute_filter=judge.attribute,
        url_schemes={*_LINKS, "cid", "data"},
        set_tag_attribute_values={"a": {"target": "_blank"}, "area": _OUTSIDE},
    )
    shown = cleaner.clean(markup.html).replace(_STYLED, ' class="m')
    return Cleaned(
        html=shown,
        css="".join(f".m{number}{{{style}}}" for style, number in judge.classes.items()),
        remote=len(judge.remote),
        trackers=len(judge.trackers),
        barred=len(markup.barred),
        cut=markup.cut,
    )


@define(eq=False)
class _Judge:
    """Says of each attribute what becomes of it."""

    pixels: frozenset[str]
    show_remote: bool
    cid_url: Callable[[str], str | None]
    remote: set[str] = field(factory=set)
    trackers: set[str] = field(factory=set)
    classes: dict[str, int] = field(factory=dict)
    styles: dict[str, str] = field(factory=dict)

    def attribute(self, element: str, name: str, value: str) -> str | None:
        """What is written for it, None: nothing. nh3 passes what `_ATTRIBUTES` names alone."""
        if name == "style":
            return self.style(value)
        if name == "href":
            return link_of(value)
        if name in ("src", "background"):
            return self.picture(value)
        if name == "usemap":
            return value if value.startswith("#") else None
        return value

    def style(self, value: str) -> str | None:
        """A NUL and the class's number; mails repeat a few styles a thousand times."""
        style = self.styles.get(value)
        if style is None:
            style = self.styles[value] = safe_style(value, self.picture)
        if not style:
            return None
        return f"\0{self.classes.setdefault(style, len(self.classes))}"

    def picture(self, address: str) -> str | None:
        address = address.strip()
        if _BITMAP.fullmatch(address):
            return address
        address = _trimmed(address)
        if address[:4].lower() == "cid:":
            return self.cid_url(unquote(address[4:]))
        outside = _outside(address)
        if outside is None or _is_within(outside):
            return None
        if address in self.pixels:
            self.trackers.add(address)
            return None
        if not self.show_remote:
            self.remote.add(outside)
            return None
        return outside


def link_of(address: str) -> str | None:
    """Where a link leads, if it leads anywhere that a mail may send somebody."""
    address = _trimmed(address)
    scheme = _SCHEME.match(address)
    if scheme is None or scheme.group(1).lower() not in _LINKS:
        return None
    if scheme.group(1).lower() == "mailto":
        return address
    host = _HOST.fullmatch(address, scheme.end())
    return f"{scheme.group(1).lower()}://{host.group(1)}{host.group(2)}" if host else None


def _is_within(outside: str) -> bool:
    """Whether it may be a device of the reader's own network: no picture of a mail is there."""
    host = outside[len("https://") :]
    host = re.split(r"[/\\?#]", host, maxsplit=1)[0].rpartition("@")[2]
    name = host if host.startswith("[") else unquote(host.partition(":")[0]).rstrip(".")
    return is_ip_address(name) or "." not in name


def _trimmed(address: str) -> str:
    """As browsers read it: no control characters at the ends, no line ends or tabs within."""
    return re.sub(r"[\t\n\r]", "", address.strip(_EDGES))


def _outside(address: str) -> str | None:
    """The https address of what would be loaded from outside; None: nothing would."""
    scheme = _SCHEME.match(address)
    if scheme and scheme.group(1).lower() not in ("http", "https"):
        return None
    if not scheme and not re.match(r"[/\\]{2}", address):
        return None
    host = _HOST.fullmatch(address, scheme.end() if scheme else 0)
    return f"https://{host.group(1)}{host.group(2)}" if host else None
