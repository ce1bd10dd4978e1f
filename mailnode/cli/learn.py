"""`learn`: mails that somebody has sorted already teach what is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.ending import Ending, heeding_signals
from mailnode.cli.frame import (
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_USAGE,
    Mistake,
    NodeCommand,
    NodeGroup,
    answer_json,
    config_of,
    wants_json,
)
from mailnode.cli.learning import Beginning, FileLessons, Report, learn_folders, model_of
from mailnode.cli.node import open_accounts, require_mail
from mailnode.cli.progress import course_of
from mailnode.config import Config
from mailnode.durable import make_folder
from mailnode.filenames import expanded
from mailnode.learning.form import mails_of
from mailnode.learning.model import LEAST_OF_EACH, UNWANTED, WANTED
from mailnode.portability.sources import FORMATS, Unknown, guess_format, open_source
from mailnode.store.models import NODE, ModelFiles

_FORMATS = [each for each in FORMATS if each != "userinfo"]
OFF = "learning.enabled is false: nothing is judged by it"


@click.group(
    cls=NodeGroup,
    invoke_without_command=True,
    example="mailnode learn spam ~/mail/spam.mbox\n"
    "mailnode learn --from-folders carol@example.org\n"
    "mailnode learn show",
)
@click.option(
    "--from-folders",
    "whose",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Learn from all mail that lies here, or from that of one account: what is in Junk is "
    "unwanted, what is in other folders wanted, but for Trash, Drafts and Sent.",
)
@click.pass_context
def learn(ctx: click.Context, whose: str | None) -> None:
    """Teach the node, or an account, which mail is wanted.

    A mail that its owner moves to Junk, or out of it, teaches by itself. It works whether the node
    runs or not, and a running node judges by it within a second.
    """
    if ctx.invoked_subcommand is not None:
        if whose is not None:
            raise Mistake(f"--from-folders stands without {ctx.invoked_subcommand}", EX_USAGE)
        return
    if whose is None:
        raise click.UsageError("say what: spam, ham, show, or --from-folders", ctx)
    _learn_from_folders(ctx, whose)


def _learn_from_folders(ctx: click.Context, whose: str) -> None:
    config = config_of(ctx)
    require_mail(config)
    with open_accounts(ctx) as accounts:
        found = [accounts.account(whose)] if whose else accounts.accounts()
    names = [(each.id, str(each.address)) for each in found]
    with _ending() as ending, course_of("learning") as course:
        reports = learn_folders(config.data_path, names, course, ending)
    rows = [
        {
            "mailbox": each.mailbox,
            "wanted": each.wanted,
            "unwanted": each.unwanted,
            "left": each.left,
        }
        for each in reports
    ]
    if not answer_json(ctx, rows):
        for each in reports:
            output.say(
                f"{each.mailbox}: {output.count(each.wanted, 'wanted mail')} and"
                f" {output.count(each.unwanted, 'unwanted mail')}"
            )
        _say_off(config)
    if any(each.left for each in reports):
        _end_interrupted(ctx)


_files = click.argument("files", nargs=-1, type=click.Path(), metavar="FILE...", required=True)
_account = click.option(
    "--account", metavar="ADDRESS", help="Teach that account alone, and not the node."
)
_forget = click.option("--forget", is_flag=True, help="Take lessons back that these mails were.")
_format = click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    metavar="FORMAT",
    help=f"What each FILE is, where it is not to be guessed: {', '.join(_FORMATS)}.",
)


@learn.command("spam", cls=NodeCommand, example="mailnode learn spam ~/mail/spam.mbox")
@_files
@_account
@_forget
@_format
@click.pass_context
def learn_spam(ctx: click.Context, /, files: tuple[str, ...], **chosen: Any) -> None:
    """Learn that the mails of files are unwanted.

    A FILE is an mbox, an .eml file, a Maildir, a folder of .eml files or of mboxes, or a zip.
    """
    _learn_files(ctx, files, UNWANTED, **chosen)


@learn.command(
    "ham", cls=NodeCommand, example="mailnode learn ham ~/Maildir --account carol@example.org"
)
@_files
@_account
@_forget
@_format
@click.pass_context
def learn_ham(ctx: click.Context, /, files: tuple[str, ...], **chosen: Any) -> None:
    """Learn that the mails of files are wanted.

    A FILE is what it is for `mailnode learn spam`.
    """
    _learn_files(ctx, files, WANTED, **chosen)


def _learn_files(
    ctx: click.Context,
    files: tuple[str, ...],
    label: str,
    account: str | None,
    form: str | None,
    *,
    forget: bool,
) -> None:
    config = config_of(ctx)
    account_id, whose = NODE, "the node"
    if account is not None:
        with open_accounts(ctx) as accounts:
            found = accounts.account(account)
        account_id, whose = found.id, str(found.address)
    paths = [expanded(each) for each in files]
    forms = [form or _guess(path) for path in paths]
    make_folder(config.data_path)
    with _ending() as ending, course_of("learning") as course:
        work = FileLessons(ModelFiles(config.data_path), account_id, label, forget, course, ending)
        for path, kind in zip(paths, forms, strict=True):
            if not work.take(open_source(path, kind, Beginning)):
                break
        work.flush()
    _answer(ctx, config, work.report, whose, label, forget=forget)


def _guess(path: Path) -> str:
    try:
        form = guess_format(path)
    except Unknown as error:
        raise Mistake(f"{path}: {error}; --format says what it is", EX_DATAERR) from None
    if form == "userinfo":
        raise Mistake(f"{path} is a whole system: import it, then learn --from-folders", EX_DATAERR)
    return form


def _answer(
    ctx: click.Context, config: Config, report: Report, whose: str, label: str, *, forget: bool
) -> None:
    facts: dict[str, Any] = {"model": whose, "label": label, "forget": forget, **report.facts()}
    if not answer_json(ctx, facts):
        verb = "forgot" if forget else "learned"
        output.say(
            f"{whose} {verb} {output.count(report.learned, f'{label} mail')}"
            f" of {report.read} that were read"
        )
        if report.lost_count:
            output.say(f"not read: {report.lost_count}", "red")
            for lost in report.lost:
                output.say(f"  {lost.where}: {lost.why}")
        _say_off(config)
    if report.interrupted:
        _end_interrupted(ctx)
    if report.lost_count:
        ctx.exit(EX_DATAERR)


@contextmanager
def _ending() -> Iterator[Ending]:
    try:
        with heeding_signals() as ending:
            yield ending
    except KeyboardInterrupt:  # somebody would not wait for the end of a batch
        raise Mistake("cut off; run it again to go on", EX_INTERRUPTED) from None


def _say_off(config: Config) -> None:
    if not config.learning.enabled:
        output.say(OFF, "yellow")


def _end_interrupted(ctx: click.Context) -> None:
    if not wants_json(ctx):
        click.echo("mailnode: it was interrupted; run it again to go on", err=True)
    ctx.exit(EX_INTERRUPTED)


@learn.command("show", cls=NodeCommand, example="mailnode learn show --json")
@click.pass_context
def learn_show(ctx: click.Context) -> None:
    """Show from how many mails the node and each account have learned."""
    config = config_of(ctx)
    with open_accounts(ctx) as accounts:
        known = {each.id: str(each.address) for each in accounts.accounts()}
    files = ModelFiles(config.data_path)
    rows: list[dict[str, Any]] = []
    for account_id in (NODE, *files.account_ids()):
        path = files.path_of(account_id)
        mails = mails_of(path)
        if mails is not None:
            rows.append(
                {
                    "model": known.get(account_id) or model_of(account_id),
                    "wanted": mails[0],
                    "unwanted": mails[1],
                    "judges": min(mails) >= LEAST_OF_EACH,
                    "octets": path.stat().st_size,
                    "file": str(path),
                }
            )
    if answer_json(ctx, rows):
        return
    if not rows:
        output.say("nothing was learned so far; next: move a mail to Junk, or mailnode learn spam")
        return
    output.show_table(
        ["model", "wanted", "unwanted", "size", ""],
        [
            (
                str(row["model"]),
                str(row["wanted"]),
                str(row["unwanted"]),
                output.size(row["octets"]),
                "" if row["judges"] else f"judges from {LEAST_OF_EACH} of each on",
            )
            for row in rows
        ],
        right=["wanted", "unwanted", "size"],
    )
    _say_off(config)
