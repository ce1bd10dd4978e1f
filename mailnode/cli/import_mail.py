"""`import`: mail from elsewhere comes into mailboxes here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mailnode.cli import output
from mailnode.cli.ending import heeding_signals
from mailnode.cli.frame import (
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_USAGE,
    Mistake,
    NodeCommand,
    answer_json,
    config_of,
    wants_json,
)
from mailnode.cli.from_pop3 import Pop3Source, is_mailbox, read_mailbox
from mailnode.cli.importing import FOLDERS, Import, Report, Wish, importing
from mailnode.cli.node import open_accounts
from mailnode.cli.progress import course_of
from mailnode.cli.systems import System, move_in
from mailnode.client.connection import Trust
from mailnode.client.trouble import Denied, Unreachable
from mailnode.filenames import expanded
from mailnode.portability.plaintext import USERINFO
from mailnode.portability.sources import FORMATS, Unknown, guess_format, open_source
from mailnode.store.accounts import Account

NAMED = 10  # accounts, for people; --json has them all


@click.command(
    "import",
    cls=NodeCommand,
    example="mailnode import ~/mail/archive.mbox --to carol@example.org\n"
    "mailnode import ~/Maildir --to carol@example.org --dry-run\n"
    "mailnode import pop3s://carol@pop.example.net --to carol@example.org\n"
    "mailnode import /srv/oldsystem --domain example.org",
)
@click.argument("source", type=click.Path())
@click.option("--to", metavar="ADDRESS", help="The account here that gets the mail.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help=f"What SOURCE is, where it is not to be guessed: {', '.join(FORMATS)}.",
)
@click.option(
    "--folders",
    type=click.Choice(FOLDERS),
    default="inbox",
    metavar="WHICH",
    help="What becomes of folders beside the inbox: inbox (all but trash and junk come into the "
    "INBOX, unless given), all, keep (their names), none.",
)
@click.option("--domain", metavar="NAME", help="Of the accounts of a userinfo.txt; else the first.")
@click.option("--password-file", metavar="FILE", help="Its first line is a POP3 password.")
@click.option("--password-command", metavar="COMMAND", help="It prints a POP3 password.")
@click.option("--trust", metavar="FILE", help="Certificates (PEM) to believe of a POP3 server.")
@click.option("--insecure", is_flag=True, help="Sign in at a POP3 server without trusted TLS.")
@click.option("--delete", is_flag=True, help="Delete at a POP3 server what has come.")
@click.option("--over-quota", is_flag=True, help="Take mail that a mailbox has no room for, too.")
@click.option("--dry-run", is_flag=True, help="Count what would come; nothing is written.")
@click.pass_context
def import_mail(
    ctx: click.Context,
    source: str,
    to: str | None,
    form: str | None,
    folders: str,
    domain: str | None,
    password_file: str | None,
    password_command: str | None,
    trust: str | None,
    insecure: bool,
    delete: bool,
    over_quota: bool,
    dry_run: bool,
) -> None:
    """Bring mail from elsewhere into a mailbox here, each mail once.

    SOURCE is an mbox, a Maildir, a folder of .eml files or a zip of them, a folder of mboxes, a
    mailbox elsewhere (pop3s://USER@HOST), or a folder with a userinfo.txt, whose users get
    accounts. What lies in the mailbox already is passed
    over, so an import that ended early is gone on with by running it again. It works whether the
    node runs or not. What could not be taken is listed at the end, with exit code 65.
    """
    path = expanded(source)
    if is_mailbox(source):
        form = "pop3"
    elif password_file or password_command or trust or insecure or delete:
        raise Mistake("passwords, --trust, --insecure and --delete go with pop3s://", EX_USAGE)
    else:
        form = form or _guess(path)
    wish = Wish(folders, over_quota, dry_run)
    if form == "userinfo":
        if to is not None:
            raise Mistake("userinfo.txt says whose mail it is: leave --to out", EX_USAGE)
        system: System | None = None
        try:
            with heeding_signals() as ending, course_of("importing") as course:
                system = move_in(ctx, path, domain, wish, course, ending)
        except KeyboardInterrupt:
            raise _cut_off() from None
        _answer(ctx, form, "its users", system.report, wish, system)
        return
    if to is None:
        raise Mistake("say whose mail it becomes: --to ADDRESS", EX_USAGE)
    if domain is not None:
        raise Mistake("--domain goes with a userinfo.txt; --to names the account", EX_USAGE)
    with open_accounts(ctx) as accounts:
        account = accounts.account(to)
    box = None
    if form == "pop3":
        believed = Trust(expanded(trust) if trust else None, clear=insecure)
        box = read_mailbox(ctx, source, believed, password_file, password_command)
    elif not wants_json(ctx):
        output.say(f"{source} is taken as {form}")
    try:
        with (
            heeding_signals() as ending,
            course_of("importing") as course,
            importing(config_of(ctx), wish, course, ending) as work,
        ):
            if box is None:
                work.take(open_source(path, form, work.make_spool), account)
            else:
                _fetch(work, Pop3Source(box, work.make_spool), account, delete=delete)
    except KeyboardInterrupt:
        raise _cut_off() from None
    _answer(ctx, form, str(account.address), work.report, wish, None)


def _fetch(work: Import, source: Pop3Source, account: Account, *, delete: bool) -> None:
    """What came lies here, durably, before any of it is deleted there."""
    try:
        if work.take(source, account) and delete and not work.wish.dry_run:
            work.note(source.delete_taken())
    except (Unreachable, Denied) as error:
        raise Mistake(f"all has come, and not all was deleted there: {error.text}") from None
    finally:
        source.leave()


def _cut_off() -> Mistake:
    """Somebody would not wait for the end of a batch; what was committed stays."""
    return Mistake("cut off; run it again to go on", EX_INTERRUPTED)


def _guess(path: Path) -> str:
    try:
        return guess_format(path)
    except Unknown as error:
        mend = "" if path.name == USERINFO else "; --format says what it is"
        raise Mistake(f"{path}: {error}{mend}", EX_DATAERR) from None


def _answer(
    ctx: click.Context, form: str, whose: str, report: Report, wish: Wish, system: System | None
) -> None:
    facts: dict[str, Any] = {"format": form, "dry_run": wish.dry_run, **report.facts()}
    if system is not None:
        facts["accounts"] = system.facts()
    if not answer_json(ctx, facts):
        if system is not None:
            _say_accounts(system, wish)
        _say(report, wish, whose)
    if report.stopped:
        if not wants_json(ctx):
            click.echo(f"mailnode: {report.stopped}", err=True)
        ctx.exit(report.exit_code)
    if report.lost_count or (system is not None and system.unusable):
        ctx.exit(EX_DATAERR)


def _say(report: Report, wish: Wish, whose: str) -> None:
    come = "would come" if wish.dry_run else "came"
    rate = report.filed / report.seconds if report.seconds > 0.05 else 0
    speed = f", {rate:,.0f} a second" if rate and not wish.dry_run else ""
    output.say(
        f"{output.count(report.filed, 'mail')}, {output.size(report.octets)}, {come} to {whose} in "
        f"{output.age(report.seconds)}{speed}",
        "green" if not report.stopped else "",
    )
    if report.is_of_nothing:
        output.say("there was no mail in it")
    if report.known:
        output.say(f"{output.count(report.known, 'mail')} lay there already")
    others = {name: count for name, count in report.folders.items() if name}
    if others:
        where = "under their names, which POP3 does not show" if wish.folders == "keep" else "INBOX"
        output.say(f"of other folders, into {where}: {_counts(others)}")
    if report.left_out:
        mend = "--folders all brings them, too"
        output.say(f"left out: {_counts(report.left_out)}; {mend}")
    if report.unparted:
        output.say(
            f"lines that begin a mail, but for a blank line before them: {report.unparted}; they"
            f" are text of the mails that they stand in, the first in {report.unparted_at}",
            "yellow",
        )
    if report.lost_count:
        output.say(f"not taken: {report.lost_count}", "red")
        for lost in report.lost:
            output.say(f"  {lost.where}: {lost.why}")
        if (more := report.lost_count - len(report.lost)) > 0:
            output.say(f"  and {more} more")


def _say_accounts(system: System, wish: Wish) -> None:
    made = [str(each.address) for each in system.made]
    word = "would be made" if wish.dry_run else "made"
    named = f" ({_some(made)})" if made else ""
    output.say(f"accounts {word}: {len(made)}{named}")
    if system.kept:
        output.say(f"accounts that were there stay as they are: {_names(system.kept)}")
    if system.weak:
        output.say(
            f"weak passwords, kept as they were: {', '.join(system.weak)}; a new one: "
            "mailnode user passwd ADDRESS",
            "yellow",
        )
    if system.unusable:
        output.say("can't be used:", "red")
        for each in system.unusable:
            output.say(f"  {each.where}: {each.why}")


def _names(accounts: list[Account]) -> str:
    return _some([str(each.address) for each in accounts])


def _some(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f", and {more} more" if more > 0 else "")


def _counts(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
