"""An administrator turns off the second factors of somebody who has lost them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from attrs import define

from mailnode.events import FactorRemoved
from mailnode.web.pages.factors import FactorDesk, told
from mailnode.web.refusals import NoSuchPage, NotAllowed
from mailnode.web.routes import Answer, Need, Route, see_other

if TYPE_CHECKING:
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit


@define(eq=False)
class AdminFactors:
    """What can be done about them.

    Args:
        end_sessions: signs an account's browsers out, by its id.
    """

    desk: AdminDesk
    factors: FactorDesk
    end_sessions: Callable[[int], Awaitable[int]]

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/admin/accounts/<int:account_id>/factors/remove",
                ("POST",),
                self.remove,
                "Turns an account's second factors off",
                Need.ADMIN,
            ),
        )

    async def remove(self, visit: Visit, account_id: int) -> Answer:
        account = self.desk.directory.find_by_id(account_id)
        if account is None:
            raise NoSuchPage("There is no such account, or none any more")
        if account.id == visit.guest.account.id:
            raise NotAllowed("Your own second factor is turned off in the settings, with a code")
        known = [each.id for each in self.desk.directory.factors(account.id)]
        gone = await self.factors.remove(account.id, known)
        by = str(visit.guest.account.address)
        for factor in gone:
            detail = told(account, factor) | {"by": by}
            self.factors.tell(FactorRemoved(client=visit.peer.client, detail=detail))
        if gone:
            await self.end_sessions(account.id)
        self.desk.templates.flashes.add(
            visit, f"The second factor of {account.address} is off; its browsers are signed out."
        )
        return see_other(f"/admin/accounts/{account_id}")
