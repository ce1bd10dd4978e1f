"""Reports on their way: who is told, and what enters the queue and the mailboxes for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define, evolve

from mailnode.addresses import Address, parse_address
from mailnode.errors import MailError
from mailnode.model import (
    Envelope,
    Filed,
    MailParameters,
    Message,
    Recipient,
    Remote,
    new_mail_id,
)
from mailnode.outbound.dsn import Told, gives_all_back, make_report, told_of_filed
from mailnode.queued import Leased
from mailnode.wire import header_of

POSTMASTER = "postmaster"
LAST = 2  # of the queue's priorities

Report = tuple[Envelope, Message]


class People(Protocol):
    """What `store.directory.LiveDirectory` is to reports."""

    @property
    def first_domain(self) -> str | None: ...
    def is_local(self, domain: str) -> bool: ...
    def expand(self, address: Address, limit: int = 1000) -> tuple[Recipient | Remote, ...]: ...
    def may_leave(self, address: Address) -> bool: ...


def _nobody(address: Address) -> Address | None:
    return None


@define(eq=False)
class Reports:
    """Makes the mails that tell a sender what became of a mail.

    Attributes:
        srs_reverse: the sender behind an address that was rewritten here; None for any other.
    """

    people: People
    hostname: str
    srs_reverse: Callable[[Address], Address | None] = _nobody

    def make(
        self,
        row: Leased,
        told: Sequence[Told],
        *,
        head: bytes,
        whole: bytes | None,
        size_octets: int,
        at: float,
    ) -> Report | None:
        """The report about one mail to its sender.

        What fails and has no sender goes to the postmaster: a report about a report is the sign
        of a fault. What fails on its way to the postmaster is told to mailboxes here alone: one
        elsewhere would be told of its own failure for ever. None when there is nobody to tell.

        Args:
            whole: the mail, unless it is large.
            size_octets: of all of it.
        """
        return self._report(
            self._sender(row.sender),
            told,
            led_by=row.alias,
            mail_id=row.mail_id,
            envid=row.envid,
            arrived_at=row.queued_at,
            original_head=head,
            original=whole if gives_all_back(row.ret, size_octets, told) else None,
            smtputf8=row.smtputf8,
            at=at,
        )

    def of_filed(
        self, envelope: Envelope, message: Message, filed: Sequence[Filed]
    ) -> Report | None:
        """What NOTIFY=SUCCESS asks for about mailboxes here; None when nobody asks."""
        told = told_of_filed(envelope, filed, envelope.received_at)
        if not told:
            return None
        begun = message.body if isinstance(message.body, bytes) else b""
        return self._report(
            envelope.sender,
            told,
            mail_id=envelope.mail_id,
            envid=envelope.parameters.envid,
            arrived_at=envelope.received_at,
            original_head=message.prefix + header_of(begun),
            original=None,
            smtputf8=envelope.parameters.smtputf8,
            at=envelope.received_at,
        )

    def _report(
        self,
        to: Address | None,
        told: Sequence[Told],
        *,
        at: float,
        led_by: str | None = None,
        **about: Any,
    ) -> Report | None:
        reached = self.reach(to) if to is not None else []
        if not reached:
            told = [each for each in told if each.action == "failed"]
            to = self.postmaster()
            reached = self.reach(to) if to is not None else []
            if led_by is not None and to is not None and led_by.lower() == str(to):
                reached = [each for each in reached if isinstance(each, Recipient)]
        if to is None or not told or not reached:
            return None
        report_id = new_mail_id(at)
        body = make_report(
            hostname=self.hostname, to=str(to), told=told, at=at, report_id=report_id, **about
        )
        envelope = Envelope(
            mail_id=report_id,
            sender=None,
            recipients=tuple(each for each in reached if isinstance(each, Recipient)),
            parameters=MailParameters(
                body="7BIT" if body.isascii() else "8BITMIME",
                smtputf8=b"message/global" in body,
            ),
            received_at=at,
            remotes=tuple(each for each in reached if isinstance(each, Remote)),
            priority=0,
        )
        return envelope, message_of(body)

    def daily(
        self, mail_id: str, sender: Address, to: Sequence[Address], at: float
    ) -> Envelope | None:
        """Of a daily report to who asked for it; None where it reaches nobody.

        Nobody is told of one that fails, and it leaves behind all other mail.
        """
        reached = dict.fromkeys(each for address in to for each in self.reach(address))
        remotes = tuple(
            evolve(each, notify="NEVER")
            for each in reached
            if isinstance(each, Remote) and not each.captured
        )
        recipients = tuple(each for each in reached if isinstance(each, Recipient))
        if not (remotes or recipients):
            return None
        return Envelope(
            mail_id=mail_id,
            sender=sender,
            recipients=recipients,
            parameters=MailParameters(body="7BIT"),
            received_at=at,
            remotes=remotes,
            priority=LAST,
        )

    def _sender(self, sender: str) -> Address | None:
        if not sender:
            return None
        try:
            address = parse_address(sender)
        except MailError:
            return None
        return self.srs_reverse(address) or address

    def postmaster(self) -> Address | None:
        """Ours, whose mail the node's own is; None where no domain is served."""
        first = self.people.first_domain
        return None if first is None else Address(POSTMASTER, first)

    def reach(self, address: Address) -> list[Recipient | Remote]:
        """Where a mail of ours to `address` goes; nowhere when it is nobody's here."""
        if not self.people.is_local(address.domain):
            return [self._led_out(Remote(address))]
        try:
            found = self.people.expand(address)
        except MailError:
            return []
        return [self._led_out(each) if isinstance(each, Remote) else each for each in found]

    def may_tell(self, domain: str) -> bool:
        """Whether the gear lets out what we have to say to a domain elsewhere."""
        return self.people.may_leave(Address(POSTMASTER, domain))

    def _led_out(self, remote: Remote) -> Remote:
        return evolve(remote, captured=not self.people.may_leave(remote.address))


def message_of(body: bytes) -> Message:
    """A mail of ours, header and body, as it is filed."""
    subject = body.partition(b"\r\nSubject: ")[2].partition(b"\r\n")[0]
    return Message(
        prefix=b"",
        body=body,
        size_octets=len(body),
        digest=hashlib.sha256(body).digest(),
        dot_lines=body.count(b"\r\n.") + body.startswith(b"."),
        subject=subject.decode("ascii", "replace")[:200],
    )
