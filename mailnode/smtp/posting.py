"""Mail that an account submits otherwise than by SMTP: the same delivery judges it, and takes it.

Who may send what to whom stands in `transaction` and `submission`, and in the delivery of
[plugins]; nothing of it is said here again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from mailnode.addresses import Address
from mailnode.errors import MailError, TooLarge, TooManyRecipients, answer_for
from mailnode.events import Event, RefusedMail
from mailnode.model import Client, Filed, Kept, MailParameters, Once, new_mail_id
from mailnode.smtp.paths import Forward, ReversePath, path_of
from mailnode.smtp.takers import Body
from mailnode.smtp.trace import received_field
from mailnode.wire import ChunkReader

if TYPE_CHECKING:
    from mailnode.store.directory import Account

CHUNK_OCTETS = 256 << 10

_log = Logger()


class NobodyToSendTo(MailError):
    smtp_code, enhanced, http_status, exit_code = 554, "5.5.1", 422, 65
    text = "A mail needs a recipient"


@frozen
class Posted:
    """A mail that was taken.

    Attributes:
        filed: its copies in mailboxes here; what goes elsewhere is in the queue.
    """

    mail_id: str
    filed: Sequence[Filed]


@define(eq=False, kw_only=True)
class PostOffice:
    """Takes mails of accounts.

    Attributes:
        hostname: ours, for Received.
        delivery_for: what the realm makes of an account: an `IMessageDeliveryFactory`.
        tell: takes the events that have no commit of their own.
        most_octets: of a mail.
        most_recipients: that one mail may name.
    """

    hostname: str
    delivery_for: Callable[[Account], Any]
    tell: Callable[[Event], object]
    most_octets: int = 75 << 20
    most_recipients: int = 1000

    async def begin(
        self,
        account: Account,
        client: Client,
        *,
        sender: Address | None = None,
        size_octets: int = 0,
        kept: Kept | None = None,
    ) -> Posting:
        """A mail of the account's, before anybody is named whom it is for.

        Args:
            client: who is at the other end, as Received and the journal say it.
            sender: the reverse-path; the account's own address unless given.
            size_octets: as far as it is known; 0 where it isn't.
            kept: the copy that the account keeps of it.

        Raises:
            TooLarge, NotYourAddress, StoreFull: whatever the delivery raises to MAIL.
        """
        origin = ReversePath(
            sender or account.address,
            mail_id=new_mail_id(),
            client=client,
            parameters=MailParameters(size_octets=size_octets, body="8BITMIME", smtputf8=True),
            dialog=str,
            kept=kept,
        )
        helo = (client.helo.encode(), client.host.encode("ascii", "replace"))
        try:
            if size_octets > self.most_octets:
                raise TooLarge.past(self.most_octets)
            delivery = self.delivery_for(account).getMessageDelivery()
            await maybeDeferred(delivery.validateFrom, helo, origin)
        except Exception as refusal:
            raise self.refused(refusal, origin, "MAIL") from refusal
        return Posting(self, delivery, origin, helo)

    async def judge(
        self, account: Account, client: Client, addresses: Sequence[Address]
    ) -> list[MailError | None]:
        """What each recipient would be refused for, None for one that would be taken.

        Nothing is sent or told to the journal, and it costs the account nothing.

        Raises:
            MailError: the account could send nothing at all.
        """
        origin = ReversePath(
            account.address,
            mail_id=new_mail_id(),
            client=client,
            parameters=MailParameters(body="8BITMIME", smtputf8=True),
            dialog=str,
        )
        helo = (client.helo.encode(), client.host.encode("ascii", "replace"))
        answers: list[MailError | None] = []
        try:
            delivery = self.delivery_for(account).getMessageDelivery()
            await maybeDeferred(delivery.validateFrom, helo, origin)
        except Exception as refusal:
            raise answer_for(refusal) from refusal
        try:
            for address in addresses:
                user = Forward(path_of(address), helo, None, origin)
                try:
                    await maybeDeferred(delivery.validateTo, user)
                except Exception as refusal:
                    answers.append(answer_for(refusal))
                else:
                    answers.append(None)
        finally:
            _abandon(delivery)
        return answers

    def refused(
        self, refusal: BaseException, origin: ReversePath, stage: str, recipient: str = ""
    ) -> MailError:
        """The answer to it; the journal is told."""
        answer = answer_for(refusal)
        if answer is not refusal and not hasattr(refusal, "resp"):
            _log.failure("a mail could not be taken: {error}", error=refusal)
        detail: dict[str, object] = {
            "code": answer.smtp_code,
            "enhanced": answer.enhanced,
            "text": answer.text,
            "stage": stage,
            "account": origin.client.account,
            "protocol": origin.client.protocol,
        }
        if answer.detail:
            detail["because"] = answer.detail
        self.tell(
            RefusedMail(
                mail_id=origin.mail_id,
                sender=str(origin)[:320],
                recipient=recipient[:320] or None,
                client=origin.client.host,
                detail=detail,
            )
        )
        return answer


@define(eq=False)
class Posting:
    """One mail: its recipients are named, then its octets come, then it is ended or abandoned."""

    _office: PostOffice
    _delivery: Any
    _origin: ReversePath
    _helo: tuple[bytes, bytes]
    _to: list[tuple[Forward, Callable[[], Any]]] = field(factory=list, init=False)
    _body: Body | None = field(default=None, init=False)

    @property
    def mail_id(self) -> str:
        return self._origin.mail_id

    async def add(self, address: Address) -> None:
        """Name one recipient; another one may be named where this is refused.

        Raises:
            MailError: whatever the delivery raises to RCPT, or TooManyRecipients.
        """
        user = Forward(path_of(address), self._helo, None, self._origin)
        try:
            if len(self._to) >= self._office.most_recipients:
                raise TooManyRecipients()
            self._to.append((user, await maybeDeferred(self._delivery.validateTo, user)))
        except Exception as refusal:
            raise self._office.refused(refusal, self._origin, "RCPT", str(address)) from refusal

    def write(self, chunk: bytes) -> Deferred[Any] | None:
        """The next octets of the mail; who writes waits for the Deferred before the next.

        A bare LF becomes CRLF. What is wrong with the mail is said at its end.
        """
        body = self._opened()
        return body.take(body.reader.feed(chunk), self._office.most_octets)

    async def write_all(
        self, pieces: Iterator[bytes], in_thread: Callable[..., Awaitable[bytes]]
    ) -> None:
        """The rest of the mail; its pieces are made in a thread."""
        while chunk := await in_thread(_joined, pieces):
            wait = self.write(chunk)
            if wait is not None:
                await wait

    async def end(self, once: Once | None = None) -> Posted:
        """The mail is taken, durably, for all who were named.

        Args:
            once: the answer that is kept with it.

        Raises:
            MailError: nobody has it.
        """
        self._origin.once = once
        try:
            body = self._opened()
            wait = body.take(body.reader.end(), self._office.most_octets)
            if wait is not None:
                await wait
            filed = await body.end()
        except Exception as refusal:
            raise self._office.refused(refusal, self._origin, "the end of the mail") from refusal
        if body.handed:
            for event in body.handed_events(""):
                self._office.tell(event)
        return Posted(self.mail_id, filed if isinstance(filed, tuple) else ())

    def abandon(self) -> None:
        """Nothing of it stays, and it costs the account nothing."""
        if self._body is not None:
            self._body.abandon()
        _abandon(self._delivery)

    def _opened(self) -> Body:
        if self._body is None:
            if not self._to:
                raise NobodyToSendTo()
            self._body = Body.open(
                self._origin,
                self._to,
                ChunkReader(),
                time.monotonic(),
                received=self._received,
                mends_lf=True,
            )
        return self._body

    def _received(self, users: Sequence[Any]) -> bytes:
        only = str(users[0]) if len(users) == 1 else ""
        client, hostname = self._origin.client, self._office.hostname
        return received_field(client, hostname, self.mail_id, only)[:-2]


def _joined(pieces: Iterator[bytes]) -> bytes:
    """The next ones, as many as are worth a turn of a thread."""
    found: list[bytes] = []
    octets = 0
    for piece in pieces:
        found.append(piece)
        octets += len(piece)
        if octets >= CHUNK_OCTETS:
            break
    return b"".join(found)


def _abandon(delivery: Any) -> None:
    """Twisted's own deliveries know nothing of it."""
    abandoned = getattr(delivery, "abandoned", None)
    if abandoned is not None:
        abandoned()
