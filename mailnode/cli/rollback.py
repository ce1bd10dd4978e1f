"""`rollback`: back to the databases of before an upgrade."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.frame import EX_DATAERR, Mistake, NodeCommand, answer_json, config_of
from mailnode.cli.node import lock_stopped_node
from mailnode.config import Config
from mailnode.store.exchange import KEPT, finish_exchange, fresh_folder
from mailnode.store.lists import MAIL_DATABASE
from mailnode.store.rollback import RolledBack, newest_copies, roll_back
from mailnode.store.sqlite import mail_error
from mailnode.store.upgrade import KEEP_S


@click.command(cls=NodeCommand, example="mailnode rollback")
@click.pass_context
def rollback(ctx: click.Context) -> None:
    """Go back to the databases as they were before an upgrade.

    For seven days after an upgrade, with the node stopped. Mail that came since lies as files
    beside the newer databases, which are kept; the answer says where. Install the older version
    before the node starts again, or it upgrades anew.
    """
    config = config_of(ctx)
    lock = lock_stopped_node(config)
    try:
        done = _roll_back_all(config)
    except sqlite3.Error as error:
        raise mail_error(error) from error
    finally:
        os.close(lock)
    if not answer_json(ctx, {"rolled_back": [_facts(each) for each in done]}):
        for each in done:
            _say(each)
        output.say("now install the version of mailnode that ran before, and start the node")


def _roll_back_all(config: Config) -> list[RolledBack]:
    data, kept = config.data_path, config.data_path / KEPT
    paths = (data / MAIL_DATABASE, config.users_path)
    for path in paths:
        finish_exchange(path)
    found = newest_copies(paths, kept)
    if not found:
        days = int(KEEP_S // 86400)
        raise Mistake(
            f"there is nothing to go back to in {kept}: a copy is made by an upgrade and kept for "
            f"{days} days",
            EX_DATAERR,
        )
    aside = fresh_folder(kept, "rollback")
    return [roll_back(path, copy, data, aside) for path, copy in found.items()]


def _facts(done: RolledBack) -> dict[str, Any]:
    return {
        "database": done.copy.database,
        "from_schema": done.version_before,
        "to_schema": done.copy.version,
        "as_of": done.copy.stamp,
        "newer_kept_in": str(done.kept),
        "mails_since": [str(path) for path in done.mails],
        "queued_since": [str(path) for path in done.queued],
        "unreadable_since": done.unreadable,
        "deleted_since": done.deleted_since,
        "made_since": done.accounts,
        "not_taken_along": done.lost_accounts,
        "back_disabled": done.back_disabled,
    }


def _say(done: RolledBack) -> None:
    copy = done.copy
    output.say(
        f"{copy.database} is back to schema {copy.version} as of {copy.stamp}; "
        f"the one of schema {done.version_before} is kept as {done.kept}"
    )
    if done.mails:
        count = output.count(len(done.mails), "mail")
        output.say(f"{count} came since: {done.mails[0].parent} holds a file of each", "yellow")
    if done.queued:
        count = output.count(len(done.queued), "recipient")
        output.say(
            f"{count} elsewhere did not get a mail that came since: {done.queued[0].parent} holds a"
            " file for each",
            "yellow",
        )
    for mail_id in done.unreadable:
        output.say(f"mail {mail_id} came since and its blob is missing", "red")
    if done.deleted_since:
        count = output.count(done.deleted_since, "mail")
        output.say(f"{count} that somebody deleted since: back in the maildrops", "yellow")
    for name in done.accounts:
        output.say(f"{name} was made since, and stays")
    for name in done.back_disabled:
        output.say(f"{name} was deleted since: the account is back, and disabled", "yellow")
    for name in done.lost_accounts:
        output.say(f"{name} was made since, and is only in {done.kept}", "red")
