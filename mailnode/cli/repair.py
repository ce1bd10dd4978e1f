"""`repair`: keeps all that can be read of a damaged store."""

from __future__ import annotations

import os
import sqlite3

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import EX_DATAERR, NodeCommand, answer_json, config_of
from mailnode.cli.node import lock_stopped_node
from mailnode.store.repair import repair as repair_store
from mailnode.store.sqlite import mail_error

_STYLES = {"kept": "green", "mended": "green", "lost": "red"}


@click.command(cls=NodeCommand, example="mailnode repair")
@click.pass_context
def repair(ctx: click.Context) -> None:
    """Keep all that can be read of damaged databases and blobs, with the node stopped.

    Says line by line what was kept and what was lost; the damaged databases stay in var/kept.
    Exit code 0 when nothing was lost, 65 when something was.
    """
    config = config_of(ctx)
    lock = lock_stopped_node(config)
    try:
        report = repair_store(config.data_path, config.users_path)
    except sqlite3.Error as error:
        raise mail_error(error) from error
    finally:
        os.close(lock)
    kept = str(report.kept) if report.kept else None
    if not answer_json(ctx, {"kept_in": kept, "done": [attrs.asdict(t) for t in report.told]}):
        for told in report.told:
            output.say(str(told), _STYLES[told.kind])
        if kept is None:
            output.say(f"nothing to repair in {config.data_path}", "green")
        else:
            output.say(f"the damaged databases are kept in {kept}; delete it when all is well")
    if report.lost:
        ctx.exit(EX_DATAERR)
