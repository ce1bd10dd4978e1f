"""Systems of plain text: `userinfo.txt` and a mailbox file for each user.

A line of `userinfo.txt` is a name and a password. `USERS/<name>/my_mailbox.txt` holds that user's
mails one behind the other: lines From, To, Subject and Received (Cc and the like may stand among
them), then the body, and a line of a full stop alone at its end. Such files are written by hand
and by programs of all sorts, so fields may lack or come in any order, with CRLF or LF, with or
without a blank line behind them. A full stop alone is the end where nothing but blank lines
follows, or a line of a field.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from pathlib import Path

from attrs import define, field, frozen

from mailnode.portability.letter import Gathering, Letter, Lost, Spool, read_date

USERINFO = "userinfo.txt"
USERS = ("USERS", "users", "Users", "")
MAILBOXES = ("my_mailbox.txt", "my_mailbox", "mymailbox.txt", "mymailbox")
LINE_OCTETS = 64 << 10
MOST_USERS_OCTETS = 64 << 20

_FIELD = re.compile(rb"(From|To|Subject|Received)[ \t]*:[ \t]*([^\r\n]*)\r?\n?", re.I)
_FIELDS = 4
_OTHER = re.compile(
    rb"(Cc|Bcc|Reply-To|Date|Message-ID|In-Reply-To|References|X-[!-9;-~]+)"
    rb"[ \t]*:[ \t]*([^\r\n]*)\r?\n?",
    re.I,
)
_PEOPLE = (("From", b"from"), ("To", b"to"), ("Cc", b"cc"), ("Bcc", b"bcc"))
_SAME = (b"reply-to", b"message-id", b"in-reply-to", b"references")
_BETWEEN = re.compile(r'[,;](?=(?:[^"]*"[^"]*")*[^"]*$)')  # but for those between quotes
_BARE = re.compile(r"[\w.+-]+", re.ASCII)
_NAMED = re.compile(r"(.*?)\s*<\s*([^<>\s]*)\s*>")
_NUMBERS = re.compile(
    r"(?P<a>\d{1,4})\s*[-/.]\s*(?P<b>\d{1,2})\s*[-/.]\s*(?P<c>\d{1,4})"
    r"(?:[\sT,:;]+(?P<hour>\d{1,2})\s*:\s*(?P<minute>\d{1,2})(?:\s*:\s*(?P<second>\d{1,2}))?)?"
)


_WRITTEN = ("%a %b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%b %d %Y %H:%M")


@frozen
class User:
    """A line of userinfo.txt.

    Attributes:
        password: None where the line has none, or one that is no text.
        mailbox: the file of this user's mail; None without one.
    """

    name: str
    password: str | None
    mailbox: Path | None


def is_userinfo(path: Path) -> bool:
    return (path / USERINFO).is_file()


def read_users(folder: Path) -> Iterator[User | Lost]:
    """Who is in userinfo.txt, each name once, and what of it can't be read.

    Raises:
        OSError: it can't be read at all.
    """
    seen = set[str]()
    with (folder / USERINFO).open("rb") as file:
        for number, line in enumerate(file.read(MOST_USERS_OCTETS).splitlines(), 1):
            where = f"{USERINFO}, line {number}"
            words = line.removeprefix(b"\xef\xbb\xbf").strip().split(None, 1)
            if not words:
                continue
            try:
                name = words[0].decode()
            except UnicodeDecodeError:
                yield Lost(where, "the name is not UTF-8")
                continue
            if name in seen:
                yield Lost(where, f"{name} stands there twice: the first line counts")
                continue
            seen.add(name)
            yield User(name, _text(words[1]) if len(words) > 1 else None, _mailbox(folder, name))
    for name in sorted(_others(folder) - seen):
        yield Lost(name, f"it has a mailbox and no line in {USERINFO}")


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def _mailbox(folder: Path, name: str) -> Path | None:
    if "/" in name or "\0" in name or name in (".", ".."):
        return None
    for users in USERS:
        for file in MAILBOXES:
            path = folder / users / name / file
            if path.is_file():
                return path
    return None


def _others(folder: Path) -> set[str]:
    return {
        path.parent.name
        for users in USERS[:-1]
        for file in MAILBOXES
        for path in (folder / users).glob(f"*/{file}")
    }


@define(eq=False)
class PlaintextReader:
    """Reads one mailbox file.

    Attributes:
        domain: of addresses that are bare names.
        where: the file, for people.
        count: octets of the file; `done` of them were read.
    """

    path: Path
    make_spool: Callable[[], Spool]
    domain: str
    where: str = ""
    count: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    unit: str = field(default="octets", init=False)
    _lines: Iterator[bytes] = field(default=iter(()), init=False)
    _ahead: list[bytes] = field(factory=list, init=False)

    def measure(self) -> None:
        """Look how large it is."""
        self.count = self.path.stat().st_size

    def __iter__(self) -> Iterator[Letter | Lost]:
        """Each mail in its order.

        Raises:
            OSError: the file can't be read on.
            MailError: a spool can't be written.
        """
        about = self.path.stat()
        self.count = about.st_size
        with self.path.open("rb") as file:
            self._lines = iter(lambda: file.readline(LINE_OCTETS), b"")
            number = 0
            while self._skip_blank_lines():
                number += 1
                where = f"{self.where or self.path.name}, mail {number}"
                yield self._mail(where, about.st_mtime)

    def _next(self) -> bytes | None:
        line = self._ahead.pop(0) if self._ahead else next(self._lines, None)
        if line is not None:
            self.done += len(line)
        return line

    def _put_back(self, lines: list[bytes]) -> None:
        self.done -= sum(map(len, lines))
        self._ahead[:0] = lines

    def _skip_blank_lines(self) -> bool:
        """Whether another mail follows."""
        while (line := self._next()) is not None:
            if line.strip():
                self._put_back([line])
                return True
        return False

    def _mail(self, where: str, written_at: float) -> Letter | Lost:
        fields = self._fields()
        gathering = Gathering(self.make_spool)
        try:
            begin, plain = self._begin()
            received = _decoded(fields.get(b"received") or fields.get(b"date", b""))
            received_at = read_time(received) if received else None
            written = _decoded(fields.get(b"date", b""))
            date = (read_time(written) if written else None) or received_at
            gathering.feed(self._header(fields, received, date, begin))
            gathering.feed(begin)
            if not plain:
                while (line := self._body_line()) is not None:
                    gathering.feed(line)
        except BaseException:
            gathering.discard()
            raise
        received_at = written_at if received_at is None else received_at
        return gathering.end(where, received_at=received_at)

    def _fields(self) -> dict[bytes, bytes]:
        """What stands in front; a second one of a name is the body's.

        Other fields than the four count where one of these follows, or where one of them lacks and
        a blank line follows: else such a line is how the body begins.
        """
        fields: dict[bytes, bytes] = {}
        others: dict[bytes, bytes] = {}
        held: list[bytes] = []
        while (line := self._next()) is not None:
            found = _FIELD.fullmatch(line)
            if found is not None and found[1].lower() not in fields:
                fields[found[1].lower()] = found[2].strip()
                held.clear()
                continue
            other = _OTHER.fullmatch(line) if len(fields) < _FIELDS else None
            if fields and other is not None and other[1].lower() not in others:
                others[other[1].lower()] = other[2].strip()
                held.append(line)
                continue
            if line.strip() or not fields:
                held.append(line)
            else:
                held.clear()
            break
        for line in held:
            if other := _OTHER.fullmatch(line):
                others.pop(other[1].lower(), None)
        self._put_back(held)
        return fields | others

    def _begin(self) -> tuple[bytes, bool]:
        """(the body's begin, whether that is all of it): it tells in which charset it is."""
        lines, octets = list[bytes](), 0
        while octets < LINE_OCTETS:
            line = self._body_line()
            if line is None:
                return b"".join(lines), True
            lines.append(line)
            octets += len(line)
        return b"".join(lines), False

    def _body_line(self) -> bytes | None:
        """The next line of the body; None at its end."""
        line = self._next()
        if line is None or line.rstrip(b"\r\n") != b"." or not self._ends():
            return line
        return None

    def _ends(self) -> bool:
        """Whether the full stop that was read ends the mail, by what follows it."""
        seen: list[bytes] = []
        while (line := self._next()) is not None and not line.strip() and len(seen) < 100:
            seen.append(line)
        if line is not None:
            self._put_back([*seen, line])
        return line is None or _FIELD.match(line) is not None

    def _header(
        self, fields: dict[bytes, bytes], received: str, date: float | None, begin: bytes
    ) -> bytes:
        lines = [
            f"{name}: {self._people(_decoded(fields[key]))}"
            for name, key in _PEOPLE
            if fields.get(key)
        ]
        if b"subject" in fields:
            lines.append(f"Subject: {_words(_decoded(fields[b'subject']))}")
        if date is not None:
            lines.append(f"Date: {format_datetime(datetime.fromtimestamp(date).astimezone())}")
        elif received:
            lines.append(f"X-Received: {_words(received)}")
        for key, octets in fields.items():
            if key in _SAME or key.startswith(b"x-"):
                name = key.decode("ascii").title().replace("-Id", "-ID")
                lines.append(f"{name}: {_words(_decoded(octets))}")
        if not begin.isascii():
            charset = "utf-8" if _is_utf8(begin) else "iso-8859-1"
            lines += ["MIME-Version: 1.0", f"Content-Type: text/plain; charset={charset}"]
            lines.append("Content-Transfer-Encoding: 8bit")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii", "replace")

    def _people(self, text: str) -> str:
        """A list of addresses; a bare name is somebody of this system."""
        people = [each.strip() for each in _BETWEEN.split(text) if each.strip()]
        return ", ".join(map(self._person, people)) or _words(text)

    def _person(self, text: str) -> str:
        found = _NAMED.fullmatch(text)
        name, address = found.groups() if found else ("", text)
        if _BARE.fullmatch(address):
            address = f"{address}@{self.domain}"
        elif not re.fullmatch(r"[!-;=?-~]+", address):
            return _words(text)
        return f"{_words(name)} <{address}>" if name else address


def _decoded(octets: bytes) -> str:
    text = octets.decode("utf-8") if _is_utf8(octets) else octets.decode("latin-1")
    return "".join(c if c.isprintable() else " " for c in text)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start >= len(octets) - 3
    return True


def _words(text: str) -> str:
    """A field's text as mail has it."""
    return text if text.isascii() else Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")


def read_time(text: str) -> float | None:
    """UTC epoch seconds of a date that somebody's program wrote; without a zone it is of here.

    Of 3/4/2024 the first number is the day, unless it can't be.
    """
    text = text.strip()
    if re.search(r"[A-Za-z]{3}", text) and (at := read_date(text)) is not None:
        return at
    for pattern in _WRITTEN:
        try:
            return datetime.strptime(text, pattern).timestamp()
        except (ValueError, OverflowError):
            continue
    try:
        return _sane(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        pass
    found = _NUMBERS.search(text)
    if found is None:
        return None
    a, b, c = int(found["a"]), int(found["b"]), int(found["c"])
    year, month, day = (a, b, c) if a > 31 else (c, b, a) if b <= 12 else (c, a, b)
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    year += 2000 * (year < 100)
    try:
        return _sane(datetime(year, month, day, hour, minute, second).timestamp())
    except (ValueError, OverflowError):
        return None


def _sane(at: float) -> float | None:
    return at if 0 <= at < time.time() + 366 * 86400 else None
