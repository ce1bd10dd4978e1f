"""The pages for administrators, put together of what a house has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mailnode.audit_house import find_in_audit
from mailnode.store.journal import read_trace
from mailnode.store.journal_search import FoundPage, Sought, read_subject, search_journal
from mailnode.store.lists import account_sums
from mailnode.store.queue_desk import QueueFilter, count_rows, list_destinations, list_rows
from mailnode.store.queue_steering import QueueSteering
from mailnode.web.admin_desk import AdminDesk, QueueSight
from mailnode.web.figures import Figures
from mailnode.web.pages.admin_accounts import AdminAccounts
from mailnode.web.pages.admin_addresses import AdminAddresses
from mailnode.web.pages.admin_audit import AdminAudit
from mailnode.web.pages.admin_bans import AdminBans
from mailnode.web.pages.admin_dashboard import AdminDashboard
from mailnode.web.pages.admin_journal import AdminJournal
from mailnode.web.pages.admin_queue import AdminQueue
from mailnode.web.pages.admin_routes import AdminRoutes
from mailnode.web.pages.admin_sessions import AdminSessions
from mailnode.web.pages.lists import shelf_of

if TYPE_CHECKING:
    from mailnode.admission import Sessions
    from mailnode.events import Event
    from mailnode.house import House
    from mailnode.password_house import PasswordHouse
    from mailnode.store.queue_desk import QueueRow
    from mailnode.web.desk import Desk
    from mailnode.web.keeping_out import KeepingOut
    from mailnode.web.templates import Templates
    from mailnode.web.web import Pages


def admin_desk_of(
    house: House,
    desk: Desk,
    templates: Templates,
    *,
    passwords: PasswordHouse,
    sets_passwords: bool,
    sessions: Callable[[], Mapping[str, Sessions]],
    values: Callable[[], Mapping[str, Any]],
) -> AdminDesk:
    """Of a house whose files are open.

    Args:
        sets_passwords: False where another checker judges them.
        sessions: those of this process, by server.
        values: the metrics of the node.
    """

    async def complete() -> None:
        """What happened stands in the journal."""
        house.bell.ring("journal")
        await house.database.transact("read journal", _nothing)

    async def search(before: int, limit: int, known: Mapping[str, Any]) -> FoundPage:
        await complete()
        return await house.database.read(
            lambda connection: search_journal(
                connection, Sought(**known), before=before, limit=limit
            )
        )

    async def trace(mail_id: str) -> tuple[str, Sequence[Event]]:
        await complete()
        return await house.database.read(
            lambda connection: (read_subject(connection, mail_id), read_trace(connection, mail_id))
        )

    return AdminDesk(
        templates=templates,
        accounts=house.accounts,
        directory=house.directory,
        in_thread=house._in_thread,
        changed=house.watch.changed,
        choose_password=passwords.choosing.choose,
        least_characters=lambda: house.config.passwords.least_characters,
        sets_passwords=sets_passwords,
        sums=partial(account_sums, house.config.data_path),
        quota=lambda: house.config.quota,
        queue=_queue_of(house),
        search=search,
        trace=trace,
        audit=find_in_audit(house),
        figures=Figures(values, time.time),
        readiness=house.readiness,
        warnings=house.warnings,
        sessions=sessions,
        metrics=values,
        processes=house.config.node.workers,
        now=house.due.now,
        shelf=partial(shelf_of, desk),
    )


def _nothing(_connection: object) -> None:
    """The batch is all that is asked for."""


def _queue_of(house: House) -> QueueSight:
    database = house.database
    steering = QueueSteering(
        database.path, database, house.blobs, house._in_thread, house.bell.ring, house.due.now
    )

    async def row(row_id: int) -> QueueRow | None:
        rows = await database.read(
            lambda connection: list_rows(connection, QueueFilter(ids=(row_id,)), 1)
        )
        return rows[0] if rows else None

    async def count(wanted: QueueFilter) -> int:
        return await database.read(lambda connection: count_rows(connection, wanted))

    async def destinations(limit: int) -> list[Any]:
        return await database.read(
            lambda connection: list_destinations(connection, house.due.now(), limit)
        )

    async def page(wanted: QueueFilter, after: int, limit: int) -> list[QueueRow]:
        return await steering.list(wanted, after, limit)

    return QueueSight(
        make_filter=QueueFilter,
        page=page,
        count=count,
        destinations=destinations,
        change=steering.change,
        row=row,
    )


def admin_pages(desk: AdminDesk, guard: KeepingOut) -> list[Pages]:
    """All but those of captured mail, which are made of what reads mail."""
    return [
        AdminDashboard(desk),
        AdminAccounts(desk),
        AdminAddresses(desk),
        AdminRoutes(desk),
        AdminQueue(desk),
        AdminJournal(desk),
        AdminSessions(desk),
        AdminBans(desk, guard),
        AdminAudit(desk),
    ]
