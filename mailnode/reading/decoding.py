"""Contents out of their transfer encodings (RFC 2045 section 6), however they are malformed."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from itertools import chain

from mailnode.reading.octets import Octets

PIECE_OCTETS = 64 << 10
COUNTED_OCTETS = 256 << 10
LINE_OCTETS = 1 << 10

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# None of MIME's; mail of long ago has it, and `email` reads it.
_UUENCODED = ("x-uuencode", "uuencode", "x-uue", "uue")
_UU_BEGIN = b"begin "
_UU_LINE = 200  # octets; those of a line are 61 and its end
_NO_BASE64 = bytes(set(range(256)) - set(_BASE64))
_NO_BASE64_OR_END = bytes(set(_NO_BASE64) - set(b"="))


def decode_octets(octets: bytes, encoding: str) -> bytes:
    """All of it, as far as it goes.

    Args:
        encoding: in lower case; one that nobody knows leaves the octets as they are.
    """
    if encoding == "base64":
        return _unbase64(octets)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(octets)
    if encoding in _UUENCODED:
        return b"".join(decode_pieces(octets, encoding))
    return octets


def decode_pieces(octets: Octets, encoding: str) -> Iterator[bytes]:
    """The same in pieces of about `PIECE_OCTETS`, none of them empty."""
    read: Iterator[bytes] = (
        octets[at : at + PIECE_OCTETS] for at in range(0, len(octets), PIECE_OCTETS)
    )
    if encoding == "base64":
        read = _unbase64_each(read)
    elif encoding == "quoted-printable":
        read = _unquote_each(read)
    elif encoding in _UUENCODED and _has_begin(octets):
        read = _unuu_each(read)
    return (piece for piece in read if piece)


def decoded_size(octets: Octets, encoding: str) -> int:
    """How many octets come out; of a large content worked out, for decoding it takes long.

    For base64 that is right if all lines but the last are as long as the first, as every program
    writes them; for others it is the encoded size.
    """
    if len(octets) <= COUNTED_OCTETS:
        return sum(map(len, decode_pieces(octets, encoding)))
    return _size_of_base64(octets) if encoding == "base64" else len(octets)


def _size_of_base64(octets: Octets) -> int:
    first = octets[0:LINE_OCTETS]
    begin = len(first) - len(first.lstrip())
    last = octets[len(octets) - LINE_OCTETS : len(octets)]
    end = len(octets) - len(last) + len(last.rstrip())
    line = first[begin:].partition(b"\n")[0]
    if begin + len(line) == len(first):  # its line has no end
        letters = end - begin
    else:
        lines, rest = divmod(end - begin, len(line) + 1)
        length = len(line.rstrip())
        letters = lines * length + min(rest, length)
    stripped = last.rstrip()
    padding = len(stripped) - len(stripped.rstrip(b"="))
    return max(0, (letters - min(padding, 2)) * 3 // 4)


def _unbase64(octets: bytes) -> bytes:
    """As far as it goes, whatever stands between."""
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:  # it was cut, or has no padding
        return _of_letters(octets.translate(None, _NO_BASE64))


def _of_letters(letters: bytes) -> bytes:
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _unbase64_each(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Four letters are three octets; the first whole padding is the end."""
    left = b""
    for piece in pieces:
        letters = left + piece.translate(None, _NO_BASE64_OR_END)
        at = letters.find(b"=")
        while at >= 0:
            if at % 4 >= 2 and (at % 4 == 3 or letters[at + 1 : at + 2] in (b"=", b"")):
                yield _of_letters(letters[:at])
                return
            letters = letters[:at] + letters[at:].lstrip(b"=")  # it ends nothing
            at = letters.find(b"=", at)
        whole = len(letters) // 4 * 4
        left = letters[whole:]
        yield binascii.a2b_base64(letters[:whole])
    yield _of_letters(left)


def _unquote_each(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cut behind a line end; where none comes, where nothing is begun."""
    left = b""
    for piece in pieces:
        piece = left + piece
        cut = piece.rfind(b"\n") + 1
        if not cut:
            cut = len(piece) - 2
            cut = piece.find(b"=", cut) if b"=" in piece[cut:] else len(piece)
        left = piece[cut:]
        if len(left) > PIECE_OCTETS:  # a line without an end
            cut, left = len(piece) - 2, piece[-2:]
            if piece[cut - 1 : cut] == b"=":
                cut, left = cut - 1, piece[cut - 1 :]
        yield binascii.a2b_qp(piece[:cut])
    yield binascii.a2b_qp(left)


def _has_begin(octets: Octets) -> bool:
    return octets.startswith(_UU_BEGIN) or octets.find(b"\n" + _UU_BEGIN) >= 0


def _unuu_each(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines between "begin" and "end"."""
    left, begun = b"", False
    for piece in chain(pieces, (b"\n",)):
        *lines, left = (left + piece).split(b"\n")
        left = left[:_UU_LINE]  # a line without an end is none of these
        decoded = list[bytes]()
        for line in filter(None, lines):
            if not begun:
                begun = line.startswith(_UU_BEGIN)
            elif line.rstrip() == b"end":
                yield b"".join(decoded)
                return
            else:
                decoded.append(_unuu(line.rstrip(b"\r")))
        yield b"".join(decoded)


def _unuu(line: bytes) -> bytes:
    """As far as it goes: some write too much at its end, others strip the blanks there."""
    if not line:
        return b""
    octets = (line[0] - 32) & 63
    try:
        return binascii.a2b_uu(line[: (octets * 4 + 5) // 3])
    except binascii.Error:
        return b""
