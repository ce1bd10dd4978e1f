"""Header fields of what people type: what only looks encoded is not decoded on its way out.

The email package takes words such as ``=?utf-8?q?a=0D=0ABcc:_b?=`` for encoded ones (RFC 2047)
wherever a value is set, and writes what they hold as it is: a line end in it begins a field that
nobody asked for. A stranger's subject or Message-ID comes back in an answer to it.
"""

from __future__ import annotations

import re
from email.message import EmailMessage

_ID = re.compile(r"<[!-;=?-~]{1,500}>")
_FIELD = re.compile(rb"([!-9;-~]+):")


def undecoded(text: str) -> str:
    """The text with nothing in it that would be taken for an encoded word."""
    end = text.rfind("?=")
    return text[:end].replace("=?", "= ?") + text[end:] if end >= 0 else text


def ids_of(text: str) -> str:
    """The message-ids in it, as far as a field can have them; "" for none."""
    return " ".join(each for each in _ID.findall(text) if "=?" not in each)


def octets_of(mail: EmailMessage) -> bytes:
    """Header and body.

    Raises:
        ValueError: its header is not of the fields that were set.
    """
    octets = bytes(mail)
    header = octets.partition(b"\r\n\r\n")[0]
    names = list[str]()
    for line in header.split(b"\r\n") if header else ():
        found = _FIELD.match(line)
        if found:
            names.append(found[1].decode())
        elif line[:1] not in (b" ", b"\t"):
            raise ValueError("a line of the header is none")
    if names != mail.keys() or b"\n" in header.replace(b"\r\n", b""):
        raise ValueError("the header would not be the one that was written")
    return octets
