"""A mail as a person wrote it, and what is wrong with it before it is made."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from mailnode.composing.people import Mailbox, one_line

SUBJECT_CHARACTERS = 150


@frozen
class Enclosure:
    """A file that goes with a mail.

    Attributes:
        name: as its reader sees it.
        kind: its type, "image/png".
        open: gives its octets, from the first; `size_octets` of them.
        content_id: without brackets, of what the HTML shows by `cid:`; "" for an attachment.
    """

    name: str = field(converter=one_line)
    kind: str
    size_octets: int
    open: Callable[[], BinaryIO] = field(repr=False)
    content_id: str = ""

    @classmethod
    def of_file(cls, path: Path) -> Enclosure:
        """Raises OSError: it isn't there."""
        return cls(path.name, kind_of(path.name), path.stat().st_size, lambda: path.open("rb"))


def kind_of(name: str) -> str:
    """The type that a file's name tells."""
    guessed, packed = mimetypes.guess_type(name)
    return guessed if guessed and not packed else "application/octet-stream"


@frozen(kw_only=True)
class Draft:
    """A mail as it was written.

    Attributes:
        text: its lines; may be empty when there is HTML.
        files: that go with it,
        enclosures: and what else does.
        in_reply_to, references: message-ids, with their brackets.
        headers: more fields, names and values; none that the mail has already, each on one line.
    """

    sender: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    files: tuple[Path, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    in_reply_to: str = ""
    references: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def recipients(self) -> tuple[Mailbox, ...]:
        """Each once."""
        everybody = (*self.to, *self.cc, *self.bcc)
        return tuple({each.address.key: each for each in everybody}.values())


@frozen
class Doubt:
    """What is wrong with a draft, or may be.

    Attributes:
        part: "to", "subject", a file's name...
        fatal: whether it can't be sent so.
    """

    part: str
    words: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.part}: {self.words}"


def look_over(draft: Draft) -> list[Doubt]:
    """What keeps it from being sent, and what its author may want to know."""
    doubts = []
    if not draft.recipients:
        doubts.append(Doubt("to", "there is nobody to send it to"))
    for part, said in (("subject", draft.subject), ("body", draft.text), ("body", draft.html)):
        if not _is_text(said):
            doubts.append(Doubt(part, "it has octets that are no UTF-8"))
    if any(c in draft.subject for c in "\r\n"):
        doubts.append(Doubt("subject", "it has a line end"))
    elif len(draft.subject) > SUBJECT_CHARACTERS:
        length = len(draft.subject)
        doubts.append(
            Doubt("subject", f"{length} characters: many programs show {SUBJECT_CHARACTERS}", False)
        )
    elif not draft.subject.strip():
        doubts.append(Doubt("subject", "there is none", False))
    if not (draft.text.strip() or draft.html.strip() or draft.files or draft.enclosures):
        doubts.append(Doubt("body", "it is empty", False))
    for path in draft.files:
        if why := unreadable(path):
            doubts.append(Doubt(str(path), why))
    return doubts


def _is_text(said: str) -> bool:
    """What a command line says in no UTF-8 has lone surrogates for it."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def unreadable(path: Path) -> str:
    """Why a file can't go with a mail; "" where it can."""
    try:
        if path.is_dir():
            return "is a folder; pack it first, as with zip or tar"
        with path.open("rb"):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def fatal(doubts: Iterable[Doubt]) -> list[Doubt]:
    return [each for each in doubts if each.fatal]
