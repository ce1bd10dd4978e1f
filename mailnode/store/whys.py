"""Why a mail is wanted or not, told when somebody asks: by what is learned now.

Only of unwanted mails reasons are made when they come. For all others they would cost a tenth of
judging and most of a journal's row, and hardly anybody asks; so the mail is judged once more then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from mailnode.learning.features import likeness_of
from mailnode.learning.judging import Band, judge, who_judge

if TYPE_CHECKING:
    from mailnode.store.lessons import Lying
    from mailnode.store.models import ModelShelf


@frozen
class Why:
    """What is said of a mail now.

    Attributes:
        verdict: "wanted", "unsure" or "unwanted".
        percent: how probable it is that it is unwanted.
        is_own: whether an account's model had its say.
        reasons: the weightiest first, for the verdict and against it.
    """

    verdict: str
    percent: str
    is_own: bool
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        """On one line."""
        model = "account" if self.is_own else "node"
        said = f"{self.verdict} (probability {self.percent}, model {model})"
        return f"{said}, because {'; '.join(self.reasons)}" if self.reasons else said


def explain(
    mail: Lying, data: Path, shelf: ModelShelf, account_id: int, unwanted_from: float
) -> Why | None:
    """As the node (0) or one of its accounts would judge the mail now; belongs into a thread.

    None: too little is learned to judge, or the mail's octets are gone.
    """
    own = shelf.model(account_id) if account_id else None
    node, own = who_judge(shelf.model(0), own)
    octets = mail.read(data) if node is not None or own is not None else None
    if octets is None:
        return None
    band = Band(unwanted_from=unwanted_from)
    found = judge(likeness_of(octets, mail.facts), node, own, band)
    percent = f"{100 * found.probability:.0f} %"
    reasons = tuple(each.words for each in found.reasons)
    return Why(found.verdict, percent, own is not None, reasons)
