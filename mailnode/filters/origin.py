"""What becomes of a mail by who sent it: DMARC's policy is carried out, and all of it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from attrs import define
from zope.interface import implementer

from mailnode.errors import FilterFailed, Refused, one_line
from mailnode.interfaces import IContentFilter
from mailnode.model import Envelope, Message, Verdict

if TYPE_CHECKING:
    from mailnode.filters.authentication import Authentication
    from mailnode.mailauth.arc import ArcResult
    from mailnode.mailauth.dmarc import DmarcResult
    from mailnode.mailauth.examination import Authenticated

OBEY, JUNK, NOTE = "obey", "junk", "note"
MOST_SIGNATURES = 3  # that are told of


class NotTheAuthor(Refused):
    """RFC 7372 section 3.2, RFC 9989 section 5.3."""

    enhanced = "5.7.26"
    text = "Message refused: it is not from whom it says"


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
        sealing: whether a mail leaves under a seal of ours.
    """

    authentication: Authentication
    dmarc: str = OBEY
    trusted_sealers: Collection[str] = ()
    sealing: Callable[[Envelope], bool] = lambda _envelope: False
    name: str = "authentication"

    async def judge(self, envelope: Envelope, message: Message) -> Verdict:
        """
        Raises:
            NotTheAuthor
            FilterFailed: whether it is, nobody can say now, and its domain cares.
        """
        sealing = self.sealing(envelope)
        found = await self.authentication.examine(envelope, message, sealing)
        dmarc = found.dmarc
        apply = "quarantine" if dmarc.result == "permerror" else dmarc.apply  # it may show anybody
        if dmarc.result == "temperror" and dmarc.policy != "none" and self.dmarc == OBEY:
            raise FilterFailed(
                one_line(f"It can't be said now who sent this: {dmarc.reason}"),
                detail=f"by {self.name}",
            )
        if apply != "none" and self._vouched(found.arc):
            apply = "none"
        if apply == "reject" and self.dmarc == OBEY:
            told = ", ".join(f"{name} {said}" for name, said in _facts(found))
            raise NotTheAuthor(
                one_line(f"Message refused: {dmarc.reason}"), detail=f"by {self.name} ({told})"
            )
        unwanted = apply != "none" and self.dmarc != NOTE
        return Verdict(
            headers=found.field,
            unwanted=unwanted,
            reasons=(dmarc.reason,) if unwanted else (),
            facts=dict(_facts(found)),
            sealable=found if sealing else None,
        )

    def _vouched(self, arc: ArcResult) -> bool:
        return (
            arc.result == "pass" and bool(arc.sealers) and arc.sealers[-1] in self.trusted_sealers
        )


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
