"""`list`, `read`, `save`, `delete`, `stat`: a mailbox by POP3, one's own anywhere."""

from __future__ import annotations

import re
import sys
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
from mailnode.cli.passwords import stdin_is_terminal
from mailnode.cli.places import ClientCommand, Place
from mailnode.cli.shell_menu import read_which
from mailnode.client.maildrop import NUMBER_DIGITS, Maildrop
from mailnode.client.reading import SHOWN, field_of, files_of, head_of, open_mail, said_in
from mailnode.client.saving import Saved, Shelf
from mailnode.client.trouble import Denied, Unreachable
from mailnode.errors import MailError
from mailnode.mime import HEADER_OCTETS, read_header
from mailnode.wire import header_of

NEWEST = 100
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

    @property
    def who(self) -> str:
        """In words, where nobody is known."""
        return self.sender or "(no sender)"

    @property
    def when(self) -> str:
        """In words, where it isn't known."""
        return (output.day_and_time(self.at) if self.at is not None else "") or "(no date)"


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
    with left_on_error(maildrop):
        yield place, maildrop
    if not deletes:
        quit_politely(maildrop)
        return
    try:
        maildrop.quit()
    except KeyboardInterrupt:
        raise Mistake(f"stopped; {UNKNOWN}", EX_INTERRUPTED) from None
    except Unreachable as error:
        raise Mistake(f"{error}; {UNKNOWN}", error.exit_code) from None


@contextmanager
def left_on_error(maildrop: Maildrop) -> Iterator[None]:
    try:
        yield
    except BaseException:
        maildrop.leave()
        raise


def quit_politely(maildrop: Maildrop) -> None:
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
                each.who,
                each.when,
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

    MAILBOX is whose it is: the address, which is signed in with unless --user names another name.
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
    """Say how many mails there are, and how large they are together.

    MAILBOX is whose it is: the address, which is signed in with unless --user names another name.
    """
    with opened(ctx, mailbox) as (place, maildrop):
        size = maildrop.stat()
    if not answer_json(ctx, {"mails": size.mails, "octets": size.octets}):
        output.say(f"{place.user}: {output.count(size.mails, 'mail')}, {output.size(size.octets)}")


@click.command("read", cls=ClientCommand, example="mailnode read 3\nmailnode read invoice")
@click.argument("which", nargs=-1, required=True, metavar="WHICH")
@click.option(
    "--raw", is_flag=True, help="As it came, octet for octet; on a terminal made harmless."
)
@click.pass_context
def read(ctx: click.Context, which: Sequence[str], raw: bool) -> None:
    """Show a mail, by its number or by words of its subject.

    WHICH is a number, several such as 1 3 or 1-5, "all", "last", or words of a subject.
    """
    _refuse_mailbox(ctx, which)
    with opened(ctx) as (_, maildrop):
        mails = [(number, fetch(maildrop, number)) for number in pick(maildrop, which)]
    if raw:
        for _, octets in mails:
            _write(octets)
    elif wants_json(ctx):
        told = [{"number": number, **_facts_of(octets)} for number, octets in mails]
        answer_json(ctx, told[0] if len(told) == 1 else told)
    else:
        for _, octets in mails:
            show_mail(octets)


def _facts_of(octets: bytes) -> dict[str, object]:
    header, parts = read_header(header_of(octets, HEADER_OCTETS)), open_mail(octets)
    files = [
        {"name": each.name, "type": each.kind, "octets": len(each.content())}
        for each in files_of(parts)
    ]
    fields = {name.lower(): field_of(header, name) for name in SHOWN}
    return {**fields, "text": said_in(parts), "attachments": files}


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
    header, parts = read_header(header_of(octets, HEADER_OCTETS)), open_mail(octets)
    facts = [(name, value) for name in SHOWN if (value := field_of(header, name))]
    for each in files_of(parts):
        facts.append(("File", f"{each.name or each.kind}, {output.size(len(each.content()))}"))
    output.show_facts(facts)
    click.echo()
    _show_text(said_in(parts))


def fetch(maildrop: Maildrop, number: int) -> bytes:
    """A mail's octets."""
    octets = bytearray()
    maildrop.retrieve(number, octets.__iadd__)
    return bytes(octets)


def pick(maildrop: Maildrop, which: Sequence[str]) -> list[int]:
    """The numbers of the mails that are meant: numbers, ranges, "all", or words of one subject.

    Raises:
        Mistake: one of them isn't there, or nobody can tell which is meant.
    """
    for digits in filter(str.isdecimal, which):
        _require_number(digits)
    said, sizes = " ".join(which), maildrop.sizes()
    if said.casefold() == "all":
        return list(sizes)
    found = read_which(said, list(sizes))
    if found.trouble:
        what = found.trouble.partition(";")[0].rstrip(".")
        raise Mistake(
            f"{what[:1].lower()}{what[1:]}; `mailnode list` shows which there are", EX_NOUSER
        )
    return list(found.numbers) or [find(maildrop, found.words, sizes)]


def _refuse_mailbox(ctx: click.Context, which: Sequence[str]) -> None:
    """
    Raises:
        Mistake: behind the mail stands whose it is, as `list` takes it.
    """
    if len(which) > 1 and "@" in which[-1]:
        name, whose = ctx.info_name, which[-1]
        mails = " ".join(which[:-1])
        raise Mistake(
            f"whose mailbox it is stands in --user: `mailnode {name} {mails} --user {whose}`",
            EX_USAGE,
        )


def find(maildrop: Maildrop, which: str, sizes: Mapping[int, int]) -> int:
    """The number of the one mail whose subject is meant.

    Raises:
        Mistake: there is none, or there are several.
    """
    lines = lines_about(maildrop, sizes, sizes)
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


@click.command("save", cls=ClientCommand, example="mailnode save 1-2 5 --to mails\n"
               "mailnode save all --to mails")  # fmt: skip
@click.argument("which", nargs=-1, required=True, metavar="WHICH")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where: DIR/<address>/<subject>.eml, attachments in a folder beside it.",
)
@click.pass_context
def save(ctx: click.Context, which: Sequence[str], folder: Path) -> None:
    """Save mails as files; each is read back and compared.

    WHICH is a number, several such as 1 3 or 1-5, "all", "last", or words of a subject. Nothing
    that is there is overwritten.
    """
    _refuse_mailbox(ctx, which)
    with opened(ctx) as (place, maildrop):
        numbers = pick(maildrop, which)
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


@click.command("delete", cls=ClientCommand, example="mailnode delete 3 5-7\nmailnode delete all")
@click.argument("numbers", nargs=-1, required=True, metavar="N...")
@click.option("--yes", is_flag=True, help="Don't ask whether all shall go.")
@click.pass_context
def delete(ctx: click.Context, numbers: Sequence[str], yes: bool) -> None:
    """Delete mails by their numbers, ranges of them, or "all": for good, at once.

    When one that is named isn't there, none is deleted. Of a range those go that are there. On a
    terminal "all" is asked about first.
    """
    _refuse_mailbox(ctx, numbers)
    everything = [each.casefold() for each in numbers] == ["all"]
    if not everything:
        _require_numbers(numbers)
    with opened(ctx, deletes=True) as (place, maildrop):
        try:
            wanted = sorted(pick(maildrop, numbers))
        except Mistake as mistake:
            what = mistake.message.partition(";")[0]
            raise Mistake(f"{what}; nothing was deleted", mistake.code) from None
        if everything and wanted and stdin_is_terminal() and not (yes or wants_json(ctx)):
            mails = output.count(len(wanted), "mail")
            if not click.confirm(f"Delete {mails} of {place.user} for good?", err=True):
                wanted = []
        if refused := maildrop.delete(wanted):
            number, why = refused[0]
            raise Mistake(f"mail {number}: {why.text}; nothing was deleted")
    if not answer_json(ctx, {"deleted": wanted}):
        output.say(f"deleted {output.count(len(wanted), 'mail')}")


_NUMBERS = re.compile(r"[\d\s,;-]*\d[\d\s,;-]*")


def _require_numbers(words: Sequence[str]) -> None:
    """
    Raises:
        Mistake: words of a subject name mails to read or to save, and none to delete.
    """
    for word in words:
        if not _NUMBERS.fullmatch(word):
            raise Mistake(
                f"{word!r} is no number of a mail: what is deleted is named by numbers, such as "
                "3 or 5-7; `mailnode list` shows them",
                EX_USAGE,
            )


def _require_number(digits: str) -> None:
    if len(digits) > NUMBER_DIGITS:
        raise Mistake(f"{digits!r} is no number of a mail; `mailnode list` shows them", EX_USAGE)
