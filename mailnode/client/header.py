"""The header of a mail that a program wrote: whom it names, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from attrs import frozen

PEOPLE = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))
RESENT = b"resent-"
_UNSEEN = frozenset((b"bcc", b"resent-bcc"))
_ENDS = {b"(": b")", b'"': b'"', b"[": b"]", b"<": b">"}
# A quoted pair, an opening of something, a separator, blanks, or what is none of these.
_PART = re.compile(rb'\\.|[("\[<]|[,;:]|[\s]+|[^\s\\("\[<,;:]+|.', re.S)


@frozen
class Field:
    """One field as it was written.

    Attributes:
        name: in lower case.
        raw: all of it, the name and the last line end included.
    """

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        return self.raw.partition(b":")[2]

    @property
    def names_people(self) -> bool:
        return self.name.removeprefix(RESENT) in PEOPLE

    @property
    def is_unseen(self) -> bool:
        """Whether no recipient is to see it."""
        return self.name in _UNSEEN

    def completed(self, domain: str) -> Field:
        """With `domain` behind each address that has none; the rest stays octet for octet."""
        if not self.names_people:
            return self
        head, colon, value = self.raw.partition(b":")
        out, done = bytearray(), 0
        for spot in addresses_in(value):
            if spot.is_bare:
                out += value[done : spot.end] + b"@" + domain.encode()
                done = spot.end
        return Field(self.name, head + colon + bytes(out) + value[done:])


@frozen
class Spot:
    """Where an address stands in a field's value, without its name, brackets and comments."""

    begin: int
    end: int
    octets: bytes

    @property
    def is_bare(self) -> bool:
        """Whether it is a local part alone, such as `root`."""
        return b"@" not in self.octets and not re.search(rb"\s", self.octets)

    def text(self, domain: str) -> str:
        """The address, with `domain` where it has none."""
        said = self.octets.decode("utf-8", "surrogateescape")
        return f"{said}@{domain}" if self.is_bare else said


def addresses_in(value: bytes) -> list[Spot]:
    """The addresses of a list (RFC 5322 section 3.4), those in groups too.

    What is no address is given as it stands: whoever parses it says so.
    """
    return [found for each in _mailboxes(value) if (found := each.spot(value)) is not None]


@frozen
class _Mailbox:
    """Where the words of one stand, and what is between angle brackets."""

    words: tuple[tuple[int, int], ...] = ()
    angle: tuple[int, int] | None = None

    def spot(self, value: bytes) -> Spot | None:
        if self.angle is not None:
            begin, end = self.angle
        elif self.words:
            begin, end = self.words[0][0], self.words[-1][1]
        else:
            return None
        inner = value[begin:end]
        begin += len(inner) - len(inner.lstrip())
        inner = inner.strip()
        if inner.startswith(b"@") and b":" in inner:  # a route, which nobody goes any more
            begin += inner.index(b":") + 1
            inner = value[begin : begin + len(inner) - inner.index(b":") - 1]
        return Spot(begin, begin + len(inner), inner) if inner else None


def _mailboxes(value: bytes) -> Iterator[_Mailbox]:
    words, angle, at = list[tuple[int, int]](), None, 0
    while at < len(value):
        match = _PART.match(value, at)
        assert match is not None
        part, begin, at = match.group(), at, match.end()
        if part in _ENDS:
            at = _end_of(value, begin)
            if part == b"<":
                angle = (begin + 1, at - 1 if value[at - 1 : at] == b">" else at)
            elif part != b"(":
                words.append((begin, at))
        elif part in (b",", b";"):
            yield _Mailbox(tuple(words), angle)
            words, angle = [], None
        elif part == b":":  # what stood before is the name of a group
            words = []
        elif not part.isspace():
            words.append((begin, at))
    yield _Mailbox(tuple(words), angle)


def _end_of(value: bytes, begin: int) -> int:
    """Behind what closes the quoted text, comment, literal or brackets that open at `begin`."""
    opened, closed, depth, at = value[begin : begin + 1], _ENDS[value[begin : begin + 1]], 0, begin
    quoted = False
    while at < len(value):
        octet = value[at : at + 1]
        if octet == b"\\":
            at += 1
        elif opened == b"<" and octet == b'"':
            quoted = not quoted
        elif opened == b"(" and octet == b"(":
            depth += 1
        elif octet == closed and at > begin and not quoted:
            depth -= 1
            if depth <= 0:
                return at + 1
        at += 1
    return len(value)


def named_in(fields: Iterable[Field], domain: str) -> tuple[str, ...]:
    """The recipients that a header names, each once; of a mail that is sent again the new ones."""
    fields = list(fields)
    kinds = (b"to", b"cc", b"bcc")
    again = [each for each in fields if each.name in {RESENT + kind for kind in kinds}]
    asked = again or [each for each in fields if each.name in kinds]
    found = [spot.text(domain) for each in asked for spot in addresses_in(each.value)]
    return tuple(dict.fromkeys(found))
