"""`send`: writes a mail and hands it over, and says what became of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from mailnode.cli import output
from mailnode.cli.frame import (
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_NOINPUT,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    Mistake,
    answer_json,
    wants_json,
)
from mailnode.cli.passwords import stdin_is_terminal
from mailnode.cli.places import ClientCommand, Place
from mailnode.client.carrier import SIGN_IN_NEEDED
from mailnode.client.composing import Made, make_letter
from mailnode.client.submission import Letter, Submission
from mailnode.client.trouble import SignInRefused
from mailnode.composing.drafts import Draft, fatal, look_over
from mailnode.composing.people import Mailbox, parse_groups
from mailnode.errors import BadAddress
from mailnode.outbound.words import Answer

LARGE_OCTETS = 1 << 20
SIGN_IN_HINT = (
    "this server wants a sign-in: say as whom by --user NAME, and the password by --password-file "
    "FILE, --password-command COMMAND or a profile"
)
TEXT = "The text; a full stop on a line of its own ends it, or Ctrl-D:"
Answers = Sequence[tuple[str, Answer]]


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
    author = _sender(place, sender, asking)
    place.address = place.address or str(author.address)
    draft = Draft(
        sender=author,
        to=_recipients(to, cc, bcc, asking),
        cc=parse_groups(cc, "cc"),
        bcc=parse_groups(bcc, "bcc"),
        subject=_subject(subject, asking),
        text=_body(body, html, bool(attach), asking),
        html=_read_text(html) if html is not None else "",
        files=attach,
    )
    made = make(draft)
    try:
        answers = hand_over(place, made.letter)
    except KeyboardInterrupt:
        raise Mistake("stopped; nobody knows whether it was sent", EX_INTERRUPTED) from None
    _tell(place, made, answers)


def make(draft: Draft) -> Made:
    """The mail, when nothing keeps it from being sent; doubts are told on standard error.

    Raises:
        Mistake: something does.
    """
    doubts = look_over(draft)
    if wrong := fatal(doubts):
        files = {str(path) for path in draft.files}
        code = EX_NOINPUT if any(each.part in files for each in wrong) else EX_DATAERR
        raise Mistake("; ".join(map(str, wrong)), code)
    for doubt in doubts:
        click.echo(f"mailnode: note: {doubt}", err=True)
    return make_letter(draft)


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


def _body(given: str | None, html: Path | None, has_files: bool, asking: bool) -> str:
    if given is not None and given != "-":
        return given
    if given is None and (html is not None or (has_files and not asking)):
        return ""
    if asking and given is None:
        click.echo(TEXT, err=True)
        return read_until_dot(sys.stdin)
    if given is None and stdin_is_terminal():
        raise Mistake('what does it say? Give a BODY, or "-" for standard input', EX_USAGE)
    return _text_of(sys.stdin.buffer.read(), "standard input")


def read_until_dot(typed: Iterable[str]) -> str:
    """Lines until a full stop alone, or their end."""
    lines = []
    for line in typed:
        if line.rstrip("\r\n") == ".":
            break
        lines.append(line)
    return "".join(lines)


def _read_text(path: Path) -> str:
    return _text_of(path.read_bytes(), str(path))


def _text_of(octets: bytes, where: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise Mistake(
            f"{where}: octet {error.start} is no UTF-8; convert it first, as with iconv"
        ) from None


# Handing over


def hand_over(place: Place, letter: Letter) -> Answers:
    """What became of each recipient.

    Where nobody has said whom to sign in as, the server is asked without first: it may take mail
    from this machine.

    Raises:
        MailError: no server took it to look at.
    """
    if not place.signs_in_to_send:
        answers = _over(place.submission(sign_in=False), letter)
        if not all(_wants_sign_in(answer) for _, answer in answers) or not place.can_sign_in:
            return answers
    try:
        session = place.submission(sign_in=True)
    except SignInRefused as refusal:
        raise _with_mend(place, refusal) from None
    return _over(session, letter)


def _with_mend(place: Place, refusal: SignInRefused) -> SignInRefused:
    """On this machine mail is often taken without a sign-in, and a profile can say so.

    It is not sent without one unasked: what a server lets somebody do may hang on who he is.
    """
    if not (place.signs_in_to_send and place.profile.mailbox and place.servers("smtp")[0].is_here):
        return refusal
    return SignInRefused(
        f"{refusal.text}; where this server takes mail without a sign-in, smtp_sign_in = false in "
        "the profile says so"
    )


def _wants_sign_in(answer: Answer) -> bool:
    return answer.code == SIGN_IN_NEEDED or (
        answer.permanent and answer.enhanced.startswith("5.7.")
    )


def _over(session: Submission, letter: Letter) -> Answers:
    try:
        if letter.size_octets < LARGE_OCTETS or not sys.stderr.isatty():
            return session.send(letter)
        columns = (BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
        with Progress(*columns, console=output.progress_console(), transient=True) as progress:
            bar = progress.add_task("", total=letter.size_octets)
            return session.send(letter, lambda sent: progress.update(bar, completed=sent))
    finally:
        session.quit()


def _tell(place: Place, made: Made, answers: Answers) -> None:
    ctx = place.ctx
    refused = [each for each in answers if not each[1].delivered]
    told: dict[str, Any] = {
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
    if not answer_json(ctx, told):
        for line in [*tell_answers(answers), *tell_captured(place, answers)]:
            output.say(line)
    if any(answer.code == SIGN_IN_NEEDED for _, answer in refused):
        click.echo(f"mailnode: {SIGN_IN_HINT}", err=True)
    if refused:
        ctx.exit(exit_code(answers))


def tell_answers(answers: Answers) -> list[str]:
    """A line for each recipient, with the server's words."""
    lines = []
    for address, answer in answers:
        if answer.delivered:
            lines.append(f"sent to {address}: {answer}")
        elif answer.stage == "dot" and not answer.code:
            lines.append(f"{address}: nobody knows whether it was taken: {answer}")
        elif answer.permanent:
            lines.append(f"refused for {address}: {answer} (at {answer.stage})")
        else:
            lines.append(f"not taken now for {address}: {answer} (at {answer.stage})")
    return lines


def tell_captured(place: Place, answers: Answers) -> list[str]:
    """A line when some of it stays here."""
    kept = [who for who, answer in answers if answer.delivered and place.is_captured(who)]
    if not kept:
        return []
    what = "what is for others stays here" if len(kept) < len(answers) else "it stays here"
    return [f"{what}, captured for {', '.join(kept)}: `mailnode gear show` says why"]


def exit_code(answers: Answers) -> int:
    """75 where later may do for somebody, 77 where a sign-in would, 69 where nothing does."""
    if any(answer.temporary for _, answer in answers):
        return EX_TEMPFAIL
    if any(answer.code == SIGN_IN_NEEDED for _, answer in answers):
        return EX_NOPERM
    return EX_UNAVAILABLE
