"""What somebody has written so far, right or wrong, and the mail that it is kept as."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import textwrap
import zlib
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import format_datetime, localtime
from typing import Any

from attrs import evolve, frozen

from mailnode.composing.people import Mailbox, read_each

TYPED_OCTETS = 48 << 10
FIELD = "X-Draft"
_FIELD_CHARACTERS = 2_800
_SAID = ("sender", "to", "cc", "bcc", "subject", "in_reply_to", "references", "answers", "key")


@frozen(kw_only=True)
class Written:
    """A mail as it stands in its form.

    Attributes:
        sender, to, cc, bcc: as they were typed.
        text: lines ended by "\\n"; of HTML what it says in words, where that is known.
        html: "" for plain text.
        in_reply_to, references: message-ids with their brackets.
        answers: what it answers or passes on, "reply 3/17" (folder and uid); "" for nothing.
        key: says which mail it is, so that it is sent once.
    """

    sender: str = ""
    to: str = ""
    cc: str = ""
    bcc: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    in_reply_to: str = ""
    references: str = ""
    answers: str = ""
    key: str = ""

    @property
    def typed_octets(self) -> int:
        """Of all but the text."""
        return sum(len(getattr(self, name).encode("utf-8", "replace")) for name in _SAID)

    @property
    def digest(self) -> bytes:
        """SHA-256 of what would be sent, its files left aside."""
        said = [getattr(self, name) for name in (*_SAID, "html")]
        text = "" if self.html else self.text.replace("\r\n", "\n").strip()
        return hashlib.sha256(json.dumps([*said, text]).encode()).digest()

    def answered(self) -> tuple[str, int, int] | None:
        """("reply" or "forward", folder's id, uid) of what it answers or passes on."""
        deed, _, place = self.answers.partition(" ")
        folder, _, uid = place.partition("/")
        if deed not in ("reply", "forward") or not (_is_number(folder) and _is_number(uid)):
            return None
        return deed, int(folder), int(uid)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def keep_written(written: Written) -> bytes:
    """A mail, of CRLF lines, that `read_kept` makes the same of again.

    Its fields show other programs what could be read of it.
    """
    policy: Any = SMTPUTF8.clone(cte_type="8bit")
    mail = EmailMessage(policy=policy)
    for name, text in (("From", written.sender), ("To", written.to), ("Cc", written.cc)):
        if people := [each for each in read_each(text) if isinstance(each, Mailbox)]:
            with suppress(ValueError):  # a name that no field can have
                mail[name] = [each.shown for each in people[:50]]
    mail["Subject"] = _clean(" ".join(written.subject.split()))[:1000]
    mail["Date"] = format_datetime(localtime())
    packed = zlib.compress(json.dumps({name: getattr(written, name) for name in _SAID}).encode())
    for piece in textwrap.wrap(base64.b64encode(packed).decode(), _FIELD_CHARACTERS):
        mail[FIELD] = " ".join(textwrap.wrap(piece, 70))
    if written.html:
        mail.set_content(_clean(written.html) + "\n", subtype="html")
    else:
        mail.set_content(_clean(written.text) + "\n")
    return bytes(mail)


def _clean(text: str) -> str:
    """Without what UTF-8 can't write."""
    return text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")


def read_kept(values: Sequence[str], written: Written) -> Written:
    """The draft with what was typed for it, where its fields say so.

    Args:
        values: of its `FIELD`s.
        written: what can be read of it as of any mail.
    """
    if not values:
        return written
    try:
        packed = base64.b64decode("".join("".join(values).split()), validate=True)
        unpacker = zlib.decompressobj()
        said = json.loads(unpacker.decompress(packed, 8 * TYPED_OCTETS))
    except (ValueError, binascii.Error, zlib.error, RecursionError):  # another program wrote it
        return written
    if not isinstance(said, dict):
        return written
    return evolve(
        written, **{name: said[name] for name in _SAID if isinstance(said.get(name), str)}
    )
