"""The first page: where who signed in goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define

from mailnode.web.routes import Answer, Route, see_other

if TYPE_CHECKING:
    from mailnode.web.visit import Visit


@define(eq=False)
class First:
    """Leads on to another page.

    Args:
        leads_to: its path.
    """

    leads_to: str

    def routes(self) -> Sequence[Route]:
        return (Route("/", ("GET",), self.lead_on, "The first page: leads on"),)

    async def lead_on(self, visit: Visit) -> Answer:
        return see_other(self.leads_to)
