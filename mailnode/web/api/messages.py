"""/messages: an account's mails, listed, read, marked, moved, deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define

from mailnode.filenames import safe_name
from mailnode.model import TRASH
from mailnode.reading.fields import is_kind
from mailnode.stories import events_for, fates_of, tell_story
from mailnode.web.api.opened import find_part, read_facts, read_header
from mailnode.web.api.operations import (
    NOTHING,
    Call,
    Content,
    Operation,
    Result,
    answer_json,
)
from mailnode.web.api.paging import PAGING, answer_page, place
from mailnode.web.api.places import FOLDER, ID, Places
from mailnode.web.api.schemas import flag, list_of, one_of, page_of, ref, text, thing
from mailnode.web.api.shapes import (
    FLAGS,
    event_facts,
    fate_facts,
    flag_bits,
    line_of,
)
from mailnode.web.letters import Stretch
from mailnode.web.refusals import NoSuchPage
from mailnode.web.routes import JSON, TEXT, Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mailnode.store.folder_lists import Copy
    from mailnode.store.folders import Folders
    from mailnode.store.journal import Journal
    from mailnode.web.letters import Letters

RAW = "message/rfc822"
SOME = "application/octet-stream"
MARKS = list_of(one_of("", list(FLAGS)), most=len(FLAGS), example=["seen"])
PART = text("As the message has it in its attachments.", pattern=r"^[0-9A-Z.]{1,200}$",
            says="a part's path", example="2")  # fmt: skip
_HIDDEN = (("Content-Security-Policy", "default-src 'none'; sandbox"),)


@define(eq=False)
class Messages:
    """The operations.

    Args:
        complete: what has happened so far stands in the journal once its Deferred fires.
    """

    folders: Folders
    letters: Letters
    journal: Journal
    complete: Callable[[], Awaitable[object]]

    @property
    def places(self) -> Places:
        return Places(self.folders)

    def operations(self) -> Sequence[Operation]:
        of_one = {"id": ID}
        return (
            Operation(
                name="listMessages", method="GET", path="/messages", answer=self.list_some,
                about="Mails of a folder, the last that came into it first", tag="Messages",
                scope="read",
                query={"folder": FOLDER, **PAGING},
                results=[Result(200, "A page of them.", page_of("MessageLine"))],
                failures=[404],
            ),
            Operation(
                name="getMessage", method="GET", path="/messages/{id}", answer=self.show,
                about="A mail, read: addresses, text, HTML, attachments", tag="Messages",
                scope="read", places=of_one,
                results=[Result(200, "The mail.", ref("Message"))],
                failures=[404],
            ),
            Operation(
                name="getRawMessage", method="GET", path="/messages/{id}/raw", answer=self.show_raw,
                about="A mail as it came, with what was put in front", tag="Messages",
                scope="read", places=of_one,
                results=[
                    Result(200, "Its octets, with an ETag.", None, RAW),
                    Result(304, "As If-None-Match has it.", None, ""),
                ],
                failures=[404],
            ),
            Operation(
                name="getMessageHeaders", method="GET", path="/messages/{id}/headers",
                answer=self.show_header, about="A mail's header, as it came", tag="Messages",
                scope="read", places=of_one,
                results=[Result(200, "Its text.", None, TEXT)],
                failures=[404],
            ),
            Operation(
                name="getMessagePart", method="GET", path="/messages/{id}/parts/{path}",
                answer=self.show_part, about="The content of a part, decoded", tag="Messages",
                scope="read", places={**of_one, "path": PART},
                results=[Result(200, "Its octets, with the type that the mail says.", None, "*/*")],
                failures=[404],
            ),
            Operation(
                name="getMessageStory", method="GET", path="/messages/{id}/story",
                answer=self.tell, about="What happened to a mail, and what became of each "
                "recipient", more="Who sent a mail sees its recipients, who got it himself alone. "
                "By its mail's id it is there after the last copy was deleted, too.",
                tag="Messages", scope="read", places=of_one,
                results=[Result(200, "Its story.", ref("Story"))],
                failures=[404],
            ),
            Operation(
                name="markMessage", method="PATCH", path="/messages/{id}", answer=self.mark,
                about="Sets and takes flags", tag="Messages", scope="manage", places=of_one,
                bodies=[Content(JSON, thing({"add": MARKS, "take": MARKS}, needs=(), least=1),
                                {"add": ["seen"]})],
                results=[Result(200, "The mail's line as it is now.", ref("MessageLine"))],
                failures=[404, 409],
            ),
            Operation(
                name="moveMessage", method="POST", path="/messages/{id}/move", answer=self.move,
                about="Moves a mail to another folder", tag="Messages", scope="manage",
                places=of_one,
                bodies=[Content(JSON, thing({"folder": text("Its id, or its name.", least=1,
                        most=100, example="Archive")}), {"folder": "Archive"})],
                results=[Result(200, "Its line there, with its new id.", ref("MessageLine"))],
                failures=[404, 409],
            ),
            Operation(
                name="deleteMessage", method="DELETE", path="/messages/{id}", answer=self.delete,
                about="Moves a mail to Trash; from there, or with `for_good`, it is gone",
                tag="Messages", scope="manage", places=of_one,
                query={"for_good": flag("Not to Trash.", default=False)},
                results=[
                    Result(200, "Its line in Trash.", ref("MessageLine")),
                    Result(204, "It is gone for good.", None, ""),
                ],
                failures=[404, 409],
            ),
        )  # fmt: skip

    async def list_some(self, call: Call) -> Answer:
        folder = await self.places.folder(call.account_id, call.query["folder"])
        of, limit = f"m{folder.folder_id}", call.query["limit"]
        before = place(of, call.query.get("cursor"))
        found = await self.folders.page(
            call.account_id, folder.folder_id, before=before, limit=limit
        )
        more = found[-1].uid if len(found) == limit and found[-1].uid > 1 else None
        return answer_json(answer_page(list(map(line_of, found)), of, more))

    async def show(self, call: Call) -> Answer:
        folder_id, uid = await self._find(call)
        return await self.show_copy(call.account_id, folder_id, uid)

    async def show_copy(self, account_id: int, folder_id: int, uid: int) -> Answer:
        """The answer that a mail is.

        Raises:
            NoSuchFolder, NoSuchMail.
        """
        letter = await self.letters.open(account_id, folder_id, uid)
        facts = await self.letters.look(letter, read_facts)
        return answer_json(line_of(letter.copy) | facts)

    async def show_raw(self, call: Call) -> Answer:
        letter = await self.letters.open(call.account_id, *await self._find(call))
        copy = letter.copy
        tag = etag(copy.mail_id, copy.recipient, str(copy.size_octets))
        if is_known(call, tag):
            return Answer(status=304, kind=RAW, headers=(("ETag", tag),))
        headers = (
            ("ETag", tag),
            ("Content-Length", str(copy.size_octets)),
            ("Content-Disposition", f'attachment; filename="{copy.mail_id}.eml"'),
            *_HIDDEN,
        )
        produce = self.letters.streaming(letter)
        return Answer(kind=RAW, headers=headers, produce=produce)

    async def show_header(self, call: Call) -> Answer:
        letter = await self.letters.open(call.account_id, *await self._find(call))
        return Answer(await self.letters.look(letter, read_header), kind=TEXT)

    async def show_part(self, call: Call) -> Answer:
        letter = await self.letters.open(call.account_id, *await self._find(call))
        part = await self.letters.look(letter, find_part, call.places["path"])
        name = safe_name(part.name, "part").encode("ascii", "replace").decode().replace("?", "_")
        headers = (("Content-Disposition", f'attachment; filename="{_quoted(name)}"'), *_HIDDEN)
        stretch = Stretch(part.start, part.end, part.encoding)
        kind = part.kind if is_kind(part.kind) else SOME
        produce = self.letters.streaming(letter, stretch)
        return Answer(kind=kind, headers=headers, produce=produce)

    async def tell(self, call: Call) -> Answer:
        said, account = call.places["id"], call.account
        if "-" in said:
            copy = await self.folders.copy(account.id, *await self._find(call))
            said = copy.mail_id
        await self.complete()
        seen = events_for(await self.journal.trace(said), str(account.address))
        if not seen and not await self.folders.copies_of(account.id, said):
            raise NoSuchPage()
        story = tell_story(said, seen)
        return answer_json(
            {
                "mail_id": said,
                "recipients": [fate_facts(each) for each in fates_of(seen)],
                "events": [event_facts(each, facts=False) for each in story.lines],
            }
        )

    async def mark(self, call: Call) -> Answer:
        folder_id, uid = await self._find(call, only=True)
        add, take = (flag_bits(call.body.get(name, ())) for name in ("add", "take"))
        await self.folders.mark(call.account_id, folder_id, [uid], add=add, take=take & ~add)
        return answer_json(line_of(await self.folders.copy(call.account_id, folder_id, uid)))

    async def move(self, call: Call) -> Answer:
        folder_id, uid = await self._find(call, only=True)
        await self.folders.copy(call.account_id, folder_id, uid)
        target = await self.places.folder(call.account_id, call.body["folder"])
        return answer_json(line_of(await self._moved(call, folder_id, uid, target.folder_id)))

    async def delete(self, call: Call) -> Answer:
        folder_id, uid = await self._find(call, only=True)
        await self.folders.copy(call.account_id, folder_id, uid)
        trash = await self.folders.named(call.account_id, TRASH)
        if call.query["for_good"] or folder_id == trash.folder_id:
            by = str(call.account.address)
            await self.folders.delete(call.account_id, folder_id, [uid], by)
            return NOTHING
        return answer_json(line_of(await self._moved(call, folder_id, uid, trash.folder_id)))

    async def _moved(self, call: Call, folder_id: int, uid: int, target_id: int) -> Copy:
        by = str(call.account.address)
        moved = await self.folders.move(call.account_id, folder_id, [uid], target_id, by)
        if moved:
            folder_id, uid = target_id, moved[0][1]
        return await self.folders.copy(call.account_id, folder_id, uid)

    async def _find(self, call: Call, *, only: bool = False) -> tuple[int, int]:
        return await self.places.find(call.account_id, call.places["id"], only=only)


def etag(*texts: str) -> str:
    """Of what never changes."""
    return f'"{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:32]}"'


def is_known(call: Call, tag: str) -> bool:
    """Whether the client has it already (RFC 9110 section 13.1.2)."""
    said = call.visit.request.header("If-None-Match")
    return said.strip() == "*" or tag in (each.strip().removeprefix("W/")
                                          for each in said.split(","))  # fmt: skip


def _quoted(name: str) -> str:
    return name.replace("\\", "_").replace('"', "_")
