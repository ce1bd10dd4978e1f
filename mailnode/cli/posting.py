"""A mail goes to a server, and what became of each recipient is put into words."""

from __future__ import annotations

import sys

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from mailnode.cli import output
from mailnode.cli.frame import (
    EX_DATAERR,
    EX_NOINPUT,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    Mistake,
)
from mailnode.cli.places import Place
from mailnode.client.carrier import SIGN_IN_NEEDED, Answers
from mailnode.client.composing import Made, make_letter
from mailnode.client.submission import Letter, Submission
from mailnode.client.trouble import SignInRefused
from mailnode.composing.drafts import Draft, fatal, look_over
from mailnode.outbound.words import Answer

LARGE_OCTETS = 1 << 20
SIGN_IN_HINT = (
    "this server wants a sign-in: say as whom by --user NAME, and the password by --password-file "
    "FILE, --password-command COMMAND or a profile"
)


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


def hand_over(place: Place, letter: Letter) -> Answers:
    """What became of each recipient.

    Where nobody has said whom to sign in as, the server is asked without first: it may take mail
    from this machine.

    Raises:
        MailError: no server took it to look at.
    """
    if not place.signs_in_to_send:
        answers = _over(place.submission(sign_in=False), letter)
        if not all(wants_sign_in(answer) for _, answer in answers) or not place.can_sign_in:
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


def wants_sign_in(answer: Answer) -> bool:
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
