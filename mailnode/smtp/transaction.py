"""One mail on its way in: Twisted's `IMessageDelivery` over our directory and our door.

A session has a `Postbox`; each mail a `Transaction`, which judges the reverse-path and
each recipient and opens one `Incoming` for all of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from email.header import decode_header, make_header
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.smtp import SMTPServerError
from zope.interface import implementer

from mailnode.addresses import Address, parse_address, parse_path
from mailnode.background import background
from mailnode.errors import (
    BareLineEnd,
    MailboxFull,
    MailError,
    MailLoop,
    RelayDenied,
    StoreFull,
    TooManyRecipients,
)
from mailnode.interfaces import IBlobs, IChunkedMessage
from mailnode.model import Blob, Client, Envelope, MailParameters, Message, Recipient, new_mail_id
from mailnode.smtp.paths import Forward, Path, ReversePath
from mailnode.smtp.trace import missing_fields, received_field
from mailnode.wire import DotReader, header_of

if TYPE_CHECKING:
    from mailnode.intake import Intake
    from mailnode.store.accounts import Account
    from mailnode.store.directory import LiveDirectory

HEAD_OCTETS = 65536

_log = Logger()


@define(eq=False, kw_only=True)
class Counter:
    """Everything behind the counter that a transaction needs.

    Attributes:
        hostname: ours, for Received.
        room_for: (account id, octets) to whether the mailbox has room (quota).
        disk_has_room: False when the disk is too full to take mail.
        blob_over: larger bodies go to a blob, in octets.
        most_mailboxes: that one mail may reach.
        most_received: Received fields that make a loop.
        in_thread: runs a function of others that may block; called at once unless given.
    """

    hostname: str
    directory: LiveDirectory
    intake: Intake
    blobs: Any
    room_for: Callable[[Account, int], bool]
    disk_has_room: Callable[[], bool]
    blob_over: int = 256 << 10
    most_mailboxes: int = 1000
    most_received: int = 50
    in_thread: Callable[..., Deferred[Any]] = maybeDeferred


@implementer(IMessageDeliveryFactory)
@define(eq=False)
class Postbox:
    """A session's avatar: gives each mail its `Transaction`.

    Attributes:
        account: who is signed in; None for a stranger.
    """

    counter: Counter
    account: Account | None = None

    @property
    def account_name(self) -> str:
        return str(self.account.address) if self.account else ""

    def getMessageDelivery(self) -> Transaction:
        return Transaction(self.counter, self.account)


@implementer(IMessageDelivery)
@define(eq=False)
class Transaction:
    """Judges one mail's reverse-path and recipients."""

    counter: Counter
    account: Account | None = None
    _origin: ReversePath | None = field(default=None, init=False)
    _mailboxes: dict[int, Recipient] = field(factory=dict, init=False)
    _asked: list[Address] = field(factory=list, init=False)
    _incoming: Incoming | None = field(default=None, init=False)

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        """For an `IMessage` that isn't ours; our own puts the field in front by itself."""
        if not isinstance(origin, ReversePath):  # Twisted's own server, which asks for ours too
            return b""
        only = str(recipients[0]) if len(recipients) == 1 else ""
        return received_field(origin.client, self.counter.hostname, origin.mail_id, only)[:-2]

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        """Take the reverse-path; `<>` always (RFC 5321 section 4.5.5).

        Raises:
            StoreFull: the disk is nearly full.
        """
        if isinstance(origin, ReversePath):
            self._origin = origin
        if not self.counter.disk_has_room():
            raise StoreFull() if self._origin else as_twisted_says(StoreFull())
        return origin

    def validateTo(self, user: Any) -> Callable[[], Incoming]:
        """Find the mailboxes behind a recipient.

        Raises:
            RelayDenied, NoSuchMailbox, MailboxDisabled, AliasLoop: for good.
            MailboxFull, TooManyRecipients: for now, and for this recipient alone.
        """
        address = self._named(address_of(user))
        if self._origin is None:
            return self._validate_alone(user, address)
        self._mailboxes = self._with(address, self._origin.parameters.size_octets)
        self._asked.append(address)
        return self._open

    def _named(self, address: Address) -> Address:
        """The postmaster of this host is the first domain's, unless its name is a domain here.

        `<postmaster>` comes as the host's (RFC 5321 section 4.5.1).
        """
        counter = self.counter
        first, host = counter.directory.first_domain, counter.hostname
        ours = address.domain == host and address.local.lower() == "postmaster"
        if not ours or first is None or counter.directory.is_local(host):
            return address
        return Address(address.local, first)

    def _with(self, address: Address, size_octets: int) -> dict[int, Recipient]:
        """The mailboxes so far, and those behind this address."""
        counter = self.counter
        reached = counter.directory.expand(address, counter.most_mailboxes)
        found = [each for each in reached if isinstance(each, Recipient)]
        if not found:  # an alias that leads elsewhere alone
            raise RelayDenied()
        kept = [recipient for recipient in found if self._has_room(recipient, size_octets)]
        if not kept:
            raise MailboxFull()
        merged = dict(self._mailboxes)
        for recipient in kept:
            merged.setdefault(recipient.account_id, recipient)
        if len(merged) > counter.most_mailboxes:
            raise TooManyRecipients("Too many mailboxes in one mail")
        return merged

    def _has_room(self, recipient: Recipient, size_octets: int) -> bool:
        account = self.counter.directory.find_by_id(recipient.account_id)
        return account is None or self.counter.room_for(account, size_octets)

    def _open(self) -> Incoming:
        assert self._origin is not None
        if self._incoming is None:
            self._incoming = Incoming(
                counter=self.counter,
                origin=self._origin,
                recipients=tuple(self._mailboxes.values()),
                asked=tuple(self._asked),
                account=self.account,
            )
        return self._incoming

    def _validate_alone(self, user: Any, address: Address) -> Callable[[], Incoming]:
        """For Twisted's own server, which feeds each recipient's message and knows its errors."""
        try:
            merged = self._with(address, 0)
        except MailError as refusal:
            raise as_twisted_says(refusal) from refusal
        new = tuple(merged[key] for key in merged.keys() - self._mailboxes.keys())
        self._mailboxes = merged
        return partial(self._open_alone, user, new)

    def _open_alone(self, user: Any, recipients: tuple[Recipient, ...]) -> Incoming:
        return Incoming(
            counter=self.counter,
            origin=origin_of(user),
            recipients=recipients,
            asked=(address_of(user),),
            account=self.account,
        )


def address_of(user: Any) -> Address:
    """The recipient that `validateTo` is asked about, whosever server asks."""
    if isinstance(user, Forward) and isinstance(user.dest, Path) and user.dest.address:
        return user.dest.address
    return parse_address(str(user.dest))


def as_twisted_says(refusal: MailError) -> SMTPServerError:
    """The same refusal for Twisted's own server, which answers 451 to what it doesn't know."""
    return SMTPServerError(refusal.smtp_code, f"{refusal.enhanced} {refusal.text}")


def origin_of(user: Any) -> ReversePath:
    """The reverse-path of a recipient that Twisted's own server asks about."""
    return ReversePath(
        parse_path(f"<{user.orig}>"),
        mail_id=new_mail_id(),
        client=_client_of(user.helo),
        parameters=MailParameters(),
        dialog=str,
    )


def _client_of(helo: tuple[bytes | None, bytes]) -> Client:
    name, host = ((part or b"").decode("ascii", "replace") for part in helo)
    return Client(host=host, helo=name, protocol="SMTP")


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
    account: Account | None = None
    _pieces: list[bytes] = field(factory=list)
    _size: int = 0
    _digest: Any = field(factory=hashlib.sha256)
    _head: bytes = b""
    _blob: Any = None
    _facts: Any = None
    _lines: DotReader | None = None
    commits: ClassVar[bool] = True

    @property
    def mend_bare_lf(self) -> bool:
        """Clients that we know may send bare LF: curl -T, cron, printers (S19)."""
        return self.account is not None or self.origin.client.loopback

    def chunkReceived(self, chunk: bytes) -> Deferred[None] | None:
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._blob is not None:
            if (lacking := HEAD_OCTETS - len(self._head)) > 0:
                self._head += chunk[:lacking]
            return self._write(chunk)
        self._pieces.append(chunk)
        if self._size <= self.counter.blob_over:
            return None
        held = b"".join(self._pieces)
        self._head, self._pieces = held[:HEAD_OCTETS], []
        self._blob = IBlobs(self.counter.blobs).create()
        return self._write(held)

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
        self._pieces = []
        if blob is not None:
            background(blob.discard(), "discarding an abandoned blob")

    def eomReceived(self) -> Deferred[Any]:
        """File the mail; the Deferred fires with the intake's receipt once it is durable."""
        if self._lines is not None:
            piece, _ended = self._lines.feed(b".\r\n")
            self.chunkReceived(piece)
            self._facts = self._lines
        facts = self._facts
        if facts.bare_cr or (facts.bare_lf and not facts.mend_bare_lf):
            self.connectionLost()
            return fail(BareLineEnd())
        if not self.recipients:  # all its mailboxes are another recipient's, too
            self.connectionLost()
            return succeed(None)
        if self._blob is not None:
            return Deferred.fromCoroutine(self._accept_blob())
        body = b"".join(self._pieces)
        self._pieces = []
        return self._accept(body, body[:HEAD_OCTETS] if len(body) > HEAD_OCTETS else body)

    async def _accept_blob(self) -> Any:
        blob, self._blob = self._blob, None
        try:
            key = await blob.commit()
            return await self._accept(Blob(key, partial(self.counter.blobs.open, key)), self._head)
        except BaseException:
            await blob.discard()
            raise

    def _accept(self, body: bytes | Blob, head: bytes) -> Deferred[Any]:
        origin, counter, facts = self.origin, self.counter, self._facts
        header = header_of(head)
        most = counter.most_received
        if header.count(b"\n") > most and count_received(header) > most:
            return fail(MailLoop())
        envelope = Envelope(
            mail_id=origin.mail_id,
            sender=origin.address,
            recipients=self.recipients,
            client=origin.client,
            parameters=origin.parameters,
        )
        only = str(self.asked[0]) if len(self.asked) == 1 else ""
        prefix = received_field(
            origin.client, counter.hostname, origin.mail_id, only, envelope.received_at
        )
        if self.account is not None:
            prefix += missing_fields(head, counter.hostname, origin.mail_id, envelope.received_at)
        message = Message(
            prefix=prefix,
            body=body,
            size_octets=self._size,
            digest=self._digest.digest(),
            dot_lines=facts.dot_lines,
            subject=subject_of(header),
            dialog=origin.dialog(),
            mended_lf=facts.bare_lf,
        )
        return counter.intake.accept(envelope, message)


_RECEIVED = re.compile(rb"^received:", re.I | re.M)
_SUBJECT = re.compile(rb"^subject:[ \t]*((?:[^\r\n]|\r\n[ \t])*)", re.I | re.M)


def count_received(header: bytes) -> int:
    return len(_RECEIVED.findall(header))


def subject_of(header: bytes) -> str:
    """The subject for lists: decoded, on one line, at most 200 characters."""
    found = _SUBJECT.search(header)
    if not found:
        return ""
    text = found.group(1)[:2000].decode("utf-8", "replace")
    if "=?" in text:
        try:
            text = str(make_header(decode_header(text)))
        except Exception:  # a charset or encoding that nobody knows: shown as it came
            _log.debug("subject could not be decoded")
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(char for char in text if char.isprintable())
    return text[:200]
