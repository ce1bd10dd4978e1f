"""What of a mail is taken away: its source, its attachments, the pictures of its page."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from hmac import new as new_hmac
from secrets import compare_digest, token_bytes
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define, field, frozen

from mailnode.filenames import safe_name
from mailnode.reading.octets import Octets
from mailnode.reading.parts import parts_of
from mailnode.web.letters import Letter, Letters, Stretch
from mailnode.web.pages.mail_view import SHOWN_PICTURES
from mailnode.web.refusals import NoSuchPage, NotAllowed
from mailnode.web.routes import TEXT, Answer

if TYPE_CHECKING:
    from mailnode.store.guests import Guests
    from mailnode.web.visit import Visit

KEY_S = 3600.0
MOST_PATH = 200
CLOSED = "default-src 'none'; frame-ancestors 'none'; sandbox"
# What a browser would run is never said to be it, even to be kept.
_ACTIVE = re.compile(
    r"(text/(html|xml|xsl|javascript|ecmascript|css)|.*[/+](xml|javascript|xhtml)|image/svg.*)"
)
_STARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}


@frozen
class Piece:
    """A part to be taken away.

    Attributes:
        picture: its kind, where it is a picture as its octets say; else "".
    """

    stretch: Stretch
    kind: str
    name: str
    picture: str


def find_piece(octets: Octets, path: str) -> Piece | None:
    """The part of that path; None: there is none."""
    part = parts_of(octets).at(path)
    if part is None:
        return None
    span = part.span
    start = part.content(64)
    starts = _STARTS.get(part.kind, ())
    return Piece(
        Stretch(span.start, span.end, part.encoding),
        part.kind,
        part.name,
        part.kind if starts and start.startswith(starts) else "",
    )


def file_name(name: str, kind: str, path: str) -> str:
    """A name that can do no harm, with an ending."""
    usual = mimetypes.guess_extension(kind) if kind != "message/rfc822" else ".eml"
    return safe_name(name, f"part-{path or 'all'}{usual or '.bin'}")


def disposition(how: str, name: str) -> str:
    """Content-Disposition of a safe name (RFC 6266, RFC 8187)."""
    plain = re.sub(r"[^A-Za-z0-9 ._()\-]", "_", name)
    told = f'{how}; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='')}"


@define(eq=False)
class Keys:
    """Let a mail's frame load the mail's pictures: it has no cookie, for it has no origin of ours.

    A key is a session's and a mail's, which its page's path names: it opens no other, and nothing
    once the session has ended.

    Args:
        now: UTC epoch seconds.
    """

    now: Callable[[], float]
    _secret: bytes = field(factory=lambda: token_bytes(32), init=False, repr=False)

    def make(self, key_hash: bytes, mail: str) -> str:
        """
        Args:
            key_hash: of the session.
            mail: the path of its page.
        """
        return self._key(key_hash, mail, int(self.now() + KEY_S))

    def _key(self, key_hash: bytes, mail: str, until: int) -> str:
        said = f"{key_hash.hex()}.{until}"
        sealed = new_hmac(self._secret, f"{said}.{mail}".encode(), sha256)
        return f"{said}.{sealed.hexdigest()}"

    def session_of(self, key: str, mail: str) -> bytes | None:
        """The hash of its session; None: it opens nothing, or no longer."""
        parts = re.match(r"([0-9a-f]{64})\.([0-9]{1,12})\.", key)
        if parts is None:
            return None
        key_hash, until = bytes.fromhex(parts[1]), int(parts[2])
        wanted = self._key(key_hash, mail, until)
        same = compare_digest(wanted.encode(), key.encode("utf-8", "replace"))
        return key_hash if same and until > self.now() else None


@define(eq=False)
class Files:
    """Answers of what is taken away."""

    letters: Letters
    keys: Keys
    guests: Guests

    async def source(self, letter: Letter) -> Answer:
        """All of it, as text."""
        return await self._whole(letter, TEXT, ())

    async def save(self, letter: Letter) -> Answer:
        """All of it, as a file."""
        number = letter.path.rpartition("/")[2]
        name = safe_name(letter.subject, f"mail-{number}") + ".eml"
        told = disposition("attachment", name)
        return await self._whole(letter, "message/rfc822", (("Content-Disposition", told),))

    async def _whole(
        self, letter: Letter, kind: str, headers: tuple[tuple[str, str], ...]
    ) -> Answer:
        length = await self.letters.look(letter, len)
        return Answer(
            kind=kind,
            headers=(
                ("Content-Security-Policy", CLOSED),
                ("Content-Length", str(length)),
                *headers,
            ),
            produce=self.letters.streaming(letter),
        )

    async def part(self, visit: Visit, letter: Letter, path: str) -> Answer:
        """A part, to be kept; a picture may be looked at, too (`?show=1`)."""
        piece = await self._piece(letter, path)
        name = file_name(piece.name, piece.kind, path[:MOST_PATH])
        kind = "application/octet-stream" if _ACTIVE.fullmatch(piece.kind) else piece.kind
        how = "attachment"
        if visit.query("show") and piece.picture:
            how, kind = "inline", piece.picture
        return Answer(
            kind=kind,
            headers=(
                ("Content-Security-Policy", CLOSED),
                ("Content-Disposition", disposition(how, name)),
            ),
            produce=self.letters.streaming(letter, piece.stretch),
        )

    async def picture(
        self, visit: Visit, mail: str, path: str, opens: Callable[[int], Awaitable[Letter]]
    ) -> Answer:
        """A picture of a mail's page, for who has the key that the page was given.

        Args:
            mail: the path of its page.
            opens: the mail, for the account whose session the key is of.
        """
        key_hash = self.keys.session_of(visit.query("key"), mail)
        session = None if key_hash is None else await self.guests.session_of(key_hash)
        if session is None:
            raise NotAllowed("That picture is for the mail's page alone: load it again")
        letter = await opens(session.account_id)
        piece = await self._piece(letter, path)
        if piece.picture not in SHOWN_PICTURES:
            raise NoSuchPage()
        return Answer(
            kind=piece.picture,
            headers=(
                ("Content-Security-Policy", CLOSED),
                ("Cross-Origin-Resource-Policy", "cross-origin"),
                ("Cache-Control", "private, max-age=600"),
            ),
            produce=self.letters.streaming(letter, piece.stretch),
        )

    async def _piece(self, letter: Letter, path: str) -> Piece:
        piece = await self.letters.look(letter, find_piece, path[:MOST_PATH])
        if piece is None:
            raise NoSuchPage("This mail has no such part")
        return piece
