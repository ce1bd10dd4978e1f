"""Mail that is moved in, from a source to the folders of an account, and what became of it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailnode.bell import ring_from_outside
from mailnode.cli.ending import Ending
from mailnode.cli.frame import EX_DATAERR, EX_INTERRUPTED, told
from mailnode.cli.progress import Course
from mailnode.client.trouble import Denied, NotTrusted, SignInRefused, Unreachable
from mailnode.config import Config
from mailnode.errors import MailError
from mailnode.model import INBOX
from mailnode.portability.letter import Letter, Lost, Spool
from mailnode.portability.sources import Source
from mailnode.store.accounts import Account
from mailnode.store.beside import MAIL_DATABASE, Writer, make_mail_database, writing_beside
from mailnode.store.filing import Filing, Tally, Target
from mailnode.store.locks import writing_blobs
from mailnode.store.spooling import SpooledBlob
from mailnode.store.sqlite import reading

FOLDERS = ("inbox", "all", "keep", "none")
RING_S = 0.5
LISTED = 1000
_LEFT_OUT = {
    "trash", "junk", "spam", "bulk mail", "junk e-mail", "deleted items", "deleted messages",
    "junk email",
}  # fmt: skip


@define
class Report:
    """What became of the mails of a source, or of several.

    Attributes:
        filed, octets: that lie in mailboxes now.
        known: lay there already.
        lost: what could not be taken and why, the first of them; `lost_count` of all.
        folders: how many mails came from each folder, "" for the inbox.
        left_out: how many of each folder were not to be brought.
        unparted: lines of mails that begin a mail elsewhere, but for a blank line before them;
            `unparted_at` is where the first of these mails lay.
        stopped: why it ended before the source did; "" when it didn't.
        exit_code: of the command.
    """

    filed: int = 0
    octets: int = 0
    known: int = 0
    lost: list[Lost] = field(factory=list)
    lost_count: int = 0
    folders: Counter[str] = field(factory=Counter)
    left_out: Counter[str] = field(factory=Counter)
    unparted: int = 0
    unparted_at: str = ""
    stopped: str = ""
    exit_code: int = 0
    seconds: float = 0.0

    def lose(self, lost: Lost) -> None:
        self.lost_count += 1
        if len(self.lost) < LISTED:
            self.lost.append(lost)

    def note(self, letter: Letter) -> None:
        """What is odd about one that was read."""
        if letter.unparted:
            self.unparted += letter.unparted
            self.unparted_at = self.unparted_at or letter.where

    @property
    def is_of_nothing(self) -> bool:
        """Whether there was no mail to read."""
        return not (self.filed or self.known or self.lost_count or self.left_out or self.stopped)

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "filed": self.filed,
            "octets": self.octets,
            "already_there": self.known,
            "not_taken": [{"where": each.where, "why": each.why} for each in self.lost],
            "not_taken_count": self.lost_count,
            "folders": {name or INBOX: count for name, count in self.folders.items()},
            "left_out": dict(self.left_out),
            "unparted_from_lines": self.unparted,
            "stopped": self.stopped or None,
            "seconds": round(self.seconds, 3),
        }


@frozen
class Wish:
    """How it is to be done.

    Attributes:
        folders: one of `FOLDERS`.
        over_quota: nobody's quota counts.
        dry_run: nothing is written.
    """

    folders: str = "inbox"
    over_quota: bool = False
    dry_run: bool = False


@define(eq=False)
class _Nothing:
    """A spool that keeps nothing: large mails are only looked at."""

    def write(self, octets: bytes, /) -> None:
        """It is gone."""

    def discard(self) -> None:
        """There is nothing."""


@define(eq=False)
class Import:
    """Brings mail to accounts; open it with `importing`.

    Attributes:
        report: what was done up to now.
    """

    config: Config
    wish: Wish
    course: Course
    ending: Ending
    writer: Writer | None
    report: Report = field(factory=Report, init=False)
    _filings: dict[tuple[int, str], Filing] = field(factory=dict, init=False)
    _rung_at: float = field(default=0.0, init=False)

    def make_spool(self) -> Spool:
        """Where a large mail goes."""
        if self.writer is None:
            return _Nothing()
        return SpooledBlob(self.config.data_path, self.config.store.free_space)

    def take(self, source: Source, account: Account) -> bool:
        """Whether the work may go on; the report says what became of the mails of a source."""
        try:
            for each in read_source(source):
                if isinstance(each, Lost):
                    self.report.lose(each)
                else:
                    self._take(each, account)
                self.course.show(source.done, source.count, self._mails)
                if self.report.stopped or self.ending.asked:
                    break
            self._flush()
        except MailError as error:
            self._stop(*_told(error))
            with contextlib.suppress(MailError):  # after a fault of the store nothing waits
                self._flush()
        if self.ending.asked and not self.report.stopped:
            self._stop(EX_INTERRUPTED, "it was interrupted; run it again to go on")
        if not self.report.stopped:
            self._filings.clear()  # of many accounts, what one has is not kept for the next
        return not self.report.stopped

    def note(self, lost: Iterable[Lost]) -> None:
        """These are to be told, too."""
        for each in lost:
            self.report.lose(each)

    @property
    def _mails(self) -> int:
        return self.report.filed + self.report.known + self.report.lost_count

    def _stop(self, exit_code: int, why: str) -> None:
        self.report.exit_code, self.report.stopped = exit_code, why

    def _take(self, letter: Letter, account: Account) -> None:
        folder = folder_for(letter.folder, self.wish.folders)
        if folder is None:
            self.report.left_out[letter.folder] += 1
            letter.discard()
            return
        self.report.folders[letter.folder] += 1
        self.report.note(letter)
        filing = self._filing(account, folder)
        if self.writer is None:
            self._count(filing, letter)
            return
        filing.take(letter)
        self._collect(filing)

    def _count(self, filing: Filing, letter: Letter) -> None:
        """What would become of it."""
        if filing.knows(letter):
            self.report.known += 1
        else:
            filing.learn_digest(letter.digest)
            self.report.filed += 1
            self.report.octets += letter.size_octets

    def _flush(self) -> None:
        if self.writer is not None:
            for filing in self._filings.values():
                filing.flush()
                self._collect(filing, ring=True)

    def drop_waiting(self) -> None:
        """What no batch was made of leaves nothing behind."""
        for filing in self._filings.values():
            filing.drop_waiting()

    def _collect(self, filing: Filing, *, ring: bool = False) -> None:
        """What it committed is in the report, and a running node hears of it."""
        tally, filing.tally = filing.tally, Tally()
        self.report.filed += tally.filed
        self.report.octets += tally.octets
        self.report.known += tally.known
        if tally.filed:
            now = time.monotonic()
            if ring or now - self._rung_at > RING_S:
                self._rung_at = now
                ring_from_outside(self.config.data_path, "mail")
        if tally.over_quota:
            self._stop_full(filing.target.mailbox, tally.over_quota)

    def _stop_full(self, whose: str, over: Iterable[Letter]) -> None:
        for letter in over:
            self.report.lose(Lost(letter.where, f"it is over the quota of {whose}"))
        self._stop(
            EX_DATAERR,
            f"the mailbox of {whose} is full: `mailnode user quota` gives it more room, "
            "--over-quota goes on all the same; then run it again",
        )

    def _filing(self, account: Account, folder: str) -> Filing:
        key = account.id, folder
        if key in self._filings:
            return self._filings[key]
        octets, mails = self.config.quota.octets, self.config.quota.mails
        octets = octets if account.quota_octets is None else account.quota_octets
        mails = mails if account.quota_mails is None else account.quota_mails
        if self.wish.over_quota:
            octets = mails = 0
        target = Target(account.id, str(account.address), folder, octets, mails)
        data = self.config.data_path
        filing = Filing(self.writer, data, target, self.config.store.free_space)
        if (data / MAIL_DATABASE).exists():
            with reading(data / MAIL_DATABASE) as connection:
                filing.learn(connection)
        self._filings[key] = filing
        return filing


def read_source(source: Source) -> Iterator[Letter | Lost]:
    """All that can be read of it. What fails at who takes a mail is another matter than this."""
    try:
        source.measure()
        yield from source
    except OSError as error:
        why = f"{error.strerror or error}: what follows can't be read"
        yield Lost(str(error.filename or "the source"), why)


def _told(error: MailError) -> tuple[int, str]:
    """(exit code, the line) of a fault of the store, or of the server that mail comes from."""
    if isinstance(error, Unreachable | NotTrusted | SignInRefused | Denied):
        return error.exit_code, error.text
    return told(error)


@contextlib.contextmanager
def importing(config: Config, wish: Wish, course: Course, ending: Ending) -> Iterator[Import]:
    """An import into a node's data folder, beside the node or without it.

    Raises:
        MailError: the store can't be written.
    """
    if wish.dry_run:
        work = Import(config, wish, course, ending, None)
        yield work
        work.report.seconds = time.monotonic() - course.began_at
        return
    data: Path = config.data_path
    make_mail_database(data)
    with writing_blobs(data), writing_beside(data / MAIL_DATABASE) as writer:
        work = Import(config, wish, course, ending, writer)
        try:
            yield work
        finally:
            work.drop_waiting()
            work.report.seconds = time.monotonic() - course.began_at


def folder_for(name: str, wish: str) -> str | None:
    """Where the mails of a folder go; None: nowhere.

    POP3 shows the inbox alone, so everything comes there, but for what its owner threw away.
    """
    if not name:
        return INBOX
    last = name.rpartition(".")[2].casefold()
    if wish == "none" or (wish == "inbox" and last in _LEFT_OUT):
        return None
    return name if wish == "keep" else INBOX
