"""`export`: the mail of accounts as files that other programs read, once or as it comes."""

from __future__ import annotations

from pathlib import Path

import click

from mailnode.cli import output
from mailnode.cli.ending import heeding_signals
from mailnode.cli.exporting import FORMATS, Export, Report, reading_copies
from mailnode.cli.following import follow
from mailnode.cli.frame import (
    EX_CANTCREAT,
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_USAGE,
    Mistake,
    NodeCommand,
    answer_json,
    config_of,
)
from mailnode.cli.node import open_accounts, require_mail
from mailnode.cli.progress import course_of
from mailnode.filenames import expanded
from mailnode.portability.deposits import DepositError
from mailnode.portability.files import is_maildir
from mailnode.portability.shelf import ShelfError
from mailnode.store.accounts import Account


@click.command(
    "export",
    cls=NodeCommand,
    example="mailnode export carol@example.org --to carol.mbox\n"
    "mailnode export --all --to /srv/moving --format maildir\n"
    "mailnode export carol@example.org --follow ~/mail-as-files",
)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--all", "everybody", is_flag=True, help="The mail of all accounts.")
@click.option("--to", type=click.Path(), metavar="PATH", help="The file or folder to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help="mbox, maildir, eml or zip; by the end of PATH unless given, else mbox.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option(
    "--follow",
    "followed",
    type=click.Path(),
    metavar="DIR",
    help="Keep DIR/ADDRESS/SUBJECT.eml up to date as mail comes, until Ctrl-C.",
)
@click.pass_context
def export_mail(
    ctx: click.Context,
    addresses: tuple[str, ...],
    everybody: bool,
    to: str | None,
    form: str | None,
    force: bool,
    followed: str | None,
) -> None:
    """Write the mail of accounts to files: an mbox, a Maildir, .eml files, or a zip of them.

    Each mail is compared with its digest; what is damaged is listed at the end, with exit code 65.
    A file gets its name once it is whole. A Maildir and a folder of .eml files are gone on with
    where they are there already. It works whether the node runs or not, and takes nothing away.
    """
    config = config_of(ctx)
    require_mail(config)
    if (to is None) == (followed is None):
        raise click.UsageError("give a PATH by --to, or a folder by --follow", ctx)
    if everybody == bool(addresses):
        raise click.UsageError("name accounts, or --all", ctx)
    if followed is not None and (form not in (None, "eml") or force):
        raise Mistake("--follow writes .eml files, and replaces none", EX_USAGE)
    with open_accounts(ctx) as accounts:
        found = accounts.accounts() if everybody else [accounts.account(a) for a in addresses]
    try:
        if followed is not None:
            follow(ctx, found, None if everybody else addresses, expanded(followed))
            return
        assert to is not None
        path = expanded(to)
        form = form or _form_of(path)
        with (
            heeding_signals() as ending,
            course_of("exporting") as course,
            reading_copies(config.data_path) as reader,
        ):
            together = everybody or len(found) > 1
            work = Export(reader, found, path, together, force, course, ending)
            work.run(form)
    except (DepositError, ShelfError) as error:
        raise Mistake(str(error), EX_CANTCREAT) from None
    except KeyboardInterrupt:
        raise Mistake("cut off: run it again", EX_INTERRUPTED) from None
    if not answer_json(ctx, {"format": form, **work.report.facts()}):
        _say(work.report, form, found)
    if work.report.missing_count:
        ctx.exit(EX_DATAERR)


def _form_of(path: Path) -> str:
    if path.suffix.lower() == ".zip":
        return "zip"
    if is_maildir(path):
        return "maildir"
    return "mbox"


def _say(report: Report, form: str, accounts: list[Account]) -> None:
    whose = output.count(len(accounts), "account")
    before = report.mails - report.new
    there = f", {before} of them were there before" if before else ""
    output.say(
        f"{output.count(report.mails, 'mail')} of {whose}, {output.size(report.octets)}, as {form}"
        f"{there}: {', '.join(report.places[:10])}{' ...' if len(report.places) > 10 else ''}",
        "green",
    )
    if report.missing_count:
        output.say(f"not exported: {report.missing_count}", "red")
        for each in report.missing:
            output.say(f"  {each.mailbox}, {each.where}: {each.why}")
        if (more := report.missing_count - len(report.missing)) > 0:
            output.say(f"  and {more} more")
        output.say("`mailnode repair`, with the node stopped, keeps what is left of them")
