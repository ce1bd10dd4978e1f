"""`list`, `read`, `save`, `delete`, `stat`, `watch`: a mailbox by POP3, one's own anywhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import click
from attrs import frozen

from mailnode.cli import output
from mailnode.cli.frame import (
    EX_DATAERR,
    EX_INTERRUPTED,
    EX_NOUSER,
    EX_USAGE,
    Mistake,
    answer_json,
    wants_json,
)
from mailnode.cli.places import ClientCommand, Place
from mailnode.client.maildrop import NUMBER_DIGITS, Maildrop
from mailnode.client.reading import SHOWN, attachments_of, field_of, head_of, text_of
from mailnode.client.saving import Saved, Shelf
from mailnode.client.trouble import Denied, Unreachable
from mailnode.errors import MailError
from mailnode.mime import read_mail

NEWEST = 100
EVERY_S = 5.0
SHOWN_AT_ONCE = 1 << 16
UNKNOWN = "nobody knows whether they were deleted: `mailnode list` shows it"


@frozen
class Line:
    """What a list says of one mail."""

    number: int
    sender: str
    at: float | None
    subject: str
    octets: int


@contextmanager
def opened(
    ctx: click.Context, mailbox: str | None = None, *, deletes: bool = False
) -> Iterator[tuple[Place, Maildrop]]:
    """A session; a mistake in between leaves it without deleting anything.

    Args:
        deletes: whether its end is of concern: else all is said before.

    Raises:
        Mistake: nobody knows what the end has done.
    """
    place = Place.of(ctx, mailbox or "")
    maildrop = place.maildrop()
    with _left_on_error(maildrop):
        yield place, maildrop
    if not deletes:
        _quit(maildrop)
        return
    try:
        maildrop.quit()
    except KeyboardInterrupt:
        raise Mistake(f"stopped; {UNKNOWN}", EX_INTERRUPTED) from None
    except Unreachable as error:
        raise Mistake(f"{error}; {UNKNOWN}", error.exit_code) from None


@contextmanager
def _left_on_error(maildrop: Maildrop) -> Iterator[None]:
    try:
        yield
    except BaseException:
        maildrop.leave()
        raise


def _quit(maildrop: Maildrop) -> None:
    """Politely: what the server makes of that takes nothing from what it has said."""
    with suppress(MailError):
        maildrop.quit()


def lines_of(maildrop: Maildrop, limit: int = 0) -> list[Line]:
    """The newest `limit` mails, or all, in their order."""
    sizes = maildrop.sizes()
    return lines_about(maildrop, list(sizes)[-limit:], sizes)


def lines_about(maildrop: Maildrop, numbers: Iterable[int], sizes: Mapping[int, int]) -> list[Line]:
    """These mails, as far as they are there."""
    there = [number for number in numbers if number in sizes]
    return [_line(number, head, sizes[number]) for number, head in maildrop.heads(there)]


def _line(number: int, raw: bytes, octets: int) -> Line:
    head = head_of(raw)
    return Line(number, head.sender, head.at, head.subject, octets)


def show_lines(lines: Iterable[Line], marked: Collection[int] = ()) -> None:
    """
    Args:
        marked: mails that are to be deleted.
    """
    output.show_table(
        ["#", "from", "when", "subject", "size"],
        [
            (
                str(each.number),
                each.sender or "<>",
                output.day_and_time(each.at) if each.at is not None else "",
                f"(deleted) {each.subject}" if each.number in marked else each.subject,
                output.size(each.octets),
            )
            for each in lines
        ],
        right=["#", "size"],
        cut=["subject"],
    )


@click.command("list", cls=ClientCommand, example="mailnode list alice@example.test")
@click.argument("mailbox", required=False)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=NEWEST,
    metavar="COUNT",
    help=f"Only the newest so many, {NEWEST} unless given; 0: all.",
)
@click.pass_context
def list_mails(ctx: click.Context, mailbox: str | None, limit: int) -> None:
    """List the mails in a mailbox: number, sender, when, subject, size.

    MAILBOX is whose it is, the address to sign in with.
    """
    with opened(ctx, mailbox) as (place, maildrop):
        lines = lines_of(maildrop, limit)
        total = maildrop.stat().mails
    if answer_json(ctx, [attrs.asdict(each) for each in lines]):
        return
    if not total:
        output.say(f"the mailbox of {place.user} is empty")
        return
    show_lines(lines)
    if total > len(lines):
        output.say(f"the newest {len(lines)} of {total}; all of them: --limit 0")


@click.command("stat", cls=ClientCommand, example="mailnode stat alice@example.test")
@click.argument("mailbox", required=False)
@click.pass_context
def stat(ctx: click.Context, mailbox: str | None) -> None:
    """Say how many mails there are, and how large they are together."""
    with opened(ctx, mailbox) as (place, maildrop):
        size = maildrop.stat()
    if not answer_json(ctx, {"mails": size.mails, "octets": size.octets}):
        output.say(f"{place.user}: {output.count(size.mails, 'mail')}, {output.size(size.octets)}")


@click.command("read", cls=ClientCommand, example="mailnode read 3\nmailnode read invoice")
@click.argument("which")
@click.option(
    "--raw", is_flag=True, help="As it came, octet for octet; on a terminal made harmless."
)
@click.pass_context
def read(ctx: click.Context, which: str, raw: bool) -> None:
    """Show a mail, by its number or by words of its subject."""
    with opened(ctx) as (_, maildrop):
        number = find(maildrop, which)
        octets = fetch(maildrop, number)
    if raw:
        _write(octets)
    elif wants_json(ctx):
        answer_json(ctx, {"number": number, **_facts_of(octets)})
    else:
        show_mail(octets)


def _facts_of(octets: bytes) -> dict[str, object]:
    mail = read_mail(octets)
    files = [
        {"name": each.name, "type": each.kind, "octets": len(each.content)}
        for each in attachments_of(mail)
    ]
    fields = {name.lower(): field_of(mail, name) for name in SHOWN}
    return {**fields, "text": text_of(mail), "attachments": files}


def _write(octets: bytes) -> None:
    """Octet for octet; on a terminal without what could steer it."""
    if sys.stdout.isatty():
        _show_text(octets.decode("utf-8", "replace"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def _show_text(text: str) -> None:
    """Piece by piece: of each character of a whole mail Python makes eight octets and more."""
    text = text.replace("\r\n", "\n").rstrip("\n")
    for at in range(0, len(text), SHOWN_AT_ONCE):
        piece = text[at : at + SHOWN_AT_ONCE]
        click.echo(output.printable(piece, keep="\n\t"), nl=False)
    click.echo()


def show_mail(octets: bytes) -> None:
    """Its fields, its text, and what hangs on it."""
    mail = read_mail(octets)
    facts = [(name, value) for name in SHOWN if (value := field_of(mail, name))]
    for each in attachments_of(mail):
        facts.append(("File", f"{each.name or each.kind}, {output.size(len(each.content))}"))
    output.show_facts(facts)
    click.echo()
    _show_text(text_of(mail))


def fetch(maildrop: Maildrop, number: int) -> bytes:
    """A mail's octets."""
    octets = bytearray()
    maildrop.retrieve(number, octets.__iadd__)
    return bytes(octets)


def find(maildrop: Maildrop, which: str) -> int:
    """The number of the one mail that is meant.

    Raises:
        Mistake: there is none, or there are several.
    """
    if which.isdecimal():
        number = _number(which)
        if number in maildrop.sizes():
            return number
        raise Mistake(f"there is no mail {which}; `mailnode list` shows which there are", EX_NOUSER)
    lines = lines_of(maildrop)
    wanted = which.casefold()
    same = [each for each in lines if each.subject.casefold() == wanted]
    found = same or [each for each in lines if wanted in each.subject.casefold()]
    if not found:
        raise Mistake(f"no mail's subject has {which!r}", EX_NOUSER)
    if len(found) > 1:
        some = ", ".join(f"{each.number} ({each.subject[:40]})" for each in found[-5:])
        raise Mistake(
            f"{len(found)} mails have {which!r} in their subject; name one by its number, the "
            f"newest: {some}"
        )
    return found[0].number


@click.command("save", cls=ClientCommand, example="mailnode save 3 --to mails\n"
               "mailnode save all --to mails")  # fmt: skip
@click.argument("which")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where: DIR/<address>/<subject>.eml, attachments in a folder beside it.",
)
@click.pass_context
def save(ctx: click.Context, which: str, folder: Path) -> None:
    """Save a mail, or all, as files; each is read back and compared.

    WHICH is a number, words of a subject, or "all". Nothing that is there is overwritten.
    """
    with opened(ctx) as (place, maildrop):
        numbers = list(maildrop.sizes()) if which == "all" else [find(maildrop, which)]
        shelf = Shelf(folder, place.user)
        try:
            saved, refused = save_mails(maildrop, shelf, numbers)
        except KeyboardInterrupt:
            raise Mistake("stopped; what was saved until then is there", EX_INTERRUPTED) from None
        finally:
            shelf.close()
    if not answer_json(ctx, {"saved": [_as_json(each) for each in saved], "refused": refused}):
        for each in saved:
            output.say(saved_line(each))
        if not numbers:
            output.say(f"the mailbox of {place.user} is empty")
    for number, why in refused.items():
        click.echo(f"mailnode: mail {number} was not saved: {why}", err=True)
    if refused:
        ctx.exit(EX_DATAERR)


def save_mails(
    maildrop: Maildrop, shelf: Shelf, numbers: Iterable[int]
) -> tuple[list[Saved], dict[int, str]]:
    """What was saved, and why each of the others was not."""
    saved, refused = list[Saved](), dict[int, str]()
    for number in numbers:
        try:
            saved.append(shelf.save(partial(maildrop.retrieve, number)))
        except Denied as error:
            refused[number] = error.text
    return saved, refused


def saved_line(saved: Saved) -> str:
    """Where it lies now."""
    files = output.count(len(saved.attachments), "file")
    more = f" and {files}" if saved.attachments else ""
    what = "lies there already" if saved.known else f"{output.size(saved.octets)}, as it came"
    return f"{saved.path}{more}: {what}"


def _as_json(saved: Saved) -> dict[str, object]:
    return {
        "path": str(saved.path),
        "octets": saved.octets,
        "sha256": saved.digest,
        "known": saved.known,
        "attachments": [str(each) for each in saved.attachments],
    }


@click.command("delete", cls=ClientCommand, example="mailnode delete 3 4\nmailnode delete all")
@click.argument("numbers", nargs=-1, required=True, metavar="N...")
@click.pass_context
def delete(ctx: click.Context, numbers: Sequence[str]) -> None:
    """Delete mails by their numbers, or "all"; one that isn't there, and none is deleted."""
    everything = list(numbers) == ["all"]
    wanted = [] if everything else sorted({_number(each) for each in numbers})
    with opened(ctx, deletes=True) as (_, maildrop):
        there = maildrop.sizes()
        wanted = list(there) if everything else wanted
        if missing := [str(each) for each in wanted if each not in there]:
            raise Mistake(f"there is no mail {', '.join(missing)}; nothing was deleted", EX_NOUSER)
        if refused := maildrop.delete(wanted):
            number, why = refused[0]
            raise Mistake(f"mail {number}: {why.text}; nothing was deleted")
    if not answer_json(ctx, {"deleted": wanted}):
        output.say(f"deleted {output.count(len(wanted), 'mail')}")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > NUMBER_DIGITS:
        raise Mistake(f"{text!r} is no number of a mail; `mailnode list` shows them", EX_USAGE)
    return int(text)


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

    Each look is a session of its own, so that other programs get at the mailbox, too.
    """
    place = Place.of(ctx, mailbox or "")
    known: set[str] | None = None
    while True:
        try:
            lines, known = _look(place, known)
        except MailError as error:
            if known is None:
                raise
            click.echo(f"mailnode: {error}; it is tried again", err=True)
        else:
            for each in lines:
                if not answer_json(ctx, attrs.asdict(each)):
                    at = output.day_and_time(each.at) if each.at is not None else "undated"
                    output.say(f"{each.number}  {at}  {each.sender or '<>'}  {each.subject}")
        try:
            time.sleep(every)
        except KeyboardInterrupt:
            return


def _look(place: Place, known: set[str] | None) -> tuple[list[Line], set[str]]:
    """The mails that are new since the last look, none at the first; and which there are now."""
    maildrop = place.maildrop()
    with _left_on_error(maildrop):
        unique = maildrop.unique_ids()
        new = [] if known is None else [n for n, word in unique.items() if word not in known]
        sizes = maildrop.sizes() if new else {}
        lines = lines_about(maildrop, new, sizes)
    _quit(maildrop)
    return lines, set(unique.values())
