"""One body on its way to the door, and what is learned of its header."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mailnode.addresses import Address
from mailnode.background import background
from mailnode.errors import BareLineEnd, ForwardLoop, MailLoop
from mailnode.interfaces import IBlobs, IChunkedMessage
from mailnode.mailauth.results import without_forged
from mailnode.mime import subject_of
from mailnode.model import Blob, Envelope, Message, Recipient, Remote
from mailnode.session import settled
from mailnode.smtp.outward import USUAL, priority_of, without_loops
from mailnode.smtp.paths import ReversePath
from mailnode.smtp.trace import received_field
from mailnode.tagging import how_to_tag
from mailnode.wire import DotReader, header_of

if TYPE_CHECKING:
    from mailnode.smtp.transaction import Counter
    from mailnode.store.directory import Account

HEAD_OCTETS = 65536
FORGED_OCTETS = 256 << 10  # of a header: as far as anybody looks for who sent a mail

# Lines that are folded under nothing, at a mail's begin, would belong to the last field of ours.
STRAY = b"X-Stray-Lines:\r\n"


@implementer(IChunkedMessage)
@define(eq=False, kw_only=True)
class Incoming:
    """One body, on its way to the door for all its recipients.

    A small one stays in memory; past `blob_over` it is written to a blob as it comes, so
    what a connection can cost is bounded.
    """

    counter: Counter
    origin: ReversePath
    recipients: tuple[Recipient, ...]
    asked: tuple[Address, ...]
    remotes: tuple[Remote, ...] = ()
    account: Account | None = None
    _begin: bytearray = field(factory=bytearray)  # what came, until it goes to a blob
    _size: int = 0
    _digest: Any = None  # as it comes where it goes to a blob, at its end where it is small
    _head: bytes = b""
    _past_header: bool = False
    _blob: Any = None
    _facts: Any = None
    _lines: DotReader | None = None
    commits: ClassVar[bool] = True

    @property
    def mend_bare_lf(self) -> bool:
        """Clients that we know may send bare LF: curl -T, cron, printers (S19)."""
        return self.account is not None or self.origin.client.loopback

    def chunkReceived(self, chunk: bytes) -> Deferred[None] | None:
        self._size += len(chunk)
        if self._blob is not None:
            self._digest.update(chunk)
            if (lacking := HEAD_OCTETS - len(self._head)) > 0:
                self._head += chunk[:lacking]
            return self._write(chunk)
        new = len(self._begin)
        self._begin += chunk
        whole = not self._may_be_forged or self._is_past_header(new)
        if self._size <= self.counter.blob_over or not (whole or self._size >= FORGED_OCTETS):
            return None  # a header that may be forged is judged whole
        begin = self._without_forged(self._taken())
        self._head = begin[:HEAD_OCTETS]
        self._digest = hashlib.sha256(begin)
        self._blob = IBlobs(self.counter.blobs).create()
        return self._write(begin)

    def _is_past_header(self, new: int) -> bool:
        """Whether it did; what came before `new` was looked through already."""
        if not self._past_header:
            self._past_header = self._begin.find(b"\r\n\r\n", max(0, new - 3)) >= 0
        return self._past_header

    def _taken(self) -> bytes:
        held = bytes(self._begin)
        self._begin.clear()
        return held

    @property
    def _may_be_forged(self) -> bool:
        return bool(self.counter.authserv_id) and self.account is None

    def _without_forged(self, octets: bytes) -> bytes:
        """A mail's begin without what a stranger says in our name: results of checks, or words that
        would go on with the last field of ours."""
        if self.account is None and octets.startswith((b" ", b"\t")):
            self._size += len(STRAY)
            octets = STRAY + octets
        if not self._may_be_forged:
            return octets
        header = header_of(octets, FORGED_OCTETS)
        kept = without_forged(header, (self.counter.authserv_id,))
        if kept == header:
            return octets
        self._size -= len(header) - len(kept)
        return kept + octets[len(header) :]

    def _write(self, data: bytes) -> Deferred[None] | None:
        wait: Deferred[None] | None = self._blob.write(data)
        return wait

    def lineReceived(self, line: bytes) -> None:
        """From Twisted's own server, which hands over lines without their ends."""
        if self._lines is None:
            self._lines = DotReader()
        stuffed = b"." + line if line.startswith(b".") else line
        piece, _ended = self._lines.feed(stuffed + b"\r\n")
        self.chunkReceived(piece)

    def bodyEnded(self, facts: Any) -> None:
        self._facts = facts

    def connectionLost(self) -> None:
        """The mail is abandoned: nothing of it stays."""
        blob, self._blob = self._blob, None
        self._begin.clear()
        if blob is not None:
            background(blob.discard(), "discarding an abandoned blob")

    def eomReceived(self) -> Deferred[Any]:
        """File the mail; the Deferred fires with the intake's receipt once it is durable."""
        if self._lines is not None:
            self._end_lines()
        facts = self._facts
        if facts.bare_cr or (facts.bare_lf and not facts.mend_bare_lf):
            self.connectionLost()
            return fail(BareLineEnd())
        if not self.recipients and not self.remotes:  # all are another recipient's, too
            self.connectionLost()
            return succeed(None)
        if self._blob is not None:
            return Deferred.fromCoroutine(self._accept_blob())
        body = self._without_forged(self._taken())
        self._digest = hashlib.sha256(body)
        return self._accept(body, header_of(body, HEAD_OCTETS))

    def _end_lines(self) -> None:
        lines, self._lines = self._lines, None
        assert lines is not None
        piece, _ended = lines.feed(b".\r\n")
        self.chunkReceived(piece)
        self._facts = lines

    async def _accept_blob(self) -> Any:
        blob, self._blob = self._blob, None
        try:
            key = await blob.commit()
            lying = Blob(key, partial(self.counter.blobs.open, key))
            return await self._accept(lying, header_of(self._head))
        except BaseException:
            await blob.discard()
            raise

    def _accept(self, body: bytes | Blob, header: bytes) -> Deferred[Any]:
        origin, counter, facts = self.origin, self.counter, self._facts
        most = counter.most_received
        if header.count(b"\n") > most and count_received(header) > most:
            return fail(MailLoop())
        remotes = self.remotes
        if remotes:
            remotes = without_loops(remotes, header)
            if not remotes and not self.recipients:
                return fail(ForwardLoop())
        envelope = Envelope(
            mail_id=origin.mail_id,
            sender=origin.address,
            recipients=self.recipients,
            client=origin.client,
            parameters=origin.parameters,
            received_at=counter.now(),
            remotes=remotes,
            priority=priority_of(origin.address, header) if remotes else USUAL,
            kept=origin.kept,
            once=origin.once,
        )
        only = str(self.asked[0]) if len(self.asked) == 1 else ""
        prefix = received_field(
            origin.client, counter.hostname, origin.mail_id, only, envelope.received_at
        )
        message = Message(
            prefix=prefix,
            body=body,
            size_octets=self._size,
            digest=self._digest.digest(),
            dot_lines=facts.dot_lines,
            subject=subject_of(header),
            dialog=origin.dialog(),
            mended_lf=facts.bare_lf,
            taggable=how_to_tag(header) if any([to.tagged for to in self.recipients]) else 0,
        )
        waiting, judgements = settled(origin.found())
        if waiting is None:
            message = evolve(message, judgements=judgements) if judgements else message
            return self._hand_over(envelope, message, header)
        return waiting.addCallback(
            lambda found: self._hand_over(envelope, evolve(message, judgements=found), header)
        )

    def _hand_over(self, envelope: Envelope, message: Message, header: bytes) -> Deferred[Any]:
        return self.counter.intake.accept(envelope, message)


_RECEIVED = re.compile(rb"^received:", re.I | re.M)


def count_received(header: bytes) -> int:
    return len(_RECEIVED.findall(header))
