"""A mail's page, and what is one click away from it: source, headers, story, print, attachments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define

from mailnode.errors import NoSuchMail
from mailnode.model import FLAGGED, INBOX, JUNK, SEEN, TRASH
from mailnode.web.letters import Letter, Letters, OwnLetter
from mailnode.web.pages.lists import shelf_of
from mailnode.web.pages.mail_pages import MailPages
from mailnode.web.pages.mail_story import is_to_be_explained, tell_owner, why_unwanted
from mailnode.web.pages.order import neighbours
from mailnode.web.pages.sought import Sought
from mailnode.web.routes import Answer, Answering, Need, Route
from mailnode.web.templates import Templates

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Folder
    from mailnode.store.whys import Why
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit

_MAIL = "/mail/<int:folder_id>/<int:uid>"


@define(eq=False)
class Reading:
    """The pages of a mail in a folder of who reads it.

    Args:
        pages: what they show.
        explain: why a mail is wanted or not, by what is learned now: (account's id, mail's id).
    """

    templates: Templates
    desk: Desk
    letters: Letters
    pages: MailPages
    explain: Callable[[int, str], Awaitable[Why | None]]

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                _MAIL,
                ("GET",),
                partial(self._read, self.show),
                "A mail, which is seen then: ``?view=text`` or ``html``, ``?of=PART`` for a mail"
                " that is attached, ``?pictures=1`` loads those from outside",
            ),
            Route(
                f"{_MAIL}/story",
                ("GET",),
                partial(self._read, self.show_story),
                "What happened to it",
            ),
            *self.pages.routes(_MAIL, Need.USER, self._read, self._beside, self.show_picture),
        )

    async def _read(
        self, reads: Answering, visit: Visit, folder_id: int, uid: int, **more: Any
    ) -> Answer:
        """A mail of who asks is read; one that was there is missed in words."""
        account_id = visit.guest.account.id
        try:
            letter = await self.letters.open(account_id, folder_id, uid)
        except NoSuchMail:
            folder = await self.desk.folders.folder(account_id, folder_id)
            return self.templates.page(
                visit,
                "mail_gone.html",
                404,
                title="Not here any more",
                folder=folder,
                found=Sought.of(visit),
                shelf=await shelf_of(self.desk, visit, folder_id),
            )
        return await reads(visit, letter, **more)

    # The page

    async def show(self, visit: Visit, letter: OwnLetter) -> Answer:
        shown = await self.pages.shown(visit, letter)
        copy, account_id = letter.copy, visit.guest.account.id
        if not shown["of"] and not copy.flags & SEEN and _is_looked_at(visit):
            await self.desk.folders.mark(account_id, copy.folder_id, [copy.uid], add=SEEN)
        shelf = await shelf_of(self.desk, visit, copy.folder_id)
        newer, older = await neighbours(self.desk, account_id, copy)
        named = _named_folders(shelf.folders, copy.folder_id)
        why: Sequence[str] = ()
        if named["here"] is not None and named["here"] is named["junk"]:
            events = await self.desk.journal.trace(letter.mail_id)
            why = why_unwanted(events, {each.folder_id for each in shelf.folders})
        return self.templates.page(
            visit,
            "mail.html",
            503 if shown["fault"] else 200,
            **shown | _around(visit, letter, shown["inner"]),
            more_fields="mail_came.html",
            flagged=bool(copy.flags & FLAGGED),
            shelf=shelf,
            **named,
            why_unwanted=why,
            newer=newer,
            older=older,
        )

    async def show_picture(self, visit: Visit, folder_id: int, uid: int, path: str) -> Answer:
        async def opens(account_id: int) -> Letter:
            return await self.letters.open(account_id, folder_id, uid)

        return await self.pages.files.picture(visit, f"/mail/{folder_id}/{uid}", path, opens)

    async def show_story(self, visit: Visit, letter: OwnLetter) -> Answer:
        account, mail_id = visit.guest.account, letter.mail_id
        directory = self.desk.directory

        def is_own(name: str) -> bool:
            found = directory.find_sign_in(name) if name else None
            return found is not None and found.id == account.id

        events = await self.desk.journal.trace(mail_id)
        folders = await self.desk.folders.folders(account.id)
        folder_ids = {each.folder_id for each in folders}
        told = tell_owner(mail_id, events, is_own, folder_ids)
        why = None
        if is_to_be_explained(events, folder_ids):
            why = await self.explain(account.id, mail_id)
        place = self.pages.place(visit, letter, "story")
        title = f"{letter.subject or 'A mail without a subject'}: story"
        return await self._beside(visit, letter, place | {"title": title, "told": told, "why": why})

    async def _beside(self, visit: Visit, letter: OwnLetter, values: dict[str, Any]) -> Answer:
        shelf = await shelf_of(self.desk, visit, letter.copy.folder_id)
        template = f"mail_{values['tab']}.html"
        around = _around(visit, letter, values["inner"])
        return self.templates.page(visit, template, **values | around, shelf=shelf)


def _around(visit: Visit, letter: OwnLetter, inner: str) -> dict[str, Any]:
    """What its templates know beside what any mail's do, and that its links lead back to the
    search by which it was come to."""
    found = Sought.of(visit)
    return {
        "copy": letter.copy,
        "layout": "mail_base.html",
        "found": found,
        "way": found.beside(),
        "query": found.beside(inner),
        "story": found.beside(f"{letter.path}/story"),
        "thread": found.beside(f"{letter.path}/thread"),
    }


def _is_looked_at(visit: Visit) -> bool:
    """By a person, not by a browser that guesses what will be."""
    header = visit.request.header
    ahead = f"{header('Sec-Purpose')} {header('Purpose')}"
    return visit.request.method == b"GET" and "prefetch" not in ahead


def _named_folders(folders: Collection[Folder], folder_id: int) -> dict[str, Folder | None]:
    by_name = {each.name: each for each in folders}
    return {
        "here": next((each for each in folders if each.folder_id == folder_id), None),
        "inbox": by_name.get(INBOX),
        "junk": by_name.get(JUNK),
        "trash": by_name.get(TRASH),
    }
