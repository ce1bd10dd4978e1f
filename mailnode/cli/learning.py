"""Mails of files, or of folders, become lessons; a few hundred at a time, as the node's own do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from mailnode.cli.ending import Ending
from mailnode.cli.importing import LISTED, read_source
from mailnode.cli.progress import Course
from mailnode.learning.features import MAIL_OCTETS, Likeness, likeness_of
from mailnode.learning.model import UNWANTED, WANTED
from mailnode.portability.letter import Letter, Lost
from mailnode.portability.sources import Source
from mailnode.store.beside import MAIL_DATABASE
from mailnode.store.lessons import COMMAND, lessons_of, mails_in_folders
from mailnode.store.models import FORGOTTEN, NODE, Changing, ModelFiles
from mailnode.store.sqlite import reading
from mailnode.teaching import learn

AT_ONCE = 250  # behind them the models are written, and others may change them


@define
class Report:
    """What became of the mails.

    Attributes:
        read: mails in all.
        learned: those that were a lesson; the others had been learned so already.
        lost, lost_count: what could not be read, and why: the first, and how many.
        interrupted: somebody ended it.
    """

    read: int = 0
    learned: int = 0
    lost: list[Lost] = field(factory=list)
    lost_count: int = 0
    interrupted: bool = False

    def lose(self, lost: Lost) -> None:
        self.lost_count += 1
        if len(self.lost) < LISTED:
            self.lost.append(lost)

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "read": self.read,
            "learned": self.learned,
            "not_read": [{"where": each.where, "why": each.why} for each in self.lost],
            "not_read_count": self.lost_count,
            "interrupted": self.interrupted,
        }


@define(eq=False)
class Beginning:
    """A spool that keeps what of a large mail is looked at."""

    octets: bytes = b""

    def write(self, octets: bytes, /) -> None:
        self.octets += octets[: MAIL_OCTETS - len(self.octets)]

    def discard(self) -> None:
        """Nothing lies on a disk."""


@define(eq=False)
class FileLessons:
    """Teaches one model mails that are of one kind.

    Attributes:
        account_id: 0 for the node's.
        forget: lessons of that kind are taken back instead.
    """

    files: ModelFiles
    account_id: int
    label: str
    forget: bool
    course: Course
    ending: Ending
    report: Report = field(factory=Report, init=False)
    _waiting: list[Likeness] = field(factory=list, init=False)

    def take(self, source: Source) -> bool:
        """All mails of a source; whether to go on with another."""
        for each in read_source(source):
            if isinstance(each, Lost):
                self.report.lose(each)
                continue
            self.report.read += 1
            self._waiting.append(likeness_of(_octets_of(each)))
            if len(self._waiting) >= AT_ONCE:
                self.flush()
            self.course.show(source.done, source.count, self.report.read)
            if self.ending.asked:
                self.report.interrupted = True
                return False
        return True

    def flush(self) -> None:
        """The model has what was read so far, durably.

        Raises:
            OSError
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            with self.files.changing() as changing:
                assert changing is not None
                learned = sum(self._teach(changing, each) for each in waiting)
                if learned:
                    changing.write(self.account_id)
            self.report.learned += learned

    def _teach(self, changing: Changing, likeness: Likeness) -> bool:
        if not self.forget:
            learned = changing.teach(self.account_id, likeness, self.label)
        elif changing.model(self.account_id).taught(likeness) != self.label:
            return False
        else:
            learned = changing.forget(self.account_id, likeness)
        if learned:
            changing.count(FORGOTTEN if self.forget else COMMAND, self.label)
        return learned


def _octets_of(letter: Letter) -> bytes:
    if isinstance(letter.spool, Beginning):
        return letter.spool.octets
    return letter.octets or b""


@define
class FolderReport:
    """What an account's folders taught; `left`: somebody ended it before these."""

    mailbox: str
    wanted: int = 0
    unwanted: int = 0
    left: int = 0


def learn_folders(
    data: Path, accounts: Sequence[tuple[int, str]], course: Course, ending: Ending
) -> list[FolderReport]:
    """The mails of these accounts teach their models and the node's, by the folders they lie in.

    Args:
        accounts: (id, address) of each.

    Raises:
        MailError, OSError: those before are learned.
    """
    files, reports = ModelFiles(data), []
    done = 0
    with reading(data / MAIL_DATABASE) as connection:
        total = sum(len(mails_in_folders(connection, each)) for each, _ in accounts)
        for account_id, address in accounts:
            mails = mails_in_folders(connection, account_id)  # of one at a time: 100 octets each
            report = FolderReport(address, left=len(mails))
            reports.append(report)
            for at in range(0, len(mails), AT_ONCE):
                if ending.asked:
                    break
                lessons = lessons_of(connection, account_id, mails[at : at + AT_ONCE])
                with files.changing() as changing:
                    assert changing is not None
                    learn(changing, data, lessons)
                labels = [each.label for each in lessons]
                report.wanted += labels.count(WANTED)
                report.unwanted += labels.count(UNWANTED)
                report.left -= len(mails[at : at + AT_ONCE])
                done += len(mails[at : at + AT_ONCE])
                course.show(done, total, done)
    return reports


def model_of(account_id: int) -> str:
    """What to call it where no account of that id is known."""
    return "node" if account_id == NODE else f"account {account_id}, deleted"
