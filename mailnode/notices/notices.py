"""Who signs in from elsewhere, or has another password, finds a mail of it: the stream is followed.

So it is one place for all, whoever did it: a browser, a worker, a command beside the node. A mail
is filed before the stream is known to be followed so far: a crash tells twice, and never nothing.
Where the place can't be kept, on a full disk, what was filed is remembered until it can.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from mailnode.addresses import parse_address
from mailnode.background import Together, background
from mailnode.errors import BadAddress, MailError
from mailnode.measures import describe_notices
from mailnode.model import Envelope, MailParameters, Message, Recipient, new_mail_id
from mailnode.notices.mails import make_notice
from mailnode.outbound.reporting import Reports, message_of
from mailnode.store.seen import People, Seen

if TYPE_CHECKING:
    from mailnode.house import House
    from mailnode.settings import AuditSettings
    from mailnode.store.directory import LiveDirectory
    from mailnode.store.seen_rows import Notice

AGAIN_S = 60.0  # behind one that could not be filed

_log = Logger(namespace="mailnode")


@define(eq=False, kw_only=True)
class Notices:
    """Follows the audit stream, for the one process of the node that does.

    Attributes:
        file: takes a mail of ours, durably.
        counts: notices by what they told.
    """

    seen: Seen
    directory: LiveDirectory
    reports: Reports
    file: Callable[[Envelope, Message], Deferred[Any]]
    settings: Callable[[], AuditSettings]
    now: Callable[[], float]
    counts: Counter[str] = field(factory=Counter, init=False)
    _again_at: float = field(default=0.0, init=False)
    _told: set[tuple[int, int]] = field(factory=set, init=False)  # (account, line), not kept yet
    _stopping: bool = field(default=False, init=False)
    _one: Together = field(factory=Together, init=False)

    @classmethod
    def of(cls, house: House) -> Notices:
        """Of a house whose files are open."""
        made = cls(
            seen=house.seen,
            directory=house.directory,
            reports=house.reports,
            file=house.messages.file_message,
            settings=lambda: house.config.audit,
            now=time.time,
        )
        describe_notices(house.metrics, lambda: made.counts)
        return made

    def look(self) -> None:
        """Somebody may have signed in, or changed something."""
        background(self.run(), "following the audit stream")

    def run(self) -> Deferred[None]:
        """What is new in the stream is told and taken up."""
        return self._one.run("", self._run_until_stopped)

    async def _run_until_stopped(self) -> None:
        try:
            await self._run()
        except CancelledError:
            if not self._stopping:
                raise

    async def _run(self) -> None:
        if self.now() < self._again_at:
            return
        try:
            await self._take_up()
        except MailError as error:  # a disk that is full, say
            self._again_at = self.now() + AGAIN_S
            _log.warn("accounts are told later: {error}", error=error)

    async def _take_up(self) -> None:
        settings, people = self.settings(), self._people()
        most = settings.notices_a_day if settings.notices else 0
        news = await self.seen.look(people, most)
        if news is None:
            return
        for notice in news.notices:
            key = notice.account_id, notice.line.head.number
            if key not in self._told:
                await self._tell(notice)
                self._told.add(key)
        await self.seen.keep(news, people, most)
        self._told.clear()

    def _people(self) -> People:
        directory = self.directory.current

        def account_id_of(name: str) -> int | None:
            try:
                account = directory.find(parse_address(name))
            except BadAddress:
                return None
            return None if account is None else account.id

        def is_told(account_id: int) -> bool:
            account = directory.find_by_id(account_id)
            return account is not None and not account.demo and not account.disabled

        return People(account_id_of, is_told, {each.id for each in directory.accounts()})

    async def _tell(self, notice: Notice) -> None:
        account, sender = self.directory.find_by_id(notice.account_id), self.reports.postmaster()
        if account is None or sender is None:
            return
        entry, mail_id = notice.line.entry, new_mail_id(self.now())
        octets = make_notice(
            entry,
            to=account.address,
            sender=sender,
            mail_id=mail_id,
            hostname=self.reports.hostname,
            last=notice.last,
        )
        envelope = Envelope(
            mail_id=mail_id,
            sender=None,
            recipients=(Recipient(account.address, account.id, str(account.address)),),
            parameters=MailParameters(body="7BIT" if octets.isascii() else "8BITMIME"),
            received_at=self.now(),
            priority=0,
        )
        await self.file(envelope, message_of(octets))
        self.counts[entry.event] += 1

    async def stop(self) -> None:
        """What is under way is cut off; the next start tells it."""
        self._stopping = True
        await self._one.close()
