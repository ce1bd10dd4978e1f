"""Lists of mail: what lies in a folder, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from mailnode.errors import NoSuchFolder
from mailnode.model import (
    ANSWERED,
    DRAFT,
    DRAFTS,
    FLAGGED,
    INBOX,
    JUNK,
    SEEN,
    SENT,
    TRASH,
    Standing,
)
from mailnode.web.pages.order import list_page, summaries_of
from mailnode.web.pages.sought import NONE, Sought
from mailnode.web.routes import Answer, Route, see_other
from mailnode.web.templates import Templates, folder_title

if TYPE_CHECKING:
    from mailnode.reading.summary import Summary
    from mailnode.store.captured import Level
    from mailnode.store.folder_lists import Copy, Folder
    from mailnode.web.desk import Desk
    from mailnode.web.pages.search import Found
    from mailnode.web.visit import Visit

PAGE_MAILS = 50
ICONS = {INBOX: "inbox", SENT: "sent", DRAFTS: "drafts", JUNK: "junk", TRASH: "trash"}


@frozen
class Line:
    """A line of a list, as a page shows it.

    Attributes:
        who: its author; of what one sends, who it is for.
        files: how many hang on it.
        href: where it is read, or written on.
    """

    uid: int
    folder_id: int
    who: str
    subject: str
    snippet: str
    files: int
    at: float
    size_octets: int
    unread: bool
    flagged: bool
    answered: bool
    href: str


@frozen
class Shelf:
    """What the sidebar shows.

    Attributes:
        current: id of the folder that the page is of; 0 for none.
        captured: for administrators of a node that captures, or has; None for others.
    """

    folders: Sequence[Folder]
    current: int = 0
    captured: Level | None = None
    icons = ICONS


async def shelf_of(desk: Desk, visit: Visit, current: int = 0) -> Shelf:
    """The sidebar of who asks."""
    captured = await desk.captured.level() if visit.guest.is_admin else None
    if captured is not None and not captured.count and desk.directory.gear == "live":
        captured = None
    return Shelf(await desk.folders.folders(visit.guest.account.id), current, captured)


def lines_of(
    copies: Sequence[Copy | Found],
    summaries: dict[int, Summary],
    folders: Sequence[Folder],
    found: Sought = NONE,
) -> list[Line]:
    """What is known of each copy; of one that isn't summed up yet, what the store has.

    Args:
        found: the search that they are read from.
    """
    names = {folder.folder_id: folder.name for folder in folders}
    return [_line(copy, summaries.get(copy.message_id), names, found) for copy in copies]


def _line(
    copy: Copy | Found, summary: Summary | None, names: dict[int, str], found: Sought
) -> Line:
    name = names.get(copy.folder_id, "")
    is_draft = name == DRAFTS and bool(copy.flags & DRAFT)
    who = copy.sender or "(nobody)"
    if summary is not None:
        who = summary.sender or who
        if name == SENT or is_draft:
            who = f"To: {summary.to}" if summary.to else "To nobody yet"
    where = f"{copy.folder_id}/{copy.uid}"
    return Line(
        uid=copy.uid,
        folder_id=copy.folder_id,
        who=who,
        subject=(summary.subject if summary else "") or copy.subject or "(no subject)",
        snippet=summary.snippet if summary else "",
        files=len(summary.attachments) if summary else 0,
        at=copy.received_at,
        size_octets=copy.size_octets,
        unread=not copy.flags & SEEN,
        flagged=bool(copy.flags & FLAGGED),
        answered=bool(copy.flags & ANSWERED),
        href=f"/write?draft={where}" if is_draft else found.beside(f"/mail/{where}"),
    )


@define(eq=False)
class Lists:
    """The pages of lists."""

    templates: Templates
    desk: Desk

    def routes(self) -> Sequence[Route]:
        return (
            Route("/mail", ("GET",), self.lead_to_inbox, "Leads to the inbox"),
            Route(
                "/places",
                ("GET",),
                self.show_places,
                "The folders beside a page, as they are now: ``current`` is marked",
            ),
            Route(
                "/mail/<int:folder_id>",
                ("GET",),
                self.show,
                "A folder's mails, the newest first: ``before`` or ``after`` a place in the list",
            ),
        )

    async def lead_to_inbox(self, visit: Visit) -> Answer:
        inbox = await self.desk.folders.named(visit.guest.account.id, INBOX)
        return see_other(f"/mail/{inbox.folder_id}")

    async def show_places(self, visit: Visit) -> Answer:
        shelf = await shelf_of(self.desk, visit, number_asked(visit, "current"))
        return self.templates.part(visit, "sidebar.html", shelf=shelf)

    async def show(self, visit: Visit, folder_id: int) -> Answer:
        account_id, desk = visit.guest.account.id, self.desk
        before, after = (Standing.read(visit.query(name)) for name in ("before", "after"))
        shelf = await shelf_of(desk, visit, folder_id)
        folder = one_of(shelf.folders, folder_id)
        listed = await list_page(
            desk, account_id, folder_id, before=before, after=after, limit=PAGE_MAILS + 1
        )
        more = len(listed) > PAGE_MAILS
        listed = listed[-PAGE_MAILS:] if after else listed[:PAGE_MAILS]
        if after and not more:  # the first page is always a whole one
            return see_other(f"/mail/{folder_id}")
        if before and not listed and folder.mails:  # all of the last page went
            return see_other(f"/mail/{folder_id}?after={before.text(-1)}")
        copies = [copy for copy, _ in listed]
        first = listed[0][1] if listed else None
        return self.templates.page(
            visit,
            "list.html",
            title=_title(folder),
            shelf=shelf,
            folder=folder,
            lines=lines_of(copies, await summaries_of(desk, account_id, copies), shelf.folders),
            newest=max([folder.uid_next - 1, *(copy.uid for copy in copies)]),
            place=first.text(1) if first and (before or after) else "",
            newer=first.text() if first and (before or after) else "",
            older=listed[-1][1].text() if listed and (more or after) else "",
            first_page=not before and not after,
            trash=folder.name == TRASH,
            junk=folder.name == JUNK,
        )


def one_of(folders: Sequence[Folder], folder_id: int) -> Folder:
    """Raises NoSuchFolder."""
    for folder in folders:
        if folder.folder_id == folder_id:
            return folder
    raise NoSuchFolder()


def _title(folder: Folder) -> str:
    name = folder_title(folder.name)
    return f"({folder.unread}) {name}" if folder.unread else name


def number_asked(visit: Visit, name: str) -> int:
    """What the address says of it; 0 for nothing, or for what is no number."""
    return digits_of(visit.query(name))


def digits_of(said: str) -> int:
    """0 for what is no number, or larger than any."""
    return int(said) if said.isascii() and said.isdigit() and len(said) < 19 else 0


def count_mails(number: int) -> str:
    return "1 mail" if number == 1 else f"{number:,} mails"
