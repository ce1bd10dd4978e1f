"""Mail that is moved out: each mail as it is served, compared with its digest before."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mailnode.cli.ending import Ending
from mailnode.cli.frame import EX_CANTCREAT, EX_INTERRUPTED, Mistake
from mailnode.cli.progress import Course
from mailnode.filenames import safe_name
from mailnode.model import INBOX
from mailnode.portability.archive import ZipWriter
from mailnode.portability.deposits import FileInMaking, MaildirWriter, write_mbox_mail
from mailnode.portability.files import EML
from mailnode.portability.shelf import MOST_ITEMS, Item, Shelf, name_of, numbered
from mailnode.store.accounts import Account
from mailnode.store.copies import Copy, CopyReader, Damaged, Folder, folders_of
from mailnode.store.lists import MAIL_DATABASE, open_mail

FORMATS = ("mbox", "maildir", "eml", "zip")
LISTED = 1000
TOGETHER_OCTETS = 8 << 20


@frozen
class Missing:
    """A mail that is not in the export, and why."""

    mailbox: str
    where: str
    why: str


@define
class Report:
    """What was exported.

    Attributes:
        mails, octets: that are in the export; `new` of them were not there before.
        places: files and folders that were written.
        missing: the first of what could not be read; `missing_count` of all.
    """

    mails: int = 0
    new: int = 0
    octets: int = 0
    places: list[str] = field(factory=list)
    missing: list[Missing] = field(factory=list)
    missing_count: int = 0

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "mails": self.mails,
            "new": self.new,
            "octets": self.octets,
            "written": self.places,
            "missing": [
                {"mailbox": each.mailbox, "where": each.where, "why": each.why}
                for each in self.missing
            ],
            "missing_count": self.missing_count,
        }


@define(eq=False)
class Export:
    """Writes the mail of accounts to somewhere.

    Attributes:
        together: whether there are several, so that each needs a place of its own.
        force: what is there already is replaced.
    """

    reader: CopyReader
    accounts: list[Account]
    path: Path
    together: bool
    force: bool
    course: Course
    ending: Ending
    report: Report = field(factory=Report, init=False)
    _read: int = field(default=0, init=False)
    _total: int = field(default=0, init=False)

    def run(self, form: str) -> None:
        """All of it.

        Raises:
            DepositError, ShelfError: there can be no file or folder of that name.
            Mistake: likewise, or somebody wants it to end.
            MailError: the store can't be read.
            OSError: the export can't be written.
        """
        self._total = sum(
            folder.mails for account in self.accounts for folder in self._folders(account)
        )
        write: dict[str, Callable[[], None]] = {
            "mbox": self._mboxes,
            "maildir": self._maildirs,
            "eml": self._shelf,
            "zip": self._zip,
        }
        write[form]()

    def _folders(self, account: Account) -> list[Folder]:
        return folders_of(self.reader.connection, account.id)

    def _copies(self, account: Account, folder: Folder, after_uid: int = 0) -> Iterator[Copy]:
        """What can be read; the rest stands in the report."""
        for each in self.reader.read(folder, after_uid):
            if self.ending.asked:
                raise Mistake("interrupted: run it again", EX_INTERRUPTED)
            self._read += 1
            if isinstance(each, Damaged):
                self._miss(account, folder, each)
                continue
            yield each
            self.report.mails += 1
            self.report.octets += each.size_octets
            self.course.show(self._read, self._total, self._read)

    def _miss(self, account: Account, folder: Folder, damaged: Damaged) -> None:
        self.report.missing_count += 1
        if len(self.report.missing) < LISTED:
            mail = f" (mail {damaged.mail_id})" if damaged.mail_id else ""
            where = f"{folder.name} uid {damaged.uid}{mail}"
            self.report.missing.append(Missing(str(account.address), where, damaged.why))

    # Forms

    def _mboxes(self) -> None:
        if self.together:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for account in self.accounts:
            path = self.path / f"{place_of(account)}.mbox" if self.together else self.path
            for folder in self._folders(account):
                if folder.name == INBOX or folder.mails:
                    self._mbox(account, folder, path)
            if not self._folders(account):
                with FileInMaking(path, self.force):
                    self.report.places.append(str(path))

    def _mbox(self, account: Account, folder: Folder, path: Path) -> None:
        if folder.name != INBOX:
            path = path.with_name(f"{path.stem}.{_folder_name(folder)}{path.suffix}")
        with FileInMaking(path, self.force) as making:
            for copy in self._copies(account, folder):
                at = copy.received_at
                write_mbox_mail(making.file, copy.sender, at, copy.flags, copy.pieces())
                self.report.new += 1
        self.report.places.append(str(path))

    def _maildirs(self) -> None:
        for account in self.accounts:
            root = self.path / place_of(account) if self.together else self.path
            if root.exists() and any(root.iterdir()) and not (root / "cur").is_dir():
                raise Mistake(f"{root} is there, and is no Maildir; name another", EX_CANTCREAT)
            MaildirWriter(root)
            for folder in self._folders(account):
                own = root if folder.name == INBOX else root / f".{_maildir_name(folder.name)}"
                writer = MaildirWriter(own)
                for copy in self._copies(account, folder):
                    name = f"{copy.mail_id}_{copy.uid}"
                    args = (name, copy.received_at, copy.flags, copy.pieces())
                    self.report.new += writer.add(*args)
            self.report.places.append(str(root))
        os.sync()

    def _shelf(self) -> None:
        with contextlib.closing(Shelf.open(self.path)) as shelf:
            for account in self.accounts:
                for folder in self._folders(account):
                    self.fill(shelf, account, folder)
            shelf.settle()
        self.report.places.append(str(self.path))

    def fill(self, shelf: Shelf, account: Account, folder: Folder) -> None:
        """What the shelf lacks of a folder is there."""
        mailbox = str(folder.folder_id)
        place = place_of(account)
        folders = (place,) if folder.name == INBOX else (place, _folder_name(folder))
        items: list[Item] = []
        octets = 0
        last = shelf.done(mailbox, folder.uidvalidity)
        for copy in self._copies(account, folder, last):
            generation, at = folder.uidvalidity, copy.received_at
            items.append(
                Item(mailbox, generation, copy.uid, folders, copy.subject, at, copy.pieces)
            )
            octets += len(copy.octets or b"")
            if len(items) >= MOST_ITEMS or octets >= TOGETHER_OCTETS:
                self.report.new += shelf.put(items)
                items, octets = [], 0
        if items:
            self.report.new += shelf.put(items)
        shelf.passed(mailbox, folder.uidvalidity, folder.uid_next - 1)

    def _zip(self) -> None:
        numbers = Counter[str]()
        with FileInMaking(self.path, self.force) as making:
            writer = ZipWriter(making.file)
            for account in self.accounts:
                for folder in self._folders(account):
                    parts = [place_of(account)]
                    if folder.name != INBOX:
                        parts.append(_folder_name(folder))
                    base = "/".join(parts)
                    for copy in self._copies(account, folder):
                        name = _unique(numbers, f"{base}/{name_of(copy.subject)}")
                        writer.add(name, copy.received_at, copy.pieces())
                        self.report.new += 1
            writer.close()
        self.report.places.append(str(self.path))


def _unique(numbers: Counter[str], base: str) -> str:
    """A name that none before it had; one with a number may be another subject's own."""
    while True:
        numbers[base] += 1
        name = numbered(base, numbers[base])
        own = name.removesuffix(EML)
        if numbers[base] == 1 or not numbers[own]:
            numbers[own] = max(1, numbers[own])
            return name


def _folder_name(folder: Folder) -> str:
    return safe_name(folder.name, f"folder {folder.folder_id}")


def _maildir_name(folder: str) -> str:
    """A folder's name as a part of a path: levels are parted by dots."""
    return "-".join(folder.split("/")).lstrip(".") or "folder"


def place_of(account: Account) -> str:
    """The name of an account's folder or file; no other account has it."""
    address = str(account.address)
    name = safe_name(address, "mail")
    return name if name == address else f"{name} {account.id}"


@contextlib.contextmanager
def reading_copies(data: Path) -> Iterator[CopyReader]:
    """A reader of a node's mail, beside the node or without it.

    Raises:
        MailError: it can't be read.
    """
    with open_mail(data / MAIL_DATABASE) as connection:
        yield CopyReader(connection, data)
