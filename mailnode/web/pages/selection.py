"""Which mails of a list are meant, and where the page leads that asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from mailnode.model import Standing
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import Answer, see_other

if TYPE_CHECKING:
    from mailnode.store.folders import Folders
    from mailnode.web.visit import Visit

MOST_UID = (1 << 32) - 1


@frozen
class Selection:
    """Uids of a folder.

    Attributes:
        everything: the uid up to which all are meant; 0 where each was named.
        page: where the list was, as `?before=` or `?after=` a place; "" for the first page, and
            "/7" for that mail's own.
        place: the same as a form's field and its value, none for the first page.
    """

    folder_id: int
    uids: list[int]
    everything: int = 0
    page: str = ""
    place: tuple[str, ...] = ()

    @classmethod
    async def read(cls, visit: Visit, folders: Folders, folder_id: int) -> Selection:
        """What the form says.

        Raises:
            BadRequest: it names what is no uid, or no place.
            NoSuchFolder: `all` of one that isn't the account's.
        """
        form = visit.form
        page, place = "", tuple[str, ...]()
        for name in ("before", "after"):
            if said := form.get(name):
                standing = Standing.read(said)
                if standing is None:
                    raise BadRequest("The place in the list is missing or is none")
                place = (name, standing.text())
                page = f"?{name}={place[1]}"
        if said := form.get("all"):
            everything = _uid(said)
            uids = await folders.uids(visit.guest.account.id, folder_id, everything)
            return cls(folder_id, uids, everything, page, place)
        uids = sorted({_uid(each) for each in form.all("uid")})
        if form.get("stay") and len(uids) == 1:
            page = f"/{uids[0]}"
        return cls(folder_id, uids, 0, page, place)

    def back(self) -> Answer:
        """To the list that asked; where all of a page are gone, it shows what is left."""
        return see_other(f"/mail/{self.folder_id}{self.page}")


def _uid(said: str) -> int:
    if said.isascii() and said.isdigit() and len(said) < 11 and 0 < int(said) <= MOST_UID:
        return int(said)
    raise BadRequest("A mail's number is missing or is none")


def read_ranges(said: str) -> list[tuple[int, int]]:
    """What `model.ranges_of` wrote: the first and the last of each, as they stand there.

    Raises:
        BadRequest: it didn't.
    """
    ranges = []
    for part in filter(None, said.split(",")):
        low, _, high = part.partition("-")
        ranges.append((_uid(low), _uid(high or low)))
    return ranges


def those_in(ranges: Sequence[tuple[int, int]], uids: Sequence[int]) -> list[int]:
    """Of these uids, which ascend, those that lie in one of the ranges, each once."""
    found, at = list[int](), 0
    for first, last in sorted(ranges):
        begin = bisect_left(uids, first, at)
        at = max(begin, bisect_right(uids, last, begin))
        found += uids[begin:at]
    return found
