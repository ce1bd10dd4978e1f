"""Which copy an id means: folder and uid, or a mail's id where that is enough."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import define

from mailnode.errors import NoSuchFolder, NoSuchMail
from mailnode.model import STANDARD_FOLDERS
from mailnode.web.api.problems import Conflict
from mailnode.web.api.schemas import text
from mailnode.web.api.shapes import COPY_ID, MAIL_ID, copy_id

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Copy, Folder
    from mailnode.store.folders import Folders

ID = text(
    "A copy's id, or a mail's: where a mail lies in several folders, what only looks takes the "
    "first of them (INBOX, Drafts, Sent, Junk, Trash, then others), and what changes something "
    "is answered 409.",
    pattern=f"^({COPY_ID}|{MAIL_ID})$",
    says="an id",
    example="7-204",
)
FOLDER = text("A folder's id, or its name.", least=1, most=100, default="INBOX", example="INBOX")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@define(eq=False)
class Places:
    """Finds copies and folders of an account."""

    folders: Folders

    async def find(self, account_id: int, said: str, *, only: bool = False) -> tuple[int, int]:
        """Folder and uid of the copy.

        Args:
            only: there must be one alone.

        Raises:
            NoSuchMail: there is none, or it is another's.
            Conflict: there are several.
        """
        folder, hyphen, uid = said.partition("-")
        if hyphen:
            return int(folder), int(uid)
        copies: list[Copy] = await self.folders.copies_of(account_id, said)
        if not copies:
            raise NoSuchMail()
        if only and len(copies) > 1:
            there = ", ".join(map(copy_id, copies))
            raise Conflict(f"That mail lies in several folders; say which copy is meant: {there}")
        if len(copies) > 1:
            order = {each.folder_id: each.name for each in await self.folders.folders(account_id)}
            copies.sort(key=lambda each: _rank(order.get(each.folder_id, "")))
        return copies[0].folder_id, copies[0].uid

    async def folder(self, account_id: int, said: str) -> Folder:
        """A folder by its id or name; what is a number is an id.

        Raises:
            NoSuchFolder.
        """
        if _NUMBER.fullmatch(said):
            return await self.folders.folder(account_id, int(said))
        if said.isdigit():
            raise NoSuchFolder()
        return await self.folders.named(account_id, said)


def _rank(name: str) -> int:
    order = ("INBOX", *(each for each in STANDARD_FOLDERS if each != "INBOX"))
    return order.index(name) if name in order else len(order)
