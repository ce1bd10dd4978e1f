"""A mail that is typed at a terminal: what is nowhere else is not lost where it can't be sent."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import attrs
import click

from mailnode.cli import output
from mailnode.cli.frame import EX_INTERRUPTED, Mistake, told
from mailnode.cli.places import Place
from mailnode.cli.posting import hand_over, make, tell_answers, wants_sign_in
from mailnode.cli.unsent import for_others, keep_draft, keep_mail
from mailnode.client.carrier import Answers
from mailnode.client.composing import Made
from mailnode.client.submission import Letter
from mailnode.composing.drafts import Draft
from mailnode.composing.people import Mailbox, parse_groups
from mailnode.errors import BadAddress, MailError
from mailnode.outbound.words import Answer

TEXT = "The text; a full stop on a line of its own ends it, or Ctrl-D:"


def type_text(draft: Draft) -> Draft:
    """With the text that is typed now; what is interrupted is kept."""
    click.echo(TEXT, err=True)
    lines = list[str]()
    try:
        return attrs.evolve(draft, text=read_until_dot(sys.stdin, lines))
    except KeyboardInterrupt:
        if not "".join(lines).strip():
            raise
        draft = attrs.evolve(draft, text="".join(lines))
        raise Mistake(f"stopped; {_kept(draft)}", EX_INTERRUPTED) from None


def send_typed(place: Place, draft: Draft) -> tuple[Made, Answers]:
    """It is kept as a file where it can't be sent; who is refused may be named anew."""
    try:
        made = make(draft)
    except Mistake as mistake:
        raise Mistake(f"{mistake.message}; {_kept(draft)}", mistake.code) from None
    letter = made.letter
    while True:
        answers = _over_or_kept(place, draft, made, letter)
        left = [each for each, answer in answers if not answer.delivered]
        wrong = [each for each, answer in answers if _is_wrong(answer)]
        if not left:
            break
        others = _ask_others(answers, wrong) if wrong else ()
        changed = for_others(draft, left, wrong, others) if others else None
        if changed is None or not changed[2].recipients:
            click.echo(f"mailnode: {_kept(draft, made)}", err=True)
            break
        draft, made, letter = changed
    return made, answers


def _over_or_kept(place: Place, draft: Draft, made: Made, letter: Letter) -> Answers:
    try:
        return hand_over(place, letter)
    except click.Abort:
        why = Mistake("stopped; it was not sent", EX_INTERRUPTED)
    except KeyboardInterrupt:
        why = Mistake("stopped; nobody knows whether it was sent", EX_INTERRUPTED)
    except (click.ClickException, MailError, OSError) as error:
        code, line = told(error)
        why = Mistake(line, code)
    raise Mistake(f"{why.message}; {_kept(draft, made)}", why.code)


def _is_wrong(answer: Answer) -> bool:
    """Whether the address is refused, and not the mail or who sends it."""
    return answer.permanent and answer.stage == "RCPT" and not wants_sign_in(answer)


def _ask_others(answers: Answers, wrong: Sequence[str]) -> tuple[Mailbox, ...]:
    """Whom it shall go to in place of those; nobody for an empty line, or Ctrl-C."""
    for line in tell_answers([each for each in answers if each[0] in wrong]):
        click.echo(output.printable(line), err=True)
    words = f"To whom instead of {', '.join(wrong)} (Enter: nobody)"
    while True:
        try:
            said = str(click.prompt(words, default="", show_default=False, err=True))
            return parse_groups([said], "to") if said.strip() else ()
        except BadAddress as error:
            click.echo(error.text, err=True)
        except click.Abort:
            click.echo(err=True)
            return ()


def _kept(draft: Draft, made: Made | None = None) -> str:
    try:
        name = keep_mail(draft, made) if made is not None else keep_draft(draft)
        return f"the mail is kept as {name}"
    except OSError as error:
        return f"nor could the mail be kept: {error.strerror}"


def read_until_dot(typed: Iterable[str], lines: list[str]) -> str:
    """Lines until a full stop alone, or their end.

    Args:
        lines: gets each as it comes, so that what breaks off leaves them.
    """
    for line in typed:
        if line.rstrip("\r\n") == ".":
            break
        lines.append(line)
    return "".join(lines)
