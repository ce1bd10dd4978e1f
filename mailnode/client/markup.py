"""The words of a mail in HTML, a line a block; nothing of it is fetched.

A reader of our own: Python's `html.parser` raises errors at some pages, and takes the square of
the length of others. Here each octet is passed once, and what has no end is text as it stands.
"""

from __future__ import annotations

import html
import re

from attrs import define, field

MOST_CHARACTERS = 16 << 20
REST = "[the rest is not shown: `read --raw` and `save` have all of it]"
_GAPS = re.compile(r"\n{3,}")
_BLANKS = re.compile(r"[ \t\r\f\v]+")
_BLOCKS = frozenset(
    ("address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "h1", "h2", "h3",
     "h4", "h5", "h6", "header", "hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul")
)  # fmt: skip
_UNSEEN = frozenset(("script", "style", "head", "title", "template"))
_ENDS_OF_RAW = {  # what stands in these is no markup
    name: re.compile(rf"</{name}(?=[\s/>])", re.I) for name in ("script", "style", "title")
}
_MARKUP = re.compile(r"<(?=/?[a-zA-Z]|[!?])")
_NAME = re.compile(r"</?([a-zA-Z][^\s/>]{0,40})")
_TAGS_PART = re.compile(r"[\"'>]")
_LINK = re.compile(r"\shref\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))", re.I)
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")


def text_of_html(page: str) -> str:
    """Its words, with the addresses of its links; of a page over 16 Mi characters the first."""
    words = "".join(_Page(page[:MOST_CHARACTERS]).read())
    lines = (_BLANKS.sub(" ", line).strip() for line in words.split("\n"))
    shown = _GAPS.sub("\n\n", "\n".join(lines)).strip() + "\n"
    return shown if len(page) <= MOST_CHARACTERS else f"{shown}\n{REST}\n"


@define(eq=False)
class _Page:
    text: str
    words: list[str] = field(factory=list, init=False)
    _unseen: int = field(default=0, init=False)
    _link: str = field(default="", init=False)

    def read(self) -> list[str]:
        at, text = 0, self.text
        while at < len(text):
            found = _MARKUP.search(text, at)
            begin = found.start() if found else len(text)
            self._say(text[at:begin])
            at = self._pass_markup(begin) if found else begin
            if at < 0:  # it has no end: what follows is no markup
                self._say(text[begin:])
                break
        return self.words

    def _pass_markup(self, begin: int) -> int:
        """Behind the tag, comment or declaration that begins here; -1 where it has no end."""
        text = self.text
        if text.startswith("<!--", begin):
            end = text.find("-->", begin + 2)  # <!--> is one, too
            return end + 3 if end >= 0 else -1
        if text.startswith(("<!", "<?"), begin):
            return text.find(">", begin) + 1 or -1
        found = _NAME.match(text, begin)
        assert found is not None
        name = found[1].lower()
        if text.startswith("</", begin):
            self._close(name)
            return text.find(">", begin) + 1 or -1
        end = self._end_of_tag(found.end())
        if end >= 0:
            self._open(name, found.end(), end)
            if name in _ENDS_OF_RAW:
                closed = _ENDS_OF_RAW[name].search(text, end)
                return closed.start() if closed else len(text)
        return end

    def _end_of_tag(self, at: int) -> int:
        """Behind the next > outside of quotes; -1 for none."""
        while part := _TAGS_PART.search(self.text, at):
            if part.group() == ">":
                return part.end()
            at = self.text.find(part.group(), part.end()) + 1
            if not at:
                break
        return -1

    def _open(self, name: str, begin: int, end: int) -> None:
        if name in _UNSEEN:
            self._unseen += 1
        elif name in _BLOCKS:
            self.words.append("\n* " if name == "li" else "\n")
        elif name == "a":
            found = _LINK.search(self.text, begin, end)
            self._link = _plain(next(filter(None, found.groups()), "")).strip() if found else ""

    def _close(self, name: str) -> None:
        if name in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif name in _BLOCKS:
            self.words.append("\n")
        elif name == "a" and self._link:
            if self._link.startswith(("http:", "https:", "mailto:")):
                self.words.append(f" <{self._link}>")
            self._link = ""

    def _say(self, text: str) -> None:
        if text and not self._unseen:
            self.words.append(_plain(text.replace("\n", " ")))


def _plain(text: str) -> str:
    """With the characters that references stand for; a number of 5,000 digits stands for none."""
    if "&" not in text:
        return text
    return html.unescape(_LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text))
