"""HTML of a stranger brought into a form that any parser takes in its stride: balanced and bounded.

Parsers mend bad nesting at a cost that grows with its square: 500 KB of ``<div>`` keep one busy for
half a minute, and 600 KB of ``<b id=1>`` and ``<p>`` make it build a hundred million elements. So
tags are read here first, in one pass, and what goes on has each element closed where it stands.

This is no sanitizer. Attributes go on as they came, for the one in `html` to judge.
"""

from __future__ import annotations

import re
from html import unescape

from attrs import define, field, frozen

from mailnode.reading.nesting import ELEMENTS, Nesting

MOST_CHARACTERS = 2 * 1024 * 1024
MOST_PIECES = 100_000  # tags, attributes and entities
MOST_ATTRIBUTES = 60
_MOST_LOADS = 1_000

# Their content is no markup, or nothing to show.
_OPAQUE = frozenset(
    "iframe noembed noframes noscript plaintext script style textarea title xmp".split()
)

_VERBATIM = frozenset(["plaintext", "textarea", "xmp"])  # what browsers show of them is text

_NAME = re.compile(r"</?([A-Za-z][^\t\n\f\r />]*+)")
_ATTRIBUTE = re.compile(
    r"""[\t\n\f\r /]*+(?:(?P<end>>)|(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)"""
    r"""(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+"""
    r"""(?:"(?P<double>[^"]*+)(?:"|\Z)|'(?P<single>[^']*+)(?:'|\Z)"""
    r"""|(?P<bare>[^\t\n\f\r >"'][^\t\n\f\r >]*+)|(?=>)))?)"""
)
_COMMENT_END = re.compile(r"--!?>")
_OUTSIDE = re.compile(r"[\x00-\x20]*(?:https?:|[/\\]{2})", re.I)
_CSS_LOADS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^\s"')]+)""", re.I)
_NOT_SEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_LOADING = frozenset(["src", "srcset", "poster", "data", "background", "ping", "xlink:href"])
_LOADING_BY_HREF = frozenset(["link", "image", "use", "feimage"])


@frozen
class Markup:
    """What goes on, and what was seen on the way.

    Attributes:
        html: its elements are all of `nesting.ELEMENTS`, each is closed within what it was opened
            in, at most `MOST_DEPTH` deep; a body is a div. No comment, NUL, or lone surrogate.
        cut: something is missing because a bound was reached.
        short: what is missing is the end, and words with it.
        pixels: addresses of images that nobody is meant to see, one pixel large or hidden.
        barred: addresses that elements which never go on would have loaded from outside: style
            sheets, videos, frames, scripts.
    """

    html: str
    cut: bool
    short: bool
    pixels: frozenset[str]
    barred: frozenset[str]


def balance_markup(
    html: str, *, most_characters: int = MOST_CHARACTERS, most_pieces: int = MOST_PIECES
) -> Markup:
    """Never raises; takes time that grows no faster than the input."""
    return _Reader(html, most_characters, most_pieces).read()


@define(eq=False)
class _Reader:
    html: str
    most_characters: int
    most_pieces: int
    at: int = 0
    pieces: int = 0
    cut: bool = False
    short: bool = False
    nesting: Nesting = field(factory=Nesting)
    pixels: set[str] = field(factory=set)
    barred: set[str] = field(factory=set)

    def read(self) -> Markup:
        self.short = len(self.html) > self.most_characters
        html = self.html[: self.most_characters].replace("\0", "")
        self.html = html.encode("utf-8", "replace").decode()
        nesting = self.nesting
        while self.at < len(self.html):
            left = self.most_pieces - self.pieces - nesting.work
            if left <= 0 or nesting.length > 2 * self.most_characters:
                self.short = True
                break
            found = self.html.find("<", self.at)
            found = len(self.html) if found < 0 else found
            if found > self.at:
                self.read_text(self.html[self.at : found], left)
                self.at = found
            else:
                self.read_markup()
        html = nesting.close_all().lstrip("\ufeff")  # a parser would take the first for no text
        cut = self.cut or self.short or nesting.cut
        return Markup(html, cut, self.short, frozenset(self.pixels), frozenset(self.barred))

    def read_text(self, text: str, left: int) -> None:
        entities = text.count("&")
        if entities > left:
            text, entities, self.short = "&".join(text.split("&", left)[:left]), left, True
        self.pieces += entities
        self.nesting.emit(text)

    def read_markup(self) -> None:
        """What begins with ``<``: a tag, a comment, or only that character."""
        html, at = self.html, self.at
        self.pieces += 1
        name = _NAME.match(html, at)
        if name:
            self.read_tag(name)
        elif html.startswith("<!--", at):
            short = html.startswith(">", at + 4) or html.startswith("->", at + 4)
            end = _COMMENT_END.search(html, at + (2 if short else 4))
            self.at = end.end() if end else len(html)
        elif html.startswith(("<!", "<?", "</"), at):
            end_at = html.find(">", at)
            self.at = end_at + 1 if end_at >= 0 else len(html)
        else:
            self.nesting.emit("&lt;")
            self.at = at + 1

    def read_tag(self, found: re.Match[str]) -> None:
        html, start, at = self.html, self.at, found.end()
        name = found.group(1).lower() if found.group(1).isascii() else "?"
        closing = html.startswith("</", start)
        attributes: dict[str, str] = {}
        while True:
            part = _ATTRIBUTE.match(html, at)
            if part is None:  # the tag has no end: no parser shows what is in it
                self.at = len(html)
                return
            at = part.end()
            if part["end"]:
                break
            self.pieces += 1
            value = part["double"] or part["single"] or part["bare"] or ""
            attributes.setdefault(part["name"].lower(), value)
        self.at = at
        if closing:
            self.nesting.end(name)
        elif name in _OPAQUE:
            self.skip_content(name, attributes)
        elif name == "body" or name in ELEMENTS:
            if len(attributes) > MOST_ATTRIBUTES:
                self.cut = True
                return
            if name == "img":
                self.look_at_image(attributes)
            source = html[start:at]
            if name == "body":
                if self.nesting.holds("body"):
                    return
                source = _as_div(attributes)
            self.nesting.start(name, source)
        else:
            self.note_loads(name, attributes)

    def skip_content(self, name: str, attributes: dict[str, str]) -> None:
        self.note_loads(name, attributes)
        end, start = None, self.at
        if name != "plaintext":
            end = re.compile(rf"</{name}(?=[\t\n\f\r />])", re.I).search(self.html, start)
        self.at = end.start() if end else len(self.html)
        if name == "style":
            for load in _CSS_LOADS.finditer(self.html, start, self.at):
                self.note(self.barred, load.group(1))
        elif name in _VERBATIM:
            self.show_as_it_stands(name, self.html[start : self.at])

    def show_as_it_stands(self, name: str, text: str) -> None:
        if name != "textarea":  # in the others even an entity is no more than its characters
            text = text.replace("&", "&amp;")
        self.nesting.start("pre", "<pre>")
        left = self.most_pieces - self.pieces - self.nesting.work
        self.read_text(text.replace("<", "&lt;"), max(0, left))
        self.nesting.end("pre")

    def note(self, kept: set[str], address: str) -> None:
        if len(kept) < _MOST_LOADS:
            kept.add(unescape(address[:4096]).strip())

    def note_loads(self, name: str, attributes: dict[str, str]) -> None:
        for each, value in attributes.items():
            loads = each in _LOADING or (each == "href" and name in _LOADING_BY_HREF)
            if loads and _OUTSIDE.match(unescape(value[:4096])):
                self.note(self.barred, value)

    def look_at_image(self, attributes: dict[str, str]) -> None:
        style = re.sub(r"\s", "", attributes.get("style", "")[:4096]).lower()
        sizes = [
            attributes.get(side, "").strip().lower().removesuffix("px") in ("0", "1")
            or any(f";{side}:{size}" in f";{style};" for size in ("0;", "0px;", "1px;"))
            for side in ("width", "height")
        ]
        if "src" in attributes and (all(sizes) or _NOT_SEEN.search(style)):
            self.note(self.pixels, attributes["src"])
        elif "src" not in attributes:
            self.note_loads("img", attributes)


def _as_div(body: dict[str, str]) -> str:
    """A body's colours as a style; its values come as they stood in the tag, entities and all."""
    styles = [
        f"{style}:{body[name]}"
        for name, style in (("bgcolor", "background-color"), ("text", "color"))
        if name in body
    ]
    if "background" in body:
        styles.append(f"background-image:url({body['background']})")
    style = ";".join([*styles, body.get("style", "")]).replace('"', "&quot;")
    return f'<div style="{style}">'
