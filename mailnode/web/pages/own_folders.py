"""Folders of one's own: made, renamed, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define

from mailnode.errors import BadFolder
from mailnode.web.pages.lists import count_mails, one_of, shelf_of
from mailnode.web.routes import Answer, Route, see_other
from mailnode.web.templates import Templates

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Folder
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit


@define(eq=False)
class OwnFolders:
    """The page of a folder's name; what is wrong with one is told beside it."""

    templates: Templates
    desk: Desk

    def routes(self) -> Sequence[Route]:
        return (
            Route("/folders", ("POST",), self.make, "Makes a folder: ``name``"),
            Route("/folders/<int:folder_id>", ("GET",), self.show, "A folder's name, to change"),
            Route(
                "/folders/<int:folder_id>/rename",
                ("POST",),
                self.rename,
                "Renames a folder: ``name``",
            ),
            Route(
                "/folders/<int:folder_id>/remove",
                ("POST",),
                self.remove,
                "Removes a folder; what lies in it goes to Trash",
            ),
        )

    async def make(self, visit: Visit) -> Answer:
        try:
            made = await self.desk.folders.make(visit.guest.account.id, visit.form.get("name"))
        except BadFolder as error:
            return await self._page(visit, None, error)
        return see_other(f"/mail/{made.folder_id}")

    async def show(self, visit: Visit, folder_id: int) -> Answer:
        return await self._page(visit, folder_id)

    async def rename(self, visit: Visit, folder_id: int) -> Answer:
        account_id, name = visit.guest.account.id, visit.form.get("name")
        try:
            await self.desk.folders.rename(account_id, folder_id, name)
        except BadFolder as error:
            return await self._page(visit, folder_id, error)
        return see_other(f"/mail/{folder_id}")

    async def remove(self, visit: Visit, folder_id: int) -> Answer:
        account = visit.guest.account
        folder = await self.desk.folders.folder(account.id, folder_id)
        moved = await self.desk.folders.remove(account.id, folder_id, str(account.address))
        told = f"The folder {folder.name} is gone; {count_mails(moved)} went to Trash."
        self.templates.flashes.add(visit, told)
        return see_other("/mail")

    async def _page(
        self, visit: Visit, folder_id: int | None, error: BadFolder | None = None
    ) -> Answer:
        """
        Args:
            folder_id: None for one that is to be made.
            error: what is wrong with the name that was typed.

        Raises:
            NoSuchFolder: there is none, or not of this account.
            BadFolder: it has no name that could be changed.
        """
        shelf = await shelf_of(self.desk, visit, folder_id or 0)
        folder: Folder | None = None
        if folder_id is not None:
            folder = one_of(shelf.folders, folder_id)
        if error is not None and folder is not None and folder.standard:
            raise error
        typed = visit.form.get("name") if error is not None else ""
        return self.templates.page(
            visit,
            "folder.html",
            200 if error is None else error.http_status,
            title="New folder" if folder is None else folder.name,
            shelf=shelf,
            folder=folder,
            name=typed if error is not None or folder is None else folder.name,
            fault="" if error is None else error.text,
        )
