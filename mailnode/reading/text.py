"""The text of a mail: what it says in words, out of its HTML where there is nothing else."""

from __future__ import annotations

import re
from email.message import EmailMessage

from attrs import frozen
from selectolax.lexbor import LexborHTMLParser, LexborNode

from mailnode.reading.markup import MOST_PIECES, balance_markup
from mailnode.reading.parts import Part, Parts, parts_of

HTML_OCTETS = 512 << 10
TEXT_OCTETS = 1 << 20
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
_BLANKS = re.compile(r"[ \t\r\f\v\xa0]+")
_ENDS = re.compile(r"\f[ \f]*\n?")
_GAPS = re.compile(r"\n{3,}")
_QUOTED = re.compile(r"^(?:[ \t]*>|-- ?$).*(?:\n|\Z)", re.M)


@frozen
class Page:
    """The words of a page.

    Attributes:
        short: there are more of them, behind a bound that was reached.
    """

    text: str
    short: bool


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
    page = html.encode("utf-8", "replace")[:HTML_OCTETS].decode("utf-8", "ignore")
    return read_page(page, marked=marked).text


def read_page(
    html: str,
    *,
    marked: bool = False,
    most_characters: int = HTML_OCTETS,
    most_pieces: int = MOST_PIECES,
) -> Page:
    """The words that the page itself would show, as `clean_html` has it.

    Args:
        marked: as for `text_of_html`.
        most_pieces: tags, attributes and entities that are looked at.
    """
    # As it comes it might keep the parser busy for a minute, and all threads with it: it takes
    # the square of a tag's attributes, and of what stands in each other.
    markup = balance_markup(html, most_characters=most_characters, most_pieces=most_pieces)
    try:
        tree = LexborHTMLParser(markup.html)
        for node in tree.css(_CLOSED):
            node.insert_after(_ENDED)
        if marked:
            _name_links(tree)
    except Exception:  # it says that it may
        return Page("", short=True)
    words, item = list[str](), "\n* " if marked else "\n"
    if tree.root is not None:
        for node in tree.root.traverse(include_text=True):
            _add_words(node, words, item)
    text = _ENDS.sub("\n", "".join(words))
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return Page(_GAPS.sub("\n\n", "\n".join(lines)).strip(), markup.short)


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


def snippet_of(text: str) -> str:
    """Its first words on one line, for lists; quotations and signatures are left out."""
    text = text[:SNIPPET_OF_OCTETS]
    own = _QUOTED.sub("", text)
    words = " ".join((own if own.strip() else text)[: 8 * SNIPPET_CHARACTERS].split())
    words = "".join(char for char in words if char.isprintable())
    if len(words) <= SNIPPET_CHARACTERS:
        return words
    return words[: SNIPPET_CHARACTERS - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
