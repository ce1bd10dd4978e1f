"""The queue: recipients elsewhere whose mail has not left, found and changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from attrs import define

from mailnode.addresses import parse_address, parse_domain
from mailnode.errors import BadAddress
from mailnode.signposts import GEARS_MEAN
from mailnode.telling import age, count
from mailnode.web.pages.admin_forms import MOST_NUMBER, Typed, number_of
from mailnode.web.refusals import BadRequest, NoSuchPage
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.store.queue_desk import Changed, QueueFilter, QueueRow
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit

PAGE_ROWS, MOST_DESTINATIONS = 100, 20
MOST_REASON = 500
STATES = {
    "waiting": "waits",
    "bouncing": "is to be bounced",
    "leased": "is attempted now",
    "held": "held",
    "captured": "captured",
}
ACTIONS = {
    "retry": "to be attempted now",
    "hold": "held",
    "release": "released",
    "bounce": "to be bounced",
    "drop": "dropped",
}
_WHY_LEFT = {
    "waiting": "waiting already",
    "bouncing": "to be bounced",
    "leased": "under way at this moment: try again when the attempt is over",
    "held": "held: release them first",
    "captured": "captured: they never leave, and can only be dropped",
}
FILTERS = ("state", "domain", "sender", "recipient", "reply")
BOUNCE_REASON = "The administrator of the sending server gave it up"


@define(eq=False)
class AdminQueue:
    """The pages."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        filters = ", ".join(f"``{name}``" for name in FILTERS)
        return (
            Route(
                "/admin/queue",
                ("GET",),
                self.show,
                f"The queue: {filters}, ``after`` a row",
                Need.ADMIN,
            ),
            Route(
                "/admin/queue/<int:row_id>",
                ("GET",),
                self.show_row,
                "All that is known of a recipient in the queue",
                Need.ADMIN,
            ),
            Route(
                "/admin/queue/change",
                ("POST",),
                self.change,
                f"Changes rows: ``do`` ({', '.join(ACTIONS)}), ``row`` (several), or ``all`` that "
                "fit the filters; bounce and drop ask first: ``sure``, ``reason``",
                Need.ADMIN,
            ),
        )

    async def show(self, visit: Visit) -> Answer:
        asked = Typed({name: visit.query(name).strip() for name in FILTERS})
        wanted = self._filter(asked)
        after = number_of(visit.query("after"))
        queue, gear = self.desk.queue, self.desk.directory.gear
        rows: list[QueueRow] = []
        total = 0
        if asked.is_right:
            rows = await queue.page(wanted, after, PAGE_ROWS + 1)
            total = await queue.count(wanted)
        more = len(rows) > PAGE_ROWS
        rows = rows[:PAGE_ROWS]
        given = {name: value for name, value in asked.values.items() if value}
        return await self.desk.page(
            visit,
            "admin_queue.html",
            200 if asked.is_right else 422,
            title="Queue",
            rows=rows,
            total=total,
            typed=asked,
            given=given,
            states=STATES,
            choices={"": "on their way"} | STATES,
            older=_path(given | {"after": str(rows[-1].id)}) if more else "",
            first=not after,
            destinations=await queue.destinations(MOST_DESTINATIONS) if not given else [],
            now=self.desk.now(),
            age=age,
            gear=gear,
            gear_means=GEARS_MEAN[gear],
        )

    async def show_row(self, visit: Visit, row_id: int) -> Answer:
        row = await self.desk.queue.row(min(row_id, MOST_NUMBER))
        if row is None:
            raise NoSuchPage("That is not in the queue any more; the journal says where it went")
        if row.state == "captured":
            return see_other(f"/admin/captured/{row_id}")
        return await self.desk.page(
            visit,
            "admin_queue_row.html",
            title=f"To {row.recipient}",
            row=row,
            states=STATES,
        )

    # Changing

    async def change(self, visit: Visit) -> Answer:
        form, do = visit.form, visit.form.get("do")
        if do not in ACTIONS:
            raise BadRequest(f"What is to be done is one of {', '.join(ACTIONS)}")
        asked = Typed.of(form, FILTERS)
        given = {name: value for name, value in asked.values.items() if value}
        back = _back(form.get("back")) or _path(given)
        ids = [number_of(each) for each in form.all("row")]
        everything = form.get("all") == "yes"
        wanted = self._filter(asked) if everything else self.desk.queue.make_filter(ids=tuple(ids))
        if not asked.is_right or 0 in ids:
            raise BadRequest("The rows are not named as this page names them")
        if not everything and not ids:
            self._say(visit, "Choose rows first: tick the boxes on the left.", "failed")
            return see_other(back)
        typed = Typed.of(form, ("reason",))
        reason = " ".join(typed.get("reason").split())
        if do == "bounce" and form.get("sure"):
            _judge_reason(typed, reason)
        if do in ("bounce", "drop") and (not form.get("sure") or not typed.is_right):
            fields = [("do", do), ("back", back)]
            if everything:
                fields += [("all", "yes"), *given.items()]
            else:
                fields += [("row", str(each)) for each in ids]
            number = await self.desk.queue.count(wanted)
            if not form.get("sure"):
                typed = Typed({"reason": BOUNCE_REASON})
            return await self._ask(visit, do, number, fields, back, typed)
        by = str(visit.guest.account.address)
        changed = await self.desk.queue.change(wanted, do, by, reason if do == "bounce" else "")
        self._tell(visit, do, changed)
        return see_other(back)

    async def _ask(
        self,
        visit: Visit,
        do: str,
        number: int,
        fields: Sequence[tuple[str, str]],
        back: str,
        typed: Typed,
    ) -> Answer:
        whom = count(number, "recipient")
        told = (
            [f"{whom} in the queue will be given up, and their senders get a report that says why."]
            if do == "bounce"
            else [f"The mail to {whom} goes for good, and no sender is told."]
        )
        return await self.desk.page(
            visit,
            "admin_sure.html",
            200 if typed.is_right else 422,
            title="Bounce?" if do == "bounce" else "Drop?",
            told=told,
            action="/admin/queue/change",
            fields=fields,
            label="Bounce" if do == "bounce" else "Drop for good",
            back=back,
            reason=typed if do == "bounce" else None,
        )

    def _tell(self, visit: Visit, do: str, changed: Changed) -> None:
        if changed.ids:
            self._say(visit, f"{count(len(changed.ids), 'recipient')} {ACTIONS[do]}.")
        for state, number in sorted(changed.left.items()):
            why = _WHY_LEFT.get(state, state)
            self._say(visit, f"{count(number, 'recipient')} left alone: {why}.", "failed")
        if not changed.ids and not changed.left:
            self._say(visit, "Nothing of that is in the queue any more.", "failed")

    def _filter(self, asked: Typed) -> QueueFilter:
        """What is asked for; what is no such thing is said at its field."""
        values: dict[str, Any] = dict.fromkeys(FILTERS)
        state = asked.get("state")
        if state and state not in STATES:
            asked.mistake("state", f"A state is one of {', '.join(STATES)}")
        values["state"] = state or "leaving"
        if said := asked.get("domain"):
            try:
                values["domain"] = parse_domain(said)
            except BadAddress as error:
                asked.mistake("domain", f"{error.text}; a domain is such as example.com")
        for name in ("sender", "recipient"):
            if said := asked.get(name):
                values[name] = _spelled(said)
        values["reply"] = asked.get("reply") or None
        return self.desk.queue.make_filter(**values)

    def _say(self, visit: Visit, text: str, kind: str = "done") -> None:
        self.desk.templates.flashes.add(visit, text, kind)


def _judge_reason(typed: Typed, reason: str) -> None:
    if not reason:
        typed.mistake("reason", "Say in a few words why; the senders read it")
    elif len(reason) > MOST_REASON or not reason.isprintable():
        typed.mistake("reason", f"One line of at most {MOST_REASON} characters")


def _spelled(said: str) -> str:
    """As the queue spells it; "" for <>."""
    bare = said.removeprefix("<").removesuffix(">")
    try:
        return str(parse_address(bare)) if bare else ""
    except BadAddress:
        return bare


def _path(given: Mapping[str, str]) -> str:
    return f"/admin/queue?{urlencode(given)}" if given else "/admin/queue"


def _back(said: str) -> str:
    """A page of the queue; "" for any other."""
    is_ours = said.partition("?")[0] == "/admin/queue"
    return said if is_ours and said.isascii() and said.isprintable() and " " not in said else ""
