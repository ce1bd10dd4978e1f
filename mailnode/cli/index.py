"""`index`: how far the indexes of mailboxes are, and making them anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.frame import EX_TEMPFAIL, Mistake, NodeCommand, NodeGroup, answer_json, config_of
from mailnode.cli.node import open_accounts, require_mail, running_node
from mailnode.cli.progress import course_of
from mailnode.config import Config
from mailnode.store.accounts import Account
from mailnode.store.index_asking import Progress, progress_of
from mailnode.store.index_files import IndexFiles, empty, index_path, size_octets
from mailnode.store.indexing import Rest, bring_up_to_date
from mailnode.store.sqlite import damage_error

STEPS = 4


@click.group(cls=NodeGroup, example="mailnode index status")
def index() -> None:
    """What lists and search know of the mail; all of it can be made anew."""


@index.command("status", cls=NodeCommand, example="mailnode index status carol@example.org")
@click.argument("address", required=False)
@click.pass_context
def index_status(ctx: click.Context, address: str | None) -> None:
    """Show how much of each mailbox is indexed, and how large that is."""
    config = config_of(ctx)
    accounts = _accounts(ctx, address)
    require_mail(config)
    with index_errors(), closing(IndexFiles(config.data_path, 1)) as files:
        rows = [_row(config, files, account) for account in accounts]
    if answer_json(ctx, rows):
        return
    output.show_table(
        ["mailbox", "indexed", "of", "size", ""],
        [
            (
                row["mailbox"],
                str(row["indexed"]),
                str(row["mails"]),
                output.size(row["octets"]),
                "" if row["done"] else "not all yet: a running node goes on, or index rebuild",
            )
            for row in rows
        ],
        right=["indexed", "of", "size"],
    )


def _row(config: Config, files: IndexFiles, account: Account) -> dict[str, Any]:
    progress = Progress(is_done=True)
    with files.use(account.id) as file:
        progress = progress_of(file.connection, account.id)
    octets = size_octets(config.data_path, account.id)
    return {
        "mailbox": str(account.address),
        "account_id": account.id,
        "indexed": progress.indexed,
        "mails": progress.mails,
        "done": progress.is_done,
        "octets": octets,
        "file": str(index_path(config.data_path, account.id)),
    }


@index.command("rebuild", cls=NodeCommand, example="mailnode index rebuild carol@example.org")
@click.argument("address", required=False)
@click.pass_context
def index_rebuild(ctx: click.Context, address: str | None) -> None:
    """Make the index of an account, or of all, anew from the mail.

    A node does that by itself where one is missing, damaged or of another version. It may run
    meanwhile: its searches find what is indexed so far. Stopped, the work is gone on with by the
    node or by the next search.
    """
    config = config_of(ctx)
    accounts = _accounts(ctx, address)
    require_mail(config)
    rows = []
    with index_errors(), closing(IndexFiles(config.data_path, 1)) as files:
        for account in accounts:
            with files.use(account.id) as file:
                empty(file.connection)
            fill_index(ctx, files, account.id)
            rows.append(_row(config, files, account))
    if answer_json(ctx, rows):
        return
    for row in rows:
        output.say(f"{row['mailbox']}: {output.count(row['indexed'], 'mail')} indexed")


def fill_index(ctx: click.Context, files: IndexFiles, account_id: int) -> None:
    """What isn't in the account's index yet, is; a bar shows how far it is.

    Raises:
        MailError, sqlite3.Error, OSError.
    """
    runs = running_node(config_of(ctx)) is not None
    rest = Rest() if runs else lambda: None
    with course_of("indexing") as course:
        begun_with = -1
        while not bring_up_to_date(files, account_id, rest, STEPS):
            with files.use(account_id) as file:
                progress = progress_of(file.connection, account_id)
            begun_with = progress.indexed if begun_with < 0 else begun_with
            course.show(progress.indexed, progress.mails, progress.indexed - begun_with)


@contextmanager
def index_errors() -> Iterator[None]:
    """What SQLite says of an index is told as the store's faults are."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        told = damage_error(error)
        if told is error:
            raise Mistake(f"the index can't be used now: {error}", EX_TEMPFAIL) from error
        raise told from error


def _accounts(ctx: click.Context, address: str | None) -> list[Account]:
    with open_accounts(ctx) as accounts:
        return accounts.accounts() if address is None else [accounts.account(address)]
