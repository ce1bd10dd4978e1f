"""Reports on their way: who is told, and what enters by the same door as any mail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define

from mailnode.addresses import Address, parse_address
from mailnode.errors import MailError
from mailnode.model import Client, Envelope, Message, Recipient, Remote, new_mail_id
from mailnode.outbound.dsn import Told, make_report
from mailnode.queued import Leased

POSTMASTER = "postmaster"


class People(Protocol):
    """What `store.directory.LiveDirectory` is to reports."""

    @property
    def first_domain(self) -> str | None: ...
    def is_local(self, domain: str) -> bool: ...
    def expand(self, address: Address, limit: int = 1000) -> tuple[Recipient | Remote, ...]: ...
    def may_leave(self, address: Address) -> bool: ...


@define(eq=False)
class Reports:
    """Makes the mails that tell a sender what became of a mail.

    Attributes:
        srs_reverse: the sender behind an address that was rewritten here; None for any other.
    """

    people: People
    hostname: str
    srs_reverse: Callable[[Address], Address | None] = lambda address: None

    def make(
        self,
        row: Leased,
        told: Sequence[Told],
        *,
        head: bytes,
        whole: bytes | None,
        at: float,
        to: Address | None = None,
    ) -> tuple[Envelope, Message] | None:
        """The report about one mail to its sender, or to `to`.

        What fails and has no sender goes to the postmaster: a report about a report is the sign
        of a fault. None when there is nobody to tell.
        """
        whom = to or self._sender(row)
        if whom is None:
            failed = [each for each in told if each.action == "failed"]
            whom, told = self._postmaster(), failed
        if whom is None or not told:
            return None
        reached = self._reach(whom)
        if not reached:
            whom = self._postmaster()
            reached = self._reach(whom) if whom else []
        if not reached or whom is None:
            return None
        report_id = new_mail_id(at)
        body = make_report(
            hostname=self.hostname,
            to=str(whom),
            mail_id=row.mail_id,
            envid=row.envid,
            arrived_at=row.queued_at,
            told=told,
            original_head=head,
            original=whole if row.ret == "FULL" else None,
            smtputf8=row.smtputf8,
            at=at,
            report_id=report_id,
        )
        return self._envelope(report_id, reached, at), self._message(body)

    def _sender(self, row: Leased) -> Address | None:
        if not row.sender:
            return None
        try:
            address = parse_address(row.sender)
            return self.srs_reverse(address) or address
        except MailError:
            return None

    def _postmaster(self) -> Address | None:
        first = self.people.first_domain
        return None if first is None else Address(POSTMASTER, first)

    def _reach(self, address: Address) -> list[Recipient | Remote]:
        if not self.people.is_local(address.domain):
            return [Remote(address, captured=not self.people.may_leave(address))]
        try:
            return list(self.people.expand(address))
        except MailError:
            return []

    def _envelope(
        self, report_id: str, reached: Sequence[Recipient | Remote], at: float
    ) -> Envelope:
        return Envelope(
            mail_id=report_id,
            sender=None,
            recipients=tuple(each for each in reached if isinstance(each, Recipient)),
            remotes=tuple(each for each in reached if isinstance(each, Remote)),
            client=Client(),
            received_at=at,
            priority=0,
        )

    def _message(self, body: bytes) -> Message:
        subject = body.partition(b"\r\nSubject: ")[2].partition(b"\r\n")[0]
        return Message(
            prefix=b"",
            body=body,
            size_octets=len(body),
            digest=hashlib.sha256(body).digest(),
            dot_lines=body.count(b"\r\n.") + body.startswith(b"."),
            subject=subject.decode("ascii", "replace")[:200],
        )
