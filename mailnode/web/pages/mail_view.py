"""What a page shows of a mail: worked out of its octets in a thread, in bounded time and memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from html import escape

from attrs import frozen

from mailnode.findings import Finding, find
from mailnode.mailauth.results import authserv_id, read_claims
from mailnode.mime import read_mail
from mailnode.reading.cautions import NOT_PROVED, Caution, cautions_of
from mailnode.reading.domains import shown_domain
from mailnode.reading.fields import addresses_of, decoded, harmless, read_fields
from mailnode.reading.frame import Frame, frame_of
from mailnode.reading.html import Cleaned, clean_html
from mailnode.reading.octets import Octets
from mailnode.reading.parts import Part, Parts, parts_of
from mailnode.reading.summary import Summary, summary_of
from mailnode.reading.text import html_of, text_of_html
from mailnode.telling import size

TEXT_CHARACTERS = 200_000
TEXT_OCTETS = 1 << 20
HTML_OCTETS = 2 << 20
FOUND_IN_OCTETS = 1 << 20
SHOWN_FILES = 200
MOST_LINKS = 2_000
SHOWN_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_CAUTIOUS_FIELDS = ("from", "reply-to", "list-id", "list-post")
_LINK = re.compile(r"https?://[^\s<>\"'\\^`{|}]{1,2000}", re.I)
_BEHIND_LINK = ".,;:!?)]*_"
_BLOCK = re.compile(r"<(?:p|div|tr|li|br|h[1-6]|pre|table|blockquote|hr)\b", re.I)
_TAG = re.compile(r"<[^>]*>")
_SUBJECT_OCTETS = 8 << 10
_LINE_CHARACTERS, _PICTURE_LINES = 60, 8

Named = tuple[tuple[str, str], ...]
"""(name, address) of each, as a stranger wrote them."""


@frozen
class File:
    """A part that is no text of the mail.

    Attributes:
        path: as its mail counts, from the outermost.
        name: as the mail has it, or what is put in its place.
        size: in words.
        is_picture: the browser may show it.
        is_mail: it can be opened as one.
    """

    path: str
    name: str
    kind: str
    size: str
    is_picture: bool
    is_mail: bool


@frozen
class View:
    """A mail, as its page shows it.

    Attributes:
        date: what the mail says of when it was sent; for where no clock shows that.
        text: pieces of it, and where those that are links lead; "" for others.
        text_cut: there is more.
        cleaned: its HTML; None where it has none, or the text is shown.
        lines: how high that is, about.
        files: all, or the first so many.
        more_files: how many there are behind those.
        parts_cut: not all of the mail was looked at.
        findings: None where the mail is too large to be judged.
    """

    summary: Summary
    senders: Named
    reply_to: Named
    to: Named
    cc: Named
    bcc: Named
    date: str
    text: tuple[tuple[str, str], ...]
    text_cut: bool
    has_text: bool
    has_html: bool
    cleaned: Cleaned | None
    lines: int
    files: tuple[File, ...]
    more_files: int
    parts_cut: bool
    cautions: tuple[Caution, ...]
    findings: tuple[Finding, ...] | None


def mail_in(octets: Octets, of: str) -> Octets | None:
    """The mail itself, or the one that is attached as the part `of`; None: there is none."""
    if not of:
        return octets
    part = parts_of(octets).at(of)
    return part.span if part is not None and part.is_mail else None


def view_mail(
    octets: Octets,
    of: str,
    wanted: str,
    all_files: bool,
    cid_url: Callable[[str], str],
    domains: Collection[str],
    hostname: str = "",
) -> View | None:
    """What is shown of a mail, or of one that is attached to it; None where that isn't there.

    Args:
        wanted: "text" or "html", where it has both.
        cid_url: where the part with this path can be loaded, from the outermost mail.
        domains: that others may pretend to be.
        hostname: of this node, whose results of checks are believed.
    """
    found = mail_in(octets, of)
    if found is None:
        return None
    parts = parts_of(found)
    plain, html = _bodies(parts)
    shows_html = html is not None and (plain is None or wanted != "text")
    if wanted == "text":
        shows_html = False
    cleaned, lines = None, 0
    if shows_html and html is not None:
        cleaned = clean_html(
            html.text(HTML_OCTETS), show_remote=False, cid_url=_by_cid(parts, of, cid_url)
        )
        lines = _lines_of(cleaned.html)
    text, text_cut = ("", False) if shows_html else _text(found, parts, plain, html)
    files = list(_files(parts, of, plain, html))
    shown = len(files) if all_files else SHOWN_FILES
    fields = parts.fields
    return View(
        summary=summary_of(parts, text[:1000]),
        senders=_names(fields, "from"),
        reply_to=_names(fields, "reply-to"),
        to=_names(fields, "to"),
        cc=_names(fields, "cc"),
        bcc=_names(fields, "bcc"),
        date=harmless(fields.get("date", [""])[0])[:100],
        text=tuple(_linked(text)),
        text_cut=text_cut,
        has_text=plain is not None,
        has_html=html is not None,
        cleaned=cleaned,
        lines=lines,
        files=tuple(files[:shown]),
        more_files=max(0, len(files) - shown),
        parts_cut=parts.cut,
        cautions=(*_unproved(fields, "" if of else hostname), *_cautions(fields, html, domains)),
        findings=tuple(find(found[:])) if len(found) <= FOUND_IN_OCTETS else None,
    )


def frame_mail(
    octets: Octets, of: str, show_remote: bool, cid_url: Callable[[str], str]
) -> Frame | None:
    """The document of a mail's HTML; None where it has none."""
    found = mail_in(octets, of)
    parts = None if found is None else parts_of(found)
    html = None if parts is None else _bodies(parts)[1]
    if parts is None or html is None:
        return None
    cleaned = clean_html(
        html.text(HTML_OCTETS), show_remote=show_remote, cid_url=_by_cid(parts, of, cid_url)
    )
    return frame_of(cleaned, show_remote=show_remote)


def print_mail(
    octets: Octets, of: str, show_remote: bool, cid_url: Callable[[str], str]
) -> Frame | None:
    """A document of the whole mail as it is put on paper; None where there is no such mail."""
    found = mail_in(octets, of)
    if found is None:
        return None
    parts = parts_of(found)
    plain, html = _bodies(parts)
    if html is not None:
        cleaned = clean_html(
            html.text(HTML_OCTETS), show_remote=show_remote, cid_url=_by_cid(parts, of, cid_url)
        )
    else:
        text, cut = _text(found, parts, plain, html)
        cleaned = Cleaned(f"<pre>{escape(text)}</pre>", "", 0, 0, 0, cut)
    return frame_of(cleaned, show_remote=show_remote, head=_print_head(parts, plain, html))


def _print_head(parts: Parts, plain: Part | None, html: Part | None) -> str:
    summary = summary_of(parts, "")
    rows = [("Subject", summary.subject)]
    for title, name in (("From", "from"), ("To", "to"), ("Cc", "cc")):
        people = ", ".join(
            f"{each} <{address}>" if each else address
            for each, address in _names(parts.fields, name)
        )
        if people:
            rows.append((title, people))
    rows.append(("Date", harmless(parts.fields.get("date", [""])[0])[:100]))
    files = ", ".join(f"{each.name} ({each.size})" for each in _files(parts, "", plain, html))
    if files:
        rows.append(("Attached", files[:2000]))
    told = "".join(f"<tr><th align=left>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return f"<table>{told}</table><hr>"


def _bodies(parts: Parts) -> tuple[Part | None, Part | None]:
    """The text and the HTML that are to be read; a blank text beside HTML counts for nothing."""
    plain, html = parts.body("text/plain"), parts.body("text/html")
    if plain is not None and html is not None and not plain.text(TEXT_OCTETS).strip():
        plain = None
    return plain, html


def _text(octets: Octets, parts: Parts, plain: Part | None, html: Part | None) -> tuple[str, bool]:
    """What it says, and whether there is more."""
    if plain is not None:
        text, cut = plain.text(TEXT_OCTETS), plain.size_octets > TEXT_OCTETS
    elif html is not None:
        text = text_of_html(html_of(html))
        cut = html.size_octets > TEXT_OCTETS
    elif all(part.is_multipart for part in parts):  # its parts are nowhere to be found
        text = next(iter(parts)).text(TEXT_OCTETS) if len(parts) else ""
        cut = len(octets) > TEXT_OCTETS
    else:
        return "", False
    return text[:TEXT_CHARACTERS], cut or len(text) > TEXT_CHARACTERS


def _linked(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    for number, found in enumerate(_LINK.finditer(text)):
        if number >= MOST_LINKS:
            break
        link = found.group().rstrip(_BEHIND_LINK)
        yield text[at : found.start()], ""
        yield link, link
        at = found.start() + len(link)
    yield text[at:], ""


def _names(fields: dict[str, list[str]], name: str) -> Named:
    return tuple(addresses_of(fields.get(name, [])))


def _by_cid(parts: Parts, of: str, cid_url: Callable[[str], str]) -> Callable[[str], str | None]:
    paths = {
        part.cid: part.path
        for part in reversed(parts.all)
        if part.cid and part.kind in SHOWN_PICTURES and not part.attached
    }

    def find_url(cid: str) -> str | None:
        path = paths.get(cid)
        return None if path is None else cid_url(outer_path(of, path))

    return find_url


def outer_path(of: str, path: str) -> str:
    """How the outermost mail counts a part of one that is attached to it."""
    return f"{of}.{path}" if of else path


def _files(parts: Parts, of: str, plain: Part | None, html: Part | None) -> Iterator[File]:
    """Whatever isn't shown as the mail's text or in its page: nothing is passed over in silence."""
    for part in parts:
        if part.is_multipart or part.attached or part is plain or part is html:
            continue
        in_page = part.related and part.cid and part.kind in SHOWN_PICTURES
        if in_page and html is not None and part.disposition != "attachment":
            continue
        if part.kind.startswith("text/") and not part.name and not part.size_octets:
            continue
        yield File(
            path=outer_path(of, part.path),
            name=harmless(part.name) or _subject_in(part) or f"part {part.path}",
            kind=part.kind,
            size=size(part.content_octets),
            is_picture=part.kind in SHOWN_PICTURES,
            is_mail=part.is_mail,
        )


def _subject_in(part: Part) -> str:
    """Of an attached mail."""
    if not part.is_mail:
        return ""
    fields = read_fields(part.content(_SUBJECT_OCTETS))
    return decoded(fields.get("subject", [""])[0])[:100]


def _unproved(fields: dict[str, list[str]], hostname: str) -> Iterator[Caution]:
    """Of a mail that failed DMARC, whose domain asks nothing for it: nothing else tells of it.

    Args:
        hostname: whose results are believed; "" for nobody's.
    """
    told = fields.get("authentication-results", [""])[0]  # we put ours in front
    if not hostname or authserv_id(told) != hostname:
        return
    _name, address = next(iter(addresses_of(fields.get("from", []))), ("", ""))
    domain = shown_domain(address.rpartition("@")[2])
    if domain and ("dmarc", "fail") in read_claims(told):
        words = (
            f"This is not proved to be from {domain}: a mailing list may have changed it, or "
            "somebody else wrote it"
        )
        yield Caution(NOT_PROVED, words, domain, mild=True)


def _cautions(
    fields: dict[str, list[str]], html: Part | None, domains: Collection[str]
) -> list[Caution]:
    """The few fields that are judged are handed on cut: `email` is slow at long ones."""
    header = "".join(
        f"{name}: {value}\r\n" for name in _CAUTIOUS_FIELDS for value in fields.get(name, [])[:3]
    )
    mail = read_mail(header.encode("utf-8", "replace") + b"\r\n")
    page = "" if html is None else html.text(HTML_OCTETS)
    return cautions_of(mail, page, known_domains=domains)


def _lines_of(html: str) -> int:
    """How many lines of text are about as high."""
    blocks, pictures = len(_BLOCK.findall(html)), html.count("<img")
    letters = len(_TAG.sub("", html))
    return blocks + letters // _LINE_CHARACTERS + pictures * _PICTURE_LINES
