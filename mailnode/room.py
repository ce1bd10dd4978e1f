"""Room for mail: on the disk, and in each mailbox (quota)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from attrs import define, field
from twisted.logger import Logger

from mailnode.settings import QuotaSettings

_log = Logger(namespace="mailnode")


BODIES_OCTETS = 256 << 20  # of all bodies on their way in that are in memory, about
LEAST_SHARE_OCTETS = 16 << 10  # most mails are smaller, and a file for each would cost much


def body_share(wanted_octets: int, sessions: int) -> int:
    """How much of one body may be in memory when so many sessions are open."""
    share = max(LEAST_SHARE_OCTETS, BODIES_OCTETS // max(1, sessions))
    return min(wanted_octets, share)


class Owner(Protocol):
    """What counts of an account; None is the node's default, 0 no limit."""

    @property
    def id(self) -> int: ...
    @property
    def quota_octets(self) -> int | None: ...
    @property
    def quota_mails(self) -> int | None: ...


@define(eq=False)
class Room:
    """Says whether there is room for one more mail.

    Attributes:
        data: the folder whose disk counts.
        usage: octets and mails that an account has.
        quota: of mailboxes without their own.
        least_free_octets: with less on the disk no mail is taken.
        on_disk: False while there is less, or while nobody can say.
    """

    data: Path
    usage: Callable[[int], tuple[int, int]]
    quota: QuotaSettings = field(factory=QuotaSettings)
    least_free_octets: int = 0
    on_disk: bool = field(default=True, init=False)

    def look(self) -> None:
        """Look at the disk; the log hears when that changes what is answered."""
        try:
            disk = os.statvfs(self.data)
        except OSError as error:
            self._answer(False, f"the data folder can't be looked at: {error}")
            return
        has_room = disk.f_bavail * disk.f_frsize >= self.least_free_octets
        self._answer(has_room, f"less than {self.least_free_octets} octets are free on the disk")

    def _answer(self, has_room: bool, why_not: str) -> None:
        if has_room == self.on_disk:
            return
        self.on_disk = has_room
        if has_room:
            _log.info("the disk has room again: mail is taken")
        else:
            _log.error("{why}: MAIL is answered 452", why=why_not)

    def in_mailbox(self, owner: Owner, size_octets: int) -> bool:
        """Whether a mail of that size fits the quota; 0 octets is a size that nobody told."""
        octets = self.quota.octets if owner.quota_octets is None else owner.quota_octets
        mails = self.quota.mails if owner.quota_mails is None else owner.quota_mails
        if not octets and not mails:
            return True
        used_octets, used_mails = self.usage(owner.id)
        if octets and used_octets + max(size_octets, 1) > octets:
            return False
        return not (mails and used_mails >= mails)
