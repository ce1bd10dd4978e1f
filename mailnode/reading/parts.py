"""The parts of a mail, each with its content when it is asked for.

Delimiters are looked for as octets, so what is not a header is never looked at line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage

from attrs import Factory, define, field, frozen

from mailnode.reading.decoding import decode_octets, decode_pieces, decoded_size
from mailnode.reading.fields import (
    Content,
    decode,
    header_end,
    is_kind,
    read_content,
    read_fields,
)
from mailnode.reading.octets import Octets, Span

MOST_PARTS = 1_000
MOST_DEPTH = 30
MOST_DELIMITERS = 20_000  # lines that look like one, of each multipart
BOUNDARY_OCTETS = 200
LINE_OCTETS = 998
NAME_CHARACTERS = 200
SUFFIX_CHARACTERS = 20
_TEXTS = ("text/plain", "text/html")


@frozen(eq=False)
class Part:
    """A part; the octets are those of its mail.

    Attributes:
        path: "1.2", as RFC 3501 section 6.4.5 counts; "" for a mail that is a multipart.
        kind: "text/plain" and such, in lower case.
        name: of the file, as the mail has it: nothing to be trusted as a path; "" for none.
        disposition: "inline", "attachment" or what stands there; "" for none.
        cid: of Content-ID, without brackets.
        size_octets: as it is encoded.
        depth: how many parts it stands in.
        attached: it stands in an attached mail.
        related: it stands in a multipart/related.
    """

    path: str
    kind: str
    name: str
    charset: str
    disposition: str
    cid: str
    encoding: str
    depth: int
    attached: bool
    related: bool
    _raw: Octets = field(repr=False)
    _start: int
    _end: int

    @property
    def size_octets(self) -> int:
        return self._end - self._start

    @property
    def content_octets(self) -> int:
        """How many its content has, as `decoding.decoded_size` knows it."""
        return decoded_size(self.span, self.encoding)

    @property
    def is_multipart(self) -> bool:
        return self.kind.startswith("multipart/")

    @property
    def is_file(self) -> bool:
        """It has a file's name, is said to be attached, or is no text."""
        if self.disposition == "attachment" or self.name:
            return not self.is_multipart
        return not self.kind.startswith(("text/", "multipart/"))

    @property
    def is_shown(self) -> bool:
        """It is of the mail itself, and nothing says that it is to be kept as a file."""
        return not self.attached and self.disposition != "attachment"

    @property
    def is_mail(self) -> bool:
        """An attached mail that can be looked into."""
        plain = self.encoding in ("", "7bit", "8bit", "binary")
        return plain and self.kind in ("message/rfc822", "message/global")

    def content(self, most_octets: int | None = None) -> bytes:
        """Its octets, decoded; of an attached mail, that mail.

        Args:
            most_octets: of the encoded form, that are looked at.
        """
        end = self._end
        if most_octets is not None:
            end = min(end, self._start + most_octets)
        return decode_octets(self._raw[self._start : end], self.encoding)

    def pieces(self) -> Iterator[bytes]:
        """The same, piece by piece."""
        return decode_pieces(self.span, self.encoding)

    @property
    def span(self) -> Span:
        """As it is encoded, where it lies."""
        return Span(self._raw, self._start, self._end)

    def text(self, most_octets: int | None = None) -> str:
        """The same as text, lines ended by \\n."""
        text = decode(self.content(most_octets), self.charset)
        return text.replace("\r\n", "\n").replace("\0", "")


@frozen(eq=False)
class Parts:
    """All of a mail's, outer ones before those in them.

    Attributes:
        fields: of the mail's header, as `fields.read_fields` gives them.
        cut: there are more, or deeper ones, than are looked at.
    """

    fields: dict[str, list[str]]
    all: tuple[Part, ...]
    cut: bool = False

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.all)

    def at(self, path: str) -> Part | None:
        """The part of that path."""
        return next((part for part in self.all if part.path == path), None)

    def body(self, kind: str) -> Part | None:
        """The first part of that kind that is to be read in the mail, not a file.

        Where each of the mail's texts has a file's name, one that isn't said to be attached is its
        body: some programs give everything a name.
        """
        texts = [part for part in self.all if part.kind in _TEXTS and part.is_shown]
        texts = [part for part in texts if not part.name] or texts
        return next((part for part in texts if part.kind == kind), None)

    def attachments(self) -> Iterator[Part]:
        """Those that are files; not pictures of a page, nor what is in attached mails."""
        for part in self.all:
            in_page = part.related and part.cid and part.kind.startswith("image/")
            if part.disposition == "attachment":
                in_page = False
            if part.is_file and not part.attached and not in_page:
                yield part


def parts_of(
    mail: Octets | EmailMessage | Parts,
    *,
    most_parts: int = MOST_PARTS,
    most_depth: int = MOST_DEPTH,
) -> Parts:
    """Whatever the mail is: what it says of its parts can be wrong, and never raises an error."""
    if isinstance(mail, Parts):
        return mail
    if isinstance(mail, EmailMessage):
        try:
            mail = bytes(mail)
        except Exception:  # as deep as a stranger has nested, or octets that it can't write
            mail = b""
    return _Walk(mail, most_parts, most_depth).read()


@define(eq=False)
class _Open:
    """A multipart, or an attached mail, in which others stand.

    Attributes:
        path: what those in it are counted from.
        delimiter: its lines begin with it; b"" for a mail.
        next: where its next one is, where it ends, and whether it is the last; looked for once.
    """

    path: str
    delimiter: bytes = b""
    kind: str = ""
    count: int = 0
    next: tuple[int, int, bool] = (-1, -1, False)
    looked_at: int = 0

    def look(self, raw: Octets, at: int) -> int:
        """Where its next delimiter is from `at` on; behind the end for none."""
        if not self.delimiter:
            return len(raw)
        wanted, place = b"\n" + self.delimiter, max(at - 1, 0)
        while self.next[0] < at:
            place = raw.find(wanted, place)
            self.looked_at += 1
            if place < 0 or self.looked_at > MOST_DELIMITERS:
                self.next = len(raw), len(raw), True
                break
            behind = place + len(wanted)
            line_end = raw.find(b"\n", behind, behind + LINE_OCTETS) + 1
            rest = raw[behind : line_end or behind + LINE_OCTETS]
            is_last = rest.startswith(b"--")
            if not rest[2 * is_last :].strip() and (line_end or behind + len(rest) == len(raw)):
                self.next = place + 1, line_end or len(raw), is_last
            place = behind
        return self.next[0]


@define(eq=False)
class _Walk:
    """One pass over a mail."""

    raw: Octets
    most_parts: int
    most_depth: int
    open: list[_Open] = Factory(list)
    found: list[Part] = Factory(list)
    fields: dict[str, list[str]] = Factory(dict)
    cut: bool = False

    def read(self) -> Parts:
        at: int | None = 0
        while at is not None:
            if len(self.found) >= self.most_parts:
                self.cut = True
                break
            at = self._take(at)
        return Parts(self.fields, tuple(self.found), self.cut)

    def _take(self, at: int) -> int | None:
        """The part that begins at `at`, and where the next one does."""
        raw = self.raw
        stop = min([each.look(raw, at) for each in self.open], default=len(raw))
        end = stop
        if stop < len(raw):  # the line end before a delimiter is the delimiter's
            end = max(at, end - (2 if raw.startswith(b"\r", stop - 2) else 1))
        body = header_end(raw, at, stop)
        fields = read_fields(raw[at:body])
        if not self.found:
            self.fields = fields
        content = read_content(fields.get("content-type", [""])[0])
        part = self._part(content, fields, min(body, end), end)
        self.found.append(part)
        if part.is_multipart:
            boundary = content.parameters.get("boundary", "").encode("utf-8", "replace").rstrip()
            self.cut = self.cut or len(boundary) > BOUNDARY_OCTETS
            if boundary and len(boundary) <= BOUNDARY_OCTETS and self._has_room():
                path = part.path.removesuffix(".TEXT")
                self.open.append(_Open(path, b"--" + boundary, part.kind))
        elif part.is_mail and body < end and self._has_room():
            self.open.append(_Open(part.path))
            return body
        return self._after(body)

    def _has_room(self) -> bool:
        self.cut = self.cut or len(self.open) >= self.most_depth
        return len(self.open) < self.most_depth

    def _after(self, at: int) -> int | None:
        """Where the next part begins behind `at`; None at the end."""
        while self.open:
            place, depth = min((each.look(self.raw, at), n) for n, each in enumerate(self.open))
            if place >= len(self.raw):
                return None
            around = self.open[depth]
            _, at, is_last = around.next
            if is_last:
                del self.open[depth:]
            else:
                del self.open[depth + 1 :]
                around.count += 1
                return at
        return None

    def _part(self, content: Content, fields: dict[str, list[str]], start: int, end: int) -> Part:
        around = self.open[-1] if self.open else None
        usual = "message/rfc822" if around and around.kind == "multipart/digest" else "text/plain"
        kind = content.kind if is_kind(content.kind) else usual
        disposition = read_content(fields.get("content-disposition", [""])[0])
        name = disposition.parameters.get("filename") or content.parameters.get("name") or ""
        return Part(
            path=_path(around, kind.startswith("multipart/")),
            kind=kind,
            name=_cut_name(name),
            charset=content.parameters.get("charset", "").lower(),
            disposition=disposition.kind,
            cid=fields.get("content-id", [""])[0].strip("<> "),
            encoding=fields.get("content-transfer-encoding", [""])[0].lower(),
            depth=len(self.open),
            attached=any(not each.delimiter for each in self.open),
            related=around is not None and around.kind == "multipart/related",
            raw=self.raw,
            start=start,
            end=end,
        )


def _cut_name(name: str) -> str:
    """Of a long one the beginning and what says the file's kind."""
    if len(name) <= NAME_CHARACTERS:
        return name
    end = name[-SUFFIX_CHARACTERS:].rpartition(".")
    suffix = f".{end[2]}" if end[1] else ""
    return name[: NAME_CHARACTERS - len(suffix)] + suffix


def _path(around: _Open | None, is_multipart: bool) -> str:
    if around is None:
        return "" if is_multipart else "1"
    if not around.delimiter:  # parts of a mail in a mail are counted as if it stood alone
        return f"{around.path}.{'TEXT' if is_multipart else '1'}"
    return f"{around.path}.{around.count}" if around.path else str(around.count)
