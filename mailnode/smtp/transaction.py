"""One mail on its way in: Twisted's `IMessageDelivery` over our directory and our door.

A session has a `Postbox`; each mail a `Transaction`, which judges the reverse-path and
each recipient and opens one `Incoming` for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer

from mailnode.addresses import Address, parse_address, parse_path
from mailnode.errors import MailboxFull, MailError, RelayDenied, StoreFull, TooManyRecipients
from mailnode.model import Client, MailParameters, Recipient, Remote, new_mail_id
from mailnode.smtp.allowance import Allowance
from mailnode.smtp.incoming import Incoming
from mailnode.smtp.outward import led_out
from mailnode.smtp.paths import Forward, Path, ReversePath
from mailnode.smtp.replies import as_twisted_says
from mailnode.smtp.submission import Signer, Submitted, check_author
from mailnode.smtp.trace import received_field
from mailnode.srs import is_rewritten

if TYPE_CHECKING:
    from mailnode.intake import Intake
    from mailnode.store.accounts import Account
    from mailnode.store.directory import LiveDirectory

CAPTURE = "capture"


def _as_it_is(sender: Address | None) -> str:
    return str(sender or "")


def _nobody(address: Address) -> Address | None:
    return None


def _untold(addresses: Iterable[Address]) -> None:
    """Nobody wants to know."""


@define(eq=False, kw_only=True)
class Counter:
    """Everything behind the counter that a transaction needs.

    Attributes:
        hostname: ours, for Received.
        room_for: (account id, octets) to whether the mailbox has room (quota).
        disk_has_room: False when the disk is too full to take mail.
        blob_over: larger bodies go to a blob, in octets.
        most_mailboxes: that one mail may reach, and addresses elsewhere with them.
        most_received: Received fields that make a loop.
        in_thread: runs a function of others that may block; called at once unless given.
        allowance: how many recipients elsewhere an account may send to.
        any_sender: whether accounts may send under addresses of others.
        srs_forward: the reverse-path that what a stranger sent is forwarded with.
        srs_reverse: whose reverse-path `srs_forward` made into this address; None when it didn't.
        signer: signs what accounts submit; None for no signatures.
        wrote_to: is told to whom elsewhere an account has sent.
        now: UTC epoch seconds, as the queue counts them.
        authserv_id: whose Authentication-Results no stranger writes; "" where we write none.
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
    allowance: Allowance = field(factory=Allowance)
    any_sender: bool = False
    srs_forward: Callable[[Address | None], str] = _as_it_is
    srs_reverse: Callable[[Address], Address | None] = _nobody
    signer: Signer | None = None
    wrote_to: Callable[[Iterable[Address]], None] = _untold
    now: Callable[[], float] = time.time
    authserv_id: str = ""


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
    """Judges one mail's reverse-path and recipients, here and elsewhere."""

    counter: Counter
    account: Account | None = None
    _origin: ReversePath | None = field(default=None, init=False)
    _mailboxes: dict[int, Recipient] = field(factory=dict, init=False)
    _remotes: dict[Address, Remote] = field(factory=dict, init=False)
    _asked: list[Address] = field(factory=list, init=False)
    _incoming: Incoming | None = field(default=None, init=False)

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        """For an `IMessage` that isn't ours; our own puts the field in front by itself."""
        if not isinstance(origin, ReversePath):  # Twisted's own server, which asks for ours too
            return b""
        only = str(recipients[0]) if len(recipients) == 1 else ""
        return received_field(origin.client, self.counter.hostname, origin.mail_id, only)[:-2]

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        """Take the reverse-path; `<>` always (RFC 5321 section 4.5.5, RFC 6409 section 6.1).

        Raises:
            StoreFull: the disk is nearly full.
            NotYourAddress: who has signed in may not send as that.
        """
        if isinstance(origin, ReversePath):
            self._origin = origin
        try:
            if not self.counter.disk_has_room():
                raise StoreFull()
            if self.account is not None and (address := _reverse_path(origin)):
                check_author(self.counter, self.account, address)
        except MailError as refusal:
            if self._origin is not None:
                raise
            raise as_twisted_says(refusal) from refusal
        return origin

    def validateTo(self, user: Any) -> Callable[[], Incoming]:
        """Find the mailboxes behind a recipient, or where else it leads.

        Raises:
            RelayDenied, NoSuchMailbox, MailboxDisabled, AliasLoop: for good.
            MailboxFull, TooManyRecipients, SendingTooFast: for now, and for this recipient alone.
        """
        address = self._named(address_of(user))
        if self._origin is None:
            return self._validate_alone(user, address)
        self._add(address, self._origin, user)
        self._asked.append(address)
        return self._open

    def abandoned(self) -> None:
        """The client gave the mail up before its body: it costs the account nothing."""
        if self._incoming is None and self.account is not None:
            self.counter.allowance.give_back(self.account.id, len(self._remotes))
        self._remotes = {}

    def _named(self, address: Address) -> Address:
        """The postmaster of this host is the first domain's, unless its name is a domain here.

        `<postmaster>` comes as the host's (RFC 5321 section 4.5.1).
        """
        counter = self.counter
        host = counter.hostname
        if address.domain != host or address.local.lower() != "postmaster":
            return address
        first = counter.directory.first_domain
        if first is None or counter.directory.is_local(host):
            return address
        return Address(address.local, first)

    def _add(self, address: Address, origin: ReversePath, user: Any) -> None:
        """Bring in the mailboxes and the addresses elsewhere behind an address, or none of them."""
        counter, size_octets = self.counter, origin.parameters.size_octets
        wishes = getattr(user, "notify", "") or getattr(user, "orcpt", "")
        mailboxes: dict[int, Recipient] = {}
        remotes: dict[Address, Remote] = {}
        full = True
        for each in self._behind(address, origin):
            if wishes:
                each = evolve(each, notify=user.notify, orcpt=user.orcpt)
            if isinstance(each, Remote):
                full = False
                if each.address not in self._remotes:
                    remotes[each.address] = led_out(counter, each, origin, self.account)
            elif self._has_room(each, size_octets):
                full = False
                if each.account_id not in self._mailboxes:
                    mailboxes.setdefault(each.account_id, each)
        if full:
            raise MailboxFull()
        reached = len(self._mailboxes) + len(mailboxes) + len(self._remotes) + len(remotes)
        if reached > counter.most_mailboxes:
            raise TooManyRecipients("Too many mailboxes in one mail")
        if remotes:
            if self.account is not None:
                counter.allowance.take(self.account.id, len(remotes))
            self._remotes.update(remotes)
        self._mailboxes.update(mailboxes)

    def _behind(self, address: Address, origin: ReversePath) -> Sequence[Recipient | Remote]:
        """Where an address leads to.

        Raises:
            RelayDenied: it is elsewhere, and this client is to use a server of its own.
        """
        counter = self.counter
        directory = counter.directory
        if "=" in address.local and is_rewritten(address) and directory.is_local(address.domain):
            original = counter.srs_reverse(address)
            if original is not None and not directory.is_local(original.domain):
                if origin.address is not None and self.account is None:
                    raise RelayDenied("Reports alone go back by that address")
                return (Remote(original, alias=address),)
            address = original or address
        try:
            return directory.expand(address, counter.most_mailboxes)
        except RelayDenied:
            if self.account is not None:
                return (Remote(address),)
            if origin.client.loopback and directory.gear == CAPTURE:
                return (Remote(address),)
            raise

    def _has_room(self, recipient: Recipient, size_octets: int) -> bool:
        account = self.counter.directory.find_by_id(recipient.account_id)
        return account is None or self.counter.room_for(account, size_octets)

    def _open(self) -> Incoming:
        assert self._origin is not None
        if self._incoming is None:
            self._incoming = self._make(
                self._origin,
                tuple(self._mailboxes.values()),
                tuple(self._remotes.values()),
                tuple(self._asked),
            )
        return self._incoming

    def _validate_alone(self, user: Any, address: Address) -> Callable[[], Incoming]:
        """For Twisted's own server, which feeds each recipient's message and knows its errors."""
        origin, mailboxes, remotes = origin_of(user), set(self._mailboxes), set(self._remotes)
        try:
            self._add(address, origin, user)
        except MailError as refusal:
            raise as_twisted_says(refusal) from refusal
        return partial(
            self._make,
            origin,
            tuple(each for key, each in self._mailboxes.items() if key not in mailboxes),
            tuple(each for key, each in self._remotes.items() if key not in remotes),
            (address_of(user),),
        )

    def _make(
        self,
        origin: ReversePath,
        recipients: tuple[Recipient, ...],
        remotes: tuple[Remote, ...],
        asked: tuple[Address, ...],
    ) -> Incoming:
        counter, account = self.counter, self.account
        if account is None:
            return Incoming(
                counter=counter,
                origin=origin,
                recipients=recipients,
                remotes=remotes,
                asked=asked,
            )
        return Submitted(
            counter=counter,
            origin=origin,
            recipients=recipients,
            remotes=remotes,
            asked=asked,
            account=account,
        )


def address_of(user: Any) -> Address:
    """The recipient that `validateTo` is asked about, whosever server asks."""
    if isinstance(user, Forward) and isinstance(user.dest, Path) and user.dest.address:
        return user.dest.address
    return parse_address(str(user.dest))


def _reverse_path(origin: Any) -> Address | None:
    return origin.address if isinstance(origin, Path) else parse_path(f"<{origin}>")


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
