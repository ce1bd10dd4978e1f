"""The relaxed forms of a mail's header and body, which signer and verifier must both find.

RFC 6376 section 3.4: what relays are known to change on the way (the case of field names,
folding, blanks, empty lines at the end) doesn't count. No I/O.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen

_CRLF = b"\r\n"
_PIECE = _CRLF * 4096
_CRLFS_BACKWARDS = re.compile(rb"(?:\n\r)*")


@define(eq=False)
class BodyHash:
    """SHA-256 of a body in its relaxed form, fed in chunks that may be cut anywhere.

    Needs as little memory as a chunk: of what was fed before, it keeps a blank and a CR that
    may belong to a line's end, and the number of lines at the end that are still empty.
    """

    _hash: hashlib._Hash = field(factory=hashlib.sha256, init=False)
    _held: bytes = field(default=b"", init=False)
    _line_ends: int = field(default=0, init=False)
    _hashed: bool = field(default=False, init=False)

    def feed(self, chunk: bytes) -> None:
        """The octets that follow those fed before: CRLF lines, not dot-stuffed."""
        data = _blanks_reduced(self._held + chunk)
        kept = data.removesuffix(b"\r").removesuffix(b" ")
        self._held = data[len(kept) :]  # b"", b" ", b"\r" or b" \r"
        lines = _without_empty_lines(kept)
        if lines:
            self._add_line_ends()
            self._hash.update(lines)
            self._hashed = True
        self._line_ends += (len(kept) - len(lines)) // 2

    def digest(self) -> bytes:
        """The 32 octets of `bh=` before base64. Nothing may be fed afterwards.

        A body without its last CRLF is taken as if it had one; one that has nothing but
        empty lines is hashed as nothing at all.
        """
        if self._held.endswith(b"\r"):
            self.feed(b"\r\n")  # that CR ended no line
        if self._hashed:
            self._hash.update(_CRLF)
        return self._hash.digest()

    def _add_line_ends(self) -> None:
        whole, rest = divmod(self._line_ends * 2, len(_PIECE))
        for _ in range(whole):
            self._hash.update(_PIECE)
        self._hash.update(_PIECE[:rest])
        self._line_ends = 0


def _blanks_reduced(data: bytes) -> bytes:
    """Each run of blanks and tabs is one blank, and none is left in front of a CRLF."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:  # each pass halves the longest run
        data = data.replace(b"  ", b" ")
    return data.replace(b" \r\n", _CRLF)


def _without_empty_lines(data: bytes) -> bytes:
    """`data` without the CRLFs at its end; a CR or LF that stands alone stays."""
    tail = data[len(data.rstrip(_CRLF)) :]
    found = _CRLFS_BACKWARDS.match(tail[::-1])
    return data[: len(data) - (found.end() if found else 0)]


@frozen
class Field:
    """One field of a header.

    Attributes:
        name: in lower case.
        raw: with its folding, without its last CRLF.
    """

    name: bytes
    raw: bytes

    @property
    def relaxed(self) -> bytes:
        """As it is hashed (RFC 6376 section 3.4.2), without its last CRLF."""
        value = self.raw.partition(b":")[2].replace(_CRLF, b"")
        return self.name + b":" + _blanks_reduced(value).strip(b" ")


def read_fields(header: bytes) -> Iterator[Field]:
    """The fields from top to bottom, up to the empty line if there is one.

    Lines that belong to no field (no colon, or folded with nothing above) are passed over: a
    verifier can't name them either.
    """
    head = (_CRLF + header).partition(_CRLF * 2)[0]
    lines: list[bytes] = []
    for line in [*head.split(_CRLF)[1:], b""]:
        if line[:1] in (b" ", b"\t") and lines:
            lines.append(line)
            continue
        name, colon, _ = lines[0].partition(b":") if lines else (b"", b"", b"")
        if colon and (name := name.rstrip(b" \t").lower()):
            yield Field(name, _CRLF.join(lines))
        lines = [line]


def hashed_header(fields: Sequence[Field], names: Iterable[bytes], signature: bytes) -> bytes:
    """What a signature is made over (RFC 6376 section 3.7).

    Args:
        names: of `h=`, in lower case and its order. The first mention of a name is its lowest
            field, the next the one above; a mention too many stands for no field at all.
        signature: the DKIM-Signature field, its `b=` empty, without a CRLF at its end.
    """
    below: dict[bytes, list[Field]] = {}
    for each in fields:
        below.setdefault(each.name, []).append(each)
    signed = [below[name].pop().relaxed + _CRLF for name in names if below.get(name)]
    own = Field(signature.partition(b":")[0].lower(), signature)
    return b"".join(signed) + own.relaxed
