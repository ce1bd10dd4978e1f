"""What has become of a mail that was sent, recipient by recipient."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from mailnode.events import Accepted
from mailnode.model import MAIL_ID_LENGTH
from mailnode.stories import as_asked, fates_of
from mailnode.web.pages.lists import shelf_of
from mailnode.web.refusals import WebRefused
from mailnode.web.routes import Answer, Route

if TYPE_CHECKING:
    from mailnode.events import Event
    from mailnode.stories import Fate
    from mailnode.web.desk import Desk
    from mailnode.web.templates import Templates
    from mailnode.web.visit import Visit

SOON_S, LATER_S = 2, 30

_WORDS = {
    "delivered": "Delivered",
    "queued": "On its way",
    "deferred": "Waits for another attempt",
    "relayed": "Taken by its host",
    "bounced": "Could not be delivered",
    "captured": "Kept here: mail does not leave this node",
    "held": "Held by an administrator",
    "dropped": "Dropped by an administrator",
}
_UNSETTLED = frozenset(("queued", "deferred", "held"))


class NotSent(WebRefused):
    http_status = 404
    title = "Not found"
    text = "No mail of yours was sent under that name, or it was too long ago"


@frozen
class Shown:
    """A recipient and its state, as the page says it."""

    fate: Fate
    words: str


@define(eq=False)
class SentMail:
    """The page of a mail that was sent.

    Args:
        trace: all that happened to a mail, oldest first.
    """

    templates: Templates
    desk: Desk
    trace: Callable[[str], Awaitable[Sequence[Event]]]

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/sent/<mail_id>",
                ("GET",),
                self.show,
                "What has become of each recipient of a mail that one sent",
            ),
        )

    async def show(self, visit: Visit, mail_id: str) -> Answer:
        """Of one's own alone: the journal says who submitted it.

        Raises:
            NotSent.
        """
        if len(mail_id) != MAIL_ID_LENGTH or not mail_id.isalnum():
            raise NotSent()
        events = await self.trace(mail_id)
        account = str(visit.guest.account.address)
        if not any(
            isinstance(event, Accepted) and event.detail.get("account") == account
            for event in events
        ):
            raise NotSent()
        fates = fates_of(as_asked(events))
        states = {fate.state for fate in fates}
        again_s = SOON_S if "queued" in states else LATER_S if states & _UNSETTLED else 0
        return self.templates.page(
            visit,
            "sent.html",
            title="Sent",
            shelf=await shelf_of(self.desk, visit),
            mail_id=mail_id,
            fates=[Shown(fate, _WORDS.get(fate.state, fate.state)) for fate in fates],
            again_s=again_s,
        )
