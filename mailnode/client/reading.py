"""A mail as a person reads it on a terminal: who, when, what, and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import frozen

from mailnode.client.markup import text_of_html
from mailnode.findings.charsets import codec_of
from mailnode.mime import is_too_much, read_header

SHOWN = ("From", "To", "Cc", "Date", "Subject")
_READ = ("text", "multipart")
FIELD_CHARACTERS = 8192
LISTED_CHARACTERS = 1000
AS_IT_CAME = "[this mail can't be shown as one reads it; here it is as it came]\n\n"


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
    mail = read_header(raw)
    sender, subject = (field_of(mail, name, LISTED_CHARACTERS) for name in ("From", "Subject"))
    return Head(sender, subject, sent_at(mail))


def field_of(mail: EmailMessage, name: str, most: int = FIELD_CHARACTERS) -> str:
    """A field in one line, decoded, and of a long one the beginning; "" for none."""
    for each, value in mail.raw_items():
        if each.lower() == name.lower():
            cut = value[:most]
            shown = " ".join(str(mail.policy.header_fetch_parse(each, cut)).split())
            return shown if len(cut) == len(value) else f"{shown} ..."
    return ""


def sent_at(mail: EmailMessage) -> float | None:
    try:
        at: datetime = parsedate_to_datetime(str(mail["Date"]))
        return at.timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def text_of(mail: EmailMessage) -> str:
    """What it says: its text, or what stands in its HTML; its source where nobody can tell."""
    if is_too_much(mail):
        payload = str(mail.get_payload()).encode("ascii", "surrogateescape")
        return AS_IT_CAME + payload.decode("utf-8", "replace")
    try:
        body = mail.get_body(("plain", "html"))
        if body is None:
            return ""
        content = _decoded(body)
        return text_of_html(content) if body.get_content_type() == "text/html" else content
    except Exception:  # a structure that `email` can't walk, or an encoding that it can't undo
        return AS_IT_CAME + _source(mail)


def _source(mail: EmailMessage) -> str:
    with suppress(Exception):
        return mail.as_bytes().partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    return ""


def _decoded(part: Any) -> str:
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    return octets.decode(codec_of(part.get_content_charset() or "") or "utf-8", "replace")


def attachments_of(mail: EmailMessage) -> Iterator[Attachment]:
    """Each part with a file name, or that says it is one; what is text to be read is none.

    Mails within a mail that is attached are in that one, and not given again. What `email` can't
    take out of the mail is none, either.
    """
    if is_too_much(mail):
        return
    try:
        body = mail.get_body(("plain", "html"))
    except Exception:
        body = None
    parts: list[tuple[Any, bool]] = [(mail, False)]
    while parts:
        part, within = parts.pop()
        found = None
        with suppress(Exception):
            is_mail = part.get_content_type() == "message/rfc822"
            if part.is_multipart():
                parts += [(inner, within or is_mail) for inner in reversed(part.get_payload())]
            if not (within and is_mail):
                found = _attachment(part, part is body)
        if found is not None:
            yield found


def _attachment(part: Any, is_body: bool) -> Attachment | None:
    kind = part.get_content_type()
    is_mail = kind == "message/rfc822"
    if part.is_multipart() and not is_mail:
        return None
    name = str(part.get_filename("") or "")
    told = part.get_content_disposition() == "attachment"
    if not told and (is_body or not (name or part.get_content_maintype() not in _READ)):
        return None
    if is_mail:
        payload = part.get_payload()
        content = bytes(payload[0]) if isinstance(payload, list) and payload else b""
    else:
        decoded = part.get_payload(decode=True)
        content = decoded if isinstance(decoded, bytes) else b""
    return Attachment(name, kind, content)
