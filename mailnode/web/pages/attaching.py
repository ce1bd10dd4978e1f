"""Files of a mail that is being written: they come, are looked at, and go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from attrs import define

from mailnode.composing.written import Written
from mailnode.errors import MailError
from mailnode.web.outflow import pours
from mailnode.web.pages.writing import FILES_FIELD, NO_FILE, Writing, by_script
from mailnode.web.pages.writing_files import SHOWN_KINDS
from mailnode.web.pages.writing_form import Desktop, Faults, state_of
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import JSON, Answer, Route, Taken

if TYPE_CHECKING:
    from mailnode.store.drafts import Upload
    from mailnode.web.visit import Visit

FORM_OCTETS = 64 << 10


@define(eq=False)
class Attaching:
    """What its script, or a form without one, does with files."""

    writing: Writing

    def routes(self) -> Sequence[Route]:
        writing = self.writing
        return (
            Route(
                "/write/<int:draft_id>/files",
                ("POST",),
                self.add,
                "Takes files: ``attach`` (several), ``inline=1`` for pictures that the text shows;"
                " multipart; JSON",
                takes=Taken(writing.most_octets + FORM_OCTETS, streamed=True),
            ),
            Route(
                "/write/<int:draft_id>/files/<int:upload_id>",
                ("GET",),
                self.show,
                "A file that will go with the mail",
            ),
            Route(
                "/write/<int:draft_id>/files/<int:upload_id>/remove",
                ("POST",),
                self.remove,
                "It won't; the fields of the form are kept as by saving; multipart",
                takes=Taken(writing.most_octets + FORM_OCTETS, streamed=True),
            ),
        )

    async def add(self, visit: Visit, draft_id: int) -> Answer:
        account_id, faults = visit.guest.account.id, Faults()
        added: list[Upload] = []
        status = 422
        for file in visit.uploads.files:
            if file.field != FILES_FIELD or not (file.size_octets or file.name != NO_FILE):
                continue
            try:
                inline = visit.form.get("inline") == "1"
                added.append(
                    await self.writing.files.keep(account_id, draft_id, file, inline=inline)
                )
            except MailError as error:
                status = error.http_status
                faults.add("files", error.text)
        return await self._told(visit, draft_id, added, faults, status if faults else 200)

    async def _told(
        self,
        visit: Visit,
        draft_id: int,
        added: Sequence[Upload] = (),
        faults: Faults | None = None,
        status: int = 200,
    ) -> Answer:
        desk = self.writing.desk
        uploads = await desk.drafts.uploads(visit.guest.account.id, draft_id)
        desktop = Desktop(written=Written(), draft_id=draft_id, uploads=uploads)
        told = {
            **state_of(desktop, desk.post_office.most_octets),
            "added": [each.upload_id for each in added],
            "faults": faults.by_field if faults else {},
        }
        for unknown in ("key", "place"):
            del told[unknown]
        return Answer(json.dumps(told), status, kind=JSON)

    async def show(self, visit: Visit, draft_id: int, upload_id: int) -> Answer:
        """A picture as it is; whatever else is there only to be saved as a file."""
        drafts = self.writing.desk.drafts
        for each in await drafts.uploads(visit.guest.account.id, draft_id):
            if each.upload_id != upload_id:
                continue
            shown = each.kind in SHOWN_KINDS
            name = quote(each.name, safe="")
            how = "inline" if shown else "attachment"
            headers = (
                ("Content-Disposition", f"{how}; filename*=UTF-8''{name}"),
                ("Content-Length", str(each.size_octets)),
            )
            return Answer(
                kind=each.kind if shown else "application/octet-stream",
                headers=headers,
                produce=pours(drafts.files.open(each.blob_key), each.size_octets),
            )
        raise NoSuchPage()

    async def remove(self, visit: Visit, draft_id: int, upload_id: int) -> Answer:
        drafts = self.writing.desk.drafts
        await drafts.remove_file(visit.guest.account.id, draft_id, upload_id)
        if by_script(visit):
            return await self._told(visit, draft_id)
        return await self.writing.save(visit, draft_id)
