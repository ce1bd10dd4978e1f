"""Mail that the gear keeps here: one list of all of it, and each as its reader would see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from mailnode.model import Blob
from mailnode.reading.fields import decode, decoded, header_end
from mailnode.reading.parts import parts_of
from mailnode.reading.text import text_of
from mailnode.signposts import GEARS_MEAN
from mailnode.web.outflow import Outflow
from mailnode.web.pages.admin_forms import MOST_NUMBER, number_of
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import Answer, Need, Route
from mailnode.wire import header_fields

if TYPE_CHECKING:
    from mailnode.store.queue import QueuedMail
    from mailnode.store.queue_desk import QueueRow
    from mailnode.web.admin_desk import AdminDesk
    from mailnode.web.requests import WebRequest
    from mailnode.web.visit import Visit

PAGE_MAILS = 50
LOOKED_AT_OCTETS = 2 << 20
SHOWN_CHARACTERS = 256 << 10
PIECE_OCTETS = 64 << 10
VIEWS = {"text": "Text", "headers": "Headers", "raw": "Source"}


@frozen
class Read:
    """What a page shows of a mail.

    Attributes:
        fields: names and values of the header.
        files: names of what hangs on it.
        is_cut: there is more than was looked at.
    """

    fields: Sequence[tuple[str, str]]
    text: str
    raw: str
    files: Sequence[str]
    is_cut: bool

    def field(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name), "")


@define(eq=False)
class AdminCaptured:
    """The pages."""

    desk: AdminDesk

    def routes(self) -> Sequence[Route]:
        one = "/admin/captured/<int:row_id>"
        return (
            Route(
                "/admin/captured",
                ("GET",),
                self.show,
                "All captured mail, newest first: ``before`` a row",
                Need.ADMIN,
            ),
            Route(
                one,
                ("GET",),
                self.read,
                f"A captured mail: ``show`` ({', '.join(VIEWS)})",
                Need.ADMIN,
            ),
            Route(f"{one}/eml", ("GET",), self.save, "The same as a file", Need.ADMIN),
        )

    async def show(self, visit: Visit) -> Answer:
        before = number_of(visit.query("before"))
        found = await self.desk.queue.captured(before, PAGE_MAILS + 1)
        more = len(found) > PAGE_MAILS
        lines = found[:PAGE_MAILS]
        gear = self.desk.directory.gear
        return await self.desk.page(
            visit,
            "admin_captured.html",
            title="Captured mail",
            lines=lines,
            older=lines[-1].id if more else 0,
            first=not before,
            gear=gear,
            gear_means=GEARS_MEAN[gear],
        )

    async def read(self, visit: Visit, row_id: int) -> Answer:
        row, mail = await self._find(row_id)
        view = visit.query("show", "text")
        octets, is_cut = await self._begin_of(mail)
        read = await self.desk.in_thread(_read, octets, is_cut)
        return await self.desk.page(
            visit,
            "admin_captured_mail.html",
            title=row.subject or "(no subject)",
            row=row,
            read=read,
            views=VIEWS,
            view=view if view in VIEWS else "text",
        )

    async def _begin_of(self, mail: QueuedMail) -> tuple[bytes, bool]:
        """The first 2 MiB, and whether there is more."""
        most = LOOKED_AT_OCTETS
        if not isinstance(mail.body, Blob):
            whole = mail.prefix + mail.body
            return whole[:most], len(whole) > most
        pieces, octets = [mail.prefix], len(mail.prefix)
        reader = self.desk.queue.open(mail.body.key)
        try:
            while octets < most and (piece := await reader.read(PIECE_OCTETS)):
                pieces.append(piece)
                octets += len(piece)
        finally:
            reader.close()
        return b"".join(pieces)[:most], mail.size_octets + len(mail.prefix) > most

    async def save(self, visit: Visit, row_id: int) -> Answer:
        row, mail = await self._find(row_id)

        async def produce(request: WebRequest) -> None:
            async with Outflow(request) as out:
                await out.write(mail.prefix)
                if not isinstance(mail.body, Blob):
                    await out.write(mail.body)
                    return
                reader = self.desk.queue.open(mail.body.key)
                try:
                    while piece := await reader.read(PIECE_OCTETS):
                        await out.write(piece)
                finally:
                    reader.close()

        headers = (
            ("Content-Disposition", f'attachment; filename="{row.mail_id}.eml"'),
            ("Content-Length", str(len(mail.prefix) + mail.size_octets)),
            ("Content-Security-Policy", "default-src 'none'; sandbox"),
        )
        return Answer(kind="message/rfc822", headers=headers, produce=produce)

    async def _find(self, row_id: int) -> tuple[QueueRow, QueuedMail]:
        found = await self.desk.queue.mail(min(row_id, MOST_NUMBER))
        if found is None or found[1] is None:
            raise NoSuchPage("That mail is not captured, or not here any more")
        return found[0], found[1]


def _read(octets: bytes, is_cut: bool) -> Read:
    """Of the mail's begin; whatever it is, something is shown."""
    header = octets[: header_end(octets, 0, len(octets))]
    fields = header_fields(header.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    parts = parts_of(octets)
    text = text_of(parts)
    raw = decode(octets[:SHOWN_CHARACTERS]).replace("\r\n", "\n")
    return Read(
        [(name.decode("ascii", "replace"), decoded(decode(value))) for name, value in fields],
        text[:SHOWN_CHARACTERS],
        raw.replace("\0", "\N{SYMBOL FOR NULL}"),
        [part.name or "(without a name)" for part in parts.attachments()],
        is_cut or len(text) > SHOWN_CHARACTERS or len(octets) > SHOWN_CHARACTERS,
    )
