"""Which mails of a list or a search are meant, and where the page leads that asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from mailnode.model import Standing
from mailnode.web.pages.sought import NONE, Sought
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import Answer, see_other

if TYPE_CHECKING:
    from mailnode.store.folders import Folders
    from mailnode.web.visit import Visit

MOST_UID = (1 << 32) - 1


@frozen
class Selection:
    """Mails of a folder's list, or of a search: then of several folders.

    Attributes:
        uids: by folder, ascending.
        way: leads back to the page that asked; where all of it are gone, it shows what is left.
        fields: names and values of a form that asks for the same mails and the same way back.
        found: the search that the page was come to by.
    """

    uids: Mapping[int, Sequence[int]]
    way: str
    fields: Sequence[tuple[str, str]] = ()
    found: Sought = NONE

    def __len__(self) -> int:
        return sum(map(len, self.uids.values()))

    def back(self) -> Answer:
        """To the page that asked."""
        return see_other(self.way)


async def read_of_list(visit: Visit, folders: Folders, folder_id: int) -> Selection:
    """What a list's form says, or that of a mail's page.

    Raises:
        BadRequest: it names what is no uid, or no place.
        NoSuchFolder: `all` of one that isn't the account's.
    """
    form, found = visit.form, Sought.read(visit.form.get("found"))
    page, fields = "", list[tuple[str, str]]()
    for name in ("before", "after"):
        if said := form.get(name):
            standing = Standing.read(said)
            if standing is None:
                raise BadRequest("The place in the list is missing or is none")
            fields = [(name, standing.text())]
            page = f"?{name}={standing.text()}"
    if said := form.get("all"):
        everything = _uid(said)
        uids = await folders.uids(visit.guest.account.id, folder_id, everything)
        fields.append(("all", str(everything)))
    else:
        uids = sorted({_uid(each) for each in form.all("uid")})
        fields += [("uid", str(uid)) for uid in uids]
    way = f"/mail/{folder_id}{page}"
    if found:
        way = found.path
        fields.append(("found", found.text))
    if form.get("stay") and len(uids) == 1:
        way = found.beside(f"/mail/{folder_id}/{uids[0]}")
    return Selection({folder_id: uids}, way, fields, found)


async def read_of_search(visit: Visit, folders: Folders) -> Selection:
    """What the form of a search says: `mail`, each its folder's id and its uid; those in folders
    that are gone are left out.

    Raises:
        BadRequest: it names what is no mail.
    """
    found = Sought.read(visit.form.get("found"))
    there = {each.folder_id for each in await folders.folders(visit.guest.account.id)}
    mails = sorted({_mail(each) for each in visit.form.all("mail")})
    uids: dict[int, list[int]] = {}
    for folder_id, uid in mails:
        if folder_id in there:
            uids.setdefault(folder_id, []).append(uid)
    fields = [("mail", f"{folder_id}/{uid}") for folder_id, uid in mails]
    return Selection(uids, found.path, [*fields, ("found", found.text)], found)


def _mail(said: str) -> tuple[int, int]:
    folder_id, _, uid = said.partition("/")
    return _uid(folder_id), _uid(uid)


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
