"""What happens in an account's folders, told to whoever listens: browsers, programs, who waits.

That something has changed is a hint from the store; what it was is read from the folders, once for
all who listen to the account. What was told lately is kept, so who comes back misses nothing.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mailnode.background import background
from mailnode.errors import MailError
from mailnode.web.outflow import pour

if TYPE_CHECKING:
    from mailnode.store.folder_lists import Copy, Folder
    from mailnode.store.folders import Folders
    from mailnode.web.changes import Changes
    from mailnode.web.requests import WebRequest

GATHER_S = 0.1  # so long after a hint the folders are read
AGAIN_S = 1.0  # and again where they could not be
KEPT_EVENTS = 256  # of an account
KEEP_S = 300.0  # for whom nobody listens to
MOST_NEW = 50  # mails of one folder that are told one by one
MOST_LISTENERS, MOST_OF_ACCOUNT = 2_000, 50
PING_S = 20.0
KIND = "text/event-stream; charset=utf-8"

_log = Logger()


class TooManyListen(MailError):
    smtp_code, enhanced, http_status = 450, "4.7.1", 429
    text = "Too many listen or wait already; end some, or come back later"
    retry_after_s = 10


@frozen
class Happening:
    """One thing that is told.

    Attributes:
        number: ascending within the account.
        kind: "mail" (a mail came to a folder), "flags" (a folder holds other mails, or they are
            marked otherwise), "folders" (there are others, or they have other names), "reset"
            (more has happened than is told: look at everything again).
        facts: JSON values.
    """

    number: int
    kind: str
    facts: Mapping[str, Any] = field(factory=dict)


@define(eq=False)
class Listener:
    """One who listens to an account; closed when he leaves."""

    _watched: Watched
    _waiting: Deferred[None] | None = field(default=None, init=False)
    _told: deque[Happening] = field(factory=lambda: deque(maxlen=KEPT_EVENTS), init=False)
    _lost: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    async def next(self, within_s: float) -> list[Happening]:
        """What has happened since the last call, or does within that time; [] for nothing."""
        if not self._told and not self._lost and not self._closed:
            waiting: Deferred[None] = Deferred()
            self._waiting = waiting
            clock = self._watched.home.clock
            due = clock.callLater(within_s, self._wake)
            try:
                await waiting
            finally:
                self._waiting = None
                if due.active():
                    due.cancel()
        told, self._told = list(self._told), deque(maxlen=KEPT_EVENTS)
        if self._lost:
            self._lost, last = False, self._watched.number
            return [Happening(last, "reset"), *(each for each in told if each.number > last)]
        return told

    def hear(self, happening: Happening) -> None:
        """Called for each, in order."""
        if len(self._told) == KEPT_EVENTS:
            self.lose()
        self._told.append(happening)
        self._wake()

    def lose(self) -> None:
        """Not everything can be told to him."""
        self._told.clear()
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def close(self) -> None:
        """Nothing more is told to him."""
        if not self._closed:
            self._closed = True
            self._watched.left(self)
            self._wake()

    def mark(self, happening: Happening) -> str:
        """What a client says, as Last-Event-ID, to be told what came behind it."""
        return f"{self._watched.home.epoch}-{happening.number}"


@define(eq=False)
class Watched:
    """An account that somebody listens to, or did a short while ago.

    Attributes:
        number: of the newest happening.
    """

    home: Happenings
    account_id: int
    number: int = 0
    listeners: set[Listener] = field(factory=set)
    kept: deque[Happening] = field(factory=lambda: deque(maxlen=KEPT_EVENTS))
    unlisten: Callable[[], object] = field(default=lambda: None)
    _known: dict[int, Folder] | None = None
    _due: IDelayedCall | None = None
    _reading: bool = False
    _stale: bool = False

    async def begin(self) -> None:
        """The folders are known as they are; what changes from now on is told."""
        if self._known is None and not self._reading:
            await self._look()

    def changed(self, after_s: float = GATHER_S) -> None:
        if self._reading:
            self._stale = True
        elif self._due is None:
            self._due = self.home.clock.callLater(after_s, self._begin_look)

    def _begin_look(self) -> None:
        self._due = None
        background(self._look_again(), "looking what has happened in folders")

    async def _look_again(self) -> None:
        was_known = self._known is not None
        try:
            await self._look()
        except MailError as error:  # the store says so itself
            _log.warn("what happened in folders is told later: {error}", error=error)
            self.changed(AGAIN_S)
            return
        if not was_known:  # the first look had failed: nobody knows what was missed
            self._lose()

    async def _look(self) -> None:
        self._reading, self._stale = True, False
        try:
            folders = await self.home.folders.folders(self.account_id)
            known, now = self._known, {each.folder_id: each for each in folders}
            if known is not None:
                for folder in folders:
                    before = known.get(folder.folder_id)
                    if before is None or before.modseq == folder.modseq:
                        continue
                    if folder.uid_next > before.uid_next:
                        await self._tell_new(before, folder)
                    self._tell("flags", _counts(folder))
                if {each: f.name for each, f in known.items()} != {f.folder_id: f.name
                                                                  for f in folders}:  # fmt: skip
                    self._tell("folders", {})
            self._known = now
        finally:
            self._reading = False
        if self._stale:
            self.changed()

    async def _tell_new(self, before: Folder, folder: Folder) -> None:
        new = await self.home.folders.page(
            self.account_id, folder.folder_id, after=before.uid_next - 1, limit=MOST_NEW + 1
        )
        if len(new) > MOST_NEW:
            self._lose()
            return
        for copy in reversed(new):
            self._tell("mail", _facts(copy, folder))

    def _lose(self) -> None:
        """More has happened than is told, also to who comes back with an older mark."""
        self.number += 1
        self.kept.clear()
        for listener in list(self.listeners):
            listener.lose()

    def _tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        self.number += 1
        happening = Happening(self.number, kind, facts)
        self.kept.append(happening)
        for listener in list(self.listeners):
            listener.hear(happening)

    def left(self, listener: Listener) -> None:
        self.listeners.discard(listener)
        if not self.listeners:
            self.home.nobody_listens(self)

    def stop(self) -> None:
        self.unlisten()
        if self._due is not None:
            self._due.cancel()
            self._due = None


@define(eq=False)
class Happenings:
    """What happens in the folders of all accounts that somebody listens to.

    Args:
        changes: tells which folders have changed.
        clock: the reactor's.

    Attributes:
        epoch: of this process: marks of another one are not known here.
    """

    folders: Folders
    changes: Changes
    clock: Any
    epoch: str = field(factory=lambda: secrets.token_hex(4))
    _watched: dict[int, Watched] = field(factory=dict, init=False)
    _leaving: dict[int, IDelayedCall] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        """How many listen."""
        return sum(len(each.listeners) for each in self._watched.values())

    async def listen(self, account_id: int, mark: str = "") -> Listener:
        """Listen to an account, from behind a mark on, or from now on; whoever does closes it.

        Raises:
            TooManyListen, StoreBusy, StoreBroken.
        """
        watched = self._watched.get(account_id)
        there = len(watched.listeners) if watched is not None else 0
        if there >= MOST_OF_ACCOUNT or len(self) >= MOST_LISTENERS:
            raise TooManyListen()
        if watched is None:
            watched = self._watched[account_id] = Watched(self, account_id)
            watched.unlisten = self.changes.listen(account_id, lambda _: watched.changed())
        leaving = self._leaving.pop(account_id, None)
        if leaving is not None:
            leaving.cancel()
        listener = Listener(watched)
        self._begin(watched, listener, mark)
        try:
            await watched.begin()
        except BaseException:
            listener.close()
            raise
        return listener

    def _begin(self, watched: Watched, listener: Listener, mark: str) -> None:
        if mark:
            epoch, _, number = mark.rpartition("-")
            known = epoch == self.epoch and number.isascii() and number.isdigit()
            last = int(number[:18]) if known else -1
            oldest = watched.kept[0].number if watched.kept else watched.number + 1
            if oldest - 1 <= last <= watched.number:
                for happening in watched.kept:
                    if happening.number > last:
                        listener.hear(happening)
            else:
                listener.lose()
        watched.listeners.add(listener)

    def nobody_listens(self, watched: Watched) -> None:
        """He may come back; the account is watched a while longer."""
        account_id = watched.account_id
        if account_id not in self._leaving:
            self._leaving[account_id] = self.clock.callLater(KEEP_S, self._forget, account_id)

    def _forget(self, account_id: int) -> None:
        self._leaving.pop(account_id, None)
        watched = self._watched.pop(account_id, None)
        if watched is not None:
            watched.stop()

    def stop(self) -> None:
        """Nothing is told any more."""
        for account_id in list(self._watched):
            watched = self._watched[account_id]
            for listener in list(watched.listeners):
                listener.close()
            leaving = self._leaving.get(account_id)
            if leaving is not None:
                leaving.cancel()
            self._forget(account_id)


def _counts(folder: Folder) -> dict[str, Any]:
    return {"folder": folder.folder_id, "name": folder.name, "mails": folder.mails,
            "unread": folder.unread}  # fmt: skip


def _facts(copy: Copy, folder: Folder) -> dict[str, Any]:
    return {
        "id": f"{copy.folder_id}-{copy.uid}",
        "mail_id": copy.mail_id,
        "folder": copy.folder_id,
        "folder_name": folder.name,
        "uid": copy.uid,
        "sender": copy.sender,
        "recipient": copy.recipient,
        "subject": copy.subject,
        "size_octets": copy.size_octets,
    }


# As server-sent events


def frames(listener: Listener, happenings: list[Happening]) -> Iterator[bytes]:
    """As a browser's EventSource reads them."""
    for each in happenings:
        data = json.dumps(each.facts)
        yield f"id: {listener.mark(each)}\nevent: {each.kind}\ndata: {data}\n\n".encode()


def produces(
    listener: Listener, may_listen: Callable[[], Awaitable[bool]]
) -> Callable[[WebRequest], Awaitable[None]]:
    """Writes events until the client goes, or may listen no more; for `Answer.produce`.

    Args:
        may_listen: asked again every now and then.
    """

    async def produce(request: WebRequest) -> None:
        began = False

        async def next_frames() -> bytes:
            nonlocal began
            if not await may_listen():
                return b""
            if not began:
                began = True
                return b"retry: 3000\n\n"
            told = await listener.next(PING_S)
            if told and not await may_listen():
                return b""
            return b"".join(frames(listener, told)) or b":\n\n"

        try:
            await pour(request, next_frames)
        finally:
            listener.close()

    return produce
