"""HTML of a stranger brought into a form that any parser takes in its stride: balanced and bounded.

Parsers mend bad nesting at a cost that grows with its square: 200 KB of ``<div>`` keep one busy for
half a minute, and 600 KB of ``<b id=1>`` and ``<p>`` make it build a hundred million elements. So
tags are read here first, in one pass, and what goes on has each element closed where it stands.

This is no sanitizer. Attributes go on as they came, for the one in `html` to judge.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from html import unescape

from attrs import define, field, frozen

MOST_CHARACTERS = 2 * 1024 * 1024
MOST_PIECES = 100_000  # tags, attributes and entities
MOST_DEPTH = 256  # mail of tables in tables, ten times forwarded, has about 150
MOST_STYLED = (
    32  # of these, elements such as <b> and <font>, which are opened anew where a block cuts them
)
MOST_ATTRIBUTES = 60
_MOST_LOADS = 1_000

VOID = frozenset(["area", "br", "col", "hr", "img", "wbr"])
_STYLED = frozenset("a b big code em font i s small strike strong tt u".split())
_STRUCTURE = frozenset("table caption colgroup col tbody thead tfoot tr td th".split())
_INLINE = frozenset(
    "abbr acronym bdi bdo cite del dfn ins kbd label map mark q samp span sub sup time var".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote center dd details dir div dl dt fieldset figcaption figure"
    " footer h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu nav ol p pre section summary"
    " ul".split()
)
ELEMENTS = VOID | _STYLED | _STRUCTURE | _INLINE | _BLOCKS
# Their content is no markup, or nothing to show.
_OPAQUE = frozenset(
    "iframe noembed noframes noscript plaintext script style textarea title xmp".split()
)

_P = frozenset(["p"])
_TABLE = frozenset(["table"])
_CELLS = frozenset(["td", "th", "caption"])
_SCOPE = _CELLS | {"table"}
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_SECTIONS = frozenset(["tbody", "thead", "tfoot"])
# What may stand above each part of a table when it opens; all else is closed before.
_OPENS_IN = {
    "caption": frozenset(["table"]),
    "colgroup": frozenset(["table"]),
    "col": frozenset(["table", "colgroup"]),
    "tbody": frozenset(["table"]),
    "thead": frozenset(["table"]),
    "tfoot": frozenset(["table"]),
    "tr": _SECTIONS | {"table"},
    "td": frozenset(["tr"]),
    "th": frozenset(["tr"]),
}
_ITEMS = {
    "li": (frozenset(["li"]), _SCOPE | {"ul", "ol", "menu", "dir"}),
    "dd": (frozenset(["dd", "dt"]), _SCOPE | {"dl"}),
    "dt": (frozenset(["dd", "dt"]), _SCOPE | {"dl"}),
}

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
        html: its elements are all of `ELEMENTS`, each is closed within what it was opened in, at
            most `MOST_DEPTH` deep; a body is a div. No comment, no NUL, no lone surrogate.
        cut: something is missing because a bound was reached.
        pixels: addresses of images that nobody is meant to see, one pixel large or hidden.
        barred: addresses that elements which never go on would have loaded from outside: style
            sheets, videos, frames, scripts.
    """

    html: str
    cut: bool
    pixels: frozenset[str]
    barred: frozenset[str]


@frozen
class _Open:
    name: str
    tag: str
    closing: str


def balance_markup(html: str) -> Markup:
    """Never raises; takes time that grows no faster than the input."""
    return _Reader(html).read()


@define(eq=False)
class _Reader:
    html: str
    at: int = 0
    pieces: int = 0
    cut: bool = False
    styled: int = 0
    length: int = 0
    out: list[str] = field(factory=list)
    stack: list[_Open] = field(factory=list)
    open_names: dict[str, int] = field(factory=dict)
    pixels: set[str] = field(factory=set)
    barred: set[str] = field(factory=set)

    def read(self) -> Markup:
        self.cut = len(self.html) > MOST_CHARACTERS
        html = self.html[:MOST_CHARACTERS].replace("\0", "")
        self.html = html.encode("utf-8", "replace").decode()
        while self.at < len(self.html):
            if self.pieces >= MOST_PIECES or self.length > 2 * MOST_CHARACTERS:
                self.cut = True
                break
            found = self.html.find("<", self.at)
            found = len(self.html) if found < 0 else found
            if found > self.at:
                self.emit_text(self.html[self.at : found])
                self.at = found
            else:
                self.read_markup()
        while self.stack:
            self.close_top()
        html = "".join(self.out)
        return Markup(html, self.cut, frozenset(self.pixels), frozenset(self.barred))

    def emit(self, text: str) -> None:
        self.out.append(text)
        self.length += len(text)

    def emit_text(self, text: str) -> None:
        left = MOST_PIECES - self.pieces
        entities = text.count("&")
        if entities > left:
            text, entities, self.cut = "&".join(text.split("&", left)[:left]), left, True
        self.pieces += entities
        self.emit(text)

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
            self.emit("&lt;")
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
            self.end(name)
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
                if any(each.name == "body" for each in self.stack):
                    return
                source = _as_div(attributes)
            self.start(name, source)
        else:
            self.note_loads(name, attributes)

    def skip_content(self, name: str, attributes: dict[str, str]) -> None:
        self.note_loads(name, attributes)
        end = None
        if name != "plaintext":
            end = re.compile(rf"</{name}(?=[\t\n\f\r />])", re.I).search(self.html, self.at)
        end_at = end.start() if end else len(self.html)
        if name == "style":
            for load in _CSS_LOADS.finditer(self.html, self.at, end_at):
                self.note(self.barred, load.group(1))
        self.at = end_at

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

    # What opens and closes, as parsers do it (HTML, section 13.2.6.4.7 and what follows).

    def start(self, name: str, source: str) -> None:
        if name in _STRUCTURE and not self.make_room_in_table(name):
            return
        again = self.close_what_ends_at(name)
        if name in VOID:
            self.emit(source)
        else:
            self.push(name, source, "div" if name == "body" else name)
        for each in again:
            self.push(each.name, each.tag, each.closing)

    def push(self, name: str, source: str, closing: str) -> None:
        styled = name in _STYLED
        if len(self.stack) >= MOST_DEPTH or (styled and self.styled >= MOST_STYLED):
            self.cut = True
            return
        self.pieces += 1
        self.emit(source)
        self.stack.append(_Open(name, source, closing))
        self.open_names[name] = self.open_names.get(name, 0) + 1
        self.styled += styled

    def make_room_in_table(self, name: str) -> bool:
        """False: it opens nothing here."""
        if name == "table":
            if self.stack and self.stack[-1].name in _STRUCTURE - _CELLS:
                self.close_to(self.last(_TABLE, frozenset()))
            return True
        table = self.last(_TABLE, frozenset())
        if table < 0:
            return False
        within = _OPENS_IN[name] | ({"table"} | _SECTIONS if name in ("td", "th") else frozenset())
        while self.stack[-1].name not in within:
            self.close_top()
        if name in ("td", "th") and self.stack[-1].name != "tr":
            self.push("tr", "<tr>", "tr")
        return True

    def close_what_ends_at(self, name: str) -> list[_Open]:
        """Close what can't hold an element. Returns: what is to be opened again within it."""
        if name == "a":
            return [each for each in self.close_to(self.last(["a"], _SCOPE)) if each.name != "a"]
        if name not in _BLOCKS and name not in ("body", "table"):
            return []
        again = list[_Open]()
        if name in _ITEMS:
            names, scope = _ITEMS[name]
            again = self.close_to(self.last(names, scope))
        again = self.close_to(self.last(_P, _SCOPE)) + again
        if name in _HEADINGS and self.stack and self.stack[-1].name in _HEADINGS:
            self.close_top()
        return again

    def end(self, name: str) -> None:
        at = self.last([name], _TABLE if name in _STRUCTURE else _SCOPE)
        if at < 0:
            return
        if name in _INLINE and any(each.name in _BLOCKS for each in self.stack[at:]):
            return  # as parsers do: it stays open until the block around it ends
        reopened = self.close_to(at, all_of_them=name in _STYLED)
        if name not in _STRUCTURE:
            for each in reopened:
                self.push(each.name, each.tag, each.closing)

    def last(self, names: Collection[str], scope: frozenset[str]) -> int:
        """Where the last open element of these names is, none of `scope` above; -1: nowhere."""
        if not any(self.open_names.get(name) for name in names):
            return -1
        top = len(self.stack) - 1
        for at in range(top, -1, -1):
            if self.stack[at].name in names:
                break
            if self.stack[at].name in scope:
                at = -1
                break
        else:
            at = -1
        self.pieces += (top - at) // 16  # what a search costs counts, too
        return at

    def close_to(self, at: int, *, all_of_them: bool = False) -> list[_Open]:
        """Close the element at a place of the stack and all above.

        Returns: those above that a parser opens again behind it: the styled ones, or all.
        """
        if at < 0:
            return []
        above = [each for each in self.stack[at + 1 :] if all_of_them or each.name in _STYLED]
        while len(self.stack) > at:
            self.close_top()
        return above

    def close_top(self) -> None:
        top = self.stack.pop()
        self.open_names[top.name] -= 1
        self.styled -= top.name in _STYLED
        self.emit(f"</{top.closing}>")


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
