"""/events and /messages/wait: what happens, as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from mailnode.errors import MailError
from mailnode.web.api.happenings import KIND, TooManyListen, produces
from mailnode.web.api.operations import NOTHING, Call, Operation, Result, read_time
from mailnode.web.api.places import FOLDER, Places
from mailnode.web.api.schemas import Schema, instant, ref, text, whole
from mailnode.web.routes import Answer

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Copy
    from mailnode.store.folders import Folders
    from mailnode.web.api.happenings import Happenings, Listener
    from mailnode.web.api.messages import Messages
    from mailnode.web.guard import Guard

LONGEST_S, USUAL_S = 120, 30
MOST_WAITERS, MOST_OF_ACCOUNT = 200, 20
PAGE_MAILS = 200
MOST_LOOKED_AT = 2_000

WANTED: dict[str, Schema] = {
    "to": text("The address that it was sent to, or the beginning of it up to the @.", most=320),
    "from": text("The reverse-path.", most=320),
    "subject": text("Stands in its subject, in capitals or not.", most=200),
    "since": instant(
        "A time before the mail was caused: it may be there before it is waited for. "
        "One counts that came then or later; without it, one that comes from now on."
    ),
    "timeout": whole("Seconds to wait.", 1, LONGEST_S, default=USUAL_S),
}
NONE_CAME = Result(204, "None came; with `since` one that was there before counts.", None, "")


@frozen
class Wanted:
    """Which mail is waited for: all that is given must fit; "" fits all."""

    to: str = ""
    sender: str = ""
    subject: str = ""

    @classmethod
    def of(cls, query: Any) -> Wanted:
        to, sender, subject = (query.get(name, "") for name in ("to", "from", "subject"))
        return cls(to.casefold(), sender.casefold(), subject.casefold())

    def fits(self, recipient: str, sender: str, subject: str) -> bool:
        recipient = recipient.casefold()
        if self.to and self.to not in (recipient, recipient.rpartition("@")[0]):
            return False
        if self.sender and self.sender != sender.casefold():
            return False
        return self.subject in subject.casefold()


@define(eq=False)
class Waiters:
    """How many wait at the moment; each costs a connection."""

    _count: dict[int, int] = field(factory=dict, init=False)

    def come(self, account_id: int) -> None:
        """
        Raises:
            TooManyListen.
        """
        there = self._count.get(account_id, 0)
        if there >= MOST_OF_ACCOUNT or sum(self._count.values()) >= MOST_WAITERS:
            raise TooManyListen()
        self._count[account_id] = there + 1

    def leave(self, account_id: int) -> None:
        self._count[account_id] -= 1
        if not self._count[account_id]:
            del self._count[account_id]


@define(eq=False)
class Watching:
    """The operations.

    Args:
        seconds: a monotonic clock.
    """

    folders: Folders
    happenings: Happenings
    messages: Messages
    waiters: Waiters
    guard: Guard
    seconds: Callable[[], float] = time.monotonic

    def operations(self) -> Sequence[Operation]:
        return (
            Operation(
                name="waitForMessage", method="GET", path="/messages/wait", answer=self.wait,
                about="Waits for a mail, for tests of programs that send some",
                more="Answers as soon as one is there, and 204 when none came in that time. "
                f"At most {MOST_OF_ACCOUNT} requests of an account wait at a time.",
                tag="Messages", scope="read", query={**WANTED, "folder": FOLDER},
                results=[Result(200, "The mail.", ref("Message")), NONE_CAME],
                failures=[404, 429],
            ),
            Operation(
                name="getEvents", method="GET", path="/events", answer=self.follow,
                about="Server-sent events: mail, flags, folders, reset",
                more="`mail` has a mail's line, `flags` a folder's counts; `folders`: there are "
                "others; `reset`: more has happened than is told, look at everything again. Who "
                "comes back with Last-Event-ID is told what came meanwhile.",
                tag="Messages", scope="read",
                results=[Result(200, "A stream without an end.", None, KIND)],
                failures=[429],
            ),
        )  # fmt: skip

    async def follow(self, call: Call) -> Answer:
        visit = call.visit
        mark = visit.request.header("Last-Event-ID")[:100]
        listener = await self.happenings.listen(call.account_id, mark)
        route, peer = visit.admission.route, visit.peer

        async def may_listen() -> bool:
            try:
                guest = await self.guard.guest_of(visit.request, peer, route)
                self.guard.require_role(peer, route, guest)
            except MailError:
                return False
            return True

        headers = (("X-Accel-Buffering", "no"),)
        return Answer(kind=KIND, headers=headers, produce=produces(listener, may_listen))

    async def wait(self, call: Call) -> Answer:
        account_id, query = call.account_id, call.query
        wanted, since = Wanted.of(query), query.get("since")
        since_at = None if since is None else read_time(since, "since")
        folder = await Places(self.folders).folder(account_id, query["folder"])
        ends_at = self.seconds() + query["timeout"]
        self.waiters.come(account_id)
        try:
            listener = await self.happenings.listen(account_id)
            try:
                found = await self._await(
                    account_id, folder.folder_id, wanted, since_at, ends_at, listener
                )
            finally:
                listener.close()
        finally:
            self.waiters.leave(account_id)
        if found is None:
            return NOTHING
        return await self.messages.show_copy(account_id, found.folder_id, found.uid)

    async def _await(
        self,
        account_id: int,
        folder_id: int,
        wanted: Wanted,
        since_at: float | None,
        ends_at: float,
        listener: Listener,
    ) -> Copy | None:
        newest = await self.folders.page(account_id, folder_id, limit=1)
        seen = newest[0].uid if newest else 0
        if since_at is not None:
            found = await self._find_there(account_id, folder_id, wanted, since_at)
            if found is not None:
                return found
        while True:
            while True:
                page = await self.folders.page(account_id, folder_id, after=seen, limit=PAGE_MAILS)
                for copy in reversed(page):
                    if wanted.fits(copy.recipient, copy.sender, copy.subject):
                        return copy
                seen = page[0].uid if page else seen
                if len(page) < PAGE_MAILS:
                    break
            left_s = ends_at - self.seconds()
            if left_s <= 0:
                return None
            await listener.next(left_s)

    async def _find_there(
        self, account_id: int, folder_id: int, wanted: Wanted, since_at: float
    ) -> Copy | None:
        """The newest that fits, among so many."""
        before = 0
        for _ in range(MOST_LOOKED_AT // PAGE_MAILS):
            page = await self.folders.page(account_id, folder_id, before=before, limit=PAGE_MAILS)
            for copy in page:
                fits = wanted.fits(copy.recipient, copy.sender, copy.subject)
                if fits and copy.received_at >= since_at:
                    return copy
            if len(page) < PAGE_MAILS:
                return None
            before = page[-1].uid
        return None
