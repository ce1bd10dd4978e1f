"""Header fields that we put in front of a mail (RFC 5321 section 4.4, RFC 6409 section 8)."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache

from mailnode.model import Client
from mailnode.smtp.paths import safe_helo
from mailnode.wire import header_fields, header_of


@lru_cache(maxsize=4)
def mail_date(second: int) -> str:
    """RFC 5322 date-time in this machine's zone."""
    return formatdate(second, localtime=True)


def received_field(
    client: Client, hostname: str, mail_id: str, recipient: str = "", at: float | None = None
) -> bytes:
    """Our Received field, its CRLFs included.

    Args:
        recipient: the one recipient; "" for several, who must not learn of each other.
    """
    literal = f"IPv6:{client.host}" if ":" in client.host else client.host
    lines = [f"Received: from {safe_helo(client.helo)} ([{literal or 'local'}])"]
    if client.tls:
        lines.append(f"\t({client.tls})")
    lines.append(f"\tby {hostname} (mailnode) with {client.protocol or 'SMTP'} id {mail_id}")
    if recipient:
        lines.append(f"\tfor <{recipient}>")
    date = mail_date(int(time.time() if at is None else at))
    return ("\r\n".join(lines) + f"; {date}\r\n").encode()


def missing_fields(
    head: bytes, hostname: str, mail_id: str, at: float, author: str = "", sender: str = ""
) -> bytes:
    """What a submitted mail lacks: Date, Message-ID (S32), and From.

    Args:
        author: whose mail it is, when From doesn't say it; RFC 5322 section 3.6 wants one, and
            RFC 6409 section 8 lets us see to it.
        sender: which of several authors sends it, when Sender doesn't say it (RFC 5322 section
            3.6.2, RFC 6409 section 8.1); "" when From names one.
    """
    names = {name for name, _value in header_fields(header_of(head))}
    added = b""
    if b"date" not in names:
        added += f"Date: {mail_date(int(at))}\r\n".encode()
    if b"message-id" not in names:
        added += f"Message-ID: <{mail_id}@{hostname}>\r\n".encode()
    if author and b"from" not in names:
        added += f"From: {author}\r\n".encode()
    if sender and b"sender" not in names:
        added += f"Sender: {sender}\r\n".encode()
    return added
