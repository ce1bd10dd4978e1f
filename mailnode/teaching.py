"""Moves teach: what owners move into Junk, or out of it, becomes lessons of their and the node's
models.

One process of the node does it, behind the journal: how far it came is kept with the models, so
what was moved while nobody taught is learned later. A lesson that is learned twice is one lesson.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mailnode.background import background
from mailnode.errors import MailError
from mailnode.learning.features import Likeness, likeness_of
from mailnode.store.database import Database
from mailnode.store.directory import LiveDirectory
from mailnode.store.lessons import Lesson, Lessons, read_lessons
from mailnode.store.models import NODE, Changing, ModelFiles

LOOK_S = 2.0
NOTE_ROWS = 20_000  # of others, behind which it is noted how far the journal was read

_log = Logger(namespace="mailnode")


@define(eq=False)
class Teacher:
    """Teaches the models of one node.

    Attributes:
        data: the node's folder.
        directory: of accounts that are gone nothing is learned.
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
    """

    data: Path
    database: Database
    directory: LiveDirectory
    in_thread: Callable[..., Deferred[Any]]
    _files: ModelFiles = field(init=False)
    _row: int = field(init=False)  # up to which the journal was read
    _noted: int = field(init=False)
    _running: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)
    _ended: Deferred[None] | None = field(default=None, init=False)
    _trouble: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._files = ModelFiles(self.data)
        self._row = self._noted = self._files.taught_up_to()

    def look(self) -> None:
        """What was moved since the last look is learned, if nobody else is at it."""
        if not self._running and not self._stopping:
            self._running = True
            background(self._look(), "learning from moved mail")

    def stop(self) -> Deferred[None]:
        """Nothing more is learned; fires once what is under way is."""
        self._stopping = True
        if not self._running:
            return succeed(None)
        self._ended = Deferred()
        return self._ended

    async def _look(self) -> None:
        try:
            await self._teach()
            self._trouble = ""
        except (MailError, OSError) as error:  # the store tells of its own
            if isinstance(error, OSError) and str(error) != self._trouble:
                self._trouble = str(error)
                _log.warn("what was moved is learned later: {why}", why=self._trouble)
        finally:
            self._running = False
            if self._ended is not None:
                self._ended.callback(None)

    async def _teach(self) -> None:
        is_last = False
        while not is_last and not self._stopping:
            found = await self.database.read(partial(read_lessons, after=self._row))
            if found.lessons or abs(found.up_to - self._noted) >= NOTE_ROWS:
                if not await self._learned(found):
                    return  # a program beside the node changes the models
                self._noted = found.up_to
            self._row, is_last = found.up_to, found.is_last

    async def _learned(self, found: Lessons) -> bool:
        """Whether it need not be tried again."""
        try:
            learned: bool = await self.in_thread(self._learn, found.lessons, found.up_to)
        except (MailError, OSError):
            raise
        except Exception:  # one mail must not keep all others from being learned
            _log.failure("moves up to row {row} of the journal taught nothing", row=found.up_to)
            return True
        return learned

    # In a thread

    def _learn(self, lessons: Sequence[Lesson], up_to: int) -> bool:
        """The models have them, and it is noted, durably; False: they are in other hands."""
        known = [each for each in lessons if self.directory.find_by_id(each.account_id)]
        with self._files.changing(wait=False) as changing:
            if changing is None:
                return False
            if known:
                learn(changing, self.data, known)
            self._files.note_taught(up_to)
        return True


def learn(changing: Changing, data: Path, lessons: Sequence[Lesson]) -> None:
    """The accounts' models have these lessons, and the node's; one account's in memory at a time.

    An account learns before the node does: else the node would know its mail already, and nothing
    would be left for it to learn.

    Raises:
        OSError: some of them have, and learn nothing anew from a lesson that comes again.
    """
    by_account: dict[int, list[Lesson]] = {}
    for lesson in lessons:
        by_account.setdefault(lesson.account_id, []).append(lesson)
    for account_id, own in by_account.items():
        read: list[tuple[Lesson, Likeness]] = []
        for lesson in own:
            octets = lesson.mail.read(data)
            if octets is not None:
                read.append((lesson, likeness_of(octets, lesson.mail.facts)))
        new = [changing.teach(account_id, mail, each.label) for each, mail in read]
        changing.write(account_id)
        changing.put_back(account_id)
        for (lesson, likeness), is_new in zip(read, new, strict=True):
            if changing.teach(NODE, likeness, lesson.label) or is_new:
                changing.count(lesson.by, lesson.label)
    changing.write(NODE)
