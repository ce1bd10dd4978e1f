"""A mail as a person reads it on a terminal: who, when, what, and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

from attrs import frozen

from mailnode.mime import read_header
from mailnode.reading.parts import Part, Parts, parts_of
from mailnode.reading.text import read_page

SHOWN = ("From", "To", "Cc", "Date", "Subject")
FIELD_CHARACTERS = 8192
LISTED_CHARACTERS = 1000
# One mail at a time, and a machine to itself: more is looked at than a server does for anybody.
MOST_PARTS = 10_000
MOST_DEPTH = 100
PAGE_CHARACTERS = 16 << 20
PAGE_PIECES = 1_000_000
REST = "[the rest is not shown: `read --raw` and `save` have all of it]"


@frozen
class Head:
    """What a list shows of a mail.

    Attributes:
        sender: of its From or Sender, else its reverse-path; "" where none is told.
        at: UTC epoch seconds of its Date, else of when it came here; None where neither is told.
    """

    sender: str
    subject: str
    at: float | None


def head_of(raw: bytes) -> Head:
    """Of a header, with or without its body."""
    mail = read_header(raw)
    writers = (field_of(mail, name, LISTED_CHARACTERS) for name in ("From", "Sender"))
    sender = next(filter(None, writers), "") or _reverse_path(mail)
    at = _time_in(str(mail["Date"]))
    if at is None:
        at = _came_at(mail)
    return Head(sender, field_of(mail, "Subject", LISTED_CHARACTERS), at)


def _reverse_path(mail: EmailMessage) -> str:
    """As the last server has noted it (RFC 5321 section 4.4); "" for none."""
    return field_of(mail, "Return-Path", LISTED_CHARACTERS).strip("<> ")


def _came_at(mail: EmailMessage) -> float | None:
    """When the last server took it: what it writes stands above the others'."""
    for name, value in mail.raw_items():
        if name.lower() == "received":
            return _time_in(str(value)[-LISTED_CHARACTERS:].rpartition(";")[2])
    return None


def field_of(mail: EmailMessage, name: str, most: int = FIELD_CHARACTERS) -> str:
    """A field in one line, decoded, and of a long one the beginning; "" for none."""
    for each, value in mail.raw_items():
        if each.lower() == name.lower():
            cut = value[:most]
            shown = " ".join(str(mail.policy.header_fetch_parse(each, cut)).split())
            return shown if len(cut) == len(value) else f"{shown} ..."
    return ""


def _time_in(said: str) -> float | None:
    """UTC epoch seconds; a time without a zone is UTC's."""
    try:
        at: datetime = parsedate_to_datetime(said)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except Exception:  # a stranger wrote it, and the reader of dates raises all sorts
        return None


def open_mail(octets: bytes) -> Parts:
    """Its parts: whatever the mail is, no error is raised."""
    return parts_of(octets, most_parts=MOST_PARTS, most_depth=MOST_DEPTH)


def said_in(parts: Parts) -> str:
    """Its text, or what stands in its HTML, with the addresses of links; "" for neither.

    Of a page over 16 Mi characters or a million tags it is the beginning, and it is said that the
    rest, or parts that nobody looked at, are not shown.
    """
    plain, html = parts.body("text/plain"), parts.body("text/html")
    text, is_short = "" if plain is None else plain.text(), parts.cut
    if html is not None and not text.strip():
        page = read_page(
            html.text(), marked=True, most_characters=PAGE_CHARACTERS, most_pieces=PAGE_PIECES
        )
        text, is_short = page.text, is_short or page.short
    return f"{text}\n\n{REST}".lstrip() if is_short else text


def files_of(parts: Parts) -> Iterator[Part]:
    """Each part with a file's name, or that is no text; also pictures of its page.

    Of a mail that is attached the mails within are in that one, and not given again.
    """
    for part in parts:
        if part.is_file and not (part.attached and part.is_mail):
            yield part
