"""What becomes of a mail by who sent it: DMARC's policy is carried out, and all of it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import define, evolve, frozen
from zope.interface import implementer

from mailnode.errors import FilterFailed, Refused, one_line
from mailnode.interfaces import IContentFilter
from mailnode.mailauth.dmarc_seen import LOCAL_POLICY, OTHER, SAMPLED_OUT, Override
from mailnode.model import Envelope, Message, Verdict

if TYPE_CHECKING:
    from mailnode.filters.authentication import Authentication
    from mailnode.mailauth.arc import ArcResult
    from mailnode.mailauth.dmarc import DmarcResult
    from mailnode.mailauth.examination import Authenticated

    Noting = Callable[[Envelope, Message, Authenticated, str, Override | None], object]

OBEY, JUNK, NOTE = "obey", "junk", "note"
MOST_SIGNATURES = 3  # that are told of


class NotTheAuthor(Refused):
    """RFC 7372 section 3.2, RFC 9989 section 5.3."""

    enhanced = "5.7.26"
    text = "Message refused: it is not from whom it says"


@frozen
class Examined:
    """What was found out of who sent a mail, as far as policy hears it.

    Attributes:
        facts: for the journal, and for filters behind.
        field: that tells it, to put in front.
    """

    dmarc: DmarcResult
    arc: ArcResult
    facts: Mapping[str, str]
    field: bytes = b""


@frozen
class Policy:
    """What is done about it; the attributes are those of `Origin`."""

    dmarc: str = OBEY
    trusted_sealers: Collection[str] = ()
    name: str = "authentication"

    def verdict_on(self, found: Examined) -> Verdict:
        """
        Raises:
            NotTheAuthor
            FilterFailed: whether it is, nobody can say now, and its domain cares.
        """
        self.require_sure(found)
        disposition, _ = self.decide(found)
        dmarc = found.dmarc
        if disposition == "reject":
            told = ", ".join(f"{name} {said}" for name, said in found.facts.items())
            raise NotTheAuthor(
                one_line(f"Message refused: {dmarc.reason}"), detail=f"by {self.name} ({told})"
            )
        unwanted = disposition != "none"
        return Verdict(
            headers=found.field,
            unwanted=unwanted,
            reasons=(dmarc.reason,) if unwanted else (),
            facts=dict(found.facts),
        )

    def require_sure(self, found: Examined) -> None:
        """
        Raises:
            FilterFailed: as `verdict_on`.
        """
        dmarc = found.dmarc
        if dmarc.result == "temperror" and dmarc.policy != "none" and self.dmarc == OBEY:
            raise FilterFailed(
                one_line(f"It can't be said now who sent this: {dmarc.reason}"),
                detail=f"by {self.name}",
            )

    def decide(self, found: Examined) -> tuple[str, Override | None]:
        """ "none", "quarantine" or "reject", and why it is not what is asked."""
        dmarc = found.dmarc
        apply = "quarantine" if dmarc.result == "permerror" else dmarc.apply  # it may show anybody
        if apply != "none" and self._vouched(found.arc):
            sealer = f"as[{found.arc.instances}].d={found.arc.sealers[-1]}"
            return "none", Override(LOCAL_POLICY, f"arc=pass {sealer}")  # RFC 8617 section 7.2.2
        if apply != "none" and self.dmarc == NOTE:
            return "none", Override(LOCAL_POLICY, "no DMARC policy is carried out here")
        if apply == "reject" and self.dmarc == JUNK:
            return "quarantine", Override(LOCAL_POLICY, "nothing is refused by DMARC here")
        return apply, _less_than_asked(dmarc)

    def _vouched(self, arc: ArcResult) -> bool:
        return (
            arc.result == "pass" and bool(arc.sealers) and arc.sealers[-1] in self.trusted_sealers
        )


def _tell_nobody(*_: object) -> None:
    """Nobody reports."""


@implementer(IContentFilter)
@define(eq=False)
class Origin:
    """Refuses, or finds unwanted, what its author's domain disowns.

    Unwanted is, too, what names nobody as its author, or others besides who can't be judged.

    Attributes:
        dmarc: "obey": as the domain asks; "junk": what it wants refused is unwanted; "note": it is
            told, and no more.
        trusted_sealers: domains whose ARC seal is believed: what they forward and change is as
            they found it.
        note: hears of each mail that was examined what was found, what is done with it by DMARC,
            and why that is not what its domain asks.
        sealing: whether a mail leaves under a seal of ours.
    """

    authentication: Authentication
    dmarc: str = OBEY
    trusted_sealers: Collection[str] = ()
    note: Noting = _tell_nobody
    sealing: Callable[[Envelope], bool] = lambda _envelope: False
    name: str = "authentication"

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """As `Policy.verdict_on`."""
        sealing = self.sealing(envelope)
        found = await self.authentication.examine(envelope, message, sealing)
        policy = Policy(self.dmarc, self.trusted_sealers, self.name)
        told = Examined(found.dmarc, found.arc, dict(_facts(found)), found.field)
        policy.require_sure(told)
        self.note(envelope, message, found, *policy.decide(told))
        verdict = policy.verdict_on(told)
        return evolve(verdict, sealable=found) if sealing else verdict


def _less_than_asked(dmarc: DmarcResult) -> Override | None:
    """Why its own record wants less of this mail than its policy says."""
    record = dmarc.record
    if record is None or dmarc.result != "fail" or dmarc.apply == dmarc.policy:
        return None
    if record.testing:
        return Override(OTHER, "policy_test_mode: t=y")
    return Override(SAMPLED_OUT, f"pct={record.percent}")


def _facts(found: Authenticated) -> Iterator[tuple[str, str]]:
    yield "spf", f"{found.spf.result} {found.spf.domain}".strip()
    shown = found.dkim[:MOST_SIGNATURES]
    told = [f"{each.result} {each.domain}".strip() for each in shown]
    if len(found.dkim) > len(shown):
        told.append(f"{len(found.dkim) - len(shown)} more")
    yield "dkim", ", ".join(told) or "none"
    yield "dmarc", _dmarc_fact(found.dmarc)
    if found.arc.result != "none":
        yield "arc", f"{found.arc.result} {' '.join(found.arc.sealers[-1:])}".strip()


def _dmarc_fact(dmarc: DmarcResult) -> str:
    policy = f" (policy {dmarc.policy})" if dmarc.record is not None else ""
    return f"{dmarc.result} {dmarc.domain}".strip() + policy
