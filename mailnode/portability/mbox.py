"""mbox: mails one behind the other, each after a line that begins with "From " (RFC 4155).

Its dialects differ in how a body's own lines of that kind are kept apart:

* mboxrd puts ">" before each line of ">"s and "From ", and reading takes one off.
* mboxo puts it before "From " alone; whether a ">From " was there before nobody can tell.
* mboxcl2 says in Content-Length where the body ends, and changes no line; mboxcl does both.

They are told apart mail by mail: a Content-Length that leads to the next mail or the end counts,
and such a body is taken as it is. From any other, one ">" is taken off, which reads mboxrd rightly
and mboxo as well as can be. `deposits` writes mboxrd.
"""

from __future__ import annotations

import os
import re
import time
from calendar import timegm
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field

from mailnode.model import ANSWERED, DRAFT, FLAGGED, SEEN, TRASHED
from mailnode.portability.letter import Gathering, Letter, Lost, Spool

READ_OCTETS = 1 << 20
LINE_OCTETS = 1000  # of a From line
READ_HEADER_OCTETS, HEADER_OCTETS = 64 << 10, 1 << 20
TAIL_OCTETS = 16  # in which a separator may be cut in two
QUOTED_OCTETS = 1024  # with more ">" than that no line is quoted
DIALECTS = ("mbox", "mboxrd", "mboxo", "mboxcl", "mboxcl2")

_FROM = re.compile(
    rb"From (?P<sender>\S*(?: at \S+)?)[ \t]+(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?[ \t]+)?"
    rb"(?:(?P<month>[A-Z][a-z]{2})[ \t]+(?P<day>\d{1,2})"
    rb"|(?P<day2>\d{1,2})[ \t]+(?P<month2>[A-Z][a-z]{2}))"
    rb"(?:[ \t]+(?P<year2>\d{4}))?[ \t]+(?P<time>\d{1,2}:\d{2}(?::\d{2})?)"
    rb"(?:[ \t]+[A-Z][A-Za-z]*)*(?P<zone>[ \t]+[+-]\d{4})?"
    rb"(?:[ \t]+(?P<year>\d{4}))?(?P<zone2>[ \t]+[+-]\d{4})?[^\r\n]*\r?\n"
)
_MONTHS = {
    m: n for n, m in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_QUOTED = {
    "mbox": re.compile(rb"(?m)^>(?=>*From )"),
    "mboxrd": re.compile(rb"(?m)^>(?=>*From )"),
    "mboxo": re.compile(rb"(?m)^>(?=From )"),
    "mboxcl": re.compile(rb"(?m)^>(?=From )"),
}
_STATUS = re.compile(rb"(?im)^(x-)?status:[ \t]*([A-Za-z ]{0,12})\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,15})[ \t]*\r?\n")
_LENGTHS = re.compile(rb"(?im)^(?:content-length|lines):[ \t]*\d{1,15}[ \t]*\r?\n")
_LETTERS = {b"R": SEEN, b"A": ANSWERED, b"F": FLAGGED, b"T": DRAFT, b"D": TRASHED}
_INTERNAL = re.compile(rb"(?im)^subject:[^\r\n]*folder internal data")


def looks_like_mbox(begin: bytes) -> bool:
    """Whether a file with that begin is one."""
    return _FROM.match(begin.lstrip(b"\r\n")) is not None


@define(eq=False)
class MboxReader:
    """Reads an mbox from its beginning; memory holds a few pieces, whatever lies in it.

    Attributes:
        dialect: "mbox" tells them apart.
        count: octets of the file; `done` of them were read.
    """

    path: Path
    make_spool: Callable[[], Spool]
    dialect: str = "mbox"
    name: str = ""
    folder: str = ""
    read_octets: int = READ_OCTETS
    count: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    unit: str = field(default="octets", init=False)
    _fd: int = field(default=-1, init=False)
    _begins: int = field(default=0, init=False)  # where _data lies in the file
    _data: bytes = field(default=b"", init=False)
    _unparted: int = field(default=0, init=False)  # From lines in the mail that is being read

    def measure(self) -> None:
        """Look how large it is."""
        self.count = self.path.stat().st_size

    def __iter__(self) -> Iterator[Letter | Lost]:
        """Each mail in its order.

        Raises:
            OSError: the file can't be read on; what came before is whole.
            MailError: a spool can't be written.
        """
        self.name = self.name or self.path.name
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self.count = os.fstat(self._fd).st_size
            self._begins, self._data = 0, b""
            yield from self._mails()
        finally:
            os.close(self._fd)

    def _mails(self) -> Iterator[Letter | Lost]:
        at = 0
        while at < self.count:
            taken: Letter | Lost | None
            if (found := self._from_line(at)) is not None:
                taken, at = self._mail(at, at + len(found[0]), found)
            else:
                taken, at = self._stray(at)
            self.done = at
            if taken is not None:
                yield taken

    def _stray(self, at: int) -> tuple[Lost | None, int]:
        """(what stands where a From line should, where the next one is); blank lines are none."""
        pieces = Counter[bool]()
        following = self._next(at, lambda piece: pieces.update([not piece.strip()]))
        if not pieces[False]:
            return None, following
        why = f"{following - at} octets before the {'next' if at else 'first'} From line"
        return Lost(f"{self.name} at octet {at}", why), following

    # Looking

    def _fill(self, at: int, octets: int) -> int:
        """Where the octet `at` of the file stands in `_data`: so many are there from it on, or all
        that there are."""
        index = at - self._begins
        lacking = octets - (len(self._data) - index)
        if lacking > 0 and self._begins + len(self._data) < self.count:
            begin = self._data[index:]
            pieces, have = [begin], len(begin)
            while have < octets:
                wanted = max(self.read_octets, octets - have)
                piece = os.pread(self._fd, wanted, at + have)
                if not piece:  # somebody cut it
                    self.count = at + have
                    break
                pieces.append(piece)
                have += len(piece)
            self._begins, self._data = at, b"".join(pieces)
            return 0
        return index

    def _from_line(self, at: int) -> re.Match[bytes] | None:
        """The From line that stands there."""
        index = self._fill(at, LINE_OCTETS)
        return _FROM.match(self._data, index, index + LINE_OCTETS)

    def _next(self, start: int, each: Callable[[bytes], object]) -> int:
        """Where the next From line begins, or the end; what stands before goes to `each`.

        Those that no blank line stands before are counted, and are no more than text.
        """
        at = looked_at = start
        self._unparted = 0
        while True:
            index = self._fill(at, TAIL_OCTETS + 1)
            data, found = self._data, index - 1
            while (found := data.find(b"\nFrom ", found + 1)) >= 0:
                blank = found - (data[found - 1 : found] == b"\r" and found > index)
                parted = data[blank - 1 : blank] == b"\n" if blank > index else at == start
                if self._begins + found < looked_at or not self._is_from(found + 1):
                    continue
                if parted:
                    each(data[index:blank])
                    return self._begins + found + 1
                self._unparted += 1
                looked_at = self._begins + found + 1
            if self._begins + len(data) >= self.count:
                each(_without_blank_line(data[index:]))
                return self.count
            if (end := len(data) - TAIL_OCTETS) > index:
                each(data[index:end])
                at = self._begins + end

    def _is_from(self, index: int) -> bool:
        if index + LINE_OCTETS <= len(self._data):
            return _FROM.match(self._data, index, index + LINE_OCTETS) is not None
        line = os.pread(self._fd, LINE_OCTETS, self._begins + index)
        return _FROM.match(line) is not None

    # One mail

    def _mail(
        self, from_at: int, at: int, found: re.Match[bytes]
    ) -> tuple[Letter | Lost | None, int]:
        """(the mail behind a From line, where the next one is)."""
        where = f"{self.name} at octet {from_at}"
        header = self._header(at)
        gathering = Gathering(self.make_spool)
        self._unparted = 0
        try:
            length = self._length(header, at)
            header_octets = len(header)
            header, flags = _without_marks(header, length is not None)
            gathering.feed(header)
            at += header_octets
            if length is not None:
                quoted = _QUOTED["mboxcl"] if self.dialect == "mboxcl" else None
                body = _Unquoting(gathering.feed, quoted)
                following = self._copy(at, length, body.feed)
            else:
                body = _Unquoting(gathering.feed, _QUOTED.get(self.dialect))
                bodiless = header_octets and self._from_line(at) is not None
                following = at if bodiless else self._next(at, body.feed)
            body.end()
        except BaseException:
            gathering.discard()
            raise
        if _INTERNAL.search(header):  # the notes of a mail program, no mail
            gathering.discard()
            return None, following
        sender = found["sender"].decode("utf-8", "replace")
        letter = gathering.end(
            where,
            sender="" if sender == "MAILER-DAEMON" else sender if "@" in sender else None,
            received_at=_from_time(found),
            flags=flags,
            folder=self.folder,
            unparted=self._unparted,
        )
        return letter, following

    def _header(self, at: int) -> bytes:
        """The header with its blank line; what has none within bounds is all body."""
        for octets in (READ_HEADER_OCTETS, HEADER_OCTETS):
            index = self._fill(at, octets)
            data, last = self._data, index + octets
            for blank in (b"\n", b"\r\n"):
                if data.startswith(blank, index):
                    return blank
            ends = [
                end + len(blank)
                for blank in (b"\n\n", b"\n\r\n")
                if (end := data.find(blank, index, last)) >= 0
            ]
            if ends:
                return data[index : min(ends)]
        return b""

    def _length(self, header: bytes, at: int) -> int | None:
        """How long the body is, where the mail says so and is right."""
        if self.dialect in ("mboxrd", "mboxo"):
            return None
        found = _LENGTH.search(header)
        if found is None:
            return None
        length, end = int(found[1]), at + len(header) + int(found[1])
        if end > self.count:
            return None
        if length and os.pread(self._fd, 1, end - 1) not in (b"\n", b"\r"):
            return None
        behind = os.pread(self._fd, LINE_OCTETS, end)
        rest = behind.lstrip(b"\r\n")
        if len(behind) - len(rest) <= 4 and (not rest or _FROM.match(rest)):
            return length
        return None

    def _copy(self, at: int, length: int, feed: Callable[[bytes], object]) -> int:
        """Hand the body over; where the next From line begins."""
        end = at + length
        while at < end:
            index = self._fill(at, 1)
            piece = self._data[index : index + end - at]
            if not piece:
                break
            feed(piece)
            at += len(piece)
        while self._data[(index := self._fill(at, 1)) : index + 1] in (b"\n", b"\r"):
            at += 1
        return at


@define(eq=False)
class _Unquoting:
    """Takes the ">" off quoted lines, in pieces cut anywhere.

    Attributes:
        quoted: finds it; None: nothing is quoted.
    """

    give: Callable[[bytes], object]
    quoted: re.Pattern[bytes] | None
    _held: bytes = b""
    _in_line: bool = False

    def feed(self, piece: bytes) -> None:
        if self.quoted is None:
            self.give(piece)
            return
        data = self._held + piece
        line = data.rfind(b"\n") + 1
        rest = data[line : line + QUOTED_OCTETS]
        known = (self._in_line and not line) or len(rest) == QUOTED_OCTETS
        if known or not b"From ".startswith(rest.lstrip(b">")):
            line = len(data)  # nothing that comes behind can make it a quoted line
        self._held = data[line:]
        self._give(data[:line])

    def end(self) -> None:
        """Nothing follows."""
        held, self._held = self._held, b""
        self._give(held)

    def _give(self, data: bytes) -> None:
        if not data:
            return
        begin, self._in_line = self._in_line, not data.endswith(b"\n")
        if self.quoted is not None and b">From " in data:
            if begin:
                first, end, rest = data.partition(b"\n")
                data = first + end + self.quoted.sub(b"", rest) if end else data
            else:
                data = self.quoted.sub(b"", data)
        self.give(data)


def _without_blank_line(data: bytes) -> bytes:
    """The end of the last mail, without the line that only parts it from a next one."""
    for end in (b"\n\r\n", b"\n\n"):
        if data.endswith(end):
            return data[: len(data) - len(end) + 1]
    return data


def _without_marks(header: bytes, framed: bool) -> tuple[bytes, int]:
    """(the header without what mbox puts into it, the flags that it told)."""
    flags = 0
    if b"tatus:" in header or b"TATUS:" in header:
        for each in _STATUS.finditer(header):
            for letter, bit in _LETTERS.items():
                flags |= bit * (letter in each[2])
        header = _STATUS.sub(b"", header)
    if framed:
        header = _LENGTHS.sub(b"", header)
    return header, flags


def _from_time(found: re.Match[bytes]) -> float | None:
    month = _MONTHS.get(found["month"] or found["month2"])
    year = found["year"] or found["year2"]
    if month is None or year is None:
        return None
    hour, minute, *second = map(int, found["time"].split(b":"))
    parts = (int(year), month, int(found["day"] or found["day2"]), hour, minute, *(second or [0]))
    at = timegm((*parts, 0, 0, 0))
    zone = (found["zone"] or found["zone2"] or b"+0000").strip()
    ahead_s = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
    at -= ahead_s if zone[:1] == b"+" else -ahead_s
    return float(at) if 0 <= at < time.time() + 366 * 86400 else None
