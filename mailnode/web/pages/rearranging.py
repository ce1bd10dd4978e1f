"""What is done with mails that were chosen in a list, a search, or on their own page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define

from mailnode.errors import NoSuchFolder
from mailnode.model import ANSWERED, FLAGGED, PAGE, SEEN, TRASH, ranges_of
from mailnode.web.pages.lists import PAGE_MAILS, count_mails, digits_of, shelf_of
from mailnode.web.pages.selection import (
    Selection,
    read_of_list,
    read_of_search,
    read_ranges,
    those_in,
)
from mailnode.web.pages.sought import Sought
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import Answer, Route, see_other
from mailnode.web.templates import FlashForm, Templates, folder_title, shortened

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Folder
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit

NOTHING_CHOSEN = "Choose mails first: tick the boxes on the left."
FLAGS = {"seen": SEEN, "flagged": FLAGGED, "answered": ANSWERED}


@define(eq=False)
class Rearranging:
    """Marks, moves, deletions, and moves undone."""

    templates: Templates
    desk: Desk

    def routes(self) -> Sequence[Route]:
        listed = "``uid`` (several), or ``all``: every mail up to that uid"
        sought = "``mail`` (several): a folder's id, a slash, and the uid; ``found``: the search"
        return (
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
            Route("/search/mark", ("POST",), self.mark, f"Marks mails that were found: {sought}"),
            Route("/search/move", ("POST",), self.move, "Moves them"),
            Route("/search/delete", ("POST",), self.delete, "Deletes them"),
            Route("/mail/undo", ("POST",), self.undo, "Moves mails back"),
        )

    async def mark(self, visit: Visit, folder_id: int | None = None) -> Answer:
        add, take = (_flags(visit.form.all(word)) for word in ("add", "take"))
        selection = await self._selection(visit, folder_id)
        for each, uids in selection.uids.items():
            await self.desk.folders.mark(visit.guest.account.id, each, uids, add=add, take=take)
        return selection.back()

    async def move(self, visit: Visit, folder_id: int | None = None) -> Answer:
        target = await self._target(visit)
        selection = await self._selection(visit, folder_id)
        await self._move(visit, selection.uids, target, selection.found)
        return selection.back()

    async def delete(self, visit: Visit, folder_id: int | None = None) -> Answer:
        """Those that lie in Trash are asked for before anything is done."""
        account = visit.guest.account
        trash = await self.desk.folders.named(account.id, TRASH)
        selection = await self._selection(visit, folder_id)
        elsewhere = dict(selection.uids)
        in_trash = elsewhere.pop(trash.folder_id, ())
        if in_trash and not visit.form.get("sure"):
            return self.templates.page(
                visit,
                "list_sure.html",
                title="Delete for good",
                shelf=await shelf_of(self.desk, visit, folder_id or 0),
                action=visit.path,
                selection=selection,
                for_good=len(in_trash),
                others=len(selection) - len(in_trash),
            )
        await self._move(visit, elsewhere, trash, selection.found)
        if in_trash:
            gone = await self.desk.folders.delete(
                account.id, trash.folder_id, in_trash, str(account.address)
            )
            self._say(visit, f"{count_mails(gone)} deleted for good.")
        return selection.back()

    async def undo(self, visit: Visit) -> Answer:
        """What a move said: where the mails lie now, and where they lay: one or several folders,
        and the uids of each."""
        form, account = visit.form, visit.guest.account
        now = digits_of(form.get("from"))
        before = [digits_of(each) for each in form.get("to").split(";")]
        uids = form.get("uids").split(";")
        if not now or not all(before) or len(before) != len(uids) or len(uids) > PAGE_MAILS:
            raise BadRequest("There is nothing to undo")
        ranges = [read_ranges(each) for each in uids]
        there = await self.desk.folders.uids(
            account.id, now, max((last for some in ranges for _, last in some), default=0)
        )
        moved, by = 0, str(account.address)
        for folder_id, some in zip(before, ranges, strict=True):
            back = await self.desk.folders.move(
                account.id, now, those_in(some, there), folder_id, by, through=PAGE
            )
            moved += len(back)
        self._say(visit, f"{count_mails(moved)} moved back.")
        found = Sought.read(form.get("found"))
        return see_other(found.path if found else f"/mail/{before[0]}")

    async def _selection(self, visit: Visit, folder_id: int | None) -> Selection:
        if folder_id is not None:
            selection = await read_of_list(visit, self.desk.folders, folder_id)
        else:
            selection = await read_of_search(visit, self.desk.folders)
        if not selection:
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
        self, visit: Visit, uids: Mapping[int, Sequence[int]], target: Folder, found: Sought
    ) -> None:
        account, count, moved = visit.guest.account, 0, dict[int, str]()
        for folder_id, some in uids.items():
            pairs = await self.desk.folders.move(
                account.id, folder_id, some, target.folder_id, str(account.address), through=PAGE
            )
            if pairs:
                count += len(pairs)
                moved[folder_id] = ranges_of([uid for _before, uid in pairs])
        if not moved:
            return
        fields = {
            "from": str(target.folder_id),
            "to": ";".join(map(str, moved)),
            "uids": ";".join(moved.values()),
        }
        if found:
            fields["found"] = found.text
        text = f"{count_mails(count)} moved to {shortened(folder_title(target.name))}."
        self.templates.flashes.add(visit, text, form=FlashForm("/mail/undo", "Undo", fields))

    def _say(self, visit: Visit, text: str, kind: str = "done") -> None:
        self.templates.flashes.add(visit, text, kind)


def _flags(names: Sequence[str]) -> int:
    flags = 0
    for name in names:
        if name not in FLAGS:
            raise BadRequest(f"A mark is one of {', '.join(FLAGS)}")
        flags |= FLAGS[name]
    return flags
