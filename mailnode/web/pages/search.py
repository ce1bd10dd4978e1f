"""Search, threads: mails of all folders that something fits, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, evolve, frozen

from mailnode.model import JUNK, TRASH
from mailnode.reading.query import BadQuery, read_query
from mailnode.web.pages.lists import PAGE_MAILS, lines_of, number_asked, shelf_of
from mailnode.web.pages.sought import Sought
from mailnode.web.routes import Answer, Route, see_other
from mailnode.web.templates import Templates, folder_title

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Copy, Folder
    from mailnode.store.index_asking import Hit, Progress
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit

HELP = (
    ("plans friday", "both words, anywhere"),
    ('"see you friday"', "these words behind each other"),
    ("from:bob to:carol subject:plans", "where they stand"),
    ("-newsletter", "without that word"),
    ("pla*", "words that begin so"),
    ("has:attachment is:unread is:flagged", "what it has, how it is marked"),
    ("in:sent", "where it lies"),
    ("after:2026-01-31 before:2026-03-01", "when it came"),
    ("larger:1M smaller:10M", "how large it is"),
)


@frozen
class Found:
    """A mail that was found, where it is shown to lie."""

    folder_id: int
    uid: int
    message_id: int
    flags: int
    size_octets: int
    received_at: float
    sender: str
    subject: str


@define(eq=False)
class Searches:
    """The search page, and the page of a thread."""

    templates: Templates
    desk: Desk

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/search",
                ("GET",),
                self.search,
                "Mails that fit ``q``, in the folder ``in`` or in all; ``before`` goes on",
            ),
            Route(
                "/mail/<int:folder_id>/<int:uid>/thread",
                ("GET",),
                self.thread,
                "The mails of one thread, the newest first",
            ),
        )

    async def search(self, visit: Visit) -> Answer:
        account_id = visit.guest.account.id
        typed, inside = visit.query("q").strip(), visit.query("in")
        shelf = await shelf_of(self.desk, visit)
        folders = [f for f in shelf.folders if str(f.folder_id) == inside]
        if not typed:
            return see_other(f"/mail/{inside}" if folders else "/mail")
        inside = str(folders[0].folder_id) if folders else ""
        before = number_asked(visit, "before")
        sought = Sought(typed, inside, str(before or ""))
        fault, hits, older = "", list[Found](), ""
        hints: tuple[str, ...] = ()
        summaries, behind = {}, ""
        try:
            wanted = read_query(typed)
            hints = wanted.hints
            found = await self.desk.indexes.search(
                account_id,
                wanted,
                folder_ids=[f.folder_id for f in folders] or None,
                before=before or None,
                limit=PAGE_MAILS,
            )
        except BadQuery as error:
            fault = error.text
        else:
            hits = [_found(hit, shelf.folders) for hit in found.mails]
            summaries = {hit.message_id: hit.summary for hit in found.mails}
            if found.before is not None:
                older = evolve(sought, before=str(found.before)).path
            if not found.progress.is_done:
                behind = _told(found.progress)
        return self.templates.page(
            visit,
            "search.html",
            400 if fault else 200,
            title=f"Search: {typed[:60]}",
            shelf=shelf,
            typed=typed,
            inside=folders[0] if folders else None,
            fault=fault,
            hints=hints,
            lines=lines_of(hits, summaries, shelf.folders, sought),
            chooses=True,
            sought=sought,
            trash=bool(folders) and folders[0].name == TRASH,
            junk=bool(folders) and folders[0].name == JUNK,
            where={f.folder_id: folder_title(f.name) for f in shelf.folders},
            older=older,
            behind=behind,
            help=HELP,
        )

    async def thread(self, visit: Visit, folder_id: int, uid: int) -> Answer:
        account_id, desk = visit.guest.account.id, self.desk
        mail = await desk.folders.copy(account_id, folder_id, uid)
        shelf = await shelf_of(desk, visit, folder_id)
        ids = (await desk.indexes.thread(account_id, mail.message_id) or [mail.message_id])[-200:]
        places = await desk.folders.copies(account_id, ids)
        trash = {f.folder_id for f in shelf.folders if f.name == TRASH}
        copies = [_best(places[each], trash) for each in reversed(ids) if each in places]
        summaries = await desk.indexes.summaries(account_id, [each.message_id for each in copies])
        found = Sought.of(visit)
        lines = lines_of(copies, summaries, shelf.folders, found)
        return self.templates.page(
            visit,
            "thread.html",
            title=mail.subject or "(no subject)",
            shelf=shelf,
            lines=lines,
            chooses=False,
            back=found.beside(f"/mail/{folder_id}/{uid}"),
            where={f.folder_id: folder_title(f.name) for f in shelf.folders},
        )


def _told(progress: Progress) -> str:
    """To somebody who searches while the index isn't done."""
    if progress.indexed < progress.mails:
        known = f"{progress.indexed:,} of {progress.mails:,} mails are known"
        return f"The mail is still being read: {known}. What came before may lack here."
    return "Mail is still being read: what came or was moved just now may lack here."


def _best(copies: Sequence[Copy], trash: set[int]) -> Copy:
    """Of several, one that isn't thrown away."""
    return min(copies, key=lambda copy: copy.folder_id in trash)


def _found(hit: Hit, folders: Sequence[Folder]) -> Found:
    trash = {folder.folder_id for folder in folders if folder.name == TRASH}
    place = min(hit.copies, key=lambda each: each.folder_id in trash)
    return Found(
        folder_id=place.folder_id,
        uid=place.uid,
        message_id=hit.message_id,
        flags=place.flags,
        size_octets=hit.size_octets,
        received_at=hit.received_at,
        sender=hit.summary.sender_address,
        subject=hit.summary.subject,
    )
