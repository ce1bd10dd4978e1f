"""A mail that a signed-in account submits (RFC 6409): as whom, without Bcc, and signed.

Its header is held back until it is whole, then it is judged, its Bcc fields are cut, and it goes
the way of every other body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail

from mailnode.addresses import Address, parse_address_list
from mailnode.errors import (
    BadAddress,
    BadAuthor,
    HeaderTooLarge,
    MailError,
    NotYourAddress,
    one_line,
)
from mailnode.model import Envelope, Message, Remote
from mailnode.smtp.incoming import HEAD_OCTETS, Incoming
from mailnode.smtp.replies import as_twisted_says
from mailnode.smtp.trace import missing_fields
from mailnode.wire import header_fields

if TYPE_CHECKING:
    from mailnode.smtp.transaction import Counter
    from mailnode.store.directory import Account

_BCC = re.compile(
    rb"^(?:resent-)?bcc(?:\r\n(?=[ \t])|[ \t])*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.I | re.M
)


class Hash(Protocol):
    """Of a body, as DKIM wants it."""

    def feed(self, chunk: bytes) -> None: ...
    def digest(self) -> bytes: ...


class Signer(Protocol):
    """Signs for the domains here."""

    def body_hash(self, domain: str) -> Hash | None:
        """For a body of this domain; None when it has no key, so nothing is to be signed."""
        ...

    async def sign(self, domain: str, header: bytes, body_hash: bytes, at: int) -> bytes:
        """The DKIM-Signature fields of a domain, each with its CRLF; b"" when it has no key.

        Args:
            header: the fields as they leave, each with its CRLF.
            at: UTC epoch seconds.
        """
        ...


def check_author(counter: Counter, account: Account, address: Address) -> None:
    """Let pass what the account may send as.

    Raises:
        NotYourAddress: nobody has given it that address.
    """
    if counter.any_sender or counter.directory.speaks_for(account.id, address):
        return
    text = f"{address!s:.120} is not yours: send as {account.address!s:.120}, or add it with "
    raise NotYourAddress(one_line(f"{text} mailnode send-as or alias"))


def without_bcc(header: bytes) -> bytes:
    """The header without its Bcc and Resent-Bcc fields; nothing else changes.

    Args:
        header: fields with their CRLFs, without the blank line.
    """
    return _BCC.sub(b"", header)


@define(eq=False, kw_only=True)
class Submitted(Incoming):
    """One body from a signed-in account.

    Attributes:
        account: whose it is, never None here.
    """

    account: Account
    _held: bytearray | None = field(factory=bytearray, init=False)  # the header so far
    _author: Address | None = field(default=None, init=False)
    _sender: str = field(default="", init=False)
    _send_as: int = field(default=0, init=False)
    _body_hash: Hash | None = field(default=None, init=False)

    def chunkReceived(self, chunk: bytes) -> Deferred[None] | None:
        """Raises NotYourAddress, BadAuthor, HeaderTooLarge: once the header is there."""
        held = self._held
        if held is None:
            if self._body_hash is not None:
                self._body_hash.feed(chunk)
            return super().chunkReceived(chunk)
        seen = len(held)
        held += chunk
        end = _end_of_header(held, seen)
        if (len(held) if end is None else end) > HEAD_OCTETS:
            raise HeaderTooLarge()
        if end is None:
            return None
        return self._header_ended(bytes(held[:end]), bytes(held[end:]))

    def _header_ended(self, header: bytes, rest: bytes) -> Deferred[None] | None:
        """Judge it, and let it go on with what has come of the body.

        Args:
            rest: begins with the blank line; b"" when the mail has none.
        """
        self._held = None
        kept = without_bcc(header)
        self._judge(kept)
        author, counter = self._author, self.counter
        if author is not None and counter.signer and counter.directory.is_local(author.domain):
            self._body_hash = counter.signer.body_hash(author.domain)
            if self._body_hash is not None:
                self._body_hash.feed(rest[2:])
        return super().chunkReceived(kept + rest)

    def _judge(self, header: bytes) -> None:
        """Find who sends it, and whether the account may say so in From and Sender."""
        counter, account = self.counter, self.account
        fields = list(header_fields(header))
        try:
            authors = _addresses(fields, b"from")
            senders = _addresses(fields, b"sender")
            if not authors and any(name == b"from" for name, _value in fields):
                raise BadAuthor()
        except (BadAddress, BadAuthor):
            if not counter.any_sender:
                raise BadAuthor() from None
            return
        for address in (*authors, *senders):
            check_author(counter, account, address)
        if len(authors) > 1:
            self._sender = str(account.address)
        self._author = authors[0] if authors else self.origin.address or account.address
        for address in authors or [self._author]:
            if outside := counter.directory.send_as(account.id, address):
                self._send_as = outside.id
                break

    def lineReceived(self, line: bytes) -> None:
        """Raises SMTPServerError, the one that Twisted's own server answers with."""
        try:
            super().lineReceived(line)
        except MailError as refusal:
            raise as_twisted_says(refusal) from refusal

    def eomReceived(self) -> Deferred[Any]:
        if self._lines is not None:
            try:
                self._end_lines()
            except MailError as refusal:
                return fail(refusal)
        if self._held is None:
            return super().eomReceived()
        return Deferred.fromCoroutine(self._file_header(bytes(self._held)))

    async def _file_header(self, header: bytes) -> Any:
        """The mail ended before its header did."""
        try:
            wait = self._header_ended(header, b"")
            if wait is not None:
                await wait
        except BaseException:
            self.connectionLost()
            raise
        return await super().eomReceived()

    def _hand_over(self, envelope: Envelope, message: Message, header: bytes) -> Deferred[Any]:
        """What is missing is added, what leaves by a provider is marked, all of it is signed."""
        added = missing_fields(
            header,
            self.counter.hostname,
            envelope.mail_id,
            envelope.received_at,
            str(self._author or ""),
            self._sender,
        )
        remotes = envelope.remotes
        if self._send_as:
            remotes = tuple(evolve(remote, send_as=self._send_as) for remote in remotes)
        envelope = evolve(envelope, remotes=remotes, account_id=self.account.id)
        if self._body_hash is not None:
            filing = Deferred.fromCoroutine(self._sign(envelope, message, added, header))
        else:
            message = evolve(message, prefix=message.prefix + added)
            filing = super()._hand_over(envelope, message, header)
        return filing.addCallback(self._tell_written, remotes) if remotes else filing

    def _tell_written(self, filed: Any, remotes: tuple[Remote, ...]) -> Any:
        """Whom it has gone to, or will; not those that are captured, or that an alias led to."""
        self.counter.wrote_to(
            [to.address for to in remotes if not to.captured and to.alias is None]
        )
        return filed

    async def _sign(self, envelope: Envelope, message: Message, added: bytes, header: bytes) -> Any:
        """Sign what is behind Received, which others may change no more than we do."""
        signer, author, body_hash = self.counter.signer, self._author, self._body_hash
        assert signer is not None and author is not None and body_hash is not None
        signature = await signer.sign(
            author.domain, added + header, body_hash.digest(), int(envelope.received_at)
        )
        message = evolve(message, prefix=message.prefix + signature + added)
        return await super()._hand_over(envelope, message, header)


def _end_of_header(held: bytearray, seen: int) -> int | None:
    """Where the blank line begins; None while it hasn't come.

    Args:
        seen: as many octets were looked through before.
    """
    if held.startswith(b"\r\n"):
        return 0
    found = held.find(b"\r\n\r\n", max(0, seen - 3))
    return None if found < 0 else found + 2


def _addresses(fields: list[tuple[bytes, bytes]], wanted: bytes) -> list[Address]:
    """All that the fields of this name hold; a second From would show another author."""
    return [
        address
        for name, value in fields
        if name == wanted
        for address in parse_address_list(value.decode("utf-8", "replace"))
    ]
