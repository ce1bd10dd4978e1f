"""`export --follow`: files of mail that are up to date as mail comes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import click
from attrs import define, field

from mailnode.cli import output
from mailnode.cli.ending import Ending, heeding_signals
from mailnode.cli.exporting import Export, place_of
from mailnode.cli.frame import config_of, wants_json
from mailnode.cli.node import open_accounts
from mailnode.cli.progress import Course
from mailnode.config import Config
from mailnode.errors import NotFound, StoreBusy
from mailnode.portability.shelf import Shelf
from mailnode.store.accounts import Account
from mailnode.store.copies import CopyReader, folders_of
from mailnode.store.lists import MAIL_DATABASE, open_mail

BUSY_S = 1.0
LOOK_S = 0.25
ACCOUNTS_S = 2.0


def follow(
    ctx: click.Context, accounts: list[Account], addresses: Sequence[str] | None, path: Path
) -> None:
    """Until SIGINT or SIGTERM; then the state says what is there.

    Args:
        addresses: whose mail; None: everybody's, those that come later included.

    Raises:
        ShelfError: the folder can't be used.
        MailError: the store can't be read.
    """
    config = config_of(ctx)
    with heeding_signals() as ending:
        follower = Follower(ctx, config, path, ending, accounts, addresses)
        while not ending.asked:
            try:
                with open_mail(config.data_path / MAIL_DATABASE) as connection:
                    follower.watch(connection)
            except StoreBusy as error:  # as while another program begins or ends with it
                click.echo(f"mailnode: {error}; it is tried again", err=True)
                time.sleep(BUSY_S)
    if not wants_json(ctx):
        output.say(f"ended; {path} is up to date to here, and is gone on with by the same command")


@define(eq=False)
class Follower:
    """Looks for what is new, and puts it on the shelf in `path`."""

    ctx: click.Context
    config: Config
    path: Path
    ending: Ending
    accounts: list[Account]
    addresses: Sequence[str] | None
    _uids: dict[int, tuple[int, int]] = field(factory=dict, init=False)
    _accounts_at: float = field(factory=time.monotonic, init=False)
    _begun: bool = field(default=False, init=False)

    def watch(self, connection: sqlite3.Connection) -> None:
        """Until the end, or until another file is the database.

        Raises:
            StoreBusy: begin anew.
        """
        with contextlib.closing(Shelf.open(self.path)) as shelf:
            self._watch(connection, shelf)
            shelf.settle()

    def _watch(self, connection: sqlite3.Connection, shelf: Shelf) -> None:
        database = self.config.data_path / MAIL_DATABASE
        file, version = database.stat().st_ino, -1
        reader = CopyReader(connection, self.config.data_path)
        while not self.ending.asked:
            (now,) = connection.execute("PRAGMA data_version").fetchone()
            changed, version = now != version, now
            if self._new_accounts() or changed:
                self._take_up(reader, shelf)
            if not self._begun:
                self._begun = True
                self._tell_begun()
            if database.stat().st_ino != file:
                return
            if not self.ending.asked:
                time.sleep(LOOK_S)

    def _new_accounts(self) -> bool:
        """Whether there are others than before; looked for now and then."""
        if self.addresses is not None or time.monotonic() - self._accounts_at < ACCOUNTS_S:
            return False
        self._accounts_at = time.monotonic()
        before = {account.id for account in self.accounts}
        with contextlib.suppress(NotFound), open_accounts(self.ctx) as accounts:
            self.accounts = accounts.accounts()
        return {account.id for account in self.accounts} != before

    def _take_up(self, reader: CopyReader, shelf: Shelf) -> None:
        for account in self.accounts:
            for folder in folders_of(reader.connection, account.id):
                if self.ending.asked:
                    return
                now = folder.uidvalidity, folder.uid_next
                if self._uids.get(folder.folder_id) == now:
                    continue
                work = Export(reader, [account], self.path, True, False, Course(), Ending())
                work.fill(shelf, account, folder)
                shelf.settle()
                self._uids[folder.folder_id] = now
                self._tell(account, work)

    def _tell(self, account: Account, work: Export) -> None:
        report = work.report
        if not report.new and not report.missing_count:
            return
        if wants_json(self.ctx):
            click.echo(json.dumps({"account": str(account.address), **report.facts()}))
            return
        where = self.path / place_of(account)
        output.say(f"{output.when(time.time())}  {output.count(report.new, 'mail')} into {where}")
        for each in report.missing:
            output.say(f"  not exported: {each.where}: {each.why}", "red")

    def _tell_begun(self) -> None:
        if not wants_json(self.ctx):
            output.say(f"{self.path} is up to date; what comes is added, until Ctrl-C")
