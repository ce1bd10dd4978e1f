"""The audit stream searched, the newest first, a piece at a time."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from attrs import frozen

from mailnode.store.audit_lines import Line, read_back

SCANNED_LINES = 50_000


@frozen
class Wanted:
    """Which lines; those are meant that fit all of it.

    Attributes:
        account: whom it is about, or who did it; "" for anybody.
        events: some of `EVENTS`; none for any.
        since: UTC epoch seconds.
    """

    account: str = ""
    events: Collection[str] = ()
    since: float | None = None

    def fits(self, line: Line) -> bool:
        entry, account = line.entry, self.account.casefold()
        if account and account not in (entry.account.casefold(), entry.actor.by.casefold()):
            return False
        return not self.events or entry.event in self.events


def find_lines(
    data: Path,
    wanted: Wanted,
    limit: int,
    *,
    before: int = 0,
    scanned_lines: int | None = SCANNED_LINES,
) -> tuple[list[Line], int]:
    """The newest lines that fit, the newest first, and where the next piece begins; 0 for none.

    Args:
        before: a line's number; 0 begins with the newest.
        scanned_lines: so many are looked at in one go; None for all.
    """
    found: list[Line] = []
    scanned = 0
    for line in read_back(data):
        if before and line.head.number >= before:
            continue
        if wanted.since is not None and line.entry.at < wanted.since:
            return found, 0
        if len(found) == limit or scanned == scanned_lines:
            return found, line.head.number + 1
        scanned += 1
        if wanted.fits(line):
            found.append(line)
    return found, 0
