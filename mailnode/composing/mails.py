"""A mail made of a draft: its octets in pieces, however large the files are that go with it."""

from __future__ import annotations

import base64
import io
import re
import secrets
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, localtime, make_msgid
from typing import Any, BinaryIO

from attrs import field, frozen

from mailnode.addresses import Address
from mailnode.composing.drafts import Draft, Enclosure
from mailnode.composing.headers import ids_of, octets_of, undecoded
from mailnode.errors import Refused
from mailnode.mime import MOST_ENCODED

LINE_OCTETS = 57  # of a file that are one line of base64
PIECE_OCTETS = LINE_OCTETS * 1024


class FileUnreadable(Refused):
    """What goes with the mail isn't there any more, or isn't as long as it was."""

    http_status, exit_code = 409, 66
    text = "A file can't be read"


@frozen
class Composed:
    """A mail that is ready to leave: CRLF lines of ASCII, or of UTF-8 where an address is.

    Attributes:
        message_id: with its brackets.
        smtputf8: an address of it is beyond ASCII.
        size_octets: of all of it.
    """

    message_id: str
    smtputf8: bool
    size_octets: int
    _parts: Sequence[bytes | Enclosure] = field(repr=False)

    def pieces(self) -> Iterator[bytes]:
        """Its octets, none of them larger than the text, or 77 KiB.

        Raises:
            FileUnreadable.
        """
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from _encoded(part)

    def open(self) -> BinaryIO:
        """The same as a file."""
        return io.BufferedReader(_Pieces(self.pieces()))


def compose(draft: Draft) -> Composed:
    """The mail, with all that it must have (RFC 5322); Bcc stands in its envelope alone.

    Raises:
        OSError: a file isn't there.
        ValueError: a field can't stand in a header.
    """
    everybody = (draft.sender, *draft.recipients)
    in_utf8 = any(not each.address.is_ascii for each in everybody)
    # Encoded so that no host on the way must know 8BITMIME.
    policy: Any = (SMTPUTF8 if in_utf8 else SMTP).clone(cte_type="7bit")
    mail = EmailMessage(policy=policy)
    mail["From"] = draft.sender.shown
    for name, people in (("To", draft.to), ("Cc", draft.cc)):
        if people:
            mail[name] = [each.shown for each in people]
    if not draft.to and not draft.cc:
        mail["To"] = "undisclosed-recipients:;"
    mail["Subject"] = undecoded(draft.subject)
    mail["Date"] = format_datetime(localtime())
    message_id = make_msgid(domain=_id_domain(draft.sender.address))
    mail["Message-ID"] = message_id
    if answers := ids_of(draft.in_reply_to):
        mail["In-Reply-To"] = answers
        mail["References"] = f"{ids_of(draft.references)} {answers}".strip()
    for name, value in draft.headers:
        mail[name] = undecoded(value)
    mail["MIME-Version"] = "1.0"
    encoding = policy.clone(max_line_length=MOST_ENCODED)
    enclosures = (*map(Enclosure.of_file, draft.files), *draft.enclosures)
    parts = [octets_of(mail).removesuffix(b"\r\n"), *_content(draft, encoding, enclosures)]
    size = sum(len(part) if isinstance(part, bytes) else _octets(part) for part in parts)
    return Composed(message_id, in_utf8, size, parts)


Parts = list[bytes | Enclosure]


def _content(draft: Draft, policy: Any, enclosures: Sequence[Enclosure]) -> Parts:
    """From the first Content- field on: mixed of the text and what is attached to it."""
    shown = [each for each in enclosures if each.content_id and draft.html]
    attached = [each for each in enclosures if each not in shown]
    parts: Parts = [_text(draft, policy, shown=bool(shown))]
    if shown:
        parts = _multipart("related", [parts, *map(_part, shown)])
        if draft.text:
            plain = EmailMessage(policy=policy)
            plain.set_content(_whole_lines(draft.text))
            parts = _multipart("alternative", [[_without_version(plain)], parts])
    if attached:
        parts = _multipart("mixed", [parts, *map(_part, attached)])
    return parts


def _multipart(kind: str, children: Sequence[Parts]) -> Parts:
    boundary = f"=_{secrets.token_hex(16)}"
    mark = f"--{boundary}".encode()
    parts: Parts = [f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n'.encode()]
    for child in children:
        parts += [b"\r\n" + mark + b"\r\n", *child]
    return [*parts, b"\r\n" + mark + b"--\r\n"]


def _id_domain(address: Address) -> str:
    return "localhost" if address.domain.startswith("[") else address.domain


def _whole_lines(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _text(draft: Draft, policy: Any, *, shown: bool) -> bytes:
    """Of both kinds where there are both, as far as nothing is to be shown inside the HTML."""
    mail = EmailMessage(policy=policy)
    text = "" if shown else _whole_lines(draft.text)
    if draft.html:
        if text:
            mail.set_content(text)
            mail.add_alternative(draft.html, subtype="html")
        else:
            mail.set_content(draft.html, subtype="html")
    else:
        mail.set_content(text)
    return _without_version(mail)


def _without_version(mail: EmailMessage) -> bytes:
    del mail["MIME-Version"]
    return bytes(mail)


# But for those that may not be encoded (RFC 2046 sections 5.1 and 5.2).
_KIND = re.compile(r"(?!message/|multipart/)[a-z]+/[a-z0-9.+-]{1,100}", re.I)


def _part(enclosure: Enclosure) -> Parts:
    """Its fields and the blank line, then itself."""
    part = EmailMessage(policy=SMTP)
    known = _KIND.fullmatch(enclosure.kind)
    kind = enclosure.kind if known else "application/octet-stream"
    charset = _charset(enclosure) if kind.lower().startswith("text/") else ""
    part["Content-Type"] = f'{kind}; charset="{charset}"' if charset else kind
    part["Content-Transfer-Encoding"] = "base64"
    how = "inline" if enclosure.content_id else "attachment"
    part.add_header("Content-Disposition", how, filename=undecoded(enclosure.name))
    if enclosure.content_id:
        part["Content-ID"] = f"<{enclosure.content_id}>"
    return [octets_of(part), enclosure]


def _charset(enclosure: Enclosure) -> str:
    """Of a text: "us-ascii" or "utf-8"; "" for another, of which nobody knows which it is.

    What can't be read is told when it is to be sent.
    """
    decoder, is_ascii, left = getincrementaldecoder("utf-8")(), True, enclosure.size_octets
    try:
        with enclosure.open() as file:
            while left and (piece := _read(file, min(left, PIECE_OCTETS))):
                left -= len(piece)
                decoder.decode(piece, final=not left)
                if b"\0" in piece:  # UTF-16, or no text
                    return ""
                is_ascii = is_ascii and piece.isascii()
    except (UnicodeDecodeError, OSError):
        return ""
    return "us-ascii" if is_ascii else "utf-8"


def _octets(enclosure: Enclosure) -> int:
    lines, rest = divmod(enclosure.size_octets, LINE_OCTETS)
    return lines * 78 + ((rest + 2) // 3 * 4 + 2 if rest else 0)


def _encoded(enclosure: Enclosure) -> Iterator[bytes]:
    left = enclosure.size_octets
    try:
        with enclosure.open() as file:
            while left:
                piece = _read(file, min(left, PIECE_OCTETS))
                left -= len(piece)
                if not piece or (left and len(piece) < PIECE_OCTETS):
                    raise FileUnreadable(f"{enclosure.name} is shorter than it was")
                yield base64.encodebytes(piece).replace(b"\n", b"\r\n")
    except OSError as error:
        raise FileUnreadable(f"{enclosure.name}: {error.strerror or error}") from error


def _read(file: BinaryIO, count: int) -> bytes:
    """So many octets, for a piece in the middle must be whole lines; fewer at the end."""
    found = b""
    while len(found) < count and (piece := file.read(count - len(found))):
        found += piece
    return found


class _Pieces(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._left = pieces
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._held:
            piece = next(self._left, None)
            if piece is None:
                return 0
            self._held = piece
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count
