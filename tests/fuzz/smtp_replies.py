"""SMTP's replies as a client reads them: each of the right form, or it is wrong."""

from __future__ import annotations

import re

from attrs import frozen

from tests.fuzz.client import Wrong
from tests.fuzz.smtp_house import HOSTNAME

_REPLY = re.compile(rb"(?:(\d{3})-[ -~]*\r\n)*(\d{3}) ([ -~]*)\r\n")
_STATUS = re.compile(rb"([245])\.\d{1,3}\.\d{1,3} ")


@frozen
class Reply:
    code: int
    text: bytes
    greets: bool


def replies_of(said: bytes) -> list[Reply]:
    """The replies, each of the right form (RFC 5321 section 4.2, RFC 2034)."""
    replies, at = [], 0
    while at < len(said):
        found = _REPLY.match(said, at)
        if found is None:
            raise Wrong(f"no reply: {said[at : at + 200]!r}")
        lines = found.group().split(b"\r\n")[:-1]
        code = found.group(2)
        if any(line[:3] != code for line in lines) or max(map(len, lines)) > 510:
            raise Wrong(f"a reply of two minds, or too long: {found.group()!r}")
        greets = code in (b"220", b"250") and HOSTNAME.encode() in lines[0][:30]
        if code[:1] in b"245" and not greets and code != b"354":
            for line in lines:
                status = _STATUS.match(line, 4)
                if status is None or status.group(1) != code[:1]:
                    raise Wrong(f"no enhanced code, or of another class: {line!r}")
        replies.append(Reply(int(code), found.group(3), greets))
        at = found.end()
    return replies
