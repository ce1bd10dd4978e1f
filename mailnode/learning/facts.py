"""What other checks found of a mail, as the short facts that a model learns: ``spf=fail``.

A check's own words name domains and hosts, too; these differ in each mail and are left out. What a
check says of a mail that is judged, and what the journal kept of one that is taught, must give the
same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

BY = "learned"
LISTS = "lists"
_WORD = re.compile(r"[A-Za-z][A-Za-z-]{0,30}")


def facts_of(by: str, unwanted: bool, found: Mapping[str, object]) -> Iterator[str]:
    """What one check found, each a fact.

    Args:
        by: the check's name; what was learned itself is no fact.
        found: as `model.Judgement.facts`: ``{"dkim": "pass example.org, fail example.net"}`` gives
            ``dkim=pass`` and ``dkim=fail``.
    """
    if by == BY:
        return
    if unwanted:
        yield f"{by}=unwanted"
    for name, said in found.items():
        if name == LISTS:
            yield from (f"{name}={zone}" for zone in str(said).split())
            continue
        firsts = (part.split()[:1] for part in str(said).split(","))
        yield from (f"{name}={word}" for first in firsts for word in first if _WORD.fullmatch(word))
