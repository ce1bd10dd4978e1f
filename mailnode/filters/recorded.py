"""Who sent a mail that is here already: not asked again, but read from what was found when it came.

The DNS of today tells nothing of then: keys are replaced, records change. So what a policy is made
of is what the journal kept of the mail, and what the field says that was put in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from attrs import define, frozen
from zope.interface import implementer

from mailnode.filters.exchange import NoAnswer
from mailnode.filters.origin import Examined, Policy
from mailnode.interfaces import IContentFilter
from mailnode.mailauth.arc import ArcResult
from mailnode.mailauth.dmarc import DmarcResult
from mailnode.model import Envelope, Message, Verdict
from mailnode.wire import header_fields

_DMARC = re.compile(r"(\w+)(?: ([^\s()]+))?(?: \(policy (\w+)\))?")
_WANTED = re.compile(r"\bpolicy\.dmarc=(none|quarantine|reject)\s*\Z")  # it is the field's last
_REASON = re.compile(r'(?:\A|;)\s*dmarc=\w+\s+reason="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@frozen
class Record:
    """What is kept of a mail's checks.

    Attributes:
        facts: of the filter "authentication", as the journal has them.
        fields: all that was put in front of the mail.
    """

    facts: Mapping[str, str]
    fields: bytes


@implementer(IContentFilter)
@define(eq=False)
class RecordedOrigin:
    """Judges as `origin.Origin` does, by what was found when the mail came.

    Attributes:
        record_of: gives what is kept of a mail, by its id; None where nothing is.
    """

    policy: Policy
    record_of: Callable[[str], Record | None]

    @property
    def name(self) -> str:
        return self.policy.name

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """
        Raises:
            NoAnswer: nobody found out then who sent it.
            MailError: as `Policy.verdict_on`.
        """
        record = self.record_of(envelope.mail_id)
        if record is None:
            raise NoAnswer("nobody found out who sent it when it came")
        return self.policy.verdict_on(examined_of(record))


def examined_of(record: Record) -> Examined:
    """What policy is made of, as it was found then."""
    results = _results(record.fields)
    sealed = record.facts.get("arc", "none").split()
    sealers = tuple(sealed[1:2]) if sealed[0] == "pass" else ()
    return Examined(
        _dmarc(record.facts.get("dmarc", "none"), results),
        ArcResult(sealed[0], sealers=sealers),
        record.facts,
    )


def _dmarc(said: str, results: str) -> DmarcResult:
    """What a domain wants for one mail, chance and all (pct=), tells the field alone."""
    found = _DMARC.match(said)
    result, domain, policy = found.groups("") if found else ("none", "", "")
    wanted, reason = _WANTED.search(results), _REASON.search(results)
    apply = wanted.group(1) if wanted else policy if result == "fail" else ""
    words = _ESCAPED.sub(r"\1", reason.group(1)) if reason else ""
    return DmarcResult(
        result,
        domain,
        words or f"DMARC of {domain or 'its author'} says {result}",
        policy=policy or "none",
        apply=apply or "none",
    )


def _results(fields: bytes) -> str:
    """Our Authentication-Results, unfolded; "" without one."""
    for name, value in header_fields(fields):
        if name == b"authentication-results":
            return " ".join(value.decode("utf-8", "replace").split())
    return ""
