"""Mails that others are made of: what is answered or passed on, and drafts that are written on."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from attrs import define, frozen

from mailnode.composing.replies import Original
from mailnode.composing.written import FIELD, Written, read_kept
from mailnode.model import Blob
from mailnode.reading.fields import addresses_of, decoded
from mailnode.reading.parts import Part, Parts, parts_of
from mailnode.reading.summary import summary_of
from mailnode.reading.text import TEXT_OCTETS, text_of, text_of_html

if TYPE_CHECKING:
    from mailnode.web.bodies import InThread
    from mailnode.web.desk import Desk

MOST_OFFERED = 100
WINDOW_OCTETS = 1 << 20
AROUND_OCTETS = 1 << 20


@frozen
class Place:
    """Where a mail lies.

    Attributes:
        account_id: whose it is: another's isn't there.
    """

    account_id: int
    folder_id: int
    uid: int

    def __str__(self) -> str:
        return f"{self.folder_id}/{self.uid}"


@frozen
class Offered:
    """A file of a mail that may go with another one.

    Attributes:
        path: of its part.
        size_octets: of its content.
    """

    path: str
    name: str
    kind: str
    size_octets: int
    content_id: str = ""


class Mapped(mmap.mmap):
    """A mail that lies in a file, looked at like octets: what was looked at is not held."""

    def startswith(self, prefix: bytes | tuple[bytes, ...], start: int = 0, end: int = -1) -> bool:
        """As `bytes` have it."""
        stop = len(self) if end < 0 else end
        longest = max(map(len, prefix)) if isinstance(prefix, tuple) else len(prefix)
        return super().__getitem__(slice(start, min(stop, start + longest))).startswith(prefix)

    def find(self, wanted: Any, start: int = 0, end: int | None = None) -> int:
        """As `bytes` have it; -1 for nowhere."""
        stop = len(self) if end is None else min(end, len(self))
        at = start
        while at < stop:
            behind = min(stop, at + WINDOW_OCTETS)
            found = super().find(wanted, at, min(stop, behind + len(wanted) - 1))
            if found >= 0:
                return found
            self._let_go(at, behind)
            at = behind
        return -1

    def __getitem__(self, place: Any) -> Any:
        octets = super().__getitem__(place)
        if isinstance(place, slice) and len(octets) > mmap.PAGESIZE:
            start, stop, _step = place.indices(len(self))
            self._let_go(start, stop)
        return octets

    def _let_go(self, start: int, stop: int) -> None:
        """These pages are the file's again, and come back when they are looked at.

        Some before them, too: the kernel maps pages around one that it is asked for.
        """
        start = max(0, start - AROUND_OCTETS)
        start -= start % mmap.PAGESIZE
        self.madvise(mmap.MADV_DONTNEED, start, stop - start)


@define(eq=False)
class Originals:
    """Reads them.

    Args:
        in_thread: runs a function in a thread: (function, *arguments) to a Deferred.
    """

    desk: Desk
    in_thread: InThread

    async def answered(self, place: Place) -> tuple[Original, list[Offered]]:
        """A mail to be answered or passed on, and its files.

        Raises:
            NoSuchFolder, NoSuchMail, StoreBroken.
        """
        body = await self._body(place)
        found: tuple[Original, list[Offered]] = await self.in_thread(self._answered, body)
        return found

    async def draft(self, place: Place) -> tuple[Written, list[Offered]]:
        """A draft as it was written, whichever program wrote it, and files that lie in it.

        Raises:
            NoSuchFolder, NoSuchMail, StoreBroken.
        """
        body = await self._body(place)
        found: tuple[Written, list[Offered]] = await self.in_thread(self._draft, body)
        return found

    async def _body(self, place: Place) -> bytes | Blob:
        _copy, stored = await self.desk.folders.mail(place.account_id, place.folder_id, place.uid)
        return stored.body

    # In a thread

    @contextmanager
    def parts(self, body: bytes | Blob) -> Iterator[Parts]:
        """Its parts, as long as they are looked at; belongs into a thread."""
        if isinstance(body, bytes):
            yield parts_of(body)
            return
        with self.desk.blobs.path_of(body.key).open("rb") as file:
            mapped: Any = Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
            try:
                yield parts_of(mapped)
            finally:
                mapped.close()

    def _answered(self, body: bytes | Blob) -> tuple[Original, list[Offered]]:
        with self.parts(body) as parts:
            return original_of(parts), list(offered_of(parts))

    def _draft(self, body: bytes | Blob) -> tuple[Written, list[Offered]]:
        with self.parts(body) as parts:
            return draft_of(parts), list(offered_of(parts))


def original_of(parts: Parts) -> Original:
    """What an answer needs to know of a mail."""
    fields = parts.fields
    about = summary_of(parts, "")
    return Original(
        sender=_people(fields, "from"),
        reply_to=_people(fields, "reply-to"),
        to=_people(fields, "to"),
        cc=_people(fields, "cc"),
        subject=about.subject,
        date=_date(_first(fields, "date")),
        text=text_of(parts, TEXT_OCTETS).strip("\n"),
        message_id=f"<{about.message_id}>" if about.message_id else "",
        references=tuple(f"<{each}>" for each in about.references),
    )


def draft_of(parts: Parts) -> Written:
    """A draft as it stands in its form."""
    fields = parts.fields
    page, plain = parts.body("text/html"), parts.body("text/plain")
    html = page.text(TEXT_OCTETS) if page is not None else ""
    text = plain.text(TEXT_OCTETS) if plain is not None else text_of_html(html)
    return read_kept(
        fields.get(FIELD.lower(), []),
        Written(
            sender=_listed(fields, "from"),
            to=_listed(fields, "to"),
            cc=_listed(fields, "cc"),
            bcc=_listed(fields, "bcc"),
            subject=decoded(_first(fields, "subject")),
            text=text.removesuffix("\n"),
            html=html.removesuffix("\n"),
            in_reply_to=_first(fields, "in-reply-to"),
            references=_first(fields, "references"),
        ),
    )


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _people(fields: dict[str, list[str]], name: str) -> tuple[tuple[str, str], ...]:
    return tuple(each for each in addresses_of(fields.get(name, [])) if each[1])


def _listed(fields: dict[str, list[str]], name: str) -> str:
    return ", ".join(decoded(value) for value in fields.get(name, []))


def _date(value: str) -> str:
    """As its writer had it, on his clock."""
    try:
        return parsedate_to_datetime(value[:200]).strftime("%Y-%m-%d %H:%M")
    except Exception:  # a stranger wrote it, and the reader of dates raises all sorts
        return ""


def offered_of(parts: Parts) -> Iterator[Offered]:
    """Its files, and the pictures of its page."""
    found = list(parts.attachments())
    found += [each for each in parts if each.cid and each.related and each not in found]
    for part in found[:MOST_OFFERED]:
        yield Offered(part.path, _name_of(part), part.kind, part.content_octets, part.cid)


def _name_of(part: Part) -> str:
    return part.name or ("mail.eml" if part.is_mail else f"file-{part.path}")
