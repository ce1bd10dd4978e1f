"""A queued mail as the client reads it: our header fields, then the body, in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from mailnode.model import Blob
from mailnode.queued import QueuedMail

HEAD_OCTETS = 65536


@define(eq=False)
class MailReader:
    """Gives the octets once, from the first to the last.

    Attributes:
        open_blob: opens a body that lies outside the database.
        front: header fields of this delivery, in front of all.
    """

    mail: QueuedMail
    open_blob: Callable[[str], Any]
    front: bytes = b""
    _at: int = field(default=0, init=False)
    _blob: Any = field(default=None, init=False)

    def read(self, count: int) -> Deferred[bytes]:
        """The next octets, `count` at most; b"" at the end."""
        mail = self.mail
        if isinstance(mail.body, Blob):
            if not self._at:
                self._at, head = 1, self.front + mail.prefix
                return succeed(head) if head else self.read(count)
            if self._blob is None:
                self._blob = self.open_blob(mail.body.key)
            return _deferred(self._blob.read(count))
        whole = self.front + mail.prefix + mail.body
        piece = whole[self._at : self._at + count] if self._at or len(whole) > count else whole
        self._at += len(piece)
        return succeed(piece)

    def close(self) -> None:
        blob, self._blob = self._blob, None
        if blob is not None:
            blob.close()


def _deferred(result: Any) -> Deferred[bytes]:
    return result if isinstance(result, Deferred) else succeed(result)


async def head_and_whole(
    mail: QueuedMail, open_blob: Callable[[str], Any], most_octets: int
) -> tuple[bytes, bytes | None]:
    """The mail's header, and all of it unless that is over `most_octets`."""
    reader = MailReader(mail, open_blob)
    try:
        size = len(mail.prefix) + mail.size_octets
        wanted = size if size <= most_octets else min(size, len(mail.prefix) + HEAD_OCTETS)
        begun = b""
        while len(begun) < wanted and (piece := await reader.read(wanted - len(begun))):
            begun += piece
    finally:
        reader.close()
    end = begun.find(b"\r\n\r\n")
    head = begun if end < 0 else begun[: end + 2]
    return head, begun if size <= most_octets else None
