"""`replay`: which mails would be judged otherwise by other settings, or by what is learned now."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from attrs import define, field

from mailnode.cli import output
from mailnode.cli.checkup_network import host_name
from mailnode.cli.frame import (
    EX_INTERRUPTED,
    EX_USAGE,
    Mistake,
    NodeCommand,
    config_of,
    wants_json,
)
from mailnode.cli.node import open_accounts, require_mail
from mailnode.cli.progress import course_of
from mailnode.cli.reacting import run_in
from mailnode.config import Config
from mailnode.store.arrived import count_between
from mailnode.store.directory import LiveDirectory
from mailnode.store.lists import open_mail
from mailnode.values import read_typed_duration, unit_hint

if TYPE_CHECKING:
    from mailnode.cli.replaying import Change, Replay, Sums

SUBJECT_CHARACTERS = 60
_MOMENTS = 'a span such as 7d, or a day or moment such as 2026-11-20 or "2026-11-20 14:30"'


@click.command(
    cls=NodeCommand,
    example="mailnode replay --since 7d --config new.toml\n"
    "mailnode replay --since 2026-11-20 --until 2026-11-21 --account carol@example.org",
)
@click.option(
    "--since",
    default="7d",
    metavar="WHEN",
    help="Mails that came since then: so long ago, or a day or moment; 7d unless given.",
)
@click.option("--until", metavar="WHEN", help="No mails that came then or later.")
@click.option("--account", metavar="ADDRESS", help="Only the copies of that account.")
@click.pass_context
def replay(ctx: click.Context, since: str, until: str | None, account: str | None) -> None:
    """List the mails whose verdict would be another one now.

    Mail that is kept is judged again, by the settings that this command finds (--config, or else
    MAILNODE_CONFIG and the environment of this shell, which the node may not have), and by what is
    learned now. Nothing is changed, and the node may run meanwhile. Who sent
    a mail (SPF, DKIM, DMARC) is as it was found when it came. Programs that the settings name, such
    as rspamd, are asked about each mail; filters of [plugins] are not.
    """
    config = config_of(ctx)
    path = require_mail(config)
    began, ended = _span(since, until)
    directory = LiveDirectory()
    with open_accounts(ctx) as accounts:
        account_id = accounts.account(account).id if account is not None else 0
        directory.replace(accounts.load_directory(config.accounts.subaddress))
    answer = _Answer(as_json=wants_json(ctx))
    with open_mail(path) as connection, course_of("judging") as course:
        total = count_between(connection, began, ended)
        with _replaying(config, directory, connection) as (reactor, make):
            work: Replay = make(
                account_id=account_id,
                told=answer.tell,
                seen=lambda done: course.show(done, total, done),
            )
            try:
                run_in(reactor, work.run(began, ended))
            except click.Abort:
                work.sums.interrupted = True
    answer.end(work.sums)
    if work.sums.interrupted:
        ctx.exit(EX_INTERRUPTED)


@contextmanager
def _replaying(
    config: Config, directory: LiveDirectory, connection: sqlite3.Connection
) -> Iterator[tuple[Any, Any]]:
    """A reactor, and what makes a `Replay` that works in it."""
    from functools import partial

    from twisted.internet import reactor

    from mailnode.cli.replaying import Place, Replay  # 0.4 s that the other commands are spared
    from mailnode.store.blobs import FileBlobs
    from mailnode.store.models import ModelFiles, ModelShelf

    running: Any = reactor
    blobs = FileBlobs(config.data_path, call_in_reactor=running.callFromThread)
    try:
        models = ModelShelf(ModelFiles(config.data_path))
        place = Place(config, running, host_name(config), blobs, directory, models, connection)
        yield running, partial(Replay, place)
    finally:
        blobs.close()


def _span(since: str, until: str | None) -> tuple[float, float]:
    """UTC epoch seconds.

    Raises:
        Mistake: it is none.
    """
    now = time.time()
    began = _moment("--since", since, now)
    ended = _moment("--until", until, now) if until is not None else now
    if began >= ended:
        raise Mistake(
            f"nothing came in that span: it begins at {output.when(began)} and ends at"
            f" {output.when(ended)}",
            EX_USAGE,
        )
    return began, ended


def _moment(option: str, typed: str, now: float) -> float:
    """When that was: so long ago, or a local day or moment."""
    try:
        return now - read_typed_duration(typed)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(typed.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        hint = f"; {meant}" if (meant := unit_hint(typed)) else ""
        raise Mistake(f"{option} {typed}: that is not {_MOMENTS}{hint}", EX_USAGE) from None


@define
class _Answer:
    """What is said of each mail as it is found, and at the end; for programs one document."""

    as_json: bool
    _is_begun: bool = field(default=False, init=False)

    def tell(self, change: Change) -> None:
        if self.as_json:
            self._begin(json.dumps(_facts(change)))
            return
        said = change.gravest
        to = ", ".join(each.mailbox for each in change.copies)
        subject = change.subject[:SUBJECT_CHARACTERS] or "(no subject)"
        output.say(
            f"{output.when(change.at)}  {change.mail_id}  {change.sender} to {to}: {subject}:"
            f" {said.was} -> {said.would_be}"
            + (f", because {said.because}" if said.because else "")
        )

    def _begin(self, text: str) -> None:
        before = "," if self._is_begun else '{"mails": ['
        click.echo(f"{before}\n{text}", nl=False)
        self._is_begun = True

    def end(self, sums: Sums) -> None:
        if self.as_json:
            head = "\n]" if self._is_begun else '{"mails": []'
            click.echo(f'{head}, "sums": {json.dumps(sums.facts())}}}')
            return
        for line in _lines(sums):
            output.say(line)


def _facts(change: Change) -> dict[str, Any]:
    return {
        "mail_id": change.mail_id,
        "at": change.at,
        "from": change.sender,
        "subject": change.subject,
        "copies": [
            {
                "mailbox": each.mailbox,
                "was": each.was,
                "would_be": each.would_be,
                "because": each.because,
            }
            for each in change.copies
        ],
    }


def _lines(sums: Sums) -> Iterator[str]:
    facts = sums.facts()
    told = [f"{facts['looked_at']:,} looked at", f"{facts['unchanged']:,} unchanged"]
    told += [
        f"{facts['to_junk']:,} would go to Junk",
        f"{facts['from_junk']:,} would leave Junk",
        f"{facts['refused']:,} would be refused",
    ]
    if facts["put_off"]:
        told.append(f"{facts['put_off']:,} would be put off")
    yield ", ".join(told)
    for why, count in sums.not_judged.most_common():
        yield f"not judged: {count:,}, because {why}"
    if sums.interrupted:
        yield "it was interrupted: mails that came later were not looked at"
