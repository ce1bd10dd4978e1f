"""A mail that could not be sent: it is kept as a file, or goes to others in place of some."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

import attrs

from mailnode.client.composing import Made, make_letter
from mailnode.client.submission import Letter
from mailnode.composing.drafts import Draft
from mailnode.composing.people import Mailbox
from mailnode.filenames import open_new, safe_name

UNTITLED = "no subject"


def keep_mail(draft: Draft, made: Made) -> str:
    """Written durably into the folder where one is, as mail programs open it: the file's name.

    Raises:
        OSError: it could not be.
    """
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd, name = open_new(folder, safe_name(draft.subject, UNTITLED) + ".eml")
        with os.fdopen(fd, "wb") as file:
            for piece in made.mail.pieces():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(folder)
        return name
    finally:
        os.close(folder)


def keep_draft(draft: Draft) -> str:
    """The same of what was typed until now; without its files where they can't be read.

    Raises:
        OSError: it could not be.
    """
    try:
        return keep_mail(draft, make_letter(draft))
    except OSError:
        alone = attrs.evolve(draft, files=())
        return keep_mail(alone, make_letter(alone))


def with_others(draft: Draft, instead_of: Collection[str], others: Sequence[Mailbox]) -> Draft:
    """The same for other people: they stand where the first of those stood.

    Args:
        instead_of: addresses.
    """
    stay = {str(each.address) for each in draft.recipients} - set(instead_of)
    left = [each for each in others if str(each.address) not in stay]

    def changed(people: Iterable[Mailbox]) -> tuple[Mailbox, ...]:
        found = list[Mailbox]()
        for each in people:
            if str(each.address) not in instead_of:
                found.append(each)
            else:
                found += left
                left.clear()
        return tuple(found)

    return attrs.evolve(draft, to=changed(draft.to), cc=changed(draft.cc), bcc=changed(draft.bcc))


def for_others(
    draft: Draft, left: Collection[str], instead_of: Collection[str], others: Sequence[Mailbox]
) -> tuple[Draft, Made, Letter]:
    """The mail again, and for whom it is still to be sent.

    Args:
        left: addresses of those who have not got it, `instead_of` among them.

    Raises:
        OSError: a file that goes with it can't be read any more.
    """
    got = {str(each.address) for each in draft.recipients} - set(left)
    changed = with_others(draft, instead_of, others)
    made = make_letter(changed)
    recipients = tuple(each for each in made.letter.recipients if each not in got)
    return changed, made, attrs.evolve(made.letter, recipients=recipients)
