"""Mails of a maildrop that are served under a Subject which begins with a tag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred

from mailnode.model import SUBJECT_MADE
from mailnode.pop3.body import Mail, read_chunk
from mailnode.tagging import HEADER_OCTETS, field_of, octets_of_tag, put_tag

if TYPE_CHECKING:
    from mailnode.store.snapshots import Snapshot


@frozen
class Tags:
    """Which mails have a tag, and which.

    Attributes:
        text: the tag, without blanks around it.
        of: by the mail's uid, how it is put in (`model.SUBJECT_TAGGED`, `model.SUBJECT_MADE`).
    """

    text: bytes = b""
    of: Mapping[int, int] = field(factory=dict)

    def counted(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the sizes of what is served."""
        if not self.of:
            return snapshot
        sizes = snapshot.sizes[:]
        for index, uid in enumerate(snapshot.uids):
            if uid in self.of:
                sizes[index] += octets_of_tag(self.text, self.of[uid])
        return evolve(snapshot, sizes=sizes)

    def on_any(self, uids: Iterable[int]) -> bool:
        return bool(self.of) and not self.of.keys().isdisjoint(uids)

    def put(self, uid: int, mail: Mail) -> Mail:
        """The mail as it is served."""
        how = self.of.get(uid)
        if how is None:
            return mail
        head, body, dot_lines = mail
        if how == SUBJECT_MADE:
            return head + field_of(self.text), body, dot_lines
        if isinstance(body, bytes):
            return head, put_tag(body, self.text), dot_lines
        return head, TaggedBody(body, self.text), dot_lines


@define(eq=False)
class TaggedBody:
    """A blob whose Subject gets a tag on its way: its begin is read until the header has ended."""

    blob: Any
    tag: bytes
    _ready: bytes = b""
    _begun: bool = False

    def read(self, count: int) -> Deferred[bytes]:
        """The next octets, b"" at the end."""
        return Deferred.fromCoroutine(self._read(count))

    async def _read(self, count: int) -> bytes:
        if not self._begun:
            self._ready = put_tag(await self._begin(), self.tag)
            self._begun = True
        if not self._ready:
            return await read_chunk(self.blob, count)
        chunk, self._ready = self._ready[:count], self._ready[count:]
        return chunk

    async def _begin(self) -> bytes:
        begin = b""
        while len(begin) < HEADER_OCTETS:
            chunk = await read_chunk(self.blob, HEADER_OCTETS - len(begin))
            if not chunk:
                break
            begin += chunk
        return begin

    def close(self) -> None:
        self.blob.close()
