"""Reads what a remote host says: replies of a line or of several, and none without an end.

RFC 5321 section 4.2, RFC 2034; docs/rfc.rst C3. No I/O.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import define, field, frozen

from mailnode.errors import MailError
from mailnode.outbound.words import Answer

REPLY_LINES = 100
REPLY_OCTETS = 65536
TEXT_CHARACTERS = 500

_ONE_LINE = re.compile(rb"([2-5][0-9][0-9] [^\r\n]{0,500})\r?\n")
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.S)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")


class BadReply(MailError):
    """What came is no reply; nothing behind it can be understood."""

    enhanced = "4.5.0"
    text = "the remote host's reply can't be understood"


@frozen
class Reply:
    """One reply.

    Attributes:
        lines: the text of each line, without the code.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def kind(self) -> int:
        """2: done, 3: go on, 4: not now, 5: never."""
        return self.code // 100

    def answer(self, stage: str) -> Answer:
        """The same as an outcome."""
        enhanced, words = "", []
        for line in self.lines:
            found = _ENHANCED.match(line)
            if found and line[0] == str(self.kind):
                enhanced = enhanced or found.group(1)
                line = line[found.end() :]
            words.append(line)
        text = printable(" ".join(words))
        return Answer(self.code, enhanced or f"{self.kind}.0.0", text, stage)


@lru_cache(maxsize=256)
def _of_one_line(line: bytes) -> Reply:
    """A host says the same to each mail, but for its last reply."""
    return Reply(int(line[:3]), (line[4:].decode("utf-8", "replace"),))


def printable(text: str) -> str:
    """Foreign words as a log, a report and a terminal can show them: one line, cut when long."""
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 3] + "..."


@define(eq=False)
class ReplyReader:
    """Takes octets cut anywhere and gives replies.

    A line may end with LF alone: some hosts do that, and no reply can be made of another by it.
    """

    _input: bytes = b""
    _at: int = 0  # what stands before was taken
    _code: bytes = b""
    _lines: list[str] = field(factory=list)
    _octets: int = 0  # of the lines before this one

    @property
    def rest(self) -> bool:
        """Whether there are octets that have not come out as a reply."""
        return self._at < len(self._input) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        self._input, self._at = self._input[self._at :] + data, 0

    def take(self) -> Reply | None:
        """The next reply; None until it is whole.

        Raises:
            BadReply: it has no code, or several; it is over 100 lines or 64 KiB.
        """
        if not self._lines and (found := _ONE_LINE.match(self._input, self._at)):
            self._at = found.end()
            return _of_one_line(found[1])
        while (end := self._input.find(b"\n", self._at)) >= 0:
            line, octets = self._input[self._at : end], end + 1 - self._at
            self._at = end + 1
            self._bound(octets)
            found = _LINE.fullmatch(line.removesuffix(b"\r"))
            if not found:
                raise BadReply(f"no reply: {_shown(line)}")
            code, between, text = found.groups(b"")
            if self._code and code != self._code:
                raise BadReply(f"a reply with two codes: {_shown(self._code)}, {_shown(code)}")
            self._lines.append(text.decode("utf-8", "replace"))
            if between != b"-":
                reply = Reply(int(code), tuple(self._lines))
                self._code, self._octets = b"", 0
                self._lines.clear()
                return reply
            self._code, self._octets = code, self._octets + octets
        self._bound(len(self._input) - self._at)
        return None

    def _bound(self, octets: int) -> None:
        if self._octets + octets > REPLY_OCTETS:
            raise BadReply(f"a reply of more than {REPLY_OCTETS} octets")
        if len(self._lines) >= REPLY_LINES:
            raise BadReply(f"a reply of more than {REPLY_LINES} lines")


def _shown(octets: bytes) -> str:
    return printable(octets[:80].decode("utf-8", "replace")) or "an empty line"
