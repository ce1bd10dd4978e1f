"""The journal: a mail is found by anything that is known of it, and its whole life is told."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from attrs import define, frozen

from mailnode.addresses import parse_address
from mailnode.domain_stories import events_of_domains
from mailnode.errors import BadAddress
from mailnode.model import MAIL_ID_LENGTH
from mailnode.stories import Fate, Line, fates_of, tell_story
from mailnode.web.pages.admin_forms import Typed, number_of
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.events import Event
    from mailnode.store.journal_search import FoundMail
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit

PAGE_MAILS, MOST_FATES = 50, 3
FIELDS = ("q", "sender", "recipient", "client", "subject", "outcome", "since", "until")
OUTCOMES = {
    "": "whatever",
    "refused": "it was refused, or put off",
    "accepted": "it was accepted",
    "delivered": "it was filed in a mailbox",
    "relayed": "another host took it",
    "deferred": "it waits for another attempt",
    "bounced": "it was given up",
}

_REFUSED = {"refused", "refused-more"}


@frozen
class StoryLine:
    """A mail in the list.

    Attributes:
        at: of the last that happened.
        refused: it was, or was put off.
        bad: that, or it did not get through.
        told: why it was refused, and the last that happened where no recipient's fate tells it.
        fates: of the first recipients; `more` others have theirs, too.
        dialog: of a session that got no mail through.
    """

    mail_id: str
    at: float
    sender: str | None
    subject: str
    refused: bool
    bad: bool
    told: Sequence[Line]
    fates: Sequence[Fate]
    more: int
    dialog: str = ""


@define(eq=False)
class AdminJournal:
    """The pages."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        filters = ", ".join(f"``{name}``" for name in FIELDS)
        return (
            Route(
                "/admin/journal",
                ("GET",),
                self.show,
                f"Finds mails by what is known of them: {filters}, ``before`` a row",
                Need.DOMAIN_ADMIN,
            ),
            Route(
                "/admin/journal/<mail_id>",
                ("GET",),
                self.tell,
                "All that happened to a mail",
                Need.DOMAIN_ADMIN,
            ),
        )

    async def show(self, visit: Visit) -> Answer:
        asked = Typed({name: visit.query(name).strip()[:500] for name in FIELDS})
        if _is_mail_id(asked.get("q")):
            return see_other(f"/admin/journal/{asked.get('q').upper()}")
        sought = _sought(asked)
        before = number_of(visit.query("before"))
        lines: list[StoryLine] = []
        older, reached_at = "", None
        if asked.is_right:
            if not visit.guest.is_admin:
                sought["domains"] = visit.guest.domains
            page = await self.desk.search(before, PAGE_MAILS, sought)
            lines = [_line(each) for each in page.mails]
            reached_at = page.reached_at
            given = {name: value for name, value in asked.values.items() if value}
            if page.before:
                older = f"/admin/journal?{urlencode(given | {'before': str(page.before)})}"
        return await self.desk.page(
            visit,
            "admin_journal.html",
            200 if asked.is_right else 422,
            title="Journal",
            lines=lines,
            older=older,
            reached_at=reached_at,
            first=not before,
            typed=asked,
            outcomes=OUTCOMES,
            searched=any(asked.values.values()),
            narrowed=any(asked.get(name) for name in FIELDS if name not in ("q", "outcome"))
            or any(asked.faults),
        )

    async def tell(self, visit: Visit, mail_id: str) -> Answer:
        if not _is_mail_id(mail_id):
            raise NoSuchPage("A mail's id has 26 letters and digits")
        subject, events = await self.desk.trace(mail_id.upper())
        if not visit.guest.is_admin:
            events = events_of_domains(events, visit.guest.domains)
        if not events:
            raise NoSuchPage(
                "The journal holds no such mail; it is kept as long as journal.keep says"
            )
        story = tell_story(mail_id.upper(), events)
        return await self.desk.page(
            visit,
            "admin_story.html",
            title=_heading(subject, events),
            story=story,
            fates=fates_of(events),
        )


def _sought(asked: Typed) -> dict[str, Any]:
    """What is looked for, by the names of `Sought`; what is wrong is said at its field."""
    known: dict[str, Any] = {}
    words = asked.get("q")
    address = _as_address(words)
    if address:
        known["address"] = address
    elif words:
        known["words"] = words
    if said := asked.get("sender"):
        known["sender"] = _spelled(said)
    if said := asked.get("recipient"):
        known["recipient"] = _spelled(said)
    if said := asked.get("client"):
        try:
            known["client"] = str(ipaddress.ip_address(said))
        except ValueError:
            asked.mistake("client", "An address is such as 192.0.2.7 or 2001:db8::7")
    if said := asked.get("subject"):
        known["subject"] = said
    if said := asked.get("outcome"):
        if said not in OUTCOMES:
            asked.mistake("outcome", "Choose one of the list")
        known["outcome"] = said
    for name in ("since", "until"):
        if said := asked.get(name):
            try:
                known[name] = datetime.fromisoformat(said).replace(tzinfo=UTC).timestamp()
            except (ValueError, OverflowError):
                asked.mistake(name, "A time is such as 2027-03-09T14:30, in UTC")
    if known.get("since", 0) > known.get("until", float("inf")):
        asked.mistake("until", "It ends before it begins")
    return known


def _line(found: FoundMail) -> StoryLine:
    events = found.events
    story = tell_story(found.mail_id, events)
    fates = fates_of(events)
    refused = [line for line in story.lines if line.event in _REFUSED]
    settled_at = max((each.at for each in fates), default=float("-inf"))
    last = [each for each in story.lines[-1:] if each.at > settled_at and each not in refused]
    first = next((event for event in events if event.sender is not None), None)
    return StoryLine(
        found.mail_id,
        max((event.at for event in events), default=0.0),
        None if first is None else first.sender,
        found.subject,
        bool(refused),
        bool(refused) or any(each.state in ("bounced", "deferred") for each in fates),
        [*refused[-1:], *last],
        fates[:MOST_FATES],
        max(0, len(fates) - MOST_FATES),
        "" if found.mail_id else story.dialog,
    )


def _heading(subject: str, events: Sequence[Event]) -> str:
    if subject:
        return subject
    names = {event.name for event in events}
    return "A refused mail" if names <= _REFUSED else "A mail whose subject is not here"


def _is_mail_id(said: str) -> bool:
    return len(said) == MAIL_ID_LENGTH and said.isascii() and said.isalnum()


def _bare(said: str) -> str:
    return said.strip().removeprefix("<").removesuffix(">")


def _as_address(said: str) -> str:
    """A whole address as the journal spells it; "" for anything else."""
    if "@" not in said.strip("@"):
        return ""
    try:
        return str(parse_address(_bare(said)))
    except BadAddress:
        return ""


def _spelled(said: str) -> str:
    bare = _bare(said)
    try:
        return str(parse_address(bare)) if bare else ""
    except BadAddress:
        return bare
