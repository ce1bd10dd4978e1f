"""Whom the recipient, or his domain, has allowed or blocked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailnode.addresses import Address
from mailnode.errors import MailError
from mailnode.filters.authors import authors_of, is_proved
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.model import Envelope, Message, Recipient, Verdict
from mailnode.reading.octets import Octets

if TYPE_CHECKING:
    from mailnode.store.sender_rules import SenderRule, SenderRules

BLOCK = "block"


@implementer(ILateFilter, ISomeMailFilter)
@define(eq=False, kw_only=True)
class Senders:
    """Finds unwanted what a blocked sender wrote, and wanted what an allowed one did.

    An allowed sender must be proved: anybody can write another's address into From.

    Attributes:
        rules: gives those that count now.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
        open_octets: as for `learned.Learned`.
    """

    rules: Callable[[], SenderRules]
    in_thread: Callable[..., Deferred[Any]]
    open_octets: Callable[[str, bytes], Octets]
    name: str = "senders"

    def wants(self, envelope: Envelope) -> bool:
        """Whether it has recipients here, and anybody has said something of a sender."""
        return bool(envelope.recipients) and not self.rules().is_empty

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """A verdict for each recipient who has said something of its sender."""
        rules = self.rules()
        try:
            authors = await self.in_thread(authors_of, message.body, self.open_octets)
        except MailError as error:  # a mail is taken all the same
            return Verdict(reasons=(f"its sender was not looked up: {error.text}",))
        # Where nobody finds out who sends, an author is believed.
        proved = len(authors) == 1 and is_proved(authors[0], message) is not False
        senders = [*authors, *([envelope.sender] if envelope.sender is not None else [])]
        found: dict[int, Verdict] = {}
        for to in envelope.recipients:
            verdict = _verdict(list(_rules_for(rules, to, senders)), proved, authors)
            if verdict is not None:
                found[to.account_id] = verdict
        return Verdict(of_copies=found)


def _rules_for(
    rules: SenderRules, to: Recipient, senders: Sequence[Address]
) -> Iterator[tuple[Address, SenderRule]]:
    domain = to.mailbox.rpartition("@")[2]
    for sender in senders:
        rule = rules.find(to.account_id, domain, sender)
        if rule is not None:
            yield sender, rule


def _verdict(
    found: Sequence[tuple[Address, SenderRule]], proved: bool, authors: Sequence[Address]
) -> Verdict | None:
    """One that is blocked decides; one that is allowed must be the author, and proved."""
    for sender, rule in found:
        if rule.verdict == BLOCK:
            reason = f"{rule.owner} blocks {rule.pattern}, and {sender} sent it"
            return Verdict(unwanted=True, reasons=(reason,))
    for sender, rule in found:
        if sender in authors:
            if not proved:
                return Verdict(reasons=(f"{rule.owner} allows {rule.pattern}, and it isn't proved"
                                        f" that {sender} sent it",))  # fmt: skip
            return Verdict(wanted=True, reasons=(f"{rule.owner} allows {rule.pattern}",))
    return None
