"""A mail as a person reads it on a terminal: who, when, what, and what hangs on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any

from attrs import frozen

from mailnode.mime import read_mail

SHOWN = ("From", "To", "Cc", "Date", "Subject")
_GAPS = re.compile(r"\n{3,}")
_BLANKS = re.compile(r"[ \t\r\f\v]+")
_BLOCKS = frozenset(
    ("address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "h1", "h2", "h3",
     "h4", "h5", "h6", "header", "hr", "li", "ol", "p", "pre", "section", "table", "tr", "ul")
)  # fmt: skip
_UNSEEN = frozenset(("script", "style", "head", "title", "template"))


@frozen
class Attachment:
    """A part that is a file.

    Attributes:
        name: as the mail has it, "" for none: nothing to be trusted as a path.
    """

    name: str
    kind: str
    content: bytes


@frozen
class Head:
    """What a list shows of a mail.

    Attributes:
        at: UTC epoch seconds of its Date; None where that can't be read.
    """

    sender: str
    subject: str
    at: float | None


def head_of(raw: bytes) -> Head:
    """Of a header, with or without its body."""
    mail = read_mail(raw)
    return Head(field_of(mail, "From"), field_of(mail, "Subject"), sent_at(mail))


def field_of(mail: EmailMessage, name: str) -> str:
    """A field in one line, decoded; "" for none."""
    return " ".join(str(mail.get(name, "")).split())


def sent_at(mail: EmailMessage) -> float | None:
    try:
        at: datetime = parsedate_to_datetime(str(mail["Date"]))
        return at.timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def text_of(mail: EmailMessage) -> str:
    """What it says: its text, or what stands in its HTML."""
    try:
        body = mail.get_body(("plain", "html"))
    except Exception:  # a structure that `email` can't walk
        body = None
    if body is None:
        return ""
    content = _decoded(body)
    return text_of_html(content) if body.get_content_type() == "text/html" else content


def _decoded(part: Any) -> str:
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    try:
        return octets.decode(part.get_content_charset() or "utf-8", "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


def attachments_of(mail: EmailMessage) -> Iterator[Attachment]:
    """Each part with a file name, or that says it is one; what is text to be read is none."""
    try:
        parts = list(mail.walk())
    except Exception:
        return
    try:
        body = mail.get_body(("plain", "html"))
    except Exception:
        body = None
    for part in parts:
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            continue
        name = part.get_filename("") or ""
        told = part.get_content_disposition() == "attachment"
        if part is body and not told:
            continue
        if name or told or part.get_content_maintype() not in ("text", "multipart"):
            if part.get_content_type() == "message/rfc822":
                payload = part.get_payload()
                inner: Any = payload[0] if isinstance(payload, list) and payload else None
                content = bytes(inner) if inner is not None else b""
            else:
                decoded = part.get_payload(decode=True)
                content = decoded if isinstance(decoded, bytes) else b""
            yield Attachment(str(name), part.get_content_type(), content)


def text_of_html(html: str) -> str:
    """The words of a page, a line a block; nothing of it is fetched."""
    reader = _Words()
    reader.feed(html)
    reader.close()
    lines = (_BLANKS.sub(" ", line).strip() for line in "".join(reader.words).split("\n"))
    return _GAPS.sub("\n\n", "\n".join(lines)).strip() + "\n"


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._unseen = 0
        self._link = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag in _BLOCKS:
            self.words.append("\n* " if tag == "li" else "\n")
        elif tag == "a":
            self._link = dict(attrs).get("href") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _BLOCKS:
            self.words.append("\n")
        elif tag == "a" and self._link:
            if self._link.startswith(("http:", "https:", "mailto:")):
                self.words.append(f" <{self._link}>")
            self._link = ""

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.words.append(data.replace("\n", " "))
