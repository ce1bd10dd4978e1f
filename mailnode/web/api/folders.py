"""/folders: an account's folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define

from mailnode.web.api.operations import Call, Content, Operation, Result, answer_json
from mailnode.web.api.schemas import NUMBER, list_of, ref, text, thing, whole
from mailnode.web.api.shapes import folder_facts
from mailnode.web.routes import JSON, Answer

if TYPE_CHECKING:
    from mailnode.store.folders import Folders as StoredFolders

ID = text("A folder's id.", pattern=NUMBER, says="a number", example="7")
NAME = Content(
    JSON, thing({"name": text(least=1, most=200, example="Archive")}), {"name": "Archive"}
)


@define(eq=False)
class Folders:
    """The operations."""

    folders: StoredFolders

    def operations(self) -> Sequence[Operation]:
        return (
            Operation(
                name="listFolders", method="GET", path="/folders", answer=self.list_all,
                about="All folders, the standard ones first", tag="Folders", scope="read",
                results=[Result(200, "They.", thing({"items": list_of(ref("Folder"))}))],
            ),
            Operation(
                name="makeFolder", method="POST", path="/folders", answer=self.make,
                about="Makes a folder", tag="Folders", scope="manage", bodies=[NAME],
                results=[Result(201, "It.", ref("Folder"))], failures=[400],
            ),
            Operation(
                name="renameFolder", method="PATCH", path="/folders/{id}", answer=self.rename,
                about="Gives a folder another name", tag="Folders", scope="manage",
                places={"id": ID}, bodies=[NAME],
                results=[Result(200, "It.", ref("Folder"))], failures=[400, 404],
            ),
            Operation(
                name="removeFolder", method="DELETE", path="/folders/{id}", answer=self.remove,
                about="Removes a folder; what lies in it goes to Trash", tag="Folders",
                scope="manage", places={"id": ID},
                results=[Result(200, "How many mails are in Trash now.",
                                thing({"moved": whole(example=12)}))],
                failures=[400, 404],
            ),
        )  # fmt: skip

    async def list_all(self, call: Call) -> Answer:
        found = await self.folders.folders(call.account_id)
        return answer_json({"items": list(map(folder_facts, found))})

    async def make(self, call: Call) -> Answer:
        made = await self.folders.make(call.account_id, call.body["name"])
        return answer_json(folder_facts(made), 201)

    async def rename(self, call: Call) -> Answer:
        folder_id = int(call.places["id"])
        named = await self.folders.rename(call.account_id, folder_id, call.body["name"])
        return answer_json(folder_facts(named))

    async def remove(self, call: Call) -> Answer:
        by = str(call.account.address)
        moved = await self.folders.remove(call.account_id, int(call.places["id"]), by)
        return answer_json({"moved": moved})
