"""The API of a house: its resources, put together of what the house and its web have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailnode import __version__
from mailnode.audit_house import find_in_audit
from mailnode.store.audit_lines import facts_of
from mailnode.store.journal import read_mails
from mailnode.store.queue_desk import STATES_SHOWN, QueueFilter, count_rows
from mailnode.store.queue_steering import QueueSteering
from mailnode.web.api.accounts import Accounts
from mailnode.web.api.api import Api
from mailnode.web.api.audit import Audit
from mailnode.web.api.bans import Bans
from mailnode.web.api.captured import Captured as CapturedMail
from mailnode.web.api.folders import Folders
from mailnode.web.api.happenings import Happenings
from mailnode.web.api.journal import Journal, NodeState
from mailnode.web.api.mail_routes import MailRoutes
from mailnode.web.api.messages import Messages
from mailnode.web.api.queue import Queue
from mailnode.web.api.reference import Reference
from mailnode.web.api.searching import Searching
from mailnode.web.api.sending import Sending
from mailnode.web.api.watching import Waiters, Watching

if TYPE_CHECKING:
    import sqlite3

    from mailnode.events import Event
    from mailnode.house import House
    from mailnode.password_house import PasswordHouse
    from mailnode.web.desk import Desk
    from mailnode.web.guard import Guard
    from mailnode.web.letters import Letters
    from mailnode.web.templates import Templates


def make_api(
    house: House,
    desk: Desk,
    letters: Letters,
    *,
    guard: Guard,
    templates: Templates,
    passwords: PasswordHouse,
    happenings: Happenings,
) -> Api:
    """All of it, of a house whose files are open."""
    waiters, database = Waiters(), house.database

    async def complete() -> None:
        house.bell.ring("journal")
        # Behind what was flushed, in the same queue.
        await database.transact("complete journal", lambda connection: None)

    async def find_mails(wanted: Mapping[str, Any], limit: int) -> list[tuple[str, list[Event]]]:
        return await database.read(lambda connection: read_mails(connection, wanted, limit))

    async def count() -> Mapping[str, int]:
        return await database.read(_count)

    messages = Messages(desk.folders, letters, desk.journal, complete)
    steering = QueueSteering(
        house.config.data_path / "mail.db",
        database,
        house.blobs,
        house._in_thread,
        house.bell.ring,
        house.due.now,
    )
    seconds = house.reactor.seconds
    return Api(
        Reference(templates, __version__),
        [
            Sending(desk.post_office, desk.answers, house._in_thread),
            Watching(desk.folders, happenings, messages, waiters, guard, seconds),
            messages,
            Searching(desk.folders, desk.indexes),
            Folders(desk.folders),
            CapturedMail(letters, waiters, house.reactor, seconds),
            Accounts(
                house.accounts,
                house._in_thread,
                house.watch.changed,
                passwords.choosing.choose,
                house.messages.usage,
                house.directory.owner_of,
            ),
            MailRoutes(house.accounts, house._in_thread, house.watch.changed),
            Queue(steering, QueueFilter),
            Bans(house.guard),
            Journal(find_mails, desk.journal.trace, complete, house.config.accounts.subaddress),
            Audit(find_in_audit(house), facts_of),
            NodeState(
                house.hostname, __version__, house.readiness, lambda: desk.directory.gear, count
            ),
        ],
    )


def _count(connection: sqlite3.Connection) -> Mapping[str, int]:
    return {state: count_rows(connection, QueueFilter(state=state)) for state in STATES_SHOWN}
