"""The audit stream: who was let in, and who changed what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from attrs import define, frozen

from mailnode.audited import EVENTS
from mailnode.web.pages.admin_forms import number_of
from mailnode.web.routes import Answer, Need, Route

if TYPE_CHECKING:
    from mailnode.audited import Entry
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit

PAGE_LINES = 100


@frozen
class AuditLine:
    """A line in the list.

    Attributes:
        who: that did it, "" where it is whom it is about.
        more: the detail, in words.
    """

    entry: Entry
    who: str
    more: str


@define(eq=False)
class AdminAudit:
    """The page."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/admin/audit",
                ("GET",),
                self.show,
                "The audit stream: ``account``, ``event``, ``before`` a line",
                Need.ADMIN,
            ),
        )

    async def show(self, visit: Visit) -> Answer:
        account, event = visit.query("account").strip()[:320], visit.query("event")
        wanted = {"account": account, "events": (event,) if event in EVENTS else ()}
        before = number_of(visit.query("before"))
        found, older = await self.desk.audit(wanted, before, PAGE_LINES)
        given = {name: value for name, value in (("account", account), ("event", event)) if value}
        link = f"/admin/audit?{urlencode(given | {'before': str(older)})}" if older else ""
        return await self.desk.page(
            visit,
            "admin_audit.html",
            title="Audit",
            lines=[_line(each.entry) for each in found],
            account=account,
            event=event,
            events=EVENTS,
            older=link,
            first=not before,
        )


def _line(entry: Entry) -> AuditLine:
    actor = entry.actor
    who = "" if actor.by == entry.account else actor.by
    if actor.way:
        who = f"{who} ({actor.way})" if who else actor.way
    more = ", ".join(f"{key}: {_words(value)}" for key, value in entry.detail.items())
    return AuditLine(entry, who or ("" if actor.by else "the node"), more)


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
