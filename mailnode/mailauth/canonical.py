"""The canonical forms of a mail's header and body, which signer and verifier must both find.

RFC 6376 section 3.4. In the relaxed form, what relays are known to change on the way (the case of
field names, folding, blanks, empty lines at the end) doesn't count; the simple one is the octets
as they are, but for empty lines at the end. No I/O.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from attrs import define, field, frozen

_CRLF = b"\r\n"
_PIECE = _CRLF * 4096
_STEP = 1 << 16  # what is worked on at a time: other threads have to wait for so much
_CRLFS_BACKWARDS = re.compile(rb"(?:\n\r)*")


@frozen
class BodyKind:
    """Which octets of a body a signature is about.

    Attributes:
        relaxed: the canonical form: relaxed, or simple.
        most_octets: of that form, no more than so many (`l=`); None for all.
    """

    relaxed: bool = True
    most_octets: int | None = None


RELAXED = BodyKind()


@frozen
class Hashed:
    """What a body came to.

    Attributes:
        digest: SHA-256, 32 octets.
        size_octets: of the whole canonical form, whatever of it was hashed.
    """

    digest: bytes
    size_octets: int


@define(eq=False)
class _Sum:
    """SHA-256 of the first octets of a form."""

    most_octets: int | None
    hash: hashlib._Hash = field(factory=hashlib.sha256, init=False)

    def add(self, piece: bytes, seen_octets: int) -> None:
        if self.most_octets is None or seen_octets + len(piece) <= self.most_octets:
            self.hash.update(piece)
        elif seen_octets < self.most_octets:
            self.hash.update(piece[: self.most_octets - seen_octets])


@define(eq=False)
class _Form:
    """A body in one canonical form, fed in chunks that may be cut anywhere.

    Needs as little memory as a chunk: of what was fed before, it keeps a blank and a CR that
    may belong to a line's end, and the number of lines at the end that are still empty.
    """

    relaxed: bool
    sums: dict[int | None, _Sum] = field(factory=dict, init=False)
    size_octets: int = field(default=0, init=False)
    _held: bytes = field(default=b"", init=False)
    _line_ends: int = field(default=0, init=False)

    def feed(self, chunk: bytes) -> None:
        data = self._held + chunk
        if self.relaxed:
            data = _blanks_reduced(data)
            kept = data.removesuffix(b"\r").removesuffix(b" ")
        else:
            kept = data.removesuffix(b"\r")
        self._held = data[len(kept) :]  # b"", b" ", b"\r" or b" \r"
        lines = _without_empty_lines(kept)
        if lines:
            self._add_line_ends()
            self._add(lines)
        self._line_ends += (len(kept) - len(lines)) // 2

    def end(self) -> None:
        """A body without its last CRLF is taken as if it had one.

        One that has nothing but empty lines is nothing at all in the relaxed form, and a CRLF in
        the simple one.
        """
        if self._held.endswith(b"\r"):
            self.feed(b"\r\n")  # that CR ended no line
        if self.size_octets or not self.relaxed:
            self._add(_CRLF)

    def _add_line_ends(self) -> None:
        whole, rest = divmod(self._line_ends * 2, len(_PIECE))
        for _ in range(whole):
            self._add(_PIECE)
        self._add(_PIECE[:rest])
        self._line_ends = 0

    def _add(self, piece: bytes) -> None:
        for each in self.sums.values():
            each.add(piece, self.size_octets)
        self.size_octets += len(piece)


@define(eq=False)
class BodyHashes:
    """Hashes of a body, of as many kinds as its signatures ask for; the work is shared."""

    _forms: dict[bool, _Form] = field(factory=dict, init=False)

    @classmethod
    def of(cls, kinds: Iterable[BodyKind]) -> BodyHashes:
        hashes = cls()
        for kind in kinds:
            form = hashes._forms.setdefault(kind.relaxed, _Form(kind.relaxed))
            form.sums.setdefault(kind.most_octets, _Sum(kind.most_octets))
        return hashes

    @property
    def wanted(self) -> bool:
        """Whether anything is hashed at all."""
        return bool(self._forms)

    def feed(self, chunk: bytes) -> None:
        """The octets that follow those fed before: CRLF lines, not dot-stuffed."""
        for at in range(0, len(chunk), _STEP):
            for form in self._forms.values():
                form.feed(chunk[at : at + _STEP])

    def end(self) -> dict[BodyKind, Hashed]:
        """What it came to; nothing may be fed afterwards."""
        for form in self._forms.values():
            form.end()
        return {
            BodyKind(form.relaxed, each.most_octets): Hashed(each.hash.digest(), form.size_octets)
            for form in self._forms.values()
            for each in form.sums.values()
        }


@define(eq=False)
class BodyHash:
    """SHA-256 of a whole body in its relaxed form, which is what our own signatures are about."""

    _hashes: BodyHashes = field(factory=lambda: BodyHashes.of([RELAXED]), init=False)

    def feed(self, chunk: bytes) -> None:
        """The octets that follow those fed before: CRLF lines, not dot-stuffed."""
        self._hashes.feed(chunk)

    def digest(self) -> bytes:
        """The 32 octets of `bh=` before base64. Nothing may be fed afterwards."""
        return self._hashes.end()[RELAXED].digest


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

    @cached_property
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


@define(eq=False)
class Header:
    """The fields of a mail, found by their names."""

    fields: Sequence[Field]
    _named: dict[bytes, list[Field]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for each in self.fields:
            self._named.setdefault(each.name, []).append(each)

    def named(self, name: bytes) -> Sequence[Field]:
        """Those of a name in lower case, from top to bottom."""
        return self._named.get(name, ())

    def hashed(self, names: Iterable[bytes], signature: Field, relaxed: bool = True) -> bytes:
        """What a signature is made over (RFC 6376 section 3.7).

        Args:
            names: of `h=`, in lower case and its order. The first mention of a name is its lowest
                field, the next the one above; a mention too many stands for no field at all.
            signature: the field that signs, its `b=` empty.
        """
        taken: dict[bytes, int] = {}
        signed: list[bytes] = []
        for name in names:
            taken[name] = count = taken.get(name, 0) + 1
            there = self.named(name)
            if count <= len(there):
                each = there[-count]
                signed += (each.relaxed if relaxed else each.raw, _CRLF)
        return b"".join(signed) + (signature.relaxed if relaxed else signature.raw)
