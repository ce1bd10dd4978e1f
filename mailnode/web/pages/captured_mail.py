"""A captured mail, read by an administrator: as a mail in a folder is, with its envelope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from mailnode.errors import NoSuchMail
from mailnode.reading.fields import MOST_ADDRESSES
from mailnode.stories import Fate, fates_of
from mailnode.web.letters import CapturedLetter, Letter, Letters, captured_path
from mailnode.web.pages.lists import shelf_of
from mailnode.web.pages.mail_pages import MailPages
from mailnode.web.refusals import NoSuchPage, NotAllowed
from mailnode.web.routes import Answer, Answering, Need, Route

if TYPE_CHECKING:
    from mailnode.store.queue_desk import QueueRow
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.desk import Desk
    from mailnode.web.pages.mail_view import View
    from mailnode.web.visit import Visit

MOST_RECIPIENTS = 50
_MAIL = "/admin/captured/<int:row_id>"


@frozen
class EnvelopeTo:
    """A recipient of the envelope.

    Attributes:
        alias: the address here that led to it; "" for none.
        state: as `stories.Fate` has it.
        href: of its own copy's page; "" for none.
        here: the page is of its copy.
        hidden: no To or Cc names it.
    """

    address: str
    alias: str
    state: str
    href: str = ""
    here: bool = False
    hidden: bool = False


@define(eq=False)
class CapturedMail:
    """The pages.

    Args:
        admin: knows the queue and the journal.
        pages: what they show.
    """

    desk: Desk
    admin: AdminDesk
    letters: Letters
    pages: MailPages

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                _MAIL,
                ("GET",),
                partial(self._read, self.show),
                "A captured mail and its envelope: ``view``, ``of``, ``pictures`` as for one's own",
                Need.ADMIN,
            ),
            *self.pages.routes(_MAIL, Need.ADMIN, self._read, self._beside, self.show_picture),
        )

    async def _read(self, reads: Answering, visit: Visit, row_id: int, **more: Any) -> Answer:
        return await reads(visit, await self._open(row_id), **more)

    async def _open(self, row_id: int) -> CapturedLetter:
        """
        Raises:
            NoSuchPage: it never was captured, or is no more.
        """
        try:
            return await self.letters.open_captured(row_id)
        except NoSuchMail:
            raise NoSuchPage("That mail is not captured, or not here any more") from None

    # The page

    async def show(self, visit: Visit, letter: CapturedLetter) -> Answer:
        shown = await self.pages.shown(visit, letter)
        recipients = list(await self._recipients(letter, shown["view"]))
        captured, row_id = self.desk.captured, letter.row.id
        values = shown | {
            "more_fields": "captured_fields.html",
            "row": letter.row,
            "recipients": recipients[:MOST_RECIPIENTS],
            "more_recipients": len(recipients) > MOST_RECIPIENTS,
            "newer": await captured.page(after=row_id, limit=1),
            "older": await captured.page(before=row_id, limit=1),
        }
        status = 503 if shown["fault"] else 200
        return await self._page(visit, letter, "captured_mail.html", values, status)

    async def _recipients(self, letter: CapturedLetter, view: View | None) -> Iterator[EnvelopeTo]:
        """All of the envelope, whether or not the mail names them, this copy's first."""
        mail_id, queue = letter.mail_id, self.admin.queue
        rows = await queue.page(queue.make_filter(mail_ids=(mail_id,)), 0, MOST_RECIPIENTS + 1)
        if letter.row.id not in {each.id for each in rows}:  # there are many recipients
            own = await queue.row(letter.row.id)
            rows = [own, *rows] if own is not None else rows
        _subject, events = await self.admin.trace(mail_id)
        return _told(letter.row.id, rows, fates_of(events), _named_in(view))

    async def show_picture(self, visit: Visit, row_id: int, path: str) -> Answer:
        async def opens(account_id: int) -> Letter:
            account = self.desk.directory.find_by_id(account_id)
            if account is None or not account.admin:  # he was, when the page was made
                raise NotAllowed("That is for administrators alone")
            return await self._open(row_id)

        return await self.pages.files.picture(visit, captured_path(row_id), path, opens)

    async def _beside(self, visit: Visit, letter: CapturedLetter, values: dict[str, Any]) -> Answer:
        return await self._page(visit, letter, f"mail_{values['tab']}.html", values)

    async def _page(
        self,
        visit: Visit,
        letter: CapturedLetter,
        template: str,
        values: dict[str, Any],
        status: int = 200,
    ) -> Answer:
        return self.admin.templates.page(
            visit,
            template,
            status,
            **values,
            layout="captured_base.html",
            story=f"/admin/journal/{letter.mail_id}",
            thread="",
            shelf=await shelf_of(self.desk, visit),
        )


def _named_in(view: View | None) -> set[str] | None:
    """Whom its To and Cc name, in lower case; None where not all of them are known."""
    if view is None or max(len(view.to), len(view.cc)) >= MOST_ADDRESSES:
        return None
    return {address.lower() for _name, address in (*view.to, *view.cc)}


def _told(
    row_id: int, rows: Sequence[QueueRow], fates: Sequence[Fate], named: set[str] | None
) -> Iterator[EnvelopeTo]:
    def is_hidden(asked: str) -> bool:
        return named is not None and asked.lower() not in named

    for row in sorted(rows, key=lambda each: each.id != row_id):
        here, is_captured = row.id == row_id, row.state == "captured"
        yield EnvelopeTo(
            row.recipient,
            row.alias or "",
            row.state,
            captured_path(row.id) if is_captured and not here else "",
            here,
            is_hidden(row.alias or row.recipient),
        )
    queued = {row.recipient for row in rows}
    for fate in fates:
        if fate.recipient not in queued:
            yield EnvelopeTo(fate.recipient, "", fate.state, hidden=is_hidden(fate.recipient))
