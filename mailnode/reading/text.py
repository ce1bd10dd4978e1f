"""The text of a mail: what it says in words, out of its HTML where there is nothing else."""

from __future__ import annotations

import re
from email.message import EmailMessage

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mailnode.reading.parts import Part, Parts, parts_of

HTML_OCTETS = 512 << 10
TEXT_OCTETS = 1 << 20
MOST_DEPTH = 200
SNIPPET_CHARACTERS = 160
SNIPPET_OF_OCTETS = 16 << 10

_BLOCKS = frozenset(
    ("address", "article", "aside", "blockquote", "br", "center", "dd", "div", "dl", "dt",
     "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
     "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul")
)  # fmt: skip
_PARAGRAPHS = frozenset(("p", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table"))
# What stands behind one of these is on another line, whatever it is.
_CLOSED = ",".join(sorted(_BLOCKS - {"br", "hr", "li", "dd", "dt", "td", "th", "tr"}))
_ENDED = "\f"
_UNSEEN = ("script", "style", "head", "title", "template", "noscript", "svg", "math", "select")
# What has no end, or ends where the next one begins: they nest only in others.
_FLAT = frozenset(
    b"area base br col embed hr img input link meta param source track wbr p li dd dt option"
    b" optgroup tr td th thead tbody tfoot colgroup rp rt".split()
)
_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9:_-]{0,30})")
_BLANKS = re.compile(r"[ \t\r\f\v\xa0]+")
_ENDS = re.compile(r"\f[ \f]*\n?")
_GAPS = re.compile(r"\n{3,}")
_QUOTED = re.compile(r"^(?:[ \t]*>|-- ?$).*(?:\n|\Z)", re.M)


def text_of(mail: bytes | EmailMessage | Parts, most_octets: int = TEXT_OCTETS) -> str:
    """What it says: its text, or what stands in its HTML; "" for neither.

    Args:
        most_octets: of a part, that are looked at.
    """
    parts = parts_of(mail)
    plain, html = parts.body("text/plain"), parts.body("text/html")
    if plain is not None:
        text = plain.text(most_octets)
        if text.strip() or html is None:
            return text
    return "" if html is None else text_of_html(html_of(html, most_octets))


def html_of(part: Part, most_octets: int = HTML_OCTETS) -> str:
    """The page of a text/html part, as far as it is looked at."""
    return part.text(min(most_octets, HTML_OCTETS))


def text_of_html(html: str, *, marked: bool = False) -> str:
    """The words of a page, a line a block; nothing of it is fetched.

    Args:
        marked: behind a link stands where it leads, before each item of a list a star.
    """
    page = html.encode("utf-8", "replace")[:HTML_OCTETS]
    page = page[: _depth_ends(page)]
    try:
        tree = LexborHTMLParser(page.decode("utf-8", "ignore"))
        tree.strip_tags(list(_UNSEEN), recursive=True)
        for node in tree.css(_CLOSED):
            node.insert_after(_ENDED)
        if marked:
            _name_links(tree)
    except Exception:  # it says that it may
        return ""
    words, item = list[str](), "\n* " if marked else "\n"
    if tree.root is not None:
        for node in tree.root.traverse(include_text=True):
            _add_words(node, words, item)
    text = _ENDS.sub("\n", "".join(words))
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return _GAPS.sub("\n\n", "\n".join(lines)).strip()


def _add_words(node: LexborNode, words: list[str], item: str) -> None:
    tag = node.tag
    if tag == "-text":
        text = node.text_content
        if text:
            words.append(text.replace("\n", " ").replace("\0", ""))
    elif tag == "li":
        words.append(item)
    elif tag in _BLOCKS:
        words.append("\n\n" if tag in _PARAGRAPHS else "\n")


def _name_links(tree: LexborHTMLParser) -> None:
    for node in tree.css("a[href]"):
        href = (node.attributes.get("href") or "").strip()
        if href.startswith(("http:", "https:", "mailto:")):
            node.insert_after(f" <{href}>")


def _depth_ends(page: bytes) -> int:
    """Where elements stand in each other deeper than anybody would read: the time that a reader of
    HTML takes grows by the square of that."""
    open_: dict[bytes, int] = {}
    depth = 0
    for found in _TAG.finditer(page):
        name = found.group(2).lower()
        if name in _FLAT:
            continue
        if not found.group(1):
            open_[name] = open_.get(name, 0) + 1
            depth += 1
            if depth > MOST_DEPTH:
                return found.start()
        elif open_.get(name):
            open_[name] -= 1
            depth -= 1
    return len(page)


def snippet_of(text: str) -> str:
    """Its first words on one line, for lists; quotations and signatures are left out."""
    text = text[:SNIPPET_OF_OCTETS]
    own = _QUOTED.sub("", text)
    words = " ".join((own if own.strip() else text)[: 8 * SNIPPET_CHARACTERS].split())
    words = "".join(char for char in words if char.isprintable())
    if len(words) <= SNIPPET_CHARACTERS:
        return words
    return words[: SNIPPET_CHARACTERS - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
