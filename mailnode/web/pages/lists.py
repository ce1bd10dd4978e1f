"""Lists of mail: what lies in a folder, newest first, and what its owner does with it."""

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
    ranges_of,
)
from mailnode.web.pages.order import list_page, summaries_of
from mailnode.web.pages.selection import Selection, read_ranges, those_in
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import Answer, Route, see_other
from mailnode.web.templates import FlashForm, Templates, folder_title

if TYPE_CHECKING:
    from mailnode.reading.summary import Summary
    from mailnode.store.folder_lists import Copy, Folder
    from mailnode.web.desk import Desk
    from mailnode.web.pages.search import Found
    from mailnode.web.visit import Visit

PAGE_MAILS = 50
NOTHING_CHOSEN = "Choose mails first: tick the boxes on the left."
FLAGS = {"seen": SEEN, "flagged": FLAGGED, "answered": ANSWERED}
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
    """

    folders: Sequence[Folder]
    current: int = 0
    icons = ICONS


async def shelf_of(desk: Desk, visit: Visit, current: int = 0) -> Shelf:
    """The sidebar of who asks."""
    return Shelf(await desk.folders.folders(visit.guest.account.id), current)


def lines_of(
    copies: Sequence[Copy | Found], summaries: dict[int, Summary], folders: Sequence[Folder]
) -> list[Line]:
    """What is known of each copy; of one that isn't summed up yet, what the store has."""
    names = {folder.folder_id: folder.name for folder in folders}
    return [_line(copy, summaries.get(copy.message_id), names) for copy in copies]


def _line(copy: Copy | Found, summary: Summary | None, names: dict[int, str]) -> Line:
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
        href=f"/write?draft={where}" if is_draft else f"/mail/{where}",
    )


@define(eq=False)
class Lists:
    """The pages of lists."""

    templates: Templates
    desk: Desk

    def routes(self) -> Sequence[Route]:
        listed = "``uid`` (several), or ``all``: every mail up to that uid"
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
            Route(
                "/mail/<int:folder_id>/mark",
                ("POST",),
                self.mark,
                f"Marks mails: ``add`` or ``take`` seen, flagged or answered; {listed};"
                " ``stay`` leads back to the mail",
            ),
            Route(
                "/mail/<int:folder_id>/move",
                ("POST",),
                self.move,
                f"Moves mails: ``to`` a folder's id or its name; {listed}",
            ),
            Route(
                "/mail/<int:folder_id>/delete",
                ("POST",),
                self.delete,
                f"Moves mails to Trash, and deletes those in it for good; {listed}",
            ),
            Route("/mail/undo", ("POST",), self.undo, "Moves mails back"),
        )

    # Lists

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

    # Marks, moves, deletions

    async def mark(self, visit: Visit, folder_id: int) -> Answer:
        add, take = (_flags(visit.form.all(word)) for word in ("add", "take"))
        selection = await self._selection(visit, folder_id)
        await self.desk.folders.mark(
            visit.guest.account.id, folder_id, selection.uids, add=add, take=take
        )
        return selection.back()

    async def move(self, visit: Visit, folder_id: int) -> Answer:
        target = await self._target(visit)
        selection = await self._selection(visit, folder_id)
        await self._move(visit, folder_id, selection, target)
        return selection.back()

    async def delete(self, visit: Visit, folder_id: int) -> Answer:
        account = visit.guest.account
        trash = await self.desk.folders.named(account.id, TRASH)
        selection = await self._selection(visit, folder_id)
        if folder_id != trash.folder_id:
            await self._move(visit, folder_id, selection, trash)
            return selection.back()
        if not selection.uids:
            return selection.back()
        if not visit.form.get("sure"):
            return self.templates.page(
                visit,
                "list_sure.html",
                title="Delete for good",
                shelf=await shelf_of(self.desk, visit, folder_id),
                action=visit.path,
                selection=selection,
            )
        gone = await self.desk.folders.delete(
            account.id, folder_id, selection.uids, str(account.address)
        )
        self._say(visit, f"{count_mails(gone)} deleted for good.")
        return selection.back()

    async def undo(self, visit: Visit) -> Answer:
        """What a move said: where the mails lie now, and where they lay."""
        form, account = visit.form, visit.guest.account
        now, before = digits_of(form.get("from")), digits_of(form.get("to"))
        if not now or not before:
            raise BadRequest("There is nothing to undo")
        ranges = read_ranges(form.get("uids"))
        there = await self.desk.folders.uids(
            account.id, now, max((last for _, last in ranges), default=0)
        )
        uids = those_in(ranges, there)
        moved = await self.desk.folders.move(account.id, now, uids, before, str(account.address))
        self._say(visit, f"{count_mails(len(moved))} moved back.")
        return see_other(f"/mail/{before}")

    async def _selection(self, visit: Visit, folder_id: int) -> Selection:
        selection = await Selection.read(visit, self.desk.folders, folder_id)
        if not selection.uids:
            self._say(visit, NOTHING_CHOSEN, "failed")
        return selection

    async def _target(self, visit: Visit) -> Folder:
        form, account_id = visit.form, visit.guest.account.id
        said = form.get("to") or form.get("target")  # a button, or what was chosen beside one
        if folder_id := digits_of(said):
            return await self.desk.folders.folder(account_id, folder_id)
        if not said:
            raise NoSuchFolder("Choose the folder that they are to be moved to")
        return await self.desk.folders.named(account_id, said)

    async def _move(
        self, visit: Visit, folder_id: int, selection: Selection, target: Folder
    ) -> None:
        account = visit.guest.account
        moved = await self.desk.folders.move(
            account.id, folder_id, selection.uids, target.folder_id, str(account.address)
        )
        if not moved:
            return
        fields = {
            "from": str(target.folder_id),
            "to": str(folder_id),
            "uids": ranges_of([uid for _before, uid in moved]),
        }
        text = f"{count_mails(len(moved))} moved to {folder_title(target.name)}."
        self.templates.flashes.add(visit, text, form=FlashForm("/mail/undo", "Undo", fields))

    def _say(self, visit: Visit, text: str, kind: str = "done") -> None:
        self.templates.flashes.add(visit, text, kind)


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


def _flags(names: Sequence[str]) -> int:
    flags = 0
    for name in names:
        if name not in FLAGS:
            raise BadRequest(f"A mark is one of {', '.join(FLAGS)}")
        flags |= FLAGS[name]
    return flags


def count_mails(number: int) -> str:
    return "1 mail" if number == 1 else f"{number:,} mails"
