"""What the pages for administrators work on: accounts, the queue, the journal, who is connected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

if TYPE_CHECKING:
    from mailnode.admission import Sessions
    from mailnode.cred.choosing import Choose
    from mailnode.settings import QuotaSettings
    from mailnode.store.accounts import Accounts
    from mailnode.store.audit_lines import Line
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.journal_search import FoundPage
    from mailnode.store.lists import Sums
    from mailnode.store.queue_desk import Changed, Destination, QueueFilter, QueueRow
    from mailnode.web.bodies import InThread
    from mailnode.web.figures import Figures
    from mailnode.web.pages.lists import Shelf
    from mailnode.web.routes import Answer
    from mailnode.web.templates import Templates
    from mailnode.web.visit import Visit


@define(eq=False, kw_only=True)
class AdminDesk:
    """The collaborators.

    Attributes:
        accounts: users.db; its calls block, so they are made `in_thread`.
        changed: everybody knows what users.db says now once its Deferred fires.
        choose_password: a new one for an address, and the account that has it, if any, as
            users.db keeps it; raises WeakPassword.
        least_characters: of a password.
        sets_passwords: False where another checker judges passwords.
        sums: what each account keeps; blocks.
        quota: of mailboxes without their own.
        queue: recipients elsewhere.
        search: (before, limit, what is known by the names of `Sought`) to a page of the journal.
        trace: a mail's subject, "" for none any more, and its events.
        audit: (what is known by the names of `Wanted`, before, limit) to lines of the audit
            stream, the newest first, and where the next piece begins.
        figures: the last hour.
        readiness: what keeps the node from taking mail, by part.
        warnings: what else is wrong, by part.
        sessions: by server, of this process; none in the supervisor of several.
        metrics: their values now.
        processes: of the node that serve mail.
        now: UTC epoch seconds.
        shelf: the folders of who asks, beside each page.
    """

    templates: Templates
    accounts: Accounts
    directory: LiveDirectory
    in_thread: InThread
    changed: Callable[[], Awaitable[None]]
    choose_password: Choose
    least_characters: Callable[[], int]
    sets_passwords: bool
    sums: Callable[[], Mapping[int, Sums]]
    quota: Callable[[], QuotaSettings]
    queue: QueueSight
    search: Callable[[int, int, Mapping[str, Any]], Awaitable[FoundPage]]
    trace: Callable[[str], Awaitable[tuple[str, Sequence[Any]]]]
    audit: Callable[[Mapping[str, Any], int, int], Awaitable[tuple[Sequence[Line], int]]]
    figures: Figures
    readiness: Callable[[], Mapping[str, str]]
    warnings: Callable[[], Mapping[str, str]]
    sessions: Callable[[], Mapping[str, Sessions]]
    metrics: Callable[[], Mapping[str, Any]]
    processes: int
    now: Callable[[], float]
    shelf: Callable[[Visit], Awaitable[Shelf]]

    def accounts_of(self, visit: Visit) -> Accounts:
        """users.db, for what who asks changes."""
        return self.accounts.by(visit.actor)

    async def page(
        self, visit: Visit, template: str, status: int = 200, /, **values: Any
    ) -> Answer:
        """A template as the answer, with one's own folders beside it."""
        shelf = await self.shelf(visit)
        return self.templates.page(visit, template, status, shelf=shelf, **values)


@define(eq=False, kw_only=True)
class QueueSight:
    """The queue as the pages ask it.

    Attributes:
        make_filter: of the names of `QueueFilter`.
        page: rows that fit, behind one of that id, the longest queued first.
        count: how many fit.
        destinations: those with the most recipients.
        change: (filter, action, by whom, reason).
        row: the one of that id; None for none.
    """

    make_filter: Callable[..., QueueFilter]
    page: Callable[[QueueFilter, int, int], Awaitable[list[QueueRow]]]
    count: Callable[[QueueFilter], Awaitable[int]]
    destinations: Callable[[int], Awaitable[list[Destination]]]
    change: Callable[[QueueFilter, str, str, str], Awaitable[Changed]]
    row: Callable[[int], Awaitable[QueueRow | None]]
