"""The mail that brings somebody a daily report for programs, gzipped (RFC 7489, RFC 8460). Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from urllib.parse import unquote

from attrs import frozen

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress

LINE_OCTETS = 57  # base64 makes 76 of them

_SUBJECT = re.compile(r"Report[ -]Domain:\s*\S+(?:\s+Submitter:|\Z)", re.I)


@frozen
class Enclosed:
    """The report as a part of its mail.

    Attributes:
        media_type, filename: ASCII.
        octets: packed already.
    """

    media_type: str
    filename: str
    octets: bytes


def read_mailto(uri: str) -> Address | None:
    """Whom a URI names; None for one that is no `mailto:`, or names nobody in ASCII."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return None
    try:
        address = parse_address(unquote(rest.partition("?")[0], errors="strict"))
    except (BadAddress, ValueError):  # UnicodeDecodeError is one
        return None
    return address if address.is_ascii else None


def is_report(subject: str) -> bool:
    """Whether a mail says in its subject that it brings such a report, whoever sent it."""
    return _SUBJECT.match(subject) is not None


def make_daily_mail(
    enclosed: Enclosed,
    *,
    about: str,
    report_id: str,
    sender: Address,
    name: str,
    to: Sequence[Address],
    hostname: str,
    at: float,
    more: Sequence[str] = (),
    kind: str,
    words: Sequence[str],
) -> bytes:
    """Header and body: CRLF lines, 7bit.

    Args:
        about: the domain that is reported on.
        name: of the sender, ASCII.
        more: fields besides.
        kind: of the multipart, as Content-Type has it.
        words: lines for people.
    """
    boundary = f"=_{report_id}"
    lines = [
        f"Date: {formatdate(at, localtime=True)}",
        f"From: {name} <{sender}>",
        f"To: {', '.join(f'<{each}>' for each in to)}",
        f"Subject: Report Domain: {about} Submitter: {sender.domain}",
        f" Report-ID: <{report_id}@{hostname}>",
        f"Message-ID: <{report_id}@{hostname}>",
        *more,
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f"Content-Type: {kind};",
        f'\tboundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        *words,
        "",
        f"--{boundary}",
        f"Content-Type: {enclosed.media_type}",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f'\tfilename="{enclosed.filename}"',
        "",
        *_base64_lines(enclosed.octets),
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _base64_lines(octets: bytes) -> Iterator[str]:
    for at in range(0, len(octets), LINE_OCTETS):
        yield base64.b64encode(octets[at : at + LINE_OCTETS]).decode()
