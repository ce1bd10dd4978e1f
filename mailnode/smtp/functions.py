"""Mailboxes that are Python functions.

    from mailnode.smtp.functions import FunctionMailboxes

    mailboxes = FunctionMailboxes()

    @mailboxes.at("tickets@example.test")
    def open_ticket(mail, envelope):
        print(envelope.sender, mail["Subject"], mail.get_content())

and in the settings, where `robot.py` is this module:

    [plugins]
    delivery = "robot:mailboxes"

Other addresses go the usual way. A mail for both kinds is one transaction with one reply:
the functions are called first, and what they took is filed in no mailbox when one of them
failed. The client then sends it again, so a function may see a mail twice (by `Message-ID`).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from functools import partial
from typing import Any, ClassVar, TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.smtp import SMTPServerError
from zope.interface import implementer

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress, BareLineEnd, MailError, TooLarge
from mailnode.interfaces import IChunkedMessage
from mailnode.mime import read_mail
from mailnode.model import Envelope, Recipient
from mailnode.plugins import takes
from mailnode.smtp.paths import ReversePath
from mailnode.smtp.trace import received_field
from mailnode.smtp.transaction import Postbox, address_of, origin_of

Function = Callable[[EmailMessage, Envelope], "Awaitable[object] | object"]
F = TypeVar("F", bound=Function)

MOST_OCTETS = 25 << 20

_log = Logger()


@define(eq=False)
class FunctionMailboxes:
    """Addresses, and the function that each one's mail is given to.

    A function is called as `function(mail, envelope)`, once for each mail:

    - `mail` is an `email.message.EmailMessage` of the whole mail, our Received field in
      front; `mail.as_bytes()` has CRLF lines.
    - `envelope` is a `model.Envelope`: `sender` (an `Address`; None for `<>`), `recipients`
      (those of this function alone; `address` is as the client wrote it, `account_id` is 0),
      `client`, `mail_id`.

    A plain function runs in a thread and may block; an `async def` runs on the reactor and may
    not. The client gets 250 after it returned, whatever it returned. When it raises a
    `MailError`, the client gets that one's answer: `raise Refused("No, thank you")` is 550. Any
    other exception is 451 to the client, who tries again later, and a traceback in the log.
    After ten minutes clients give up waiting and try again, too.

    Attributes:
        most_octets: larger mail is refused with 552, because it is held in memory.
        subaddress: parts `tickets` from `tickets+urgent`; "" for none.
    """

    most_octets: int = MOST_OCTETS
    subaddress: str = "+"
    _functions: dict[str, Function] = field(factory=dict, init=False)

    def at(self, *addresses: str) -> Callable[[F], F]:
        """Give the mail for these addresses to the function that follows.

        An address need not be of a domain in users.db; it comes before accounts and aliases.
        `*@domain` takes what no other address of that domain takes.

        Raises:
            BadAddress: it is none.
            ValueError: another function has it.
            TypeError: the function can't be called with a mail and an envelope.
        """

        def give_to(function: F) -> F:
            if not takes(function, 2):
                raise TypeError(f"{_name_of(function)} can't be called with (mail, envelope)")
            for text in addresses:
                try:
                    key = parse_address(text).key
                except BadAddress as error:
                    raise BadAddress(f"at({text!r}): {error}") from None
                if key in self._functions:
                    raise ValueError(f"{text} has a function already")
                self._functions[key] = function
            return function

        return give_to

    def find(self, address: Address) -> Function | None:
        """The function that takes this address's mail: by its name, its base, its domain."""
        found = self._functions.get(address.key)
        if found is None and self.subaddress:
            base, separator, _detail = address.local.partition(self.subaddress)
            if base and separator:
                found = self._functions.get(address.with_local(base).key)
        return found or self._functions.get(f"*@{address.domain}")

    def __call__(self, postbox: Postbox) -> FunctionPostbox:
        """What `[plugins] delivery` does with each session's `Postbox`."""
        return FunctionPostbox(self, postbox)


@implementer(IMessageDeliveryFactory)
@define(eq=False)
class FunctionPostbox:
    """A session's `Postbox`, and the function mailboxes in front of it."""

    mailboxes: FunctionMailboxes
    postbox: Postbox

    @property
    def account_name(self) -> str:
        return self.postbox.account_name

    def getMessageDelivery(self) -> FunctionDelivery:
        return FunctionDelivery(self.mailboxes, self.postbox)


@implementer(IMessageDelivery)
@define(eq=False)
class FunctionDelivery:
    """Judges one mail's recipients: those of a function here, others the usual way."""

    mailboxes: FunctionMailboxes
    postbox: Postbox
    usual: Any = field(init=False)
    _origin: ReversePath | None = field(default=None, init=False)
    _mails: dict[Function, FunctionMail] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.usual = self.postbox.getMessageDelivery()

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> Any:
        return self.usual.receivedHeader(helo, origin, recipients)

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        if isinstance(origin, ReversePath):
            self._origin = origin
        return self.usual.validateFrom(helo, origin)

    def validateTo(self, user: Any) -> Any:
        """Raises TooLarge, for this recipient alone, when MAIL told so great a size."""
        address = address_of(user)
        function = self.mailboxes.find(address)
        if function is None:
            return self.usual.validateTo(user)
        origin = self._origin
        if origin is None:  # Twisted's own server: it feeds each recipient's message
            return partial(self._mail_of, function, origin_of(user), (address,))
        if origin.parameters.size_octets > self.mailboxes.most_octets:
            raise TooLarge.past(self.mailboxes.most_octets)
        mail = self._mails.get(function)
        if mail is None:
            mail = self._mails[function] = self._mail_of(function, origin, ())
        mail.add(address)
        return lambda: mail

    def _mail_of(
        self, function: Function, origin: ReversePath, addresses: tuple[Address, ...]
    ) -> FunctionMail:
        mail = FunctionMail(
            function=function,
            postbox=self.postbox,
            most_octets=self.mailboxes.most_octets,
            envelope=Envelope(origin.mail_id, origin.address, (), origin.client, origin.parameters),
        )
        for address in addresses:
            mail.add(address)
        return mail


@implementer(IChunkedMessage)
@define(eq=False, kw_only=True)
class FunctionMail:
    """One mail on its way to a function, held in memory."""

    function: Function
    postbox: Postbox
    most_octets: int
    envelope: Envelope
    _pieces: list[bytes] = field(factory=list, init=False)
    _size: int = field(default=0, init=False)
    _facts: Any = field(default=None, init=False)
    commits: ClassVar[bool] = False

    def add(self, address: Address) -> None:
        """One recipient more; the same one twice is one."""
        recipient = Recipient(address, 0, str(address))
        if recipient not in self.envelope.recipients:
            recipients = (*self.envelope.recipients, recipient)
            self.envelope = evolve(self.envelope, recipients=recipients)

    @property
    def name(self) -> str:
        """What the log and the journal call the function."""
        return _name_of(self.function)

    @property
    def mend_bare_lf(self) -> bool:
        return self.postbox.account is not None or self.envelope.client.loopback

    def lineReceived(self, line: bytes) -> None:
        self.chunkReceived(line + b"\r\n")

    def chunkReceived(self, chunk: bytes) -> None:
        """Raises TooLarge."""
        self._size += len(chunk)
        if self._size > self.most_octets:
            raise TooLarge.past(self.most_octets)
        self._pieces.append(chunk)

    def bodyEnded(self, facts: Any) -> None:
        self._facts = facts

    def connectionLost(self) -> None:
        self._pieces = []

    def eomReceived(self) -> Deferred[None]:
        """Fires once the function has returned."""
        facts = self._facts
        if facts is not None and (facts.bare_cr or (facts.bare_lf and not facts.mend_bare_lf)):
            raise BareLineEnd()
        return Deferred.fromCoroutine(self._call())

    async def _call(self) -> None:
        counter, envelope = self.postbox.counter, self.envelope
        only = str(envelope.recipients[0].address) if len(envelope.recipients) == 1 else ""
        prefix = received_field(
            envelope.client, counter.hostname, envelope.mail_id, only, envelope.received_at
        )
        raw, self._pieces = b"".join([prefix, *self._pieces]), []
        try:
            if inspect.iscoroutinefunction(self.function):
                mail = await counter.in_thread(read_mail, raw)
                await self.function(mail, envelope)
            else:
                await counter.in_thread(lambda: self.function(read_mail(raw), envelope))
        except (MailError, SMTPServerError):
            raise
        except Exception as error:
            _log.failure(
                "{name} failed on mail {mail_id}", name=self.name, mail_id=envelope.mail_id
            )
            raise MailError(detail=f"{self.name}: {type(error).__name__}") from error


def _name_of(function: Function) -> str:
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
