"""Whom the recipient, or his domain, has allowed or blocked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailnode.addresses import Address, parse_address
from mailnode.errors import BadAddress, MailError
from mailnode.interfaces import ILateFilter, ISomeMailFilter
from mailnode.model import Blob, Envelope, Message, Recipient, Verdict
from mailnode.reading.domains import registrable
from mailnode.reading.fields import addresses_of, read_fields
from mailnode.reading.octets import Octets
from mailnode.wire import header_of

if TYPE_CHECKING:
    from mailnode.store.sender_rules import SenderRule, SenderRules

HEAD_OCTETS = 64 << 10
MOST_AUTHORS = 5
BY = "authentication"  # who proves that a mail is from its author
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
            authors = await self.in_thread(self._authors, message.body)
        except MailError as error:  # a mail is taken all the same
            return Verdict(reasons=(f"its sender was not looked up: {error.text}",))
        is_proved = len(authors) == 1 and _is_proved(authors[0], message)
        senders = [*authors, *([envelope.sender] if envelope.sender is not None else [])]
        found: dict[int, Verdict] = {}
        for to in envelope.recipients:
            verdict = _verdict(list(_rules_for(rules, to, senders)), is_proved, authors)
            if verdict is not None:
                found[to.account_id] = verdict
        return Verdict(of_copies=found)

    def _authors(self, body: bytes | Blob) -> list[Address]:
        """Who wrote it, as it says. In a thread."""
        octets = body if isinstance(body, bytes) else self.open_octets(body.key, b"")
        try:
            fields = read_fields(header_of(octets[:HEAD_OCTETS]))
        finally:
            close = getattr(octets, "close", None)
            if close is not None:
                close()
        return list(_addresses(fields.get("from", [])[:2]))


def _addresses(values: list[str]) -> Iterator[Address]:
    for _name, address in addresses_of(values)[:MOST_AUTHORS]:
        try:
            yield parse_address(address)
        except BadAddress:
            continue


def _rules_for(
    rules: SenderRules, to: Recipient, senders: Sequence[Address]
) -> Iterator[tuple[Address, SenderRule]]:
    domain = to.mailbox.rpartition("@")[2]
    for sender in senders:
        rule = rules.find(to.account_id, domain, sender)
        if rule is not None:
            yield sender, rule


def _verdict(
    found: Sequence[tuple[Address, SenderRule]], is_proved: bool, authors: Sequence[Address]
) -> Verdict | None:
    """One that is blocked decides; one that is allowed must be the author, and proved."""
    for sender, rule in found:
        if rule.verdict == BLOCK:
            reason = f"{rule.owner} blocks {rule.pattern}, and {sender} sent it"
            return Verdict(unwanted=True, reasons=(reason,))
    for sender, rule in found:
        if sender in authors:
            if not is_proved:
                return Verdict(reasons=(f"{rule.owner} allows {rule.pattern}, and it isn't proved"
                                        f" that {sender} sent it",))  # fmt: skip
            return Verdict(wanted=True, reasons=(f"{rule.owner} allows {rule.pattern}",))
    return None


def _is_proved(author: Address, message: Message) -> bool:
    """By DMARC, or by SPF or DKIM of his domain; where nobody looks, it is believed."""
    facts = next((each.facts for each in message.judgements if each.by == BY), None)
    if facts is None:
        return True
    dmarc = facts.get("dmarc", "").partition(" ")[0]
    if dmarc in ("pass", "fail"):
        return dmarc == "pass"
    said = f"{facts.get('spf', '')},{facts.get('dkim', '')}".split(",")
    passed = [each.split()[1:2] for each in said if each.split()[:1] == ["pass"]]
    proved = {registrable(where.rpartition("@")[2]) for each in passed for where in each}
    return registrable(author.domain) in proved
