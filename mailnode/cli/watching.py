"""`watch`: new mail is shown as it comes."""

from __future__ import annotations

import time

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import answer_json
from mailnode.cli.maildrop import Line, left_on_error, lines_about, quit_politely
from mailnode.cli.places import ClientCommand, Place
from mailnode.errors import MailError

EVERY_S = 5.0


@click.command("watch", cls=ClientCommand, example="mailnode watch alice@example.test")
@click.argument("mailbox", required=False)
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    default=EVERY_S,
    metavar="SECONDS",
    help=f"How often to look; {EVERY_S:.0f} unless given.",
)
@click.pass_context
def watch(ctx: click.Context, mailbox: str | None, every: float) -> None:
    """Show new mail as it comes, until Ctrl-C.

    MAILBOX is whose it is: the address, which is signed in with unless --user names another name.
    Each look is a session of its own, so that other programs get at the mailbox, too.
    """
    place = Place.of(ctx, mailbox or "")
    _, known = look(place, None)
    _note(f"watching {place.user}, every {every:g} s; Ctrl-C ends it")
    is_away = False
    try:
        while True:
            time.sleep(every)
            try:
                lines, known = look(place, known)
            except MailError as error:
                if not is_away:
                    _note(f"{error}; it is tried again")
                is_away = True
                continue
            if is_away:
                _note("it is there again")
            is_away = False
            for each in lines:
                if not answer_json(ctx, attrs.asdict(each)):
                    output.say(f"{each.number}  {each.when}  {each.who}  {each.subject}")
    except KeyboardInterrupt:
        return


def _note(line: str) -> None:
    """Beside the mails, not among them."""
    click.echo(f"mailnode: {output.printable(line)}", err=True)


def look(place: Place, known: set[str] | None) -> tuple[list[Line], set[str]]:
    """The mails that are new since the last look, none at the first; and which there are now."""
    maildrop = place.maildrop()
    with left_on_error(maildrop):
        unique = maildrop.unique_ids()
        new = [] if known is None else [n for n, word in unique.items() if word not in known]
        sizes = maildrop.sizes() if new else {}
        lines = lines_about(maildrop, new, sizes)
    quit_politely(maildrop)
    return lines, set(unique.values())
