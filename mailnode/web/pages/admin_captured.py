"""Mail that the gear keeps here: one list of all of it, newest first, searched and deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from attrs import define

from mailnode.reading.query import BadQuery, Query, Words, read_query
from mailnode.signposts import GEARS_MEAN
from mailnode.web.pages.admin_forms import number_of
from mailnode.web.pages.lists import PAGE_MAILS, count_mails, number_asked, shelf_of
from mailnode.web.pages.rearranging import NOTHING_CHOSEN
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.store.captured import Captured
    from mailnode.store.queue_desk import QueueFilter
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.bodies import Form
    from mailnode.web.desk import Desk
    from mailnode.web.visit import Visit

LIST = "/admin/captured"
SEARCHED_ROWS, DELETED_AT_ONCE = 5_000, 500
HELP = (
    ("dave order", "both words, in an address or the subject"),
    ("to:dave@example.com", "whom it is for"),
    ("from:shop subject:order", "where they stand"),
    ('"order 4711"', "these words behind each other"),
    ("-newsletter", "without that word"),
    ("ord*", "words that begin so"),
)


@define(eq=False)
class AdminCaptured:
    """The pages.

    Args:
        admin: changes the queue.
    """

    desk: Desk
    admin: AdminDesk

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                LIST,
                ("GET",),
                self.show,
                "Captured mail, newest first, or what fits ``q``: ``before`` or ``after`` a row",
                Need.ADMIN,
            ),
            Route(
                f"{LIST}/delete",
                ("POST",),
                self.delete,
                "Deletes captured mail: ``row`` (several), or ``all``: every one up to that row, or"
                " of these what fits ``q``; that asks first: ``sure``",
                Need.ADMIN,
            ),
        )

    async def show(self, visit: Visit) -> Answer:
        typed = visit.query("q").strip()
        before, after = number_asked(visit, "before"), number_asked(visit, "after")
        shelf = await shelf_of(self.desk, visit)
        level = shelf.captured or await self.desk.captured.level()
        fault, found = "", Found(())
        try:
            found = await self._find(_words_of(typed), before, 0 if typed else after)
        except BadQuery as error:
            fault = error.text
        if not typed and after and not found.newer:  # the first page is always a whole one
            return see_other(LIST)
        if not typed and before and not found.lines and level.count:  # all of the last one went
            return see_other(f"{LIST}?after={before - 1}")
        gear = self.desk.directory.gear
        return self.admin.templates.page(
            visit,
            "admin_captured.html",
            400 if fault else 200,
            title=f"({level.count:,}) Captured mail" if level.count else "Captured mail",
            shelf=shelf,
            lines=found.lines,
            newer=f"{LIST}?after={found.newer}" if found.newer else "",
            older=_path(q=typed, before=found.older) if found.older else "",
            reached_at=found.reached_at,
            first_page=not before and not after,
            level=level,
            typed=typed,
            fault=fault,
            help=HELP,
            gear=gear,
            gear_means=GEARS_MEAN[gear],
        )

    async def _find(self, words: Sequence[Words], before: int, after: int) -> Found:
        captured, most = self.desk.captured, PAGE_MAILS + 1
        if words:
            piece = await captured.search(words, before, most)
            lines = piece.rows[:PAGE_MAILS]
            older = lines[-1].id if len(piece.rows) == most else piece.before
            return Found(lines, older=older, reached_at=piece.reached_at)
        rows = await captured.page(before=before, after=after or None, limit=most)
        more = len(rows) == most
        lines = tuple(rows[-PAGE_MAILS:] if after else rows[:PAGE_MAILS])
        return Found(
            lines,
            newer=lines[0].id if lines and (more if after else before) else 0,
            older=lines[-1].id if lines and (more or after) else 0,
        )

    # Deleting

    async def delete(self, visit: Visit) -> Answer:
        form, queue = visit.form, self.admin.queue
        back, typed = _way_back(form), form.get("q").strip()
        everything = form.get("all")
        rows = [everything] if everything else form.all("row")
        ids = [number_of(each) for each in rows]
        if 0 in ids:
            raise BadRequest("A mail's number is missing or is none")
        if not ids:
            self._say(visit, NOTHING_CHOSEN, "failed")
            return see_other(back)
        meant = await self._all(typed, ids[0]) if everything else [self._filter(ids=tuple(ids))]
        if everything and not form.get("sure"):
            there = sum([await queue.count(each) for each in meant])
            return await self._ask(visit, there, everything, typed, back)
        by = str(visit.guest.account.address)
        gone = sum([len((await queue.change(each, "drop", by, "")).ids) for each in meant])
        if gone:
            self._say(visit, f"{count_mails(gone)} deleted for good.")
        else:
            self._say(visit, "Nothing of that is captured any more.", "failed")
        return see_other(back)

    async def _all(self, typed: str, up_to: int) -> list[QueueFilter]:
        """Every one up to that row, or every one of these that fits what was searched for."""
        words = _words_of(typed)
        if not words:
            return [self._filter(up_to=up_to)]
        ids, before = list[int](), up_to + 1
        while before:
            piece = await self.desk.captured.search(words, before, SEARCHED_ROWS)
            ids += [row.id for row in piece.rows]
            before = piece.before
        return [self._filter(ids=tuple(some)) for some in _pieces_of(ids)]

    def _filter(self, **facts: Any) -> QueueFilter:
        return self.admin.queue.make_filter(state="captured", **facts)

    async def _ask(
        self, visit: Visit, there: int, everything: str, typed: str, back: str
    ) -> Answer:
        them = "it" if there == 1 else "them"
        fields = [("all", everything), *([("q", typed)] if typed else [])]
        return await self.admin.page(
            visit,
            "admin_sure.html",
            title="Delete all that fits?" if typed else "Delete all captured mail?",
            told=[
                *([f"Searched for: {typed}"] if typed else []),
                f"{count_mails(there)} that never left will be gone for everybody, and nothing"
                f" brings {them} back. The journal keeps who sent {them}, to whom, and who"
                f" deleted {them}.",
            ],
            action=f"{LIST}/delete",
            fields=fields,
            label=f"Delete all {there:,} for good",
            back=back,
            reason=None,
        )

    def _say(self, visit: Visit, text: str, kind: str = "done") -> None:
        self.admin.templates.flashes.add(visit, text, kind)


@define
class Found:
    """A page of the list.

    Attributes:
        newer, older: behind which row the pages before and after it begin; 0 for none.
        reached_at: how far back was looked where that was not all, UTC epoch seconds.
    """

    lines: Sequence[Captured]
    newer: int = 0
    older: int = 0
    reached_at: float | None = None


def _words_of(typed: str) -> tuple[Words, ...]:
    """
    Raises:
        BadQuery: it asks for nothing, or for what is not known of captured mail.
    """
    query = read_query(typed)
    if query != Query(query.words) or any(each.where == "file" for each in query.words):
        raise BadQuery("Captured mail is found by words, from:, to: and subject: alone")
    if typed and not query.words:  # all would fit, and all that fits can be deleted
        raise BadQuery("There is no letter or digit in it to be looked for")
    return query.words


def _pieces_of(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(ids), DELETED_AT_ONCE):
        yield ids[at : at + DELETED_AT_ONCE]


def _way_back(form: Form) -> str:
    """To the page of the list that asked."""
    place = {name: number_of(form.get(name)) for name in ("before", "after")}
    return _path(q=form.get("q")[:1000], **place)


def _path(**asked: str | int) -> str:
    given = {name: value for name, value in asked.items() if value}
    return f"{LIST}?{urlencode(given)}" if given else LIST
