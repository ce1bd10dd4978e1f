"""Bans: from where nobody signs in, by an administrator's word or for guessing passwords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from mailnode.errors import NotFound
from mailnode.networks import MOST_REASON, BadBan, holds, read_network, short
from mailnode.web.pages.admin_forms import Typed
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.store.guard import Ban, Block
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.keeping_out import KeepingOut
    from mailnode.web.visit import Visit

MOST_SHOWN = 500
TIMES: Mapping[str, str] = {
    "3600": "an hour",
    "86400": "a day",
    "604800": "a week",
    "2592000": "30 days",
    "": "until it is lifted",
}
USUAL = "604800"


@frozen
class KeptOutLine:
    """From where somebody can't sign in.

    Attributes:
        network: that lifts it.
        whom: the account that is meant alone, "" for all.
        until: UTC epoch seconds; None until it is lifted.
    """

    network: str
    why: str
    whom: str
    until: float | None

    @property
    def name(self) -> str:
        return short(self.network)


@define(eq=False)
class AdminBans:
    """The page."""

    desk: AdminDesk
    guard: KeepingOut

    def routes(self) -> Sequence[Route]:
        path = "/admin/bans"
        return (
            Route(path, ("GET",), self.show, "Who can't sign in, and from where", Need.ADMIN),
            Route(
                path,
                ("POST",),
                self.add,
                "Bans a network: ``network``, ``for`` seconds or nothing, ``reason``",
                Need.ADMIN,
            ),
            Route(
                f"{path}/lift",
                ("POST",),
                self.lift,
                "Lifts the bans and blocks of ``network``",
                Need.ADMIN,
            ),
        )

    async def show(self, visit: Visit, typed: Typed | None = None, status: int = 200) -> Answer:
        bans, blocks = self.guard.kept_out()
        shown = bans[:MOST_SHOWN], blocks[: max(0, MOST_SHOWN - len(bans))]
        return await self.desk.page(
            visit,
            "admin_bans.html",
            status,
            title="Bans",
            lines=[*map(_banned, shown[0]), *map(self._blocked, shown[1])],
            count=len(bans) + len(blocks),
            typed=typed or Typed({"for": USUAL}),
            times=TIMES,
            own=visit.peer.client,
            most_reason=MOST_REASON,
        )

    def _blocked(self, block: Block) -> KeptOutLine:
        account = self.desk.directory.find_by_id(block.account_id) if block.account_id else None
        whom = "" if not block.account_id else str(account.address) if account else "an account"
        times = f", {block.times} times by now" if block.times > 1 else ""
        return KeptOutLine(block.address, f"guessed passwords{times}", whom, block.until)

    async def add(self, visit: Visit) -> Answer:
        typed = Typed.of(visit.form, ("network", "for", "reason"))
        reason, chosen = typed.get("reason"), typed.get("for")
        if chosen not in TIMES:
            typed.mistake("for", "Choose for how long")
        if len(reason) > MOST_REASON or not reason.isprintable():
            typed.mistake("reason", f"At most {MOST_REASON} characters, in one line")
        try:
            network = read_network(typed.get("network"))
        except BadBan as error:
            typed.mistake("network", _sentence(error))
        else:
            if holds(network, visit.peer.client):
                own = f"You are at {visit.peer.client}, so you could not sign in again yourself"
                typed.mistake("network", own)
        if not typed.is_right:
            return await self.show(visit, typed, 422)
        for_s = float(chosen) if chosen else None
        ban = await self.guard.ban(network, for_s, reason, visit.actor)
        how_long = f"for {TIMES[chosen]}" if chosen else TIMES[chosen]
        text = f"Nobody signs in from {short(ban.network)} any more, {how_long}."
        self.desk.templates.flashes.add(visit, text)
        return see_other("/admin/bans")

    async def lift(self, visit: Visit) -> Answer:
        network = visit.form.get("network").strip()[:64]
        try:
            await self.guard.lift(network, visit.actor)
        except (BadBan, NotFound) as error:
            self.desk.templates.flashes.add(visit, f"{_sentence(error)}.", "failed")
        else:
            self.desk.templates.flashes.add(visit, f"From {network} one can sign in again.")
        return see_other("/admin/bans")


def _banned(ban: Ban) -> KeptOutLine:
    why = f"{ban.reason or 'banned'}, by {ban.made_by}"
    return KeptOutLine(ban.network, why, "", ban.until)


def _sentence(error: BadBan | NotFound) -> str:
    return error.text[:1].upper() + error.text[1:]
