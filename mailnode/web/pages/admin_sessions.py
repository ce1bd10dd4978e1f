"""Who is connected by SMTP and POP3 at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from mailnode.telling import age
from mailnode.web.routes import Answer, Need, Route

if TYPE_CHECKING:
    from mailnode.admission import Connected
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.visit import Visit

MOST_SHOWN = 500


@frozen
class SessionLine:
    """A session in the list."""

    session: Connected
    age: str


@frozen
class ServerLines:
    """The sessions of a server.

    Attributes:
        open: how many are; the list may have fewer.
        turned_away: for a limit, since the start.
    """

    name: str
    open: int
    accepted: int
    turned_away: int
    lines: Sequence[SessionLine]


@define(eq=False)
class AdminSessions:
    """The page, which asks for itself again."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        return (
            Route(
                "/admin/sessions",
                ("GET",),
                self.show,
                "SMTP and POP3 sessions as they are now",
                Need.ADMIN,
            ),
        )

    async def show(self, visit: Visit) -> Answer:
        sessions, values = self.desk.sessions(), self.desk.metrics()

        def counted(metric: str, name: str) -> int:
            return int(values.get(metric, {}).get(f'server="{name}"', 0))

        servers = []
        for name in ("smtp", "pop3"):
            here = sessions.get(name)
            found = here.connected(MOST_SHOWN) if here is not None else []
            servers.append(
                ServerLines(
                    name.upper(),
                    len(here) if here is not None else counted("mailnode_sessions", name),
                    counted("mailnode_sessions_total", name),
                    counted("mailnode_sessions_turned_away_total", name),
                    [SessionLine(each, age(each.for_s)) for each in found],
                )
            )
        return await self.desk.page(
            visit,
            "admin_sessions.html",
            title="Sessions",
            servers=servers,
            elsewhere=not sessions,
            processes=self.desk.processes,
        )
