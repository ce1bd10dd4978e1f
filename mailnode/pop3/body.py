"""A mail's octets on their way out: read in chunks, cut for TOP, brought to CRLF lines.

Nothing here writes to a connection; what is stateful may be fed chunks cut anywhere.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from mailnode.errors import StoreBroken
from mailnode.wire import stuff

CHUNK_OCTETS = 256 << 10
_BARE_LF = re.compile(rb"(?<!\r)\n")

Mail = tuple[bytes, Any, int | None]
"""(head, body, dot_lines), as `IMaildrop.fetch` gives it."""

FRAME = "+OK ", " octets\r\n", ".\r\n"
"""What a RETR's reply is around a mail whose lines need no stuffing."""


def ended(head: bytes, body: bytes, dot_lines: int | None) -> tuple[bytes, ...]:
    """A whole mail as it stands on the wire, its last dot included; 0 dot lines spare a look.

    Args:
        head: whole lines, or nothing.
    """
    if dot_lines != 0:
        return (stuff(head + body),)
    end = b".\r\n" if body.endswith(b"\r\n") or not body else b"\r\n.\r\n"
    return (head, body, end) if head else (body, end)


@define(eq=False)
class BytesBody:
    """Octets in memory, read as a blob is."""

    data: bytes
    _at: int = 0

    def read(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        return self.data[start : self._at]

    def close(self) -> None:
        self.data = b""


@define(eq=False)
class FileBody:
    """What a foreign `getMessage` gave, its lines brought to CRLF.

    Twisted's mailboxes keep native lines. Sent as they are, a client that takes LF for a
    line end would take LF.LF for the end of the mail.
    """

    file: Any
    _last: bytes = b""

    def read(self, count: int) -> bytes:
        chunk: bytes = self.file.read(count)
        if not chunk:
            return chunk
        data = _BARE_LF.sub(b"\r\n", self._last + chunk)[len(self._last) :]
        self._last = chunk[-1:] if chunk[-1:] == b"\r" else b""
        return data

    def close(self) -> None:
        """The file is its mailbox's: Twisted's server doesn't close it either."""


@define(eq=False)
class WholeBody:
    """A blob that has as many octets as its mail: what was cut short is never a whole mail.

    Attributes:
        left: octets that are still to come.
    """

    blob: Any
    left: int

    def read(self, count: int) -> Deferred[bytes]:
        """The next octets, b"" at the end.

        Errors:
            StoreBroken: there are fewer or more than there should be.
        """
        return Deferred.fromCoroutine(self._read(count))

    async def _read(self, count: int) -> bytes:
        chunk = await read_chunk(self.blob, count)
        self.left -= len(chunk)
        if self.left < 0 or (self.left and not chunk):
            raise StoreBroken(detail=f"a blob has {-self.left} octets more than its mail")
        return chunk

    def close(self) -> None:
        self.blob.close()


def readable(body: Any) -> Any:
    """A body with `read` and `close`, whether it came as bytes or as a blob."""
    return BytesBody(body) if isinstance(body, bytes) else body


async def read_chunk(body: Any, count: int = CHUNK_OCTETS) -> bytes:
    """The next octets, b"" at the end."""
    chunk = body.read(count)
    if isinstance(chunk, Deferred):
        chunk = await chunk
    return bytes(chunk)


@define(eq=False)
class TopCut:
    """Lets the header, the blank line and `lines` lines of the body through (RFC 1939, TOP).

    Attributes:
        done: nothing that follows will come through.
        octets: that came through.
    """

    lines: int
    done: bool = False
    octets: int = 0
    _in_header: bool = True
    _tail: bytes = b"\r\n"  # the last octets before the chunk; at first a line begins

    def feed(self, chunk: bytes) -> bytes:
        kept = self._cut(chunk)
        self.octets += len(kept)
        return kept

    def _cut(self, chunk: bytes) -> bytes:
        data, skip = self._tail + chunk, len(self._tail)
        at = max(0, skip - 3)
        if self._in_header:
            found = data.find(b"\r\n\r\n", at)
            if found < 0:
                self._tail = data[-3:]
                return chunk
            self._in_header, at = False, found + 4
        else:
            at = skip - 1 if data[skip - 1 : skip] == b"\r" else skip
        if (ends := data.count(b"\r\n", at)) < self.lines:  # all of it, at once
            self.lines -= ends
            self._tail = data[-1:]
            return chunk
        while self.lines:
            found = data.find(b"\r\n", at)
            if found < 0:
                self._tail = data[-1:]
                return chunk
            at, self.lines = found + 2, self.lines - 1
        self.done = True
        return data[skip:at]
