"""`send`: writes a mail and hands it over, and says what became of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import (
    EX_INTERRUPTED,
    EX_NOINPUT,
    EX_USAGE,
    Mistake,
    answer_json,
    wants_json,
)
from mailnode.cli.passwords import stdin_is_terminal
from mailnode.cli.places import ClientCommand, Place
from mailnode.cli.posting import (
    SIGN_IN_HINT,
    exit_code,
    hand_over,
    make,
    tell_answers,
    tell_captured,
)
from mailnode.cli.typed import send_typed, type_text
from mailnode.client.carrier import SIGN_IN_NEEDED, Answers
from mailnode.client.composing import Made
from mailnode.composing.drafts import Draft, unreadable
from mailnode.composing.people import Mailbox, parse_groups
from mailnode.errors import BadAddress


@click.command(
    cls=ClientCommand,
    example='mailnode send --from alice@example.test --to bob@example.test --subject Hello "Hi"\n'
    "mailnode send --to carol@example.org --attach report.pdf - < letter.txt",
)
@click.option("--from", "sender", metavar="ADDRESS", help="Who sends it.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="A recipient; may be given again.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="A recipient of a copy.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="One whom the others don't see.")
@click.option("--subject", metavar="TEXT", help="What it is about.")
@click.option(
    "--attach",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file that goes with it; may be given again.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The same text in HTML, beside the plain one.",
)
@click.argument("body", required=False)
@click.pass_context
def send(
    ctx: click.Context,
    sender: str | None,
    to: tuple[str, ...],
    cc: tuple[str, ...],
    bcc: tuple[str, ...],
    subject: str | None,
    attach: tuple[Path, ...],
    html: Path | None,
    body: str | None,
) -> None:
    """Send a mail. BODY is its text, "-" for standard input; what is missing is asked for.

    On a terminal the text ends with a full stop on a line of its own, or with Ctrl-D. Elsewhere
    nothing is asked for: without BODY and files the text is standard input, and where that is empty
    an empty mail is sent, with a note that says so.
    """
    place = Place.of(ctx)
    place.stdin_is_text = body is None or body == "-"
    asking = stdin_is_terminal() and not wants_json(ctx)
    if asking:  # what makes all of it vain is said before the first question
        if sender and not place.address:
            place.address = str(author_of(place, sender).address)
        place.require_running()
        _require_files(attach)
    rich = _read_text(html) if html is not None else ""
    author = _sender(place, sender, asking)
    place.address = place.address or str(author.address)
    draft = Draft(
        sender=author,
        to=_recipients(to, cc, bcc, asking),
        cc=parse_groups(cc, "cc"),
        bcc=parse_groups(bcc, "bcc"),
        subject=_subject(subject, asking),
        html=rich,
        files=attach,
    )
    if asking and body is None and html is None:
        _tell(place, *send_typed(place, type_text(draft)))
        return
    made = make(attrs.evolve(draft, text=_body(body, html, bool(attach))))
    try:
        answers = hand_over(place, made.letter)
    except KeyboardInterrupt:
        raise Mistake("stopped; nobody knows whether it was sent", EX_INTERRUPTED) from None
    _tell(place, made, answers)


def _require_files(files: Sequence[Path]) -> None:
    """
    Raises:
        Mistake: one of them can't be read.
    """
    for path in files:
        if why := unreadable(path):
            raise Mistake(f"{path}: {why}", EX_NOINPUT)


def _sender(place: Place, given: str | None, asking: bool) -> Mailbox:
    said = given or place.profile.address or (place.user if "@" in place.user else "")
    if not said and asking:
        said = str(click.prompt("From", err=True))
    if not said:
        raise Mistake("who sends it? Give --from ADDRESS", EX_USAGE)
    return author_of(place, said)


def author_of(place: Place, said: str) -> Mailbox:
    """Who sends it, with the name that the profile has where none was said.

    Raises:
        BadAddress: which it is not.
    """
    found = parse_groups([said], "from")
    if len(found) > 1:
        raise BadAddress(f"from: {said!r} is more than one address")
    name = found[0].name or place.profile.name
    return Mailbox(found[0].address, name)


def _recipients(
    to: Sequence[str], cc: Sequence[str], bcc: Sequence[str], asking: bool
) -> tuple[Mailbox, ...]:
    if to or cc or bcc:
        return parse_groups(to, "to")
    if not asking:
        raise Mistake("to whom? Give --to ADDRESS", EX_USAGE)
    while True:
        try:
            return parse_groups([str(click.prompt("To", err=True))], "to")
        except BadAddress as error:
            click.echo(error.text, err=True)


def _subject(given: str | None, asking: bool) -> str:
    if given is None and asking:
        return str(click.prompt("Subject", default="", show_default=False, err=True))
    return given or ""


def _body(given: str | None, html: Path | None, has_files: bool) -> str:
    if given is not None and given != "-":
        return given
    if given is None and (html is not None or has_files):
        return ""
    if given is None and stdin_is_terminal():
        raise Mistake('what does it say? Give a BODY, or "-" for standard input', EX_USAGE)
    return _text_of(sys.stdin.buffer.read(), "standard input")


def _read_text(path: Path) -> str:
    return _text_of(path.read_bytes(), str(path))


def _text_of(octets: bytes, where: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise Mistake(
            f"{where}: octet {error.start} is no UTF-8; convert it first, as with iconv"
        ) from None


def _tell(place: Place, made: Made, answers: Answers) -> None:
    ctx = place.ctx
    refused = [each for each in answers if not each[1].delivered]
    facts: dict[str, Any] = {
        "message_id": made.message_id,
        "octets": made.letter.size_octets,
        "recipients": [
            {
                "address": address,
                "taken": answer.delivered,
                "code": answer.code,
                "enhanced": answer.enhanced,
                "words": answer.text,
                "at": answer.stage,
            }
            for address, answer in answers
        ],
    }
    if not answer_json(ctx, facts):
        for line in [*tell_answers(answers), *tell_captured(place, answers)]:
            output.say(line)
    if any(answer.code == SIGN_IN_NEEDED for _, answer in refused):
        click.echo(f"mailnode: {SIGN_IN_HINT}", err=True)
    if refused:
        ctx.exit(exit_code(answers))
